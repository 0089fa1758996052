package mcp

import (
	"errors"
	"net/http"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/bodies"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/record"
)

// BodyTooLarge reports whether a body could not be read because it is longer than it
// may be.
func BodyTooLarge(err error) bool {
	var tooLarge *http.MaxBytesError
	return errors.Is(err, record.ErrBodyTooLarge) || errors.As(err, &tooLarge)
}

// RefuseBody answers a message whose body could not be read, with a JSON-RPC error (MCP
// specification, "Streamable HTTP"): 413, 503 with Retry-After, 408 or 400.
func RefuseBody(w http.ResponseWriter, err error) {
	switch {
	case BodyTooLarge(err):
		Refuse(w, http.StatusRequestEntityTooLarge, nil, message.CodeInvalidRequest, "the body is too large")
	case errors.Is(err, bodies.ErrNoRoom):
		w.Header().Set("Retry-After", "5")
		Refuse(w, http.StatusServiceUnavailable, nil, message.CodeServer, "too many large bodies are being handled; try again")
	case errors.Is(err, bodies.ErrSlow):
		Refuse(w, http.StatusRequestTimeout, nil, message.CodeServer, "the body arrives too slowly")
	default:
		Refuse(w, http.StatusBadRequest, nil, message.CodeParse, "the body could not be read")
	}
}
