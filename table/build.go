package table

import (
	"encoding/json"
	"net/http"
	"slices"
	"sync"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// BuildAll puts tables into all lists of routes of an app, when all of them are provisioned: into
// subroutes, which a Caddyfile makes of sites and blocks, and into the lists that [Config.Take]
// has taken.
func (c *Config) BuildAll(ctx caddy.Context, app *caddyhttp.App) error {
	b := &builder{Config: c, ctx: ctx, seen: make(map[*caddyhttp.Subroute]bool)}
	for _, server := range app.Servers {
		if err := b.within(ServerRoutes(server)); err != nil {
			return err
		}
		if s := takenFrom(server); s != nil {
			var err error
			if s.routes, err = b.Build(ctx, s.routes); err != nil {
				return err
			}
		}
		if server.Errors != nil {
			if err := b.within(server.Errors.Routes); err != nil {
				return err
			}
		}
		for _, route := range server.NamedRoutes {
			if err := b.within(caddyhttp.RouteList{*route}); err != nil {
				return err
			}
		}
	}
	return nil
}

type builder struct {
	*Config
	ctx  caddy.Context
	seen map[*caddyhttp.Subroute]bool
}

// within builds the tables of the subroutes in a list.
func (b *builder) within(routes caddyhttp.RouteList) (err error) {
	for i := range routes {
		for _, handler := range routes[i].Handlers {
			sub, ok := handler.(*caddyhttp.Subroute)
			if !ok || b.seen[sub] {
				continue
			}
			b.seen[sub] = true
			if err = b.within(sub.Routes); err != nil {
				return err
			}
			if sub.Routes, err = b.Build(b.ctx, sub.Routes); err != nil {
				return err
			}
			if sub.Errors == nil {
				continue
			}
			if err = b.within(sub.Errors.Routes); err != nil {
				return err
			}
			if sub.Errors.Routes, err = b.Build(b.ctx, sub.Errors.Routes); err != nil {
				return err
			}
		}
	}
	return nil
}

// taken is the only route of a server whose own routes were taken away. Caddy compiles the routes
// of a server as soon as they are provisioned. At that time it is not known yet which of them
// belong in a table, so taken compiles them with the first request.
type taken struct {
	routes  caddyhttp.RouteList
	compile func() caddyhttp.Handler
}

// Take has the routes of a server compiled later, if they have a row of endpoints: a site
// without a host has its routes there. handler is the name of the module of endpoints. It has
// to be called while the first of them is provisioned.
func (c *Config) Take(ctx caddy.Context, server *caddyhttp.Server, handler string) error {
	if !isLoading(server.Routes) || len(server.Routes) < minRoutes || countOf(server.Routes, handler) < minRoutes {
		return nil
	}
	s := &taken{routes: server.Routes} // whose elements Caddy goes on to provision
	s.compile = sync.OnceValue(func() caddyhttp.Handler {
		return s.routes.Compile(caddyhttp.HandlerFunc(func(http.ResponseWriter, *http.Request) error { return nil }))
	})
	route, err := routeTo(ctx, s)
	server.Routes = caddyhttp.RouteList{route}
	return err
}

// isLoading reports whether Caddy is provisioning the handlers of a list.
func isLoading(routes caddyhttp.RouteList) bool {
	return slices.ContainsFunc(routes, func(r caddyhttp.Route) bool { return len(r.HandlersRaw) > 0 })
}

// countOf returns how many routes have only one handler, of this name, that is not provisioned
// yet.
func countOf(routes caddyhttp.RouteList, name string) (n int) {
	for i := range routes {
		var module struct{ Handler string }
		if raw := routes[i].HandlersRaw; len(raw) == 1 && json.Unmarshal(raw[0], &module) == nil && module.Handler == name {
			n++
		}
	}
	return n
}

func takenFrom(server *caddyhttp.Server) *taken {
	s, _ := only(server.Routes).(*taken)
	return s
}

// ServerRoutes returns the routes of a server as they are configured.
func ServerRoutes(server *caddyhttp.Server) caddyhttp.RouteList {
	if s := takenFrom(server); s != nil {
		return Expand(s.routes)
	}
	return server.Routes
}

// ServeHTTP runs the routes of the server. Nothing follows them.
func (s *taken) ServeHTTP(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
	return s.compile().ServeHTTP(w, r)
}

// Interface guard
var _ caddyhttp.MiddlewareHandler = (*taken)(nil)
