package table

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

var shared = caddyhttp.MatchPath{"/.well-known/oauth-*", "*/.well-known/openid-configuration", "/token"}

// scripted is an endpoint: it answers its own paths and metadata, and passes on all else. Of the
// shared paths, those behind which nothing answers are answered by the last endpoint that is asked.
type scripted struct {
	name string
	Endpoint
}

func (s *scripted) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	path := r.URL.Path
	if slices.Contains(s.Metadata, path) || slices.ContainsFunc(s.Paths, func(p Path) bool {
		return path == p.Path || p.Below && strings.HasPrefix(path, p.Path)
	}) {
		_, _ = w.Write([]byte(s.name))
		return nil
	}
	if err := next.ServeHTTP(w, r); err != nil {
		return err
	}
	if w.(*httptest.ResponseRecorder).Body.Len() == 0 && shared.Match(r) {
		_, _ = w.Write([]byte("nothing behind " + s.name))
	}
	return nil
}

var config = &Config{Shared: shared, Describe: func(h caddyhttp.MiddlewareHandler) *Endpoint {
	if s, ok := h.(*scripted); ok {
		return &s.Endpoint
	}
	return nil
}}

// rewriter is a handler of a route that is not an endpoint's.
type rewriter struct{ to string }

func (h rewriter) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	u := *r.URL
	u.Path = h.to
	r = r.WithContext(r.Context())
	r.URL = &u
	return next.ServeHTTP(w, r)
}

func routeFor(tb testing.TB, handler caddyhttp.MiddlewareHandler, sets ...caddyhttp.MatchPath) caddyhttp.Route {
	tb.Helper()
	route, err := routeTo(caddy.Context{}, handler)
	if err != nil {
		tb.Fatal(err)
	}
	for _, paths := range sets {
		paths = slices.Clone(paths)
		if err := paths.Provision(caddy.Context{}); err != nil {
			tb.Fatal(err)
		}
		route.MatcherSets = append(route.MatcherSets, caddyhttp.MatcherSet{paths})
	}
	return route
}

func endpointRoute(tb testing.TB, name, path string) caddyhttp.Route {
	s := &scripted{name, Endpoint{Paths: []Path{{Path: path}, {Path: path + "/"}, {Path: path + "/messages/", Below: true}}, Metadata: []string{"/.well-known/oauth-x" + path}}}
	return routeFor(tb, s, caddyhttp.MatchPath{path, path + "/*"}, shared)
}

// answer is what a list of routes answers.
func answer(routes caddyhttp.RouteList, path string) string {
	r := httptest.NewRequest(http.MethodPost, "/", nil)
	r.URL.Path = path
	w := httptest.NewRecorder()
	r = caddyhttp.PrepareRequest(r, caddy.NewReplacer(), w, new(caddyhttp.Server))
	end := caddyhttp.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) error {
		w.Header().Set("X-End", "reached")
		return nil
	})
	if err := routes.Compile(end).ServeHTTP(w, r); err != nil {
		return err.Error()
	}
	return w.Header().Get("X-End") + " " + w.Body.String()
}

// Rule A12: of any list of routes, the same answers with tables as without, whatever the path is.
func TestSameRouteAnswers(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	segments := []string{"a", "A", "b", "ü", "mcp", "..", ".", "", "token", ".well-known", "oauth-x", "openid-configuration", "messages", "a.", "a ", "%2f"}
	path := func() string {
		var b strings.Builder
		for range 1 + rnd.IntN(5) {
			b.WriteByte('/')
			b.WriteString(segments[rnd.IntN(len(segments))])
		}
		return b.String()
	}
	own := []string{"/a", "/A", "/a/b", "/b", "/b/mcp", "/ü", "/mcp", "/token", "/a/messages/b", "/a//b", "/a."}
	tables, answers := 0, make(map[string]bool)
	for range 400 {
		var routes caddyhttp.RouteList
		for i := range 1 + rnd.IntN(12) {
			name, at := fmt.Sprint("endpoint ", i), own[rnd.IntN(len(own))]
			route := endpointRoute(t, name, at)
			switch rnd.IntN(12) {
			case 0:
				route.Group = "group"
			case 1:
				route.Terminal = true
			case 2:
				route.MatcherSets = route.MatcherSets[:1]
			case 3:
				route.MatcherSets = caddyhttp.MatcherSets{append(route.MatcherSets[0], caddyhttp.MatchMethod{http.MethodGet})}
			case 4:
				route = routeFor(t, rewriter{own[rnd.IntN(len(own))]}, caddyhttp.MatchPath{path()})
			case 5:
				route = routeFor(t, &caddyhttp.StaticResponse{Body: name}, caddyhttp.MatchPath{at + "/*"})
			}
			routes = append(routes, route)
		}
		built, err := config.Build(caddy.Context{}, routes)
		if err != nil {
			t.Fatal(err)
		}
		tables += Rows(built)
		if got := Expand(built); len(got) != len(routes) {
			t.Fatalf("%d routes after Expand, want %d", len(got), len(routes))
		}
		for range 50 {
			p := path()
			at := own[rnd.IntN(len(own))]
			switch rnd.IntN(6) {
			case 0, 1:
				p = "/.well-known/oauth-x" + at
			case 2:
				p = at
			case 3:
				p = at + "/messages" + strings.Repeat("/..", 1+strings.Count(at, "/")) + "/token"
			}
			got, want := answer(built, p), answer(routes, p)
			if got != want {
				t.Fatalf("%q: %q with tables, %q without", p, got, want)
			}
			answers[got] = true
		}
	}
	if tables < 200 || len(answers) < 20 {
		t.Errorf("%d tables have given %d answers: the test compares too little", tables, len(answers))
	}
}

// A lookup allocates nothing, however many endpoints there are, and asks no other routes.
func TestLookupAllocates(t *testing.T) {
	for _, n := range []int{2, 1000} {
		table := tableOf(t, n)
		for path, want := range map[string]int{
			fmt.Sprintf("/s%d", n-1): 1, "/none/at/all": 0,
			fmt.Sprintf("/.well-known/oauth-x/s%d", n-1): 1, "/.well-known/oauth-x/s0": 2,
		} {
			var few [8]int
			var found []int
			if got := testing.AllocsPerRun(100, func() { found = table.find(few[:0], path) }); got > 0 {
				t.Errorf("%d endpoints, %s: %.0f allocations, want none", n, path, got)
			}
			if len(found) != want {
				t.Errorf("%d endpoints, %s: %d routes are asked, want %d", n, path, len(found), want)
			}
		}
	}
}

func tableOf(tb testing.TB, n int) *Table {
	var routes caddyhttp.RouteList
	for i := range n {
		routes = append(routes, endpointRoute(tb, fmt.Sprint(i), fmt.Sprintf("/s%d", i)))
	}
	built, err := config.Build(caddy.Context{}, routes)
	if err != nil {
		tb.Fatal(err)
	}
	return only(built).(*Table)
}

func BenchmarkFind(b *testing.B) {
	for _, n := range []int{2, 1000, 10_000} {
		table := tableOf(b, n)
		for _, path := range []string{"/s1", fmt.Sprintf("/s%d/x", n-1), fmt.Sprintf("/.well-known/oauth-x/s%d", n-1)} {
			b.Run(fmt.Sprint(n, path), func(b *testing.B) {
				var few [8]int
				b.ReportAllocs()
				for b.Loop() {
					table.find(few[:0], path)
				}
			})
		}
	}
}
