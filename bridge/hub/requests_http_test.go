package hub

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/servers"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/upstream"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/hubtest"
)

// Rules A1 and D4: a stateless server judges each message of a client with the credentials
// of that message, including messages that the bridge answers itself. A refusal answers the
// very POST.
func TestEachMessageIsJudgedWithItsOwnCredentials(t *testing.T) {
	for name, tc := range map[string]struct{ body, asked string }{
		"request":           {`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a"}}`, "tools/call"},
		"notification":      {`{"jsonrpc":"2.0","method":"vendor/x"}`, "vendor/x"},
		"ping":              {`{"jsonrpc":"2.0","id":1,"method":"ping"}`, "server/discover"},
		"level":             {`{"jsonrpc":"2.0","id":1,"method":"logging/setLevel","params":{"level":"info"}}`, "server/discover"},
		"no level":          {`{"jsonrpc":"2.0","id":1,"method":"logging/setLevel"}`, "server/discover"},
		"subscribe":         {`{"jsonrpc":"2.0","id":1,"method":"resources/subscribe","params":{"uri":"a:"}}`, "subscriptions/listen"},
		"unsubscribe":       {`{"jsonrpc":"2.0","id":1,"method":"resources/unsubscribe","params":{"uri":"a:"}}`, "server/discover"},
		"cancelled":         {`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":7}}`, "server/discover"},
		"roots":             {`{"jsonrpc":"2.0","method":"notifications/roots/list_changed"}`, "server/discover"},
		"initialized again": {`{"jsonrpc":"2.0","method":"notifications/initialized"}`, "server/discover"},
		"answer":            {`{"jsonrpc":"2.0","id":7,"result":{}}`, "server/discover"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				u := &modern{t: t, tools: `[]`}
				h, id := u.inFront(hubtest.AllDeclared)
				u.deny("Bearer bad")
				w := hubtest.Direct(t.Context(), h, "POST", id, tc.body, "Authorization", "Bearer bad")
				want := `Bearer error="invalid_token", resource_metadata="https://h/` + tc.asked + `"`
				if w.Code != http.StatusUnauthorized || w.Header().Get("WWW-Authenticate") != want || w.Body.String() != `{"error":"no"}` {
					t.Errorf("got %d %q %s, want %q", w.Code, w.Header(), w.Body, want)
				}
				w = hubtest.Direct(t.Context(), h, "POST", id, tc.body, "Authorization", "Bearer two")
				if w.Code/100 != 2 {
					t.Errorf("got %d %s", w.Code, w.Body)
				}
				if got := u.seen(); !slices.Equal(got, []string{tc.asked + " two"}) {
					t.Errorf("got %q", got)
				}
				synctest.Wait()
				if requests := hubtest.TranslatorOf(t, h).UnderWay(); requests != 1 {
					t.Errorf("%d requests are under way", requests)
				}
			})
		})
	}
}

// Rule D3: over HTTP, a cancelled request ends by the end of its connection. So does a
// subscription that was replaced.
func TestCancelledRequestEndsItsConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := &modern{t: t}
		h, id := u.inFront(`{}`)
		c := hubtest.Post(t, h, id, `{"jsonrpc":"2.0","id":"x","method":"tools/call","params":{"name":"wait"}}`)
		hubtest.Post(t, h, id, `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"x"}}`)
		if got := c.Messages(); len(got) != 0 || !c.Over() {
			t.Errorf("got %q", got)
		}
		hubtest.Post(t, h, id, `{"jsonrpc":"2.0","id":"s","method":"resources/subscribe","params":{"uri":"a:"}}`).Wants(t, 200, `{"jsonrpc":"2.0","id":"s","result":{}}`)
		synctest.Wait()
		if want := []string{"tools/call", "subscriptions/listen"}; !slices.Equal(u.ended, want) {
			t.Errorf("ended are %q, want %q", u.ended, want)
		}
		if got, want := u.seen(), []string{"tools/call", "server/discover", "subscriptions/listen"}; !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
		h.Close()
		if want := []string{"tools/call", "subscriptions/listen", "subscriptions/listen"}; !slices.Equal(u.ended, want) {
			t.Errorf("ended are %q, want %q", u.ended, want)
		}
	})
}

// Rule D3: a status that repeats the code of a JSON-RPC error is not a refusal. An answer
// that breaks off is an error, and is not asked for again.
func TestErrorWithAStatusIsAnAnswer(t *testing.T) {
	for name, tc := range map[string]struct {
		answer func(w http.ResponseWriter, id []byte)
		status int
		want   string
	}{
		"no such method": {func(w http.ResponseWriter, id []byte) {
			hubtest.JSONTo(w, 404, `{"jsonrpc":"2.0","id":%s,"error":{"code":-32601,"message":"m"}}`, id)
		}, 200, `{"jsonrpc":"2.0","id":"x","error":{"code":-32601,"message":"m"}}`},
		"no id": {func(w http.ResponseWriter, _ []byte) {
			hubtest.JSONTo(w, 400, `{"jsonrpc":"2.0","error":{"code":-32602,"message":"m"}}`)
		}, 200, `{"id":"x","jsonrpc":"2.0","error":{"code":-32602,"message":"m"}}`},
		"no JSON-RPC": {func(w http.ResponseWriter, _ []byte) { hubtest.JSONTo(w, 400, `{"no":1}`) }, 400, `{"no":1}`},
		"denied": {func(w http.ResponseWriter, id []byte) {
			hubtest.JSONTo(w, 403, `{"jsonrpc":"2.0","id":%s,"error":{"code":-1,"message":"m"}}`, id)
		}, 403, `{"jsonrpc":"2.0","id":2,"error":{"code":-1,"message":"m"}}`},
		"cut": {
			func(w http.ResponseWriter, _ []byte) {
				_ = hubtest.StreamTo(w, "id: 1\ndata: {}\n\n", hubtest.ErrReset)
			}, 200,
			`{"jsonrpc":"2.0","id":"x","error":{"code":-32603,"message":"the server's answer broke off"}}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				u := &modern{t: t}
				b := &hubtest.Staged{Answer: u.serve}
				u.answer = func(w http.ResponseWriter, _ *http.Request, m message.Message) bool {
					if m.Method == "vendor/x" {
						tc.answer(w, m.RawID)
					}
					return m.Method == "vendor/x"
				}
				h := kit.NewHub(servers.Config{Remote: true, Start: upstream.StartHTTP(b, 1<<20)})
				defer h.Close()
				id := hubtest.Direct(t.Context(), h, "POST", "", hubtest.InitializeOf(`{}`)).Header().Get("Mcp-Session-Id")
				w := hubtest.Direct(t.Context(), h, "POST", id, `{"jsonrpc":"2.0","id":"x","method":"vendor/x"}`)
				if w.Code != tc.status || w.Body.String() != tc.want {
					t.Errorf("got %d %s, want %d %s", w.Code, w.Body, tc.status, tc.want)
				}
				if n := b.Count("GET 1"); n != 0 {
					t.Error("the answer was resumed")
				}
				if w := hubtest.Direct(t.Context(), h, "POST", id, `{"jsonrpc":"2.0","id":"y","method":"ping"}`); w.Code != 200 {
					t.Errorf("the session is over: %d", w.Code)
				}
			})
		})
	}
}

// Rules A1 and D3: a client of HTTP+SSE can use a stateless server. A refusal answers its
// POST.
func TestClientOfHTTPSSEHasAStatelessServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := &modern{t: t, tools: `[]`}
		h := kit.NewHub(servers.Config{Remote: true, Start: upstream.StartHTTP(&hubtest.Staged{Answer: u.serve}, 1<<20)})
		defer h.Close()
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "http://h/sse", nil)
		stream := &hubtest.Pending{ResponseRecorder: httptest.NewRecorder(), Leave: nil, Done: make(chan struct{})}
		go func() {
			defer close(stream.Done)
			h.ServeSSE(stream, r, "/m")
		}()
		synctest.Wait()
		_, at, _ := strings.Cut(stream.Body.String(), "data: ")
		at, _, _ = strings.Cut(at, "\n")
		say := func(token, body string) *httptest.ResponseRecorder {
			r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "http://h"+at, strings.NewReader(body))
			r.Header.Set("Content-Type", "application/json")
			r.Header.Set("Authorization", "Bearer "+token)
			w := httptest.NewRecorder()
			h.ServeMessage(w, r)
			return w
		}
		for _, body := range []string{strings.Replace(hubtest.InitializeOf(`{}`), "2025-11-25", "2024-11-05", 1), `{"jsonrpc":"2.0","method":"notifications/initialized"}`, `{"jsonrpc":"2.0","id":2,"method":"tools/list"}`} {
			u.deny("Bearer bad")
			if w := say("bad", body); w.Code != http.StatusUnauthorized || w.Header().Get("WWW-Authenticate") == "" {
				t.Errorf("got %d %s", w.Code, w.Body)
			}
			if w := say("one", body); w.Code != http.StatusAccepted {
				t.Errorf("got %d %s", w.Code, w.Body)
			}
		}
		stream.Wants(t, 200,
			`{"jsonrpc":"2.0","id":"i","result":{"instructions":"ask","protocolVersion":"2024-11-05","capabilities":`+hubtest.AllCapabilities+`,"serverInfo":{"name":"s","version":"1"}}}`,
			`{"jsonrpc":"2.0","id":2,"result":{"tools":[]}}`)
		if got, want := u.seen(), []string{"server/discover one", "subscriptions/listen one", "tools/list one"}; !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}
