package mcptest

import (
	"context"
	"os"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// Main runs the tests of a package. If one of the environment variables is set, the
// test binary is the program of that name instead, with the value of the variable: tests
// start it as an MCP server on standard input and output. Every package has [stdioServer]
// and [talkServer].
func Main(m *testing.M, programs map[string]func(value string)) {
	for name, program := range programs {
		if value := os.Getenv(name); value != "" {
			program(value)
			os.Exit(0)
		}
	}
	if os.Getenv(ChildServer) != "" {
		ServeChild()
		os.Exit(0)
	}
	if kind := os.Getenv(TalkServer); kind != "" {
		server := NewServer()
		if kind == "stateless" {
			server = NewStatelessServer(true)
		}
		_ = server.Run(context.Background(), &mcp.StdioTransport{})
		os.Exit(0)
	}
	os.Exit(m.Run())
}
