package shared

import (
	"fmt"
	"reflect"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/mcp"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/servers"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/hubtest"
)

// Rule D5: requests that stand for themselves share a server that knows such ones.
// Ids, progress tokens and subscription ids are mapped, so that each client gets what
// is its own, and its own back; every other byte crosses as it is.
func TestStatelessRequestsShareAServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, started := kit.Programs(t, hubtest.Stateless, servers.Config{})
		const same = `"progressToken":"t"`
		a := hubtest.Send(t, h, hubtest.Ask(`"x"`, "tools/call", `"name":"grüße","arguments":{"n":1.50,"v":{}}`, same), "Authorization", "Bearer a")
		b := hubtest.Send(t, h, hubtest.Ask(`"x"`, "tools/call", `"name":"b"`, same), "Authorization", "Bearer b")
		c := hubtest.Send(t, h, hubtest.Ask("9007199254740993", "vendor/x", `"y":[]`), "Authorization", "Bearer c")
		synctest.Wait()
		p := <-started
		if len(started) != 0 {
			t.Fatal("more than one server was started")
		}
		calls := map[string]message.Message{}
		for range 3 {
			synctest.Wait()
			m := <-p.Got
			calls[m.Method+message.Text(m.Raw, "params", "name")] = m
		}
		ma, mb, mc := calls["tools/callgrüße"], calls["tools/callb"], calls["vendor/x"]
		if ma.ID == mb.ID || ma.Progress == mb.Progress || ma.ID == mc.ID {
			t.Fatalf("the server got ids that are the same: %s %s %s", ma.Raw, mb.Raw, mc.Raw)
		}
		own := func(m message.Message, id, token string) string {
			raw := message.Set(m.Raw, []byte(id), "id")
			return string(message.Replace(raw, []byte(token), "params", "_meta", "progressToken"))
		}
		if got, want := own(ma, `"x"`, `"t"`), hubtest.Ask(`"x"`, "tools/call", `"name":"grüße","arguments":{"n":1.50,"v":{}}`, same); got != want {
			t.Errorf("the server got %s\nwant %s", got, want)
		}
		p.Emit(`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":%s,"progress":1,"of":"b"}}`, message.Get(mb.Raw, "params", "_meta", "progressToken"))
		p.Emit(`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"t","progress":9}}`)
		p.Emit(`{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}`)
		p.Emit(`{"jsonrpc":"2.0","id":"x","result":{"of":"nobody"}}`)
		p.Answer(mc, `{"of":"c", "x" : 1e2}`)
		p.Answer(mb, `{"of":"b"}`)
		p.Emit(`{"jsonrpc":"2.0","id":%s,"error":{"code":-32601,"message":"no"}}`, ma.RawID)
		a.Wants(t, 404, `{"jsonrpc":"2.0","id":"x","error":{"code":-32601,"message":"no"}}`)
		b.Wants(t, 200, `{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"t","progress":1,"of":"b"}}`, `{"jsonrpc":"2.0","id":"x","result":{"of":"b"}}`)
		c.Wants(t, 200, `{"jsonrpc":"2.0","id":9007199254740993,"result":{"of":"c", "x" : 1e2}}`)

		// A request of the server belongs to nobody.
		p.Emit(`{"jsonrpc":"2.0","id":"s","method":"roots/list"}`)
		synctest.Wait()
		if m := <-p.Got; m.Kind != message.Response || string(m.RawID) != `"s"` || !m.Failed {
			t.Errorf("the server got %s", m.Raw)
		}
	})
}

// Rule D5: a client that leaves takes back its own request, and nobody else's.
func TestClientThatLeavesCancelsItsOwnRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, started := kit.Programs(t, hubtest.Stateless, servers.Config{})
		a := hubtest.Send(t, h, hubtest.Ask("1", "tools/call", `"name":"a"`))
		b := hubtest.Send(t, h, hubtest.Ask("1", "tools/call", `"name":"b"`))
		synctest.Wait()
		p := <-started
		first, second := p.Next(t, "tools/call"), p.Next(t, "tools/call")
		if message.Text(first.Raw, "params", "name") == "b" {
			first, second = second, first
		}
		// What one client says of an id means no other's, and ends nothing.
		direct := hubtest.Send(t, h, fmt.Sprintf(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":%s}}`, second.RawID))
		direct.Wants(t, 202)
		p.GotNothing(t)
		a.Leave()
		m := p.Next(t, "notifications/cancelled")
		if m.Cancels != first.ID || !a.Over() || b.Over() {
			t.Errorf("the server got %s, want the id %s", m.Raw, first.RawID)
		}
		// What it still says of that goes nowhere, not even where it could be of one
		// only, for a while.
		p.Emit(`{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"error","data":"of a"}}`)
		p.Answer(first, `{"of":"a"}`)
		p.Answer(second, `{"of":"b"}`)
		b.Wants(t, 200, `{"jsonrpc":"2.0","id":1,"result":{"of":"b"}}`)
	})
}

// Rule G: clients that leave, however many, leave nothing behind at a server that all of
// them share, even if it never logs.
func TestClientsThatLeaveLeaveNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, _ := kit.Programs(t, hubtest.Stateless, servers.Config{})
		kept := func(clients int) (n int) {
			for range clients {
				a := hubtest.Send(t, h, hubtest.Ask("1", "tools/call", `"name":"a"`))
				synctest.Wait()
				a.Leave()
			}
			synctest.Wait()
			c := h.shared.byKey[""]
			for _, part := range []any{c, &c.calls, &c.inputs, &c.subscriptions, &c.watches} {
				p := reflect.ValueOf(part).Elem()
				for i := range p.NumField() {
					if f := p.Field(i); f.Kind() == reflect.Map || f.Kind() == reflect.Slice {
						n += f.Len()
					}
				}
			}
			return n
		}
		if first, then := kept(1), kept(100); then > first {
			t.Errorf("%d are kept of one client, %d after a hundred more", first, then)
		}
	})
}

// Rule D5: log messages name no request. They go to the only one under way, if it
// wants them, and else to nobody.
func TestLogMessagesGoToTheOnlyRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, started := kit.Programs(t, hubtest.Stateless, servers.Config{})
		const logs = `"` + mcp.MetaLogLevel + `":"warning"`
		log := func(p *hubtest.Program, level, data string) {
			p.Emit(`{"jsonrpc":"2.0","method":"notifications/message","params":{"level":%q,"data":%q}}`, level, data)
		}
		a := hubtest.Send(t, h, hubtest.Ask("1", "tools/call", `"name":"a"`, logs))
		synctest.Wait()
		p := <-started
		ma := p.Next(t, "tools/call")
		log(p, "info", "too little")
		log(p, "error", "alone")
		b := hubtest.Send(t, h, hubtest.Ask("2", "tools/call", `"name":"b"`, logs))
		mb := p.Next(t, "tools/call")
		log(p, "error", "of either")
		p.Answer(ma, `{}`)
		a.Wants(t, 200, `{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"error","data":"alone"}}`, `{"jsonrpc":"2.0","id":1,"result":{}}`)
		log(p, "emergency", "alone again")
		p.Answer(mb, `{}`)
		b.Wants(t, 200, `{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"emergency","data":"alone again"}}`, `{"jsonrpc":"2.0","id":2,"result":{}}`)
		c := hubtest.Send(t, h, hubtest.Ask("3", "tools/call", `"name":"c"`))
		mc := p.Next(t, "tools/call")
		log(p, "emergency", "not wanted")
		p.Answer(mc, `{}`)
		c.Wants(t, 200, `{"jsonrpc":"2.0","id":3,"result":{}}`)
	})
}

// Rule D5: a server that dies fails what is under way, ends subscriptions, and is
// started again for the next request.
func TestSharedServerThatDiesIsStartedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, started := kit.Programs(t, hubtest.Stateless, servers.Config{})
		listening := hubtest.Send(t, h, hubtest.Ask("1", "subscriptions/listen", hubtest.OnlyTools))
		synctest.Wait()
		calling := hubtest.Send(t, h, hubtest.Ask("2", "tools/call", `"name":"a"`))
		synctest.Wait()
		p := <-started
		m := p.Next(t, "subscriptions/listen")
		p.Next(t, "tools/call")
		ack := fmt.Sprintf(`{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{"_meta":{%q:%s}}}`, mcp.MetaSubscription, m.RawID)
		p.Emit("%s", ack)
		synctest.Wait()
		_ = p.Close()
		calling.Wants(t, 200, `{"jsonrpc":"2.0","id":2,"error":{"code":-32603,"message":"the server has ended"}}`)
		if got := listening.Messages(); len(got) != 1 || !listening.Over() {
			t.Errorf("got %q", got)
		}
		again := hubtest.Send(t, h, hubtest.Ask("3", "tools/call", `"name":"a"`))
		synctest.Wait()
		p = <-started
		p.Answer(p.Next(t, "tools/call"), `{}`)
		again.Wants(t, 200, `{"jsonrpc":"2.0","id":3,"result":{}}`)
	})
}

// Rule D6: servers of stateless requests count as sessions; one that nobody uses gives
// way to a new one, and goes after a while.
func TestSharedServersCountAsSessions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, started := kit.Programs(t, hubtest.Handshakes, servers.Config{Sessions: 2, Idle: time.Hour})
		call := func(who string) *hubtest.Pending {
			return hubtest.Send(t, h, hubtest.Ask("1", "tools/call", `"name":"t"`), "Authorization", who)
		}
		a := call("a")
		synctest.Wait()
		pa := <-started
		b := call("b")
		synctest.Wait()
		pb := <-started
		if c := call("c"); !c.Over() || c.Code != 503 || c.Header().Get("Retry-After") == "" {
			t.Errorf("a third: %d %s", c.Code, c.Body)
		}
		pa.Answer(pa.Next(t, "tools/call"), `{}`)
		if !a.Over() {
			t.Error("the first has no answer")
		}
		c := call("c")
		synctest.Wait()
		pc := <-started
		select {
		case <-pa.Ended:
		default:
			t.Error("the server that nobody used is still there")
		}
		pb.Answer(pb.Next(t, "tools/call"), `{}`)
		pc.Answer(pc.Next(t, "tools/call"), `{}`)
		if !b.Over() || !c.Over() || h.Len() != 2 {
			t.Errorf("%d servers", h.Len())
		}
		time.Sleep(time.Hour + time.Second)
		synctest.Wait()
		if h.Len() != 0 {
			t.Errorf("%d servers are left", h.Len())
		}
	})
}
