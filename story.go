package mcpauthbridge

import (
	"errors"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge"
)

// What became of the Origin of a request, as the log names it.
const (
	originNone      = "none"    // it has no Origin
	originAllowed   = "allowed" // and the answer CORS headers for it
	originPassed    = "passed"  // it is no browser's, or CORS is off
	originPreflight = "preflight"
	originRefused   = "refused"
)

// story is what is kept for the debug log of one request.
type story struct {
	begun  time.Time
	origin string
}

// tellStory writes, at level DEBUG, all that became of a request: one line, when it is
// over.
func (q *request) tellStory(err error) {
	c := q.h.logger.Check(zapcore.DebugLevel, "request is over")
	if c == nil {
		return
	}
	n := q.notes()
	status, sent := q.Answered()
	if status == 0 && err != nil {
		status = errorStatus(err) // Caddy's error routes answer
	}
	fields := []zap.Field{
		zap.String("endpoint", q.h.staticPath()), zap.String("target", q.target), zap.String("verb", q.r.Method),
		zap.String("era", n.Era), zap.String("origin", q.story.origin), zap.Int("status", status), zap.Int64("sent", sent),
		zap.Bool("stream", q.IsStream()), zap.Duration("duration", time.Since(q.begun)),
	}
	for _, f := range []struct{ name, value string }{
		{"method", n.Method}, {"name", n.Name}, {"version", n.Version}, {"session", n.Session}, {"translation", q.translation()}, {"upstream", q.Dial},
	} {
		if f.value != "" {
			fields = append(fields, zap.String(f.name, f.value))
		}
	}
	if status := q.upstreamStatus(); status != 0 {
		fields = append(fields, zap.Int("upstream_status", status))
	}
	fields = append(fields, q.tellChallenge()...)
	if err != nil {
		fields = append(fields, zap.Error(causeOf(err)))
	}
	c.Write(fields...)
}

// causeOf returns what an error of a handler is about.
func causeOf(err error) error {
	if e, ok := errors.AsType[caddyhttp.HandlerError](err); ok && e.Err != nil {
		return e.Err
	}
	return err
}

// translation says between which transports messages are carried over; nothing where
// the request crosses as bytes.
func (q *request) translation() string {
	if q.read.Era == "" || q.Status != 0 {
		return ""
	}
	return q.notes().Era + " to " + string(q.h.upstream.kind())
}

// tellChallenge says what became of the challenges of the answer, in a form that has no
// secret of the upstream's or of the client's.
func (q *request) tellChallenge() []zap.Field {
	o := q.Outcome
	if o == nil {
		return nil
	}
	fields := []zap.Field{zap.String("challenge_action", string(o.Action))}
	if o.Reason != "" {
		fields = append(fields, zap.String("challenge_reason", string(o.Reason)))
	}
	if o.At != "" {
		fields = append(fields, zap.String("public_url", o.At))
	}
	got, given := o.Shown(q.r)
	return append(fields, zap.Strings("challenge_got", got), zap.Strings("challenge_given", given))
}

// tellCall writes, at level DEBUG, what a message bridge has asked the upstream for.
func (q *request) tellCall(err error) {
	c := q.h.logger.Check(zapcore.DebugLevel, "message bridge has asked the upstream")
	if c == nil {
		return
	}
	n := bridge.NotesOfFrame(q.Held())
	fields := []zap.Field{
		zap.String("endpoint", q.h.staticPath()), zap.String("verb", q.r.Method), zap.String("upstream", q.Dial),
		zap.Int("upstream_status", q.Status), zap.Duration("duration", time.Since(q.begun)),
	}
	if n.Method != "" {
		fields = append(fields, zap.String("method", n.Method))
	}
	if err != nil {
		fields = append(fields, zap.Error(causeOf(err)))
	}
	c.Write(fields...)
}

// logSession writes, at level DEBUG, that a session begins or is over.
func (h *Handler) logSession(message string, s bridge.SessionInfo, more ...zap.Field) {
	if c := h.logger.Check(zapcore.DebugLevel, message); c != nil {
		c.Write(append([]zap.Field{
			zap.String("endpoint", h.staticPath()), zap.String("session", s.ID), zap.String("transport", string(s.Transport)), zap.String("version", s.Version),
		}, more...)...)
	}
}

// logDown says that the upstream gives no answer any more; once, until it does again.
func (h *Handler) logDown(address string, why bridge.Failure) {
	advice := "start it, or correct the address"
	switch why {
	case bridge.FailureTimeout:
		advice = "it is too slow, or a firewall drops what is sent to it; `limits response_header` bounds the wait"
	case bridge.FailureName:
		advice = "correct the host name, or the name server"
	case bridge.FailureBroken:
		advice = "see whether it speaks HTTP there, with TLS or without, as the address says"
	case bridge.FailureRefused:
	}
	h.logger.Warn("upstream gives no answer", zap.String("endpoint", h.staticPath()), zap.String("upstream", address),
		zap.String("why", string(why)), zap.String("advice", advice))
}

// logBack says that the upstream answers again.
func (h *Handler) logBack(address string, down time.Duration) {
	h.logger.Info("upstream answers again", zap.String("endpoint", h.staticPath()), zap.String("upstream", address), zap.Duration("down", down))
}
