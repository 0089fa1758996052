package translate

import (
	"slices"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/mcp"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
)

// Server is what a server has answered about itself to initialize or to server/discover.
type Server struct {
	Version      string // empty in an answer to server/discover
	Capabilities []byte // as written; nil if the server has not said it
	Info         []byte // as written; nil if the server has not said it
	Instructions []byte // as written; nil if there are none
}

// Has reports whether a server has a capability.
func (s *Server) Has(path ...string) bool {
	value := message.Get(s.Capabilities, path...)
	return value != nil && string(value) != "false" && string(value) != "null"
}

// Initialized returns the result of initialize for a client that asks for a version.
func (s *Server) Initialized(version string) []byte {
	if !slices.Contains(mcp.HandshakeRevisions, version) {
		version = mcp.HandshakeRevisions[len(mcp.HandshakeRevisions)-1]
	}
	result := []byte(`{"protocolVersion":"` + version + `","capabilities":{},"serverInfo":{"name":"unnamed","version":"0"}}`)
	if s.Capabilities != nil {
		result = message.Set(result, s.Capabilities, "capabilities")
	}
	if s.Info != nil {
		result = message.Set(result, s.Info, "serverInfo")
	}
	if s.Instructions != nil {
		result = message.Set(result, s.Instructions, "instructions")
	}
	return result
}
