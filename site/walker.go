package site

import (
	"maps"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/fileserver"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/rewrite"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/table"
)

// walker goes through the routes of all servers.
type walker struct {
	describe  Describe
	sites     map[string]*Site
	endpoints []*Handler // in the order in which they were found
	pages     []page
	left      int // routes that may still be looked at
	seen      map[*Handler]bool
}

// page is a status page at one of its places.
type page struct {
	handler *Handler
	place   *Place
}

// maxRoutes bounds how many routes are looked at: many routes can invoke a named one.
const maxRoutes = 100_000

// routes walks through a list of routes. at is the place of the list, and key the name of its
// site. top is set for the routes of a server itself.
func (w *walker) routes(routes caddyhttp.RouteList, key string, at Place, top bool, invoked invocations) {
	var guarding caddyhttp.MiddlewareHandler // for some paths, in an earlier route
	at.unguarded = nil
	for i, route := range routes {
		if w.left--; w.left < 0 {
			return
		}
		here := at
		here.Ahead = at.Ahead || i < len(routes)-1
		routeKey := key
		if hosts := hostsOf(route.MatcherSets); hosts != nil {
			here.Hosts = hosts
			if top {
				routeKey = key + " " + strings.Join(SortedKeys(hosts), " ")
			}
		}
		here.paths = append(slices.Clip(at.paths), route.MatcherSets)
		here.stripped = append(slices.Clip(at.stripped), at.Prefix)
		later := here.Ahead
		for j, handler := range route.Handlers {
			here.Ahead = later || j < len(route.Handlers)-1
			here.rest = &rest{handlers: route.Handlers[j+1:], routes: routes[i+1:], group: route.Group, terminal: route.Terminal, outer: at.rest}
			if strip, ok := handler.(*rewrite.Rewrite); ok {
				here.Prefix += strip.StripPathPrefix
				if len(route.MatcherSets) == 0 {
					at.Prefix += strip.StripPathPrefix
				}
			}
			if own := w.describe(handler); own != nil {
				w.found(own, routeKey, here)
			}
			invoked, ok := invoked.enter(handler)
			if !ok {
				continue
			}
			for _, nested := range (scope{here.Server, w.describe}).nestedIn(handler) {
				inside := here
				if nested.when != inPlace {
					inside.behind = false // what answers everything may fail
					inside.rest = &rest{unknown: true}
				}
				w.routes(nested.routes, routeKey, inside, false, invoked)
			}
		}
		if !at.behind && len(route.MatcherSets) == 0 && answers(route) {
			at.behind, at.redirected = true, slices.ContainsFunc(route.Handlers, redirects)
		}
		for _, handler := range route.Handlers {
			if r, ok := handler.(*rewrite.Rewrite); ok && guarding != nil && at.unguarded == nil && isOpen(r) {
				at.unguarded = guarding
			}
			if isLogin(handler) && len(pathsIn(route.MatcherSets, nil)) > 0 {
				guarding = handler
			}
		}
	}
}

// redirects reports whether a handler is what `redir` makes.
func redirects(h caddyhttp.MiddlewareHandler) bool {
	static, ok := h.(*caddyhttp.StaticResponse)
	return ok && static.Headers.Get("Location") != ""
}

func (w *walker) site(key string) *Site {
	if w.sites[key] == nil {
		w.sites[key] = &Site{has: make(map[*Handler]bool)}
	}
	return w.sites[key]
}

// found notes that one of our handlers stands at a place.
func (w *walker) found(h *Handler, key string, here Place) {
	first := !w.seen[h]
	if first { // also if a walk before this one has found it
		w.seen[h] = true
		h.place, h.site, h.all = nil, nil, nil
	}
	if h.Role == StatusPage {
		if first {
			h.place = &Place{Hosts: make(map[string]bool)}
		}
		maps.Copy(h.place.Hosts, here.Hosts)
		w.pages = append(w.pages, page{h, &here})
		return
	}
	s := w.site(key)
	here.site = s
	if h.Role == Metadata {
		h.place, h.site = &here, s
		s.metadata = append(s.metadata, h)
		return
	}
	if !s.has[h] {
		s.has[h] = true
		s.Endpoints = append(s.Endpoints, h)
	}
	if first {
		w.endpoints = append(w.endpoints, h)
	}
	h.all = append(h.all, &here)
}

// answers reports whether a route without a matcher answers every request that reaches it.
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
			for _, inner := range table.Expand(handler.Routes) {
				if len(inner.MatcherSets) == 0 && answers(inner) {
					return true
				}
			}
		}
	}
	return false
}

// HasErrorRoutes reports whether a server may answer an error by routes: by its own error
// routes, or by those of a subroute, which only JSON can have.
func HasErrorRoutes(server *caddyhttp.Server) bool {
	if server.Errors != nil && len(server.Errors.Routes) > 0 {
		return true
	}
	left := maxRoutes
	for _, named := range server.NamedRoutes {
		if subrouteHasErrorRoutes(caddyhttp.RouteList{*named}, &left) {
			return true
		}
	}
	return subrouteHasErrorRoutes(table.ServerRoutes(server), &left)
}

func subrouteHasErrorRoutes(routes caddyhttp.RouteList, left *int) bool {
	for _, route := range routes {
		if *left--; *left < 0 {
			return true
		}
		for _, handler := range route.Handlers {
			sub, ok := handler.(*caddyhttp.Subroute)
			if ok && (sub.Errors != nil && len(sub.Errors.Routes) > 0 || subrouteHasErrorRoutes(table.Expand(sub.Routes), left)) {
				return true
			}
		}
	}
	return false
}
