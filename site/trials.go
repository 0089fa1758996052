package site

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/caddyauth"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/rewrite"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/origin"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/table"
)

// guardedMethods are the methods that a guard must cover: those of MCP; HEAD, which servers answer
// as GET; and PUT, for all other methods, which reach the server too. OPTIONS is left out, because
// a preflight has no credentials.
var guardedMethods = []string{http.MethodPost, http.MethodGet, http.MethodDelete, http.MethodHead, http.MethodPut}

// Bounds of the requests that are tried for one handler at load.
const (
	maxTriedHosts   = 32
	maxTriedAliases = 64
)

// coverageOf tries requests for all paths that an endpoint answers at one of its places.
func coverageOf(h *Handler, p *Place, describe Describe) *coverage {
	c := &coverage{handler: h}
	var plain, odd []*url.URL
	for _, answered := range h.Answered {
		path, below := p.Prefix+answered.Path, []string{""}
		if answered.Below {
			path, below = path+"*", []string{"", "x", "x-_/y"}
		}
		c.paths = append(c.paths, path)
		for _, rest := range below {
			forms := requestForms(p.Prefix, answered.Path+rest)
			plain, odd = append(plain, forms[0]), append(odd, forms[1:]...)
		}
	}
	c.try(triedHosts(p, describe), plain, odd, aliasesOf)
	return c
}

// coverageOfPage tries the paths that lead to a status page.
func coverageOfPage(h *Handler, p *Place, describe Describe) *coverage {
	c := &coverage{handler: h}
	plain, odd := []*url.URL{{Path: "/"}, {Path: "/mcp-status"}}, []*url.URL(nil)
	for _, sets := range p.paths {
		for _, path := range pathsIn(sets, nil) {
			for _, form := range []string{path, p.Prefix + path} {
				forms := requestForms(form, "") // the whole path in any case
				plain, odd = append(plain, forms[0]), append(odd, forms[1:]...)
			}
		}
	}
	c.try(triedHosts(p, describe), append(plain, literalPaths(routesFor(p, describe, "", make(indexes)))...), odd, literalPaths)
	for _, t := range c.asked {
		c.paths = []string{strings.TrimSuffix(t.path, "/")}
		break
	}
	return c
}

// try follows requests for each host: those for plain with each method, and those for odd and more
// with the first method only.
func (c *coverage) try(hosts []*hostRoutes, plain, odd []*url.URL, more func(*hostRoutes) []*url.URL) {
	for _, routes := range hosts {
		if !routes.hasGuard() {
			continue
		}
		var begin int // of the present request's
		var now tried
		t := newTrial(routes, func(handler *Handler, w way) {
			if handler != c.handler {
				return
			}
			i := slices.IndexFunc(c.asked[begin:], func(t tried) bool { return t.later == w.later })
			if i < 0 {
				now.later, i = w.later, len(c.asked)-begin
				c.asked = append(c.asked, now)
			}
			found := &c.asked[begin+i]
			found.ways = append(found.ways, w)
		})
		t.of = c.handler
		follow := func(method string, u *url.URL) {
			begin, now = len(c.asked), tried{method: method, host: routes.host, path: u.EscapedPath()}
			t.follow(method, u)
			c.gaveUp = c.gaveUp || t.gaveUp
			if len(c.behind) == 0 {
				c.behind = t.behind
			}
			if len(c.lost) == 0 {
				c.lost = t.lost
			}
			for i := range c.asked[begin:] {
				c.asked[begin+i].refused = t.refused
			}
		}
		methods := guardedMethods
		if c.handler.Role == StatusPage {
			methods = []string{http.MethodGet}
		}
		for _, method := range methods {
			for _, u := range plain {
				follow(method, u)
			}
		}
		if !routes.tellsFormsApart() {
			continue
		}
		for _, u := range append(slices.Clone(odd), more(routes)...) {
			follow(methods[0], u)
		}
	}
}

// tellsFormsApart reports whether the routes may treat two ways to write a path differently. Path
// matchers do not, except for the endpoint's own two forms, unless there is a rewrite in between.
func (v *hostRoutes) tellsFormsApart() (found bool) {
	var inSets func(sets caddyhttp.MatcherSets)
	inSets = func(sets caddyhttp.MatcherSets) {
		for _, set := range sets {
			for _, m := range set {
				switch m := m.(type) {
				case caddyhttp.MatchPath:
					found = found || slices.ContainsFunc(m, isOddPattern)
				case *caddyhttp.MatchPath:
					found = found || slices.ContainsFunc(*m, isOddPattern)
				case caddyhttp.MatchHost, *caddyhttp.MatchHost, caddyhttp.MatchMethod, *caddyhttp.MatchMethod, caddyhttp.MatchNot, *caddyhttp.MatchNot:
				default:
					found = true
				}
			}
		}
		for _, inner := range negated(sets) {
			inSets(inner)
		}
	}
	v.each(func(route *caddyhttp.Route, _ int) {
		inSets(route.MatcherSets)
		for _, handler := range route.Handlers {
			_, rewrites := handler.(*rewrite.Rewrite)
			found = found || rewrites
		}
	})
	return found
}

// isOddPattern reports whether a path pattern may match one way to write a path and
// not another.
func isOddPattern(pattern string) bool {
	return strings.Contains(pattern, "%") || strings.Contains(pattern, "//") || strings.Contains(pattern, "{")
}

// requestForms are the ways to write a path that Caddy's matchers take for the same
// below a prefix that a route strips: percent-encoded, with doubled slashes, with
// the prefix in another case, with dot segments.
func requestForms(prefix, path string) (forms []*url.URL) {
	add := func(raw string) {
		u, err := url.ParseRequestURI(raw)
		if err == nil && !slices.ContainsFunc(forms, func(f *url.URL) bool { return *f == *u }) {
			forms = append(forms, u)
		}
	}
	add((&url.URL{Path: prefix + path}).EscapedPath())
	for _, plain := range []string{prefix + path, strings.ToUpper(prefix) + path} {
		escaped := (&url.URL{Path: plain}).EscapedPath()
		add(escaped)
		if i := strings.LastIndexByte(strings.TrimSuffix(plain, "/"), '/') + 1; i < len(plain) && plain[i] != '/' {
			add(fmt.Sprintf("%s%%%02x%s", plain[:i], plain[i], (&url.URL{Path: plain[i+1:]}).EscapedPath()))
		}
		add("/" + strings.ReplaceAll(strings.TrimPrefix(escaped, "/"), "/", "%2f"))
	}
	for _, odd := range []string{"/" + prefix + path, prefix + "/" + path, "/." + prefix + path, "/x/.." + prefix + path, prefix + "/." + path, prefix + path + "."} {
		add((&url.URL{Path: odd}).EscapedPath())
	}
	return forms
}

// anyHost stands for the hosts that no matcher names.
const anyHost = "no-such-host.invalid"

// hostRoutes are the routes that a server may run for a host.
type hostRoutes struct {
	scope
	host           string
	routes, errors caddyhttp.RouteList
	indexes        indexes
	guards         *bool // whether hasGuard has found one
}

// routesFor leaves out the routes for other hosts, which may be many.
func routesFor(p *Place, describe Describe, host string, known indexes) *hostRoutes {
	v := &hostRoutes{scope: scope{p.Server, describe}, host: host, indexes: known}
	r := newTrialRequest(p.Server, host, caddy.NewReplacer())
	index := p.hosts.of(p.Server)
	v.routes, v.errors = index.routes.of(r), index.errors.of(r)
	return v
}

// hostIndexes has the indexes of servers. A nil map stores none.
type hostIndexes map[*caddyhttp.Server]*hostIndex

// hostIndex finds the routes of a server that a request for a host may enter. It saves time with
// many sites, each of which has routes for its own hosts.
type hostIndex struct {
	routes, errors hostList
	other          *hostRoutes // for hosts that no matcher names; nil if it was not asked for
}

func (in hostIndexes) of(server *caddyhttp.Server) *hostIndex {
	if index := in[server]; index != nil {
		return index
	}
	index := &hostIndex{routes: newHostList(table.ServerRoutes(server))}
	if server.Errors != nil {
		index.errors = newHostList(server.Errors.Routes)
	}
	if in != nil {
		in[server] = index
	}
	return index
}

// otherRoutes returns the routes for hosts that no matcher names.
func otherRoutes(p *Place, describe Describe) *hostRoutes {
	index := p.hosts.of(p.Server)
	if index.other == nil {
		index.other = routesFor(p, describe, anyHost, make(indexes))
	}
	return index.other
}

// hostList is a list of routes, with an index by host. The index keeps the order of the routes.
type hostList struct {
	routes caddyhttp.RouteList
	named  map[string][]int // by hosts, and by patterns such as `*.example.com`
	all    []int            // routes that may be for any host
}

func newHostList(routes caddyhttp.RouteList) hostList {
	l := hostList{routes: routes, named: make(map[string][]int)}
	for i, route := range routes {
		hosts, ok := plainHosts(route.MatcherSets)
		if !ok {
			l.all = append(l.all, i)
			continue
		}
		for _, host := range hosts {
			enter(l.named, host, i)
		}
	}
	return l
}

// plainHosts returns the hosts that routes are for, in lower case. The first label may be a
// wildcard. ok is false if the routes may be for other hosts too.
func plainHosts(sets caddyhttp.MatcherSets) (all []string, ok bool) {
	for _, set := range sets {
		hosts := matcherIn[caddyhttp.MatchHost](set)
		if len(hosts) == 0 {
			return nil, false
		}
		for _, host := range hosts {
			if !isASCII(host) || strings.ContainsAny(strings.TrimPrefix(host, "*."), "*{") {
				return nil, false
			}
			all = append(all, strings.ToLower(host))
		}
	}
	return all, len(all) > 0
}

func isASCII(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r > unicode.MaxASCII })
}

// of returns the routes whose host matchers let a request through.
func (l hostList) of(r *http.Request) (own caddyhttp.RouteList) {
	host := strings.ToLower(origin.Hostname(r.Host))
	numbers := slices.Concat(l.all, l.named[host])
	if _, rest, ok := strings.Cut(host, "."); ok {
		numbers = append(numbers, l.named["*."+rest]...)
	}
	slices.Sort(numbers)
	for _, i := range slices.Compact(numbers) {
		if mayMatchHost(l.routes[i].MatcherSets, r) {
			own = append(own, l.routes[i])
		}
	}
	return own
}

// mayMatchHost reports whether the host matchers in sets let a request through.
func mayMatchHost(sets caddyhttp.MatcherSets, r *http.Request) bool {
	for _, set := range sets {
		ok := true
		for _, m := range set {
			switch m.(type) {
			case caddyhttp.MatchHost, *caddyhttp.MatchHost:
				v, _ := matches(m, r)
				ok = ok && v != no
			}
		}
		if ok {
			return true
		}
	}
	return len(sets) == 0
}

// triedHosts returns the hosts that requests for a place are tried with, each with its routes: the
// hosts that matchers inside these routes name, the hosts of the place, and one host that no
// matcher names.
func triedHosts(p *Place, describe Describe) []*hostRoutes {
	if p.site == nil {
		return newTriedHosts(p, describe, make(indexes))
	}
	s := p.site
	if s.tried == nil {
		s.indexes, s.tried = make(indexes), make(map[string][]*hostRoutes)
	}
	key := strings.Join(SortedKeys(p.Hosts), " ")
	if s.tried[key] == nil { // the same for a thousand endpoints
		s.tried[key] = newTriedHosts(p, describe, s.indexes)
	}
	return s.tried[key]
}

func newTriedHosts(p *Place, describe Describe, known indexes) (all []*hostRoutes) {
	var names []string
	add := func(host string) {
		host = strings.Replace(caddy.NewReplacer().ReplaceAll(host, ""), "*", "x", 1)
		if host != "" && !slices.Contains(names, host) {
			names = append(names, host)
		}
	}
	other := otherRoutes(p, describe)
	own := SortedKeys(p.Hosts)
	views := []*hostRoutes{other}
	if len(own) > 0 {
		views = append(views, routesFor(p, describe, strings.Replace(own[0], "*", "x", 1), known))
	}
	for _, v := range views {
		v.each(func(route *caddyhttp.Route, depth int) {
			if depth == 0 {
				return // the sites themselves
			}
			for _, sets := range append([]caddyhttp.MatcherSets{route.MatcherSets}, negated(route.MatcherSets)...) {
				for _, host := range SortedKeys(hostsOf(sets)) {
					add(host)
				}
			}
		})
	}
	for _, host := range own {
		add(host)
	}
	for _, host := range names[:min(len(names), maxTriedHosts)] {
		all = append(all, routesFor(p, describe, host, known))
	}
	return append(all, other)
}

// aliasesOf returns paths that a rewrite may turn into the path of an endpoint.
func aliasesOf(v *hostRoutes) []*url.URL {
	rewrites := false
	v.each(func(route *caddyhttp.Route, _ int) {
		for _, handler := range route.Handlers {
			_, is := handler.(*rewrite.Rewrite)
			rewrites = rewrites || is
		}
	})
	if !rewrites {
		return nil
	}
	return append(literalPaths(v), &url.URL{Path: "/"})
}

// literalPaths are the paths that the matchers of the routes name.
func literalPaths(v *hostRoutes) (all []*url.URL) {
	v.each(func(route *caddyhttp.Route, _ int) {
		for _, path := range pathsIn(route.MatcherSets, nil) {
			if u, err := url.ParseRequestURI(path); err == nil && len(all) < maxTriedAliases {
				all = append(all, u)
			}
		}
	})
	return all
}

// pathsIn lists the paths that the path matchers in sets name. For a wildcard at the end it lists
// some paths below it.
func pathsIn(sets caddyhttp.MatcherSets, paths []string) []string {
	for _, set := range sets {
		for _, pattern := range matcherIn[caddyhttp.MatchPath](set) {
			path, wild := strings.CutSuffix(pattern, "*")
			if strings.ContainsAny(path, "*?[{") {
				continue
			}
			ends := []string{""}
			if wild {
				ends = []string{"", "/", "x", "/x"}
			}
			for _, end := range ends {
				if p := path + end; strings.HasPrefix(p, "/") && !strings.HasPrefix(p, "//") && !slices.Contains(paths, p) {
					paths = append(paths, p)
				}
			}
		}
	}
	for _, inner := range negated(sets) {
		paths = pathsIn(inner, paths)
	}
	return paths
}

// negated returns the matcher sets inside the `not` matchers of sets.
func negated(sets caddyhttp.MatcherSets) (all []caddyhttp.MatcherSets) {
	for _, set := range sets {
		for _, m := range set {
			switch m := m.(type) {
			case caddyhttp.MatchNot:
				all = append(all, m.MatcherSets)
			case *caddyhttp.MatchNot:
				all = append(all, m.MatcherSets)
			}
		}
	}
	return all
}

// hasGuard reports whether the routes have anything that a trial counts as a guard.
func (v *hostRoutes) hasGuard() bool {
	if v.guards != nil {
		return *v.guards
	}
	found := false
	v.guards = &found
	v.each(func(route *caddyhttp.Route, _ int) {
		found = found || len(route.MatcherSets) > 0 && refuses(route) != nil
		for _, handler := range route.Handlers {
			switch h := handler.(type) {
			case *caddyauth.Authentication:
				found = true
			default:
				for _, in := range v.nestedIn(h) {
					found = found || in.when == onAnswer
				}
				found = found || soundsLikeLogin(h)
			}
		}
	})
	return found
}

// each calls f for each of the routes, wherever it stands.
func (v *hostRoutes) each(f func(route *caddyhttp.Route, depth int)) {
	left := maxTrialSteps
	var walk func(routes caddyhttp.RouteList, depth int, invoked invocations)
	walk = func(routes caddyhttp.RouteList, depth int, invoked invocations) {
		for i := range routes {
			if left--; left < 0 {
				return
			}
			f(&routes[i], depth)
			for _, handler := range routes[i].Handlers {
				invoked, ok := invoked.enter(handler)
				if !ok {
					continue
				}
				for _, in := range v.nestedIn(handler) {
					walk(in.routes, depth+1, invoked)
				}
			}
		}
	}
	walk(v.routes, 0, nil)
	walk(v.errors, 0, nil)
}
