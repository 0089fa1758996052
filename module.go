// Package mcpauthbridge is a Caddy HTTP handler that puts MCP servers on the
// web so that their logins start: it proxies MCP traffic and gives each
// client the upstream's authorization challenge whole and right, with the
// CORS headers and the metadata that a client needs to act on it.
package mcpauthbridge

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"go.uber.org/zap"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/cors"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/metadata"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/sse"
)

func init() {
	caddy.RegisterModule(Handler{})
	caddy.RegisterModule(HTTPUpstream{})
	caddy.RegisterModule(SSEUpstream{})
}

// Handler puts an MCP server behind Caddy without losing its authorization
// challenge. It proxies the endpoint to the server, maps the metadata URL in
// the server's WWW-Authenticate fields to the public one, answers that URL
// with the server's protected resource metadata (RFC 9728), and sends the
// CORS headers that let a page in a browser read both.
//
// It does not add authorization: a server without it stays open.
//
// Without `reverse_proxy` it is a middleware: it does the same to the answer
// of the handlers that follow it.
type Handler struct {
	// The path of the MCP endpoint, as clients use it. It is served with
	// and without a final slash. Default: `/mcp`.
	Endpoint string `json:"endpoint,omitempty"`

	// The URL that clients use, if it cannot be told from the request:
	// origin (`https://mcp.example.com`), or origin and path. Default: the
	// request's scheme and host, or what a trusted proxy forwards of them.
	PublicURL string `json:"public_url,omitempty"`

	// Host names that clients use, beyond those of the site. Requests for
	// other hosts are served, but nothing is kept for them, and pages of
	// their origin are not allowed. Default: the hosts of the site.
	Hosts []string `json:"hosts,omitempty"`

	// Also answers the well-known URL without a path, which some clients
	// ask for. Default: true for the only endpoint of a site.
	RootMetadata bool `json:"root_metadata,omitempty"`

	// The kind of the upstream. Default: `{"protocol": "http"}`.
	UpstreamRaw json.RawMessage `json:"upstream,omitempty" caddy:"namespace=http.mcp_auth_bridge.upstreams inline_key=protocol"`

	// The proxy to the upstream, with all options of `reverse_proxy`.
	// Default: none, which makes this handler a middleware.
	ReverseProxy *reverseproxy.Handler `json:"reverse_proxy,omitempty"`

	// What becomes of the upstream's challenges.
	Challenge *ChallengeConfig `json:"challenge,omitempty"`

	// Which web pages may call the endpoint.
	CORS *CORSConfig `json:"cors,omitempty"`

	// Where the protected resource metadata comes from.
	Metadata *MetadataConfig `json:"metadata,omitempty"`

	// What becomes of an authorization server on the MCP server's own origin.
	// Default: none; it has to be reachable by itself.
	AuthorizationServer *AuthorizationServerConfig `json:"authorization_server,omitempty"`

	// Offers the endpoint to clients of HTTP+SSE (MCP specification 2024-11-05)
	// as well. Default: off.
	LegacySSE *LegacySSEConfig `json:"legacy_sse,omitempty"`

	// The sessions of an endpoint that offers another transport than its server
	// speaks: in front of a process (`stdio`) or of an HTTP+SSE server, and with
	// `legacy_sse`.
	Sessions *SessionsConfig `json:"sessions,omitempty"`

	// Bounds of sizes, times and numbers.
	Limits *Limits `json:"limits,omitempty"`

	app            *App
	endpoint       *bridge.Endpoint
	store          *metadata.Store
	policy         *cors.Policy
	upstream       upstreamKind
	base           publicBase
	hosts          map[string]bool
	trustedProxies []netip.Prefix
	transport      *scopedTransport
	refused        *onceSet // origins
	troubles       *onceSet // of sessions
	place          *atomic.Pointer[place]
	keepsPaths     bool
	follows        *atomic.Pointer[caddyhttp.Handler] // of a middleware
	counts         *bridge.Counts
	memory         *atomic.Pointer[bridge.Memory]
	remembered     *pooledMemory
	name           string // what the operator sees it by; empty before the start
	loaded         time.Time
	hub            *pooledHub
	hubKeyInUse    string
	ctx            caddy.Context
	logger         *zap.Logger
}

// CaddyModule returns the Caddy module information.
func (Handler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.handlers.mcp_auth_bridge",
		New: func() caddy.Module { return new(Handler) },
	}
}

// Provision sets the handler up. Every mistake of the configuration is
// reported, one line each.
func (h *Handler) Provision(ctx caddy.Context) error {
	h.ctx, h.logger = ctx, ctx.Logger()
	h.refused, h.troubles, h.place = new(onceSet), new(onceSet), new(atomic.Pointer[place])
	h.follows = new(atomic.Pointer[caddyhttp.Handler])
	h.counts, h.memory, h.loaded = bridge.NewCounts(), new(atomic.Pointer[bridge.Memory]), time.Now()
	h.memory.Store(bridge.NewMemory())
	appModule, err := ctx.App(appID)
	if err != nil {
		return err
	}
	h.app = appModule.(*App)
	if h.Endpoint == "" {
		h.Endpoint = DefaultEndpoint
	}
	if h.CORS == nil {
		h.CORS = h.app.CORS
	}
	if h.Limits == nil {
		h.Limits = h.app.Limits
	}
	if h.Limits == nil {
		h.Limits = new(Limits)
	}
	if err := h.checkOptions(); err != nil {
		return err
	}
	if err := h.loadUpstream(ctx); err != nil {
		return err
	}
	if err := errors.Join(h.checkStdio(), h.checkLegacySSE(), h.checkSessions()); err != nil {
		return err
	}
	if err := h.provisionProxy(ctx); err != nil {
		return err
	}
	if err := h.compile(); err != nil {
		return err
	}
	if err := h.loadHub(); err != nil {
		return err
	}
	h.app.register(h)
	return nil
}

// checkOptions validates and compiles the options that need no other module.
func (h *Handler) checkOptions() error {
	var errs []error
	errs = append(errs, checkEndpoint(h.Endpoint), h.Limits.validate())
	if h.PublicURL != "" {
		origin, path, err := parsePublicURL(h.PublicURL)
		errs = append(errs, err)
		h.base = publicBase{origin: origin, path: path}
	}
	hosts, err := compileHosts(h.Hosts)
	h.hosts = hosts
	errs = append(errs, err)
	if c := h.CORS; c != nil && c.Off && (len(c.AllowOrigins)+len(c.AllowHeaders)+len(c.ExposeHeaders) > 0 || c.MaxAge != 0 || c.PrivateNetwork) {
		errs = append(errs, errors.New("cors off: excludes the other options of cors"))
	}
	if m := h.Metadata; m != nil && m.Off && (len(m.AuthorizationServers)+len(m.ScopesSupported)+len(m.Set) > 0 || m.ResourceName != "" || m.KeepResource || m.TTL != 0) {
		errs = append(errs, errors.New("metadata off: excludes the other options of metadata"))
	}
	errs = append(errs, h.Challenge.check(), h.checkServer())
	return errors.Join(errs...)
}

func (h *Handler) loadUpstream(ctx caddy.Context) error {
	if h.UpstreamRaw == nil {
		h.upstream = new(HTTPUpstream)
		return nil
	}
	mod, err := ctx.LoadModule(h, "UpstreamRaw")
	if err != nil {
		return fmt.Errorf("loading upstream: %w", err)
	}
	kind, ok := mod.(upstreamKind)
	if !ok {
		return fmt.Errorf("upstream: module %T is no MCP upstream", mod)
	}
	h.upstream = kind
	if kind.kind() != bridge.KindStdio && h.ReverseProxy == nil {
		return errors.New("upstream: needs an upstream address (reverse_proxy in JSON); without one the handler is a middleware and maps no path")
	}
	return nil
}

// compile builds the parts of the request path.
func (h *Handler) compile() error {
	mode, err := h.Challenge.mode()
	if err != nil {
		return err
	}
	path, message := h.upstream.paths()
	if path == "" {
		path = h.Endpoint
	}
	if h.ReverseProxy == nil {
		path = ""
	}
	if err := h.compileCORS(); err != nil {
		return err
	}
	dials := h.dials()
	metadataPath := path
	if h.isMiddleware() {
		metadataPath = h.Endpoint
	}
	if err := h.compileMetadata(metadataPath, dials); err != nil {
		return err
	}
	server, err := h.serverConfig()
	if err != nil {
		return err
	}
	cfg := bridge.Config{
		Server:        server,
		Path:          h.Endpoint,
		Kind:          h.upstream.kind(),
		UpstreamPath:  path,
		MessagePath:   message,
		Mode:          mode,
		CORS:          h.policy,
		Metadata:      h.store,
		UpstreamHosts: dials,
		Sealer:        func() (*sse.Sealer, error) { return h.app.sealer() },
		ChallengeWait: time.Duration(h.Limits.ChallengeWait),
		HeldBody:      h.Limits.HeldBody,
		RequestBody:   h.Limits.RequestBody,
		MaxEvent:      h.Limits.EndpointEvent,
		LegacyPath:    h.LegacySSE.path(),
		LegacyMessage: h.LegacySSE.messagePath(),
		Warn: func(msg, cause, detail string) {
			h.logger.Warn(msg, zap.String("endpoint", h.Endpoint), zap.String("cause", cause), zap.String("detail", detail))
		},
	}
	if observed {
		cfg.Observer = observer{h}
	}
	if h.Challenge != nil {
		cfg.Realm, cfg.Scope = h.Challenge.Realm, h.Challenge.Scope
	}
	h.endpoint = bridge.New(cfg)
	return nil
}

func (h *Handler) compileCORS() error {
	c := h.CORS
	if c == nil {
		c = new(CORSConfig)
	}
	if c.Off {
		return nil
	}
	var own []string
	if h.base.origin != "" {
		own = append(own, h.base.origin)
	}
	for host := range h.hosts {
		if strings.Contains(host, ":") {
			host = "[" + host + "]"
		}
		own = append(own, "https://"+host)
	}
	policy, err := c.policy(own...)
	h.policy = policy
	return err
}

// prefixEach puts an option's name before each line of a joined error.
func prefixEach(option string, err error) error {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return fmt.Errorf("%s %w", option, err)
	}
	var errs []error
	for _, e := range joined.Unwrap() {
		errs = append(errs, fmt.Errorf("%s %w", option, e))
	}
	return errors.Join(errs...)
}

func (h *Handler) compileMetadata(path string, dials []string) error {
	m := h.Metadata
	if m == nil {
		m = new(MetadataConfig)
	}
	cfg := m.document()
	cfg.BridgeServer = h.bridgesServer()
	cfg.Dials, cfg.TLS, cfg.UpstreamPath = dials, h.transport.tls(), path
	cfg.Timeout = time.Duration(h.Limits.MetadataTimeout)
	cfg.MaxSize, cfg.MaxEntries = h.Limits.MetadataSize, h.Limits.MetadataEntries
	cfg.ChallengeMetadata, cfg.Log = bridge.ChallengeMetadata, h.logMetadata
	cfg.Looked = func(r metadata.CacheResult) { h.counts.Cache(string(r)) }
	cfg.Fetched = func(r metadata.FetchResult) { h.counts.Fetched(string(r)) }
	if h.Challenge != nil {
		cfg.Origins = h.Challenge.Origins
	}
	switch {
	case m.Off:
	case h.ReverseProxy != nil:
		cfg.Fetch = h.fetch
	case h.isMiddleware():
		cfg.Fetch = h.fetchFollowing
	}
	store, err := metadata.New(cfg)
	if err != nil {
		return err
	}
	h.store = store
	return nil
}

// dials lists the addresses of the upstreams, "host:port", as configured.
func (h *Handler) dials() []string {
	if h.ReverseProxy == nil {
		return nil
	}
	var dials []string
	for _, up := range h.ReverseProxy.Upstreams {
		addr, err := caddy.ParseNetworkAddress(up.Dial)
		if err != nil || addr.IsUnixNetwork() || strings.Contains(up.Dial, "{") {
			continue
		}
		dials = append(dials, strings.ToLower(addr.JoinHostPort(0)))
	}
	return dials
}

// Cleanup ends what the handler has started.
func (h *Handler) Cleanup() error {
	var errs []error
	errs = append(errs, h.detachMemory())
	if h.hub != nil {
		_, err := hubs.Delete(h.hubKeyInUse)
		errs = append(errs, err)
		h.hub.backend.detach(h)
	}
	if h.store != nil {
		h.store.Close()
	}
	if h.transport != nil {
		errs = append(errs, h.transport.cleanup())
	}
	if h.keepsPaths {
		_, err := learnedPaths.Delete(h.serverKey())
		errs = append(errs, err)
	}
	if h.ReverseProxy != nil && h.transport != nil {
		errs = append(errs, h.ReverseProxy.Cleanup())
	}
	return errors.Join(errs...)
}

// isConfiguredHost reports whether a host is one of the endpoint's own.
func (h *Handler) isConfiguredHost(host string) bool {
	if h.hosts[host] {
		return true
	}
	if h.base.origin != "" && hostname(strings.TrimPrefix(strings.TrimPrefix(h.base.origin, "http://"), "https://")) == host {
		return true
	}
	return h.placed().has(host)
}

// placed returns where the handler stands in the configuration.
func (h *Handler) placed() *place {
	if p := h.place.Load(); p != nil {
		return p
	}
	h.app.resolve()
	if p := h.place.Load(); p != nil {
		return p
	}
	return &place{}
}

// isMiddleware reports whether the handlers that follow answer.
func (h *Handler) isMiddleware() bool {
	return h.ReverseProxy == nil && h.upstream.kind() != bridge.KindStdio
}

// metadataOff reports whether the operator wants no metadata served.
func (h *Handler) metadataOff() bool { return h.Metadata != nil && h.Metadata.Off }

// Interface guards
var (
	_ caddy.Provisioner           = (*Handler)(nil)
	_ caddy.CleanerUpper          = (*Handler)(nil)
	_ caddyhttp.MiddlewareHandler = (*Handler)(nil)
	_ caddy.Validator             = (*HTTPUpstream)(nil)
	_ caddy.Validator             = (*SSEUpstream)(nil)
	_ caddy.Validator             = (*StdioUpstream)(nil)
	_ http.RoundTripper           = (*scopedTransport)(nil)
)
