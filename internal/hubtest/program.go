package hubtest

import (
	"fmt"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/mcp"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
)

// Program is a server that a test speaks for, but for how it begins.
type Program struct {
	Deliver func([]byte)
	Got     chan message.Message
	Ended   chan struct{}
	once    sync.Once
	Refuse  func(from *http.Request, m message.Message) error // nil: it takes everything
	From    string                                            // Authorization of whom it was started for
}

// Send implements [upstream.Peer].
func (p *Program) Send(from *http.Request, sent message.Message) error {
	m, err := parsedAgain(sent)
	if err != nil {
		return err
	}
	if p.Refuse != nil {
		if err := p.Refuse(from, m); err != nil {
			return err
		}
	}
	p.Got <- m
	return nil
}

// Done implements [upstream.Peer].
func (p *Program) Done() <-chan struct{} { return p.Ended }

// Close implements [upstream.Peer].
func (p *Program) Close() error {
	p.once.Do(func() { close(p.Ended) })
	return nil
}

// Emit sends a message to the bridge; %s stand for JSON.
func (p *Program) Emit(format string, args ...any) { p.Deliver(fmt.Appendf(nil, format, args...)) }

// Answer answers what the server got last with a result.
func (p *Program) Answer(m message.Message, result string) {
	p.Emit(`{"jsonrpc":"2.0","id":%s,"result":%s}`, m.RawID, result)
}

// Nature is how a program begins.
type Nature int

// The natures of programs.
const (
	Stateless  Nature = iota // it answers server/discover
	Handshakes               // it refuses server/discover and answers initialize
	Silent                   // it answers nothing that it does not know
	Dies                     // at what it does not know
)

// InitializeResult is what a program answers to initialize.
const InitializeResult = `{"protocolVersion":"2025-06-18","capabilities":{"tools":{"listChanged":true},"resources":{"subscribe":true},"logging":{}},"serverInfo":{"name":"s","version":"1"},"instructions":"ask"}`

// begin answers what a server is asked before it serves.
func (p *Program) begin(kind Nature) {
	var hold []message.Message
	for {
		select {
		case <-p.Ended:
			return
		case m := <-p.Got:
			switch m.Method {
			case "server/discover":
				switch kind {
				case Stateless:
					p.Answer(m, `{"resultType":"complete","supportedVersions":["2026-07-28"],"capabilities":{}}`)
					return
				case Handshakes:
					p.Emit(`{"jsonrpc":"2.0","id":%s,"error":{"code":-32601,"message":"unknown"}}`, m.RawID)
				case Dies:
					_ = p.Close()
				}
			case "initialize":
				p.Answer(m, InitializeResult)
			case "notifications/initialized":
				for _, m := range hold {
					p.Got <- m
				}
				return
			default:
				if kind == Stateless { // it was asked before
					p.Got <- m
					return
				}
				hold = append(hold, m)
			}
		}
	}
}

// Next returns what the server gets next.
func (p *Program) Next(t *testing.T, method string) message.Message {
	t.Helper()
	synctest.Wait()
	select {
	case m := <-p.Got:
		if m.Method != method {
			t.Fatalf("the server got %s, want %q", m.Raw, method)
		}
		return m
	default:
		t.Fatalf("the server got nothing, want %q", method)
		return message.Message{}
	}
}

// GotNothing fails where the server got a message.
func (p *Program) GotNothing(t *testing.T) {
	t.Helper()
	synctest.Wait()
	select {
	case m := <-p.Got:
		t.Fatalf("the server got %s", m.Raw)
	default:
	}
}

const (
	RefusesInitialize = `{"jsonrpc":"2.0","id":%s,"error":{"code":-32601,"message":"supported is 2026-07-28"}}`
	AllCapabilities   = `{"tools":{"listChanged":true},"prompts":{},"resources":{"subscribe":true,"listChanged":true},"logging":{}}`
	DiscoverResult    = `{"resultType":"complete","supportedVersions":["2026-07-28"],"capabilities":` + AllCapabilities + `,"instructions":"ask","_meta":{"` + mcp.MetaServer + `":{"name":"s","version":"1"}}}`
	AllDeclared       = `{"elicitation":{"form":{},"url":{}},"sampling":{},"roots":{"listChanged":true}}`
)

// Agree acknowledges the next subscriptions/listen, which must name the given resources.
func (p *Program) Agree(t *testing.T, watched string) message.Message {
	t.Helper()
	m := p.Next(t, "subscriptions/listen")
	wanted := message.Get(m.Raw, "params", "notifications")
	if got := string(message.Get(wanted, "resourceSubscriptions")); got != watched {
		t.Fatalf("it asks for resources %s, want %s", got, watched)
	}
	p.Emit(`{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{"_meta":{%q:%s},"notifications":%s}}`, mcp.MetaSubscription, m.RawID, wanted)
	synctest.Wait()
	return m
}

// AgreeAll acknowledges a subscription as it was asked for.
func (p *Program) AgreeAll(m message.Message) {
	p.Emit("%s", NotificationOf(string(m.RawID), Acknowledged, `,"notifications":`+string(message.Get(m.Raw, "params", "notifications"))))
}

// NotificationOf is a notification of a subscription; rest are further members of its params.
func NotificationOf(id, method, rest string) string {
	return fmt.Sprintf(`{"jsonrpc":"2.0","method":%q,"params":{"_meta":{%q:%s}%s}}`, method, mcp.MetaSubscription, id, rest)
}

const (
	Acknowledged = "notifications/subscriptions/acknowledged"
	ToolsChanged = "notifications/tools/list_changed"
	Updated      = "notifications/resources/updated"
	OnlyTools    = `"notifications":{"toolsListChanged":true}`
)
