package bridge

import (
	"errors"
	"net/http"
	"strconv"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/record"
)

// Refusal is the answer of an upstream, or of the proxy to it, that is no success.
// It answers the very request that caused it.
type Refusal struct {
	Status int
	// Header has the challenge as the client gets it. Nil where the upstream was
	// not reached.
	Header http.Header
	Body   []byte
	// Outcome is what became of the challenge. Nil: there is none.
	Outcome *Outcome
}

// Error implements error.
func (e *Refusal) Error() string { return "upstream answers " + strconv.Itoa(e.Status) }

// ofAnyRequest reports whether the answer says nothing of what was asked: whoever
// asked is refused, or nobody is served.
func (e *Refusal) ofAnyRequest() bool {
	switch e.Status {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusProxyAuthRequired, http.StatusTooManyRequests,
		http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

// isOfAnyRequest reports whether an error is such an answer.
func isOfAnyRequest(err error) bool {
	refusal, ok := errors.AsType[*Refusal](err)
	return ok && refusal.ofAnyRequest()
}

// deniesAccess reports whether whoever asked is refused.
func (e *Refusal) deniesAccess() bool {
	return e.Status == http.StatusUnauthorized || e.Status == http.StatusForbidden
}

// write answers a request with the refusal.
func (e *Refusal) write(w http.ResponseWriter, id []byte) {
	PassOutcome(w, e.Outcome)
	if e.Header == nil {
		refuse(w, e.Status, id, codeOf(e.Status), textOf(e.Status))
		return
	}
	header := w.Header()
	for name, lines := range e.Header {
		switch name {
		case "Connection", "Content-Length", "Keep-Alive", "Transfer-Encoding", "Trailer", "Upgrade", sessionHeader:
		case "Vary":
			header[name] = append(header[name], lines...)
		default:
			header[name] = lines
		}
	}
	header.Set("Content-Length", strconv.Itoa(len(e.Body)))
	w.WriteHeader(e.Status)
	_, _ = w.Write(e.Body)
}

// BodyTooLarge reports whether a body could not be read because it is longer than it
// may be.
func BodyTooLarge(err error) bool {
	var tooLarge *http.MaxBytesError
	return errors.Is(err, record.ErrBodyTooLarge) || errors.As(err, &tooLarge)
}

// RefuseBody answers a message whose body could not be read, 413 or 400, with a
// JSON-RPC error (MCP specification, "Streamable HTTP").
func RefuseBody(w http.ResponseWriter, err error) {
	if BodyTooLarge(err) {
		refuse(w, http.StatusRequestEntityTooLarge, nil, message.CodeInvalidRequest, "the body is too large")
		return
	}
	refuse(w, http.StatusBadRequest, nil, message.CodeParse, "the body could not be read")
}

func codeOf(status int) int {
	if status < http.StatusInternalServerError {
		return message.CodeInvalidRequest
	}
	return message.CodeInternal
}

func textOf(status int) string {
	switch status {
	case http.StatusBadGateway:
		return "the server could not be reached"
	case http.StatusGatewayTimeout:
		return "the server did not answer in time"
	case http.StatusRequestEntityTooLarge:
		return "the message is too large"
	}
	return http.StatusText(status)
}
