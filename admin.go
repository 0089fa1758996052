package mcpauthbridge

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/metadata"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/origin"
	_ "github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/command" // caddy mcp
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/site"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/status"
)

func init() {
	caddy.RegisterModule(adminAPI{})
	caddy.RegisterModule(StatusHandler{})
}

// statusAPI shows the endpoints of the running configuration.
var statusAPI = status.API{Endpoints: func() []status.Endpoint { return statusEndpoints(endpointsNow()) }}

// adminAPI shows the state of the endpoints in Caddy's admin API. [status.API] lists its paths.
type adminAPI struct{}

// CaddyModule returns the Caddy module information.
func (adminAPI) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "admin.api.mcp_auth_bridge",
		New: func() caddy.Module { return new(adminAPI) },
	}
}

// Routes implements caddy.AdminRouter.
func (adminAPI) Routes() []caddy.AdminRoute {
	return []caddy.AdminRoute{{Pattern: status.AdminPath, Handler: caddy.AdminHandlerFunc(statusAPI.Serve)}}
}

// StatusHandler serves a page that shows all endpoints of this Caddy, as the admin API
// does, and that checks them from the visitor's browser. The page is not protected: it
// shows the addresses of upstreams and their challenges to everyone who can open it. Put
// it behind authentication.
//
// It answers GET and HEAD. With the query `json` it answers as the admin API does. You
// cannot change anything through it.
type StatusHandler struct {
	app       *App
	described *site.Handler
}

// CaddyModule returns the Caddy module information.
func (StatusHandler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.handlers.mcp_auth_bridge_status",
		New: func() caddy.Module { return new(StatusHandler) },
	}
}

// Provision sets the handler up.
func (s *StatusHandler) Provision(ctx caddy.Context) error {
	appModule, err := ctx.App(appID) // which says at load where the page is open to everyone
	if err != nil {
		return err
	}
	s.app = appModule.(*App)
	s.described = &site.Handler{Role: site.StatusPage, Module: s}
	return s.app.observe(ctx)
}

// ServeHTTP answers with the page, or with what it shows.
func (s *StatusHandler) ServeHTTP(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
	if err := s.app.prepare(); err != nil {
		return errNotServing(err)
	}
	return statusAPI.ServePage(w, r, s.isKnown(r))
}

// isKnown reports whether a request names the page by a name that no page elsewhere can
// have. DNS rebinding makes a foreign name point here, which the browser does not show. An
// address cannot be rebound, and neither can a name of this machine. Other names have to be
// in the configuration. A trusted proxy has checked the name that it was asked for.
func (s *StatusHandler) isKnown(r *http.Request) bool {
	if trusted, _ := caddyhttp.GetVar(r.Context(), caddyhttp.TrustedProxyVarKey).(bool); trusted {
		return true
	}
	host := strings.ToLower(origin.Hostname(r.Host))
	if origin.IsLoopback(host) || origin.IsIP(host) || s.described.Place().Has(host) {
		return true
	}
	return slices.ContainsFunc(s.app.endpoints, func(h *Handler) bool { return h.endpoint.HasHost(host) })
}

// registerMetrics registers the metrics of a configuration's endpoints.
func registerMetrics(registry *prometheus.Registry, endpoints []*Handler) error {
	if registry == nil || len(endpoints) == 0 {
		return nil
	}
	return status.RegisterMetrics(registry, func() []status.Endpoint { return statusEndpoints(endpoints) })
}

// statusEndpoints returns what the status shows of endpoints.
func statusEndpoints(endpoints []*Handler) []status.Endpoint {
	all := make([]status.Endpoint, len(endpoints))
	for i, h := range endpoints {
		all[i] = status.Endpoint{
			Name: h.label(), Kind: h.upstream.Transport(), Address: h.described.Upstream, Loaded: h.loaded, Counts: h.observer.counts, Memory: h.observer.memory.Load(),
			Metadata: func() []status.Metadata { return metadataStates(h) }, Upstreams: func() []status.Upstream { return upstreamStates(h) }, Allow: allowingLine,
		}
		if mode, err := h.Challenge.mode(); err == nil {
			all[i].Challenge = string(mode)
		}
		all[i].Forwarding, all[i].Because = forwards(h)
		if h.isMiddleware() {
			all[i].Kind = "middleware"
		}
		if h.hub != nil {
			all[i].Sessions = h.hub
			if !h.upstream.proxied {
				all[i].Starts = h.hub.State
			}
		}
	}
	return all
}

// metadataStates returns the state of the metadata of each public URL.
func metadataStates(h *Handler) (all []status.Metadata) {
	if h.metadataOff() {
		return nil
	}
	if h.store.Configured() {
		return []status.Metadata{{URL: h.label(), Known: true, Source: metadata.SourceConfigured}}
	}
	for url, st := range h.store.States() {
		all = append(all, status.Metadata{
			URL: url, Known: st.Known, Source: st.Source, Age: st.Age.Round(time.Millisecond).Seconds(), Absent: st.Absent, Expires: status.Time(st.Expires),
			LastError: st.LastError, LastErrorAt: status.Time(st.LastErrorAt),
			Foreign: st.Foreign, Add: originsLine(h, metadata.ForeignResource, st.Foreign),
		})
	}
	return all
}

// upstreamStates returns the state of each address that Caddy's proxy has. It returns nil
// if there is no proxy.
func upstreamStates(h *Handler) []status.Upstream {
	if h.ReverseProxy == nil {
		return nil
	}
	all := []status.Upstream{}
	for _, u := range h.ReverseProxy.Upstreams {
		s := status.Upstream{Address: u.Dial, Healthy: u.Healthy()}
		if u.Host != nil {
			s.Requests, s.Fails = u.Host.NumRequests(), u.Host.Fails()
		}
		all = append(all, s)
	}
	return all
}

// Interface guards
var (
	_ caddy.AdminRouter           = adminAPI{}
	_ caddyhttp.MiddlewareHandler = (*StatusHandler)(nil)
)
