// Package edge_test has the tests of `authorize` through a running Caddy: who is asked to log
// in, who is let through, and what reaches the MCP server.
package edge_test

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	_ "github.com/mcp-auth-bridge/caddy-mcp-auth-bridge" // the handler
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/issuertest"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/mcptest"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/testcaddy"
)

func TestMain(m *testing.M) {
	mcptest.Main(m, map[string]func(string){testcaddy.CommandProgram: testcaddy.RunCommand, filesServer: serveFiles, plainServer: servePlain, tasksServer: serveTasks})
}

// site is a Caddyfile with one endpoint. upstream is what stands behind the directive, and
// options are in its block.
func site(port int, upstream string, options ...string) string {
	return fmt.Sprintf("{\n\tauto_https off\n}\nhttp://127.0.0.1:%d {\n\tbind 127.0.0.1\n\tmcp_auth_bridge %s {\n\t\t%s\n\t}\n}\n", port, upstream, strings.Join(options, "\n\t\t"))
}

// program is the option for the SDK's server as a program.
func program(t *testing.T) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("stdio %s -test.run=^$ {\n\t\t\tenv %s=1\n\t\t}", self, mcptest.ChildServer)
}

// authorize is the option for one issuer.
func authorize(s *issuertest.Server, more ...string) string {
	return fmt.Sprintf("authorize {\n\t\t\tissuer %s\n\t\t\t%s\n\t\t}", s.URL, strings.Join(more, "\n\t\t\t"))
}

// withToken sends a token with each request.
type withToken struct {
	http.RoundTripper
	token string
}

func (t withToken) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+t.token)
	return t.RoundTripper.RoundTrip(r)
}

// connect connects the SDK's client with a token.
func connect(t *testing.T, url, token string) *mcp.ClientSession {
	t.Helper()
	tr := &http.Transport{}
	t.Cleanup(tr.CloseIdleConnections)
	s, err := mcp.NewClient(&mcp.Implementation{Name: "test", Version: "1"}, nil).
		Connect(t.Context(), &mcp.StreamableClientTransport{Endpoint: url, HTTPClient: &http.Client{Transport: withToken{tr, token}}}, &mcp.ClientSessionOptions{ProtocolVersion: "2025-11-25"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}
