package mcpauthbridge

import (
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"
	"go.uber.org/zap"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/oncelog"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/stats"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/edge"
)

// The events. Their origin is `http.handlers.mcp_auth_bridge`. docs/observe.md lists their data.
const (
	eventChallenge    = "mcp_challenge"
	eventDenied       = "mcp_denied"
	eventSessionEnd   = "mcp_session_end"
	eventUpstreamDown = "mcp_upstream_down"
	eventUpstreamUp   = "mcp_upstream_up"
)

const (
	// maxEvents bounds the events that wait for a slow subscriber. Further ones are dropped.
	maxEvents = 1024
	// closeWait bounds how long a reload waits until all events are emitted.
	closeWait = time.Second
)

// event is an event that waits to be emitted.
type event struct {
	ctx  caddy.Context // of the handler whose event it is
	name string
	data map[string]any
}

// emitter emits events one after the other, on a goroutine of its own. Emitting waits for
// the subscribers, and a request must not wait for a subscriber.
type emitter struct {
	events *caddyevents.App
	logger *zap.Logger
	full   oncelog.Set[string] // events that were dropped, by name

	mu      sync.Mutex
	waiting []event
	running chan struct{} // closed when all events are emitted; nil if none waits
	closed  bool
}

func newEmitter(events *caddyevents.App, logger *zap.Logger) *emitter {
	return &emitter{events: events, logger: logger}
}

// emit queues an event. data is called only if something subscribes to the event.
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
		if since, due := e.full.Due(name); due {
			e.logger.Warn("events are dropped: a handler that subscribes to them is too slow", zap.String("event", name), zap.Int("waiting", maxEvents), zap.Int("dropped", since+1))
		}
		return
	}
	e.waiting = append(e.waiting, event{ctx, name, data()})
	if e.running == nil {
		e.running = make(chan struct{})
		go e.run()
	}
}

// run emits the events that wait, and then returns.
func (e *emitter) run() {
	for ev, ok := e.next(); ok; ev, ok = e.next() {
		if ev.ctx.Err() == nil { // the handlers of the configuration still exist
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

// close drops all events to come, and waits at most closeWait for those that are queued.
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
	case <-time.After(closeWait):
	}
}

// emit queues an event of the endpoint.
func (o *observer) emit(name string, data func() map[string]any) {
	o.emitter.emit(o.ctx, name, func() map[string]any {
		all := data()
		all["endpoint"] = o.path()
		return all
	})
}

// emitChallenge reports what was done with the challenges of an answer. The data has no text
// of the upstream.
func (o *observer) emitChallenge(c *stats.Outcome) {
	o.emit(eventChallenge, func() map[string]any {
		scheme, code := c.Kind()
		return map[string]any{
			"status": c.Status, "given": c.Given, "scheme": scheme, "error": code, "action": string(c.Action), "reason": string(c.Reason),
		}
	})
}

// emitSessionEnd reports that a session is over.
func (o *observer) emitSessionEnd(s stats.SessionInfo, why stats.EndReason) {
	o.emit(eventSessionEnd, func() map[string]any {
		return map[string]any{"session": s.ID, "transport": string(s.Transport), "why": string(why), "age": time.Since(s.Begun).Seconds()}
	})
}

// emitDenied reports a request that `authorize` has refused.
func (o *observer) emitDenied(d edge.Denial) {
	o.emit(eventDenied, func() map[string]any {
		return map[string]any{
			"status": d.Status, "check": string(d.Check), "reason": d.Reason, "user": d.Subject, "client": d.Client,
			"method": d.Method, "name": d.Name, "rule": d.Rule, "needed": d.Needed.String(),
		}
	})
}

// whyEndsEarly is the reason of the event if a program has ended too often soon after its
// start.
const whyEndsEarly = "ends_early"

// emitUpstreamDown reports that an upstream has ceased to answer.
func (o *observer) emitUpstreamDown(upstream, why string) {
	o.emit(eventUpstreamDown, func() map[string]any { return map[string]any{"upstream": upstream, "why": why} })
}

// emitUpstreamUp reports that an upstream answers again.
func (o *observer) emitUpstreamUp(upstream string, down time.Duration) {
	o.emit(eventUpstreamUp, func() map[string]any { return map[string]any{"upstream": upstream, "down": down.Seconds()} })
}
