package hubtest

import (
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"sync"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/upstream"
)

// Scripted is a peer that a test speaks for.
type Scripted struct {
	Deliver  func([]byte)
	Got      chan string
	Ended    chan struct{}
	Once     sync.Once
	Initial  string // its answer to initialize; empty: none
	SendFail bool
}

// Send implements [upstream.Peer].
func (p *Scripted) Send(_ *http.Request, sent message.Message) error {
	frame := sent.Raw
	if p.SendFail {
		return errors.New("full")
	}
	if p.Initial != "" && strings.Contains(string(frame), `"initialize"`) {
		go p.Deliver([]byte(p.Initial))
		return nil
	}
	p.Got <- string(frame)
	return nil
}

// Done implements [upstream.Peer].
func (p *Scripted) Done() <-chan struct{} { return p.Ended }

// Close implements [upstream.Peer].
func (p *Scripted) Close() error {
	p.Once.Do(func() { close(p.Ended) })
	return nil
}

// Initialized is the answer of a scripted server to [InitializeBody].
const Initialized = `{"jsonrpc":"2.0","id":"i","result":{"protocolVersion":"2025-11-25","capabilities":{},"serverInfo":{"name":"s","version":"1"}}}`

// DeliverTo returns what hands on the texts that a scripted server sends, as a peer does.
func DeliverTo(to upstream.Receiver) func(text []byte) {
	return func(text []byte) {
		all, err := message.ParseAll(text, message.MaxBatch)
		if err != nil {
			to.Stray(text, err)
		}
		for _, m := range all {
			to.Message(m)
		}
	}
}

// parsedAgain returns a message that was sent as its text has it. The two have to be the
// same, but for what only a text that was parsed can say.
func parsedAgain(sent message.Message) (message.Message, error) {
	m, err := message.Parse(sent.Raw)
	if err == nil {
		sent.InPlace, sent.Lookalike = m.InPlace, m.Lookalike
		if !reflect.DeepEqual(sent, m) {
			err = fmt.Errorf("sent %+v with the text of %+v", sent, m)
		}
	}
	return m, err
}
