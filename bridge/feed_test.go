package bridge

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
)

// of is a notification of a subscription; rest are further members of its params.
func of(id, method, rest string) string {
	return fmt.Sprintf(`{"jsonrpc":"2.0","method":%q,"params":{"_meta":{%q:%s}%s}}`, method, metaSubscription, id, rest)
}

const (
	acknowledged = "notifications/subscriptions/acknowledged"
	toolsChanged = "notifications/tools/list_changed"
	updated      = "notifications/resources/updated"
	onlyTools    = `"notifications":{"toolsListChanged":true}`
)

// agreeAll acknowledges a subscription as it was asked for.
func (p *program) agreeAll(m message.Message) {
	p.say("%s", of(string(m.RawID), acknowledged, `,"notifications":`+string(message.Get(m.Raw, "params", "notifications"))))
}

// Rule D5: clients that want the same of a shared server share one subscription, each
// with its own id, and only what it wants. It ends with the last of them.
func TestFeedShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, started := programs(t, stateless, HubConfig{})
		a := send(t, h, ask("1", "subscriptions/listen", onlyTools))
		synctest.Wait()
		p := <-started
		m := p.next(t, "subscriptions/listen")
		b := send(t, h, ask(`"1"`, "subscriptions/listen", onlyTools))
		synctest.Wait()
		p.gotNothing(t)
		p.say("%s", of(string(m.RawID), toolsChanged, "")) // before it is acknowledged
		p.agreeAll(m)
		p.say("%s", of("1000", toolsChanged, ""))
		p.say("%s", of(string(m.RawID), toolsChanged, ""))
		p.say("%s", of(string(m.RawID), "notifications/prompts/list_changed", "")) // nobody wants it
		p.say("%s", of(string(m.RawID), "notifications/vendor", ""))               // could be anybody's
		synctest.Wait()
		a.wants(t, 200, of("1", acknowledged, ","+onlyTools), of("1", toolsChanged, ""))
		b.wants(t, 200, of(`"1"`, acknowledged, ","+onlyTools), of(`"1"`, toolsChanged, ""))

		c := send(t, h, ask("3", "subscriptions/listen", `"notifications":{"toolsListChanged":true,"resourceSubscriptions":["x:1"]}`))
		synctest.Wait()
		more := p.next(t, "subscriptions/listen")
		if got := string(message.Get(more.Raw, "params", "notifications")); got != `{"resourceSubscriptions":["x:1"]}` {
			t.Errorf("asked for %s", got)
		}
		p.agreeAll(more)
		p.say("%s", of(string(more.RawID), updated, `,"uri":"x:1"`))
		p.say("%s", of(string(more.RawID), updated, `,"uri":"x:2"`))
		synctest.Wait()
		c.wants(t, 200, of("3", acknowledged, `,"notifications":{"toolsListChanged":true,"resourceSubscriptions":["x:1"]}`), of("3", updated, `,"uri":"x:1"`))

		a.leave()
		c.leave()
		synctest.Wait()
		p.gotNothing(t) // another still listens
		b.leave()
		synctest.Wait()
		ended := map[message.Key]bool{p.next(t, "notifications/cancelled").Cancels: true, p.next(t, "notifications/cancelled").Cancels: true}
		if !ended[m.ID] || !ended[more.ID] {
			t.Errorf("ended %v", ended)
		}
	})
}

// Rule D5: what is asked for while a subscription is ending waits for its end, so that
// a server which ends all with one does not end the new one.
func TestFeedWaits(t *testing.T) {
	for name, end := range map[string]func(p *program, m message.Message){
		"answered": func(p *program, m message.Message) { p.answer(m, `{"resultType":"complete"}`) },
		"silent":   func(*program, message.Message) { time.Sleep(feedEnds) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h, started := programs(t, stateless, HubConfig{})
				a := send(t, h, ask("1", "subscriptions/listen", onlyTools))
				synctest.Wait()
				p := <-started
				first := p.next(t, "subscriptions/listen")
				p.agreeAll(first)
				a.leave()
				synctest.Wait()
				p.next(t, "notifications/cancelled")
				b := send(t, h, ask("2", "subscriptions/listen", onlyTools))
				gone := send(t, h, ask("3", "subscriptions/listen", onlyTools))
				synctest.Wait()
				p.gotNothing(t)
				gone.leave()
				end(p, first)
				second := p.next(t, "subscriptions/listen")
				p.agreeAll(second)
				p.say("%s", of(string(second.RawID), toolsChanged, ""))
				synctest.Wait()
				b.wants(t, 200, of("2", acknowledged, ","+onlyTools), of("2", toolsChanged, ""))
				p.gotNothing(t)
			})
		})
	}
}

// Rule D5: a server says what it agrees to, refuses, and ends subscriptions itself, and
// each client hears that of its own.
func TestFeedEnds(t *testing.T) {
	const both = `"notifications":{"toolsListChanged":true,"resourceSubscriptions":["x:1"]}`
	for name, tc := range map[string]struct {
		does func(p *program, m message.Message)
		want []string // of the client with id "l"
		over bool
	}{
		"agrees to a part": {
			func(p *program, m message.Message) {
				p.say("%s", of(string(m.RawID), acknowledged, `,"notifications":{"toolsListChanged":true}`))
				p.say("%s", of(string(m.RawID), updated, `,"uri":"x:1"`))
				p.say("%s", of(string(m.RawID), toolsChanged, ""))
			},
			[]string{of(`"l"`, acknowledged, `,"notifications":{"toolsListChanged":true}`), of(`"l"`, toolsChanged, "")},
			false,
		},
		"agrees to nothing": {
			func(p *program, m message.Message) {
				p.say("%s", of(string(m.RawID), acknowledged, `,"notifications":{}`))
				p.answer(m, fmt.Sprintf(`{"_meta":{%q:%s}}`, metaSubscription, m.RawID))
			},
			[]string{of(`"l"`, acknowledged, `,"notifications":{}`), fmt.Sprintf(`{"jsonrpc":"2.0","id":"l","result":{"_meta":{%q:"l"}}}`, metaSubscription)},
			true,
		},
		"does not say what it agrees to": {
			func(p *program, m message.Message) {
				p.say("%s", of(string(m.RawID), acknowledged, ""))
				p.say("%s", of(string(m.RawID), toolsChanged, ""))
			},
			[]string{of(`"l"`, acknowledged, ""), of(`"l"`, toolsChanged, "")},
			false,
		},
		"refuses": {
			func(p *program, m message.Message) {
				p.say(`{"jsonrpc":"2.0","id":%s,"error":{"code":-32601,"message":"no","data":1}}`, m.RawID)
			},
			[]string{`{"jsonrpc":"2.0","id":"l","error":{"code":-32601,"message":"no","data":1}}`},
			true,
		},
		"cancels": {
			func(p *program, m message.Message) {
				p.agreeAll(m)
				p.say(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":%s}}`, m.RawID)
			},
			[]string{of(`"l"`, acknowledged, ","+both), `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"l"}}`},
			true,
		},
		"ends": {
			func(p *program, m message.Message) {
				p.agreeAll(m)
				p.answer(m, `{}`)
			},
			[]string{of(`"l"`, acknowledged, ","+both), `{"jsonrpc":"2.0","id":"l","result":{}}`},
			true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h, started := programs(t, stateless, HubConfig{})
				a := send(t, h, ask(`"l"`, "subscriptions/listen", both))
				synctest.Wait()
				p := <-started
				tc.does(p, p.next(t, "subscriptions/listen"))
				synctest.Wait()
				status := 200
				if name == "refuses" {
					status = 404
				}
				a.wants(t, status, tc.want...)
				if a.over() != tc.over {
					t.Errorf("over: %t", a.over())
				}
				p.gotNothing(t)
				// The next one is not held up by what is over.
				b := send(t, h, ask("2", "subscriptions/listen", both))
				synctest.Wait()
				if tc.over {
					p.agreeAll(p.next(t, "subscriptions/listen"))
					synctest.Wait()
				}
				if got := b.messages(); len(got) != 1 {
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
		h, started := programs(t, stateless, HubConfig{})
		other := send(t, h, ask("0", "subscriptions/listen", onlyTools))
		synctest.Wait()
		p := <-started
		m := p.next(t, "subscriptions/listen")
		p.agreeAll(m)
		long := `"notifications":{"toolsListChanged":true,"resourceSubscriptions":["` + strings.Repeat("x", maxFilter) + `"]}`
		many := `"notifications":{"resourceSubscriptions":["0"`
		for i := range maxWatched {
			many += fmt.Sprintf(`,"%d"`, i+1)
		}
		for _, bad := range []string{"", `"notifications":null`, `"notifications":[]`, `"notifications":{"toolsListChanged":1}`, long, many + "]}"} {
			c := send(t, h, ask("1", "subscriptions/listen", bad))
			if !c.over() || c.Code != 200 || !strings.Contains(c.Body.String(), "-32602") {
				t.Errorf("%.60s: %d %.200s", bad, c.Code, c.Body)
			}
		}
		for _, empty := range []string{`{}`, `{"toolsListChanged":false}`, `{"vendor":true}`} {
			c := send(t, h, ask("2", "subscriptions/listen", `"notifications":`+empty))
			synctest.Wait()
			c.wants(t, 200, fmt.Sprintf(`{"jsonrpc":"2.0","method":%q,"params":{"notifications":{},"_meta":{%q:2}}}`, acknowledged, metaSubscription))
			c.leave()
		}
		known := send(t, h, ask("3", "subscriptions/listen", `"notifications":{"vendor":true,"toolsListChanged":true}`))
		synctest.Wait()
		p.gotNothing(t)
		p.say("%s", of(string(m.RawID), toolsChanged, ""))
		synctest.Wait()
		known.wants(t, 200, of("3", acknowledged, ","+onlyTools), of("3", toolsChanged, ""))
		other.wants(t, 200, of("0", acknowledged, ","+onlyTools), of("0", toolsChanged, ""))

		part := send(t, h, ask("4", "subscriptions/listen", `"notifications":{"vendor":true,"promptsListChanged":true}`))
		synctest.Wait()
		if got := string(message.Get(p.next(t, "subscriptions/listen").Raw, "params", "notifications")); got != `{"promptsListChanged":true}` {
			t.Errorf("the server is asked for %s", got)
		}
		part.leave()
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
				h, started := programs(t, stateless, HubConfig{})
				first := send(t, h, ask("1", "server/discover", ""))
				synctest.Wait()
				p := <-started
				p.answer(p.next(t, "server/discover"), `{"resultType":"complete","supportedVersions":["2026-07-28"],"capabilities":`+tc.capabilities+`}`)
				if !first.over() {
					t.Fatal("not answered")
				}
				a := send(t, h, ask("2", "subscriptions/listen", `"notifications":`+tc.wanted))
				synctest.Wait()
				if tc.asked != "" {
					m := p.next(t, "subscriptions/listen")
					if got := string(message.Get(m.Raw, "params", "notifications")); got != tc.asked {
						t.Errorf("asked for %s, want %s", got, tc.asked)
					}
					p.agreeAll(m)
				}
				p.gotNothing(t)
				got := a.messages()
				if len(got) != 1 || string(message.Get([]byte(got[0]), "params", "notifications")) != tc.acknowledged || a.over() {
					t.Errorf("got %q, want %s", got, tc.acknowledged)
				}
			})
		})
	}
}
