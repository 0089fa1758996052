package hub

import (
	"io"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/bodies"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/servers"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/hubtest"
)

// G: a large body takes the room of strangers if it may begin a session or needs none, and none at all
// if it names a session that is not there: that is answered with 404 when all has arrived.
func TestRoomOfLargeBodies(t *testing.T) {
	for name, tc := range map[string]struct {
		header []string
		legacy bool
		room   bool
		status int
	}{
		"without a session":           {nil, false, true, 400},
		"an unknown session":          {[]string{"Mcp-Session-Id", "x"}, false, false, 404},
		"two sessions":                {[]string{"Mcp-Session-Id", "x", "Mcp-Session-Id", "y"}, false, false, 400},
		"stateless, with a session":   {[]string{"Mcp-Session-Id", "x", "Mcp-Protocol-Version", "2026-07-28"}, false, true, 202},
		"an older revision":           {[]string{"Mcp-Session-Id", "x", "Mcp-Protocol-Version", "2025-11-25"}, false, false, 404},
		"a message path of HTTP+SSE":  {nil, true, false, 404},
		"a session":                   {[]string{"Mcp-Session-Id", "its own"}, false, false, 202},
		"the session of another user": {[]string{"Mcp-Session-Id", "its own", "Authorization", "Bearer other"}, false, false, 404},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := &hubtest.Fleet{EndsIn: func() time.Duration { return 0 }, Answers: hubtest.Legacy}
				h := kit.NewHub(servers.Config{Start: a.Start})
				defer h.Close()
				session := hubtest.Direct(t.Context(), h, "POST", "", hubtest.InitializeOf(`{}`)).Header().Get("Mcp-Session-Id")
				text := `{"jsonrpc":"2.0","method":"x","params":{"a":"` + strings.Repeat("a", 1<<20) + `"}}`
				body, client := io.Pipe()
				url := "http://h/"
				if tc.legacy {
					url += "?sessionId=x"
				}
				r := httptest.NewRequestWithContext(t.Context(), "POST", url, body)
				r.ContentLength = int64(len(text))
				r.Header.Set("Content-Type", "application/json")
				for i := 0; i < len(tc.header); i += 2 {
					r.Header.Add(tc.header[i], strings.Replace(tc.header[i+1], "its own", session, 1))
				}
				w, done := httptest.NewRecorder(), make(chan struct{})
				before := bodies.Strangers.Used()
				go func() {
					defer close(done)
					if tc.legacy {
						h.ServeMessage(w, r)
					} else {
						h.ServeHTTP(w, r)
					}
				}()
				_, _ = io.WriteString(client, text[:len(text)-1])
				synctest.Wait()
				if took := bodies.Strangers.Used() > before; took != tc.room {
					t.Errorf("takes room of strangers: %t, want %t", took, tc.room)
				}
				_, _ = io.WriteString(client, text[len(text)-1:])
				_ = client.Close()
				<-done
				if w.Code != tc.status {
					t.Errorf("got %d %s, want %d", w.Code, w.Body, tc.status)
				}
			})
		})
	}
}
