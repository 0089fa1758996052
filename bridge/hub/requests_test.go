package hub

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/mcp"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/hubtest"
)

// Rule D3: each request carries what the server's revision wants. Ids and progress tokens
// are the bridge's own. All else that the client has written stays as it is.
func TestRequestsCarryWhatTheServersRevisionWants(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, p, id := kit.Behind(t, hubtest.AllDeclared)
		meta := `"` + mcp.MetaClient + `":{"name":"c","version":"2"},"` + mcp.MetaCapabilities + `":` + hubtest.AllDeclared + `,"` + mcp.MetaVersion + `":"2026-07-28"`
		c := hubtest.Post(t, h, id, `{"x":1e2,"jsonrpc":"2.0","id":1.5,"method":"tools/call","params":{"_meta":{"progressToken":"t","y":{}},"name":"a"}}`)
		m := p.Next(t, "tools/call")
		want := fmt.Sprintf(`{"x":1e2,"jsonrpc":"2.0","id":%[1]s,"method":"tools/call","params":{"_meta":{%[2]s,"progressToken":%[1]s,"y":{}},"name":"a"}}`, m.RawID, meta)
		if string(m.Raw) != want {
			t.Errorf("got  %s\nwant %s", m.Raw, want)
		}
		p.Emit(`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":%s,"progress":1.0}}`, m.RawID)
		p.Emit(`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"t","progress":2}}`)
		p.Emit(`{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":1}}`)
		p.Emit(`{"jsonrpc":"2.0","id":1,"method":"ping"}`) // such servers send no requests
		p.Answer(m, `{"resultType":"complete","content":[],"z":1.0}`)
		c.Wants(t, 200,
			`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"t","progress":1.0}}`,
			`{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":1}}`,
			`{"jsonrpc":"2.0","id":1.5,"result":{"resultType":"complete","content":[],"z":1.0}}`)
		c = hubtest.Post(t, h, id, `{"jsonrpc":"2.0","id":"i","method":"vendor/x"}`)
		m = p.Next(t, "vendor/x")
		if got := string(message.Get(m.Raw, "params")); got != `{"_meta":{`+meta+`}}` {
			t.Errorf("got %s", got)
		}
		p.Emit(`{"jsonrpc":"2.0","id":%s,"error":{"code":-31999,"message":"x","data":[1.0]}}`, m.RawID)
		c.Wants(t, 200, `{"jsonrpc":"2.0","id":"i","error":{"code":-31999,"message":"x","data":[1.0]}}`)
		p.GotNothing(t)
	})
}

// Rule D3: the bridge answers the methods that a stateless server does not have, as the
// revisions with a handshake want it.
func TestMethodsThatTheServerDoesNotHaveAreDoneForIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, p, id := kit.Behind(t, `{}`)
		for _, tc := range []struct{ method, params, want string }{
			{"ping", `{}`, `"result":{}`},
			{"logging/setLevel", `{"level":"warning"}`, `"result":{}`},
			{"logging/setLevel", `{"level":"loud"}`, `"code":-32602`},
			{"resources/subscribe", `{}`, `"code":-32602`},
			{"resources/unsubscribe", `{"uri":"never:"}`, `"result":{}`},
			{"initialize", `{}`, `"code":-32600`},
			{"server/discover", `{}`, `"code":-32601`},
			{"subscriptions/listen", `{}`, `"code":-32601`},
			{"a\\nb: c", `{}`, `"code":-32601`},
		} {
			body := `{"jsonrpc":"2.0","id":1,"method":"` + tc.method + `","params":` + tc.params + `}`
			if tc.method == "initialize" { // in a session, which Streamable HTTP has no way to say
				to := hubtest.TranslatorOf(t, h)
				m, _ := message.Parse([]byte(body))
				if err := to.Send(nil, m); err != nil || to.Last().ID != m.ID || !strings.Contains(string(to.Last().Raw), tc.want) {
					t.Errorf("%s: got %v", tc.method, err)
				}
				continue
			}
			if c := hubtest.Post(t, h, id, body); !strings.Contains(c.Body.String(), tc.want) {
				t.Errorf("%s: got %s, want %s", tc.method, c.Body, tc.want)
			}
		}
		for _, method := range []string{"notifications/initialized", "notifications/roots/list_changed", "notifications/progress"} {
			if c := hubtest.Post(t, h, id, `{"jsonrpc":"2.0","method":"`+method+`"}`); c.Code != http.StatusAccepted {
				t.Errorf("%s: got %d %s", method, c.Code, c.Body)
			}
		}
		p.GotNothing(t)
		hubtest.Post(t, h, id, `{"jsonrpc":"2.0","id":2,"method":"tools/list"}`)
		if m := p.Next(t, "tools/list"); message.Text(m.Raw, "params", "_meta", mcp.MetaLogLevel) != "warning" {
			t.Errorf("got %s", m.Raw)
		}
		hubtest.Post(t, h, id, `{"jsonrpc":"2.0","method":"vendor/told","params":{"a":1.0}}`)
		if m := p.Next(t, "vendor/told"); string(m.Raw) != `{"jsonrpc":"2.0","method":"vendor/told","params":{"a":1.0}}` {
			t.Errorf("got %s", m.Raw)
		}
	})
}

// Rule D3: errors have the codes of the client's revision, and results its types.
func TestAnswersAreOfTheClientsRevision(t *testing.T) {
	for name, tc := range map[string]struct{ method, params, answer, want string }{
		"no such resource":   {"resources/read", `{"uri":"a:"}`, `"error":{"code":-32602,"message":"m","data":{"uri":"a:"}}`, `"error":{"code":-32002,"message":"m","data":{"uri":"a:"}}`},
		"no uri":             {"resources/read", `{}`, `"error":{"code":-32602,"message":"m"}`, `"error":{"code":-32602,"message":"m"}`},
		"bad arguments":      {"tools/call", `{"name":"a"}`, `"error":{"code":-32602,"message":"m"}`, `"error":{"code":-32602,"message":"m"}`},
		"missing capability": {"tools/call", `{"name":"a"}`, `"error":{"code":-32021,"message":"m","data":{"requiredCapabilities":{"roots":{}}}}`, `"error":{"code":-32603,"message":"m","data":{"requiredCapabilities":{"roots":{}}}}`},
		"version":            {"tools/call", `{"name":"a"}`, `"error":{"code":-32022,"message":"m"}`, `"error":{"code":-32603,"message":"m"}`},
		"structured list":    {"tools/call", `{"name":"a"}`, `"result":{"content":[],"structuredContent":[1]}`, `"result":{"content":[]}`},
		"structured object":  {"tools/call", `{"name":"a"}`, `"result":{"structuredContent":{"a":1}}`, `"result":{"structuredContent":{"a":1}}`},
		"schema of a list":   {"tools/list", `{}`, `"result":{"tools":[{"name":"a","outputSchema":{"type":"array"}},{"name":"b","outputSchema":{"type":"object"}}]}`, `"result":{"tools":[{"name":"a"},{"name":"b","outputSchema":{"type":"object"}}]}`},
		"no result":          {"vendor/x", `{}`, `"result":null`, `"result":null`},
		"a type of others":   {"tools/call", `{"name":"a"}`, `"result":{"resultType":"task"}`, `"error":{"code":-32603,"message":"the server answers with a result of a type that this client does not know: \"task\""}`},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h, p, id := kit.Behind(t, `{}`)
				c := hubtest.Post(t, h, id, `{"jsonrpc":"2.0","id":"x","method":"`+tc.method+`","params":`+tc.params+`}`)
				p.Emit(`{"jsonrpc":"2.0","id":%s,%s}`, p.Next(t, tc.method).RawID, tc.answer)
				c.Wants(t, 200, `{"jsonrpc":"2.0","id":"x",`+tc.want+`}`)
			})
		})
	}
}

// Rule D3: a request that its client cancels is cancelled at the server by its id there.
// What arrives for it later is dropped.
func TestCancelledRequestIsCancelledAtTheServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, p, id := kit.Behind(t, `{}`)
		c := hubtest.Post(t, h, id, `{"jsonrpc":"2.0","id":"x","method":"tools/call","params":{"name":"a","_meta":{"progressToken":1}}}`)
		m := p.Next(t, "tools/call")
		hubtest.Post(t, h, id, `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"x","reason":"r"}}`)
		want := fmt.Sprintf(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":%s,"reason":"r"}}`, m.RawID)
		if got := p.Next(t, "notifications/cancelled"); string(got.Raw) != want {
			t.Errorf("got  %s\nwant %s", got.Raw, want)
		}
		p.Emit(`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":%s,"progress":1}}`, m.RawID)
		p.Answer(m, `{"resultType":"complete"}`)
		if got := c.Messages(); len(got) != 0 || !c.Over() {
			t.Errorf("got %q, over %t", got, c.Over())
		}
		for _, other := range []string{`"x"`, `"y"`, string(m.RawID)} {
			hubtest.Post(t, h, id, `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":`+other+`}}`)
		}
		p.GotNothing(t)
		c = hubtest.Post(t, h, id, `{"jsonrpc":"2.0","id":"x","method":"tools/list"}`) // the id is free
		p.Answer(p.Next(t, "tools/list"), `{"tools":[]}`)
		c.Wants(t, 200, `{"jsonrpc":"2.0","id":"x","result":{"tools":[]}}`)
	})
}

// A server may end, answer twice or with ids that no request has, or never stop asking for
// input. The request that waits gets an error, and other requests are not affected.
func TestHostileServerHarmsOnlyTheRequestThatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, p, id := kit.Behind(t, hubtest.AllDeclared)
		a := hubtest.Post(t, h, id, `{"jsonrpc":"2.0","id":"a","method":"tools/call","params":{"name":"a"}}`)
		m := p.Next(t, "tools/call")
		for _, odd := range []string{`"a"`, `1.5`, `999`, `-1`} {
			p.Emit(`{"jsonrpc":"2.0","id":%s,"result":{}}`, odd)
		}
		if got := a.Messages(); len(got) != 0 {
			t.Fatalf("got %q", got)
		}
		p.Answer(m, `{"one":1}`)
		p.Answer(m, `{"two":2}`)
		a.Wants(t, 200, `{"jsonrpc":"2.0","id":"a","result":{"one":1}}`)
		b := hubtest.Post(t, h, id, `{"jsonrpc":"2.0","id":"b","method":"tools/call","params":{"name":"b"}}`)
		c := hubtest.Post(t, h, id, `{"jsonrpc":"2.0","id":"c","method":"tools/call","params":{"name":"c"}}`)
		p.Answer(p.Next(t, "tools/call"), `{"resultType":"input_required","inputRequests":{"k":{"method":"roots/list"}}}`)
		synctest.Wait()
		_ = p.Close()
		for name, c := range map[string]*hubtest.Pending{"b": b, "c": c} {
			if got := c.Messages(); len(got) == 0 || !strings.Contains(got[len(got)-1], `"id":"`+name+`","error"`) || !c.Over() {
				t.Errorf("%s: got %q", name, got)
			}
		}
		if c := hubtest.Post(t, h, id, `{"jsonrpc":"2.0","id":2,"method":"ping"}`); c.Code != http.StatusNotFound {
			t.Errorf("got %d", c.Code)
		}
		if n := h.Len(); n != 0 {
			t.Errorf("%d sessions are left", n)
		}
	})
}
