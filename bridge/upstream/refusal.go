package upstream

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/mcp"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/ratewriter"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/stats"
)

// Refusal is an answer of the upstream, or of the proxy in front of it, whose status is no
// success. It answers the client's request that caused it.
type Refusal struct {
	Status int
	// Header has the challenge as the client gets it. It is nil if the upstream was not
	// reached.
	Header http.Header
	Body   []byte
	// Outcome is what became of the challenge; nil if there is none.
	Outcome *stats.Outcome
	// Over is set if the server does not know the conversation any more.
	Over bool
}

// Error implements error.
func (e *Refusal) Error() string { return "upstream answers " + strconv.Itoa(e.Status) }

// OfAnyRequest reports whether any request would have got this answer: the client is
// refused, or the server does not serve at all.
func (e *Refusal) OfAnyRequest() bool {
	switch e.Status {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusProxyAuthRequired, http.StatusTooManyRequests,
		http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

// IsOfAnyRequest reports whether an error is a [Refusal] that any request would have got.
func IsOfAnyRequest(err error) bool {
	refusal, ok := errors.AsType[*Refusal](err)
	return ok && refusal.OfAnyRequest()
}

// OfMessage reports whether the server has refused one message, and would take others.
func (e *Refusal) OfMessage() bool {
	return e.Header != nil && e.Status >= http.StatusBadRequest && !e.Over && !e.OfAnyRequest()
}

// Answer returns the refusal of a request as the answer to it, for a client that gets all
// answers on a stream: the JSON-RPC error in the body, or one that names the status. An error
// about header fields is not handed on, because they are the bridge's.
func (e *Refusal) Answer(request message.Message) message.Message {
	if m, ok := errorIn(e.Body, request.RawID); ok && string(m.Get("error", "code")) != strconv.Itoa(message.CodeHeaderMismatch) {
		return m
	}
	return message.NewError(request.RawID, mcp.CodeOf(e.Status), "the server answers "+strconv.Itoa(e.Status)+" "+http.StatusText(e.Status))
}

// errorIn returns the JSON-RPC error in the body of a refusal, as the answer to the request
// with an id. The body may have another id, or none.
func errorIn(body, id []byte) (m message.Message, ok bool) {
	if !json.Valid(body) {
		return m, false
	}
	m, err := message.Parse(message.Line(message.Set(body, id, "id")))
	return m, err == nil && m.Failed
}

// DeniesAccess reports whether the credentials are refused.
func (e *Refusal) DeniesAccess() bool {
	return e.Status == http.StatusUnauthorized || e.Status == http.StatusForbidden
}

// Write answers a request of a client with the refusal. id is that of its message.
func (e *Refusal) Write(w http.ResponseWriter, id []byte) {
	PassOutcome(w, e.Outcome)
	if e.Header == nil {
		mcp.Refuse(w, e.Status, id, mcp.CodeOf(e.Status), mcp.TextOf(e.Status))
		return
	}
	header := w.Header()
	for name, lines := range e.Header {
		switch name {
		case "Connection", "Content-Length", "Keep-Alive", "Transfer-Encoding", "Trailer", "Upgrade", mcp.SessionHeader:
		case "Vary":
			header[name] = append(header[name], lines...)
		default:
			header[name] = lines
		}
	}
	header.Set("Content-Length", strconv.Itoa(len(e.Body)))
	w.WriteHeader(e.Status)
	var to io.Writer = w
	if len(e.Body) > ratewriter.PartSize { // what is shorter is not waited for
		to = ratewriter.New(w, ratewriter.DefaultStall, ratewriter.DefaultRate)
	}
	_, _ = to.Write(e.Body)
}
