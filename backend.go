package mcpauthbridge

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/zap"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge"
)

// backend has the upstream of an endpoint answer requests of a message bridge. It
// outlives reloads, and uses what the newest configuration has.
type backend struct {
	mu   sync.Mutex
	live []*Handler // of configurations that run, oldest first
}

// attach makes h answer from now on.
func (b *backend) attach(h *Handler) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !slices.Contains(b.live, h) {
		b.live = append(b.live, h)
	}
}

// detach takes h away.
func (b *backend) detach(h *Handler) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if i := slices.Index(b.live, h); i >= 0 {
		b.live = slices.Delete(b.live, i, i+1)
	}
}

func (b *backend) current() *Handler {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.live) == 0 {
		return nil
	}
	return b.live[len(b.live)-1]
}

// Detach implements [bridge.Backend].
func (b *backend) Detach(from *http.Request) *http.Request {
	r := prepare(context.Background(), from)
	r.Body = http.NoBody
	return r
}

// prepare returns a copy of a request with state of its own where Caddy keeps some
// for each request: placeholders, variables, fields for the log.
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

// noNext is what follows a proxy whose answer is all there is.
var noNext = caddyhttp.HandlerFunc(func(http.ResponseWriter, *http.Request) error { return nil })

// Call implements [bridge.Backend].
func (b *backend) Call(w http.ResponseWriter, c bridge.Call) (err error) {
	h := b.current()
	if h == nil {
		return &bridge.Refusal{Status: http.StatusServiceUnavailable}
	}
	defer func() {
		if p := recover(); p != nil {
			if p != http.ErrAbortHandler { //nolint:errorlint // a panic's value
				h.logger.Error("proxy panics", zap.String("endpoint", h.staticPath()), zap.Any("panic", p), zap.Stack("stack"))
			}
			err = &bridge.Refusal{Status: http.StatusBadGateway}
		}
	}()
	r := prepare(c.Request.Context(), c.Request)
	q := &request{visit: visit{h: h, r: r}}
	target, path := h.endpoint.Upstream(c.Message)
	h.endpoint.Begin(&q.Exchange, r, target, path, q)
	q.Announced = c.Announced
	if len(h.ReverseProxy.HandleResponse) == 0 { // which may answer with another body
		q.Opener, _ = w.(bridge.Opener)
	}
	if err := q.Hold(r); err != nil {
		return &bridge.Refusal{Status: statusOf(bodyError(err))}
	}
	q.begun = time.Now()
	defer func() { q.tellCall(err) }()
	err = h.ReverseProxy.ServeHTTP(w, withRecord(r, q), noNext)
	bridge.PassOutcome(w, q.Outcome)
	if err != nil {
		return &bridge.Refusal{Status: statusOf(proxyError(err, &q.Record))}
	}
	return nil
}

// statusOf returns the status that an error of a handler stands for.
func statusOf(err error) int {
	if e, ok := errors.AsType[caddyhttp.HandlerError](err); ok && e.StatusCode != 0 {
		return e.StatusCode
	}
	return http.StatusBadGateway
}
