package mcpauthbridge

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/authserver"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/metadata"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/origin"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/suggest"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/site"
)

// AuthorizationServerConfig says how to serve an authorization server that is on
// the MCP server's own origin.
type AuthorizationServerConfig struct {
	// How to serve it. `bridge` serves its metadata, its endpoints and its login
	// pages at the public origin, at the same paths as at the upstream. Two such
	// servers cannot share a host.
	Mode string `json:"mode,omitempty"`

	// More paths to serve, such as `/consent` or `/static/*`, besides those in its
	// metadata and those that it redirects to. `*` matches within one segment; as
	// the last segment it matches everything below. Everyone can reach what you
	// list. Default: none.
	Paths []string `json:"paths,omitempty"`

	// Serves only the paths in the metadata and in `paths`. Paths are not learned
	// from redirects. Default: false.
	OnlyListed bool `json:"only_listed,omitempty"`
}

// UnmarshalJSON implements json.Unmarshaler.
func (c *AuthorizationServerConfig) UnmarshalJSON(data []byte) error {
	type plain AuthorizationServerConfig
	return suggest.Decode(data, (*plain)(c), "authorization_server", nil)
}

// check validates the options for an endpoint.
func (c *AuthorizationServerConfig) check(h *Handler) error {
	if c == nil {
		return nil
	}
	var errs []error
	if c.Mode != "bridge" {
		errs = append(errs, fmt.Errorf("authorization_server mode: %q is not bridge", c.Mode))
	}
	if h.ReverseProxy == nil {
		errs = append(errs, errors.New("authorization_server bridge: needs an upstream address (reverse_proxy in JSON); without one nothing says where the server is"))
	}
	if h.metadataOff() {
		errs = append(errs, errors.New("authorization_server bridge: cannot be used with metadata off, because the metadata names the server"))
	}
	_, err := serverPaths(c.Paths)
	for _, path := range c.Paths {
		if metadata.OwnsServerPath(path) || strings.HasPrefix(path, metadata.WellKnownPath) || strings.TrimSuffix(path, "/") == h.Endpoint {
			errs = append(errs, fmt.Errorf("authorization_server paths: %q is served already, as the endpoint or its metadata", path))
		}
	}
	return errors.Join(append(errs, err)...)
}

// warnServer warns if nothing in the configuration says which URLs are the bridged server's own.
func warnServer(h *Handler) {
	if h.bridgesServer() && len(dialledHosts(h.ReverseProxy)) == 0 && (h.Challenge == nil || len(h.Challenge.Origins) == 0) {
		h.logger.Warn("authorization_server bridge: the upstream has no fixed address; list the origin that the server calls its own in `challenge origins`",
			zap.String("endpoint", h.staticPath()))
	}
}

func serverPaths(paths []string) ([]authserver.Glob, error) {
	var globs []authserver.Glob
	var errs []error
	for _, s := range paths {
		g, err := authserver.ParseGlob(s)
		if err != nil {
			errs = append(errs, fmt.Errorf("authorization_server paths: %q %w", s, err))
			continue
		}
		globs = append(globs, g)
	}
	return globs, errors.Join(errs...)
}

// config returns the configuration of the bridged authorization server. It is nil if none is
// bridged. info logs something about a path that an operator may want to know.
func (c *AuthorizationServerConfig) config(limits *Limits, info func(msg, path string)) (*authserver.Config, error) {
	if c == nil {
		return nil, nil
	}
	globs, err := serverPaths(c.Paths)
	if err != nil {
		return nil, err
	}
	return &authserver.Config{
		Paths:      globs,
		Form:       limits.MaxForm,
		Document:   limits.MaxMetadataSize,
		OnlyListed: c.OnlyListed,
		Info:       info,
	}, nil
}

// sameServer reports whether the authorization servers of two endpoints are one.
func sameServer(a, b *Handler) bool { return a.identity.SameServer(&b.identity) }

// serverRequest is one request to the authorization server.
type serverRequest struct{ authserver.Request }

// roundTrip implements exchange.
func (q *serverRequest) roundTrip(req *http.Request, rt http.RoundTripper) (*http.Response, error) {
	return q.RoundTrip(req, rt.RoundTrip)
}

// bridgedServer is the authorization server of an endpoint that has one bridged.
type bridgedServer struct{ h *Handler }

// serve serves a request if it belongs to the authorization server, and returns false otherwise.
func (s bridgedServer) serve(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) (done bool, err error) {
	path, plain := authserver.PlainPath(r.URL)
	if !plain {
		return false, nil
	}
	public, ok := publicOf(s.h, r)
	if metadata.OwnsServerPath(path) {
		if !ok {
			return true, caddyhttp.Error(http.StatusBadRequest, errors.New("request names no usable host"))
		}
		s.serveMetadata(w, r, path, public)
		return true, nil
	}
	if !ok || s.h.placed().endpoints.isAnothers(s.h, path) {
		return false, nil
	}
	d := discovery(s)
	route := s.h.endpoint.Server().Route(r.Context(), path, public)
	if route.Kind == metadata.RouteNone {
		if route.Unknown && !s.h.placed().Ahead {
			d.open(w, r)
			s.h.store.ServeUnavailable(w, r)
			return true, nil
		}
		return false, nil
	}
	(&facts{h: s.h, r: r, w: w, target: targetServer}).publish()
	if route.Kind.Open() {
		if d.open(w, r) {
			return true, nil
		}
	} else {
		d.varyByHost(w)
	}
	if route.Server == nil {
		s.h.store.ServeUnavailable(w, r)
		return true, nil
	}
	return true, s.forward(w, authserver.WithoutForwarding(r), next, route, public)
}

// serveMetadata answers a well-known URL of the authorization server.
func (s bridgedServer) serveMetadata(w http.ResponseWriter, r *http.Request, path string, public metadata.Public) {
	(&facts{h: s.h, r: r, w: w, target: targetServer}).publish()
	d := discovery(s)
	if d.open(w, r) {
		return
	}
	if all := s.h.placed().endpoints; all.sharesServer(s.h) {
		served := false
		all.withServerOf(s.h, func(other *Handler) bool {
			pub := publicBeside(other, public)
			if served = other.store.HasDocument(r.Context(), pub, path); served {
				other.store.ServeServer(w, r, pub, path)
			}
			return !served
		})
		if served {
			return
		}
	}
	s.h.store.ServeServer(w, r, public, path)
}

// forward sends a request to the authorization server.
func (s bridgedServer) forward(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler, route authserver.Route, public metadata.Public) error {
	q := new(serverRequest)
	if err := s.h.endpoint.Server().Begin(&q.Request, w, r, route, s.resource(r.Context(), public, route.Server)); err != nil {
		return bodyError(err)
	}
	err := s.h.ReverseProxy.ServeHTTP(q.Relay(w), withExchange(r, q), next)
	if breaksOff(s.h, &q.Record, r) {
		abort(w)
	}
	if err != nil {
		return proxyError(err, &q.Record)
	}
	return nil
}

// resource returns a function that returns the upstream's name of a protected resource: this
// endpoint, or another one that has the same authorization server. The metadata of each endpoint
// is looked up once, however often a client names it.
func (s bridgedServer) resource(ctx context.Context, public metadata.Public, own *metadata.Server) func(string) (string, bool) {
	servers := map[*Handler]*metadata.Server{s.h: own}
	return func(value string) (of string, ok bool) {
		of = value
		if !strings.HasPrefix(value, "http") {
			return of, false
		}
		s.h.placed().endpoints.withServerOf(s.h, func(other *Handler) bool {
			pub := publicBeside(other, public)
			if !pub.IsResource(value) {
				return true
			}
			if _, asked := servers[other]; !asked {
				servers[other] = other.store.Server(ctx, pub)
			}
			of, ok = servers[other].UpstreamResource(value, pub)
			return false
		})
		return of, ok
	}
}

// publicBeside returns the public URL of an endpoint, given that of another endpoint of the
// same site.
func publicBeside(h *Handler, public metadata.Public) metadata.Public {
	public.Path = h.staticPath()
	if h.base.origin != "" {
		public.Origin, public.Fixed = h.base.origin, true
	}
	return public
}

// shareHost reports whether two endpoints may get requests for the same host.
func shareHost(a, b *Handler) bool {
	mine, others := hostsOf(a), hostsOf(b)
	if len(mine.Hosts) == 0 || len(others.Hosts) == 0 {
		return a.placed().Server == b.placed().Server
	}
	for host := range mine.Hosts { // without ports, since cookies are the same for all ports
		if others.Has(host) {
			return true
		}
	}
	for host := range others.Hosts {
		if mine.Has(host) {
			return true
		}
	}
	return false
}

// hostsOf returns a place with the hosts that clients use for an endpoint.
func hostsOf(h *Handler) *site.Place {
	if h.base.origin != "" {
		return &site.Place{Hosts: map[string]bool{origin.HostnameOf(h.base.origin): true}}
	}
	return &site.Place{Hosts: h.placed().Hosts}
}

// errServersTwice is the error for two authorization servers on the same host.
func errServersTwice(a, b *Handler) error {
	first := func(h *Handler) string { // addresses that are written differently are different
		if dials := dialled(h.ReverseProxy); len(dials) > 0 {
			return dials[0]
		}
		return "dynamic"
	}
	differ := "upstreams, " + first(a) + " and " + first(b)
	if first(a) == first(b) {
		differ = "ways to " + first(a) + " (addresses, transport, header_up Host or rewrite)"
	}
	return fmt.Errorf("authorization_server bridge: endpoints %q and %q of one host have different %s; an authorization server needs its own host",
		a.staticPath(), b.staticPath(), differ)
}

// checkServers refuses two bridged authorization servers on one host.
func checkServers(endpoints []*Handler) error {
	known := bridgedHosts{endpoints: endpoints, first: make(map[string]int), below: make(map[string][]int), open: make(map[*caddyhttp.Server]int), on: make(map[*caddyhttp.Server][]int)}
	for i, a := range endpoints {
		if !a.bridgesServer() {
			continue
		}
		for _, j := range known.sharing(a) {
			if b := endpoints[j]; shareHost(a, b) && !sameServer(a, b) {
				return errServersTwice(b, a)
			}
		}
		known.add(i)
	}
	return nil
}

// bridgedHosts finds endpoints that share a host with another. Endpoints that share a host have one
// authorization server, or else they are refused, so that the first of each host stands for all.
type bridgedHosts struct {
	endpoints []*Handler
	first     map[string]int              // by host, or `*.` and a domain
	below     map[string][]int            // those of first, by the domain behind the first label
	open      map[*caddyhttp.Server]int   // the first of a server that is for all hosts
	on        map[*caddyhttp.Server][]int // all of a server
}

// sharing returns numbers of endpoints that may share a host with another, in order.
func (b *bridgedHosts) sharing(h *Handler) (all []int) {
	server, hosts := h.placed().Server, hostsOf(h).Hosts
	if i, ok := b.open[server]; ok {
		all = append(all, i)
	} else if len(hosts) == 0 {
		all = append(all, b.on[server]...)
	}
	for host := range hosts {
		label, domain, _ := strings.Cut(host, ".")
		for _, same := range []string{host, "*." + domain} {
			if i, ok := b.first[same]; ok {
				all = append(all, i)
			}
		}
		if label == "*" {
			all = append(all, b.below[domain]...)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// add enters an endpoint.
func (b *bridgedHosts) add(i int) {
	h := b.endpoints[i]
	server, hosts := h.placed().Server, hostsOf(h).Hosts
	b.on[server] = append(b.on[server], i)
	if _, known := b.open[server]; len(hosts) == 0 && !known {
		b.open[server] = i
	}
	for host := range hosts {
		if _, known := b.first[host]; !known {
			b.first[host] = i
			_, domain, _ := strings.Cut(host, ".")
			b.below[domain] = append(b.below[domain], i)
		}
	}
}
