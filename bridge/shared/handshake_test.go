package shared

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/mcp"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/servers"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/translate"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/upstream"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/hubtest"
)

// Rules D3, D5: a server that begins with a handshake is shown as a stateless one. It
// is for one identity alone, whatever it did when it was asked for what it does not
// know.
func TestServerWithAHandshakeIsShownAsStateless(t *testing.T) {
	for name, kind := range map[string]hubtest.Nature{"refuses": hubtest.Handshakes, "silent": hubtest.Silent} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h, started := kit.Programs(t, kind, servers.Config{})
				discover := hubtest.Send(t, h, hubtest.Ask("1", "server/discover", ""), "Authorization", "Bearer a")
				time.Sleep(2 * translate.AskWithin)
				discover.Wants(t, 200, `{"jsonrpc":"2.0","id":1,"result":{"_meta":{"io.modelcontextprotocol/serverInfo":{"name":"s","version":"1"}},`+
					`"instructions":"ask","resultType":"complete","supportedVersions":["2026-07-28","2025-11-25","2025-06-18","2025-03-26"],`+
					`"capabilities":{"tools":{"listChanged":true},"resources":{"subscribe":true},"logging":{}},"ttlMs":0,"cacheScope":"private"}}`)
				a := <-started
				call := hubtest.Send(t, h, hubtest.Ask(`"x"`, "tools/call", `"name":"t","arguments":{"a":1.0}`, `"progressToken":7`, `"v/x":1`), "Authorization", "Bearer a")
				m := a.Next(t, "tools/call")
				if got, want := string(message.Remove(message.Remove(m.Raw, "id"), "params", "_meta", "progressToken")),
					`{"jsonrpc":"2.0","method":"tools/call","params":{"name":"t","arguments":{"a":1.0},"_meta":{"v/x":1}}}`; got != want {
					t.Errorf("the server got %s\nwant %s", got, want)
				}
				a.Emit(`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":%s,"progress":1}}`, message.Get(m.Raw, "params", "_meta", "progressToken"))
				a.Answer(m, `{"content":[]}`)
				call.Wants(t, 200, `{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":7,"progress":1}}`,
					`{"jsonrpc":"2.0","id":"x","result":{"_meta":{"io.modelcontextprotocol/serverInfo":{"name":"s","version":"1"}},"resultType":"complete","content":[]}}`)

				list := hubtest.Send(t, h, hubtest.Ask("2", "tools/list", ""), "Authorization", "Bearer a")
				a.Answer(a.Next(t, "tools/list"), `{"tools":[],"ttlMs":5}`)
				list.Wants(t, 200, `{"jsonrpc":"2.0","id":2,"result":{"_meta":{"io.modelcontextprotocol/serverInfo":{"name":"s","version":"1"}},"cacheScope":"private","resultType":"complete","tools":[],"ttlMs":5}}`)
				read := hubtest.Send(t, h, hubtest.Ask("3", "resources/read", `"uri":"x:"`), "Authorization", "Bearer a")
				a.Emit(`{"jsonrpc":"2.0","id":%s,"error":{"code":-32002,"message":"no"}}`, a.Next(t, "resources/read").RawID)
				read.Wants(t, 200, `{"jsonrpc":"2.0","id":3,"error":{"code":-32602,"message":"no"}}`)
				for _, method := range []string{"ping", "initialize", "logging/setLevel", "resources/subscribe"} {
					if w := hubtest.Send(t, h, hubtest.Ask("4", method, `"level":"info"`), "Authorization", "Bearer a"); !w.Over() || w.Code != 404 || !strings.Contains(w.Body.String(), "-32601") {
						t.Errorf("%s: %d %s", method, w.Code, w.Body)
					}
				}
				if len(started) != 0 {
					t.Fatal("one identity has more than one server")
				}

				other := hubtest.Send(t, h, hubtest.Ask(`"x"`, "tools/call", `"name":"t"`), "Authorization", "Bearer b")
				synctest.Wait()
				b := <-started
				if b.From != "Bearer b" {
					t.Errorf("the server was started for %q", b.From)
				}
				b.Answer(b.Next(t, "tools/call"), `{"resultType":"complete","_meta":{}}`)
				other.Wants(t, 200, `{"jsonrpc":"2.0","id":"x","result":{"resultType":"complete","_meta":{"io.modelcontextprotocol/serverInfo":{"name":"s","version":"1"}}}}`)
				a.GotNothing(t)
			})
		})
	}
}

// Rule D5: a server that ends when it is asked what it does not know is started again.
func TestServerThatDiesOfTheProbeIsStartedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, started := kit.Programs(t, hubtest.Dies, servers.Config{})
		call := hubtest.Send(t, h, hubtest.Ask("1", "tools/call", `"name":"t"`))
		synctest.Wait()
		<-started
		p := <-started
		p.Answer(p.Next(t, "tools/call"), `{}`)
		call.Wants(t, 200, `{"jsonrpc":"2.0","id":1,"result":{"_meta":{"io.modelcontextprotocol/serverInfo":{"name":"s","version":"1"}},"resultType":"complete"}}`)
	})
}

// Rule D3: a subscription at a server that begins with a handshake.
func TestSubscriptionAtAServerWithAHandshake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, started := kit.Programs(t, hubtest.Handshakes, servers.Config{})
		const wish = `"notifications":{"toolsListChanged":true,"promptsListChanged":true,"resourceSubscriptions":["x:1","x:2"]}`
		a := hubtest.Send(t, h, hubtest.Ask(`"l"`, "subscriptions/listen", wish))
		synctest.Wait()
		p := <-started
		p.Answer(p.Next(t, "resources/subscribe"), `{}`)
		synctest.Wait()
		p.Emit(`{"jsonrpc":"2.0","id":%s,"error":{"code":-32002,"message":"no"}}`, p.Next(t, "resources/subscribe").RawID)
		meta := fmt.Sprintf(`"_meta":{%q:"l"}`, mcp.MetaSubscription)
		ack := `{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{"notifications":{"toolsListChanged":true,"resourceSubscriptions":["x:1"]},` + meta + `}}`
		a.Wants(t, 200, ack)
		p.Emit(`{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}`)
		p.Emit(`{"jsonrpc":"2.0","method":"notifications/prompts/list_changed"}`)
		p.Emit(`{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"x:2"}}`)
		p.Emit(`{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"x:1"}}`)
		changed := `{"params":{` + meta + `},"jsonrpc":"2.0","method":"notifications/tools/list_changed"}`
		updated := `{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{` + meta + `,"uri":"x:1"}}`
		a.Wants(t, 200, ack, changed, updated)

		// Another one watches the same resource: the server is told once.
		b := hubtest.Send(t, h, hubtest.Ask("2", "subscriptions/listen", `"notifications":{"resourceSubscriptions":["x:1"]}`))
		if got := b.Messages(); len(got) != 1 {
			t.Fatalf("got %q", got)
		}
		p.GotNothing(t)
		a.Leave()
		p.GotNothing(t)
		b.Leave()
		if m := p.Next(t, "resources/unsubscribe"); message.Text(m.Raw, "params", "uri") != "x:1" {
			t.Errorf("the server got %s", m.Raw)
		}
	})
}

// Rule A1, D4: a server that judges each request refuses the very request that it
// means: one that begins a conversation, one that it does not get itself, and one in
// the middle; none of it is kept for another.
func TestRefusalAnswersTheVeryStatelessRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, started := kit.Programs(t, hubtest.Handshakes, servers.Config{Remote: true})
		expired := false
		ready := func(p *hubtest.Program) {
			p.Refuse = func(from *http.Request, m message.Message) error {
				if expired && from != nil {
					return &upstream.Refusal{Status: 401, Header: http.Header{"Www-Authenticate": {`Bearer error="invalid_token", of="` + m.Method + `"`}}, Body: []byte("no")}
				}
				return nil
			}
		}
		call := hubtest.Send(t, h, hubtest.Ask("1", "tools/call", `"name":"t"`), "Authorization", "Bearer a")
		synctest.Wait()
		p := <-started
		p.Answer(p.Next(t, "tools/call"), `{}`)
		if !call.Over() {
			t.Fatal("no answer")
		}
		ready(p)
		expired = true
		for _, method := range []string{"tools/call", "tools/list", "notifications/vendor"} {
			body := hubtest.Ask("2", method, `"name":"t"`)
			if strings.HasPrefix(method, "notifications/") {
				body = `{"jsonrpc":"2.0","method":"notifications/vendor"}`
			}
			w := hubtest.Send(t, h, body, "Authorization", "Bearer a")
			over := w.Over()
			if got := w.Header().Get("WWW-Authenticate"); !over || w.Code != 401 || got != `Bearer error="invalid_token", of="`+method+`"` || w.Body.String() != "no" {
				t.Errorf("%s: %d %q %s", method, w.Code, got, w.Body)
			}
		}
		expired = false
		again := hubtest.Send(t, h, hubtest.Ask("3", "tools/call", `"name":"t"`), "Authorization", "Bearer a")
		p.Answer(p.Next(t, "tools/call"), `{}`)
		again.Wants(t, 200, `{"jsonrpc":"2.0","id":3,"result":{"_meta":{"io.modelcontextprotocol/serverInfo":{"name":"s","version":"1"}},"resultType":"complete"}}`)
	})
}
