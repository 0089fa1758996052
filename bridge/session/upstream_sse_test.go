package session

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/upstream"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/hubtest"
)

// Rule D4: where an HTTP+SSE server says that it has forgotten a conversation, what it
// has not answered yet is told so as well, and nothing that the bridge has made up.
func TestForgottenConversation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		events := make(chan string, 1)
		b := &hubtest.Staged{Answer: func(w http.ResponseWriter, r *http.Request) error {
			body, _ := io.ReadAll(r.Body)
			switch text := string(body); {
			case r.Method == http.MethodGet:
				_ = hubtest.StreamTo(w, "", nil)
				for {
					select {
					case e := <-events:
						_, _ = io.WriteString(w, "data: "+e+"\n\n")
					case <-r.Context().Done():
						return r.Context().Err()
					}
				}
			case strings.Contains(text, `"initialize"`):
				events <- hubtest.Initialized
			case strings.Contains(text, `"slow"`):
				<-r.Context().Done()
				return r.Context().Err()
			case strings.Contains(text, `"forgotten"`):
				http.Error(w, "no such session", http.StatusNotFound)
				return nil
			}
			w.WriteHeader(http.StatusAccepted)
			return nil
		}}
		h, id := kit.Remote(t, b, upstream.StartSSE)
		defer h.Close()
		slow := make(chan *httptest.ResponseRecorder)
		go func() { slow <- hubtest.Direct(t.Context(), h, "POST", id, `{"jsonrpc":"2.0","id":7,"method":"slow"}`) }()
		synctest.Wait()
		if w := hubtest.Direct(t.Context(), h, "POST", id, `{"jsonrpc":"2.0","id":8,"method":"forgotten"}`); w.Code != http.StatusNotFound || !strings.Contains(w.Body.String(), "no such session") {
			t.Errorf("the server's own answer: %d %s", w.Code, w.Body)
		}
		if w := <-slow; w.Code != http.StatusNotFound || !strings.Contains(w.Body.String(), `"id":7`) {
			t.Errorf("what was under way: %d %s", w.Code, w.Body)
		}
	})
}
