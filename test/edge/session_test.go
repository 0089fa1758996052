package edge_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"

	"github.com/go-jose/go-jose/v4"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/issuertest"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/mcptest"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/testcaddy"
)

// E7: the session id of an HTTP server belongs to the principal that was given it. Another
// one's, and the server's own, are sessions that do not exist.
func TestSessionsOfAnHTTPServerBelongToTheirPrincipal(t *testing.T) {
	issuer := issuertest.Start(t, issuertest.NewKey(t, jose.ES256, "one"))
	var mu sync.Mutex
	var ids []string
	sdk := mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server {
		s := mcp.NewServer(&mcp.Implementation{Name: "http", Version: "1"}, nil)
		mcp.AddTool(s, &mcp.Tool{Name: "a"}, func(_ context.Context, _ *mcp.CallToolRequest, _ struct{}) (*mcp.CallToolResult, any, error) {
			return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: "done"}}}, nil, nil
		})
		return s
	}, nil)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		ids = append(ids, r.Header["Mcp-Session-Id"]...)
		mu.Unlock()
		sdk.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	seen := func() []string {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(ids)
	}
	port := testcaddy.FreePort(t)
	testcaddy.Run(t, site(port, "/mcp "+server.URL+"/mcp", authorize(issuer)))
	url := fmt.Sprintf("http://127.0.0.1:%d/mcp", port)

	session := connect(t, url, issuer.Token(url, nil))
	res, err := session.CallTool(t.Context(), &mcp.CallToolParams{Name: "a"})
	if err != nil || len(res.Content) != 1 {
		t.Fatalf("got %v, %v", res, err)
	}
	inner := seen()
	if len(inner) == 0 || inner[0] == session.ID() || slices.Contains(inner, session.ID()) {
		t.Fatalf("the server knows %q, the client %q", inner, session.ID())
	}
	alice, bob := issuer.Token(url, nil), issuer.Token(url, map[string]any{"sub": "bob"})
	changed := "A" + session.ID()[1:]
	if changed == session.ID() {
		changed = "B" + session.ID()[1:]
	}
	ping := `{"jsonrpc":"2.0","id":2,"method":"ping"}`
	for name, tc := range map[string]struct {
		token, id string
		status    int
	}{
		"the owner's":           {alice, session.ID(), 200},
		"another's":             {bob, session.ID(), 404},
		"the server's own":      {alice, inner[0], 404},
		"changed":               {alice, changed, 404},
		"the server's, by both": {bob, inner[0], 404},
	} {
		before := len(seen())
		got := post(t, url, ping, "Authorization", "Bearer "+tc.token, "Mcp-Session-Id", tc.id)
		if got.Status != tc.status {
			t.Errorf("%s: got %d %s; want %d", name, got.Status, got.Body, tc.status)
		}
		if reached := len(seen()) != before; reached != (tc.status == 200) {
			t.Errorf("%s: reached the server: %t", name, reached)
		}
	}
	for _, method := range []string{http.MethodGet, http.MethodDelete} {
		r := mcptest.NewRequest(t, method, url, "")
		r.Header.Set("Accept", "text/event-stream")
		r.Header.Set("Authorization", "Bearer "+bob)
		r.Header.Set("Mcp-Session-Id", session.ID())
		if got := mcptest.Do(t, http.DefaultClient, r); got.Status != 404 {
			t.Errorf("%s by another: got %d", method, got.Status)
		}
	}
}
