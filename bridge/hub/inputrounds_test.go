package hub

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/hubtest"
)

const calls = `{"jsonrpc":"2.0","id":"x","method":"tools/call","params":{"name":"a","arguments":{"n":1.0}}}`

// Rule D3: a stateless server that needs input gets it: the client is sent requests on the
// stream of its own request. Its answers go with that request, which is sent again under
// another id.
func TestInputIsAskedOfTheClientAndSentWithTheRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, p, id := kit.Behind(t, hubtest.AllDeclared)
		other := hubtest.Post(t, h, id, `{"jsonrpc":"2.0","id":"o","method":"tools/call","params":{"name":"b"}}`)
		p.Next(t, "tools/call")
		c := hubtest.Post(t, h, id, calls)
		hubtest.Post(t, h, id, `{"jsonrpc":"2.0","id":"p","method":"tools/call","params":{"name":"b"}}`)
		first := p.Next(t, "tools/call")
		p.Next(t, "tools/call")
		p.Answer(first, `{"resultType":"input_required","requestState":"s\u0031","inputRequests":{
			"b":{"method":"elicitation/create","params":{"mode":"url","url":"https://a","message":"m","x":1.0}},
			"a":{"method":"sampling/createMessage","params":{"messages":[]}},"c":{"method":"roots/list"}}}`)
		ids := hubtest.IDsOf(t, c)
		if len(ids) != 3 {
			t.Fatalf("got %q", c.Messages())
		}
		for _, raw := range c.Messages() {
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
			if r := hubtest.Post(t, h, id, answer); r.Code != http.StatusAccepted {
				t.Errorf("got %d %s", r.Code, r.Body)
			}
		}
		p.GotNothing(t)
		hubtest.Post(t, h, id, `{"jsonrpc":"2.0","id":`+ids["sampling/createMessage"]+`,"result":{"model":"m","n":1.0}}`)
		second := p.Next(t, "tools/call")
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
		p.Answer(second, `{"resultType":"input_required","inputRequests":{"d":{"method":"roots/list","params":{}}}}`)
		last := hubtest.IDsOf(t, c)["roots/list"]
		hubtest.Post(t, h, id, `{"jsonrpc":"2.0","id":`+last+`,"result":{"roots":[1]}}`)
		third := p.Next(t, "tools/call")
		if got := params(third); got != `{"inputResponses":{"d":{"roots":[1]}},"name":"a","arguments":{"n":1.0}}` {
			t.Errorf("got %s", got)
		}
		p.Answer(third, `{"resultType":"complete","ok":1}`)
		got := c.Messages()
		if len(got) != 5 || got[4] != `{"jsonrpc":"2.0","id":"x","result":{"resultType":"complete","ok":1}}` {
			t.Errorf("got %q", got)
		}
		if got := other.Messages(); len(got) != 0 {
			t.Errorf("another request got %q", got)
		}
	})
}

// A stateless server may only ask for input with some methods, and for what the client has
// declared. Otherwise the client's request fails.
func TestRequestForInputThatIsNotAllowedFails(t *testing.T) {
	var many strings.Builder
	for n := range hubtest.MaxInputs + 1 {
		fmt.Fprintf(&many, `"%d":{"method":"roots/list"},`, n)
	}
	for name, tc := range map[string]struct{ capabilities, method, result string }{
		"not declared":       {`{"sampling":{}}`, "tools/call", `"inputRequests":{"a":{"method":"elicitation/create","params":{}}}`},
		"no such capability": {hubtest.AllDeclared, "tools/call", `"inputRequests":{"a":{"method":"vendor/x","params":{}}}`},
		"no URLs":            {`{"elicitation":{}}`, "tools/call", `"inputRequests":{"a":{"method":"elicitation/create","params":{"mode":"url","url":"a:"}}}`},
		"no forms":           {`{"elicitation":{"url":{}}}`, "tools/call", `"inputRequests":{"a":{"method":"elicitation/create","params":{}}}`},
		"no tools":           {`{"sampling":{}}`, "tools/call", `"inputRequests":{"a":{"method":"sampling/createMessage","params":{"tools":[]}}}`},
		"one of two":         {`{"roots":{}}`, "tools/call", `"inputRequests":{"a":{"method":"roots/list"},"b":{"method":"sampling/createMessage"}}`},
		"of another method":  {hubtest.AllDeclared, "tools/list", `"inputRequests":{"a":{"method":"roots/list"}}`},
		"nothing":            {hubtest.AllDeclared, "tools/call", `"x":1`},
		"a list":             {hubtest.AllDeclared, "tools/call", `"inputRequests":[1]`},
		"no requests":        {hubtest.AllDeclared, "tools/call", `"inputRequests":{"a":1}`},
		"too many":           {hubtest.AllDeclared, "tools/call", `"inputRequests":{` + strings.TrimSuffix(many.String(), ",") + `}`},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h, p, id := kit.Behind(t, tc.capabilities)
				c := hubtest.Post(t, h, id, `{"jsonrpc":"2.0","id":"x","method":"`+tc.method+`","params":{"name":"a"}}`)
				p.Answer(p.Next(t, tc.method), `{"resultType":"input_required",`+tc.result+`}`)
				if got := c.Messages(); len(got) != 1 || !strings.Contains(got[0], `"id":"x","error":{"code":-32603`) || !c.Over() {
					t.Errorf("got %q", got)
				}
				p.GotNothing(t)
			})
		})
	}
}

// A server that asks for input or for time again and again ends in an error.
func TestInputRoundsAreBounded(t *testing.T) {
	for name, required := range map[string]string{
		"input": `{"resultType":"input_required","inputRequests":{"a":{"method":"roots/list"}}}`,
		"time":  `{"resultType":"input_required","requestState":"s"}`,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h, p, id := kit.Behind(t, hubtest.AllDeclared)
				c := hubtest.Post(t, h, id, calls)
				asked := 0
				for !c.Over() {
					asked++
					if asked > hubtest.MaxRounds+1 {
						t.Fatal("there is no end")
					}
					m := <-p.Got // the bridge may wait before that
					if name == "time" && (asked > 1) != (message.Text(m.Raw, "params", "requestState") == "s") {
						t.Errorf("got %s", m.Raw)
					}
					p.Answer(m, required)
					if name == "input" && !c.Over() {
						hubtest.Post(t, h, id, `{"jsonrpc":"2.0","id":`+hubtest.IDsOf(t, c)["roots/list"]+`,"result":{"roots":[]}}`)
					}
				}
				got := c.Messages()
				if asked != hubtest.MaxRounds+1 || !strings.Contains(got[len(got)-1], `"id":"x","error"`) {
					t.Errorf("after %d rounds got %q", asked, got[len(got)-1])
				}
			})
		})
	}
}

// A client that answers with an error, or cancels its request, ends it. Answers that it
// sends after that are dropped.
func TestClientEndsARequestThatWaitsForInput(t *testing.T) {
	for name, end := range map[string]string{
		"an error":    `{"jsonrpc":"2.0","id":%s,"error":{"code":-1,"message":"user says no"}}`,
		"cancelled":   `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"x"}}`,
		"nobody read": "",
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h, p, id := kit.Behind(t, hubtest.AllDeclared)
				c := hubtest.Post(t, h, id, calls)
				p.Answer(p.Next(t, "tools/call"), `{"resultType":"input_required","inputRequests":{"a":{"method":"roots/list"},"b":{"method":"sampling/createMessage"}}}`)
				ids := hubtest.IDsOf(t, c)
				switch {
				case strings.Contains(end, "%s"):
					hubtest.Post(t, h, id, fmt.Sprintf(end, ids["roots/list"]))
					if got := c.Messages(); !strings.Contains(got[len(got)-1], "user says no") {
						t.Errorf("got %q", got)
					}
				case end != "":
					hubtest.Post(t, h, id, end)
				default: // its request goes unread, which is answered in its place
					_ = hubtest.TranslatorOf(t, h).Send(nil, message.NewError([]byte(ids["roots/list"]), message.CodeInternal, "it went unread"))
				}
				if !c.Over() {
					t.Error("the request is not over")
				}
				hubtest.Post(t, h, id, `{"jsonrpc":"2.0","id":`+ids["sampling/createMessage"]+`,"result":{}}`)
				p.GotNothing(t)
			})
		})
	}
}

// Rule D4: after the last answer of a client, its request is sent again with the
// credentials of that answer. If they are refused, the client may answer again.
func TestLastInputSendsTheRequestWithItsCredentials(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := &modern{t: t}
		u.answer = func(w http.ResponseWriter, _ *http.Request, m message.Message) bool {
			asks := m.Method == "tools/call" && message.Get(m.Raw, "params", "inputResponses") == nil
			if asks {
				hubtest.JSONTo(w, http.StatusOK, `{"jsonrpc":"2.0","id":%s,"result":{"resultType":"input_required","inputRequests":{"a":{"method":"roots/list"},"b":{"method":"sampling/createMessage","params":{}}}}}`, m.RawID)
			}
			return asks
		}
		h, id := u.inFront(hubtest.AllDeclared)
		c := hubtest.Post(t, h, id, calls)
		ids := hubtest.IDsOf(t, c)
		u.deny("Bearer bad")
		answers := []string{`{"jsonrpc":"2.0","id":` + ids["roots/list"] + `,"result":{"roots":[]}}`, `{"jsonrpc":"2.0","id":` + ids["sampling/createMessage"] + `,"result":{}}`}
		for i, answer := range answers {
			for _, token := range []string{"bad", "two"} {
				w := hubtest.Direct(t.Context(), h, "POST", id, answer, "Authorization", "Bearer "+token)
				if want := map[string]int{"bad": 401, "two": 202}[token]; w.Code != want {
					t.Errorf("%d: got %d %s, want %d", i, w.Code, w.Body, want)
				}
			}
		}
		if got, want := u.seen(), []string{"tools/call", "server/discover two", "tools/call two"}; !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
		got := c.Messages()
		if len(got) != 3 || got[2] != `{"jsonrpc":"2.0","id":"x","result":{"resultType":"complete","content":[]}}` {
			t.Errorf("got %q", got)
		}
	})
}

// If the client does not answer again after its credentials were refused, its request gets
// an error in time.
func TestInputThatStaysRefusedEndsTheRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := &modern{t: t}
		u.answer = func(w http.ResponseWriter, _ *http.Request, m message.Message) bool {
			if m.Method == "tools/call" {
				hubtest.JSONTo(w, http.StatusOK, `{"jsonrpc":"2.0","id":%s,"result":{"resultType":"input_required","inputRequests":{"a":{"method":"roots/list"}}}}`, m.RawID)
			}
			return m.Method == "tools/call"
		}
		h, id := u.inFront(hubtest.AllDeclared)
		c := hubtest.Post(t, h, id, calls)
		input := hubtest.IDsOf(t, c)["roots/list"]
		u.deny("Bearer bad")
		if w := hubtest.Direct(t.Context(), h, "POST", id, `{"jsonrpc":"2.0","id":`+input+`,"result":{"roots":[]}}`, "Authorization", "Bearer bad"); w.Code != http.StatusUnauthorized {
			t.Errorf("got %d %s", w.Code, w.Body)
		}
		<-c.Done
		if got := c.Messages(); !strings.Contains(got[len(got)-1], `"id":"x","error"`) {
			t.Errorf("got %q", got)
		}
	})
}
