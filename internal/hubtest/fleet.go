package hubtest

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/upstream"
)

// Fleet counts servers that take their time to end.
type Fleet struct {
	Mu          sync.Mutex
	alive, most int
	begun       int
	EndsIn      func() time.Duration // to end
	Answers     func(p *FleetServer, m message.Message)
	FailStart   func() error // of a start, once it has taken its time
}

// FleetServer is one of them.
type FleetServer struct {
	*upstream.Ending
	fleet   *Fleet
	Deliver func([]byte)
	once    sync.Once
}

// Start is a Start of [servers.Config].
func (a *Fleet) Start(ctx context.Context, _ *http.Request, to upstream.Receiver) (upstream.Peer, error) {
	deliver := DeliverTo(to)
	a.Mu.Lock()
	a.begun++
	a.alive++
	a.most = max(a.most, a.alive)
	a.Mu.Unlock()
	p := &FleetServer{Ending: upstream.NewEnding(), fleet: a, Deliver: deliver}
	if a.FailStart != nil {
		if err := a.FailStart(); err != nil {
			time.Sleep(a.EndsIn())
			p.gone()
			return nil, err
		}
	}
	return p, nil
}

func (p *FleetServer) gone() {
	p.fleet.Mu.Lock()
	p.fleet.alive--
	p.fleet.Mu.Unlock()
}

// Send implements [upstream.Peer].
func (p *FleetServer) Send(_ *http.Request, sent message.Message) error {
	m, err := parsedAgain(sent)
	if err != nil {
		return err
	}
	go p.fleet.Answers(p, m)
	return nil
}

// Close implements [upstream.Peer].
func (p *FleetServer) Close() error {
	p.once.Do(func() {
		go func() { // others that close it have to wait on a channel, where the clock goes on
			time.Sleep(p.fleet.EndsIn())
			p.gone()
			p.End()
		}()
	})
	<-p.Done()
	return nil
}

// Answer answers a request with a result.
func (p *FleetServer) Answer(m message.Message, result string) {
	p.Deliver(fmt.Appendf(nil, `{"jsonrpc":"2.0","id":%s,"result":%s}`, m.RawID, result))
}

// Refuse answers a request with an error.
func (p *FleetServer) Refuse(m message.Message) {
	p.Deliver(message.Error(m.RawID, message.CodeInvalidParams, "not so"))
}

// Legacy answers what a server with a handshake does.
func Legacy(p *FleetServer, m message.Message) {
	switch {
	case m.Method == "initialize":
		p.Answer(m, InitializeResult)
	case m.Method == "server/discover":
		p.Refuse(m)
	case m.Kind == message.Request:
		p.Answer(m, "{}")
	}
}

// Count returns how many servers there are, and the most there ever were at a time.
func (a *Fleet) Count() (alive, most, begun int) {
	a.Mu.Lock()
	defer a.Mu.Unlock()
	return a.alive, a.most, a.begun
}
