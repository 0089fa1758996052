// Package stdio_test has the tests of programs as MCP servers through a running Caddy: how
// they start and end, what is left of them, what they may write, and what clients cannot
// do to them.
package stdio_test

import (
	"testing"

	_ "github.com/mcp-auth-bridge/caddy-mcp-auth-bridge" // the handler
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/mcptest"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/testcaddy"
)

func TestMain(m *testing.M) {
	mcptest.Main(m, map[string]func(string){
		testcaddy.CommandProgram: testcaddy.RunCommand,
		faultyServer:             func(string) { serveFaulty() },
		oddProgram:               serveOdd,
		laxServer:                func(string) { serveLax() },
	})
}
