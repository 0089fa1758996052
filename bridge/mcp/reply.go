package mcp

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
)

// Refuse answers a request with a JSON-RPC error. id is that of the message, as written; it
// may be nil.
func Refuse(w http.ResponseWriter, status int, id []byte, code int, text string) {
	WriteJSON(w, status, message.Error(id, code, text))
}

// WriteJSON answers a request with one JSON-RPC message.
func WriteJSON(w http.ResponseWriter, status int, raw []byte) {
	header := w.Header()
	header.Set("Content-Type", "application/json")
	header.Set("Content-Length", strconv.Itoa(len(raw)))
	w.WriteHeader(status)
	_, _ = w.Write(raw)
}

// CodeOf returns the code of a JSON-RPC error that goes with an HTTP status.
func CodeOf(status int) int {
	if status < http.StatusInternalServerError {
		return message.CodeInvalidRequest
	}
	return message.CodeInternal
}

// TextOf returns the text of a JSON-RPC error that goes with an HTTP status.
func TextOf(status int) string {
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

// ErrorStatus returns the HTTP status of a JSON answer to a stateless request. It is an error
// if the server does not know the method, or if it rejects the revision or the header fields
// (MCP specification 2026-07-28, "Protocol Version Header"). All other errors are sent with
// 200.
func ErrorStatus(raw []byte) int {
	var code int
	if json.Unmarshal(message.Get(raw, "error", "code"), &code) != nil {
		return http.StatusOK
	}
	switch code {
	case message.CodeMethodNotFound:
		return http.StatusNotFound
	case message.CodeHeaderMismatch, message.CodeMissingCapability, message.CodeUnsupportedVersion:
		return http.StatusBadRequest
	}
	return http.StatusOK
}

// Accepts reports whether the Accept field of a request allows all of the media types.
func Accepts(r *http.Request, want ...string) bool {
	accept := strings.ToLower(strings.Join(r.Header["Accept"], ","))
	if accept == "" {
		return true
	}
	for _, mediaType := range want {
		major, _, _ := strings.Cut(mediaType, "/")
		if !strings.Contains(accept, mediaType) && !strings.Contains(accept, "*/*") && !strings.Contains(accept, major+"/*") {
			return false
		}
	}
	return true
}

// IsEventStream reports whether a header is that of a stream of server-sent events.
func IsEventStream(h http.Header) bool {
	mediaType, _, _ := strings.Cut(h.Get("Content-Type"), ";")
	return strings.EqualFold(strings.TrimSpace(mediaType), "text/event-stream")
}
