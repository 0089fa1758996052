package site

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/identity"
)

// Identity describes the place as a part of an endpoint's identity. The paths in own are
// those that the endpoint's own route has for it, in lower case. They do not count: they
// come and go with options.
func (p *Place) Identity(own map[string]bool) identity.Place {
	at := identity.Place{Listen: p.Server.Listen, Hosts: SortedKeys(p.Hosts), Prefix: p.Prefix}
	for i, sets := range p.paths {
		var ignored map[string]bool
		if i == len(p.paths)-1 {
			ignored = own
		}
		at.Matchers = append(at.Matchers, describeMatchers(sets, ignored))
	}
	return at
}

// describeMatchers returns a text for matchers. Matchers that match the same requests have the
// same text, as far as their options show. Paths in own do not count.
func describeMatchers(sets caddyhttp.MatcherSets, own map[string]bool) string {
	all := make([]string, 0, len(sets))
	for _, set := range sets {
		var list []string
		for _, matcher := range set {
			if text := describeMatcher(matcher, own); text != "" {
				list = append(list, text)
			}
		}
		slices.Sort(list) // a set is a map in the configuration
		all = append(all, toJSON(list))
	}
	if own != nil {
		slices.Sort(all)
		all = slices.Compact(all) // those that differ in such paths alone
	}
	return toJSON(all)
}

// describeMatcher describes one matcher. It returns an empty text if the matcher has nothing but
// paths in own.
func describeMatcher(matcher any, own map[string]bool) string {
	isOwn := func(path string) bool { return own[path] }
	switch m := matcher.(type) {
	case *caddyhttp.MatchPath:
		return describeMatcher(*m, own)
	case caddyhttp.MatchPath:
		if len(m) > 0 && !slices.ContainsFunc(m, func(path string) bool { return !isOwn(path) }) {
			return ""
		}
		return "path" + toJSON(slices.DeleteFunc(slices.Clone(m), isOwn))
	case *caddyhttp.MatchNot: // what it negates is not written any more
		var list []string
		for _, set := range m.MatcherSets {
			if text := describeMatchers(caddyhttp.MatcherSets{set}, own); text != describeMatchers(caddyhttp.MatcherSets{nil}, own) {
				list = append(list, text)
			}
		}
		if len(list) == 0 {
			return ""
		}
		return "not" + toJSON(list)
	}
	name := fmt.Sprintf("%T", matcher)
	options, err := json.Marshal(matcher)
	if err != nil {
		return name
	}
	return name + string(options)
}

// toJSON puts texts into one, from which they could be told again.
func toJSON[T ~[]string](list T) string {
	encoded, _ := json.Marshal(list) // texts do not fail
	return string(encoded)
}
