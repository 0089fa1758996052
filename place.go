package mcpauthbridge

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"sort"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/fileserver"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/rewrite"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/metadata"
)

// place is where a handler stands in the configuration.
type place struct {
	site   *site
	server *caddyhttp.Server
	prefix string          // stripped by enclosing routes
	hosts  map[string]bool // of the enclosing host matchers, lower case
	only   bool            // the only endpoint of its site
	paths  []caddyhttp.MatcherSets
	behind bool // an earlier route answers everything
	asked  bool // something before it asks for a login
	ahead  bool // a later handler may answer
}

// site is what a Caddyfile calls one: the routes for the same hosts on the
// same server.
type site struct {
	endpoints []*Handler
	metadata  []*MetadataHandler
}

// placeWarning says what an operator should mend.
type placeWarning struct {
	message, endpoint, path string
}

// walker goes through the routes of all servers.
type walker struct {
	sites map[string]*site
	all   []*Handler
	pages []place // of status pages
}

// placeEndpoints finds each endpoint's place and returns what is wrong.
func placeEndpoints(app *caddyhttp.App) ([]placeWarning, error) {
	w := &walker{sites: make(map[string]*site)}
	for name, server := range app.Servers {
		w.routes(server.Routes, name, place{server: server}, true)
	}
	var warnings []placeWarning
	for _, s := range w.sites {
		var root *Handler
		if err := s.checkLegacyPaths(); err != nil {
			return nil, err
		}
		for _, h := range s.endpoints {
			p := *h.place.Load()
			p.only = len(s.endpoints) == 1
			h.place.Store(&p)
			if h.ReverseProxy == nil && h.hub == nil && !p.ahead {
				return nil, errNothingFollows(h)
			}
			if h.RootMetadata {
				if root != nil {
					return nil, errRootTwice(root, h)
				}
				root = h
			}
			warnings = append(warnings, p.check(h, s)...)
		}
	}
	if err := checkServers(w.all); err != nil {
		return nil, err
	}
	for i := range w.pages {
		if w.pages[i].open() {
			warnings = append(warnings, placeWarning{"everyone can see the status page: put it behind authentication, as with `basic_auth` in its handle block", strings.Join(sortedKeys(w.pages[i].hosts), " "), w.pages[i].prefix})
		}
	}
	sort.Slice(warnings, func(i, j int) bool { return warnings[i].endpoint < warnings[j].endpoint })
	return warnings, nil
}

// checkLegacyPaths refuses two endpoints that offer HTTP+SSE at one path: the second
// would never be asked.
func (s *site) checkLegacyPaths() error {
	seen := make(map[string]*Handler)
	for _, h := range s.endpoints {
		if h.LegacySSE == nil {
			continue
		}
		for _, path := range []string{h.LegacySSE.Path, h.LegacySSE.MessagePath} {
			path = h.placed().prefix + path
			if other := seen[path]; other != nil && other != h {
				return fmt.Errorf("legacy_sse: %q belongs to two endpoints, %q and %q; give one of them another path", path, other.staticPath(), h.staticPath())
			}
			seen[path] = h
		}
	}
	return nil
}

// routes visits a list of routes. at is the place of the list.
func (w *walker) routes(routes caddyhttp.RouteList, key string, at place, top bool) {
	for i, route := range routes {
		here := at
		here.ahead = at.ahead || i < len(routes)-1
		routeKey := key
		if hosts := hostsOf(route.MatcherSets); hosts != nil {
			here.hosts = hosts
			if top {
				routeKey = key + " " + strings.Join(sortedKeys(hosts), " ")
			}
		}
		here.paths = append(slices.Clip(at.paths), route.MatcherSets)
		later := here.ahead
		for j, handler := range route.Handlers {
			here.ahead = later || j < len(route.Handlers)-1
			switch handler := handler.(type) {
			case *rewrite.Rewrite:
				here.prefix += handler.StripPathPrefix
				if len(route.MatcherSets) == 0 {
					at.prefix += handler.StripPathPrefix
				}
			case *caddyhttp.Subroute:
				w.routes(handler.Routes, routeKey, here, false)
			case *Handler:
				w.endpoint(handler, routeKey, here)
			case *MetadataHandler:
				s := w.site(routeKey)
				handler.place = here
				handler.place.site = s
				s.metadata = append(s.metadata, handler)
			case *StatusHandler:
				handler.place = here
				w.pages = append(w.pages, here)
			default:
				here.asked = here.asked || asks(handler)
				at.asked = at.asked || here.asked
			}
		}
		at.behind = at.behind || len(route.MatcherSets) == 0 && answers(route)
	}
}

func (w *walker) site(key string) *site {
	if w.sites[key] == nil {
		w.sites[key] = new(site)
	}
	return w.sites[key]
}

func (w *walker) endpoint(h *Handler, key string, here place) {
	s := w.site(key)
	here.site = s
	if !slices.Contains(s.endpoints, h) {
		s.endpoints, w.all = append(s.endpoints, h), append(w.all, h)
	}
	h.place.Store(&here)
}

// answers reports whether a route without a matcher answers whatever reaches
// it.
func answers(route caddyhttp.Route) bool {
	for _, handler := range route.Handlers {
		switch handler := handler.(type) {
		case *reverseproxy.Handler:
			if len(handler.HandleResponse) == 0 {
				return true
			}
		case *fileserver.FileServer:
			if !handler.PassThru {
				return true
			}
		case *caddyhttp.StaticResponse:
			return true
		case *caddyhttp.Subroute:
			for _, inner := range handler.Routes {
				if len(inner.MatcherSets) == 0 && answers(inner) {
					return true
				}
			}
		}
	}
	return false
}

// check reports why an endpoint or its metadata cannot be reached.
func (p *place) check(h *Handler, s *site) []placeWarning {
	endpoint := h.staticPath()
	if p.behind {
		return []placeWarning{{"endpoint cannot be reached: an earlier route answers every request; put that route into a handle block after the endpoint's own, or the endpoint into `route` before it", endpoint, endpoint}}
	}
	for _, other := range s.endpoints {
		if other != h && other.staticPath() == endpoint && p.sameMatchers(other) {
			return []placeWarning{{"two endpoints of one site have the same path; the first is served", endpoint, endpoint}}
		}
	}
	var warnings []placeWarning
	wellKnown := metadata.WellKnownPath + h.ownSuffix()
	if !h.metadataOff() && !p.reaches(s, wellKnown) {
		warnings = append(warnings, placeWarning{"metadata of the endpoint cannot be reached: add `mcp_auth_bridge metadata` to the site; where the site has a handle block for everything, inside `handle /.well-known/oauth-protected-resource*`", endpoint, wellKnown})
	}
	if h.bridgesServer() && !p.reaches(s, "/authorize") {
		warnings = append(warnings, placeWarning{"the bridged authorization server cannot be reached: add `mcp_auth_bridge metadata` to the site, outside of any handle block that keeps its paths away", endpoint, "/authorize"})
	}
	return warnings
}

// reaches reports whether a request for path comes to the endpoint, or to what
// answers for it at the level of the site.
func (p *place) reaches(s *site, path string) bool {
	if p.prefix == "" && p.matches(path) {
		return true
	}
	for _, m := range s.metadata {
		stripped := m.place.prefix != "" && strings.HasPrefix(path, m.place.prefix)
		if !m.place.behind && !stripped && m.place.matches(path) {
			return true
		}
	}
	return false
}

// sameMatchers reports whether another endpoint is selected by the same
// matchers, as far as they are written alike.
func (p *place) sameMatchers(other *Handler) bool {
	o := other.place.Load()
	if o == nil || len(o.paths) != len(p.paths) {
		return false
	}
	for i := range p.paths {
		if len(p.paths[i]) != len(o.paths[i]) {
			return false
		}
		for j := range p.paths[i] {
			if len(p.paths[i][j]) != 1 || len(o.paths[i][j]) != 1 {
				return false // more than a path: cannot tell
			}
		}
	}
	return true
}

// matches reports whether the path matchers around the handler let a request
// for path through; other matchers are taken to match.
func (p *place) matches(path string) bool {
	r := &http.Request{Method: http.MethodGet, URL: &url.URL{Path: path}, Header: make(http.Header)}
	repl := caddy.NewReplacer()
	r = r.WithContext(context.WithValue(context.Background(), caddy.ReplacerCtxKey, repl))
	for _, sets := range p.paths {
		matched := len(sets) == 0
		for _, set := range sets {
			if setMatchesPath(set, r) {
				matched = true
				break
			}
		}
		if !matched {
			return false
		}
	}
	return true
}

func setMatchesPath(set caddyhttp.MatcherSet, r *http.Request) bool {
	for _, m := range set {
		var paths caddyhttp.MatchPath
		switch m := m.(type) {
		case caddyhttp.MatchPath:
			paths = m
		case *caddyhttp.MatchPath:
			paths = *m
		default:
			continue
		}
		if ok, err := paths.MatchWithError(r); err != nil || !ok {
			return false
		}
	}
	return true
}

// hostsOf returns the hosts that matcher sets name; nil where one names none.
func hostsOf(sets caddyhttp.MatcherSets) map[string]bool {
	var hosts map[string]bool
	for _, set := range sets {
		var found caddyhttp.MatchHost
		for _, m := range set {
			switch m := m.(type) {
			case caddyhttp.MatchHost:
				found = m
			case *caddyhttp.MatchHost:
				found = *m
			}
		}
		if len(found) == 0 {
			return nil
		}
		if hosts == nil {
			hosts = make(map[string]bool)
		}
		for _, host := range found {
			if !strings.Contains(host, "{") {
				hosts[strings.ToLower(strings.Trim(hostname(host), "[]"))] = true
			}
		}
	}
	return hosts
}

func sortedKeys(m map[string]bool) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}

// has reports whether host is one of the place's; `*` stands for one label.
func (p *place) has(host string) bool {
	if p.hosts[host] {
		return true
	}
	_, rest, ok := strings.Cut(host, ".")
	return ok && p.hosts["*."+rest]
}

// isSibling reports whether origin is that of another host which the place names in
// full, and else like public, the origin of a request for host.
func (p *place) isSibling(origin, public, host string) bool {
	_, authority, ok := strings.Cut(origin, "://")
	if !ok || !p.hosts[host] {
		return false
	}
	other := hostname(authority)
	return p.hosts[other] && origin == strings.Replace(public, host, other, 1)
}

// originOf is the origin that clients use for a host of the place.
func (p *place) originOf(host string) string {
	scheme, port := "http", 0
	for _, listen := range p.server.Listen {
		addr, err := caddy.ParseNetworkAddress(listen)
		if err != nil || addr.IsUnixNetwork() {
			continue
		}
		port = int(addr.StartPort)
	}
	if len(p.server.TLSConnPolicies) > 0 || port == 443 {
		scheme = "https"
	}
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	if port == 0 || scheme == "https" && port == 443 || scheme == "http" && port == 80 {
		return scheme + "://" + host
	}
	return scheme + "://" + net.JoinHostPort(strings.Trim(host, "[]"), strconv.Itoa(port))
}
