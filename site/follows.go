package site

import (
	"net/http"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// rest is what Caddy runs after a handler, as `next`.
type rest struct {
	handlers []caddyhttp.MiddlewareHandler // of the same route
	routes   caddyhttp.RouteList           // behind it
	group    string                        // of the route: others of it do not run
	terminal bool                          // nothing runs behind the route
	outer    *rest                         // of the handler that holds the route; nil at the end
	unknown  bool                          // the holder decides what follows
}

// Follows returns the handlers that Caddy runs after the one at the place. It is nil where
// the routes do not say: a plugin, or a proxy for an answer, runs the routes that it holds as
// it likes, and a handler that several routes invoke is followed by something else in each.
func (h *Handler) Follows() caddyhttp.Handler {
	if len(h.all) != 1 || h.all[0].rest == nil {
		return nil
	}
	next, ok := h.all[0].rest.compile()
	if !ok {
		return nil
	}
	return next
}

// compile returns what is run, and false if that is not known.
func (r *rest) compile() (caddyhttp.Handler, bool) {
	if r == nil {
		return caddyhttp.HandlerFunc(func(http.ResponseWriter, *http.Request) error { return nil }), true
	}
	if r.unknown {
		return nil, false
	}
	next, ok := r.outer.compile()
	if !ok {
		return nil, false
	}
	if r.terminal {
		next, _ = (*rest)(nil).compile()
	} else {
		var routes caddyhttp.RouteList
		for _, route := range r.routes {
			if r.group == "" || route.Group != r.group {
				routes = append(routes, route)
			}
		}
		next = routes.Compile(next)
	}
	for i := len(r.handlers) - 1; i >= 0; i-- {
		handler, after := r.handlers[i], next
		next = caddyhttp.HandlerFunc(func(w http.ResponseWriter, req *http.Request) error { return handler.ServeHTTP(w, req, after) })
	}
	return next, true
}
