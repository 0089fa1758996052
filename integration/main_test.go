package integration_test

import (
	"context"
	"fmt"
	"os"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/demo"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/mcptest"
)

// TestMain has the test binary be another program where a test starts it as one.
func TestMain(m *testing.M) {
	runAs()
	if program := os.Getenv(conformanceClient); program != "" && len(os.Args) == 2 {
		if err := runBehindBridge(program, os.Args[1]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// runAs is a tap, or a server of the conversation.
func runAs() {
	if len(os.Args) > 2 {
		switch os.Args[1] {
		case "tap":
			if err := mcptest.RunTap(os.Args[2], os.Args[3:]); err != nil {
				os.Exit(1)
			}
			os.Exit(0)
		case "serve":
			switch os.Args[2] {
			case "demo":
				_ = demo.ServeProgram(context.Background())
			case "raw":
				new(mcptest.RawServer).ServeStdio()
			case "open":
				_ = newOpenServer().Run(context.Background(), &mcp.StdioTransport{})
			case "lone", "lone handshake":
				mcptest.NewLoneServer(os.Args[2] != "lone").ServeStdio()
			default:
				_ = mcptest.NewServer().Run(context.Background(), &mcp.StdioTransport{})
			}
			os.Exit(0)
		}
	}
}
