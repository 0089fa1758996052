package principal

import (
	"slices"
	"strings"
)

// Scopes are scopes in order, each once.
type Scopes []string

// NewScopes returns the scopes in order, without those that are empty or repeated.
func NewScopes(all ...string) Scopes {
	return Scopes(nil).With(all...)
}

// ParseScopes parses the text of a `scope` member or parameter (RFC 6749 section 3.3).
func ParseScopes(text string) Scopes { return NewScopes(strings.Split(text, " ")...) }

// With returns the scopes with others behind them. The scopes themselves stay as they are.
func (s Scopes) With(others ...string) Scopes {
	const few = 16 // are compared one by one
	all := make(Scopes, 0, len(s)+len(others))
	if cap(all) <= few {
		for _, list := range [][]string{s, others} {
			for _, scope := range list {
				if scope != "" && !all.Has(scope) {
					all = append(all, scope)
				}
			}
		}
		return all
	}
	seen := make(map[string]struct{}, cap(all))
	for _, list := range [][]string{s, others} {
		for _, scope := range list {
			if _, twice := seen[scope]; !twice && scope != "" {
				seen[scope] = struct{}{}
				all = append(all, scope)
			}
		}
	}
	return all
}

// Has reports whether a scope is among them, by itself.
func (s Scopes) Has(scope string) bool { return slices.Contains(s, scope) }

// String is the text of a `scope` parameter.
func (s Scopes) String() string { return strings.Join(s, " ") }

// IsScope reports whether a text is one scope (scope-token, RFC 6749 section 3.3).
func IsScope(text string) bool {
	for i := range len(text) {
		if c := text[i]; c <= ' ' || c > '~' || c == '"' || c == '\\' {
			return false
		}
	}
	return text != ""
}
