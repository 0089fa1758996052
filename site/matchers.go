package site

import (
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// verdict is the result of a matcher if only method, host and path of a request are known.
type verdict uint8

const (
	no verdict = iota
	unsure
	yes
)

// matchesAny decides whether a request matches one of sets if only its method, host and path are
// known. If that is not certain, undecided is the name of a matcher that it depends on.
func matchesAny(sets caddyhttp.MatcherSets, r *http.Request) (v verdict, undecided string) {
	if len(sets) == 0 {
		return yes, ""
	}
	for _, set := range sets {
		switch matched, by := matchesAll(set, r); matched {
		case yes:
			return yes, ""
		case unsure:
			v, undecided = unsure, by
		}
	}
	return v, undecided
}

func matchesAll(set caddyhttp.MatcherSet, r *http.Request) (v verdict, undecided string) {
	v = yes
	for _, m := range set {
		switch matched, by := matches(m, r); matched {
		case no:
			return no, ""
		case unsure:
			v, undecided = unsure, by
		}
	}
	return v, undecided
}

// matches asks one matcher, if method, host and path are all that it looks at.
func matches(matcher any, r *http.Request) (v verdict, undecided string) {
	decidable := false
	switch m := matcher.(type) {
	case caddyhttp.MatchNot:
		return matchesNot(m, r)
	case *caddyhttp.MatchNot:
		return matchesNot(*m, r)
	case caddyhttp.MatchPath:
		decidable = areStatic(m...)
	case *caddyhttp.MatchPath:
		decidable = areStatic(*m...)
	case caddyhttp.MatchHost:
		decidable = areStatic(m...)
	case *caddyhttp.MatchHost:
		decidable = areStatic(*m...)
	case caddyhttp.MatchPathRE, *caddyhttp.MatchPathRE, caddyhttp.MatchMethod, *caddyhttp.MatchMethod:
		decidable = true
	case *caddyhttp.MatchURLPattern:
		decidable = !strings.ContainsAny(m.Pattern, "?#") && m.BaseURL == "" && strings.HasPrefix(m.Pattern, "/")
	case *caddyhttp.MatchExpression:
		decidable = isStaticExpression(m.Expr)
	case caddyhttp.MatchExpression:
		decidable = isStaticExpression(m.Expr)
	}
	if m, ok := matcher.(caddyhttp.RequestMatcherWithError); ok && decidable {
		if matched, err := m.MatchWithError(r); err == nil {
			if matched {
				return yes, ""
			}
			return no, ""
		}
	}
	if id := caddy.GetModuleID(matcher); id != "" {
		return unsure, strings.TrimPrefix(id, "http.matchers.")
	}
	return unsure, fmt.Sprintf("%T", matcher)
}

func matchesNot(m caddyhttp.MatchNot, r *http.Request) (v verdict, undecided string) {
	for _, set := range m.MatcherSets {
		switch matched, by := matchesAll(set, r); matched {
		case yes:
			return no, ""
		case unsure:
			undecided = by
		}
	}
	if undecided != "" {
		return unsure, undecided
	}
	return yes, ""
}

// areStatic reports whether patterns have no placeholder whose value a request
// decides.
func areStatic(patterns ...string) bool {
	for _, pattern := range patterns {
		for _, m := range placeholderPattern.FindAllStringSubmatch(pattern, -1) {
			if !strings.HasPrefix(m[1], "env.") && !strings.HasPrefix(m[1], "system.") {
				return false
			}
		}
	}
	return true
}

var (
	placeholderPattern = regexp.MustCompile(`\{([^{}]+)\}`)
	callPattern        = regexp.MustCompile(`([A-Za-z_][A-Za-z_0-9]*)\s*\(`)

	// staticPlaceholders and staticFunctions are what an expression may use if it depends on
	// method, host and path only.
	staticPlaceholders = []string{"http.request.method", "http.request.host", "http.request.uri.path", "http.request.orig_uri.path"}
	staticFunctions    = []string{"path", "path_regexp", "method", "host", "startsWith", "endsWith", "contains", "matches", "size", "lowerAscii", "upperAscii"}
)

// isStaticExpression reports whether an expression depends on method, host and path only.
func isStaticExpression(text string) bool {
	for _, m := range placeholderPattern.FindAllStringSubmatch(text, -1) {
		if !slices.Contains(staticPlaceholders, m[1]) {
			return false
		}
	}
	for _, m := range callPattern.FindAllStringSubmatch(text, -1) {
		if !slices.Contains(staticFunctions, m[1]) {
			return false
		}
	}
	return true
}
