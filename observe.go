package mcpauthbridge

import (
	"errors"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge"
)

// observer hands what happens at an endpoint on to all that want to know.
type observer struct{ h *Handler }

// Challenged implements [bridge.Observer].
func (o observer) Challenged(x *bridge.Exchange, c *bridge.Outcome) {
	o.h.memory.Load().Challenged(x.Request(), c)
	o.h.counts.Challenged(c)
	o.h.emitChallenge(c)
}

// originRefused is told of a request of a browser that the origin policy has refused.
func (o observer) originRefused(origins []string, host string) {
	o.h.memory.Load().Refused(strings.Join(origins, " "), host)
	o.h.counts.Refused()
}

// UpstreamFailed implements [bridge.Observer].
func (o observer) UpstreamFailed(address string, why bridge.Failure) {
	o.h.memory.Load().UpstreamFailed(address, why)
	o.h.counts.Failed(why)
	o.h.logDown(address, why)
	o.h.emitUpstreamDown(address, string(why))
}

// UpstreamBack implements [bridge.Observer].
func (o observer) UpstreamBack(address string, down time.Duration) {
	o.h.memory.Load().UpstreamBack(address)
	o.h.logBack(address, down)
	o.h.emitUpstreamUp(address, down)
}

// StreamOpened implements [bridge.Observer].
func (o observer) StreamOpened(x *bridge.Exchange) { o.h.counts.StreamOpened(x) }

// StreamClosed implements [bridge.Observer].
func (o observer) StreamClosed(x *bridge.Exchange, age time.Duration) {
	o.h.counts.StreamClosed(x, age)
}

// hubObserver hands what happens to the sessions of an endpoint on to its newest
// configuration.
type hubObserver struct {
	b     *backend
	first *Handler // until one is attached
}

func (o hubObserver) newest() observer {
	if h := o.b.current(); h != nil {
		return observer{h}
	}
	return observer{o.first}
}

// SessionBegun implements [bridge.HubObserver].
func (o hubObserver) SessionBegun(s bridge.SessionInfo) { o.newest().sessionBegun(s) }

// SessionEnded implements [bridge.HubObserver].
func (o hubObserver) SessionEnded(s bridge.SessionInfo, why bridge.EndReason) {
	o.newest().sessionEnded(s, why)
}

// ServerStarted implements [bridge.HubObserver].
func (o hubObserver) ServerStarted(again bool) { o.newest().serverStarted(again) }

// ServerFailed implements [bridge.HubObserver].
func (o hubObserver) ServerFailed(err error) { o.newest().serverFailed(err) }

// ServerEnded implements [bridge.HubObserver].
func (o hubObserver) ServerEnded(byItself bool) { o.newest().serverEnded(byItself) }

// BackingOff implements [bridge.HubObserver].
func (o hubObserver) BackingOff(wait time.Duration) { o.newest().backingOff(wait) }

func (o observer) sessionBegun(s bridge.SessionInfo) {
	o.h.counts.SessionBegun(s.Transport)
	o.h.logSession("session begins", s)
}

func (o observer) sessionEnded(s bridge.SessionInfo, why bridge.EndReason) {
	o.h.counts.SessionEnded(s.Transport, why)
	o.h.logSession("session is over", s, zap.String("why", string(why)), zap.Duration("age", time.Since(s.Begun)))
	o.h.emitSessionEnd(s, why)
}

func (o observer) serverStarted(again bool) {
	if again {
		o.h.counts.Start("restarted")
	} else {
		o.h.counts.Start("started")
	}
}

func (o observer) serverFailed(err error) {
	if _, refused := errors.AsType[*bridge.Refusal](err); !refused {
		o.h.counts.Start("failed")
	}
}

func (o observer) serverEnded(byItself bool) { o.h.counts.Exit(byItself) }

func (o observer) backingOff(time.Duration) {
	o.h.counts.Start("backoff")
	if u, ok := o.h.stdio(); ok {
		o.h.emitUpstreamDown(u.Command[0], whyEndsEarly)
	}
}

// Interface guards
var (
	_ bridge.Observer    = observer{}
	_ bridge.HubObserver = hubObserver{}
)
