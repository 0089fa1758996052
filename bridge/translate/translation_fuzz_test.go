package translate

import (
	"encoding/json"
	"net/http"
	"sync"
	"testing"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/mcp"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/upstream"
)

// keeper is a peer that keeps the messages it is sent.
type keeper struct {
	mu   sync.Mutex
	got  []message.Message
	done chan struct{}
}

func (p *keeper) Send(_ *http.Request, sent message.Message) error {
	m, err := message.Parse(sent.Raw)
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.got = append(p.got, m)
	return nil
}

// nth returns the message at an index.
func (p *keeper) nth(n int) (m message.Message, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n >= len(p.got) {
		return m, false
	}
	return p.got[n], true
}

func (p *keeper) Done() <-chan struct{} { return p.done }

func (p *keeper) Close() error { return nil }

// httpKeeper is a keeper that speaks HTTP.
type httpKeeper struct{ *keeper }

func (p httpKeeper) Post(from *http.Request, sent message.Message, _ http.Header) error {
	return p.Send(from, sent)
}

func (httpKeeper) Abandon(message.Key)   {}
func (httpKeeper) Latest() *http.Request { return nil }
func (httpKeeper) BreakOff()             {}

var _ upstream.Poster = httpKeeper{}

const (
	allCapabilities = `{"tools":{"listChanged":true},"prompts":{},"resources":{"subscribe":true,"listChanged":true},"logging":{}}`
	allDeclared     = `{"elicitation":{"form":{},"url":{}},"sampling":{},"roots":{"listChanged":true}}`
)

// translating returns a translator before a stateless server. deliver gets what it gives
// the client.
func translating(p upstream.Peer, deliver upstream.Deliver) *Translator {
	to, _ := Wrap(Config{Revision: NewServerRevision(false)})(p, deliver)
	f := to.(*Translator)
	f.translation = newTranslation(p, deliver, f.cfg.Warn)
	f.translation.requests.client.Capabilities = []byte(allDeclared)
	f.translation.server.Capabilities = []byte(allCapabilities)
	f.era.Store(uint32(Stateless))
	return f
}

// Whatever a client and a stateless server send, both get valid messages: the server gets
// requests with what its revision wants, and the client gets answers to its requests.
func FuzzTranslation(f *testing.F) {
	for _, seed := range []struct{ said, answer, notified string }{
		{`{"jsonrpc":"2.0","id":"x","method":"tools/call","params":{"name":"a","_meta":{"progressToken":1}}}`, `"result":{"resultType":"input_required","inputRequests":{"a":{"method":"roots/list"}}}`, `"notifications/progress","params":{"progressToken":1}`},
		{`{"jsonrpc":"2.0","id":"x","method":"tools/call","params":{"name":"a"}}`, `"result":{}`, `"notifications/progress","params":{"progressToken":1}`}, // that nobody has asked for
		{`{"jsonrpc":"2.0","id":1.5,"method":"tools/list","params":[]}`, `"result":{"tools":[{"name":"a","outputSchema":{},"inputSchema":{"properties":{"a":{"type":"string","x-mcp-header":"A"}}}}]}`, `"notifications/tools/list_changed"`},
		{`{"jsonrpc":"2.0","id":1,"method":"resources/subscribe","params":{"uri":"a:"}}`, `"error":{"code":-32602,"message":"m"}`, `"notifications/subscriptions/acknowledged","params":{"_meta":{"` + mcp.MetaSubscription + `":2},"notifications":{}}`},
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
		var mu sync.Mutex // what was refused is asked for again by a timer
		var delivered []message.Message
		p := &keeper{done: make(chan struct{})}
		f := translating(httpKeeper{p}, func(m message.Message, _ message.Key, _ *upstream.Refusal) {
			mu.Lock()
			defer mu.Unlock()
			delivered = append(delivered, m)
		})
		_ = f.Send(nil, m)
		for n := range 8 {
			got, ok := p.nth(n)
			if !ok {
				break
			}
			if got.Kind != message.Request {
				continue
			}
			if params := message.Get(got.Raw, "params"); (len(params) == 0 || params[0] == '{') && message.Get(got.Raw, "params", "_meta", mcp.MetaVersion) == nil &&
				(message.Get(got.Raw, "params", "_meta") == nil || message.Get(got.Raw, "params", "_meta")[0] == '{') {
				t.Errorf("the server gets %s", got.Raw)
			}
			for _, from := range []string{`{"jsonrpc":"2.0","method":` + notified + `}`, `{"jsonrpc":"2.0","id":` + string(got.RawID) + `,` + answer + `}`} {
				if m, err := message.Parse([]byte(from)); err == nil {
					f.receive(m, "", nil)
				}
			}
		}
		mu.Lock()
		defer mu.Unlock()
		for _, sent := range delivered {
			got, err := message.Parse(sent.Raw)
			if err != nil || !json.Valid(sent.Raw) {
				t.Fatalf("the client gets %s: %v", sent.Raw, err)
			}
			if got.Kind != sent.Kind || got.ID != sent.ID {
				t.Errorf("the client gets %s, which is said to be %v", sent.Raw, sent)
			}
			if sent.Kind == message.Response && got.ID != m.ID {
				t.Errorf("the client gets %s for %s", sent.Raw, m.Raw)
			}
		}
	})
}
