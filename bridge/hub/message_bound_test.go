package hub

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/servers"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/hubtest"
)

// G: what a client posts is bounded before it is read as JSON, on every way in, by the
// limit that is configured, be it below or above the default.
func TestMessageBound(t *testing.T) {
	pad := func(body string, n int) string { return body + strings.Repeat(" ", n-len(body)) }
	for _, bound := range []int{1 << 10, 17 << 20} {
		for name, tc := range map[string]struct {
			body   string
			header []string
		}{
			"initialize":       {hubtest.InitializeOf(`{}`), nil},
			"a stateless call": {hubtest.Ask("1", "tools/list", ""), hubtest.AsStateless},
			"a batch":          {`[{"jsonrpc":"2.0","method":"x"}]`, nil},
			"no JSON":          {`{`, nil},
		} {
			for _, chunked := range []bool{false, true} {
				if chunked && bound > servers.DefaultMessage {
					continue
				}
				t.Run(fmt.Sprintf("%d/%s/chunked %v", bound, name, chunked), func(t *testing.T) {
					a := &hubtest.Fleet{EndsIn: func() time.Duration { return 0 }, Answers: hubtest.Legacy}
					h := kit.NewHub(servers.Config{Message: bound, Start: a.Start})
					defer h.Close()
					status := func(n int) (int, string) {
						r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "http://h/", strings.NewReader(pad(tc.body, n)))
						if chunked {
							r.ContentLength = -1
						}
						r.Header.Set("Content-Type", "application/json")
						for i := 0; i+1 < len(tc.header); i += 2 {
							r.Header.Set(tc.header[i], tc.header[i+1])
						}
						w := httptest.NewRecorder()
						h.ServeHTTP(w, r)
						return w.Code, w.Body.String()
					}
					if got, body := status(bound + 1); got != http.StatusRequestEntityTooLarge || body != `{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"the body is too large"}}` {
						t.Errorf("one byte more: %d %s", got, body)
					}
					if _, _, begun := a.Count(); begun != 0 {
						t.Error("a server was started for it")
					}
					if got, body := status(bound); got == http.StatusRequestEntityTooLarge {
						t.Errorf("at the bound: %d %s", got, body)
					}
				})
			}
		}
	}
	// A message of HTTP+SSE.
	h := kit.NewHub(servers.Config{Message: 1 << 10})
	w := httptest.NewRecorder()
	r := httptest.NewRequest(http.MethodPost, "http://h/?sessionId=x", strings.NewReader(pad(`{}`, 1<<10+1)))
	r.Header.Set("Content-Type", "application/json")
	if h.ServeMessage(w, r); w.Code != http.StatusRequestEntityTooLarge {
		t.Errorf("a message of HTTP+SSE: %d %s", w.Code, w.Body)
	}
}

// G: a body that says that it is too long is not read.
func TestMessageBoundUnread(t *testing.T) {
	h := kit.NewHub(servers.Config{})
	r := httptest.NewRequest(http.MethodPost, "http://h/", unreadable{t})
	r.ContentLength = servers.DefaultMessage + 1
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	if h.ServeHTTP(w, r); w.Code != http.StatusRequestEntityTooLarge {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
}

// unreadable is a body that must not be read.
type unreadable struct{ t *testing.T }

func (u unreadable) Read([]byte) (int, error) {
	u.t.Error("it was read")
	return 0, http.ErrBodyReadAfterClose
}
