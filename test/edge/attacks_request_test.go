package edge_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/issuertest"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/mcptest"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/testcaddy"
)

// E3: the rules decide on the body of every method, since many servers do not look at it.
func TestMethodsThatTryToGetRoundTheRules(t *testing.T) {
	issuer, servers := issuertest.Start(t, issuertest.NewKey(t, jose.ES256, "one")), newPlain(t)
	call := func(name string) string { return rpc("tools/call", `{"name":`+quoted(name)+`}`) }
	for transport, at := range attackSite(t, issuer, servers, attackRules) {
		t.Run(transport, func(t *testing.T) {
			before := strings.Count(servers.reached(t), `"method"`)
			for _, method := range []string{"GET", "PUT", "PATCH", "DELETE", "OPTIONS", "QUERY", "post", "Post", "PROPFIND"} {
				for name, body := range map[string]string{
					"a denied tool": call("delete_all"), "a batch": batch(call("open"), call("delete_all")), "a member twice": rpc("tools/call", `{"name":"open","name":"delete_all"}`), "no message": "name=delete_all",
				} {
					for _, chunked := range []bool{false, true} {
						r := mcptest.NewRequest(t, method, at.url, body, "Authorization", "Bearer "+at.token, "Mcp-Session-Id", at.session, "X-Http-Method-Override", "POST", "X-Method-Override", "POST")
						if chunked {
							r.ContentLength, r.Body = -1, io.NopCloser(strings.NewReader(body))
						}
						if got := mcptest.Do(t, http.DefaultClient, r); got.Status < 400 {
							t.Errorf("%s, %s, chunked %v: got %d %s", method, name, chunked, got.Status, got.Body)
						}
					}
				}
			}
			if after := strings.Count(servers.reached(t), `"method"`); after != before {
				t.Errorf("%d messages have reached the server:\n%s", after-before, servers.reached(t))
			}
			// Without a body they are as they were.
			r := mcptest.NewRequest(t, http.MethodDelete, at.url, "", "Authorization", "Bearer "+at.token, "Mcp-Session-Id", at.session)
			if got := mcptest.Do(t, http.DefaultClient, r); got.Status/100 != 2 {
				t.Errorf("the end of the session: got %d %s", got.Status, got.Body)
			}
		})
	}
}

// E3: no connection is given to a client whose messages the rules could not read: an upgrade is
// ignored, as RFC 9110 section 7.8 allows.
func TestUpgradesThatTryToGetRoundTheRules(t *testing.T) {
	issuer := issuertest.Start(t, issuertest.NewKey(t, jose.ES256, "one"))
	asked := make(chan http.Header, 10)
	server := mcptest.ListenRaw(t, func(conn net.Conn) {
		r, err := http.ReadRequest(bufio.NewReader(conn))
		if err != nil {
			return
		}
		asked <- r.Header
		if up := r.Header.Get("Upgrade"); up != "" {
			_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: "+up+"\r\n\r\n")
			return
		}
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: 36\r\n\r\n"+`{"jsonrpc":"2.0","id":1,"result":{}}`)
	})
	port := testcaddy.FreePort(t)
	testcaddy.Run(t, site(port, "/mcp "+server, authorize(issuer, attackRules)))
	url := fmt.Sprintf("http://127.0.0.1:%d/mcp", port)
	token := issuer.Token(url, nil)
	for _, method := range []string{"GET", "POST"} {
		for _, to := range []string{"websocket", "h2c", "WebSocket, h2c", "x"} {
			body := ""
			if method == "POST" {
				body = rpc("ping", "{}")
			}
			r := mcptest.NewRequest(t, method, url, body, "Authorization", "Bearer "+token, "Connection", "Upgrade, HTTP2-Settings", "Upgrade", to, "Http2-Settings", "AAMAAABkAAQAAP__", "Sec-Websocket-Version", "13", "Sec-Websocket-Key", "AAAAAAAAAAAAAAAAAAAAAA==")
			if got := mcptest.Do(t, http.DefaultClient, r); got.Status != 200 {
				t.Fatalf("%s to %s: got %d %s", method, to, got.Status, got.Body)
			}
			if got := <-asked; got.Get("Upgrade") != "" || got.Get("Http2-Settings") != "" {
				t.Errorf("%s to %s: the server was asked %v", method, to, got)
			}
		}
	}
}

// E1, E3, E6, E7: no header gets round the edge.
func TestHeadersThatTryToGetRoundTheEdge(t *testing.T) {
	issuer, servers := issuertest.Start(t, issuertest.NewKey(t, jose.ES256, "one")), newPlain(t)
	for transport, at := range attackSite(t, issuer, servers, attackRules) {
		t.Run(transport, func(t *testing.T) {
			before := strings.Count(servers.reached(t), `"method"`)
			call := func(name string) string {
				return rpc("tools/call", `{"name":`+quoted(name)+`,"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}}`)
			}
			stateless := []string{"Authorization", "Bearer " + at.token, "Mcp-Protocol-Version", "2026-07-28"}
			for what, tc := range map[string]struct {
				body   string
				fields []string
				code   string
			}{
				"Mcp-Name of another tool":     {call("delete_all"), []string{"Mcp-Method", "tools/call", "Mcp-Name", "open"}, "-32020"},
				"Mcp-Name of a denied tool":    {call("open"), []string{"Mcp-Method", "tools/call", "Mcp-Name", "delete_all"}, "-32020"},
				"no Mcp-Name":                  {call("open"), []string{"Mcp-Method", "tools/call"}, "-32020"},
				"two Mcp-Name":                 {call("open"), []string{"Mcp-Method", "tools/call", "Mcp-Name", "open", "Mcp-Name", "delete_all"}, "-32020"},
				"Mcp-Name in base64":           {call("open"), []string{"Mcp-Method", "tools/call", "Mcp-Name", "=?base64?ZGVsZXRlX2FsbA==?="}, "-32020"},
				"Mcp-Method of another method": {call("open"), []string{"Mcp-Method", "tools/list", "Mcp-Name", "open"}, "-32020"},
				"no Mcp-Method":                {call("open"), []string{"Mcp-Name", "open"}, "-32020"},
				"the method in another case":   {call("open"), []string{"Mcp-Method", "Tools/Call", "Mcp-Name", "open"}, "-32020"},
				"a batch":                      {"[" + call("open") + "]", []string{"Mcp-Method", "tools/call", "Mcp-Name", "open"}, "-32600"},
			} {
				got := post(t, at.url, tc.body, append(tc.fields, stateless...)...)
				if got.Status != 400 || !strings.Contains(got.Body, `"code":`+tc.code) {
					t.Errorf("%s: got %d %s; want 400 with %s", what, got.Status, got.Body, tc.code)
				}
			}
			// A token in a form is none, and its body is no message.
			r := mcptest.NewRequest(t, http.MethodPost, at.url, "access_token="+at.token)
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			if got := mcptest.Do(t, http.DefaultClient, r); got.Status != 401 {
				t.Errorf("a token in a form: got %d", got.Status)
			}
			// A method override is none: this is a POST without a token.
			if got := post(t, at.url, "", "X-Http-Method-Override", "OPTIONS", "X-Original-Method", "OPTIONS"); got.Status != 401 {
				t.Errorf("a method override: got %d", got.Status)
			}
			if after := strings.Count(servers.reached(t), `"method"`); after != before {
				t.Errorf("%d messages have reached the server", after-before)
			}
		})
	}
}
