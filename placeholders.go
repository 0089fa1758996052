package mcpauthbridge

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/authorize/operation"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/notes"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/safetext"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/stats"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/edge"
)

// What a request is to an endpoint, as placeholders, logs and traces name it.
const (
	targetEndpoint   = "endpoint"             // the endpoint itself
	targetMessage    = "message"              // the message path of an HTTP+SSE upstream
	targetSSE        = "sse"                  // the event stream that legacy_sse offers
	targetSSEMessage = "sse_message"          // what its clients post messages to
	targetMetadata   = "metadata"             // a well-known URL of the endpoint
	targetServer     = "authorization_server" // the bridged authorization server
)

// targetNames are the names of what an endpoint itself is asked for.
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
	// read is what a message bridge has read of the request. It is empty where the
	// request crosses as bytes.
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
		if ids := f.w.Header()["Mcp-Session-Id"]; len(ids) == 1 {
			n.Session = safetext.HashID(ids[0])
		}
	}
	return n
}

// crossing returns what is known of a request that crosses as bytes: what its fields say or,
// if the edge has read it, what is in its body. A field of a client older than 2026-07-28 is
// compared with nothing, so behind the edge no field counts.
func (f *facts) crossing() notes.Notes {
	n := notes.Of(f.r)
	switch {
	case f.asked == nil:
		return n
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

// placeholders are those of a request that is an endpoint's, each with its value; an
// empty text is what is not known. q is nil for a request that is never sent to the MCP
// server. docs/observe.md lists them.
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

// challenge returns scheme and error of the challenge that the answer has, each of its
// closed set; nothing if the answer has none.
func (q *request) challenge() (scheme, code string) {
	if q == nil || q.Outcome == nil {
		return "", ""
	}
	return q.Outcome.Kind()
}

// outcome returns what became of the challenges of the answer; an empty one if it has none.
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

// placeholder returns the value of a placeholder. It is called only if something uses one.
func placeholder(key string, f *facts, q *request) (any, bool) {
	name, ok := strings.CutPrefix(key, placeholderPrefix)
	if !ok {
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
	publish(f.r, func(key string) (any, bool) { return placeholder(key, f, nil) })
}

// publish makes the placeholders of a request known to the handlers and logs around it.
func (q *request) publish() {
	publish(q.r, func(key string) (any, bool) { return placeholder(key, &q.facts, q) })
}

func publish(r *http.Request, placeholder caddy.ReplacerFunc) {
	if repl, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer); ok {
		repl.Map(placeholder)
	}
}

// hasPlaceholder reports whether a value of an option has a placeholder that is replaced
// when the configuration is loaded.
func hasPlaceholder(value string) bool {
	return edge.HasPlaceholder(value)
}

// written returns the values that are known when the Caddyfile is read.
func written(values []string) []string {
	return slices.DeleteFunc(slices.Clone(values), hasPlaceholder)
}

// optionReplacer replaces {env.*} and {file.*} in options, when the configuration is loaded.
type optionReplacer struct {
	replace func(string) string
	errs    []error
}

func newOptionReplacer() *optionReplacer {
	return &optionReplacer{replace: replacing("env.", "file.")}
}

// one replaces the placeholders of a value.
func (r *optionReplacer) one(option string, to *string) {
	if !hasPlaceholder(*to) {
		return
	}
	value := strings.TrimSpace(r.replace(*to))
	if value == "" {
		r.errs = append(r.errs, fmt.Errorf("%s: %q is empty; set the environment variable or write the file that it names", option, *to))
	}
	*to = value
}

// list replaces the placeholders of a list. What takes the place of one may be several
// values with spaces between them.
func (r *optionReplacer) list(option string, to *[]string) {
	if !slices.ContainsFunc(*to, hasPlaceholder) {
		return
	}
	var values []string
	for _, value := range *to {
		if !hasPlaceholder(value) {
			values = append(values, value)
			continue
		}
		r.one(option, &value)
		values = append(values, strings.Fields(value)...)
	}
	*to = values
}

// options replaces the placeholders of all options of an endpoint whose values are texts.
func (r *optionReplacer) options(h *Handler) error {
	r.one("public_url", &h.PublicURL)
	r.list("hosts", &h.Hosts)
	if c := h.Challenge; c != nil {
		r.list("challenge origins", &c.Origins)
		r.list("challenge scope", &c.Scope)
		r.one("challenge realm", &c.Realm)
	}
	r.cors(h.CORS)
	if m := h.Metadata; m != nil {
		r.list("metadata authorization_servers", &m.AuthorizationServers)
		r.list("metadata scopes_supported", &m.ScopesSupported)
		r.one("metadata resource_name", &m.ResourceName)
	}
	return errors.Join(r.errs...)
}

// cors replaces the placeholders of an origin policy.
func (r *optionReplacer) cors(c *CORSConfig) {
	if c == nil {
		return
	}
	r.list("cors allow_origins", &c.AllowOrigins)
	r.list("cors allow_headers", &c.AllowHeaders)
	r.list("cors expose_headers", &c.ExposeHeaders)
}
