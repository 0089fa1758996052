package bridge

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
)

// program is a server that a test speaks for, but for how it begins.
type program struct {
	deliver func([]byte)
	got     chan message.Message
	done    chan struct{}
	once    sync.Once
	refuse  func(from *http.Request, m message.Message) error // nil: it takes everything
	from    string                                            // Authorization of whom it was started for
}

func (p *program) Send(from *http.Request, frame []byte) error {
	m, err := message.Parse(frame)
	if err != nil {
		return err
	}
	if p.refuse != nil {
		if err := p.refuse(from, m); err != nil {
			return err
		}
	}
	p.got <- m
	return nil
}

func (p *program) Done() <-chan struct{} { return p.done }

func (p *program) Close() error {
	p.once.Do(func() { close(p.done) })
	return nil
}

// say sends a message to the bridge; %s stand for JSON.
func (p *program) say(format string, args ...any) { p.deliver(fmt.Appendf(nil, format, args...)) }

// answer answers what the server got last with a result.
func (p *program) answer(m message.Message, result string) {
	p.say(`{"jsonrpc":"2.0","id":%s,"result":%s}`, m.RawID, result)
}

// nature is how a program begins.
type nature int

const (
	stateless nature = iota // it answers server/discover
	handshakes
	silent // it answers nothing that it does not know
	dies   // at what it does not know
)

const initializeResult = `{"protocolVersion":"2025-06-18","capabilities":{"tools":{"listChanged":true},"resources":{"subscribe":true},"logging":{}},"serverInfo":{"name":"s","version":"1"},"instructions":"ask"}`

// programs serves a hub of programs, and returns it and each program that is started.
func programs(t *testing.T, kind nature, cfg HubConfig) (*Hub, <-chan *program) {
	t.Helper()
	started := make(chan *program, 100)
	cfg.Start = func(_ context.Context, from *http.Request, deliver func([]byte)) (Peer, error) {
		p := &program{deliver: deliver, got: make(chan message.Message, 1000), done: make(chan struct{}), from: from.Header.Get("Authorization")}
		go p.begin(kind)
		started <- p
		return p, nil
	}
	h := NewHub(cfg)
	t.Cleanup(func() {
		h.Close()
		if n := h.Len(); n != 0 {
			t.Errorf("%d conversations are left", n)
		}
	})
	return h, started
}

// begin answers what a server is asked before it serves.
func (p *program) begin(kind nature) {
	var hold []message.Message
	for {
		select {
		case <-p.done:
			return
		case m := <-p.got:
			switch m.Method {
			case "server/discover":
				switch kind {
				case stateless:
					p.answer(m, `{"resultType":"complete","supportedVersions":["2026-07-28"],"capabilities":{}}`)
					return
				case handshakes:
					p.say(`{"jsonrpc":"2.0","id":%s,"error":{"code":-32601,"message":"unknown"}}`, m.RawID)
				case dies:
					_ = p.Close()
				}
			case "initialize":
				p.answer(m, initializeResult)
			case "notifications/initialized":
				for _, m := range hold {
					p.got <- m
				}
				return
			default:
				if kind == stateless { // it was asked before
					p.got <- m
					return
				}
				hold = append(hold, m)
			}
		}
	}
}

// ask is a stateless request; params are members of params but _meta.
func ask(id, method, params string, meta ...string) string {
	inner := `"` + metaVersion + `":"2026-07-28","` + metaCapabilities + `":{"elicitation":{},"roots":{}}`
	for _, m := range meta {
		inner += "," + m
	}
	if params != "" {
		params += ","
	}
	return fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"method":%q,"params":{%s"_meta":{%s}}}`, id, method, params, inner)
}

// pending is a request under way.
type pending struct {
	*httptest.ResponseRecorder
	leave context.CancelFunc
	done  chan struct{}
}

// send posts a stateless request, with the fields that its body wants.
func send(t *testing.T, h *Hub, body string, header ...string) *pending {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	req := httptest.NewRequestWithContext(ctx, http.MethodPost, "http://h/", strings.NewReader(body))
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Mcp-Protocol-Version", "2026-07-28")
	var m struct {
		Method string
		Params struct{ Name, URI string }
	}
	if err := json.Unmarshal([]byte(body), &m); err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Mcp-Method", m.Method)
	if name := m.Params.Name + m.Params.URI; name != "" {
		req.Header.Set("Mcp-Name", encodeField(name))
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Del(header[i])
		if header[i+1] != "" {
			req.Header.Set(header[i], header[i+1])
		}
	}
	p := &pending{httptest.NewRecorder(), cancel, make(chan struct{})}
	go func() {
		defer close(p.done)
		h.ServeHTTP(p, req)
	}()
	return p
}

// messages returns what a client has been sent so far. It is for when nothing moves.
func (p *pending) messages() (all []string) {
	synctest.Wait()
	body := p.Body.String()
	if p.Header().Get("Content-Type") != "text/event-stream" {
		if body == "" {
			return nil
		}
		return []string{body}
	}
	for _, e := range strings.Split(body, "\n\n") {
		if _, data, ok := strings.Cut(e, "event: message\ndata: "); ok {
			all = append(all, data)
		}
	}
	return all
}

func (p *pending) over() bool {
	synctest.Wait()
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// wants fails where a client was not sent just these messages, or not with the status.
func (p *pending) wants(t *testing.T, status int, want ...string) {
	t.Helper()
	got := p.messages()
	if len(got) != len(want) || p.Code != status {
		t.Fatalf("got %d %q, want %d %q", p.Code, got, status, want)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("got  %s\nwant %s", got[i], want[i])
		}
	}
}

// next returns what the server gets next.
func (p *program) next(t *testing.T, method string) message.Message {
	t.Helper()
	synctest.Wait()
	select {
	case m := <-p.got:
		if m.Method != method {
			t.Fatalf("the server got %s, want %q", m.Raw, method)
		}
		return m
	default:
		t.Fatalf("the server got nothing, want %q", method)
		return message.Message{}
	}
}

func (p *program) gotNothing(t *testing.T) {
	t.Helper()
	synctest.Wait()
	select {
	case m := <-p.got:
		t.Fatalf("the server got %s", m.Raw)
	default:
	}
}

// Rule D3: what a stateless request says twice has to be the same, and what is
// missing is said, with the code that the revision has for it.
func TestStatelessEnvelope(t *testing.T) {
	for name, tc := range map[string]struct {
		body   string
		header []string
		status int
		code   int
	}{
		"no field of the version":   {ask("1", "x", ""), []string{"Mcp-Protocol-Version", ""}, 400, -32020},
		"another version":           {ask("1", "x", ""), []string{"Mcp-Protocol-Version", "2025-11-25"}, 400, -32020},
		"no version in the body":    {`{"jsonrpc":"2.0","id":1,"method":"x"}`, nil, 400, -32602},
		"a version that is none":    {strings.Replace(ask("1", "x", ""), `"2026-07-28"`, `7`, 1), []string{"Mcp-Protocol-Version", ""}, 400, -32020},
		"a version to come":         {strings.Replace(ask("1", "x", ""), "2026-07-28", "2027-01-01", 1), []string{"Mcp-Protocol-Version", "2027-01-01"}, 400, -32022},
		"a version of nowhere":      {strings.Replace(ask("1", "x", ""), "2026-07-28", "1900-01-01", 1), []string{"Mcp-Protocol-Version", "1900-01-01"}, 400, -32022},
		"no capabilities":           {strings.Replace(ask("1", "x", ""), `Capabilities":{"e`, `Capacities":{"e`, 1), nil, 400, -32602},
		"capabilities that are one": {strings.Replace(ask("1", "x", ""), `{"elicitation":{},"roots":{}}`, `true`, 1), nil, 400, -32602},
		"a client that is none":     {ask("1", "x", "", `"`+metaClient+`":"me"`), nil, 400, -32602},
		"no method":                 {ask("1", "x", ""), []string{"Mcp-Method", ""}, 400, -32020},
		"another method":            {ask("1", "x", ""), []string{"Mcp-Method", "X"}, 400, -32020},
		"no name":                   {ask("1", "tools/call", `"name":"a"`), []string{"Mcp-Name", ""}, 400, -32020},
		"another name":              {ask("1", "tools/call", `"name":"a"`), []string{"Mcp-Name", "b"}, 400, -32020},
		"another resource":          {ask("1", "resources/read", `"uri":"a:"`), []string{"Mcp-Name", "b:"}, 400, -32020},
		"another name, encoded":     {ask("1", "tools/call", `"name":"a"`), []string{"Mcp-Name", "=?base64?Yg==?="}, 400, -32020},
		"a name that is not Base64": {ask("1", "tools/call", `"name":"a"`), []string{"Mcp-Name", "=?base64?a?="}, 400, -32020},
		"a name that is not ASCII":  {ask("1", "tools/call", `"name":"ä"`), []string{"Mcp-Name", "ä"}, 400, -32020},
		"a batch":                   {"[" + ask("1", "x", "") + "]", nil, 400, -32600},
		"a response":                {`{"jsonrpc":"2.0","id":1,"result":{}}`, nil, 400, -32600},
		"a member twice":            {strings.Replace(ask("1", "x", ""), `"_meta":{`, `"_meta":{"`+metaVersion+`":"2025-11-25",`, 1), nil, 400, -32600},
		"initialize with a version": {`{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25"}}`, nil, 400, -32000},
	} {
		t.Run(name, func(t *testing.T) {
			h, started := programs(t, stateless, HubConfig{})
			ctx := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "http://h/", strings.NewReader(tc.body))
			ctx.Header.Set("Content-Type", "application/json")
			ctx.Header.Set("Mcp-Protocol-Version", "2026-07-28")
			ctx.Header.Set("Mcp-Method", "x")
			if strings.Contains(tc.body, "tools/call") {
				ctx.Header.Set("Mcp-Method", "tools/call")
			}
			if strings.Contains(tc.body, "resources/read") {
				ctx.Header.Set("Mcp-Method", "resources/read")
			}
			for i := 0; i+1 < len(tc.header); i += 2 {
				if ctx.Header.Del(tc.header[i]); tc.header[i+1] != "" {
					ctx.Header.Set(tc.header[i], tc.header[i+1])
				}
			}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, ctx)
			var got struct {
				Error struct {
					Code int
					Data struct{ Supported []string }
				}
			}
			if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Code != tc.status || got.Error.Code != tc.code {
				t.Errorf("got %d %s, want %d and %d", w.Code, w.Body, tc.status, tc.code)
			}
			if tc.code == message.CodeUnsupportedVersion && (len(got.Error.Data.Supported) == 0 || got.Error.Data.Supported[0] != statelessVersion) {
				t.Errorf("it does not say what is supported: %s", w.Body)
			}
			if len(started) != 0 {
				t.Error("a server was started for it")
			}
		})
	}
}

// Rule D5: requests that stand for themselves share a server that knows such ones.
// Ids, progress tokens and subscription ids are mapped, so that each client gets what
// is its own, and its own back; every other byte crosses as it is.
func TestStatelessShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, started := programs(t, stateless, HubConfig{})
		const same = `"progressToken":"t"`
		a := send(t, h, ask(`"x"`, "tools/call", `"name":"grüße","arguments":{"n":1.50,"v":{}}`, same), "Authorization", "Bearer a")
		b := send(t, h, ask(`"x"`, "tools/call", `"name":"b"`, same), "Authorization", "Bearer b")
		c := send(t, h, ask("9007199254740993", "vendor/x", `"y":[]`), "Authorization", "Bearer c")
		synctest.Wait()
		p := <-started
		if len(started) != 0 {
			t.Fatal("more than one server was started")
		}
		calls := map[string]message.Message{}
		for range 3 {
			synctest.Wait()
			m := <-p.got
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
		if got, want := own(ma, `"x"`, `"t"`), ask(`"x"`, "tools/call", `"name":"grüße","arguments":{"n":1.50,"v":{}}`, same); got != want {
			t.Errorf("the server got %s\nwant %s", got, want)
		}
		p.say(`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":%s,"progress":1,"of":"b"}}`, message.Get(mb.Raw, "params", "_meta", "progressToken"))
		p.say(`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"t","progress":9}}`)
		p.say(`{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}`)
		p.say(`{"jsonrpc":"2.0","id":"x","result":{"of":"nobody"}}`)
		p.answer(mc, `{"of":"c", "x" : 1e2}`)
		p.answer(mb, `{"of":"b"}`)
		p.say(`{"jsonrpc":"2.0","id":%s,"error":{"code":-32601,"message":"no"}}`, ma.RawID)
		a.wants(t, 404, `{"jsonrpc":"2.0","id":"x","error":{"code":-32601,"message":"no"}}`)
		b.wants(t, 200, `{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"t","progress":1,"of":"b"}}`, `{"jsonrpc":"2.0","id":"x","result":{"of":"b"}}`)
		c.wants(t, 200, `{"jsonrpc":"2.0","id":9007199254740993,"result":{"of":"c", "x" : 1e2}}`)

		// A request of the server belongs to nobody.
		p.say(`{"jsonrpc":"2.0","id":"s","method":"roots/list"}`)
		synctest.Wait()
		if m := <-p.got; m.Kind != message.Response || string(m.RawID) != `"s"` || !m.Failed {
			t.Errorf("the server got %s", m.Raw)
		}
	})
}

// Rule D3: fields that repeat arguments of a tool say what these say.
func TestStatelessParams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, started := programs(t, stateless, HubConfig{})
		list := send(t, h, ask("1", "tools/list", ""))
		synctest.Wait()
		p := <-started
		p.answer(p.next(t, "tools/list"), `{"tools":[{"name":"t","inputSchema":{"properties":{"s":{"type":"string","x-mcp-header":"S"},
			"o":{"properties":{"n":{"type":"integer","x-mcp-header":"n"},"b":{"type":"boolean","x-mcp-header":"B"}}},
			"a":{"items":{"properties":{"x":{"x-mcp-header":"X"}}}}}}},{"name":"u","inputSchema":{}}]}`)
		if !list.over() {
			t.Fatal("no list")
		}
		for name, tc := range map[string]struct {
			tool, arguments string
			header          []string
			refused         bool
		}{
			"nothing":              {"t", `{}`, nil, false},
			"another tool":         {"u", `{"s":"x"}`, nil, false},
			"missing":              {"t", `{"s":"x"}`, nil, true},
			"the same":             {"t", `{"s":"x"}`, []string{"Mcp-Param-S", "x"}, false},
			"the same, encoded":    {"t", `{"s":"gr\u00fc\u00df"}`, []string{"Mcp-Param-S", encodeField("grüß")}, false},
			"not the same":         {"t", `{"s":"x"}`, []string{"Mcp-Param-S", "X"}, true},
			"not ASCII":            {"t", `{"s":"ü"}`, []string{"Mcp-Param-S", "ü"}, true},
			"no Base64":            {"t", `{"s":"x"}`, []string{"Mcp-Param-S", "=?base64?x?="}, true},
			"of null":              {"t", `{"s":null}`, nil, false},
			"of nothing":           {"t", `{}`, []string{"Mcp-Param-S", "x"}, true},
			"a number":             {"t", `{"o":{"n":42.0}}`, []string{"Mcp-Param-N", "42"}, false},
			"another number":       {"t", `{"o":{"n":42}}`, []string{"Mcp-Param-N", "43"}, true},
			"a number that is not": {"t", `{"o":{"n":42}}`, []string{"Mcp-Param-N", "42x"}, true},
			"a truth value":        {"t", `{"o":{"b":true}}`, []string{"Mcp-Param-B", "true"}, false},
			"another truth value":  {"t", `{"o":{"b":true}}`, []string{"Mcp-Param-B", "false"}, true},
			"below a list":         {"t", `{"a":[{"x":1}]}`, nil, false},
		} {
			call := send(t, h, ask("2", "tools/call", fmt.Sprintf(`"name":%q,"arguments":%s`, tc.tool, tc.arguments)), tc.header...)
			if !tc.refused {
				p.answer(p.next(t, "tools/call"), `{}`)
			}
			over := call.over()
			if got := call.Code == 400 && strings.Contains(call.Body.String(), `"code":-32020`); got != tc.refused || !over {
				t.Errorf("%s: %d %s", name, call.Code, call.Body)
			}
		}
		p.gotNothing(t)
	})
}

// Rule D5: a client that leaves takes back its own request, and nobody else's.
func TestStatelessCancels(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, started := programs(t, stateless, HubConfig{})
		a := send(t, h, ask("1", "tools/call", `"name":"a"`))
		b := send(t, h, ask("1", "tools/call", `"name":"b"`))
		synctest.Wait()
		p := <-started
		first, second := p.next(t, "tools/call"), p.next(t, "tools/call")
		if message.Text(first.Raw, "params", "name") == "b" {
			first, second = second, first
		}
		// What one client says of an id means no other's, and ends nothing.
		direct := send(t, h, fmt.Sprintf(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":%s}}`, second.RawID))
		direct.wants(t, 202)
		p.gotNothing(t)
		a.leave()
		m := p.next(t, "notifications/cancelled")
		if m.Cancels != first.ID || !a.over() || b.over() {
			t.Errorf("the server got %s, want the id %s", m.Raw, first.RawID)
		}
		// What it still says of that goes nowhere, not even where it could be of one
		// only, for a while.
		p.say(`{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"error","data":"of a"}}`)
		p.answer(first, `{"of":"a"}`)
		p.answer(second, `{"of":"b"}`)
		b.wants(t, 200, `{"jsonrpc":"2.0","id":1,"result":{"of":"b"}}`)
	})
}

// Rule G: clients that leave, however many, leave nothing behind at a server that all of
// them share, even if it never logs.
func TestStatelessLeavesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, _ := programs(t, stateless, HubConfig{})
		kept := func(clients int) (n int) {
			for range clients {
				a := send(t, h, ask("1", "tools/call", `"name":"a"`))
				synctest.Wait()
				a.leave()
			}
			synctest.Wait()
			c := reflect.ValueOf(h.shared[""]).Elem()
			for i := range c.NumField() {
				if f := c.Field(i); f.Kind() == reflect.Map || f.Kind() == reflect.Slice {
					n += f.Len()
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
func TestStatelessLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, started := programs(t, stateless, HubConfig{})
		const logs = `"` + metaLogLevel + `":"warning"`
		log := func(p *program, level, data string) {
			p.say(`{"jsonrpc":"2.0","method":"notifications/message","params":{"level":%q,"data":%q}}`, level, data)
		}
		a := send(t, h, ask("1", "tools/call", `"name":"a"`, logs))
		synctest.Wait()
		p := <-started
		ma := p.next(t, "tools/call")
		log(p, "info", "too little")
		log(p, "error", "alone")
		b := send(t, h, ask("2", "tools/call", `"name":"b"`, logs))
		mb := p.next(t, "tools/call")
		log(p, "error", "of either")
		p.answer(ma, `{}`)
		a.wants(t, 200, `{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"error","data":"alone"}}`, `{"jsonrpc":"2.0","id":1,"result":{}}`)
		log(p, "emergency", "alone again")
		p.answer(mb, `{}`)
		b.wants(t, 200, `{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"emergency","data":"alone again"}}`, `{"jsonrpc":"2.0","id":2,"result":{}}`)
		c := send(t, h, ask("3", "tools/call", `"name":"c"`))
		mc := p.next(t, "tools/call")
		log(p, "emergency", "not wanted")
		p.answer(mc, `{}`)
		c.wants(t, 200, `{"jsonrpc":"2.0","id":3,"result":{}}`)
	})
}

// Rule D5: a server that dies fails what is under way, ends subscriptions, and is
// started again for the next request.
func TestStatelessServerDies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, started := programs(t, stateless, HubConfig{})
		listening := send(t, h, ask("1", "subscriptions/listen", onlyTools))
		synctest.Wait()
		calling := send(t, h, ask("2", "tools/call", `"name":"a"`))
		synctest.Wait()
		p := <-started
		m := p.next(t, "subscriptions/listen")
		p.next(t, "tools/call")
		ack := fmt.Sprintf(`{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{"_meta":{%q:%s}}}`, metaSubscription, m.RawID)
		p.say("%s", ack)
		synctest.Wait()
		_ = p.Close()
		calling.wants(t, 200, `{"jsonrpc":"2.0","id":2,"error":{"code":-32603,"message":"the server has ended"}}`)
		if got := listening.messages(); len(got) != 1 || !listening.over() {
			t.Errorf("got %q", got)
		}
		again := send(t, h, ask("3", "tools/call", `"name":"a"`))
		synctest.Wait()
		p = <-started
		p.answer(p.next(t, "tools/call"), `{}`)
		again.wants(t, 200, `{"jsonrpc":"2.0","id":3,"result":{}}`)
	})
}

// Rules D3, D5: a server that begins with a handshake is shown as a stateless one. It
// is for one identity alone, whatever it did when it was asked for what it does not
// know.
func TestStatelessHandshake(t *testing.T) {
	for name, kind := range map[string]nature{"refuses": handshakes, "silent": silent} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h, started := programs(t, kind, HubConfig{})
				discover := send(t, h, ask("1", "server/discover", ""), "Authorization", "Bearer a")
				time.Sleep(2 * askWithin)
				discover.wants(t, 200, `{"jsonrpc":"2.0","id":1,"result":{"_meta":{"io.modelcontextprotocol/serverInfo":{"name":"s","version":"1"}},`+
					`"instructions":"ask","resultType":"complete","supportedVersions":["2026-07-28","2025-11-25","2025-06-18","2025-03-26"],`+
					`"capabilities":{"tools":{"listChanged":true},"resources":{"subscribe":true},"logging":{}},"ttlMs":0,"cacheScope":"private"}}`)
				a := <-started
				call := send(t, h, ask(`"x"`, "tools/call", `"name":"t","arguments":{"a":1.0}`, `"progressToken":7`, `"v/x":1`), "Authorization", "Bearer a")
				m := a.next(t, "tools/call")
				if got, want := string(message.Remove(message.Remove(m.Raw, "id"), "params", "_meta", "progressToken")),
					`{"jsonrpc":"2.0","method":"tools/call","params":{"name":"t","arguments":{"a":1.0},"_meta":{"v/x":1}}}`; got != want {
					t.Errorf("the server got %s\nwant %s", got, want)
				}
				a.say(`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":%s,"progress":1}}`, message.Get(m.Raw, "params", "_meta", "progressToken"))
				a.answer(m, `{"content":[]}`)
				call.wants(t, 200, `{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":7,"progress":1}}`,
					`{"jsonrpc":"2.0","id":"x","result":{"_meta":{"io.modelcontextprotocol/serverInfo":{"name":"s","version":"1"}},"resultType":"complete","content":[]}}`)

				list := send(t, h, ask("2", "tools/list", ""), "Authorization", "Bearer a")
				a.answer(a.next(t, "tools/list"), `{"tools":[],"ttlMs":5}`)
				list.wants(t, 200, `{"jsonrpc":"2.0","id":2,"result":{"_meta":{"io.modelcontextprotocol/serverInfo":{"name":"s","version":"1"}},"cacheScope":"private","resultType":"complete","tools":[],"ttlMs":5}}`)
				read := send(t, h, ask("3", "resources/read", `"uri":"x:"`), "Authorization", "Bearer a")
				a.say(`{"jsonrpc":"2.0","id":%s,"error":{"code":-32002,"message":"no"}}`, a.next(t, "resources/read").RawID)
				read.wants(t, 200, `{"jsonrpc":"2.0","id":3,"error":{"code":-32602,"message":"no"}}`)
				for _, method := range []string{"ping", "initialize", "logging/setLevel", "resources/subscribe"} {
					if w := send(t, h, ask("4", method, `"level":"info"`), "Authorization", "Bearer a"); !w.over() || w.Code != 404 || !strings.Contains(w.Body.String(), "-32601") {
						t.Errorf("%s: %d %s", method, w.Code, w.Body)
					}
				}
				if len(started) != 0 {
					t.Fatal("one identity has more than one server")
				}

				other := send(t, h, ask(`"x"`, "tools/call", `"name":"t"`), "Authorization", "Bearer b")
				synctest.Wait()
				b := <-started
				if b.from != "Bearer b" {
					t.Errorf("the server was started for %q", b.from)
				}
				b.answer(b.next(t, "tools/call"), `{"resultType":"complete","_meta":{}}`)
				other.wants(t, 200, `{"jsonrpc":"2.0","id":"x","result":{"resultType":"complete","_meta":{"io.modelcontextprotocol/serverInfo":{"name":"s","version":"1"}}}}`)
				a.gotNothing(t)
			})
		})
	}
}

// Rule D5: a server that ends when it is asked what it does not know is started again.
func TestStatelessServerDiesOfProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, started := programs(t, dies, HubConfig{})
		call := send(t, h, ask("1", "tools/call", `"name":"t"`))
		synctest.Wait()
		<-started
		p := <-started
		p.answer(p.next(t, "tools/call"), `{}`)
		call.wants(t, 200, `{"jsonrpc":"2.0","id":1,"result":{"_meta":{"io.modelcontextprotocol/serverInfo":{"name":"s","version":"1"}},"resultType":"complete"}}`)
	})
}

// inputOf returns what a client is asked for, by key, and the state to come back with.
func inputOf(t *testing.T, p *pending) (requests map[string]json.RawMessage, state string) {
	t.Helper()
	all := p.messages()
	if len(all) == 0 {
		t.Fatal("the client got nothing")
	}
	var got struct {
		Result struct {
			ResultType    string
			InputRequests map[string]json.RawMessage
			RequestState  string
		}
	}
	last := all[len(all)-1]
	if err := json.Unmarshal([]byte(last), &got); err != nil || got.Result.ResultType != "input_required" || got.Result.RequestState == "" || !p.over() {
		t.Fatalf("the client got %s", last)
	}
	return got.Result.InputRequests, got.Result.RequestState
}

// Rule D3: what a server asks its client while it is at the client's request, a
// stateless client gets as the request's result, and answers when it comes back.
func TestStatelessInput(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, started := programs(t, handshakes, HubConfig{})
		token := `"progressToken":"t"`
		first := send(t, h, ask("1", "tools/call", `"name":"t"`, token))
		synctest.Wait()
		p := <-started
		m := p.next(t, "tools/call")
		p.say(`{"jsonrpc":"2.0","id":"s1","method":"elicitation/create","params":{"message":"</a>","n":1.50}}`)
		requests, state := inputOf(t, first)
		if len(requests) != 1 || string(requests["input-1"]) != `{"method":"elicitation/create","params":{"message":"</a>","n":1.50}}` {
			t.Fatalf("the client was asked %s", requests)
		}
		// Another one meanwhile, one that the client has no capability for, and one that
		// nobody knows.
		p.say(`{"jsonrpc":"2.0","id":2,"method":"roots/list"}`)
		p.say(`{"jsonrpc":"2.0","id":3,"method":"sampling/createMessage","params":{}}`)
		p.say(`{"jsonrpc":"2.0","id":4,"method":"vendor/x"}`)
		p.say(`{"jsonrpc":"2.0","id":5,"method":"ping"}`)
		for _, want := range []string{`{"jsonrpc":"2.0","id":3,"error":{"code":-32601,`, `{"jsonrpc":"2.0","id":4,"error":{"code":-32601,`, `{"jsonrpc":"2.0","id":5,"result":{}}`} {
			synctest.Wait()
			if got := string((<-p.got).Raw); !strings.HasPrefix(got, want) {
				t.Errorf("the server got %s, want %s", got, want)
			}
		}
		come := func(id, state, responses string) *pending {
			return send(t, h, ask(id, "tools/call", fmt.Sprintf(`"name":"t","requestState":%q,"inputResponses":%s`, state, responses), `"progressToken":"u"`))
		}
		second := come("2", state, `{"input-1":{"action":"accept","content":{"x":1.0}},"other":{}}`)
		synctest.Wait()
		if got, want := string((<-p.got).Raw), `{"jsonrpc":"2.0","id":"s1","result":{"action":"accept","content":{"x":1.0}}}`; got != want {
			t.Errorf("the server got %s, want %s", got, want)
		}
		requests, next := inputOf(t, second)
		if len(requests) != 1 || string(requests["input-2"]) != `{"method":"roots/list","params":{}}` || next == state {
			t.Fatalf("the client was asked %s", requests)
		}
		if again := come("9", state, `{}`); !again.over() || !strings.Contains(again.Body.String(), "-32602") {
			t.Errorf("a state was taken twice: %s", again.Body)
		}
		// It comes back with nothing, and is asked again.
		third := come("3", next, `{}`)
		requests, state = inputOf(t, third)
		if len(requests) != 1 {
			t.Fatalf("the client was asked %s", requests)
		}
		fourth := come("4", state, `{"input-2":{"roots":[]}}`)
		synctest.Wait()
		if got, want := string((<-p.got).Raw), `{"jsonrpc":"2.0","id":2,"result":{"roots":[]}}`; got != want {
			t.Errorf("the server got %s, want %s", got, want)
		}
		p.say(`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":%s,"progress":1}}`, message.Get(m.Raw, "params", "_meta", "progressToken"))
		p.answer(m, `{"done":true}`)
		fourth.wants(t, 200, `{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"u","progress":1}}`,
			`{"jsonrpc":"2.0","id":4,"result":{"_meta":{"io.modelcontextprotocol/serverInfo":{"name":"s","version":"1"}},"resultType":"complete","done":true}}`)
	})
}

// Rules D4, D5: nobody continues another's request, or another request with a state;
// what nobody continues ends after a while; an answer that comes early is kept.
func TestStatelessInputOfOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, started := programs(t, handshakes, HubConfig{})
		first := send(t, h, ask("1", "tools/call", `"name":"t"`), "Authorization", "Bearer a")
		synctest.Wait()
		p := <-started
		m := p.next(t, "tools/call")
		p.say(`{"jsonrpc":"2.0","id":"s1","method":"roots/list"}`)
		_, state := inputOf(t, first)
		resume := func(name, who string) *pending {
			return send(t, h, ask("2", "tools/call", fmt.Sprintf(`"name":%q,"requestState":%q,"inputResponses":{"input-1":{}}`, name, state)), "Authorization", who)
		}
		for _, w := range []*pending{resume("u", "Bearer a"), resume("t", "Bearer b"), resume("t", "")} {
			if !w.over() || !strings.Contains(w.Body.String(), `"code":-32602`) {
				t.Errorf("got %d %s", w.Code, w.Body)
			}
		}
		p.gotNothing(t)
		p.answer(m, `{"late":1}`)
		if w := resume("t", "Bearer a"); !w.over() || !strings.Contains(w.Body.String(), `"late":1`) {
			t.Errorf("got %d %s", w.Code, w.Body)
		}

		<-p.got // the answer to what the server has asked
		call := send(t, h, ask("3", "tools/call", `"name":"t"`), "Authorization", "Bearer a")
		m = p.next(t, "tools/call")
		p.say(`{"jsonrpc":"2.0","id":"s2","method":"roots/list"}`)
		_, state = inputOf(t, call)
		time.Sleep(waitForInput + time.Second)
		synctest.Wait()
		if got := <-p.got; string(got.RawID) != `"s2"` || !got.Failed {
			t.Errorf("the server got %s", got.Raw)
		}
		if got := p.next(t, "notifications/cancelled"); got.Cancels != m.ID {
			t.Errorf("the server got %s", got.Raw)
		}
		if w := resume("t", "Bearer a"); !w.over() || !strings.Contains(w.Body.String(), `"code":-32602`) {
			t.Errorf("got %d %s", w.Code, w.Body)
		}
	})
}

// Rule D5: what could belong to several requests is asked of nobody.
func TestStatelessInputOfSeveral(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, started := programs(t, handshakes, HubConfig{})
		a := send(t, h, ask("1", "tools/call", `"name":"a"`))
		synctest.Wait()
		p := <-started
		p.next(t, "tools/call")
		b := send(t, h, ask("2", "prompts/get", `"name":"b"`))
		p.next(t, "prompts/get")
		p.say(`{"jsonrpc":"2.0","id":"s","method":"roots/list"}`)
		synctest.Wait()
		if got := <-p.got; string(got.RawID) != `"s"` || !got.Failed {
			t.Errorf("the server got %s", got.Raw)
		}
		if a.over() || b.over() {
			t.Error("a request was answered with it")
		}
	})
}

// Rule D3: a subscription at a server that begins with a handshake.
func TestStatelessListen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, started := programs(t, handshakes, HubConfig{})
		const wish = `"notifications":{"toolsListChanged":true,"promptsListChanged":true,"resourceSubscriptions":["x:1","x:2"]}`
		a := send(t, h, ask(`"l"`, "subscriptions/listen", wish))
		synctest.Wait()
		p := <-started
		p.answer(p.next(t, "resources/subscribe"), `{}`)
		synctest.Wait()
		p.say(`{"jsonrpc":"2.0","id":%s,"error":{"code":-32002,"message":"no"}}`, p.next(t, "resources/subscribe").RawID)
		meta := fmt.Sprintf(`"_meta":{%q:"l"}`, metaSubscription)
		ack := `{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{"notifications":{"toolsListChanged":true,"resourceSubscriptions":["x:1"]},` + meta + `}}`
		a.wants(t, 200, ack)
		p.say(`{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}`)
		p.say(`{"jsonrpc":"2.0","method":"notifications/prompts/list_changed"}`)
		p.say(`{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"x:2"}}`)
		p.say(`{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"x:1"}}`)
		changed := `{"params":{` + meta + `},"jsonrpc":"2.0","method":"notifications/tools/list_changed"}`
		updated := `{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{` + meta + `,"uri":"x:1"}}`
		a.wants(t, 200, ack, changed, updated)

		// Another one watches the same resource: the server is told once.
		b := send(t, h, ask("2", "subscriptions/listen", `"notifications":{"resourceSubscriptions":["x:1"]}`))
		if got := b.messages(); len(got) != 1 {
			t.Fatalf("got %q", got)
		}
		p.gotNothing(t)
		a.leave()
		p.gotNothing(t)
		b.leave()
		if m := p.next(t, "resources/unsubscribe"); message.Text(m.Raw, "params", "uri") != "x:1" {
			t.Errorf("the server got %s", m.Raw)
		}
	})
}

// Rule A1, D4: a server that judges each request refuses the very request that it
// means: one that begins a conversation, one that it does not get itself, and one in
// the middle; none of it is kept for another.
func TestStatelessRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, started := programs(t, handshakes, HubConfig{Remote: true})
		expired := false
		ready := func(p *program) {
			p.refuse = func(from *http.Request, m message.Message) error {
				if expired && from != nil {
					return &Refusal{Status: 401, Header: http.Header{"Www-Authenticate": {`Bearer error="invalid_token", of="` + m.Method + `"`}}, Body: []byte("no")}
				}
				return nil
			}
		}
		call := send(t, h, ask("1", "tools/call", `"name":"t"`), "Authorization", "Bearer a")
		synctest.Wait()
		p := <-started
		p.answer(p.next(t, "tools/call"), `{}`)
		if !call.over() {
			t.Fatal("no answer")
		}
		ready(p)
		expired = true
		for _, method := range []string{"tools/call", "tools/list", "notifications/vendor"} {
			body := ask("2", method, `"name":"t"`)
			if strings.HasPrefix(method, "notifications/") {
				body = `{"jsonrpc":"2.0","method":"notifications/vendor"}`
			}
			w := send(t, h, body, "Authorization", "Bearer a")
			over := w.over()
			if got := w.Header().Get("WWW-Authenticate"); !over || w.Code != 401 || got != `Bearer error="invalid_token", of="`+method+`"` || w.Body.String() != "no" {
				t.Errorf("%s: %d %q %s", method, w.Code, got, w.Body)
			}
		}
		expired = false
		again := send(t, h, ask("3", "tools/call", `"name":"t"`), "Authorization", "Bearer a")
		p.answer(p.next(t, "tools/call"), `{}`)
		again.wants(t, 200, `{"jsonrpc":"2.0","id":3,"result":{"_meta":{"io.modelcontextprotocol/serverInfo":{"name":"s","version":"1"}},"resultType":"complete"}}`)
	})
}

// Rule D6: servers of stateless requests count as sessions; one that nobody uses gives
// way to a new one, and goes after a while.
func TestStatelessBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, started := programs(t, handshakes, HubConfig{Sessions: 2, Idle: time.Hour})
		call := func(who string) *pending {
			return send(t, h, ask("1", "tools/call", `"name":"t"`), "Authorization", who)
		}
		a := call("a")
		synctest.Wait()
		pa := <-started
		b := call("b")
		synctest.Wait()
		pb := <-started
		if c := call("c"); !c.over() || c.Code != 503 || c.Header().Get("Retry-After") == "" {
			t.Errorf("a third: %d %s", c.Code, c.Body)
		}
		pa.answer(pa.next(t, "tools/call"), `{}`)
		if !a.over() {
			t.Error("the first has no answer")
		}
		c := call("c")
		synctest.Wait()
		pc := <-started
		select {
		case <-pa.done:
		default:
			t.Error("the server that nobody used is still there")
		}
		pb.answer(pb.next(t, "tools/call"), `{}`)
		pc.answer(pc.next(t, "tools/call"), `{}`)
		if !b.over() || !c.over() || h.Len() != 2 {
			t.Errorf("%d servers", h.Len())
		}
		time.Sleep(time.Hour + time.Second)
		synctest.Wait()
		if h.Len() != 0 {
			t.Errorf("%d servers are left", h.Len())
		}
	})
}

// Rule D5: the identity that shares a server, and that may use a session.
func TestIdentity(t *testing.T) {
	h := NewHub(HubConfig{User: func(r *http.Request) string { return r.Header.Get("X-Test-User") }})
	defer h.Close()
	jwt := func(sub string, n int) string {
		return fmt.Sprintf("Bearer e30.%s.sig%d", base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, `{"iss":"https://as","sub":%q,"n":%d}`, sub, n)), n)
	}
	request := func(header ...string) *http.Request {
		r := httptest.NewRequest(http.MethodPost, "/", nil)
		for i := 0; i+1 < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
		return r
	}
	for name, tc := range map[string]struct {
		a, b              []string
		same, local, judg bool // one server; one session at a program, at a server that judges
	}{
		"nobody":                      {nil, nil, true, true, true},
		"one token":                   {[]string{"Authorization", "Bearer x"}, []string{"Authorization", "Bearer x"}, true, true, true},
		"another token":               {[]string{"Authorization", "Bearer x"}, []string{"Authorization", "Bearer y"}, false, false, true},
		"no token any more":           {[]string{"Authorization", "Bearer x"}, nil, false, false, true},
		"a refreshed token":           {[]string{"Authorization", jwt("u", 1)}, []string{"Authorization", jwt("u", 2)}, false, true, true},
		"a token of another":          {[]string{"Authorization", jwt("u", 1)}, []string{"Authorization", jwt("v", 2)}, false, false, false},
		"one key":                     {[]string{"X-Api-Key", "k", "Cookie", "a"}, []string{"X-Api-Key", "k", "Cookie", "b"}, true, true, true},
		"another key":                 {[]string{"X-Api-Key", "k"}, []string{"X-Api-Key", "l"}, false, false, true},
		"other cookies":               {[]string{"Cookie", "a"}, []string{"Cookie", "b"}, false, false, true},
		"one user":                    {[]string{"X-Test-User", "u", "Authorization", "Bearer x"}, []string{"X-Test-User", "u", "Authorization", "Bearer y"}, true, true, true},
		"another user":                {[]string{"X-Test-User", "u", "Authorization", "Bearer x"}, []string{"X-Test-User", "v", "Authorization", "Bearer x"}, false, false, false},
		"a user that is named":        {[]string{"Remote-User", "u"}, []string{"Remote-User", "u"}, true, true, true},
		"another one that is named":   {[]string{"Remote-User", "u"}, []string{"Remote-User", "v"}, false, false, false},
		"one that a client has named": {[]string{"Authorization", "Bearer x"}, []string{"Authorization", "Bearer x", "Remote-User", "u"}, false, false, false},
		"a name with another token":   {[]string{"Remote-User", "u", "Authorization", "Bearer x"}, []string{"Remote-User", "u", "Authorization", "Bearer y"}, false, true, true},
	} {
		a, b := h.identify(request(tc.a...)), h.identify(request(tc.b...))
		if got := a.key() == b.key(); got != tc.same {
			t.Errorf("%s: share a server: %t", name, got)
		}
		if got := a.owns(b, false); got != tc.local {
			t.Errorf("%s: share a session: %t", name, got)
		}
		if got := a.owns(b, true); got != tc.judg {
			t.Errorf("%s: share a session that a server judges: %t", name, got)
		}
	}
}

// Rule D6: the session of another user is none.
func TestSessionOfAnotherUser(t *testing.T) {
	h, _, _ := directHub(t, HubConfig{User: func(r *http.Request) string { return r.Header.Get("X-Test-User") }})
	defer h.Close()
	w := direct(t.Context(), h, "POST", "", fmt.Sprintf(initializeBody, "2025-11-25"), "X-Test-User", "u")
	id := w.Header().Get("Mcp-Session-Id")
	const note = `{"jsonrpc":"2.0","method":"notifications/x"}`
	for user, want := range map[string]int{"u": 202, "v": 404, "": 404} {
		for _, method := range []string{"POST", "DELETE"} {
			if method == "DELETE" && user == "u" {
				continue
			}
			if w := direct(t.Context(), h, method, id, note, "X-Test-User", user); w.Code != want {
				t.Errorf("%s of %q: %d %s, want %d", method, user, w.Code, w.Body, want)
			}
		}
	}
}

// A name for Mcp-Name or Mcp-Param-* reads as what it was written from.
func FuzzField(f *testing.F) {
	for _, s := range []string{"", "a", " a", "a\t", "grüße", "=?base64?x?=", "=?base64?=", "\x00", "a\nb"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		field := encodeField(s)
		for i := range len(field) {
			if c := field[i]; c != '\t' && (c < ' ' || c > '~') {
				t.Fatalf("%q is written as %q", s, field)
			}
		}
		if got, ok := decodeField(field); !ok || got != s {
			t.Errorf("%q reads as %q", field, got)
		}
		_, _ = decodeField(s)
	})
}
