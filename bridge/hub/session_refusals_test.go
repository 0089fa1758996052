package hub

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/servers"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/upstream"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/hubtest"
)

// Rules A7, D6: each mistake of a client gets its status and a JSON-RPC error,
// with the id of the request where there is one.
func TestMistakesOfAClientGetTheirStatus(t *testing.T) {
	_, url := kit.ServeHub(t, servers.Config{})
	id := hubtest.BeginHub(t, url, "2025-11-25")
	ping := `{"jsonrpc":"2.0","id":7,"method":"ping"}`
	for name, tc := range map[string]struct {
		method, body string
		header       []string
		status       int
	}{
		"no session":               {"POST", ping, nil, 400},
		"an unknown session":       {"POST", ping, []string{"Mcp-Session-Id", "x"}, 404},
		"a stream of no session":   {"GET", "", nil, 400},
		"a stream of an unknown":   {"GET", "", []string{"Mcp-Session-Id", "x"}, 404},
		"the end of an unknown":    {"DELETE", "", []string{"Mcp-Session-Id", "x"}, 404},
		"no JSON":                  {"POST", "{", []string{"Mcp-Session-Id", id}, 400},
		"no message":               {"POST", "{}", []string{"Mcp-Session-Id", id}, 400},
		"a member twice":           {"POST", `{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}`, []string{"Mcp-Session-Id", id}, 400},
		"an id that is null":       {"POST", `{"jsonrpc":"2.0","id":null,"method":"ping"}`, []string{"Mcp-Session-Id", id}, 400},
		"an empty batch":           {"POST", `[]`, []string{"Mcp-Session-Id", id}, 400},
		"a batch of a later era":   {"POST", "[" + ping + "]", []string{"Mcp-Session-Id", id}, 400},
		"another media type":       {"POST", ping, []string{"Mcp-Session-Id", id, "Content-Type", "text/plain"}, 415},
		"no event stream accepted": {"POST", ping, []string{"Mcp-Session-Id", id, "Accept", "application/json"}, 406},
		"a version to come":        {"POST", ping, []string{"Mcp-Session-Id", id, "MCP-Protocol-Version", "2026-07-28"}, 400},
		"an unknown version":       {"POST", ping, []string{"Mcp-Session-Id", id, "MCP-Protocol-Version", "1"}, 400},
		"another method":           {"PUT", ping, []string{"Mcp-Session-Id", id}, 405},
		"an event that never was":  {"GET", "", []string{"Mcp-Session-Id", id, "Last-Event-ID", "99-1"}, 400},
		"a made-up event":          {"GET", "", []string{"Mcp-Session-Id", id, "Last-Event-ID", "x"}, 400},
		"a batch with initialize":  {"POST", "[" + fmt.Sprintf(hubtest.InitializeBody, "2025-03-26") + "," + ping + "]", nil, 400},
	} {
		t.Run(name, func(t *testing.T) {
			res, body := hubtest.ExchangeHub(t, tc.method, url, tc.body, tc.header...)
			var e struct {
				JSONRPC string
				ID      any
				Error   struct {
					Code    int
					Message string
				}
			}
			if err := json.Unmarshal([]byte(body), &e); err != nil || res.StatusCode != tc.status || e.JSONRPC != "2.0" || e.Error.Code >= 0 || e.Error.Message == "" {
				t.Errorf("got %d %s (%v), want %d with an error", res.StatusCode, body, err, tc.status)
			}
			if res.Header.Get("Mcp-Session-Id") != "" {
				t.Errorf("a refusal names session %q", res.Header.Get("Mcp-Session-Id"))
			}
		})
	}
	if res, body := hubtest.ExchangeHub(t, "POST", url, ping, "Mcp-Session-Id", id); res.StatusCode != 200 || body != `{"jsonrpc":"2.0","id":7,"result":{}}` {
		t.Errorf("after all: %d %s", res.StatusCode, body)
	}
	if res, _ := hubtest.ExchangeHub(t, "DELETE", url, "", "Mcp-Session-Id", id); res.StatusCode != 204 {
		t.Errorf("DELETE: %d", res.StatusCode)
	}
	if res, _ := hubtest.ExchangeHub(t, "POST", url, ping, "Mcp-Session-Id", id); res.StatusCode != 404 {
		t.Errorf("after DELETE: %d", res.StatusCode)
	}
}

// Rule D6: a session belongs to the host that it was begun at.
func TestSessionBelongsToItsHost(t *testing.T) {
	_, url := kit.ServeHub(t, servers.Config{})
	id := hubtest.BeginHub(t, url, "2025-11-25")
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(`{"jsonrpc":"2.0","id":1,"method":"ping"}`))
	if err != nil {
		t.Fatal(err)
	}
	req.Host = "other.example"
	req.Header = http.Header{"Content-Type": {"application/json"}, "Mcp-Session-Id": {id}}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if res.StatusCode != http.StatusNotFound {
		t.Errorf("got %d", res.StatusCode)
	}
}

// Rule A8: an initialize that fails makes no session and leaves no server.
func TestInitializeThatFailsMakesNoSession(t *testing.T) {
	for name, tc := range map[string]struct {
		peer   *hubtest.Scripted
		status int
	}{
		"refused":     {&hubtest.Scripted{Initial: `{"jsonrpc":"2.0","id":"i","error":{"code":-32602,"message":"no"}}`}, 200},
		"no answer":   {&hubtest.Scripted{}, 504},
		"takes none":  {&hubtest.Scripted{SendFail: true}, 502},
		"ends":        {nil, 502},
		"not started": {nil, 502},
	} {
		t.Run(name, func(t *testing.T) {
			p := tc.peer
			if p == nil {
				p = new(hubtest.Scripted)
			}
			p.Got, p.Ended = make(chan string, 10), make(chan struct{})
			h, url := kit.ServeHub(t, servers.Config{StartTimeout: 100 * time.Millisecond, Start: func(_ context.Context, _ *http.Request, to upstream.Receiver) (upstream.Peer, error) {
				deliver := hubtest.DeliverTo(to)
				p.Deliver = deliver
				switch name {
				case "not started":
					return nil, errors.New("no such program")
				case "ends":
					_ = p.Close()
				}
				return p, nil
			}})
			res, body := hubtest.ExchangeHub(t, "POST", url, fmt.Sprintf(hubtest.InitializeBody, "2025-11-25"))
			if res.StatusCode != tc.status || !strings.Contains(body, `"error"`) || !strings.Contains(body, `"id":"i"`) || res.Header.Get("Mcp-Session-Id") != "" {
				t.Errorf("got %d %s, session %q", res.StatusCode, body, res.Header.Get("Mcp-Session-Id"))
			}
			if name != "not started" {
				<-p.Ended
			}
			if h.Len() != 0 {
				t.Errorf("%d sessions", h.Len())
			}
		})
	}
}
