package mcpauthbridge

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/hub"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/notes"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/oncelog"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/process"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/servers"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/stats"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/translate"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/upstream"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/suggest"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/tracing"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/upstreams"
)

// SessionsConfig limits the sessions of an endpoint that holds sessions. A reload
// with other limits does not end sessions.
type SessionsConfig struct {
	// Maximum number of sessions, each with its own process or connection. A
	// session counts until its process or connection has ended. More clients get
	// 503 with `Retry-After`. Default: 100.
	Max int `json:"max,omitempty"`

	// How long a session without requests is kept. Default: `30m`.
	IdleTimeout caddy.Duration `json:"idle_timeout,omitempty"`

	// Maximum lifetime of a session. Default: `24h`.
	MaxLifetime caddy.Duration `json:"max_lifetime,omitempty"`

	// Maximum size of data that is kept for a client that reads slowly or
	// reconnects, in bytes. Default: 4194304 (4 MiB).
	MaxBuffer int64 `json:"max_buffer,omitempty"`

	// How often a comment is sent on an idle stream, so that proxies on the way do
	// not close it. Default: `15s`.
	KeepaliveInterval caddy.Duration `json:"keepalive_interval,omitempty"`

	// How long a request waits after the server has sent something that may be its
	// answer but does not match: an answer with an unknown id, or a line that is
	// not a message. Then the request fails. Default: `30s`.
	UnmatchedTimeout caddy.Duration `json:"unmatched_timeout,omitempty"`

	// Minimum rate that a client must read at while something waits for it, in
	// bytes per second. A client that is 30 seconds behind is disconnected.
	// Default: 16384 (16 KiB).
	MinRate int64 `json:"min_rate,omitempty"`
}

// UnmarshalJSON implements json.Unmarshaler.
func (c *SessionsConfig) UnmarshalJSON(data []byte) error {
	type plain SessionsConfig
	return suggest.Decode(data, (*plain)(c), "sessions", renamed["sessions"])
}

func (c *SessionsConfig) validate() error {
	if c == nil {
		return nil
	}
	var errs []error
	check := func(name string, bad bool, value any) {
		if bad {
			errs = append(errs, fmt.Errorf("sessions %s: %v is not a positive value", name, value))
		}
	}
	check("max", c.Max < 0, c.Max)
	check("idle_timeout", c.IdleTimeout < 0, time.Duration(c.IdleTimeout))
	check("max_lifetime", c.MaxLifetime < 0, time.Duration(c.MaxLifetime))
	check("max_buffer", c.MaxBuffer < 0, c.MaxBuffer)
	check("keepalive_interval", c.KeepaliveInterval < 0, time.Duration(c.KeepaliveInterval))
	check("unmatched_timeout", c.UnmatchedTimeout < 0, time.Duration(c.UnmatchedTimeout))
	check("min_rate", c.MinRate < 0, c.MinRate)
	return errors.Join(errs...)
}

// ending counts the hubs that still end programs of configurations that are gone.
var ending sync.WaitGroup

func init() {
	// Programs that do not want to end are killed before Caddy itself ends.
	caddy.OnExit(func(context.Context) { ending.Wait() })
}

// pooledHub is a hub that ends with its last configuration, or with the process.
type pooledHub struct {
	*hub.Hub
	backend backend
	// detached is true if the hub needs no configuration to end: its servers are programs.
	detached bool
	// grace is how long Caddy waits for its servers when it exits, in nanoseconds
	// (grace_period); 0 is without limit.
	grace atomic.Int64
}

// endStep returns the time between the steps that end a program: the default, but when
// Caddy exits at most half of the grace period.
func (p *pooledHub) endStep() time.Duration {
	return endStep(caddy.Exiting(), time.Duration(p.grace.Load()))
}

// exitMargin is the part of the grace period that is left for what ends beside programs.
const exitMargin = 500 * time.Millisecond

func endStep(exiting bool, grace time.Duration) time.Duration {
	if !exiting || grace <= 0 {
		return process.DefaultGrace
	}
	return min(process.DefaultGrace, max((grace-exitMargin)/2, grace/4))
}

// reloadWait is how long a reload waits for programs that it drops. They may take longer
// to end; the reload does not wait for that.
const reloadWait = time.Second

// Destruct implements caddy.Destructor.
func (p *pooledHub) Destruct() error {
	if !p.detached {
		p.Close()
		return nil
	}
	closed := make(chan struct{})
	ending.Go(func() {
		defer close(closed)
		p.Close()
	})
	select {
	case <-closed:
	case <-time.After(reloadWait):
	}
	return nil
}

// bounds are those of the sessions, as configured.
func (c *SessionsConfig) bounds() servers.Bounds {
	if c == nil {
		return servers.Bounds{}
	}
	return servers.Bounds{
		Sessions: c.Max, Idle: time.Duration(c.IdleTimeout), Lifetime: time.Duration(c.MaxLifetime),
		Buffer: int(c.MaxBuffer), KeepAlive: time.Duration(c.KeepaliveInterval), Unmatched: time.Duration(c.UnmatchedTimeout), MinRate: int(c.MinRate),
	}
}

// sessionBounds returns the bounds of an endpoint's sessions.
func sessionBounds(h *Handler) servers.Bounds {
	b := h.Sessions.bounds()
	b.Message = h.Limits.message()
	return b
}

// message returns the limit of one message that is carried over, in bytes.
func (l *Limits) message() int { return cmp.Or(int(l.MaxMessage), servers.DefaultMessage) }

// newHub returns the hub of an endpoint, which has no sessions yet.
func newHub(h *Handler) *pooledHub {
	p := new(pooledHub)
	// The options of the newest configuration hold. The log of one that is gone may be
	// closed.
	observer := newHubObserver(&p.backend, h)
	newest := observer.newest
	var cfg hub.Config
	cfg.Servers.User = ownerOf
	cfg.Servers.Bounds = func() servers.Bounds { return sessionBounds(newest()) }
	if sent := upstreams.SentBy(h.identity.Proxy); len(sent) > 0 {
		cfg.Shared.Sent = sent.Of
	}
	cfg.Servers.Observer = observer
	cfg.Shared.Apart = func() bool { return newest().Authorize != nil }
	if h.upstream.proxied {
		cfg.Servers.Remote, cfg.Sessions.Judge = true, &p.backend
	} else {
		p.detached = true
	}
	connect := h.upstream.Connect
	cfg.Servers.Start = func(ctx context.Context, from *http.Request, to upstream.Receiver) (upstream.Peer, error) {
		return connect(ctx, upstreams.Connection{
			Request: from, Receiver: to, MaxMessage: newest().Limits.message(), Backend: &p.backend, Grace: p.endStep,
			Logger: func() *zap.Logger { return programLog(newest()) },
			Notify: func(n stats.Notice) { newest().observer.remember(n) },
			Exited: func(e stats.Exit) { newest().observer.memory.Load().Exited(e) },
		})
	}
	if !h.upstream.sse { // a server of HTTP+SSE is never stateless
		cfg.Shared.Revision = translate.NewServerRevision(cfg.Servers.Remote)
		cfg.Sessions.Wrap = translate.Wrap(translate.Config{Revision: cfg.Shared.Revision, StartTimeout: cfg.Servers.StartTimeout, Warn: observer.Warned})
	}
	p.Hub = hub.New(cfg)
	return p
}

// exitHandler ends the sessions of a configuration when Caddy is about to exit. Caddy's
// servers wait for streams to end before they stop, and before modules are cleaned up: a
// session would keep its stream open for the whole grace period.
type exitHandler struct{ app *App }

// Handle implements caddyevents.Handler. The event `stopping` comes before the apps of a
// configuration are stopped: on exit, and on a reload, which ends no sessions.
func (e exitHandler) Handle(context.Context, caddy.Event) error {
	if !caddy.Exiting() {
		return nil
	}
	for _, h := range e.app.endpoints {
		if h.hub != nil {
			ending.Go(h.hub.Close)
		}
	}
	return nil
}

// programLog is where the words of a program go.
func programLog(h *Handler) *zap.Logger {
	return h.logger.Named(h.upstream.Transport()).With(zap.String("endpoint", h.Endpoint))
}

// check validates the bounds of an endpoint's sessions.
func (c *SessionsConfig) check(h *Handler) error {
	if c != nil && !h.bridges() {
		return errors.New("sessions: is for stdio, for sse+http upstreams and for legacy_sse; otherwise sessions are the upstream's own; remove it")
	}
	return c.validate()
}

// backend sends requests of a message bridge to the upstream of an endpoint. It outlives reloads,
// and uses the newest configuration.
type backend struct {
	live liveHandlers
}

// Detach implements [upstream.Backend].
func (b *backend) Detach(from *http.Request) *http.Request {
	r := prepare(context.Background(), from)
	r.Body = http.NoBody
	return r
}

// prepare returns a copy of a request that does not share the state which Caddy keeps for each
// request: placeholders, variables and fields for the log.
func prepare(ctx context.Context, from *http.Request) *http.Request {
	old := from.Context()
	for _, key := range []any{http.LocalAddrContextKey, http.ServerContextKey} {
		ctx = context.WithValue(ctx, key, old.Value(key))
	}
	if span := trace.SpanFromContext(old); span.SpanContext().IsValid() {
		ctx = trace.ContextWithSpan(ctx, span)
	}
	repl := caddy.NewReplacer()
	server, _ := old.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	r := caddyhttp.PrepareRequest(from.Clone(ctx), repl, nil, server)
	if was, ok := old.Value(caddy.ReplacerCtxKey).(*caddy.Replacer); ok {
		repl.Map(func(key string) (any, bool) { // what other handlers have set, http.auth.user.id and the like
			for _, own := range []string{"http.request.", "http.response.", "http.vars.", "http.reverse_proxy."} {
				if strings.HasPrefix(key, own) {
					return nil, false
				}
			}
			return was.Get(key)
		})
	}
	if vars, ok := r.Context().Value(caddyhttp.VarsCtxKey).(map[string]any); ok {
		was, _ := old.Value(caddyhttp.VarsCtxKey).(map[string]any)
		maps.Copy(vars, was)
	}
	return r.WithContext(context.WithValue(r.Context(), caddyhttp.OriginalRequestCtxKey, old.Value(caddyhttp.OriginalRequestCtxKey)))
}

// noNext is the next handler of a proxy that always answers itself.
var noNext = caddyhttp.HandlerFunc(func(http.ResponseWriter, *http.Request) error { return nil })

// Call implements [upstream.Backend].
func (b *backend) Call(w http.ResponseWriter, c upstream.Call) (err error) {
	h := b.live.newest()
	if h == nil {
		return &upstream.Refusal{Status: http.StatusServiceUnavailable}
	}
	defer func() {
		if p := recover(); p != nil {
			if p != http.ErrAbortHandler { // a panic's value
				h.logger.Error("proxy panics", zap.String("endpoint", h.staticPath()), zap.Any("panic", p), zap.Stack("stack"))
			}
			err = &upstream.Refusal{Status: http.StatusBadGateway}
		}
	}()
	q := &bridgeRequest{h: h}
	r := prepare(c.Request.Context(), c.Request)
	if tracing.Sampled(r) || h.logger.Core().Enabled(zapcore.DebugLevel) {
		sent := c.Message
		q.sent = &sent
	}
	var opener upstream.Opener
	if len(h.ReverseProxy.HandleResponse) == 0 { // which may answer with another body
		opener, _ = w.(upstream.Opener)
	}
	q.Begin(h.endpoint, r, clientOf(h, r), c.Path, c.Announced, opener)
	if err := q.Hold(nil, r); err != nil {
		return &upstream.Refusal{Status: statusOf(bodyError(err))}
	}
	q.begun = time.Now()
	defer func() { q.logRequest(err) }()
	err = h.ReverseProxy.ServeHTTP(q.Relay(w), withExchange(r, q), noNext)
	upstream.PassOutcome(w, q.Outcome)
	if breaksOff(h, &q.Record, r) {
		return &upstream.Refusal{Status: http.StatusBadGateway}
	}
	if err != nil {
		return &upstream.Refusal{Status: statusOf(proxyError(err, &q.Record))}
	}
	return nil
}

// bridgeRequest is one request that a message bridge makes to the upstream.
type bridgeRequest struct {
	bridge.BridgeRequest
	h     *Handler
	begun time.Time
	// sent is the message of the body, if it is logged or traced.
	sent *message.Message
}

// notes returns what is known of the message that is sent.
func (q *bridgeRequest) notes() notes.Notes {
	if q.sent == nil {
		return notes.Notes{}
	}
	return notes.OfMessage(*q.sent)
}

// roundTrip implements exchange.
func (q *bridgeRequest) roundTrip(req *http.Request, rt http.RoundTripper) (*http.Response, error) {
	res, err := q.RoundTrip(req, rt.RoundTrip)
	q.h.answered(&q.Exchange)
	return res, err
}

// traceNotes implements traced. The messages of the bridge are its own.
func (q *bridgeRequest) traceNotes(req *http.Request) notes.Notes {
	n := q.notes()
	n.Session = notes.Of(req).Session
	return n
}

// upstreamStatus implements traced.
func (q *bridgeRequest) upstreamStatus() int { return q.Status }

// statusOf returns the status that an error of a handler stands for.
func statusOf(err error) int {
	if e, ok := errors.AsType[caddyhttp.HandlerError](err); ok && e.StatusCode != 0 {
		return e.StatusCode
	}
	return http.StatusBadGateway
}

// hubObserver passes what happens to the sessions of an endpoint to the observer of the
// newest configuration that has the endpoint.
type hubObserver struct {
	b         *backend
	first     *Handler // until a configuration is attached
	unmatched *unmatchedLog
}

func newHubObserver(b *backend, first *Handler) hubObserver {
	return hubObserver{b, first, &unmatchedLog{oncelog.Set[unmatchedKind]{Every: unmatchedEvery}}}
}

func (o hubObserver) newest() *Handler {
	if h := o.b.live.newest(); h != nil {
		return h
	}
	return o.first
}

// SessionBegun implements [servers.Observer].
func (o hubObserver) SessionBegun(s stats.SessionInfo) { o.newest().observer.sessionBegun(s) }

// SessionEnded implements [servers.Observer].
func (o hubObserver) SessionEnded(s stats.SessionInfo, why stats.EndReason) {
	o.newest().observer.sessionEnded(s, why)
}

// ServerStarted implements [servers.Observer].
func (o hubObserver) ServerStarted(again bool) {
	result := "started"
	if again {
		result = "restarted"
	}
	o.newest().observer.counts.Start(result)
}

// ServerFailed implements [servers.Observer].
func (o hubObserver) ServerFailed(err error) {
	if _, refused := errors.AsType[*upstream.Refusal](err); !refused {
		o.newest().observer.counts.Start("failed")
	}
}

// ServerLate implements [servers.Observer].
func (o hubObserver) ServerLate(after time.Duration) {
	programLog(o.newest()).Info("server has answered for the first time", zap.Duration("after", after))
}

// ServerEnded implements [servers.Observer].
func (o hubObserver) ServerEnded(byItself bool) { o.newest().observer.counts.Exit(byItself) }

// BackingOff implements [servers.Observer].
func (o hubObserver) BackingOff(time.Duration) {
	h := o.newest()
	h.observer.counts.Start("backoff")
	if !h.upstream.proxied {
		h.observer.emitUpstreamDown(h.upstream.name(), whyEndsEarly)
	}
}

// Unmatched implements [servers.Observer].
func (o hubObserver) Unmatched(u upstream.Unmatched) { o.unmatched.report(o.newest(), u) }

// Warned implements [servers.Observer].
func (o hubObserver) Warned(msg, cause string) { o.newest().observer.sessionTrouble(msg, cause) }

// Interface guard
var _ servers.Observer = hubObserver{}
