package session

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/servers"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/hubtest"
)

// Rule D6: the session of another user is none.
func TestSessionOfAnotherUserIsNotFound(t *testing.T) {
	h, _, _ := kit.DirectHub(t, servers.Config{User: func(r *http.Request) string { return r.Header.Get("X-Test-User") }})
	defer h.Close()
	w := hubtest.Direct(t.Context(), h, "POST", "", fmt.Sprintf(hubtest.InitializeBody, "2025-11-25"), "X-Test-User", "u")
	id := w.Header().Get("Mcp-Session-Id")
	const note = `{"jsonrpc":"2.0","method":"notifications/x"}`
	for user, want := range map[string]int{"u": 202, "v": 404, "": 404} {
		for _, method := range []string{"POST", "DELETE"} {
			if method == "DELETE" && user == "u" {
				continue
			}
			if w := hubtest.Direct(t.Context(), h, method, id, note, "X-Test-User", user); w.Code != want {
				t.Errorf("%s of %q: %d %s, want %d", method, user, w.Code, w.Body, want)
			}
		}
	}
}
