package upstream

import (
	"errors"
	"io"
	"net/http"
	"strconv"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/mcp"
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
