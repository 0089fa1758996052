package session

import (
	"testing"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/servers"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/hubtest"
)

// Rule D6: an answer alone has no event id that a client could resume it by, so
// nothing of it is kept.
func TestHubKeepsNoAnswerAlone(t *testing.T) {
	h, p, id := kit.DirectHub(t, servers.Config{})
	defer h.Close()
	go func() {
		for range p.Got {
			p.Deliver([]byte(`{"jsonrpc":"2.0","id":1,"result":{}}`))
		}
	}()
	defer close(p.Got)
	for range 3 {
		w := hubtest.Direct(t.Context(), h, "POST", id, `{"jsonrpc":"2.0","id":1,"method":"tools/list"}`)
		if got := w.Header().Get("Content-Type"); got != "application/json" {
			t.Fatalf("answered with %q", got)
		}
		if size, streams := h.sessions.find(id).kept(); size != 0 || streams != 0 {
			t.Errorf("%d bytes in %d streams are kept", size, streams)
		}
	}
}
