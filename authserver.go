package mcpauthbridge

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/cors"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/login"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/metadata"
)

// AuthorizationServerConfig says what becomes of an authorization server on the
// MCP server's own origin.
type AuthorizationServerConfig struct {
	// What to do with it. `bridge` gives it the public origin: its metadata,
	// its endpoints and the pages of its logins are served there, at the paths
	// that they have at the upstream. The endpoint's host must be its own: no
	// other authorization server can be bridged on it.
	Mode string `json:"mode,omitempty"`

	// Paths of its pages beyond those that its metadata names and that it
	// redirects to: `/consent`, `/static/*`. `*` stands for any text within a
	// segment, and as the last segment for everything below. Everyone can
	// reach what is listed.
	Paths []string `json:"paths,omitempty"`

	// Serves no path that the server redirects browsers to unless it is
	// listed. Default: false.
	OnlyListed bool `json:"only_listed,omitempty"`
}

// bridgesServer reports whether the authorization server is bridged.
func (h *Handler) bridgesServer() bool { return h.AuthorizationServer != nil }

// checkServer validates the options of authorization_server.
func (h *Handler) checkServer() error {
	c := h.AuthorizationServer
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
		errs = append(errs, errors.New("authorization_server bridge: excludes metadata off, for the metadata names the server"))
	}
	_, err := serverPaths(c.Paths)
	for _, path := range c.Paths {
		if metadata.OwnsServerPath(path) || strings.HasPrefix(path, metadata.WellKnownPath) || strings.TrimSuffix(path, "/") == h.Endpoint {
			errs = append(errs, fmt.Errorf("authorization_server paths: %q is served already, as the endpoint or its metadata", path))
		}
	}
	return errors.Join(append(errs, err)...)
}

// warnServer says what keeps the bridged server's own URLs from being told.
func (h *Handler) warnServer() {
	if h.bridgesServer() && len(h.dials()) == 0 && (h.Challenge == nil || len(h.Challenge.Origins) == 0) {
		h.logger.Warn("authorization_server bridge: the upstream has no fixed address; list the origin that the server calls its own in `challenge origins`",
			zap.String("endpoint", h.publicEndpoint()))
	}
}

func serverPaths(paths []string) ([]login.Glob, error) {
	var globs []login.Glob
	var errs []error
	for _, s := range paths {
		g, err := login.ParseGlob(s)
		if err != nil {
			errs = append(errs, fmt.Errorf("authorization_server paths: %q %w", s, err))
			continue
		}
		globs = append(globs, g)
	}
	return globs, errors.Join(errs...)
}

// serverConfig is what the request path is told of the authorization server.
func (h *Handler) serverConfig() (*bridge.ServerConfig, error) {
	if !h.bridgesServer() {
		return nil, nil
	}
	globs, err := serverPaths(h.AuthorizationServer.Paths)
	if err != nil {
		return nil, err
	}
	learned, _, err := learnedPaths.LoadOrNew(h.serverKey(), func() (caddy.Destructor, error) { return new(keptPaths), nil })
	if err != nil {
		return nil, err
	}
	h.keepsPaths = true
	return &bridge.ServerConfig{
		Paths:    globs,
		Form:     h.Limits.Form,
		Document: h.Limits.MetadataSize,
		Learned:  &learned.(*keptPaths).pages,
		Clients:  &learned.(*keptPaths).clients,

		OnlyListed: h.AuthorizationServer.OnlyListed,
		Note: func(msg, detail string) {
			h.logger.Info(msg, zap.String("endpoint", h.Endpoint), zap.String("path", detail))
		},
	}, nil
}

// learnedPaths outlive a reload, for a login may.
var learnedPaths = caddy.NewUsagePool()

type keptPaths struct{ pages, clients bridge.LearnedPaths }

// Destruct implements caddy.Destructor.
func (*keptPaths) Destruct() error { return nil }

// serverKey names the endpoint and its upstream.
func (h *Handler) serverKey() string {
	var dials []string
	for _, up := range h.ReverseProxy.Upstreams {
		dials = append(dials, up.Dial)
	}
	path, _ := h.upstream.paths()
	return strings.Join([]string{h.Endpoint, path, h.PublicURL, strings.Join(h.Hosts, " "), strings.Join(dials, " ")}, "\x00")
}

// sameUpstream reports whether two endpoints dial the same addresses.
func (h *Handler) sameUpstream(other *Handler) bool {
	dials := func(h *Handler) []string {
		var list []string
		for _, up := range h.ReverseProxy.Upstreams {
			list = append(list, strings.ToLower(up.Dial))
		}
		slices.Sort(list)
		return append(list, string(h.ReverseProxy.DynamicUpstreamsRaw))
	}
	return slices.Equal(dials(h), dials(other))
}

// serverRequest is one request to the authorization server.
type serverRequest struct {
	bridge.ServerExchange
}

func (q *serverRequest) roundTrip(req *http.Request, rt http.RoundTripper) (*http.Response, error) {
	return q.RoundTrip(req, rt.RoundTrip)
}

// serveServer serves what belongs to the authorization server. It returns false
// where the request does not.
func (h *Handler) serveServer(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) (done bool, err error) {
	path, plain := login.PlainPath(r.URL)
	if !plain {
		return false, nil
	}
	isMetadata := metadata.OwnsServerPath(path)
	public, ok := h.publicOf(r)
	if !ok {
		if !isMetadata {
			return false, nil
		}
		return true, caddyhttp.Error(http.StatusBadRequest, errors.New("request names no usable host"))
	}
	public.Path = h.staticPath()
	v := &visit{h: h, r: r, w: w, target: targetServer}
	if isMetadata {
		v.tell()
		if h.open(w, r) {
			return true, nil
		}
		all := h.serverEndpoints()
		for _, other := range all {
			if pub := other.publicBeside(public); len(all) > 1 && other.store.HasDocument(r.Context(), pub, path) {
				other.store.ServeServer(w, r, pub, path)
				return true, nil
			}
		}
		h.store.ServeServer(w, r, public, path)
		return true, nil
	}
	if h.isAnothers(path) {
		return false, nil
	}
	route := h.endpoint.RouteServer(r.Context(), path, public)
	if route.Kind == metadata.RouteNone {
		if route.Unknown && !h.placed().ahead {
			h.open(w, r)
			h.store.ServeUnavailable(w, r)
			return true, nil
		}
		return false, nil
	}
	v.tell()
	if route.Kind.Open() {
		if h.open(w, r) {
			return true, nil
		}
	} else {
		h.varyByHost(w)
	}
	if route.Server == nil {
		h.store.ServeUnavailable(w, r)
		return true, nil
	}
	q := new(serverRequest)
	if err := h.endpoint.BeginServer(&q.ServerExchange, r, route, h.upstreamResource(r.Context(), public, route.Server)); err != nil {
		return true, bodyError(err)
	}
	if err := h.ReverseProxy.ServeHTTP(w, withRecord(r, q), next); err != nil {
		return true, proxyError(err, &q.Record)
	}
	return true, nil
}

// isAnothers reports whether a path is that of another endpoint of the site.
func (h *Handler) isAnothers(path string) bool {
	s := h.placed().site
	if s == nil {
		return false
	}
	for _, other := range s.endpoints {
		if other == h {
			continue
		}
		at := other.staticPath()
		if rest, ok := strings.CutPrefix(path, at); ok && at != "/" && (rest == "" || rest[0] == '/') {
			return true
		}
	}
	return false
}

// open gives a public resource its CORS headers. It returns true where it has
// answered: a preflight.
func (h *Handler) open(w http.ResponseWriter, r *http.Request) (done bool) {
	if cors.IsPreflight(r) {
		h.policy.OpenPreflight(w, r)
		return true
	}
	cors.OpenHeaders(w.Header())
	h.varyByHost(w)
	return false
}

// varyByHost says what an answer with the public URL in it depends on.
func (h *Handler) varyByHost(w http.ResponseWriter) {
	header := w.Header()
	cors.SetVary(header)
	if h.base.origin == "" {
		header["Vary"] = append(header["Vary"], "Host, X-Forwarded-Host, X-Forwarded-Proto")
	}
}

// upstreamResource returns a function that says how the upstream calls a
// protected resource: that of this endpoint, or of another one of the same
// authorization server.
//
// However often a client names one, each is looked up once.
func (h *Handler) upstreamResource(ctx context.Context, public metadata.Public, own *metadata.Server) func(string) (string, bool) {
	servers := map[*Handler]*metadata.Server{h: own}
	return func(value string) (string, bool) {
		if !strings.HasPrefix(value, "http") {
			return value, false
		}
		for _, other := range h.serverEndpoints() {
			pub := other.publicBeside(public)
			if value != pub.URL() && value != pub.URL()+"/" {
				continue
			}
			if _, asked := servers[other]; !asked {
				servers[other] = other.store.Server(ctx, pub)
			}
			return servers[other].UpstreamResource(value, pub)
		}
		return value, false
	}
}

// publicBeside is the public URL of the endpoint where that of another one of the
// same site is known.
func (h *Handler) publicBeside(public metadata.Public) metadata.Public {
	public.Path = h.staticPath()
	if h.base.origin != "" {
		public.Origin, public.Fixed = h.base.origin, true
	}
	return public
}

// serverEndpoints are the endpoints of the site that share the authorization
// server.
func (h *Handler) serverEndpoints() []*Handler {
	list := []*Handler{h}
	if s := h.placed().site; s != nil {
		for _, other := range s.endpoints {
			if other != h && other.bridgesServer() && other.sameUpstream(h) {
				list = append(list, other)
			}
		}
	}
	return list
}

// errServersTwice is a host that two authorization servers would have to share.
func errServersTwice(a, b *Handler) error {
	first := func(h *Handler) string { // addresses that are written differently are different
		if len(h.ReverseProxy.Upstreams) == 0 {
			return "dynamic"
		}
		return h.ReverseProxy.Upstreams[0].Dial
	}
	return fmt.Errorf("authorization_server bridge: endpoints %q and %q of one host have different upstreams, %s and %s; an authorization server needs a host of its own",
		a.staticPath(), b.staticPath(), first(a), first(b))
}

// checkServers reports two bridged authorization servers on one host.
func checkServers(endpoints []*Handler) error {
	for i, a := range endpoints {
		for _, b := range endpoints[:i] {
			if a.bridgesServer() && b.bridgesServer() && a.sharesHost(b) && !a.sameUpstream(b) {
				return errServersTwice(b, a)
			}
		}
	}
	return nil
}

// sharesHost reports whether a request may belong to either of two endpoints, as
// far as hosts tell.
func (h *Handler) sharesHost(other *Handler) bool {
	mine, others := h.ownHosts(), other.ownHosts()
	if len(mine.hosts) == 0 || len(others.hosts) == 0 {
		return h.placed().server == other.placed().server
	}
	for host := range mine.hosts { // whatever the port: cookies do not know ports
		if others.has(host) {
			return true
		}
	}
	for host := range others.hosts {
		if mine.has(host) {
			return true
		}
	}
	return false
}

// ownHosts are the hosts that clients use for the endpoint.
func (h *Handler) ownHosts() *place {
	if h.base.origin != "" {
		return &place{hosts: map[string]bool{originHost(h.base.origin): true}}
	}
	return &place{hosts: h.placed().hosts}
}
