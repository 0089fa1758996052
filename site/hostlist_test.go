package site

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// The index by hosts leaves out no route that a host may be for, and changes no order.
func FuzzHostList(f *testing.F) {
	f.Add("a.example.com|b.example.com|*.example.com|*||A.example.com,c.d|{http.request.host}|{env.HOME}.x|*.*.com|x.*.com", "a.example.com")
	f.Add("a.example.com,*.b|b|b:80|[::1]|::1|*.example.com", "b.example.com:80")
	f.Add("*.example.com|k.example.com", "\u212a.example.com")
	f.Add("*|*.|.|a.", "[::1]:8080")
	f.Fuzz(func(t *testing.T, list, host string) {
		var routes caddyhttp.RouteList
		for hosts := range strings.SplitSeq(list, "|") {
			route := caddyhttp.Route{}
			if hosts != "" {
				m := caddyhttp.MatchHost(strings.Split(hosts, ","))
				if m.Provision(caddy.Context{}) != nil {
					return
				}
				route.MatcherSets = caddyhttp.MatcherSets{{m}}
			}
			routes = append(routes, route)
		}
		r := newTrialRequest(new(caddyhttp.Server), host, caddy.NewReplacer())
		var want []string
		for _, route := range routes {
			if mayMatchHost(route.MatcherSets, r) {
				want = append(want, fmt.Sprint(route.MatcherSets))
			}
		}
		var got []string
		for _, route := range newHostList(routes).of(r) {
			got = append(got, fmt.Sprint(route.MatcherSets))
		}
		if !slices.Equal(got, want) {
			t.Errorf("%q: got %q, want %q", host, got, want)
		}
	})
}
