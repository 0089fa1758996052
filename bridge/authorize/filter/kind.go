package filter

import (
	"errors"
	"mime"
	"net/http"
	"strings"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/mcp"
)

// kind is where the messages of an answer are.
type kind uint8

const (
	noMessages kind = iota // an error, or an empty answer
	inDocument             // one JSON document: a message or a batch
	inEvents               // an event stream
)

// Errors of an answer that cannot be read.
var (
	ErrTooLarge = errors.New("message of the server is too large to be filtered")
	ErrEncoded  = errors.New("answer of the server has a content coding, though none was accepted")
	ErrKind     = errors.New("answer of the server is neither JSON nor an event stream")
)

// kindOf returns where the messages of an answer are, or why they cannot be read. Only a success
// has messages of interest: a list, or a task. Clients read the body of every success, not only
// that of a 200.
func kindOf(status int, h http.Header) (kind, error) {
	if status < 200 || status > 299 || status == http.StatusNoContent || status == http.StatusResetContent {
		return noMessages, nil
	}
	if coding := h.Get("Content-Encoding"); coding != "" && !strings.EqualFold(coding, "identity") {
		return noMessages, ErrEncoded
	}
	if mcp.IsEventStream(h) {
		return inEvents, nil
	}
	media, _, err := mime.ParseMediaType(h.Get("Content-Type"))
	switch {
	case err == nil && (media == "application/json" || strings.HasSuffix(media, "+json")):
		return inDocument, nil
	case h.Get("Content-Type") == "" && h.Get("Content-Length") == "0":
		return noMessages, nil
	}
	return noMessages, ErrKind
}
