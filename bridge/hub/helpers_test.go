package hub

import (
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/servers"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/session"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/shared"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/translate"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/upstream"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/hubtest"
)

// kit makes the hubs of the tests.
var kit = judgedBy(nil)

// judgedBy returns a kit for hubs whose upstream judges credentials. Without one, no
// request is judged.
func judgedBy(judge upstream.Backend) hubtest.Kit[*Hub] {
	return hubtest.Kit[*Hub]{New: func(cfg servers.Config, revision *translate.ServerRevision, wrap hubtest.Wrap) *Hub {
		return New(Config{
			Servers: cfg, Sessions: session.Config{Wrap: wrap, Judge: judge}, Shared: shared.Config{Revision: revision},
		})
	}}
}
