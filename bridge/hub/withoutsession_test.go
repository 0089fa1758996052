package hub

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/mcp"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/upstream"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/hubtest"
)

const expiredToken = `Bearer error="invalid_token"`

// refuse401 refuses a request as a server does whose token has expired.
func refuse401(w http.ResponseWriter, _ *http.Request) error {
	w.Header().Set("WWW-Authenticate", expiredToken)
	w.WriteHeader(http.StatusUnauthorized)
	_, _ = io.WriteString(w, "expired")
	return nil
}

// Rules A1, D4: where an answer breaks off and the server refuses the rest, the
// refusal answers the request, as long as its client has been told nothing else; then
// it is answered with an error.
func TestRestOfAnswerRefused(t *testing.T) {
	inSession := func(t *testing.T, h *Hub, id string) *httptest.ResponseRecorder {
		return hubtest.Direct(t.Context(), h, "POST", id, hubtest.CallOf("1", "t"))
	}
	stateless := func(t *testing.T, h *Hub, _ string) *httptest.ResponseRecorder {
		w := hubtest.Send(t, h, hubtest.Ask("1", "tools/call", `"name":"t"`))
		<-w.Done
		return w.ResponseRecorder
	}
	for name, tc := range map[string]struct {
		events string
		call   func(*testing.T, *Hub, string) *httptest.ResponseRecorder
		status int
	}{
		"of a session":              {"id: a\ndata:\n\n", inSession, http.StatusUnauthorized},
		"of a session, progress":    {"id: a\ndata: " + hubtest.ProgressOf("t", 1, 0) + "\n\n", inSession, http.StatusOK},
		"of a stateless request":    {"id: a\ndata:\n\n", stateless, http.StatusUnauthorized},
		"that is not asked for any": {"", inSession, http.StatusOK},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := &hubtest.Staged{Answer: hubtest.Streamable(func(w http.ResponseWriter, _ *http.Request) error {
					return hubtest.StreamTo(w, tc.events, hubtest.ErrReset)
				}, func(w http.ResponseWriter, r *http.Request) error {
					if r.Header.Get("Last-Event-Id") != "" {
						return refuse401(w, r)
					}
					return hubtest.NoStream(w, r)
				})}
				h, id := kit.Remote(t, b, upstream.StartHTTP)
				defer h.Close()
				synctest.Wait() // the session's stream was refused
				up := b.Answer
				b.Answer = func(w http.ResponseWriter, r *http.Request) error {
					body, _ := io.ReadAll(r.Body)
					if m, err := message.Parse(body); err == nil && m.Method == "initialize" { // the bridge's own
						w.Header().Set("Content-Type", "application/json")
						w.Header().Set(mcp.SessionHeader, "up")
						_, _ = fmt.Fprintf(w, `{"jsonrpc":"2.0","id":%s,"result":%s}`, m.RawID, hubtest.InitializeResult)
						return nil
					}
					r.Body = io.NopCloser(bytes.NewReader(body))
					return up(w, r)
				}
				w := tc.call(t, h, id)
				challenge, body := w.Header().Get("WWW-Authenticate"), w.Body.String()
				refused := challenge == expiredToken && body == "expired"
				failed := challenge == "" && strings.Count(body, `"id":1,"error"`) == 1
				if w.Code != tc.status || refused != (tc.status == http.StatusUnauthorized) || failed == refused {
					t.Errorf("got %d %q %s", w.Code, challenge, body)
				}
			})
		})
	}
}
