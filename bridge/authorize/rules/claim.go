package rules

import (
	"encoding/json"
	"slices"
	"strings"
)

// claim is a compiled [Claim].
type claim struct {
	name   string
	path   []string // the name, cut at its dots
	values []string
}

func newClaim(c Claim) claim {
	return claim{c.Name, strings.Split(c.Name, "."), slices.Clone(c.Values)}
}

// holds reports whether the claims have the claim with one of its values.
func (c claim) holds(claims map[string]any) bool {
	value, ok := claims[c.name]
	if !ok {
		value = claims
		for _, name := range c.path {
			object, _ := value.(map[string]any)
			if value, ok = object[name]; !ok {
				return false
			}
		}
	}
	switch v := value.(type) {
	case []any:
		return slices.ContainsFunc(v, c.equals)
	case []string:
		return slices.ContainsFunc(v, func(s string) bool { return c.equals(s) })
	}
	return c.equals(value)
}

// equals reports whether a value is one of the claim's.
func (c claim) equals(value any) bool {
	switch v := value.(type) {
	case string:
		return slices.Contains(c.values, v)
	case json.Number:
		return slices.Contains(c.values, v.String())
	case bool:
		return v && slices.Contains(c.values, "true") || !v && slices.Contains(c.values, "false")
	}
	return false
}
