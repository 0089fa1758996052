package hub

import (
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/mcp"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/translate"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/hubtest"
)

// Rule D3: one subscriptions/listen has all that the client wants to be notified of. A new
// one replaces it once the server acknowledges the new one.
func TestOneListenRequestHasAllSubscriptions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, p, id := kit.Behind(t, `{}`)
		general := hubtest.Get(t, h, id)
		first := "1" // of the test's own knowledge: the first request after server/discover
		subscribe := func(method, uri string) *hubtest.Pending {
			return hubtest.Post(t, h, id, `{"jsonrpc":"2.0","id":"`+uri+`","method":"resources/`+method+`","params":{"uri":"`+uri+`"}}`)
		}
		a := subscribe("subscribe", "a:")
		if got := a.Messages(); len(got) != 0 {
			t.Errorf("it is answered before the server agrees: %q", got)
		}
		second := p.Agree(t, `["a:"]`)
		a.Wants(t, 200, `{"jsonrpc":"2.0","id":"a:","result":{}}`)
		if m := p.Next(t, "notifications/cancelled"); m.Cancels == second.ID {
			t.Error("the new subscription is given up")
		} else {
			first = string(m.Cancels[1:])
		}
		changed := func(method, params, subscription string) {
			p.Emit(`{"jsonrpc":"2.0","method":"notifications/%s","params":{"_meta":{%q:%s}%s}}`, method, mcp.MetaSubscription, subscription, params)
		}
		changed("tools/list_changed", "", first)            // of the one before
		changed("prompts/list_changed", "", "2147483647")   // of none
		changed("resources/updated", `,"uri":"b:"`, "null") // of what nobody wants
		changed("tools/list_changed", `,"x":1.0`, string(second.RawID))
		changed("resources/updated", `,"uri":"a:/below"`, string(second.RawID))
		general.Wants(t, 200, `{"jsonrpc":"2.0","method":"notifications/tools/list_changed","params":{"x":1.0}}`,
			`{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"a:/below"}}`)

		subscribe("subscribe", "a:").Wants(t, 200, `{"jsonrpc":"2.0","id":"a:","result":{}}`)
		p.GotNothing(t)
		b, c := subscribe("subscribe", "b:"), subscribe("subscribe", "c:")
		p.Next(t, "subscriptions/listen") // which the next stands for as well
		p.Agree(t, `["a:","b:","c:"]`)
		b.Wants(t, 200, `{"jsonrpc":"2.0","id":"b:","result":{}}`)
		c.Wants(t, 200, `{"jsonrpc":"2.0","id":"c:","result":{}}`)
		p.Next(t, "notifications/cancelled")
		p.Next(t, "notifications/cancelled")

		subscribe("unsubscribe", "a:").Wants(t, 200, `{"jsonrpc":"2.0","id":"a:","result":{}}`)
		p.Agree(t, `["b:","c:"]`)
		p.Next(t, "notifications/cancelled")
		p.GotNothing(t)
	})
}

// A subscription that the server refuses, does not grant, or does not acknowledge is an
// error for its request. Other subscriptions are not affected.
func TestSubscriptionThatTheServerDoesNotTakeIsAnError(t *testing.T) {
	for name, answer := range map[string]func(p *hubtest.Program, m message.Message){
		"an error": func(p *hubtest.Program, m message.Message) {
			p.Emit(`{"jsonrpc":"2.0","id":%s,"error":{"code":-32602,"message":"no"}}`, m.RawID)
		},
		"not granted": func(p *hubtest.Program, m message.Message) {
			p.Emit(`{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{"_meta":{%q:%s},"notifications":{"toolsListChanged":true}}}`, mcp.MetaSubscription, m.RawID)
		},
		"an end": func(p *hubtest.Program, m message.Message) { p.Answer(m, `{"resultType":"complete"}`) },
		"given up": func(p *hubtest.Program, m message.Message) {
			p.Emit(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":%s}}`, m.RawID)
		},
		"silence": func(_ *hubtest.Program, _ message.Message) { time.Sleep(translate.AskWithin) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h, p, id := kit.Behind(t, `{}`)
				c := hubtest.Post(t, h, id, `{"jsonrpc":"2.0","id":"x","method":"resources/subscribe","params":{"uri":"a:"}}`)
				answer(p, p.Next(t, "subscriptions/listen"))
				if got := c.Messages(); len(got) != 1 || !strings.Contains(got[0], `"id":"x","error"`) {
					t.Errorf("got %q", got)
				}
				switch name {
				case "not granted", "silence":
					p.Next(t, "notifications/cancelled")
				}
				p.GotNothing(t)
				c = hubtest.Post(t, h, id, `{"jsonrpc":"2.0","id":"y","method":"resources/subscribe","params":{"uri":"b:"}}`)
				p.Agree(t, `["b:"]`)
				c.Wants(t, 200, `{"jsonrpc":"2.0","id":"y","result":{}}`)
			})
		})
	}
}

// Rule D4: if a subscription breaks and is refused when it is asked for again, the session
// ends. The client's next request gets the server's refusal.
func TestSubscriptionThatIsRefusedLaterEndsTheSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := &modern{t: t}
		broken := make(chan struct{})
		u.answer = func(w http.ResponseWriter, r *http.Request, m message.Message) bool {
			if m.Method != "subscriptions/listen" {
				return false
			}
			w.Header().Set("Content-Type", "text/event-stream")
			w.WriteHeader(http.StatusOK)
			select {
			case <-broken:
			case <-r.Context().Done():
			}
			return true
		}
		h, id := u.inFront(`{}`)
		u.deny("Bearer one")
		close(broken)
		<-hubtest.TranslatorOf(t, h).Done()
		synctest.Wait()
		if w := hubtest.Direct(t.Context(), h, "POST", id, `{"jsonrpc":"2.0","id":1,"method":"ping"}`, "Authorization", "Bearer one"); w.Code != http.StatusUnauthorized || !strings.Contains(w.Header().Get("WWW-Authenticate"), "invalid_token") {
			t.Errorf("got %d %q %s", w.Code, w.Header(), w.Body)
		}
		if w := hubtest.Direct(t.Context(), h, "POST", "", hubtest.InitializeOf(`{}`), "Authorization", "Bearer one"); w.Code != http.StatusUnauthorized {
			t.Errorf("got %d %s", w.Code, w.Body)
		}
	})
}
