package shared

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/mcp"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/servers"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/hubtest"
)

// D5c: nothing reaches a shared server that it could read otherwise than the bridge
// does, if it ignores case, and the client is told which member that is. It is so for
// requests, notifications, responses and batches, at a server that all share and at one
// that the requests of one owner share.
func TestLookalikesRefused(t *testing.T) {
	version := `"` + mcp.MetaVersion + `":"2026-07-28"`
	meta := `"_meta":{` + version + `,"` + mcp.MetaCapabilities + `":{}}`
	call := func(envelope, params, inMeta string) string {
		return `{"jsonrpc":"2.0","id":5,"method":"tools/call"` + envelope + `,"params":{"name":"slow"` + params + `,"_meta":{` + version + `,"` + mcp.MetaCapabilities + `":{}` + inMeta + `}}}`
	}
	notice := func(envelope, params, inMeta string) string {
		return `{"jsonrpc":"2.0","method":"notifications/x"` + envelope + `,"params":{"x":1` + params + `,"_meta":{` + version + inMeta + `}}}`
	}
	for name, tc := range map[string]struct{ body, where, known string }{
		"an id":                          {call(`,"ID":3`, "", ""), "the message", "id"},
		"an id, escaped":                 {call(`,"\u0049D":3`, "", ""), "the message", "id"},
		"an id without a dot":            {call(`,"ıd":3`, "", ""), "the message", "id"},
		"an id that ends early":          {call(`,"id\u0000":3`, "", ""), "the message", "id"},
		"a method":                       {call(`,"Method":"notifications/cancelled"`, "", ""), "the message", "method"},
		"params":                         {call(`,"PARAMS":{"requestId":3}`, "", ""), "the message", "params"},
		"params with a long s":           {call(`,"paramſ":{"requestId":3}`, "", ""), "the message", "params"},
		"a result":                       {call(`,"Result":{}`, "", ""), "the message", "result"},
		"a _meta":                        {call("", `,"_META":{"progressToken":1}`, ""), "params", "_meta"},
		"a name":                         {call("", `,"Name":"other"`, ""), "params", "name"},
		"a token":                        {call("", "", `,"ProgressToken":1`), "params._meta", "progressToken"},
		"a token with a Kelvin sign":     {call("", "", `,"progressTo\u212aen":1`), "params._meta", "progressToken"},
		"a token with a sharp s":         {call("", "", `,"progreßToken":1`), "params._meta", "progressToken"},
		"a subscription":                 {call("", "", `,"io.modelcontextprotocol/subscriptionID":1`), "params._meta", "io.modelcontextprotocol/subscriptionId"},
		"a filter":                       {strings.Replace(call("", `,"Notifications":{"toolsListChanged":true}`, ""), "tools/call", "subscriptions/listen", 1), "params", "notifications"},
		"a notification's id":            {notice(`,"ID":3`, "", ""), "the message", "id"},
		"a notification's method":        {notice(`,"Method":"notifications/cancelled"`, `,"requestId":3`, ""), "the message", "method"},
		"what a notification cancels":    {notice("", `,"requestID":3`, ""), "params", "requestId"},
		"a notification's token":         {notice("", `,"progresstoken":3`, ""), "params", "progressToken"},
		"a notification's subscription":  {notice("", "", `,"IO.modelcontextprotocol/subscriptionId":3`), "params._meta", "io.modelcontextprotocol/subscriptionId"},
		"a response":                     {`{"jsonrpc":"2.0","id":5,"ID":3,"result":{}}`, "the message", "id"},
		"the second of a batch":          {"[" + call("", "", "") + "," + call(`,"ID":3`, "", "") + "]", "the message", "id"},
		"a response in a batch":          {`[{"jsonrpc":"2.0","id":5,"Id":3,"result":{}}]`, "the message", "id"},
		"a request that is none to some": {`{"jsonrpc":"2.0","Id":5,"method":"tools/call","params":{` + meta + `}}`, "the message", "id"},
	} {
		for server, kind := range map[string]hubtest.Nature{"of all": hubtest.Stateless, "of one owner": hubtest.Handshakes} {
			t.Run(name+"/"+server, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					h, started := kit.Programs(t, kind, servers.Config{})
					first := hubtest.Send(t, h, hubtest.Ask("1", "tools/list", ""))
					synctest.Wait()
					p := <-started
					p.Answer(p.Next(t, "tools/list"), `{"tools":[]}`)
					if !first.Over() {
						t.Fatal("the first request is not answered")
					}
					r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "http://h/", strings.NewReader(tc.body))
					r.Header.Set("Content-Type", "application/json")
					r.Header.Set("Mcp-Protocol-Version", "2026-07-28")
					r.Header.Set("Mcp-Method", "tools/call")
					r.Header.Set("Mcp-Name", "slow")
					w := httptest.NewRecorder()
					h.ServeHTTP(w, r)
					id := "5"
					if strings.Contains(tc.body, `"Id":5`) || strings.Contains(tc.body, "notifications/x") || strings.HasPrefix(tc.body, "[") && !strings.Contains(tc.body, `"id":5`) {
						id = "null"
					}
					want := fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"error":{"code":-32600,"message":"the body has a member of %s that equals \"%s\" but for case"}}`, id, tc.where, tc.known)
					if w.Code != http.StatusBadRequest || w.Body.String() != want {
						t.Errorf("got  %d %s\nwant 400 %s", w.Code, w.Body, want)
					}
					p.GotNothing(t)
				})
			})
		}
	}
}

// D5c: what looks like a known member only elsewhere crosses as it is: it is the tool's.
func TestLookalikesOfTools(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, started := kit.Programs(t, hubtest.Stateless, servers.Config{})
		arguments := `{"ID":1,"Method":"x","_META":{"ProgressToken":1}}`
		a := hubtest.Send(t, h, hubtest.Ask("1", "tools/call", `"name":"t","arguments":`+arguments))
		synctest.Wait()
		p := <-started
		m := p.Next(t, "tools/call")
		if got := string(message.Get(m.Raw, "params", "arguments")); got != arguments {
			t.Errorf("the server got %s, want %s", got, arguments)
		}
		p.Answer(m, `{}`)
		if !a.Over() || a.Code != http.StatusOK {
			t.Errorf("got %d %s", a.Code, a.Body)
		}
	})
}

// D5c: what a client says of progress reaches no server that others share: such a server
// asks nothing of clients that there could be progress of.
func TestProgressOfClientsStays(t *testing.T) {
	for _, kind := range []hubtest.Nature{hubtest.Stateless, hubtest.Handshakes} {
		synctest.Test(t, func(t *testing.T) {
			h, started := kit.Programs(t, kind, servers.Config{})
			a := hubtest.Send(t, h, hubtest.Ask("1", "tools/call", `"name":"t"`))
			synctest.Wait()
			p := <-started
			m := p.Next(t, "tools/call")
			n := hubtest.Send(t, h, fmt.Sprintf(`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":%s,"progress":1}}`, m.RawID))
			n.Wants(t, 202)
			p.GotNothing(t)
			p.Answer(m, `{}`)
			if !a.Over() {
				t.Error("the request is not answered")
			}
		})
	}
}

// D5c: the ids of requests at a shared server say nothing of each other, and are
// numbers that every reader has room for.
func TestRequestIDsUnguessable(t *testing.T) {
	seen := make(map[string]bool)
	var ones [64]int
	const n = 2000
	for range n {
		id := string(unguessable())
		if seen[id] || len(id) != 14 {
			t.Fatalf("id %s: given before: %v", id, seen[id])
		}
		seen[id] = true
		var number uint64
		if _, err := fmt.Sscan(id, &number); err != nil || number >= 1<<idBits {
			t.Fatalf("id %s: %v", id, err)
		}
		for bit := range ones {
			ones[bit] += int(number >> bit & 1)
		}
	}
	// Each bit but the highest is set in half of them, give or take ten deviations.
	for bit, got := range ones[:idBits-1] {
		if got < n/2-224 || got > n/2+224 {
			t.Errorf("bit %d is set %d times in %d", bit, got, n)
		}
	}

	synctest.Test(t, func(t *testing.T) {
		for _, kind := range []hubtest.Nature{hubtest.Stateless, hubtest.Handshakes} {
			h, started := kit.Programs(t, kind, servers.Config{})
			var p *hubtest.Program
			for range 3 {
				a := hubtest.Send(t, h, hubtest.Ask("1", "tools/call", `"name":"t"`, `"progressToken":1`))
				synctest.Wait()
				if p == nil {
					p = <-started
				}
				m := p.Next(t, "tools/call")
				if len(m.RawID) != 14 || seen[string(m.RawID)] || m.Progress != m.ID {
					t.Errorf("the server got %s", m.Raw)
				}
				seen[string(m.RawID)] = true
				p.Answer(m, `{}`)
				if !a.Over() {
					t.Error("the request is not answered")
				}
			}
		}
	})
}
