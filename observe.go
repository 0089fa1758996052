package mcpauthbridge

import (
	"cmp"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/authorize/principal"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/oncelog"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/stats"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/edge"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/emitter"
)

// observer counts, remembers, logs and emits what happens at an endpoint. Its methods are
// called on the goroutine of a request, by several requests at a time, and do not wait.
type observer struct {
	endpoint string        // path, as configured
	path     func() string // path that clients use, once the endpoint was found in the configuration
	ctx      caddy.Context
	logger   *zap.Logger
	emitter  *emitter.Emitter
	counts   *stats.Counts
	memory   atomic.Pointer[stats.Memory]

	refused  oncelog.Set[string]    // origins and hosts
	troubles oncelog.Set[[2]string] // of sessions, by message and cause
}

// newObserver returns the observer of a new endpoint.
func newObserver(ctx caddy.Context, path func() string, emitter *emitter.Emitter) *observer {
	o := &observer{path: path, ctx: ctx, logger: ctx.Logger(), emitter: emitter, counts: stats.NewCounts()}
	o.memory.Store(stats.NewMemory())
	return o
}

// answered takes the results of a request that was sent to the upstream.
func (o *observer) answered(x *bridge.Exchange) {
	if c := x.Outcome; c != nil {
		o.memory.Load().Challenged(x.Request(), c)
		o.counts.Challenged(c)
		o.emitChallenge(c)
	}
	switch change := x.Health; {
	case change == nil:
	case change.Failure != "":
		o.upstreamFailed(change.Address, change.Failure)
	default:
		o.upstreamBack(change.Address, change.Down)
	}
}

// originRefused takes a request of a browser that the origin policy has refused. origin is the text
// of [bridge.OriginText].
func (o *observer) originRefused(origin, host string) {
	o.logRefused(origin, host)
	o.memory.Load().Refused(origin, host)
	o.counts.Refused()
}

// denied takes a request that `authorize` has refused.
func (o *observer) denied(d edge.Denial) {
	kind, cause := denialKind(d), ""
	if d.Cause != nil {
		cause = d.Cause.Error()
	}
	o.memory.Load().Denied(stats.Denial{
		Kind: kind, Status: d.Status, Reason: d.Reason, Rule: d.Rule, Method: d.Method, Name: d.Name,
		Needed: d.Needed.String(), Held: d.Held.String(), User: d.Subject, Client: d.Client,
	}, cause)
	o.counts.Denied(kind)
	o.emitDenied(d)
}

// denialKind is the word that a denial is counted by.
func denialKind(d edge.Denial) stats.DenialKind {
	switch {
	case d.Check == edge.CheckMessage:
		return stats.DenialMessage
	case d.Check == edge.CheckSession:
		return stats.DenialSession
	case d.Check == edge.CheckTask:
		return stats.DenialTask
	case d.Code == principal.Unavailable:
		return stats.DenialIssuer
	case d.Code != "":
		return stats.DenialKind(d.Code)
	case d.Fixable:
		return stats.DenialScope
	}
	return stats.DenialForever
}

// usesOfIssuers are the uses of issuers as they are shown.
var usesOfIssuers = map[edge.Use]stats.IssuerUse{edge.Keys: stats.IssuerKeys, edge.Introspection: stats.IssuerTokens, edge.Exchanging: stats.IssuerExchange}

// issuerAsked takes that an issuer could not be asked for something, or that it can again.
func (o *observer) issuerAsked(issuer string, use edge.Use, err error) {
	if err == nil {
		o.memory.Load().IssuerBack(issuer, usesOfIssuers[use])
		return
	}
	o.memory.Load().IssuerFailed(issuer, usesOfIssuers[use], err.Error())
}

// notice remembers a notice, and logs it if it is due.
func (o *observer) notice(n stats.Notice, due bool) {
	o.remember(n)
	if !due {
		return
	}
	fields := []zap.Field{zap.String("endpoint", o.path()), zap.String("subject", n.Subject), zap.String("advice", n.Advice)}
	if n.Add != "" {
		fields = append(fields, zap.String("add", n.Add))
	}
	o.logger.Warn(n.Message, fields...)
}

// remember remembers a notice that is logged elsewhere.
func (o *observer) remember(n stats.Notice) { o.memory.Load().Noticed(n) }

// serves remembers whether clients can begin with the upstream; why is nil if they can.
func (o *observer) serves(why *stats.NoService) { o.memory.Load().Serves(why) }

func (o *observer) upstreamFailed(address string, why stats.Failure) {
	o.memory.Load().UpstreamFailed(address, why)
	o.counts.Failed(why)
	o.logger.Warn("upstream gives no answer", zap.String("endpoint", o.path()), zap.String("upstream", address),
		zap.String("why", string(why)), zap.String("advice", adviceForFailure(why)))
	o.emitUpstreamDown(address, string(why))
}

func (o *observer) upstreamBack(address string, down time.Duration) {
	o.memory.Load().UpstreamBack(address)
	o.logger.Info("upstream answers again", zap.String("endpoint", o.path()), zap.String("upstream", address), zap.Duration("down", down))
	o.emitUpstreamUp(address, down)
}

func (o *observer) sessionBegun(s stats.SessionInfo) {
	o.counts.SessionBegun(s.Transport)
	o.logSession("session begins", s)
}

func (o *observer) sessionEnded(s stats.SessionInfo, why stats.EndReason) {
	o.counts.SessionEnded(s.Transport, why)
	o.logSession("session is over", s, zap.String("why", string(why)), zap.Duration("age", time.Since(s.Begun)))
	o.emitSessionEnd(s, why)
}

// sessionTrouble takes a warning about sessions.
func (o *observer) sessionTrouble(msg, cause string) {
	advice := cmp.Or(sessionsAdvice[cause], sessionsAdvice[msg])
	o.remember(stats.Notice{Message: msg, Subject: cause, Advice: advice})
	if _, due := o.troubles.Due([2]string{msg, cause}); due {
		o.logger.Warn(msg, zap.String("endpoint", o.endpoint), zap.String("cause", cause), zap.String("advice", advice))
	}
}

// logSession writes that a session begins or is over, at level DEBUG.
func (o *observer) logSession(message string, s stats.SessionInfo, more ...zap.Field) {
	if c := o.logger.Check(zapcore.DebugLevel, message); c != nil {
		c.Write(append([]zap.Field{
			zap.String("endpoint", o.path()), zap.String("session", s.ID), zap.String("transport", string(s.Transport)), zap.String("version", s.Version),
		}, more...)...)
	}
}

// The events. Their origin is `http.handlers.mcp_auth_bridge`. docs/observe.md lists their data.
const (
	eventChallenge    = "mcp_challenge"
	eventDenied       = "mcp_denied"
	eventSessionEnd   = "mcp_session_end"
	eventUpstreamDown = "mcp_upstream_down"
	eventUpstreamUp   = "mcp_upstream_up"
)

// emit queues an event of the endpoint.
func (o *observer) emit(name string, data func() map[string]any) {
	o.emitter.Emit(o.ctx, name, func() map[string]any {
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
