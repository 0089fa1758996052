// Package answer writes the answers to requests that the edge refuses: status, challenge and
// JSON-RPC error.
package answer

import (
	"bytes"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/authorize/operation"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/authorize/principal"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/authorize/rules"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/challenge"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
)

// Scheme is an authentication scheme.
type Scheme string

// The schemes that are challenged with.
const (
	Bearer Scheme = "Bearer" // RFC 6750
	DPoP   Scheme = "DPoP"   // RFC 9449
)

// Challenger has the parts that all challenges of an endpoint have in common.
type Challenger struct {
	// Metadata is the well-known URL of the endpoint, for `resource_metadata`. Without it
	// there is no such parameter.
	Metadata string
	// Realm is the parameter `realm`. Without it there is no such parameter.
	Realm string
	// Scopes are what every request needs.
	Scopes principal.Scopes
	// Algorithms are those that DPoP proofs may be signed with. Empty: DPoP is off.
	Algorithms []string
}

// Answer is the answer to a refused request. It repeats nothing of the request but its id.
type Answer struct {
	Status int
	// Challenges are the lines of WWW-Authenticate.
	Challenges []string
	// RetryAfter is when to try again; zero: no such field.
	RetryAfter time.Duration
	// Body is a JSON-RPC error.
	Body []byte
}

// Credentials answers a request without valid credentials. scheme is the one that the request
// used; its challenge gets the error. The caller adds a DPoP-Nonce.
func (c Challenger) Credentials(r *principal.Refusal, scheme Scheme) Answer {
	a := Answer{Status: http.StatusUnauthorized}
	text := r.Reason.Text()
	switch r.Code {
	case principal.Unavailable:
		a.Status, a.RetryAfter = http.StatusServiceUnavailable, max(r.RetryAfter, time.Second)
	case principal.IssuerFault:
		a.Status = http.StatusBadGateway
	case principal.Missing:
		a.Challenges = c.lines(scheme, "", "", c.Scopes)
	case principal.InvalidRequest:
		a.Status = http.StatusBadRequest
		a.Challenges = c.lines(scheme, string(r.Code), text, c.Scopes)
	case principal.InvalidProof, principal.UseNonce:
		a.Challenges = c.lines(DPoP, string(r.Code), text, c.Scopes)
	default:
		a.Challenges = c.lines(scheme, string(principal.InvalidToken), text, c.Scopes)
	}
	a.Body = rpcError(nil, code(a.Status), text)
	return a
}

// Exchange answers a request whose token is accepted, but not exchanged for one for the MCP
// server. scheme is the one that the request used.
func (c Challenger) Exchange(refusal *principal.Refusal, r operation.Request, scheme Scheme) Answer {
	a := c.Credentials(refusal, scheme)
	a.Body = rpcError(r.ID(), code(a.Status), refusal.Reason.Text())
	return a
}

// insufficientScope is the `error` of a challenge (RFC 6750 section 3.1).
const insufficientScope = "insufficient_scope"

// Denial answers a request that the rules refuse. scheme is the one that the request used.
func (c Challenger) Denial(d rules.Decision, r operation.Request, scheme Scheme) Answer {
	a := Answer{Status: http.StatusForbidden}
	text := "this is not allowed"
	if d.Fixable() {
		text = "the scope of the token is too small"
		a.Challenges = c.lines(scheme, insufficientScope, text, d.Challenge)
	}
	a.Body = rpcError(r.ID(), message.CodeServer, "Forbidden: "+text)
	return a
}

// Invalid answers a request whose body, or whose header fields, are refused.
func Invalid(e *operation.Invalid) Answer {
	return Answer{Status: http.StatusBadRequest, Body: rpcError(e.ID, e.Code, e.Text)}
}

// NoTask answers a request for a task of another principal as MCP servers do for an unknown task
// (MCP specification 2025-11-25, "Tasks", section "Protocol Errors"). id is the id of the request.
// legacy is set for HTTP+SSE, whose clients expect the answer on another stream.
func NoTask(id []byte, legacy bool) Answer {
	a := Answer{Status: http.StatusOK, Body: rpcError(id, message.CodeInvalidParams, "Failed to retrieve task: Task not found")}
	if legacy || len(id) == 0 {
		a.Status = http.StatusBadRequest
	}
	return a
}

// code returns the code of the JSON-RPC error that goes with a status.
func code(status int) int {
	if status == http.StatusBadRequest {
		return message.CodeInvalidRequest
	}
	return message.CodeServer
}

// rpcError returns a JSON-RPC error. If id is nil, the error has no member `id` (MCP specification
// 2025-11-25 and later).
func rpcError(id []byte, code int, text string) []byte {
	body := message.Error(id, code, text)
	if len(id) == 0 {
		body = message.Remove(body, "id")
	}
	return bytes.TrimSpace(body)
}

// lines returns one challenge a line. Bearer comes first, because TypeScript SDK 1.x reads no
// other. DPoP follows if it is on. The challenge of scheme has the error.
func (c Challenger) lines(scheme Scheme, code, text string, scopes principal.Scopes) []string {
	if scheme != DPoP || len(c.Algorithms) == 0 {
		scheme = Bearer
	}
	all := []string{c.line(Bearer, scheme, code, text, scopes)}
	if len(c.Algorithms) > 0 {
		all = append(all, c.line(DPoP, scheme, code, text, scopes)+`, algs=`+challenge.Quote(strings.Join(c.Algorithms, " ")))
	}
	return all
}

func (c Challenger) line(scheme, failed Scheme, code, text string, scopes principal.Scopes) string {
	var params []string
	add := func(name, value string) {
		if value != "" {
			params = append(params, name+"="+challenge.Quote(value))
		}
	}
	add("realm", c.Realm)
	if scheme == failed {
		add("error", code)
		add("error_description", text)
	}
	add("scope", scopes.String())
	add("resource_metadata", c.Metadata)
	if len(params) == 0 {
		return string(scheme)
	}
	return string(scheme) + " " + strings.Join(params, ", ")
}

// Write sends the answer.
func (a Answer) Write(w http.ResponseWriter) {
	h := w.Header()
	h.Del("WWW-Authenticate")
	for _, line := range a.Challenges {
		h.Add("WWW-Authenticate", line)
	}
	if a.RetryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(int((a.RetryAfter+time.Second-1)/time.Second)))
	}
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Type", "application/json")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Length", strconv.Itoa(len(a.Body)))
	w.WriteHeader(a.Status)
	_, _ = w.Write(a.Body)
}
