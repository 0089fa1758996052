package mcpauthbridge

import (
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/metadata"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/sse"
)

const appID = "mcp_auth_bridge"

func init() {
	caddy.RegisterModule(App{})
	caddy.RegisterModule(MetadataHandler{})
}

// App knows the MCP endpoints of a configuration and carries what they share.
// It is there whenever a configuration has an endpoint; it needs to be
// configured only for shared options.
type App struct {
	// The origin policy of endpoints that have no `cors` of their own.
	CORS *CORSConfig `json:"cors,omitempty"`

	// The limits of endpoints that have no `limits` of their own.
	Limits *Limits `json:"limits,omitempty"`

	endpoints []*Handler
	resolved  *sync.Once
	warnings  []placeWarning
	conflict  error
	grace     time.Duration // grace_period of the servers; 0: none
	seal      *sync.Mutex
	sealed    *sse.Sealer
	emitter   *emitter
	ctx       caddy.Context
	logger    *zap.Logger
}

// CaddyModule returns the Caddy module information.
func (App) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  appID,
		New: func() caddy.Module { return new(App) },
	}
}

// Provision sets the app up.
func (a *App) Provision(ctx caddy.Context) error {
	a.ctx, a.logger = ctx, ctx.Logger()
	a.resolved, a.seal = new(sync.Once), new(sync.Mutex)
	events, err := ctx.App("events")
	if err != nil {
		return fmt.Errorf("loading the events app: %w", err)
	}
	a.emitter = newEmitter(events.(*caddyevents.App), a.logger)
	if a.Limits != nil {
		return a.Limits.validate()
	}
	return nil
}

// register adds an endpoint; it is called while the configuration loads.
func (a *App) register(h *Handler) { a.endpoints = append(a.endpoints, h) }

// Start says which endpoints are ready and which cannot be reached.
func (a *App) Start() error {
	a.resolve()
	if a.conflict != nil {
		return a.conflict
	}
	for _, h := range a.endpoints {
		if err := h.errUnguarded(); err != nil {
			return err
		}
	}
	for _, w := range a.warnings {
		a.logger.Warn(w.message, zap.String("endpoint", w.endpoint), zap.String("path", w.path))
	}
	if err := registerMetrics(a.ctx.GetMetricsRegistry(), a.endpoints); err != nil {
		return err
	}
	for _, h := range a.endpoints {
		if err := h.attachMemory(); err != nil {
			return err
		}
		if h.hub != nil {
			h.hub.backend.attach(h)
			h.hub.grace.Store(int64(a.grace))
		}
		h.logReady()
		h.warnServer()
	}
	return nil
}

// Stop implements caddy.App.
func (a *App) Stop() error {
	a.emitter.close()
	return nil
}

// resolve finds out where in the configuration each endpoint stands.
func (a *App) resolve() {
	a.resolved.Do(func() {
		httpModule, err := a.ctx.App("http")
		if err != nil {
			return
		}
		httpApp, ok := httpModule.(*caddyhttp.App)
		if !ok {
			return
		}
		a.grace = time.Duration(httpApp.GracePeriod)
		a.warnings, a.conflict = placeEndpoints(httpApp)
		if a.conflict == nil {
			nameEndpoints(a.endpoints)
		}
	})
}

// sealKey is where the key of sealed message paths stands in Caddy's storage,
// which replicas share.
const sealKey = "mcp_auth_bridge/seal.key"

// sealer returns the sealer of message paths. Its key is kept in Caddy's
// storage, so that every replica that shares it opens every path; without a
// storage it lives as long as the process.
func (a *App) sealer() (*sse.Sealer, error) {
	a.seal.Lock()
	defer a.seal.Unlock()
	if a.sealed != nil {
		return a.sealed, nil
	}
	key, err := a.loadSealKey()
	if err != nil {
		a.logger.Warn("storage has no key for message paths, which are valid in this process only; replicas need a storage that they share and can write to", zap.Error(err))
		if key, err = processKey(); err != nil {
			return nil, err
		}
	}
	a.sealed, err = sse.NewSealer(key)
	return a.sealed, err
}

// processKey is the key of processes whose storage cannot be used.
var processKey = sync.OnceValues(sse.NewKey)

func (a *App) loadSealKey() ([]byte, error) {
	storage := a.ctx.Storage()
	if storage == nil {
		return nil, errors.New("no storage")
	}
	ctx := a.ctx.Context
	key, err := storage.Load(ctx, sealKey)
	if err == nil && len(key) == sse.KeySize {
		return key, nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if err := storage.Lock(ctx, sealKey); err != nil {
		return nil, err
	}
	defer func() { _ = storage.Unlock(ctx, sealKey) }()
	if key, err := storage.Load(ctx, sealKey); err == nil && len(key) == sse.KeySize {
		return key, nil
	}
	if key, err = sse.NewKey(); err != nil {
		return nil, err
	}
	return key, storage.Store(ctx, sealKey, key)
}

// MetadataHandler answers the well-known URLs of the endpoints that stand
// inside `handle_path` or `handle`, where they cannot be reached. It belongs
// at the level of the site, once.
type MetadataHandler struct {
	app   *App
	place place
}

// CaddyModule returns the Caddy module information.
func (MetadataHandler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.handlers.mcp_auth_bridge_metadata",
		New: func() caddy.Module { return new(MetadataHandler) },
	}
}

// Provision sets the handler up.
func (m *MetadataHandler) Provision(ctx caddy.Context) error {
	appModule, err := ctx.App(appID)
	if err != nil {
		return err
	}
	m.app = appModule.(*App)
	return nil
}

// ServeHTTP answers for an endpoint of the same site, else it calls next.
func (m *MetadataHandler) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	suffix, ok := strings.CutPrefix(r.URL.Path, metadata.WellKnownPath)
	m.app.resolve()
	for _, h := range m.app.endpoints {
		p := h.placed()
		if p.site == nil || p.site != m.place.site || h.metadataOff() {
			continue
		}
		if ok {
			if owned, ok := h.ownsSuffix(suffix); ok {
				return h.serveMetadata(w, r, owned)
			}
		}
		if h.bridgesServer() {
			if done, err := h.serveServer(w, r, next); done {
				return err
			}
		}
	}
	return next.ServeHTTP(w, r)
}

// logReady says at load where the endpoint is.
func (h *Handler) logReady() {
	fields := []zap.Field{zap.String("endpoint", h.publicEndpoint())}
	if origin := h.knownOrigin(); origin != "" {
		p := metadata.Public{Origin: origin, Path: h.staticPath()}
		fields = append(fields, zap.String("url", p.URL()))
		if !h.metadataOff() {
			fields = append(fields, zap.String("metadata", p.WellKnown()))
		}
	}
	if h.ReverseProxy != nil {
		var dials []string
		for _, up := range h.ReverseProxy.Upstreams {
			dials = append(dials, up.Dial)
		}
		path, _ := h.upstream.paths()
		if path == "" {
			path = h.Endpoint
		}
		fields = append(fields, zap.Strings("upstream", dials), zap.String("upstream_path", path), zap.String("transport", string(h.upstream.kind())))
	} else if u, ok := h.stdio(); ok {
		fields = append(fields, zap.String("upstream", u.Command[0]), zap.String("transport", string(u.kind())))
	} else {
		fields = append(fields, zap.String("upstream", "the handlers that follow"))
	}
	h.logger.Info("MCP endpoint ready", fields...)
	if _, ok := h.stdio(); ok {
		h.logger.Info("requests without credentials are taken for one user's: where the program begins with a handshake, those without a session share one process",
			zap.String("endpoint", h.publicEndpoint()))
	}
}

// publicEndpoint is the path that clients use, as far as the configuration
// tells.
func (h *Handler) publicEndpoint() string { return h.staticPath() }

// staticPath is the public path of the endpoint without looking at a request.
func (h *Handler) staticPath() string {
	if h.base.path != "" {
		return h.base.path
	}
	prefix := h.placed().prefix
	if prefix != "" && h.Endpoint == "/" {
		return prefix
	}
	return prefix + h.Endpoint
}

// knownOrigin is the public origin, if the configuration tells it.
func (h *Handler) knownOrigin() string {
	if h.base.origin != "" {
		return h.base.origin
	}
	p := h.placed()
	if p.server == nil || len(p.hosts) != 1 {
		return ""
	}
	for host := range p.hosts {
		if strings.Contains(host, "*") {
			return ""
		}
		return p.originOf(host)
	}
	return ""
}

// Interface guards
var (
	_ caddy.App                   = (*App)(nil)
	_ caddy.Provisioner           = (*App)(nil)
	_ caddyhttp.MiddlewareHandler = (*MetadataHandler)(nil)
)

// errRootTwice says that two endpoints of a site claim the root form.
func errRootTwice(a, b *Handler) error {
	return fmt.Errorf("root_metadata: endpoints %q and %q of one site both claim it", a.staticPath(), b.staticPath())
}

// errNothingFollows says that an endpoint has neither an upstream nor a
// handler behind it.
func errNothingFollows(h *Handler) error {
	return fmt.Errorf("endpoint %q: it has no upstream, and no handler follows that would answer; give an address, or put mcp_auth_bridge before reverse_proxy inside route", h.staticPath())
}
