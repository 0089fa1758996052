package shared

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/servers"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/hubtest"
)

// Rule D3: what a server asks its client while it is at the client's request, a
// stateless client gets as the request's result, and answers when it comes back.
func TestInputIsTheResultOfAStatelessRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, started := kit.Programs(t, hubtest.Handshakes, servers.Config{})
		token := `"progressToken":"t"`
		first := hubtest.Send(t, h, hubtest.Ask("1", "tools/call", `"name":"t"`, token))
		synctest.Wait()
		p := <-started
		m := p.Next(t, "tools/call")
		p.Emit(`{"jsonrpc":"2.0","id":"s1","method":"elicitation/create","params":{"message":"</a>","n":1.50}}`)
		requests, state := hubtest.InputOf(t, first)
		if len(requests) != 1 || string(requests["input-1"]) != `{"method":"elicitation/create","params":{"message":"</a>","n":1.50}}` {
			t.Fatalf("the client was asked %s", requests)
		}
		// Another one meanwhile, one that the client has no capability for, and one that
		// nobody knows.
		p.Emit(`{"jsonrpc":"2.0","id":2,"method":"roots/list"}`)
		p.Emit(`{"jsonrpc":"2.0","id":3,"method":"sampling/createMessage","params":{}}`)
		p.Emit(`{"jsonrpc":"2.0","id":4,"method":"vendor/x"}`)
		p.Emit(`{"jsonrpc":"2.0","id":5,"method":"ping"}`)
		for _, want := range []string{`{"jsonrpc":"2.0","id":3,"error":{"code":-32601,`, `{"jsonrpc":"2.0","id":4,"error":{"code":-32601,`, `{"jsonrpc":"2.0","id":5,"result":{}}`} {
			synctest.Wait()
			if got := string((<-p.Got).Raw); !strings.HasPrefix(got, want) {
				t.Errorf("the server got %s, want %s", got, want)
			}
		}
		come := func(id, state, responses string) *hubtest.Pending {
			return hubtest.Send(t, h, hubtest.Ask(id, "tools/call", fmt.Sprintf(`"name":"t","requestState":%q,"inputResponses":%s`, state, responses), `"progressToken":"u"`))
		}
		second := come("2", state, `{"input-1":{"action":"accept","content":{"x":1.0}},"other":{}}`)
		synctest.Wait()
		if got, want := string((<-p.Got).Raw), `{"jsonrpc":"2.0","id":"s1","result":{"action":"accept","content":{"x":1.0}}}`; got != want {
			t.Errorf("the server got %s, want %s", got, want)
		}
		requests, next := hubtest.InputOf(t, second)
		if len(requests) != 1 || string(requests["input-2"]) != `{"method":"roots/list","params":{}}` || next == state {
			t.Fatalf("the client was asked %s", requests)
		}
		if again := come("9", state, `{}`); !again.Over() || !strings.Contains(again.Body.String(), "-32602") {
			t.Errorf("a state was taken twice: %s", again.Body)
		}
		// It comes back with nothing, and is asked again.
		third := come("3", next, `{}`)
		requests, state = hubtest.InputOf(t, third)
		if len(requests) != 1 {
			t.Fatalf("the client was asked %s", requests)
		}
		fourth := come("4", state, `{"input-2":{"roots":[]}}`)
		synctest.Wait()
		if got, want := string((<-p.Got).Raw), `{"jsonrpc":"2.0","id":2,"result":{"roots":[]}}`; got != want {
			t.Errorf("the server got %s, want %s", got, want)
		}
		p.Emit(`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":%s,"progress":1}}`, message.Get(m.Raw, "params", "_meta", "progressToken"))
		p.Answer(m, `{"done":true}`)
		fourth.Wants(t, 200, `{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"u","progress":1}}`,
			`{"jsonrpc":"2.0","id":4,"result":{"_meta":{"io.modelcontextprotocol/serverInfo":{"name":"s","version":"1"}},"resultType":"complete","done":true}}`)
	})
}

// Rules D4, D5: nobody continues another's request, or another request with a state;
// what nobody continues ends after a while; an answer that comes early is kept.
func TestOnlyTheOwnerContinuesARequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, started := kit.Programs(t, hubtest.Handshakes, servers.Config{})
		first := hubtest.Send(t, h, hubtest.Ask("1", "tools/call", `"name":"t"`), "Authorization", "Bearer a")
		synctest.Wait()
		p := <-started
		m := p.Next(t, "tools/call")
		p.Emit(`{"jsonrpc":"2.0","id":"s1","method":"roots/list"}`)
		_, state := hubtest.InputOf(t, first)
		resume := func(name, who string) *hubtest.Pending {
			return hubtest.Send(t, h, hubtest.Ask("2", "tools/call", fmt.Sprintf(`"name":%q,"requestState":%q,"inputResponses":{"input-1":{}}`, name, state)), "Authorization", who)
		}
		for _, w := range []*hubtest.Pending{resume("u", "Bearer a"), resume("t", "Bearer b"), resume("t", "")} {
			if !w.Over() || !strings.Contains(w.Body.String(), `"code":-32602`) {
				t.Errorf("got %d %s", w.Code, w.Body)
			}
		}
		p.GotNothing(t)
		p.Answer(m, `{"late":1}`)
		if w := resume("t", "Bearer a"); !w.Over() || !strings.Contains(w.Body.String(), `"late":1`) {
			t.Errorf("got %d %s", w.Code, w.Body)
		}

		<-p.Got // the answer to what the server has asked
		call := hubtest.Send(t, h, hubtest.Ask("3", "tools/call", `"name":"t"`), "Authorization", "Bearer a")
		m = p.Next(t, "tools/call")
		p.Emit(`{"jsonrpc":"2.0","id":"s2","method":"roots/list"}`)
		_, state = hubtest.InputOf(t, call)
		time.Sleep(waitForInput + time.Second)
		synctest.Wait()
		if got := <-p.Got; string(got.RawID) != `"s2"` || !got.Failed {
			t.Errorf("the server got %s", got.Raw)
		}
		if got := p.Next(t, "notifications/cancelled"); got.Cancels != m.ID {
			t.Errorf("the server got %s", got.Raw)
		}
		if w := resume("t", "Bearer a"); !w.Over() || !strings.Contains(w.Body.String(), `"code":-32602`) {
			t.Errorf("got %d %s", w.Code, w.Body)
		}
	})
}

// Rule D5: what could belong to several requests is asked of nobody.
func TestInputOfSeveralRequestsIsAskedOfNoClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, started := kit.Programs(t, hubtest.Handshakes, servers.Config{})
		a := hubtest.Send(t, h, hubtest.Ask("1", "tools/call", `"name":"a"`))
		synctest.Wait()
		p := <-started
		p.Next(t, "tools/call")
		b := hubtest.Send(t, h, hubtest.Ask("2", "prompts/get", `"name":"b"`))
		p.Next(t, "prompts/get")
		p.Emit(`{"jsonrpc":"2.0","id":"s","method":"roots/list"}`)
		synctest.Wait()
		if got := <-p.Got; string(got.RawID) != `"s"` || !got.Failed {
			t.Errorf("the server got %s", got.Raw)
		}
		if a.Over() || b.Over() {
			t.Error("a request was answered with it")
		}
	})
}
