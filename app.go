package mcpauthbridge

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/metadata"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/sse"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/emitter"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/placeholder"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/suggest"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/site"
)

const appID = "mcp_auth_bridge"

func init() {
	caddy.RegisterModule(new(App))
}

// App has the options for all MCP endpoints of a configuration. You need to
// configure it only for such options.
type App struct {
	// Which web pages may call, for endpoints without their own `cors`.
	CORS *CORSConfig `json:"cors,omitempty"`

	// The limits for endpoints without their own `limits`.
	Limits *Limits `json:"limits,omitempty"`

	endpoints []*Handler
	metadata  []*MetadataHandler
	observing bool // the routes are being provisioned
	took      map[*caddyhttp.Server]bool
	checked   bool
	prepared  *sync.Once
	serves    *atomic.Bool  // prepared without an error
	refusal   error         // why not
	grace     time.Duration // grace_period of the servers; 0 if there is none
	servers   []*caddyhttp.Server
	seal      *sync.Mutex
	sealed    *sse.Sealer
	emitter   *emitter.Emitter
	ctx       caddy.Context
	logger    *zap.Logger
}

// CaddyModule returns the Caddy module information. Its receiver is a pointer: Caddy's
// events call it from any goroutine, and a value would be a copy of all fields, also while
// one of them is set.
func (*App) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  appID,
		New: func() caddy.Module { return new(App) },
	}
}

// UnmarshalJSON implements json.Unmarshaler.
func (a *App) UnmarshalJSON(data []byte) error {
	type plain App
	return suggest.Decode(data, (*plain)(a), "mcp_auth_bridge", nil)
}

// Provision sets the app up.
func (a *App) Provision(ctx caddy.Context) error {
	a.ctx, a.logger = ctx, ctx.Logger()
	a.seal = new(sync.Mutex)
	a.prepared, a.serves = new(sync.Once), new(atomic.Bool)
	replacer := placeholder.NewReplacer()
	a.CORS.replace(replacer)
	if err := replacer.Err(); err != nil {
		return err
	}
	events, err := ctx.App("events")
	if err != nil {
		return fmt.Errorf("loading the events app: %w", err)
	}
	a.emitter = emitter.New(events.(*caddyevents.App), a.logger)
	if err := events.(*caddyevents.App).On("stopping", exitHandler{a}); err != nil {
		return fmt.Errorf("subscribing to the end of Caddy: %w", err)
	}
	return nil
}

// Validate checks the shared options.
func (a *App) Validate() error {
	if a.Limits != nil {
		return a.Limits.validate()
	}
	return nil
}

// register adds an endpoint; it is called while the configuration loads.
func (a *App) register(h *Handler) {
	a.endpoints = append(a.endpoints, h)
	a.checked = false
}

// observe has the app check the configuration when all routes are provisioned. Each handler
// calls it when it is provisioned.
func (a *App) observe(ctx caddy.Context) error {
	if err := a.takeRoutes(ctx); err != nil {
		return err
	}
	if a.observing {
		return nil
	}
	a.observing = true
	return site.Observe(ctx, appID)
}

// RoutesProvisioned implements [site.Observer]: `caddy validate` refuses what Start would
// refuse, and logs the same warnings.
func (a *App) RoutesProvisioned() error {
	if err := a.check(); err != nil {
		return err
	}
	return a.buildTables()
}

// takeRoutes has the routes of the server that is being provisioned compiled later.
func (a *App) takeRoutes(ctx caddy.Context) error {
	server, _ := ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	if server == nil || a.took[server] {
		return nil
	}
	if a.took == nil {
		a.took = make(map[*caddyhttp.Server]bool)
	}
	a.took[server] = true
	return endpointTables.Take(ctx, server, (*Handler)(nil).CaddyModule().ID.Name())
}

// buildTables lets requests find their endpoint among many by one lookup. It is called once, when
// all routes are provisioned and no server runs.
func (a *App) buildTables() error {
	module, err := a.ctx.App("http")
	if err != nil {
		return err
	}
	httpApp, ok := module.(*caddyhttp.App)
	if !ok {
		return nil
	}
	return endpointTables.BuildAll(a.ctx, httpApp)
}

// Start says which endpoints are ready and which cannot be reached.
func (a *App) Start() error {
	if err := a.prepare(); err != nil {
		return err
	}
	if err := registerMetrics(a.ctx.GetMetricsRegistry(), a.endpoints); err != nil {
		return err
	}
	for _, h := range a.endpoints {
		logReady(h)
		warnServer(h)
	}
	return nil
}

// prepare does once what needs the whole configuration: it checks the configuration, and gives
// each endpoint the state that was kept from the configuration before. Caddy starts its apps in
// any order, so a request may come before Start. If a check fails, no request is answered.
func (a *App) prepare() error {
	if a.serves.Load() {
		return nil
	}
	a.prepared.Do(func() {
		a.refusal = errors.Join(a.check(), a.checkStart())
		if a.refusal == nil {
			a.refusal = attachAll(a.endpoints)
		}
		a.serves.Store(a.refusal == nil)
	})
	return a.refusal
}

// check refuses a configuration whose endpoints cannot be served as configured, and logs warnings
// about everything else that is wrong. It runs once: when all routes are provisioned, or else
// before the endpoints are served.
func (a *App) check() error {
	if a.checked {
		return nil
	}
	warnings, err := a.findPlaces()
	if err != nil {
		return err
	}
	for _, h := range a.endpoints {
		if err := errUnguarded(h); err != nil {
			return err
		}
	}
	if err := identify(a.endpoints); err != nil {
		return err
	}
	if err := checkReachable(a.endpoints); err != nil {
		return err
	}
	for _, w := range warnings {
		a.logger.Warn(w.Message, zap.String("endpoint", w.Endpoint), zap.String("path", w.Path), zap.String("advice", w.Advice))
	}
	for _, v := range oddValues(a.endpoints) {
		v.log(a.logger)
	}
	a.checked = true
	return nil
}

// checkStart refuses what this machine cannot run.
func (a *App) checkStart() error {
	for _, h := range a.endpoints {
		if err := h.upstream.checkStart(); err != nil {
			return err
		}
	}
	return nil
}

// errOver means that a configuration ended before its endpoints were prepared.
var errOver = errors.New("configuration is over")

// end keeps a late request from preparing endpoints that are cleaned up.
func (a *App) end() {
	a.prepared.Do(func() { a.refusal = errOver })
}

// errNotServing is the answer where the configuration is refused.
func errNotServing(err error) error { return caddyhttp.Error(http.StatusServiceUnavailable, err) }

// Stop implements caddy.App.
func (a *App) Stop() error {
	a.emitter.Close()
	return nil
}

// findPlaces finds out where in the configuration each endpoint stands.
func (a *App) findPlaces() ([]site.Warning, error) {
	httpModule, err := a.ctx.App("http")
	if err != nil {
		return nil, nil // without servers no route leads to an endpoint
	}
	httpApp, ok := httpModule.(*caddyhttp.App)
	if !ok {
		return nil, nil
	}
	a.grace = time.Duration(httpApp.GracePeriod)
	a.servers = slices.Collect(maps.Values(httpApp.Servers))
	return a.place(httpApp)
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
		a.logger.Warn("storage has no key; sealed URLs are valid in this process only", zap.String("advice", "replicas of Caddy need shared, writable storage, because message paths and metadata URLs are sealed with this key"), zap.Error(err))
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

// logReady logs, when the configuration starts, where the endpoint is.
func logReady(h *Handler) {
	fields := []zap.Field{zap.String("endpoint", h.staticPath())}
	if origin := knownOrigin(h); origin != "" {
		p := metadata.Public{Origin: origin, Path: h.staticPath()}
		fields = append(fields, zap.String("url", p.URL()))
		if !h.metadataOff() {
			fields = append(fields, zap.String("metadata", p.WellKnown()))
		}
	}
	if own := h.placed().Prefix + h.Endpoint; own != h.staticPath() {
		fields = append(fields, zap.String("path", own)) // what clients use is another
	}
	if h.ReverseProxy != nil {
		path := h.upstream.path
		if path == "" {
			path = h.Endpoint
		}
		fields = append(fields, zap.Strings("upstream", dialled(h.ReverseProxy)), zap.String("upstream_path", path), zap.String("transport", h.upstream.Transport()))
		forwarding, why := forwards(h)
		fields = append(fields, zap.String("forwarding", forwarding))
		if why != "" {
			fields = append(fields, zap.String("because_of", why))
		}
	} else if !h.upstream.proxied {
		fields = append(fields, zap.String("upstream", h.upstream.name()), zap.String("transport", h.upstream.Transport()))
	} else {
		fields = append(fields, zap.String("upstream", "the handlers that follow"))
	}
	h.logger.Info("MCP endpoint ready", fields...)
	if h.upstream.translates() && h.Authorize == nil { // with authorize there are no such requests
		h.logger.Info("requests without credentials count as one user", zap.String("endpoint", h.staticPath()),
			zap.String("advice", "requests without a session share one server; if several people use the endpoint, write `authorize` in its block, or put authentication in front of it"))
	}
}

// knownOrigin returns the public origin of an endpoint. It is empty if the origin depends on the
// request.
func knownOrigin(h *Handler) string {
	if h.base.origin != "" {
		return h.base.origin
	}
	p := h.placed()
	if p.Server == nil || len(p.Hosts) != 1 {
		return ""
	}
	for host := range p.Hosts {
		if strings.Contains(host, "*") {
			return ""
		}
		return p.OriginOf(host)
	}
	return ""
}

// Interface guards
var (
	_ caddy.App         = (*App)(nil)
	_ caddy.Provisioner = (*App)(nil)
	_ caddy.Validator   = (*App)(nil)
)
