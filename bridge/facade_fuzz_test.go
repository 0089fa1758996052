package bridge

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
)

// keeper is a peer that keeps what it is sent.
type keeper struct {
	mu   sync.Mutex
	got  []message.Message
	done chan struct{}
}

func (p *keeper) Send(_ *http.Request, frame []byte) error {
	m, err := message.Parse(frame)
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.got = append(p.got, m)
	return nil
}

// nth returns what it has been sent.
func (p *keeper) nth(n int) (m message.Message, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n >= len(p.got) {
		return m, false
	}
	return p.got[n], true
}

func (p *keeper) post(from *http.Request, frame []byte, _ http.Header) error {
	return p.Send(from, frame)
}
func (p *keeper) abandon(message.Key)   {}
func (p *keeper) latest() *http.Request { return nil }
func (p *keeper) breakOff()             {}
func (p *keeper) Done() <-chan struct{} { return p.done }
func (p *keeper) Close() error          { return nil }

// translating returns a facade of a stateless server, and the session that it is of.
func translating() (*facade, *keeper, *session) {
	h := NewHub(HubConfig{})
	s := newSession(h, "s")
	p := &keeper{done: make(chan struct{})}
	s.join(p)
	f := s.facade
	f.client.capabilities = []byte(allDeclared)
	f.server.capabilities = []byte(allCapabilities)
	f.era.Store(uint32(eraStateless))
	return f, p, s
}

// Whatever a client and a stateless server say to each other, each is sent messages
// alone: the server requests that have what the revision wants, the client answers to
// what it has asked.
func FuzzFacade(f *testing.F) {
	for _, seed := range []struct{ said, answer, notified string }{
		{`{"jsonrpc":"2.0","id":"x","method":"tools/call","params":{"name":"a","_meta":{"progressToken":1}}}`, `"result":{"resultType":"input_required","inputRequests":{"a":{"method":"roots/list"}}}`, `"notifications/progress","params":{"progressToken":1}`},
		{`{"jsonrpc":"2.0","id":1.5,"method":"tools/list","params":[]}`, `"result":{"tools":[{"name":"a","outputSchema":{},"inputSchema":{"properties":{"a":{"type":"string","x-mcp-header":"A"}}}}]}`, `"notifications/tools/list_changed"`},
		{`{"jsonrpc":"2.0","id":1,"method":"resources/subscribe","params":{"uri":"a:"}}`, `"error":{"code":-32602,"message":"m"}`, `"notifications/subscriptions/acknowledged","params":{"_meta":{"` + metaSubscription + `":2},"notifications":{}}`},
		{`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":null}`, `"result":{"structuredContent":[],"resultType":7}`, `"notifications/cancelled","params":{"requestId":2}`},
		{`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}`, `"result":null`, `"notifications/resources/updated","params":{"_meta":{},"uri":"a:"}`},
		{`{"jsonrpc":"2.0","id":1,"method":"resources/read","params":{"uri":"a:","_meta":7}}`, `"result":{"resultType":"input_required","requestState":7}`, `"vendor/x","params":{"_meta":[]}`},
	} {
		f.Add(seed.said, seed.answer, seed.notified)
	}
	f.Fuzz(func(t *testing.T, said, answer, notified string) {
		m, err := message.Parse([]byte(said))
		if err != nil || m.Method == "initialize" {
			return
		}
		f, p, s := translating()
		if m.Kind == message.Request {
			s.pending[m.ID] = s.general
			s.general.waiting[m.ID] = m.RawID
		}
		_ = f.Send(nil, m.Raw)
		for n := range 8 {
			got, ok := p.nth(n)
			if !ok {
				break
			}
			if got.Kind != message.Request {
				continue
			}
			if params := message.Get(got.Raw, "params"); (len(params) == 0 || params[0] == '{') && message.Get(got.Raw, "params", "_meta", metaVersion) == nil &&
				(message.Get(got.Raw, "params", "_meta") == nil || message.Get(got.Raw, "params", "_meta")[0] == '{') {
				t.Errorf("the server gets %s", got.Raw)
			}
			for _, from := range []string{`{"jsonrpc":"2.0","method":` + notified + `}`, `{"jsonrpc":"2.0","id":` + string(got.RawID) + `,` + answer + `}`} {
				if m, err := message.Parse([]byte(from)); err == nil {
					f.take(m)
				}
			}
		}
		for _, e := range s.general.events {
			got, err := message.Parse(e.raw)
			if err != nil || !json.Valid(e.raw) {
				t.Fatalf("the client gets %s: %v", e.raw, err)
			}
			if e.response && (got.Kind != message.Response || got.ID != m.ID) {
				t.Errorf("the client gets %s for %s", e.raw, m.Raw)
			}
		}
	})
}

// The fields of a schema that is called sound can be sent.
func FuzzSoundFields(f *testing.F) {
	for _, seed := range []string{
		`{"properties":{"a":{"type":"string","x-mcp-header":"A"}}}`,
		`{"properties":{"x-mcp-header":{"type":"string"}}}`,
		`{"items":{"properties":{"a":{"type":"string","x-mcp-header":"A"}}}}`,
		`{"x-mcp-header":"A"}`, `{"default":{"x-mcp-header":1}}`, `[]`, `{"properties":[1]}`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, schema string) {
		if !json.Valid([]byte(schema)) || !hasSoundFields([]byte(schema)) {
			return
		}
		for _, field := range fieldsOf([]byte(schema), nil) {
			r, err := http.NewRequest(http.MethodPost, "http://h/", nil)
			if err != nil {
				t.Fatal(err)
			}
			r.Header[field.name] = []string{"x"}
			if err := r.Write(io.Discard); err != nil || strings.ContainsAny(field.name, " :\r\n") {
				t.Errorf("field %q: %v", field.name, err)
			}
		}
	})
}

// Only what the revision allows names a field (MCP specification 2026-07-28, "Schema
// Extension").
func TestSoundFields(t *testing.T) {
	deep := strings.Repeat(`{"properties":{"a":`, maxParamDepth+1) + `{"type":"string","x-mcp-header":"A"}` + strings.Repeat(`}}`, maxParamDepth+1)
	for schema, sound := range map[string]bool{
		`{}`: true,
		`{"properties":{"a":{"type":"string","x-mcp-header":"A"},"b":{"properties":{"c":{"type":"integer","x-mcp-header":"C"}}}}}`: true,
		`{"properties":{"x-mcp-header":{"type":"number"}}}`:                                                                        true,
		`{"properties":{"a":{"type":"object","default":{"x-mcp-header":"A"}}}}`:                                                    true,
		`{"properties":{"a":{"type":"number","x-mcp-header":"A"}}}`:                                                                false,
		`{"properties":{"a":{"x-mcp-header":"A"}}}`:                                                                                false,
		`{"properties":{"a":{"type":"string","x-mcp-header":""}}}`:                                                                 false,
		`{"properties":{"a":{"type":"string","x-mcp-header":"A B"}}}`:                                                              false,
		`{"properties":{"a":{"type":"string","x-mcp-header":"A\n"}}}`:                                                              false,
		`{"properties":{"a":{"type":"string","x-mcp-header":1}}}`:                                                                  false,
		`{"properties":{"a":{"type":"string","x-mcp-header":"A"},"b":{"type":"string","x-mcp-header":"a"}}}`:                       false,
		`{"properties":{"a":{"items":{"type":"string","x-mcp-header":"A"}}}}`:                                                      false,
		`{"allOf":[{"properties":{"a":{"type":"string","x-mcp-header":"A"}}}]}`:                                                    false,
		`{"$defs":{"a":{"properties":{"a":{"type":"string","x-mcp-header":"A"}}}}}`:                                                false,
		`{"type":"string","x-mcp-header":"A"}`:                                                                                     false,
		deep:                                                                                                                       false,
	} {
		if got := hasSoundFields([]byte(schema)); got != sound {
			t.Errorf("%s: got %t", schema, got)
		}
	}
}
