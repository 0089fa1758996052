// Package sessions_test has the tests of sessions through a running Caddy: every pair of a
// client and a server that the bridge translates between, what the server refuses in their
// middle, and the bound on their number. Programs belong in test/stdio.
package sessions_test

import (
	"testing"

	_ "github.com/mcp-auth-bridge/caddy-mcp-auth-bridge" // the handler
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/mcptest"
)

func TestMain(m *testing.M) { mcptest.Main(m, nil) }
