// Package observe_test has the tests of what an operator sees of a running Caddy: the admin
// API, the status page, metrics, events, traces, placeholders and logs, and that none of
// them shows a secret.
package observe_test

import (
	"testing"

	_ "github.com/mcp-auth-bridge/caddy-mcp-auth-bridge" // the handler
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/mcptest"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/testcaddy"
)

func TestMain(m *testing.M) {
	mcptest.Main(m, map[string]func(string){
		testcaddy.CommandProgram: testcaddy.RunCommand,
		leakyProgram:             func(string) { serveLeaky() },
		echoMeta:                 func(string) { serveMeta() },
	})
}
