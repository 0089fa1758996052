package mcpauthbridge

import (
	"errors"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// logRequest writes one line about a request that is over, at level DEBUG.
func (q *request) logRequest(err error) {
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
		zap.String("era", n.Era), zap.String("origin", q.Origin.String()), zap.Int("status", status), zap.Int64("sent", sent),
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
	fields = append(fields, q.challengeFields()...)
	if err != nil {
		fields = append(fields, zap.Error(causeOf(err)))
	}
	c.Write(fields...)
}

// causeOf returns the cause of an error that a handler has returned.
func causeOf(err error) error {
	if e, ok := errors.AsType[caddyhttp.HandlerError](err); ok && e.Err != nil {
		return e.Err
	}
	return err
}

// translation names the transports between which the messages of a request are translated.
// It is empty if they are not.
func (q *request) translation() string {
	if q.read.Era == "" || q.Status != 0 {
		return ""
	}
	return q.notes().Era + " to " + q.h.upstream.Transport()
}

// challengeFields describe what was done with the challenges of the answer. They have no
// secret of the upstream or of the client.
func (q *request) challengeFields() []zap.Field {
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

// logRequest writes one line about a request that the bridge has sent itself, at level DEBUG.
func (q *bridgeRequest) logRequest(err error) {
	c := q.h.logger.Check(zapcore.DebugLevel, "message bridge has asked the upstream")
	if c == nil {
		return
	}
	n := q.notes()
	fields := []zap.Field{
		zap.String("endpoint", q.h.staticPath()), zap.String("verb", q.Request().Method), zap.String("upstream", q.Dial),
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
