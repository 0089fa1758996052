// Package emitter emits events of Caddy on a goroutine of its own, so that no request waits for
// a subscriber.
package emitter

import (
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"
	"go.uber.org/zap"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/oncelog"
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

// Emitter emits events one after the other. The nil *Emitter drops all events.
type Emitter struct {
	events *caddyevents.App
	logger *zap.Logger
	full   oncelog.Set[string] // events that were dropped, by name

	mu      sync.Mutex
	waiting []event
	running chan struct{} // closed when all events are emitted; nil if none waits
	closed  bool
}

// New returns an emitter for Caddy's events app. It logs events that are dropped.
func New(events *caddyevents.App, logger *zap.Logger) *Emitter {
	return &Emitter{events: events, logger: logger}
}

// Emit queues an event. data is called only if something subscribes to the event.
func (e *Emitter) Emit(ctx caddy.Context, name string, data func() map[string]any) {
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
func (e *Emitter) run() {
	for ev, ok := e.next(); ok; ev, ok = e.next() {
		if ev.ctx.Err() == nil { // the handlers of the configuration still exist
			e.events.Emit(ev.ctx, ev.name, ev.data)
		}
	}
}

func (e *Emitter) next() (ev event, ok bool) {
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

// Close drops all events to come, and waits at most closeWait for those that are queued.
func (e *Emitter) Close() {
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
