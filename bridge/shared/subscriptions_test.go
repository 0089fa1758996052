package shared

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/mcp"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/servers"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/translate"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/hubtest"
)

// Rule D5: clients that want the same of a shared server share one subscription, each
// with its own id, and only what it wants. It ends with the last of them.
func TestFeedShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, started := kit.Programs(t, hubtest.Stateless, servers.Config{})
		a := hubtest.Send(t, h, hubtest.Ask("1", "subscriptions/listen", hubtest.OnlyTools))
		synctest.Wait()
		p := <-started
		m := p.Next(t, "subscriptions/listen")
		b := hubtest.Send(t, h, hubtest.Ask(`"1"`, "subscriptions/listen", hubtest.OnlyTools))
		synctest.Wait()
		p.GotNothing(t)
		p.Emit("%s", hubtest.NotificationOf(string(m.RawID), hubtest.ToolsChanged, "")) // before it is acknowledged
		p.AgreeAll(m)
		p.Emit("%s", hubtest.NotificationOf("1000", hubtest.ToolsChanged, ""))
		p.Emit("%s", hubtest.NotificationOf(string(m.RawID), hubtest.ToolsChanged, ""))
		p.Emit("%s", hubtest.NotificationOf(string(m.RawID), "notifications/prompts/list_changed", "")) // nobody wants it
		p.Emit("%s", hubtest.NotificationOf(string(m.RawID), "notifications/vendor", ""))               // could be anybody's
		synctest.Wait()
		a.Wants(t, 200, hubtest.NotificationOf("1", hubtest.Acknowledged, ","+hubtest.OnlyTools), hubtest.NotificationOf("1", hubtest.ToolsChanged, ""))
		b.Wants(t, 200, hubtest.NotificationOf(`"1"`, hubtest.Acknowledged, ","+hubtest.OnlyTools), hubtest.NotificationOf(`"1"`, hubtest.ToolsChanged, ""))

		c := hubtest.Send(t, h, hubtest.Ask("3", "subscriptions/listen", `"notifications":{"toolsListChanged":true,"resourceSubscriptions":["x:1"]}`))
		synctest.Wait()
		more := p.Next(t, "subscriptions/listen")
		if got := string(message.Get(more.Raw, "params", "notifications")); got != `{"resourceSubscriptions":["x:1"]}` {
			t.Errorf("asked for %s", got)
		}
		p.AgreeAll(more)
		p.Emit("%s", hubtest.NotificationOf(string(more.RawID), hubtest.Updated, `,"uri":"x:1"`))
		p.Emit("%s", hubtest.NotificationOf(string(more.RawID), hubtest.Updated, `,"uri":"x:2"`))
		synctest.Wait()
		c.Wants(t, 200, hubtest.NotificationOf("3", hubtest.Acknowledged, `,"notifications":{"toolsListChanged":true,"resourceSubscriptions":["x:1"]}`), hubtest.NotificationOf("3", hubtest.Updated, `,"uri":"x:1"`))

		a.Leave()
		c.Leave()
		synctest.Wait()
		p.GotNothing(t) // another still listens
		b.Leave()
		synctest.Wait()
		ended := map[message.Key]bool{p.Next(t, "notifications/cancelled").Cancels: true, p.Next(t, "notifications/cancelled").Cancels: true}
		if !ended[m.ID] || !ended[more.ID] {
			t.Errorf("ended %v", ended)
		}
	})
}

// Rule D5: what is asked for while a subscription is ending waits for its end, so that
// a server which ends all with one does not end the new one.
func TestFeedWaits(t *testing.T) {
	for name, end := range map[string]func(p *hubtest.Program, m message.Message){
		"answered": func(p *hubtest.Program, m message.Message) { p.Answer(m, `{"resultType":"complete"}`) },
		"silent":   func(*hubtest.Program, message.Message) { time.Sleep(subscriptionEnds) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h, started := kit.Programs(t, hubtest.Stateless, servers.Config{})
				a := hubtest.Send(t, h, hubtest.Ask("1", "subscriptions/listen", hubtest.OnlyTools))
				synctest.Wait()
				p := <-started
				first := p.Next(t, "subscriptions/listen")
				p.AgreeAll(first)
				a.Leave()
				synctest.Wait()
				p.Next(t, "notifications/cancelled")
				b := hubtest.Send(t, h, hubtest.Ask("2", "subscriptions/listen", hubtest.OnlyTools))
				gone := hubtest.Send(t, h, hubtest.Ask("3", "subscriptions/listen", hubtest.OnlyTools))
				synctest.Wait()
				p.GotNothing(t)
				gone.Leave()
				end(p, first)
				second := p.Next(t, "subscriptions/listen")
				p.AgreeAll(second)
				p.Emit("%s", hubtest.NotificationOf(string(second.RawID), hubtest.ToolsChanged, ""))
				synctest.Wait()
				b.Wants(t, 200, hubtest.NotificationOf("2", hubtest.Acknowledged, ","+hubtest.OnlyTools), hubtest.NotificationOf("2", hubtest.ToolsChanged, ""))
				p.GotNothing(t)
			})
		})
	}
}

// Rule D5: a server says what it agrees to, refuses, and ends subscriptions itself, and
// each client hears that of its own.
func TestFeedEnds(t *testing.T) {
	const both = `"notifications":{"toolsListChanged":true,"resourceSubscriptions":["x:1"]}`
	for name, tc := range map[string]struct {
		does func(p *hubtest.Program, m message.Message)
		want []string // of the client with id "l"
		over bool
	}{
		"agrees to a part": {
			func(p *hubtest.Program, m message.Message) {
				p.Emit("%s", hubtest.NotificationOf(string(m.RawID), hubtest.Acknowledged, `,"notifications":{"toolsListChanged":true}`))
				p.Emit("%s", hubtest.NotificationOf(string(m.RawID), hubtest.Updated, `,"uri":"x:1"`))
				p.Emit("%s", hubtest.NotificationOf(string(m.RawID), hubtest.ToolsChanged, ""))
			},
			[]string{hubtest.NotificationOf(`"l"`, hubtest.Acknowledged, `,"notifications":{"toolsListChanged":true}`), hubtest.NotificationOf(`"l"`, hubtest.ToolsChanged, "")},
			false,
		},
		"agrees to nothing": {
			func(p *hubtest.Program, m message.Message) {
				p.Emit("%s", hubtest.NotificationOf(string(m.RawID), hubtest.Acknowledged, `,"notifications":{}`))
				p.Answer(m, fmt.Sprintf(`{"_meta":{%q:%s}}`, mcp.MetaSubscription, m.RawID))
			},
			[]string{hubtest.NotificationOf(`"l"`, hubtest.Acknowledged, `,"notifications":{}`), fmt.Sprintf(`{"jsonrpc":"2.0","id":"l","result":{"_meta":{%q:"l"}}}`, mcp.MetaSubscription)},
			true,
		},
		"does not say what it agrees to": {
			func(p *hubtest.Program, m message.Message) {
				p.Emit("%s", hubtest.NotificationOf(string(m.RawID), hubtest.Acknowledged, ""))
				p.Emit("%s", hubtest.NotificationOf(string(m.RawID), hubtest.ToolsChanged, ""))
			},
			[]string{hubtest.NotificationOf(`"l"`, hubtest.Acknowledged, ""), hubtest.NotificationOf(`"l"`, hubtest.ToolsChanged, "")},
			false,
		},
		"refuses": {
			func(p *hubtest.Program, m message.Message) {
				p.Emit(`{"jsonrpc":"2.0","id":%s,"error":{"code":-32601,"message":"no","data":1}}`, m.RawID)
			},
			[]string{`{"jsonrpc":"2.0","id":"l","error":{"code":-32601,"message":"no","data":1}}`},
			true,
		},
		"cancels": {
			func(p *hubtest.Program, m message.Message) {
				p.AgreeAll(m)
				p.Emit(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":%s}}`, m.RawID)
			},
			[]string{hubtest.NotificationOf(`"l"`, hubtest.Acknowledged, ","+both), `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"l"}}`},
			true,
		},
		"ends": {
			func(p *hubtest.Program, m message.Message) {
				p.AgreeAll(m)
				p.Answer(m, `{}`)
			},
			[]string{hubtest.NotificationOf(`"l"`, hubtest.Acknowledged, ","+both), `{"jsonrpc":"2.0","id":"l","result":{}}`},
			true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h, started := kit.Programs(t, hubtest.Stateless, servers.Config{})
				a := hubtest.Send(t, h, hubtest.Ask(`"l"`, "subscriptions/listen", both))
				synctest.Wait()
				p := <-started
				tc.does(p, p.Next(t, "subscriptions/listen"))
				synctest.Wait()
				status := 200
				if name == "refuses" {
					status = 404
				}
				a.Wants(t, status, tc.want...)
				if a.Over() != tc.over {
					t.Errorf("over: %t", a.Over())
				}
				p.GotNothing(t)
				// The next one is not held up by what is over.
				b := hubtest.Send(t, h, hubtest.Ask("2", "subscriptions/listen", both))
				synctest.Wait()
				if tc.over {
					p.AgreeAll(p.Next(t, "subscriptions/listen"))
					synctest.Wait()
				}
				if got := b.Messages(); len(got) != 1 {
					t.Errorf("got %q", got)
				}
			})
		})
	}
}

// Rule D5: what one client writes into a filter ends nothing that others listen to: there
// are servers that end all subscriptions with one that asks for nothing. It is answered,
// and what nobody knows, or is too much to keep, does not reach the server.
func TestFeedFilters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, started := kit.Programs(t, hubtest.Stateless, servers.Config{})
		other := hubtest.Send(t, h, hubtest.Ask("0", "subscriptions/listen", hubtest.OnlyTools))
		synctest.Wait()
		p := <-started
		m := p.Next(t, "subscriptions/listen")
		p.AgreeAll(m)
		long := `"notifications":{"toolsListChanged":true,"resourceSubscriptions":["` + strings.Repeat("x", translate.MaxFilter) + `"]}`
		many := `"notifications":{"resourceSubscriptions":["0"`
		for i := range translate.MaxWatched {
			many += fmt.Sprintf(`,"%d"`, i+1)
		}
		for _, bad := range []string{"", `"notifications":null`, `"notifications":[]`, `"notifications":{"toolsListChanged":1}`, long, many + "]}"} {
			c := hubtest.Send(t, h, hubtest.Ask("1", "subscriptions/listen", bad))
			if !c.Over() || c.Code != 200 || !strings.Contains(c.Body.String(), "-32602") {
				t.Errorf("%.60s: %d %.200s", bad, c.Code, c.Body)
			}
		}
		for _, empty := range []string{`{}`, `{"toolsListChanged":false}`, `{"vendor":true}`} {
			c := hubtest.Send(t, h, hubtest.Ask("2", "subscriptions/listen", `"notifications":`+empty))
			synctest.Wait()
			c.Wants(t, 200, fmt.Sprintf(`{"jsonrpc":"2.0","method":%q,"params":{"notifications":{},"_meta":{%q:2}}}`, hubtest.Acknowledged, mcp.MetaSubscription))
			c.Leave()
		}
		known := hubtest.Send(t, h, hubtest.Ask("3", "subscriptions/listen", `"notifications":{"vendor":true,"toolsListChanged":true}`))
		synctest.Wait()
		p.GotNothing(t)
		p.Emit("%s", hubtest.NotificationOf(string(m.RawID), hubtest.ToolsChanged, ""))
		synctest.Wait()
		known.Wants(t, 200, hubtest.NotificationOf("3", hubtest.Acknowledged, ","+hubtest.OnlyTools), hubtest.NotificationOf("3", hubtest.ToolsChanged, ""))
		other.Wants(t, 200, hubtest.NotificationOf("0", hubtest.Acknowledged, ","+hubtest.OnlyTools), hubtest.NotificationOf("0", hubtest.ToolsChanged, ""))

		part := hubtest.Send(t, h, hubtest.Ask("4", "subscriptions/listen", `"notifications":{"vendor":true,"promptsListChanged":true}`))
		synctest.Wait()
		if got := string(message.Get(p.Next(t, "subscriptions/listen").Raw, "params", "notifications")); got != `{"promptsListChanged":true}` {
			t.Errorf("the server is asked for %s", got)
		}
		part.Leave()
	})
}

// Rule D5: a server that says what it is capable of is not asked for more, as what it
// says to that may end what others listen to.
func TestFeedOffers(t *testing.T) {
	for name, tc := range map[string]struct{ capabilities, wanted, asked, acknowledged string }{
		"a part":      {`{"tools":{"listChanged":true}}`, `{"toolsListChanged":true,"promptsListChanged":true}`, `{"toolsListChanged":true}`, `{"toolsListChanged":true}`},
		"other parts": {`{"tools":{"listChanged":true}}`, `{"promptsListChanged":true,"resourceSubscriptions":["x:1"]}`, "", `{}`},
		"resources":   {`{"resources":{"subscribe":true}}`, `{"resourcesListChanged":true,"resourceSubscriptions":["x:1"]}`, `{"resourceSubscriptions":["x:1"]}`, `{"resourceSubscriptions":["x:1"]}`},
		"nothing":     {`{"tools":{}}`, `{"toolsListChanged":true}`, `{"toolsListChanged":true}`, `{"toolsListChanged":true}`},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h, started := kit.Programs(t, hubtest.Stateless, servers.Config{})
				first := hubtest.Send(t, h, hubtest.Ask("1", "server/discover", ""))
				synctest.Wait()
				p := <-started
				p.Answer(p.Next(t, "server/discover"), `{"resultType":"complete","supportedVersions":["2026-07-28"],"capabilities":`+tc.capabilities+`}`)
				if !first.Over() {
					t.Fatal("not answered")
				}
				a := hubtest.Send(t, h, hubtest.Ask("2", "subscriptions/listen", `"notifications":`+tc.wanted))
				synctest.Wait()
				if tc.asked != "" {
					m := p.Next(t, "subscriptions/listen")
					if got := string(message.Get(m.Raw, "params", "notifications")); got != tc.asked {
						t.Errorf("asked for %s, want %s", got, tc.asked)
					}
					p.AgreeAll(m)
				}
				p.GotNothing(t)
				got := a.Messages()
				if len(got) != 1 || string(message.Get([]byte(got[0]), "params", "notifications")) != tc.acknowledged || a.Over() {
					t.Errorf("got %q, want %s", got, tc.acknowledged)
				}
			})
		})
	}
}
