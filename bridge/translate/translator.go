package translate

import (
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/upstream"
)

// Config is what the translators of one endpoint have in common.
type Config struct {
	// Revision is what the endpoint knows of its server.
	Revision *ServerRevision
	// StartTimeout bounds how long an initialize may take. Default: 1m.
	StartTimeout time.Duration
	// Warn reports what an operator should see. Default: no report.
	Warn func(msg, cause string)
}

// Wrap returns a function that puts a translator between a session and its server. It
// returns what the session sends to, and what takes the messages of the server. It is for
// servers that may be stateless; servers that speak HTTP+SSE never are.
func Wrap(cfg Config) func(upstream.Peer, upstream.Deliver) (upstream.Peer, upstream.Deliver) {
	if cfg.StartTimeout <= 0 {
		cfg.StartTimeout = upstream.DefaultStartTimeout
	}
	if cfg.Warn == nil {
		cfg.Warn = func(string, string) {}
	}
	return func(peer upstream.Peer, deliver upstream.Deliver) (upstream.Peer, upstream.Deliver) {
		t := &Translator{Peer: peer, deliver: deliver, cfg: &cfg}
		return t, t.receive
	}
}

// Translator stands between a client with a handshake and its server. It passes everything
// through to a server that answers initialize. If the server refuses initialize and answers
// server/discover, the translator answers initialize itself, and a [translation] takes all
// messages from then on (MCP specification 2026-07-28, "Compatibility Matrix": a legacy
// client and a modern server).
type Translator struct {
	upstream.Peer
	deliver upstream.Deliver // gives the client a message
	cfg     *Config
	era     atomic.Uint32 // an [Era]; Unknown until initialize is answered

	mu sync.Mutex
	// initializeRequest is the client's initialize, until the server has answered it.
	// initializeSending is set while it is being sent, and initializeError is the server's
	// error if it arrives meanwhile.
	initializeRequest *message.Message
	initializeSending bool
	initializeError   *message.Message
	// translation is set once the server is asked whether it is stateless. It does not
	// change after that.
	translation *translation
}

var (
	_ upstream.Refuser = (*Translator)(nil)
	_ upstream.Checker = (*Translator)(nil)
)

// Unwrap returns the peer that the translator stands before.
func (t *Translator) Unwrap() upstream.Peer { return t.Peer }

// Refusing implements [upstream.Refuser].
func (t *Translator) Refusing() *upstream.Refusal { return upstream.RefusalOf(t.Peer) }

// Send implements [upstream.Peer].
func (t *Translator) Send(from *http.Request, m message.Message) error {
	known := Era(t.era.Load())
	switch {
	case known == Handshake:
		return t.Peer.Send(from, m)
	case known == Stateless:
		return t.translation.fromClient(from, m)
	case m.Kind != message.Request || m.Method != "initialize":
		return t.Peer.Send(from, m)
	case t.cfg.Revision.RefusesInitialize():
		return t.answerInitialize(from, m, t.cfg.StartTimeout, func(from *http.Request) error {
			t.cfg.Revision.SetRefusesInitialize(false)
			return t.initialize(from, m)
		})
	}
	return t.initialize(from, m)
}

// receive implements [upstream.Deliver]: it takes a message of the server.
func (t *Translator) receive(m message.Message, about message.Key, cause *upstream.Refusal) {
	switch Era(t.era.Load()) {
	case Handshake:
		t.deliver(m, about, cause)
	case Stateless:
		t.translation.fromServer(m)
	default:
		if !t.receiveUnknown(m, cause) {
			t.deliver(m, about, cause)
		}
	}
}

// UnderWay returns the number of requests under way at a stateless server.
func (t *Translator) UnderWay() int {
	t.mu.Lock()
	to := t.translation
	t.mu.Unlock()
	if to == nil {
		return 0
	}
	to.requests.mu.Lock()
	defer to.requests.mu.Unlock()
	return len(to.requests.open)
}

// Check implements [upstream.Checker]. Some requests are answered without the server. If
// the server judges each request, Check sends it server/discover with the credentials of
// such a request first.
func (t *Translator) Check(from *http.Request) error {
	if Era(t.era.Load()) == Stateless {
		return t.translation.requests.check(from)
	}
	if peer, ok := t.Peer.(upstream.Checker); ok {
		return peer.Check(from)
	}
	return nil
}
