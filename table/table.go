// Package table finds the endpoints that a request may be for among many of one list of routes,
// by one lookup. Caddy asks the matchers of each route, one after the other, and builds the
// chain of a subroute anew for each request, so that the cost of a request grows with the number
// of endpoints.
//
// [Build] puts a [Table] in place of each row of adjacent routes whose paths are plain. A table
// leaves out routes that would only pass the request on. The matchers of the others decide, as
// Caddy has them, in the order of the configuration: the same route answers as without a table.
package table

import (
	"net/http"
	"runtime"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// Endpoint is what a table needs to know of the handler of a route.
type Endpoint struct {
	// Paths are those that the endpoint answers. They are compared case-sensitively.
	Paths []Path
	// Metadata are the paths at which it serves its metadata.
	Metadata []string
}

// Path is a path that an endpoint answers.
type Path struct {
	Path string
	// Below is set if every path that begins with Path is answered.
	Below bool
}

// Config says which routes belong in a table.
type Config struct {
	// Describe returns the description of an endpoint. It returns nil for other handlers, and for
	// endpoints that must not be left out.
	//
	// An endpoint must pass on each request that is not its own, and do nothing else with it. The
	// exception are requests that match Shared: the last endpoint with Shared in a row does for all
	// of them what has to be done after the others.
	Describe func(caddyhttp.MiddlewareHandler) *Endpoint
	// Shared are the patterns that the routes of all endpoints have, beside their own. They
	// may begin or end with `*`.
	Shared caddyhttp.MatchPath
}

// Table is a handler in place of a row of routes.
type Table struct {
	routes caddyhttp.RouteList
	n      int // routes that are entered
	// exact and below have the routes by the paths that they match, as path matchers compare
	// paths. The keys of below are prefixes that end with a slash.
	exact, below map[string][]int
	depth        int // slashes in the longest key of below
	// metadata has the routes by the paths of their metadata.
	metadata map[string][]int
	shared   caddyhttp.MatchPath
	last     int // the last route that has the shared patterns; negative if none has
}

// minRoutes is the length of a row that gets a table.
const minRoutes = 2

// Build returns the routes with a table in place of each row of routes that belong in one. The
// routes are provisioned.
func (c *Config) Build(ctx caddy.Context, routes caddyhttp.RouteList) (caddyhttp.RouteList, error) {
	if runtime.GOOS == "windows" { // path matchers compare otherwise there
		return routes, nil
	}
	var built caddyhttp.RouteList
	rows := 0
	for begin := 0; begin < len(routes); {
		t := &Table{exact: make(map[string][]int), below: make(map[string][]int), metadata: make(map[string][]int), shared: c.Shared, last: -1}
		end := begin
		for end < len(routes) && c.add(t, &routes[end]) {
			end++
		}
		if end-begin < minRoutes {
			end = max(end, begin+1)
			built = append(built, routes[begin:end]...)
		} else {
			t.routes = slices.Clip(routes[begin:end])
			route, err := routeTo(ctx, t)
			if err != nil {
				return nil, err
			}
			built, rows = append(built, route), rows+1
		}
		begin = end
	}
	if rows == 0 {
		return routes, nil
	}
	if len(built) == 1 {
		return built, nil
	}
	route, err := routeTo(ctx, &list{configured: routes, routes: built})
	return caddyhttp.RouteList{route}, err
}

// list is a handler in place of a list of routes that has tables and other routes.
type list struct {
	configured, routes caddyhttp.RouteList
}

// ServeHTTP runs the routes.
func (l *list) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	return l.routes.Compile(next).ServeHTTP(w, r)
}

// Expand returns the routes as they were before [Config.Build].
func Expand(routes caddyhttp.RouteList) caddyhttp.RouteList {
	switch h := only(routes).(type) {
	case *Table:
		return h.routes
	case *list:
		return h.configured
	}
	return routes
}

// Rows returns how many tables [Config.Build] has made of a list.
func Rows(routes caddyhttp.RouteList) (n int) {
	if s, ok := only(routes).(*taken); ok {
		routes = s.routes
	}
	if l, ok := only(routes).(*list); ok {
		routes = l.routes
	}
	for i := range routes {
		if _, ok := only(routes[i : i+1]).(*Table); ok {
			n++
		}
	}
	return n
}

// only returns the handler of a list that has one handler and nothing else; nil for any other
// list.
func only(routes caddyhttp.RouteList) caddyhttp.MiddlewareHandler {
	if len(routes) != 1 || len(routes[0].Handlers) != 1 {
		return nil
	}
	return routes[0].Handlers[0]
}

// routeTo returns a route that has only a handler.
func routeTo(ctx caddy.Context, handler caddyhttp.MiddlewareHandler) (caddyhttp.Route, error) {
	route := caddyhttp.Route{Handlers: []caddyhttp.MiddlewareHandler{handler}}
	err := route.ProvisionHandlers(ctx, nil)
	return route, err
}

// add enters the next route of a row. It returns false if the route does not belong there.
func (c *Config) add(t *Table, route *caddyhttp.Route) bool {
	if route.Group != "" || route.Terminal || len(route.Handlers) != 1 || len(route.MatcherSets) == 0 {
		return false
	}
	endpoint := c.Describe(route.Handlers[0])
	if endpoint == nil {
		return false
	}
	var own []string
	shared := 0
	for _, set := range route.MatcherSets {
		patterns, ok := onlyPaths(set)
		if !ok {
			return false
		}
		for _, pattern := range patterns {
			switch {
			case slices.Contains(c.Shared, pattern):
				shared++
			case !isPlain(strings.TrimSuffix(pattern, "/*") + "/"):
				return false
			default:
				own = append(own, pattern)
			}
		}
	}
	if shared != 0 && shared != len(c.Shared) {
		return false
	}
	n := t.n
	t.n++
	for _, pattern := range own {
		if prefix, ok := strings.CutSuffix(pattern, "*"); ok {
			t.enterBelow(prefix, n)
		} else {
			enter(t.exact, pattern, n)
		}
	}
	for _, p := range endpoint.Paths {
		for _, key := range []string{strings.ToLower(p.Path), clean(p.Path)} {
			if p.Below {
				t.enterBelow(key[:strings.LastIndexByte(key, '/')+1], n)
			} else {
				enter(t.exact, key, n)
			}
		}
	}
	if shared > 0 {
		t.last = n
		for _, p := range endpoint.Metadata {
			enter(t.metadata, p, n)
		}
	}
	return true
}

func enter(in map[string][]int, key string, n int) {
	if list := in[key]; len(list) == 0 || list[len(list)-1] != n {
		in[key] = append(list, n)
	}
}

func (t *Table) enterBelow(prefix string, n int) {
	enter(t.below, prefix, n)
	t.depth = max(t.depth, strings.Count(prefix, "/"))
}

// onlyPaths returns the patterns of a matcher set that has only a path matcher.
func onlyPaths(set caddyhttp.MatcherSet) (caddyhttp.MatchPath, bool) {
	if len(set) != 1 {
		return nil, false
	}
	switch m := set[0].(type) {
	case caddyhttp.MatchPath:
		return m, len(m) > 0
	case *caddyhttp.MatchPath:
		return *m, len(*m) > 0
	}
	return nil, false
}

// isPlain reports whether a path matcher compares a pattern as it is, with the cleaned path.
func isPlain(pattern string) bool {
	return !strings.ContainsAny(pattern, "*?[]\\{}%") && !strings.Contains(pattern, "//")
}

// clean returns a path as path matchers compare it with a plain pattern.
func clean(p string) string { return caddyhttp.CleanPath(strings.ToLower(p), true) }

// ServeHTTP runs the routes that the request may be for.
func (t *Table) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	var few [8]int
	found := t.find(few[:0], r.URL.Path)
	for _, n := range slices.Backward(found) {
		next = t.routes[n].Compile(next)
	}
	return next.ServeHTTP(w, r)
}

// find adds the routes that a request for a path may be for, in their order.
func (t *Table) find(found []int, raw string) []int {
	lower := strings.ToLower(raw)
	cleaned := caddyhttp.CleanPath(lower, true)
	found = t.lookUp(found, cleaned)
	if lower != cleaned {
		found = t.lookUp(found, lower) // endpoints compare the path as it is
	}
	if t.last >= 0 && t.isShared(cleaned) {
		found = append(append(found, t.metadata[raw]...), t.last)
	}
	if len(found) > 1 {
		slices.Sort(found)
		found = slices.Compact(found)
	}
	return found
}

func (t *Table) lookUp(found []int, path string) []int {
	found = append(found, t.exact[path]...)
	for i, depth := 0, 0; depth < t.depth; depth++ {
		slash := strings.IndexByte(path[i:], '/')
		if slash < 0 {
			break
		}
		i += slash + 1
		found = append(found, t.below[path[:i]]...)
	}
	return found
}

// isShared reports whether the shared patterns match a cleaned path.
func (t *Table) isShared(cleaned string) bool {
	for _, pattern := range t.shared {
		prefix, isPrefix := strings.CutSuffix(pattern, "*")
		suffix, isSuffix := strings.CutPrefix(pattern, "*")
		if cleaned == pattern || isPrefix && strings.HasPrefix(cleaned, prefix) || isSuffix && strings.HasSuffix(cleaned, suffix) {
			return true
		}
	}
	return false
}

// Interface guards
var (
	_ caddyhttp.MiddlewareHandler = (*Table)(nil)
	_ caddyhttp.MiddlewareHandler = (*list)(nil)
)
