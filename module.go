// Package mcpauthbridge is a reverse proxy for MCP servers, as a Caddy HTTP
// handler. It rewrites the upstream's authorization challenges and metadata to
// the public URL, adds CORS headers, and bridges the transports of MCP.
package mcpauthbridge

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"go.uber.org/zap"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/cors"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/identity"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/metadata"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/edge"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/suggest"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/site"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/upstreams"
)

func init() {
	caddy.RegisterModule(new(Handler))
}

// Handler is a reverse proxy for an MCP server. It keeps the server's OAuth
// login working: it rewrites the metadata URL in the `WWW-Authenticate` header
// to the public URL, serves the server's protected resource metadata (RFC 9728)
// there, and sends the CORS headers that web pages need to read both. It serves
// stdio and HTTP+SSE servers over Streamable HTTP.
//
// It adds no login unless `authorize` is set: a server without one stays open to everyone.
//
// Without `reverse_proxy` it is a middleware: it does the same to the responses
// of the handlers after it in the route.
type Handler struct {
	// The path that clients use. It is served with and without a final slash.
	// Default: `/mcp`.
	Endpoint string `json:"endpoint,omitempty"`

	// The URL that clients use, as an origin (`https://mcp.example.com`) or an
	// origin and a path. Set it if Caddy cannot derive it from the request.
	// Default: the scheme and host of the request, or those in the
	// `X-Forwarded-*` headers of a trusted proxy.
	PublicURL string `json:"public_url,omitempty"`

	// More host names that clients use, besides those of the site. Requests for
	// other hosts are served, but their metadata is not cached, and web pages on
	// their origin are not allowed. Default: the hosts of the site.
	Hosts []string `json:"hosts,omitempty"`

	// Whether to serve the metadata at the well-known URL without a path, too.
	// Some clients look only there. Default: true for the only endpoint of a
	// site.
	RootMetadata *bool `json:"root_metadata,omitempty"`

	// The kind of the upstream. Default: `{"protocol": "http"}`.
	UpstreamRaw json.RawMessage `json:"upstream,omitempty" caddy:"namespace=http.mcp_auth_bridge.upstreams inline_key=protocol"`

	// The proxy to the upstream, with all options of `reverse_proxy`. Without
	// it, and without a stdio server, this handler is a middleware.
	// Default: none.
	ReverseProxy *reverseproxy.Handler `json:"reverse_proxy,omitempty"`

	// Who passes the responses of the upstream on to clients. With `direct` the transport does
	// as soon as they arrive, which costs less CPU time and memory. With `reverse_proxy` that
	// proxy does. Clients see the same. `auto` is `direct`, or `reverse_proxy` if it has an
	// option that needs to see each response, such as `handle_response` or `header_down`.
	// Default: `auto`.
	Forwarding string `json:"forwarding,omitempty"`

	// What to do with the upstream's challenges.
	Challenge *ChallengeConfig `json:"challenge,omitempty"`

	// Which web pages may call the endpoint.
	CORS *CORSConfig `json:"cors,omitempty"`

	// Where the protected resource metadata comes from.
	Metadata *MetadataConfig `json:"metadata,omitempty"`

	// How to serve an authorization server that is on the MCP server's own
	// origin. Default: it is not served, and needs a public address.
	AuthorizationServer *AuthorizationServerConfig `json:"authorization_server,omitempty"`

	// Serves the endpoint to HTTP+SSE clients (MCP specification 2024-11-05), too.
	// Default: off.
	LegacySSE *LegacySSEConfig `json:"legacy_sse,omitempty"`

	// The limits of sessions, for endpoints that hold sessions: those of stdio
	// servers and HTTP+SSE servers, and those with `legacy_sse`.
	Sessions *SessionsConfig `json:"sessions,omitempty"`

	// Asks clients for a login before a request reaches the MCP server, and
	// says who may do what. Default: none; an open server stays open.
	Authorize *edge.Config `json:"authorize,omitempty"`

	// The limits of sizes, times and numbers.
	Limits *Limits `json:"limits,omitempty"`

	app            *App
	endpoint       *bridge.Endpoint
	store          *metadata.Store
	policy         *cors.Policy
	upstream       endpointUpstream
	base           publicBase
	hosts          map[string]bool
	trustedProxies trustedProxies
	transport      *scopedTransport
	notDirect      string // why the proxy passes answers on itself; empty if it does not
	place          *atomic.Pointer[placement]
	described      *site.Handler
	identity       identity.Endpoint
	key, scope     string // of identity, once it is complete
	keptPaths      *keptPaths
	keptTasks      *keptTasks
	follows        *atomic.Pointer[caddyhttp.Handler] // of a middleware
	observer       *observer
	remembered     *pooledMemory
	loaded         time.Time
	line           string // of the Caddyfile, if it is known
	hub            *pooledHub
	edge           *edge.Edge // nil without authorize
	ctx            caddy.Context
	logger         *zap.Logger
}

// CaddyModule returns the Caddy module information. Its receiver is a pointer: Caddy's
// events call it from any goroutine, and a value would be a copy of all fields, also while
// one of them is set.
func (*Handler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.handlers.mcp_auth_bridge",
		New: func() caddy.Module { return new(Handler) },
	}
}

// UnmarshalJSON implements json.Unmarshaler.
func (h *Handler) UnmarshalJSON(data []byte) error {
	type plain Handler
	return suggest.Decode(data, (*plain)(h), "mcp_auth_bridge", nil)
}

// Provision sets the handler up.
func (h *Handler) Provision(ctx caddy.Context) (err error) {
	h.line = site.WrittenAt(h)
	defer func() { err = atLine(h.line, err) }()
	h.ctx, h.logger = ctx, ctx.Logger()
	h.place = new(atomic.Pointer[placement])
	h.follows = new(atomic.Pointer[caddyhttp.Handler])
	h.loaded = time.Now()
	appModule, err := ctx.App(appID)
	if err != nil {
		return err
	}
	h.app = appModule.(*App)
	h.observer = newObserver(ctx, h.staticPath, h.app.emitter)
	if h.identity, err = identityAsWritten(h); err != nil {
		return err
	}
	if h.Endpoint == "" {
		h.Endpoint = DefaultEndpoint
	}
	h.observer.endpoint = h.Endpoint
	if err := replaceOptions(h); err != nil {
		return err
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
	if err := h.compileOptions(); err != nil {
		return err
	}
	if err := h.loadUpstream(ctx); err != nil {
		return err
	}
	if err := h.LegacySSE.check(h); err != nil { // which also sets defaults
		return err
	}
	if p := h.ReverseProxy; p != nil {
		if len(p.Upstreams) == 0 && p.DynamicUpstreamsRaw == nil {
			return fmt.Errorf("upstream: endpoint %q names none; give an address (`to`, `dynamic`), or leave reverse_proxy out for a middleware", h.Endpoint)
		}
		if err := checkDials(p.Upstreams); err != nil {
			return err
		}
		if h.trustedProxies, err = parseTrustedProxies(p.TrustedProxies); err != nil {
			return err
		}
		if h.transport, err = provisionProxy(ctx, p, h.Limits); err != nil {
			return err
		}
	}
	if err := compileForwarding(h); err != nil {
		return err
	}
	if err := h.compile(); err != nil {
		return err
	}
	h.described = h.describe()
	h.app.register(h)
	return h.app.observe(ctx)
}

// Validate checks what the parts of the request path do not need to be compiled. All mistakes
// are reported, one line each.
func (h *Handler) Validate() error {
	errs := []error{h.Limits.validate(), h.CORS.check(), h.Metadata.check()}
	return atLine(h.line, errors.Join(append(errs, checkUpstream(h), h.Sessions.check(h))...))
}

// atLine puts the line of the Caddyfile, if it is known, before each line of an error.
func atLine(line string, err error) error {
	if err == nil || line == "" {
		return err
	}
	return prefixEach(line+":", err)
}

// compileOptions compiles the options that need no other module, and checks those that the
// parts of the request path are compiled from. All mistakes are reported, one line each.
func (h *Handler) compileOptions() error {
	errs := []error{checkEndpoint(h.Endpoint), h.Challenge.check(), h.AuthorizationServer.check(h)}
	if h.PublicURL != "" {
		origin, path, err := parsePublicURL(h.PublicURL)
		errs = append(errs, err)
		h.base = publicBase{origin: origin, path: path}
	}
	hosts, err := compileHosts(h.Hosts)
	h.hosts = hosts
	return errors.Join(append(errs, err)...)
}

func (h *Handler) loadUpstream(ctx caddy.Context) error {
	if h.UpstreamRaw == nil {
		h.upstream = newUpstream(new(upstreams.HTTP))
		return nil
	}
	if err := checkProtocol(h.UpstreamRaw); err != nil {
		return err
	}
	mod, err := ctx.LoadModule(h, "UpstreamRaw")
	if err != nil {
		return fmt.Errorf("loading upstream: %w", err)
	}
	kind, ok := mod.(upstreams.Kind)
	if !ok {
		return fmt.Errorf("upstream: module %T is not an MCP upstream", mod)
	}
	h.upstream = newUpstream(kind)
	if h.upstream.proxied && h.ReverseProxy == nil {
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
	if err := h.compileEdge(); err != nil {
		return err
	}
	if h.edge != nil {
		mode = bridge.ModeReplace
	}
	path, message := h.upstream.path, h.upstream.message
	if path == "" {
		path = h.Endpoint
	}
	if h.ReverseProxy == nil {
		path = ""
	}
	if err := h.compileCORS(); err != nil {
		return err
	}
	dials := dialledHosts(h.ReverseProxy)
	metadataPath := path
	if h.isMiddleware() {
		metadataPath = h.Endpoint
	}
	if err := h.compileMetadata(metadataPath, dials); err != nil {
		return err
	}
	server, err := h.AuthorizationServer.config(h.Limits, func(msg, path string) {
		h.logger.Info(msg, zap.String("endpoint", h.Endpoint), zap.String("path", path))
	})
	if err != nil {
		return err
	}
	cfg := bridge.Config{
		Server:        server,
		Path:          h.Endpoint,
		Site:          bridge.Site{Origin: h.base.origin, Path: h.base.path, Listed: h.hosts},
		Kind:          h.upstream.bridgeKind(),
		UpstreamPath:  path,
		MessagePath:   message,
		Mode:          mode,
		CORS:          h.policy,
		Metadata:      h.store,
		Sealer:        h.app.sealer,
		SealScope:     func() string { return h.scope },
		OwnedMessages: h.Authorize != nil,
		ChallengeWait: time.Duration(h.Limits.ChallengeTimeout),
		HeldBody:      h.Limits.MaxHeldBody,
		RequestBody:   h.Limits.MaxRequestBody,
		MaxEvent:      h.Limits.MaxEndpointEvent,
		LegacyPath:    h.LegacySSE.path(),
		LegacyMessage: h.LegacySSE.messagePath(),
		Notice:        h.observer.notice,
		Serves:        h.observer.serves,
		Warn: func(msg, cause, detail string) {
			h.logger.Warn(msg, zap.String("endpoint", h.Endpoint), zap.String("cause", cause), zap.String("detail", detail))
		},
	}
	cfg.Counts = h.observer.counts
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
	if c.Disabled {
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
	if h.edge != nil {
		m = h.documentOfEdge(*m)
		h.Metadata = m
	}
	cfg := m.document()
	cfg.BridgeServer = h.bridgesServer()
	cfg.Dials, cfg.TLS, cfg.UpstreamPath = dials, h.transport.tls(), path
	cfg.Timeout = time.Duration(h.Limits.MetadataTimeout)
	cfg.MaxSize, cfg.MaxEntries = h.Limits.MaxMetadataSize, h.Limits.MaxMetadataEntries
	cfg.EventStream = h.upstream.sse
	cfg.Seal = sealOfDocuments(h.app.sealer, func() string { return h.scope })
	cfg.ChallengeMetadata, cfg.Log = bridge.ChallengeMetadata, func(e metadata.Event) { logMetadata(h, e) }
	cfg.Looked = func(r metadata.CacheResult) { h.observer.counts.Cache(string(r)) }
	cfg.Fetched = func(r metadata.FetchResult) { h.observer.counts.Fetched(string(r)) }
	if h.Challenge != nil {
		cfg.Origins = h.Challenge.Origins
	}
	f := &fetcher{
		proxy: h.ReverseProxy, transport: h.transport, follows: h.follows,
		server: func() *caddyhttp.Server { return h.placed().Server },
	}
	switch {
	case m.Disabled:
	case h.ReverseProxy != nil:
		cfg.Fetch = f.fetch
	case h.isMiddleware():
		cfg.Fetch = f.fetchFollowing
	}
	store, err := metadata.New(cfg)
	if err != nil {
		return err
	}
	h.store = store
	return nil
}

// dialled returns the addresses of a proxy's upstreams as they are configured. It returns
// none for dynamic upstreams. The proxy may be nil.
func dialled(proxy *reverseproxy.Handler) []string {
	if proxy == nil {
		return nil
	}
	addresses := make([]string, 0, len(proxy.Upstreams))
	for _, up := range proxy.Upstreams {
		addresses = append(addresses, up.Dial)
	}
	return addresses
}

// dialledHosts returns the addresses that are "host:port", which are neither unix sockets nor
// placeholders.
func dialledHosts(proxy *reverseproxy.Handler) []string {
	var dials []string
	for _, address := range dialled(proxy) {
		addr, err := caddy.ParseNetworkAddress(address)
		if err != nil || addr.IsUnixNetwork() || strings.Contains(address, "{") {
			continue
		}
		dials = append(dials, strings.ToLower(addr.JoinHostPort(0)))
	}
	return dials
}

// Cleanup ends what the handler has started. Caddy also calls it after a Provision or a
// Validate that has failed.
func (h *Handler) Cleanup() error {
	if h.app != nil {
		h.app.end()
	}
	errs := []error{detach(h)}
	h.edge.Close()
	if h.store != nil {
		h.store.Close()
	}
	if h.transport != nil {
		errs = append(errs, h.transport.cleanup())
	}
	if h.ReverseProxy != nil && h.transport != nil && hasHosts(h.ReverseProxy) {
		errs = append(errs, h.ReverseProxy.Cleanup())
	}
	return errors.Join(errs...)
}

// hasHosts reports whether the provisioning of a proxy came as far as the hosts of its
// upstreams, which all configurations share. Its Cleanup gives each of them back: also those
// that only the running configuration has taken.
func hasHosts(p *reverseproxy.Handler) bool {
	return !slices.ContainsFunc(p.Upstreams, func(u *reverseproxy.Upstream) bool { return u == nil || u.Host == nil })
}

// bridges reports whether requests of the endpoint are carried over to another
// transport.
func (h *Handler) bridges() bool { return h.upstream.translates() || h.LegacySSE != nil }

// isMiddleware reports whether the handlers that follow answer.
func (h *Handler) isMiddleware() bool {
	return h.ReverseProxy == nil && h.upstream.proxied
}

// bridgesServer reports whether the authorization server is bridged.
func (h *Handler) bridgesServer() bool { return h.AuthorizationServer != nil }

// metadataOff reports whether the operator wants no metadata served.
func (h *Handler) metadataOff() bool { return h.Metadata != nil && h.Metadata.Disabled }

// Interface guards
var (
	_ caddy.Provisioner           = (*Handler)(nil)
	_ caddy.Validator             = (*Handler)(nil)
	_ caddy.CleanerUpper          = (*Handler)(nil)
	_ caddyhttp.MiddlewareHandler = (*Handler)(nil)
	_ http.RoundTripper           = (*scopedTransport)(nil)
)
