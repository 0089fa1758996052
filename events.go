package mcpauthbridge

import (
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"
	"go.uber.org/zap"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge"
)

// The events, whose origin is `http.handlers.mcp_auth_bridge`. README lists their data.
const (
	eventChallenge    = "mcp_challenge"
	eventSessionEnd   = "mcp_session_end"
	eventUpstreamDown = "mcp_upstream_down"
	eventUpstreamUp   = "mcp_upstream_up"
)

const (
	// maxEvents bounds the events that wait for a slow subscriber; further ones are
	// dropped.
	maxEvents = 1024
	// eventsPatience bounds how long a reload waits for those that still wait.
	eventsPatience = time.Second
)

// event is one that waits to be emitted.
type event struct {
	ctx  caddy.Context // of the handler whose event it is
	name string
	data map[string]any
}

// emitter emits events one after the other, on a goroutine of its own: Caddy calls
// subscribers while the emitter waits, and a request must not wait for a subscriber.
type emitter struct {
	events *caddyevents.App
	logger *zap.Logger
	full   sync.Once

	mu      sync.Mutex
	waiting []event
	running chan struct{} // closed when all is emitted; nil: nothing waits
	closed  bool
}

func newEmitter(events *caddyevents.App, logger *zap.Logger) *emitter {
	return &emitter{events: events, logger: logger}
}

// emit has an event emitted soon. data is made only where something subscribes to it.
func (e *emitter) emit(ctx caddy.Context, name string, data func() map[string]any) {
	if e == nil || !e.events.ShouldEmit(name) {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case e.closed:
		return
	case len(e.waiting) >= maxEvents:
		e.full.Do(func() {
			e.logger.Warn("events are dropped: a handler that subscribes to them is too slow", zap.String("event", name), zap.Int("waiting", maxEvents))
		})
		return
	}
	e.waiting = append(e.waiting, event{ctx, name, data()})
	if e.running == nil {
		e.running = make(chan struct{})
		go e.run()
	}
}

// run emits what waits, and ends.
func (e *emitter) run() {
	for ev, ok := e.next(); ok; ev, ok = e.next() {
		if ev.ctx.Err() == nil { // the configuration's handlers are still there
			e.events.Emit(ev.ctx, ev.name, ev.data)
		}
	}
}

func (e *emitter) next() (ev event, ok bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.waiting) == 0 {
		close(e.running)
		e.running, e.waiting = nil, nil
		return event{}, false
	}
	ev, e.waiting[0] = e.waiting[0], event{}
	e.waiting = e.waiting[1:]
	return ev, true
}

// close has no more events emitted than those that wait, and waits for these a while.
func (e *emitter) close() {
	if e == nil {
		return
	}
	e.mu.Lock()
	e.closed = true
	running := e.running
	e.mu.Unlock()
	if running == nil {
		return
	}
	select {
	case <-running:
	case <-time.After(eventsPatience):
	}
}

// emit has an event of the endpoint emitted.
func (h *Handler) emit(name string, data func() map[string]any) {
	h.app.emitter.emit(h.ctx, name, func() map[string]any {
		all := data()
		all["endpoint"] = h.staticPath()
		return all
	})
}

// emitChallenge tells what became of the challenges of an answer. What o has of the
// upstream's text is not in it.
func (h *Handler) emitChallenge(o *bridge.Outcome) {
	h.emit(eventChallenge, func() map[string]any {
		scheme, code := o.Kind()
		return map[string]any{
			"status": o.Status, "given": o.Given, "scheme": scheme, "error": code, "action": string(o.Action), "reason": string(o.Reason),
		}
	})
}

// emitSessionEnd tells that a session is over.
func (h *Handler) emitSessionEnd(s bridge.SessionInfo, why bridge.EndReason) {
	h.emit(eventSessionEnd, func() map[string]any {
		return map[string]any{"session": s.ID, "transport": string(s.Transport), "why": string(why), "age": time.Since(s.Begun).Seconds()}
	})
}

// whyEndsEarly is why a program is no upstream for a while.
const whyEndsEarly = "ends_early"

// emitUpstreamDown tells that an upstream gives no answer any more.
func (h *Handler) emitUpstreamDown(upstream, why string) {
	h.emit(eventUpstreamDown, func() map[string]any { return map[string]any{"upstream": upstream, "why": why} })
}

// emitUpstreamUp tells that it does again.
func (h *Handler) emitUpstreamUp(upstream string, down time.Duration) {
	h.emit(eventUpstreamUp, func() map[string]any { return map[string]any{"upstream": upstream, "down": down.Seconds()} })
}
