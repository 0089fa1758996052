package sessions_test

import (
	"crypto/rand"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/mcptest"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/testcaddy"
)

// replica is an MCP server that knows the sessions that it began, and no
// others.
func replica(t *testing.T) *httptest.Server {
	t.Helper()
	var begun sync.Map
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if id := r.Header.Get("Mcp-Session-Id"); id != "" {
			if _, ok := begun.Load(id); !ok {
				w.WriteHeader(http.StatusNotFound)
			}
			return
		}
		id := rand.Text()
		begun.Store(id, true)
		w.Header().Set("Mcp-Session-Id", id)
	}))
	t.Cleanup(server.Close)
	return server
}

// Rule D8: with two replicas, as examples/several-servers has them, a session stays where it
// began, with a token and without one. The session's id cannot tell where that
// is: initialize, which chooses the replica, does not have it yet.
func TestSessionsStayAtTheirReplica(t *testing.T) {
	raw, err := os.ReadFile("../../examples/several-servers.Caddyfile")
	if err != nil {
		t.Fatal(err)
	}
	_, block, _ := strings.Cut(string(raw), "http://search-2:3000/mcp {\n")
	policy, _, ok := strings.Cut(block, "\t\thealth_uri")
	if !ok {
		t.Fatal("the example has no two replicas")
	}
	a, b := replica(t), replica(t)
	port := testcaddy.FreePort(t)
	testcaddy.Run(t, fmt.Sprintf("http://%s {\n\tmcp_auth_bridge %s/mcp %s/mcp {\n%s\t}\n}", testcaddy.Addr(port), a.URL, b.URL, policy))
	client := mcptest.NewClient(t)
	for i := range 20 {
		var id string
		for j := range 3 {
			req := mcptest.NewRequest(t, http.MethodPost, "http://"+testcaddy.Addr(port)+"/mcp", mcptest.Initialize)
			if id != "" {
				req.Header.Set("Mcp-Session-Id", id)
			}
			if i > 0 {
				req.Header.Set("Authorization", fmt.Sprintf("Bearer token-%d", i))
			}
			answer := mcptest.Do(t, client, req)
			if answer.Status != http.StatusOK {
				t.Fatalf("client %d, request %d: got %d", i, j, answer.Status)
			}
			if j == 0 {
				id = answer.Header.Get("Mcp-Session-Id")
			}
		}
	}
}
