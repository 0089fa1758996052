package bridge

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
)

// post sends a request in a session.
func post(t *testing.T, h *Hub, id, body string) *pending {
	t.Helper()
	return open(t, h, http.MethodPost, id, body)
}

func open(t *testing.T, h *Hub, method, id, body string) *pending {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	r := httptest.NewRequestWithContext(ctx, method, "http://h/", strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	if id != "" {
		r.Header.Set("Mcp-Session-Id", id)
	}
	p := &pending{httptest.NewRecorder(), cancel, make(chan struct{})}
	go func() {
		defer close(p.done)
		h.ServeHTTP(p, r)
	}()
	synctest.Wait()
	return p
}

const (
	refusesInitialize = `{"jsonrpc":"2.0","id":%s,"error":{"code":-32601,"message":"supported is 2026-07-28"}}`
	allCapabilities   = `{"tools":{"listChanged":true},"prompts":{},"resources":{"subscribe":true,"listChanged":true},"logging":{}}`
	discoverResult    = `{"resultType":"complete","supportedVersions":["2026-07-28"],"capabilities":` + allCapabilities + `,"instructions":"ask","_meta":{"` + metaServer + `":{"name":"s","version":"1"}}}`
	allDeclared       = `{"elicitation":{"form":{},"url":{}},"sampling":{},"roots":{"listChanged":true}}`
)

// programsOf returns a hub and the programs that it starts; tests speak for those.
func programsOf(t *testing.T) (*Hub, <-chan *program) {
	t.Helper()
	started := make(chan *program, 100)
	h := NewHub(HubConfig{Start: func(_ context.Context, _ *http.Request, deliver func([]byte)) (Peer, error) {
		p := &program{deliver: deliver, got: make(chan message.Message, 1000), done: make(chan struct{})}
		started <- p
		return p, nil
	}})
	t.Cleanup(h.Close)
	return h, started
}

func initializeOf(capabilities string) string {
	return `{"jsonrpc":"2.0","id":"i","method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":` + capabilities + `,"clientInfo":{"name":"c","version":"2"}}}`
}

// behind begins a session of a client in front of a stateless program. What it listens
// for is agreed to.
func behind(t *testing.T, capabilities string) (*Hub, *program, string) {
	t.Helper()
	h, started := programsOf(t)
	c := post(t, h, "", initializeOf(capabilities))
	p := <-started
	p.say(refusesInitialize, p.next(t, "initialize").RawID)
	p.answer(p.next(t, "server/discover"), discoverResult)
	synctest.Wait()
	id := c.Header().Get("Mcp-Session-Id")
	if id == "" {
		t.Fatalf("initialize: %d %s", c.Code, c.Body)
	}
	if c := post(t, h, id, `{"jsonrpc":"2.0","method":"notifications/initialized"}`); c.Code != http.StatusAccepted {
		t.Fatalf("initialized: %d %s", c.Code, c.Body)
	}
	p.agree(t, "")
	return h, p, id
}

// agree agrees to the next subscriptions/listen, whose resources have to be those given.
func (p *program) agree(t *testing.T, watched string) message.Message {
	t.Helper()
	m := p.next(t, "subscriptions/listen")
	wanted := message.Get(m.Raw, "params", "notifications")
	if got := string(message.Get(wanted, "resourceSubscriptions")); got != watched {
		t.Fatalf("it asks for resources %s, want %s", got, watched)
	}
	p.say(`{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{"_meta":{%q:%s},"notifications":%s}}`, metaSubscription, m.RawID, wanted)
	synctest.Wait()
	return m
}

// Rule D3: initialize of a client is answered from server/discover, where the server
// refuses it; the next client's is not tried.
func TestFacadeHandshake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, started := programsOf(t)
		for i, version := range []string{"2025-06-18", "2025-03-26", "2023-01-01"} {
			c := post(t, h, "", strings.Replace(initializeOf(`{}`), "2025-11-25", version, 1))
			p := <-started
			if i == 0 {
				if m := p.next(t, "initialize"); message.Get(m.Raw, "params", "_meta") != nil {
					t.Errorf("initialize is not as the client has it: %s", m.Raw)
				}
				p.say(refusesInitialize, `"i"`)
			}
			m := p.next(t, "server/discover")
			want := `{"` + metaClient + `":{"name":"c","version":"2"},"` + metaCapabilities + `":{},"` + metaVersion + `":"2026-07-28"}`
			if got := string(message.Get(m.Raw, "params", "_meta")); got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
			p.answer(m, discoverResult)
			if i == 2 {
				version = "2025-11-25"
			}
			c.wants(t, 200, `{"jsonrpc":"2.0","id":"i","result":{"instructions":"ask","protocolVersion":"`+version+`","capabilities":`+allCapabilities+`,"serverInfo":{"name":"s","version":"1"}}}`)
		}
	})
}

// Rule D3: of a server that knows initialize nothing more is asked, whatever it answers
// to other requests.
func TestFacadeAsksNothingOfOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, started := programsOf(t)
		c := post(t, h, "", initializeOf(`{}`))
		p := <-started
		p.answer(p.next(t, "initialize"), initializeResult)
		synctest.Wait()
		id := c.Header().Get("Mcp-Session-Id")
		for _, body := range []string{
			`{"jsonrpc":"2.0","method":"notifications/initialized"}`, `{"jsonrpc":"2.0","id":1.5,"method":"ping"}`,
			`{"jsonrpc":"2.0","id":"i","method":"resources/subscribe","params":{"uri":"a:"}}`,
		} {
			c := post(t, h, id, body)
			var m message.Message
			if m = <-p.got; string(m.Raw) != body {
				t.Errorf("got  %s\nwant %s", m.Raw, body)
			}
			if m.ID != "" {
				p.say(refusesInitialize, m.RawID)
				c.wants(t, 200, fmt.Sprintf(refusesInitialize, m.RawID))
			}
		}
		p.gotNothing(t)
	})
}

// Rule D3: a server that refuses initialize for another reason has its own words; one
// that says nothing to server/discover keeps nobody waiting.
func TestFacadeOtherRefusals(t *testing.T) {
	for name, discovered := range map[string]func(p *program, m message.Message){
		"error":           func(p *program, m message.Message) { p.say(refusesInitialize, m.RawID) },
		"another version": func(p *program, m message.Message) { p.answer(m, `{"supportedVersions":["2027-01-01"]}`) },
		"no object":       func(p *program, m message.Message) { p.answer(m, `[]`) },
		"silence":         func(*program, message.Message) { time.Sleep(askWithin) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h, started := programsOf(t)
				c := post(t, h, "", initializeOf(`{}`))
				p := <-started
				p.next(t, "initialize")
				p.say(refusesInitialize, `"i"`)
				discovered(p, p.next(t, "server/discover"))
				c.wants(t, 200, fmt.Sprintf(refusesInitialize, `"i"`))
				if c.Header().Get("Mcp-Session-Id") != "" {
					t.Error("there is a session")
				}
			})
		})
	}
}

// Rule D3: a server that is known to refuse initialize, and that is replaced by one
// which does not, is found out.
func TestFacadeForgetsEra(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, started := programsOf(t)
		h.learn(true)
		for i := range 2 {
			c := post(t, h, "", initializeOf(`{}`))
			p := <-started
			if i == 0 {
				p.say(refusesInitialize, p.next(t, "server/discover").RawID)
			}
			p.next(t, "initialize")
			p.say(`{"jsonrpc":"2.0","id":"i","result":%s}`, initializeResult)
			synctest.Wait()
			if c.Header().Get("Mcp-Session-Id") == "" {
				t.Errorf("got %d %s", c.Code, c.Body)
			}
		}
	})
}

// Rule D3: each request carries what the revision wants, ids and progress tokens are the
// bridge's own, and what the client has not written otherwise crosses as it is.
func TestFacadeRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, p, id := behind(t, allDeclared)
		meta := `"` + metaClient + `":{"name":"c","version":"2"},"` + metaCapabilities + `":` + allDeclared + `,"` + metaVersion + `":"2026-07-28"`
		c := post(t, h, id, `{"x":1e2,"jsonrpc":"2.0","id":1.5,"method":"tools/call","params":{"_meta":{"progressToken":"t","y":{}},"name":"a"}}`)
		m := p.next(t, "tools/call")
		want := fmt.Sprintf(`{"x":1e2,"jsonrpc":"2.0","id":%[1]s,"method":"tools/call","params":{"_meta":{%[2]s,"progressToken":%[1]s,"y":{}},"name":"a"}}`, m.RawID, meta)
		if string(m.Raw) != want {
			t.Errorf("got  %s\nwant %s", m.Raw, want)
		}
		p.say(`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":%s,"progress":1.0}}`, m.RawID)
		p.say(`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"t","progress":2}}`)
		p.say(`{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":1}}`)
		p.say(`{"jsonrpc":"2.0","id":1,"method":"ping"}`) // such servers send no requests
		p.answer(m, `{"resultType":"complete","content":[],"z":1.0}`)
		c.wants(t, 200,
			`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"t","progress":1.0}}`,
			`{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":1}}`,
			`{"jsonrpc":"2.0","id":1.5,"result":{"resultType":"complete","content":[],"z":1.0}}`)
		c = post(t, h, id, `{"jsonrpc":"2.0","id":"i","method":"vendor/x"}`)
		m = p.next(t, "vendor/x")
		if got := string(message.Get(m.Raw, "params")); got != `{"_meta":{`+meta+`}}` {
			t.Errorf("got %s", got)
		}
		p.say(`{"jsonrpc":"2.0","id":%s,"error":{"code":-31999,"message":"x","data":[1.0]}}`, m.RawID)
		c.wants(t, 200, `{"jsonrpc":"2.0","id":"i","error":{"code":-31999,"message":"x","data":[1.0]}}`)
		p.gotNothing(t)
	})
}

// Rule D3: what a stateless server does not know is done for it, with the answers that
// the revisions with a handshake have.
func TestFacadeRemovedMethods(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, p, id := behind(t, `{}`)
		for _, tc := range []struct{ method, params, want string }{
			{"ping", `{}`, `"result":{}`},
			{"logging/setLevel", `{"level":"warning"}`, `"result":{}`},
			{"logging/setLevel", `{"level":"loud"}`, `"code":-32602`},
			{"resources/subscribe", `{}`, `"code":-32602`},
			{"resources/unsubscribe", `{"uri":"never:"}`, `"result":{}`},
			{"initialize", `{}`, `"code":-32600`},
			{"server/discover", `{}`, `"code":-32601`},
			{"subscriptions/listen", `{}`, `"code":-32601`},
			{"a\\nb: c", `{}`, `"code":-32601`},
		} {
			body := `{"jsonrpc":"2.0","id":1,"method":"` + tc.method + `","params":` + tc.params + `}`
			if tc.method == "initialize" { // in a session, which Streamable HTTP has no way to say
				s := h.find(id)
				m, _ := message.Parse([]byte(body))
				st, _ := s.ask([]message.Message{m}, nil)
				if err := s.peer.Send(nil, m.Raw); err != nil || !strings.Contains(string(st.events[0].raw), tc.want) {
					t.Errorf("%s: got %v", tc.method, err)
				}
				continue
			}
			if c := post(t, h, id, body); !strings.Contains(c.Body.String(), tc.want) {
				t.Errorf("%s: got %s, want %s", tc.method, c.Body, tc.want)
			}
		}
		for _, method := range []string{"notifications/initialized", "notifications/roots/list_changed", "notifications/progress"} {
			if c := post(t, h, id, `{"jsonrpc":"2.0","method":"`+method+`"}`); c.Code != http.StatusAccepted {
				t.Errorf("%s: got %d %s", method, c.Code, c.Body)
			}
		}
		p.gotNothing(t)
		post(t, h, id, `{"jsonrpc":"2.0","id":2,"method":"tools/list"}`)
		if m := p.next(t, "tools/list"); message.Text(m.Raw, "params", "_meta", metaLogLevel) != "warning" {
			t.Errorf("got %s", m.Raw)
		}
		post(t, h, id, `{"jsonrpc":"2.0","method":"vendor/told","params":{"a":1.0}}`)
		if m := p.next(t, "vendor/told"); string(m.Raw) != `{"jsonrpc":"2.0","method":"vendor/told","params":{"a":1.0}}` {
			t.Errorf("got %s", m.Raw)
		}
	})
}

// Rule D3: errors have the codes of the client's revision, and results the types.
func TestFacadeOlderAnswers(t *testing.T) {
	for name, tc := range map[string]struct{ method, params, answer, want string }{
		"no such resource":   {"resources/read", `{"uri":"a:"}`, `"error":{"code":-32602,"message":"m","data":{"uri":"a:"}}`, `"error":{"code":-32002,"message":"m","data":{"uri":"a:"}}`},
		"no uri":             {"resources/read", `{}`, `"error":{"code":-32602,"message":"m"}`, `"error":{"code":-32602,"message":"m"}`},
		"bad arguments":      {"tools/call", `{"name":"a"}`, `"error":{"code":-32602,"message":"m"}`, `"error":{"code":-32602,"message":"m"}`},
		"missing capability": {"tools/call", `{"name":"a"}`, `"error":{"code":-32021,"message":"m","data":{"requiredCapabilities":{"roots":{}}}}`, `"error":{"code":-32603,"message":"m","data":{"requiredCapabilities":{"roots":{}}}}`},
		"version":            {"tools/call", `{"name":"a"}`, `"error":{"code":-32022,"message":"m"}`, `"error":{"code":-32603,"message":"m"}`},
		"structured list":    {"tools/call", `{"name":"a"}`, `"result":{"content":[],"structuredContent":[1]}`, `"result":{"content":[]}`},
		"structured object":  {"tools/call", `{"name":"a"}`, `"result":{"structuredContent":{"a":1}}`, `"result":{"structuredContent":{"a":1}}`},
		"schema of a list":   {"tools/list", `{}`, `"result":{"tools":[{"name":"a","outputSchema":{"type":"array"}},{"name":"b","outputSchema":{"type":"object"}}]}`, `"result":{"tools":[{"name":"a"},{"name":"b","outputSchema":{"type":"object"}}]}`},
		"no result":          {"vendor/x", `{}`, `"result":null`, `"result":null`},
		"a type of others":   {"tools/call", `{"name":"a"}`, `"result":{"resultType":"task"}`, `"error":{"code":-32603,"message":"the server answers with a result of a type that this client does not know: \"task\""}`},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h, p, id := behind(t, `{}`)
				c := post(t, h, id, `{"jsonrpc":"2.0","id":"x","method":"`+tc.method+`","params":`+tc.params+`}`)
				p.say(`{"jsonrpc":"2.0","id":%s,%s}`, p.next(t, tc.method).RawID, tc.answer)
				c.wants(t, 200, `{"jsonrpc":"2.0","id":"x",`+tc.want+`}`)
			})
		})
	}
}

// Rule D3: a request that its client takes back is taken back at the server by its id
// there; what comes for it after that goes to nobody.
func TestFacadeCancels(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, p, id := behind(t, `{}`)
		c := post(t, h, id, `{"jsonrpc":"2.0","id":"x","method":"tools/call","params":{"name":"a","_meta":{"progressToken":1}}}`)
		m := p.next(t, "tools/call")
		post(t, h, id, `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"x","reason":"r"}}`)
		want := fmt.Sprintf(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":%s,"reason":"r"}}`, m.RawID)
		if got := p.next(t, "notifications/cancelled"); string(got.Raw) != want {
			t.Errorf("got  %s\nwant %s", got.Raw, want)
		}
		p.say(`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":%s,"progress":1}}`, m.RawID)
		p.answer(m, `{"resultType":"complete"}`)
		if got := c.messages(); len(got) != 0 || !c.over() {
			t.Errorf("got %q, over %t", got, c.over())
		}
		for _, other := range []string{`"x"`, `"y"`, string(m.RawID)} {
			post(t, h, id, `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":`+other+`}}`)
		}
		p.gotNothing(t)
		c = post(t, h, id, `{"jsonrpc":"2.0","id":"x","method":"tools/list"}`) // the id is free
		p.answer(p.next(t, "tools/list"), `{"tools":[]}`)
		c.wants(t, 200, `{"jsonrpc":"2.0","id":"x","result":{"tools":[]}}`)
	})
}

// A server that dies, or that answers what nobody has asked, twice, or for ever, is an
// error to whoever waits, and nothing to others.
func TestFacadeHostileServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, p, id := behind(t, allDeclared)
		a := post(t, h, id, `{"jsonrpc":"2.0","id":"a","method":"tools/call","params":{"name":"a"}}`)
		m := p.next(t, "tools/call")
		for _, odd := range []string{`"a"`, `1.5`, `999`, `-1`} {
			p.say(`{"jsonrpc":"2.0","id":%s,"result":{}}`, odd)
		}
		if got := a.messages(); len(got) != 0 {
			t.Fatalf("got %q", got)
		}
		p.answer(m, `{"one":1}`)
		p.answer(m, `{"two":2}`)
		a.wants(t, 200, `{"jsonrpc":"2.0","id":"a","result":{"one":1}}`)
		b := post(t, h, id, `{"jsonrpc":"2.0","id":"b","method":"tools/call","params":{"name":"b"}}`)
		c := post(t, h, id, `{"jsonrpc":"2.0","id":"c","method":"tools/call","params":{"name":"c"}}`)
		p.answer(p.next(t, "tools/call"), `{"resultType":"input_required","inputRequests":{"k":{"method":"roots/list"}}}`)
		synctest.Wait()
		_ = p.Close()
		for name, c := range map[string]*pending{"b": b, "c": c} {
			if got := c.messages(); len(got) == 0 || !strings.Contains(got[len(got)-1], `"id":"`+name+`","error"`) || !c.over() {
				t.Errorf("%s: got %q", name, got)
			}
		}
		if c := post(t, h, id, `{"jsonrpc":"2.0","id":2,"method":"ping"}`); c.Code != http.StatusNotFound {
			t.Errorf("got %d", c.Code)
		}
		if n := h.Len(); n != 0 {
			t.Errorf("%d sessions are left", n)
		}
	})
}

// idsOf returns the ids of the server's requests that a client has been sent, by their
// methods.
func idsOf(t *testing.T, c *pending) map[string]string {
	t.Helper()
	ids := make(map[string]string)
	for _, raw := range c.messages() {
		var m struct {
			ID     json.RawMessage
			Method string
		}
		if json.Unmarshal([]byte(raw), &m) == nil && m.Method != "" && m.ID != nil {
			ids[m.Method] = string(m.ID)
		}
	}
	return ids
}
