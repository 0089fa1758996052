package mcpauthbridge

import (
	"cmp"
	"errors"
	"strings"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/authorize/principal"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/oncelog"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/servers"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/stats"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/upstream"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/edge"
)

// observer counts, remembers, logs and emits what happens at an endpoint. Its methods are
// called on the goroutine of a request, by several requests at a time, and do not wait.
type observer struct {
	endpoint string        // path, as configured
	path     func() string // path that clients use, once the endpoint was found in the configuration
	ctx      caddy.Context
	logger   *zap.Logger
	emitter  *emitter
	counts   *stats.Counts
	memory   atomic.Pointer[stats.Memory]

	refused  oncelog.Set[string]    // origins and hosts
	troubles oncelog.Set[[2]string] // of sessions, by message and cause
}

// newObserver returns the observer of an endpoint that nothing has happened at yet.
func newObserver(ctx caddy.Context, path func() string, emitter *emitter) *observer {
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

// originRefused takes a request of a browser that the origin policy has refused.
func (o *observer) originRefused(origins []string, host string) {
	o.logRefused(origins, host)
	o.memory.Load().Refused(strings.Join(origins, " "), host)
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
	case d.Code == principal.Unavailable:
		return stats.DenialIssuer
	case d.Code != "":
		return stats.DenialKind(d.Code)
	case d.Fixable:
		return stats.DenialScope
	}
	return stats.DenialForever
}

// issuerAsked takes that an issuer could not be asked for its keys, or about a token, or that
// it can again.
func (o *observer) issuerAsked(issuer string, tokens bool, err error) {
	use := stats.IssuerKeys
	if tokens {
		use = stats.IssuerTokens
	}
	if err == nil {
		o.memory.Load().IssuerBack(issuer, use)
		return
	}
	o.memory.Load().IssuerFailed(issuer, use, err.Error())
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
