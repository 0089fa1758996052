package mcpauthbridge

import (
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/authorize/operation"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/mcp"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/notes"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/safetext"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/stats"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/tracing"
)

// What a request is to an endpoint, as placeholders, logs and traces name it.
const (
	targetEndpoint   = "endpoint"             // the endpoint itself
	targetMessage    = "message"              // the message path of an HTTP+SSE upstream
	targetSSE        = "sse"                  // the event stream that legacy_sse offers
	targetSSEMessage = "sse_message"          // the path that clients of legacy_sse post messages to
	targetMetadata   = "metadata"             // a well-known URL of the endpoint
	targetServer     = "authorization_server" // the bridged authorization server
)

// targetNames has the names of the paths of an endpoint itself.
var targetNames = map[bridge.Target]string{
	bridge.TargetEndpoint:       targetEndpoint,
	bridge.TargetMessage:        targetMessage,
	bridge.TargetUnknownMessage: targetMessage,
	bridge.TargetLegacy:         targetSSE,
	bridge.TargetLegacyMessage:  targetSSEMessage,
}

// facts is what placeholders, logs and traces show of a request.
type facts struct {
	h      *Handler
	r      *http.Request
	w      http.ResponseWriter
	target string
	// read is what a message bridge has read in the body. It is empty if the request is passed on
	// as bytes.
	read notes.Notes
	// asked is what the edge has read of the request; nil without authorize.
	asked *operation.Request
}

// notes returns what is known of the request.
func (f *facts) notes() notes.Notes {
	n := f.read
	if n.Era == "" {
		n = f.crossing()
	}
	switch f.target {
	case targetMessage, targetSSE, targetSSEMessage:
		n.Era = notes.EraSSE
	case targetEndpoint:
		if f.h.upstream.sse && f.h.upstream.crosses(f.r) {
			n.Era = notes.EraSSE
		}
	default:
		return notes.Notes{}
	}
	if n.Session == "" && f.w != nil { // an initialize is given one
		if ids := f.w.Header()[mcp.SessionHeader]; len(ids) == 1 {
			n.Session = safetext.HashID(ids[0])
		}
	}
	return n
}

// crossing returns what is known of a request that is passed on as bytes. Without authorize that
// is what its header fields say. With authorize the body counts and not the fields, because
// nothing compares the fields of a client older than 2026-07-28 with the body.
func (f *facts) crossing() notes.Notes {
	n := notes.Of(f.r)
	switch {
	case f.asked == nil && f.h.edge == nil:
		return n
	case f.asked == nil: // it was refused before its body was read, or because of it
		return n.Read("", "")
	case len(f.asked.Operations) == 0:
		return n.Read("", "")
	case len(f.asked.Operations) > 1:
		return n.Read(notes.MethodBatch, "")
	}
	op := f.asked.Operations[0]
	return n.Read(op.Method, op.FirstName())
}

// placeholderPrefix is what placeholders begin with.
const placeholderPrefix = "http.mcp_auth_bridge."

// placeholders has the placeholders of a request to an endpoint, each with its value. A value that
// is not known is empty. q is nil for a request that is never sent to the MCP server.
// docs/observe.md lists the placeholders.
var placeholders = map[string]func(f *facts, q *request) any{
	"endpoint": func(f *facts, _ *request) any { return f.h.staticPath() },
	"target":   func(f *facts, _ *request) any { return f.target },
	"method":   func(f *facts, _ *request) any { return f.notes().Method },
	"name":     func(f *facts, _ *request) any { return f.notes().Name },
	"session":  func(f *facts, _ *request) any { return f.notes().Session },
	"era":      func(f *facts, _ *request) any { return f.notes().Era },
	"upstream_status": func(_ *facts, q *request) any {
		if status := q.upstreamStatus(); status != 0 {
			return status
		}
		return nil
	},
	"challenge.action": func(_ *facts, q *request) any { return string(q.outcome().Action) },
	"challenge.reason": func(_ *facts, q *request) any { return string(q.outcome().Reason) },
	"challenge.scheme": func(_ *facts, q *request) any { scheme, _ := q.challenge(); return scheme },
	"challenge.error":  func(_ *facts, q *request) any { _, code := q.challenge(); return code },
}

// challenge returns the scheme and the error of the challenge in the answer, each from a closed
// set. Both are empty if the answer has no challenge.
func (q *request) challenge() (scheme, code string) {
	if q == nil || q.Outcome == nil {
		return "", ""
	}
	return q.Outcome.Kind()
}

// outcome returns what was done with the challenges of the answer. It is empty if the answer has
// none.
func (q *request) outcome() *stats.Outcome {
	if q == nil || q.Outcome == nil {
		return new(stats.Outcome)
	}
	return q.Outcome
}

// upstreamStatus returns the status that the upstream answered with. It is 0 if the upstream
// did not answer, or if no request to the upstream stands for this one.
func (q *request) upstreamStatus() int {
	if q == nil || q.Status == 0 {
		return q.outcome().Status // of the request that a message bridge has made
	}
	return q.Status
}

// placeholderValue returns the value of a placeholder. It is called only if something uses one.
func placeholderValue(key string, f *facts, q *request) (any, bool) {
	name, ok := strings.CutPrefix(key, placeholderPrefix)
	if !ok {
		if field, ok := strings.CutPrefix(key, proxyPlaceholders); ok && q != nil {
			return q.forwarding.placeholder(field)
		}
		return nil, false
	}
	value, ok := placeholders[name]
	if !ok {
		return nil, false
	}
	return value(f, q), true
}

// publish makes the placeholders of a request known to the handlers and logs around it.
func (f *facts) publish() {
	publish(f.r, func(key string) (any, bool) { return placeholderValue(key, f, nil) })
}

// publish makes the placeholders of a request known to the handlers and logs around it.
func (q *request) publish() {
	publish(q.r, func(key string) (any, bool) { return placeholderValue(key, &q.facts, q) })
}

func publish(r *http.Request, values caddy.ReplacerFunc) {
	if repl, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer); ok {
		repl.Map(values)
	}
}

// annotate puts what is known of a request that is over on its span. A request without a span costs
// a look at its context.
func (q *request) annotate() {
	if !tracing.Recording(q.r) {
		return
	}
	f := tracing.Facts{Notes: q.notes(), Endpoint: q.h.staticPath(), Target: q.target}
	if o := q.outcome(); o.Action != "" {
		f.Action, f.Reason = string(o.Action), string(o.Reason)
		f.Scheme, f.Code = o.Kind()
	}
	tracing.Annotate(q.r, f)
}

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
