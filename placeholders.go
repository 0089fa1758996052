package mcpauthbridge

import (
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge"
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

// visit is what is told of a request: to placeholders, in logs and in traces.
type visit struct {
	h      *Handler
	r      *http.Request
	w      http.ResponseWriter
	target string
	// read is what a message bridge has read of the request. It is empty where the
	// request crosses as bytes.
	read bridge.Notes
	// rec is what became of the request at the upstream. Nil: it was not asked.
	rec *bridge.Exchange
}

// notes returns what is known of the request.
func (v *visit) notes() bridge.Notes {
	n := v.read
	if n.Era == "" {
		n = bridge.NotesOf(v.r)
	}
	switch v.target {
	case targetMessage, targetSSE, targetSSEMessage:
		n.Era = bridge.EraSSE
	case targetEndpoint:
		if v.h.upstream.kind() == bridge.KindSSE && v.r.Method == http.MethodGet && len(v.r.Header["Mcp-Session-Id"]) == 0 {
			n.Era = bridge.EraSSE
		}
	default:
		return bridge.Notes{}
	}
	if n.Session == "" && v.w != nil { // an initialize is given one
		if ids := v.w.Header()["Mcp-Session-Id"]; len(ids) == 1 {
			n.Session = bridge.HashID(ids[0])
		}
	}
	return n
}

// placeholderPrefix is what placeholders begin with.
const placeholderPrefix = "http.mcp_auth_bridge."

// placeholders are those of a request that is an endpoint's, each with its value; an
// empty text is what is not known. README lists them.
var placeholders = map[string]func(*visit) any{
	"endpoint": func(v *visit) any { return v.h.staticPath() },
	"target":   func(v *visit) any { return v.target },
	"method":   func(v *visit) any { return v.notes().Method },
	"name":     func(v *visit) any { return v.notes().Name },
	"session":  func(v *visit) any { return v.notes().Session },
	"era":      func(v *visit) any { return v.notes().Era },
	"upstream_status": func(v *visit) any {
		if status := v.upstreamStatus(); status != 0 {
			return status
		}
		return nil
	},
	"challenge.action": func(v *visit) any { return string(v.outcome().Action) },
	"challenge.reason": func(v *visit) any { return string(v.outcome().Reason) },
	"challenge.scheme": func(v *visit) any { scheme, _ := v.challenge(); return scheme },
	"challenge.error":  func(v *visit) any { _, code := v.challenge(); return code },
}

// challenge returns scheme and error of the challenge that the answer has, each of its
// closed set; nothing where the answer has none.
func (v *visit) challenge() (scheme, code string) {
	if v.rec == nil || v.rec.Outcome == nil {
		return "", ""
	}
	return v.rec.Outcome.Kind()
}

// outcome returns what became of the challenges of the answer; an empty one where it
// has none.
func (v *visit) outcome() *bridge.Outcome {
	if v.rec == nil || v.rec.Outcome == nil {
		return new(bridge.Outcome)
	}
	return v.rec.Outcome
}

// upstreamStatus returns the status that the upstream answered with; 0 where it did
// not, or where no request to it stands for this one.
func (v *visit) upstreamStatus() int {
	if v.rec == nil {
		return 0
	}
	if v.rec.Status == 0 {
		return v.outcome().Status // of the call that a message bridge has made
	}
	return v.rec.Status
}

// placeholder returns the value of a placeholder. It is asked for only where
// something uses one.
func (v *visit) placeholder(key string) (any, bool) {
	name, ok := strings.CutPrefix(key, placeholderPrefix)
	if !ok {
		return nil, false
	}
	value, ok := placeholders[name]
	if !ok {
		return nil, false
	}
	return value(v), true
}

// tell makes the placeholders of a request known to the handlers and logs around it.
func (v *visit) tell() {
	if repl, ok := v.r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer); ok {
		repl.Map(v.placeholder)
	}
}
