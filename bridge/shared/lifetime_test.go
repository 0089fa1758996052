package shared

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/servers"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/translate"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/hubtest"
)

// D3: a client that comes back with what it was asked for, in the very moment in which
// its time is up, gets its answer or is told that it is too late. It never waits for
// nothing.
func TestInputInTheLastMoment(t *testing.T) {
	back, late := 0, 0
	for range 300 {
		synctest.Test(t, func(t *testing.T) {
			h, started := kit.Programs(t, hubtest.Handshakes, servers.Config{Idle: time.Hour})
			p := warm(t, h, started)
			a := hubtest.Send(t, h, hubtest.Ask("1", "tools/call", `"name":"t"`))
			m := p.Next(t, "tools/call")
			p.Emit(`{"jsonrpc":"2.0","id":"s","method":"roots/list"}`)
			if !a.Over() {
				t.Fatal("the client is not asked")
			}
			state := message.Text(a.Body.Bytes(), "result", "requestState")
			time.Sleep(waitForInput)
			b := hubtest.Send(t, h, hubtest.Ask("2", "tools/call", `"name":"t","requestState":"`+state+`","inputResponses":{"input-1":{"roots":[]}}`))
			synctest.Wait()
			p.Answer(m, `{"x":1}`)
			if !b.Over() {
				t.Fatal("the client waits for nothing")
			}
			switch got := b.Body.String(); {
			case strings.Contains(got, `"x":1`):
				back++
			case strings.Contains(got, "requestState is not known"):
				late++
			default:
				t.Fatalf("got %s", got)
			}
		})
	}
	t.Logf("%d were in time, %d were not", back, late)
}

// D6: a server is not shared for longer than its lifetime, although there always is a
// subscription, or another request. What is under way has a minute; who comes meanwhile
// gets another server, which subscriptions are asked for again at.
func TestLifetimeOfShared(t *testing.T) {
	for name, kind := range map[string]hubtest.Nature{"of all": hubtest.Stateless, "of one owner": hubtest.Handshakes} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h, started := kit.Programs(t, kind, servers.Config{Lifetime: time.Hour, Idle: 10 * time.Minute, KeepAlive: 100 * time.Hour})
				p := warm(t, h, started)
				listen := func(p *hubtest.Program) *hubtest.Pending {
					l := hubtest.Send(t, h, hubtest.Ask(`"l"`, "subscriptions/listen", hubtest.OnlyTools))
					synctest.Wait()
					if kind == hubtest.Stateless {
						p.AgreeAll(p.Next(t, "subscriptions/listen"))
					}
					if got := l.Messages(); len(got) != 1 || !strings.Contains(got[0], "acknowledged") {
						t.Fatalf("got %q", got)
					}
					return l
				}
				l := listen(p)
				time.Sleep(time.Hour - time.Second)
				slow := hubtest.Send(t, h, hubtest.Ask("1", "tools/call", `"name":"t"`))
				m := p.Next(t, "tools/call")
				never := hubtest.Send(t, h, hubtest.Ask("2", "tools/call", `"name":"never"`))
				p.Next(t, "tools/call")
				time.Sleep(time.Second)
				if !l.Over() {
					t.Fatal("the subscription goes on")
				}
				// Who comes now begins another.
				next := hubtest.Send(t, h, hubtest.Ask("3", "tools/call", `"name":"t"`))
				synctest.Wait()
				q := <-started
				q.Answer(q.Next(t, "tools/call"), `{}`)
				if !next.Over() || next.Code != http.StatusOK {
					t.Errorf("who comes now got %d %s", next.Code, next.Body)
				}
				l = listen(q)
				for len(p.Got) > 0 {
					if m := <-p.Got; m.Method == "tools/call" {
						t.Errorf("the old server got %s", m.Raw)
					}
				}
				time.Sleep(30 * time.Second)
				p.Answer(m, `{"x":1}`)
				if !slow.Over() || !strings.Contains(slow.Body.String(), `"x":1`) {
					t.Errorf("what was under way got %d %s", slow.Code, slow.Body)
				}
				if never.Over() {
					t.Error("what is under way has no time left")
				}
				select {
				case <-p.Ended:
					t.Error("the old server has ended")
				default:
				}
				time.Sleep(30 * time.Second)
				synctest.Wait()
				select {
				case <-p.Ended:
				default:
					t.Error("the old server goes on")
				}
				if !never.Over() || !strings.Contains(never.Body.String(), "error") {
					t.Errorf("what takes too long got %d %s", never.Code, never.Body)
				}
				if l.Over() {
					t.Error("the subscription at the new server has ended")
				}
				l.Leave()
			})
		})
	}
}

// D6: at the end of its lifetime a server whose only requests are subscriptions ends at
// once, and its slot is free again.
func TestLifetimeOfSubscriptions(t *testing.T) {
	for _, kind := range []hubtest.Nature{hubtest.Stateless, hubtest.Handshakes} {
		synctest.Test(t, func(t *testing.T) {
			h, started := kit.Programs(t, kind, servers.Config{Lifetime: time.Hour, Sessions: 1, KeepAlive: 100 * time.Hour})
			p := warm(t, h, started)
			for i := range 5 {
				l := hubtest.Send(t, h, hubtest.Ask(fmt.Sprint(i), "subscriptions/listen", `"notifications":{"toolsListChanged":true}`))
				if l.Over() {
					t.Fatalf("got %d %s", l.Code, l.Body)
				}
			}
			time.Sleep(time.Hour)
			synctest.Wait()
			select {
			case <-p.Ended:
			default:
				t.Fatal("the server goes on")
			}
			if used, _ := h.servers.Slots(); used != 0 || h.Len() != 0 {
				t.Errorf("%d slots are taken", used)
			}
		})
	}
}

// G: the text of filters is bounded, of one and of all at a server.
func TestFilterBounds(t *testing.T) {
	long := strings.Repeat("x", translate.MaxFilter)
	for _, kind := range []hubtest.Nature{hubtest.Stateless, hubtest.Handshakes} {
		synctest.Test(t, func(t *testing.T) {
			h, started := kit.Programs(t, kind, servers.Config{})
			p := warm(t, h, started)
			w := hubtest.Send(t, h, hubtest.Ask("1", "subscriptions/listen", `"notifications":{"resourceSubscriptions":["`+long+`"]}`))
			if !w.Over() || !strings.Contains(w.Body.String(), `"code":-32602`) {
				t.Errorf("a filter that is too long: %d %.300s", w.Code, w.Body)
			}
			p.GotNothing(t)
			const n = maxFilters/(translate.MaxFilter/2) + 10
			refused := 0
			var open []*hubtest.Pending
			for i := range n {
				l := hubtest.Send(t, h, hubtest.Ask(fmt.Sprint(i+10), "subscriptions/listen", fmt.Sprintf(`"notifications":{"unknown":%q,"toolsListChanged":true}`, long[:translate.MaxFilter/2])))
				synctest.Wait()
				for kind == hubtest.Stateless && len(p.Got) > 0 {
					if m := <-p.Got; m.Method == "subscriptions/listen" {
						p.AgreeAll(m)
					}
				}
				if l.Over() && l.Code == http.StatusServiceUnavailable {
					refused++
				}
				open = append(open, l)
			}
			if refused < 10 || refused > 12 {
				t.Errorf("%d of %d were refused", refused, n)
			}
			for _, l := range open {
				l.Leave()
			}
			synctest.Wait()
			h.shared.mu.Lock()
			for _, c := range h.shared.byKey {
				if c.subscriptions.size != 0 {
					t.Errorf("%d bytes of filters are left", c.subscriptions.size)
				}
			}
			h.shared.mu.Unlock()
		})
	}
}
