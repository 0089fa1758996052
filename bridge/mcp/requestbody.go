package mcp

import (
	"errors"
	"net/http"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/record"
)

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
		Refuse(w, http.StatusRequestEntityTooLarge, nil, message.CodeInvalidRequest, "the body is too large")
		return
	}
	Refuse(w, http.StatusBadRequest, nil, message.CodeParse, "the body could not be read")
}
