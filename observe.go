package mcpauthbridge

import (
	"time"

	"go.uber.org/zap"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge"
)

// observer hands what happens at an endpoint on to all that want to know.
type observer struct{ h *Handler }

// Challenged implements [bridge.Observer].
func (o observer) Challenged(_ *bridge.Exchange, out *bridge.Outcome) { o.h.emitChallenge(out) }

// originRefused is told of a request of a browser that the origin policy has refused.
func (o observer) originRefused(_ []string, _ string) {}

// UpstreamFailed implements [bridge.Observer].
func (o observer) UpstreamFailed(address string, why bridge.Failure) {
	o.h.logDown(address, why)
	o.h.emitUpstreamDown(address, string(why))
}

// UpstreamBack implements [bridge.Observer].
func (o observer) UpstreamBack(address string, down time.Duration) {
	o.h.logBack(address, down)
	o.h.emitUpstreamUp(address, down)
}

// StreamOpened implements [bridge.Observer].
func (o observer) StreamOpened(*bridge.Exchange) {}

// StreamClosed implements [bridge.Observer].
func (o observer) StreamClosed(*bridge.Exchange, time.Duration) {}

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

func (o observer) sessionBegun(s bridge.SessionInfo) { o.h.logSession("session begins", s) }

func (o observer) sessionEnded(s bridge.SessionInfo, why bridge.EndReason) {
	o.h.logSession("session is over", s, zap.String("why", string(why)), zap.Duration("age", time.Since(s.Begun)))
	o.h.emitSessionEnd(s, why)
}

func (o observer) serverStarted(bool) {}

func (o observer) serverFailed(error) {}

func (o observer) serverEnded(bool) {}

func (o observer) backingOff(time.Duration) {
	if u, ok := o.h.stdio(); ok {
		o.h.emitUpstreamDown(u.Command[0], whyEndsEarly)
	}
}

// Interface guards
var (
	_ bridge.Observer    = observer{}
	_ bridge.HubObserver = hubObserver{}
)
