package bridge

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
)

const calls = `{"jsonrpc":"2.0","id":"x","method":"tools/call","params":{"name":"a","arguments":{"n":1.0}}}`

// Rule D3: what a stateless server asks the client for reaches it in requests, on the
// stream of its own; the answers go with that request, sent again under another id.
func TestRounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, p, id := behind(t, allDeclared)
		other := post(t, h, id, `{"jsonrpc":"2.0","id":"o","method":"tools/call","params":{"name":"b"}}`)
		p.next(t, "tools/call")
		c := post(t, h, id, calls)
		post(t, h, id, `{"jsonrpc":"2.0","id":"p","method":"tools/call","params":{"name":"b"}}`)
		first := p.next(t, "tools/call")
		p.next(t, "tools/call")
		p.answer(first, `{"resultType":"input_required","requestState":"s\u0031","inputRequests":{
			"b":{"method":"elicitation/create","params":{"mode":"url","url":"https://a","message":"m","x":1.0}},
			"a":{"method":"sampling/createMessage","params":{"messages":[]}},"c":{"method":"roots/list"}}}`)
		ids := idsOf(t, c)
		if len(ids) != 3 {
			t.Fatalf("got %q", c.messages())
		}
		for _, raw := range c.messages() {
			if strings.Contains(raw, "elicitation") && (!strings.Contains(raw, `"params":{"elicitationId":"`) || !strings.Contains(raw, `"x":1.0`)) {
				t.Errorf("got %s", raw)
			}
			if strings.Contains(raw, "roots") && raw != `{"jsonrpc":"2.0","id":`+ids["roots/list"]+`,"method":"roots/list"}` {
				t.Errorf("got %s", raw)
			}
		}
		for _, answer := range []string{
			`{"jsonrpc":"2.0","id":` + ids["roots/list"] + `,"result":{"roots":[]}}`,
			`{"jsonrpc":"2.0","id":` + ids["roots/list"] + `,"result":{"roots":["again"]}}`,
			`{"jsonrpc":"2.0","id":"unknown","result":{}}`,
			`{"jsonrpc":"2.0","id":` + ids["elicitation/create"] + `,"result":{"action":"accept"}}`,
		} {
			if r := post(t, h, id, answer); r.Code != http.StatusAccepted {
				t.Errorf("got %d %s", r.Code, r.Body)
			}
		}
		p.gotNothing(t)
		post(t, h, id, `{"jsonrpc":"2.0","id":`+ids["sampling/createMessage"]+`,"result":{"model":"m","n":1.0}}`)
		second := p.next(t, "tools/call")
		if second.ID == first.ID {
			t.Error("the id is used again")
		}
		params := func(m message.Message) string {
			return string(message.Get(message.Remove(m.Raw, "params", "_meta"), "params"))
		}
		want := `{"inputResponses":{"a":{"model":"m","n":1.0},"b":{"action":"accept"},"c":{"roots":[]}},"requestState":"s\u0031","name":"a","arguments":{"n":1.0}}`
		if got := params(second); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
		// Another round without a state: the old one is not sent again.
		p.answer(second, `{"resultType":"input_required","inputRequests":{"d":{"method":"roots/list","params":{}}}}`)
		last := idsOf(t, c)["roots/list"]
		post(t, h, id, `{"jsonrpc":"2.0","id":`+last+`,"result":{"roots":[1]}}`)
		third := p.next(t, "tools/call")
		if got := params(third); got != `{"inputResponses":{"d":{"roots":[1]}},"name":"a","arguments":{"n":1.0}}` {
			t.Errorf("got %s", got)
		}
		p.answer(third, `{"resultType":"complete","ok":1}`)
		got := c.messages()
		if len(got) != 5 || got[4] != `{"jsonrpc":"2.0","id":"x","result":{"resultType":"complete","ok":1}}` {
			t.Errorf("got %q", got)
		}
		if got := other.messages(); len(got) != 0 {
			t.Errorf("another request got %q", got)
		}
	})
}

// A request for input that a stateless server may not send, or not to this client, is
// an error to whoever waits.
func TestRoundsRefused(t *testing.T) {
	var many strings.Builder
	for n := range maxInputs + 1 {
		fmt.Fprintf(&many, `"%d":{"method":"roots/list"},`, n)
	}
	for name, tc := range map[string]struct{ capabilities, method, result string }{
		"not declared":       {`{"sampling":{}}`, "tools/call", `"inputRequests":{"a":{"method":"elicitation/create","params":{}}}`},
		"no such capability": {allDeclared, "tools/call", `"inputRequests":{"a":{"method":"vendor/x","params":{}}}`},
		"no URLs":            {`{"elicitation":{}}`, "tools/call", `"inputRequests":{"a":{"method":"elicitation/create","params":{"mode":"url","url":"a:"}}}`},
		"no forms":           {`{"elicitation":{"url":{}}}`, "tools/call", `"inputRequests":{"a":{"method":"elicitation/create","params":{}}}`},
		"no tools":           {`{"sampling":{}}`, "tools/call", `"inputRequests":{"a":{"method":"sampling/createMessage","params":{"tools":[]}}}`},
		"one of two":         {`{"roots":{}}`, "tools/call", `"inputRequests":{"a":{"method":"roots/list"},"b":{"method":"sampling/createMessage"}}`},
		"of another method":  {allDeclared, "tools/list", `"inputRequests":{"a":{"method":"roots/list"}}`},
		"nothing":            {allDeclared, "tools/call", `"x":1`},
		"a list":             {allDeclared, "tools/call", `"inputRequests":[1]`},
		"no requests":        {allDeclared, "tools/call", `"inputRequests":{"a":1}`},
		"too many":           {allDeclared, "tools/call", `"inputRequests":{` + strings.TrimSuffix(many.String(), ",") + `}`},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h, p, id := behind(t, tc.capabilities)
				c := post(t, h, id, `{"jsonrpc":"2.0","id":"x","method":"`+tc.method+`","params":{"name":"a"}}`)
				p.answer(p.next(t, tc.method), `{"resultType":"input_required",`+tc.result+`}`)
				if got := c.messages(); len(got) != 1 || !strings.Contains(got[0], `"id":"x","error":{"code":-32603`) || !c.over() {
					t.Errorf("got %q", got)
				}
				p.gotNothing(t)
			})
		})
	}
}

// A server that never has enough ends in an error, whether it asks for input or for
// time.
func TestRoundsForEver(t *testing.T) {
	for name, required := range map[string]string{
		"input": `{"resultType":"input_required","inputRequests":{"a":{"method":"roots/list"}}}`,
		"time":  `{"resultType":"input_required","requestState":"s"}`,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h, p, id := behind(t, allDeclared)
				c := post(t, h, id, calls)
				asked := 0
				for !c.over() {
					asked++
					if asked > maxRounds+1 {
						t.Fatal("there is no end")
					}
					m := <-p.got // the bridge may wait before that
					if name == "time" && (asked > 1) != (message.Text(m.Raw, "params", "requestState") == "s") {
						t.Errorf("got %s", m.Raw)
					}
					p.answer(m, required)
					if name == "input" && !c.over() {
						post(t, h, id, `{"jsonrpc":"2.0","id":`+idsOf(t, c)["roots/list"]+`,"result":{"roots":[]}}`)
					}
				}
				got := c.messages()
				if asked != maxRounds+1 || !strings.Contains(got[len(got)-1], `"id":"x","error"`) {
					t.Errorf("after %d rounds got %q", asked, got[len(got)-1])
				}
			})
		})
	}
}

// A client that answers with an error, or takes its request back, ends it; what it says
// afterwards is nobody's.
func TestRoundsEnd(t *testing.T) {
	for name, end := range map[string]string{
		"an error":    `{"jsonrpc":"2.0","id":%s,"error":{"code":-1,"message":"user says no"}}`,
		"cancelled":   `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"x"}}`,
		"nobody read": "",
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h, p, id := behind(t, allDeclared)
				c := post(t, h, id, calls)
				p.answer(p.next(t, "tools/call"), `{"resultType":"input_required","inputRequests":{"a":{"method":"roots/list"},"b":{"method":"sampling/createMessage"}}}`)
				ids := idsOf(t, c)
				switch {
				case strings.Contains(end, "%s"):
					post(t, h, id, fmt.Sprintf(end, ids["roots/list"]))
					if got := c.messages(); !strings.Contains(got[len(got)-1], "user says no") {
						t.Errorf("got %q", got)
					}
				case end != "":
					post(t, h, id, end)
				default: // its request goes unread, which is answered in its place
					h.find(id).send([][]byte{message.Error([]byte(ids["roots/list"]), message.CodeInternal, "it went unread")})
				}
				if !c.over() {
					t.Error("the request is not over")
				}
				post(t, h, id, `{"jsonrpc":"2.0","id":`+ids["sampling/createMessage"]+`,"result":{}}`)
				p.gotNothing(t)
			})
		})
	}
}

// Rule D3: one subscriptions/listen at a time says what the client wants to hear of; the
// next has the place of the last once the server agrees.
func TestListener(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, p, id := behind(t, `{}`)
		general := get(t, h, id)
		first := "1" // of the test's own knowledge: the first request after server/discover
		subscribe := func(method, uri string) *pending {
			return post(t, h, id, `{"jsonrpc":"2.0","id":"`+uri+`","method":"resources/`+method+`","params":{"uri":"`+uri+`"}}`)
		}
		a := subscribe("subscribe", "a:")
		if got := a.messages(); len(got) != 0 {
			t.Errorf("it is answered before the server agrees: %q", got)
		}
		second := p.agree(t, `["a:"]`)
		a.wants(t, 200, `{"jsonrpc":"2.0","id":"a:","result":{}}`)
		if m := p.next(t, "notifications/cancelled"); m.Cancels == second.ID {
			t.Error("the new subscription is given up")
		} else {
			first = string(m.Cancels[1:])
		}
		changed := func(method, params, subscription string) {
			p.say(`{"jsonrpc":"2.0","method":"notifications/%s","params":{"_meta":{%q:%s}%s}}`, method, metaSubscription, subscription, params)
		}
		changed("tools/list_changed", "", first)            // of the one before
		changed("prompts/list_changed", "", "2147483647")   // of none
		changed("resources/updated", `,"uri":"b:"`, "null") // of what nobody wants
		changed("tools/list_changed", `,"x":1.0`, string(second.RawID))
		changed("resources/updated", `,"uri":"a:/below"`, string(second.RawID))
		general.wants(t, 200, `{"jsonrpc":"2.0","method":"notifications/tools/list_changed","params":{"x":1.0}}`,
			`{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"a:/below"}}`)

		subscribe("subscribe", "a:").wants(t, 200, `{"jsonrpc":"2.0","id":"a:","result":{}}`)
		p.gotNothing(t)
		b, c := subscribe("subscribe", "b:"), subscribe("subscribe", "c:")
		p.next(t, "subscriptions/listen") // which the next stands for as well
		p.agree(t, `["a:","b:","c:"]`)
		b.wants(t, 200, `{"jsonrpc":"2.0","id":"b:","result":{}}`)
		c.wants(t, 200, `{"jsonrpc":"2.0","id":"c:","result":{}}`)
		p.next(t, "notifications/cancelled")
		p.next(t, "notifications/cancelled")

		subscribe("unsubscribe", "a:").wants(t, 200, `{"jsonrpc":"2.0","id":"a:","result":{}}`)
		p.agree(t, `["b:","c:"]`)
		p.next(t, "notifications/cancelled")
		p.gotNothing(t)
	})
}

// Subscriptions that the server refuses, does not agree to, or says nothing to, are
// errors to whoever asked, and leave the others as they are.
func TestListenerRefused(t *testing.T) {
	for name, answer := range map[string]func(p *program, m message.Message){
		"an error": func(p *program, m message.Message) {
			p.say(`{"jsonrpc":"2.0","id":%s,"error":{"code":-32602,"message":"no"}}`, m.RawID)
		},
		"not granted": func(p *program, m message.Message) {
			p.say(`{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{"_meta":{%q:%s},"notifications":{"toolsListChanged":true}}}`, metaSubscription, m.RawID)
		},
		"an end": func(p *program, m message.Message) { p.answer(m, `{"resultType":"complete"}`) },
		"given up": func(p *program, m message.Message) {
			p.say(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":%s}}`, m.RawID)
		},
		"silence": func(_ *program, _ message.Message) { time.Sleep(askWithin) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h, p, id := behind(t, `{}`)
				c := post(t, h, id, `{"jsonrpc":"2.0","id":"x","method":"resources/subscribe","params":{"uri":"a:"}}`)
				answer(p, p.next(t, "subscriptions/listen"))
				if got := c.messages(); len(got) != 1 || !strings.Contains(got[0], `"id":"x","error"`) {
					t.Errorf("got %q", got)
				}
				switch name {
				case "not granted", "silence":
					p.next(t, "notifications/cancelled")
				}
				p.gotNothing(t)
				c = post(t, h, id, `{"jsonrpc":"2.0","id":"y","method":"resources/subscribe","params":{"uri":"b:"}}`)
				p.agree(t, `["b:"]`)
				c.wants(t, 200, `{"jsonrpc":"2.0","id":"y","result":{}}`)
			})
		})
	}
}

// A subscription that the server ends is asked for again, later each time, and not for
// ever; one that it does not know, never.
func TestListenerEnds(t *testing.T) {
	for name, tc := range map[string]struct {
		end   string
		again int
	}{
		"ended":       {`{"jsonrpc":"2.0","id":%s,"result":{"resultType":"complete"}}`, maxResumes},
		"not now":     {`{"jsonrpc":"2.0","id":%s,"error":{"code":-32603,"message":"no"}}`, maxResumes},
		"cancelled":   {`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":%s}}`, maxResumes},
		"not known":   {`{"jsonrpc":"2.0","id":%s,"error":{"code":-32601,"message":"no"}}`, 1},
		"not offered": {"", 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h, p, id := behind(t, `{}`)
				synctest.Wait()
				s := h.find(id)
				s.facade.mu.Lock()
				last := s.facade.listener.listens[0].id
				s.facade.mu.Unlock()
				if tc.end == "" {
					s.facade.server.capabilities = []byte(`{}`)
					tc.end = `{"jsonrpc":"2.0","id":%s,"result":{}}`
				}
				again := 0
				for begun := time.Now(); time.Since(begun) < time.Hour; time.Sleep(time.Second) {
					p.say(tc.end, last[1:])
					synctest.Wait()
					select {
					case m := <-p.got:
						again++
						last = m.ID
					default:
					}
				}
				if again != tc.again {
					t.Errorf("it was asked for %d times more, want %d", again, tc.again)
				}
				if n := len(s.facade.errands); n != 0 {
					t.Errorf("%d requests are left", n)
				}
			})
		})
	}
}

// get opens a session's own stream.
func get(t *testing.T, h *Hub, id string) *pending {
	t.Helper()
	return open(t, h, http.MethodGet, id, "")
}
