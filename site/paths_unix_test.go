//go:build unix

package site

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// Rule A10: a trial passes a route by where Caddy's path matcher says no, and nowhere
// else, however the path is written; or else a site with many endpoints takes long to
// load, or a hole is not seen.
func TestTrialPassesRoutesBy(t *testing.T) {
	// Those for which Caddy has to be asked are in the second list.
	told := []string{"/mcp", "/mcp/*", "/mcp*", "/MCP/x", "*.php", "*/.well-known/x", "/", "*", "/a.b/c"}
	asked := []string{"*/mcp*", "/%6dcp", "//mcp", "/m?p", "/[m]cp", "/a/*/mcp", "{vars.x}", "/mcp/{vars.x}*"}
	paths := []string{"/", "/mcp", "/MCP", "/mcp/", "/mcp/x", "//mcp", "/./mcp", "/x/../mcp", "/mcp//x", "/%6dcp", "/mcp%2fx", "/mcpx", "/x.php", "/a/.well-known/x", "/a.b/c", "/a.b/C/", "/mcp/..", "/a/b/mcp"}
	for i, pattern := range append(append([]string(nil), told...), asked...) {
		paths0 := caddyhttp.MatchPath{pattern}
		if err := paths0.Provision(caddy.Context{}); err != nil {
			t.Fatal(err)
		}
		route := caddyhttp.Route{MatcherSets: caddyhttp.MatcherSets{{paths0}}}
		routes := among(route)
		trial := newTrial(&hostRoutes{scope: scope{server: new(caddyhttp.Server)}, indexes: make(indexes)}, nil)
		for _, path := range paths {
			u, err := url.ParseRequestURI(path)
			if err != nil {
				t.Fatal(err)
			}
			w := way{method: http.MethodPost, url: u}
			matches, err := paths0.MatchWithError(trial.at(w))
			if err != nil {
				t.Fatal(err)
			}
			switch passes := len(trial.skip(routes, w)) < len(routes); {
			case passes && matches:
				t.Errorf("%s: the route of %s is passed by, and matches", path, pattern)
			case i < len(told) && !passes && !matches && strings.Contains(pattern, "*"):
				t.Errorf("%s: Caddy is asked for the route of %s", path, pattern)
			}
		}
		// Any other set, and one without a path, may let it through.
		routes = among(caddyhttp.Route{MatcherSets: caddyhttp.MatcherSets{{paths0}, {caddyhttp.MatchMethod{"POST"}}}})
		if len(trial.skip(routes, way{url: &url.URL{Path: "/other"}})) < len(routes) {
			t.Errorf("%s: a route with a set for all paths is passed by", pattern)
		}
	}
}

// among returns a list, long enough for an index, that begins with a route.
func among(route caddyhttp.Route) caddyhttp.RouteList {
	routes := caddyhttp.RouteList{route}
	for len(routes) < minIndexed {
		routes = append(routes, caddyhttp.Route{MatcherSets: caddyhttp.MatcherSets{{caddyhttp.MatchPath{"/never"}}}})
	}
	return routes
}

// Rule A10: from every place in a list a trial goes on at the next route that may match.
func TestTrialFindsTheNextRoute(t *testing.T) {
	var routes caddyhttp.RouteList
	for i := range 5 {
		for _, pattern := range []string{"/a", "/a/*", "/b*", "*/c", "/d", "/a/b/*"} {
			routes = append(routes, caddyhttp.Route{MatcherSets: caddyhttp.MatcherSets{{caddyhttp.MatchPath{pattern}}}})
		}
		if i == 2 {
			routes = append(routes, caddyhttp.Route{})
		}
	}
	trial := newTrial(&hostRoutes{scope: scope{server: new(caddyhttp.Server)}, indexes: make(indexes)}, nil)
	for _, path := range []string{"/a", "/a/", "/a/b/c", "/bc", "/d", "/none", "/A//b/x"} {
		w := way{method: http.MethodPost, url: &url.URL{Path: path}}
		for i := range routes {
			want := i
			for ; want < len(routes); want++ {
				if v, _ := matchesAny(routes[want].MatcherSets, trial.at(w)); v != no {
					break
				}
			}
			if got := len(routes) - len(trial.skip(routes[i:], w)); got != want {
				t.Fatalf("%s: from route %d the next is %d, want %d", path, i, got, want)
			}
		}
	}
}
