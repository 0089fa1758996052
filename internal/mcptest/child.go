package mcptest

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// ChildServer is the environment variable that makes a test binary [ServeChild].
const ChildServer = "MCP_AUTH_BRIDGE_TEST_SERVER"

// ServeChild is an MCP server of the SDK on standard input and output. Its tool "do" reports
// about the process, or makes it misbehave.
func ServeChild() {
	s := mcp.NewServer(&mcp.Implementation{Name: "child", Version: "1"}, nil)
	type input struct {
		Do string `json:"do"`
		N  int    `json:"n"`
	}
	mcp.AddTool(s, &mcp.Tool{Name: "do"}, func(ctx context.Context, req *mcp.CallToolRequest, in input) (*mcp.CallToolResult, any, error) {
		text := ""
		switch in.Do {
		case "pid":
			text = strconv.Itoa(os.Getpid())
		case "env":
			text = strings.Join(os.Environ(), "\n")
		case "dir":
			text, _ = os.Getwd()
		case "uid":
			text = strconv.Itoa(os.Getuid())
		case "exit":
			os.Exit(3)
		case "big":
			text = strings.Repeat("x", in.N)
		case "noise":
			_, _ = fmt.Fprint(os.Stdout, "this is no message\n")
			_, _ = fmt.Fprint(os.Stderr, "this is for the log\n")
		case "steps":
			for i := range in.N {
				_ = req.Session.NotifyProgress(ctx, &mcp.ProgressNotificationParams{ProgressToken: req.Params.GetProgressToken(), Progress: float64(i + 1)})
			}
		}
		return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: text}}}, nil, nil
	})
	_ = s.Run(context.Background(), &mcp.StdioTransport{})
}

// Connect connects the SDK's client to an endpoint, over Streamable HTTP.
func Connect(t *testing.T, url string) *mcp.ClientSession {
	t.Helper()
	tr := &http.Transport{}
	t.Cleanup(tr.CloseIdleConnections)
	s, err := mcp.NewClient(&mcp.Implementation{Name: "test", Version: "1"}, nil).
		Connect(t.Context(), &mcp.StreamableClientTransport{Endpoint: url, HTTPClient: &http.Client{Transport: tr}}, &mcp.ClientSessionOptions{ProtocolVersion: "2025-11-25"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// AfterReload calls f up to five times, until it returns nil: right after a reload the
// listener of the old configuration may take a connection and close it.
func AfterReload(t *testing.T, f func() error) {
	t.Helper()
	var err error
	for range 5 {
		if err = f(); err == nil {
			return
		}
	}
	t.Fatal(err)
}

// DoIn calls the tool "do" of [ServeChild] and returns its text.
func DoIn(t *testing.T, s *mcp.ClientSession, what string, n int) string {
	t.Helper()
	res, err := s.CallTool(t.Context(), &mcp.CallToolParams{Name: "do", Arguments: map[string]any{"do": what, "n": n}})
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	return res.Content[0].(*mcp.TextContent).Text
}
