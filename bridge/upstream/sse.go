package upstream

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/mcp"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/origin"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/sse"
)

// ErrEnded is the error of [Peer.Send] if the conversation with the server is over.
var ErrEnded = errors.New("the server has ended the conversation")

// ssePeer is a conversation with a server that speaks HTTP+SSE (MCP specification
// 2024-11-05): one event stream, which has the credentials of the request that
// opened it, and a path that messages are posted to, each with the credentials of
// its own request.
type ssePeer struct {
	*Ending
	backend Backend
	opener  *http.Request
	path    string // escaped
	query   string
	ctx     context.Context // of the conversation
	cancel  context.CancelFunc
	// matcher notes what is sent. It is set before anything is sent.
	matcher *matcher

	mu     sync.Mutex
	calls  sync.WaitGroup
	ending bool
}

// StartSSE returns a function that connects to a server that speaks HTTP+SSE, on behalf of a
// client's request. maxMessage bounds a message of the server, in bytes.
func StartSSE(backend Backend, maxMessage int) func(context.Context, *http.Request, Receiver) (Peer, error) {
	return func(ctx context.Context, from *http.Request, to Receiver) (Peer, error) {
		p := &ssePeer{Ending: NewEnding(), backend: backend, opener: backend.Detach(from)}
		p.ctx, p.cancel = context.WithCancel(p.opener.Context())
		events := &sse.Parser{Limit: maxMessage, Each: func(e sse.Event) error {
			// The stream is of this conversation alone: a message on it is one, whatever the
			// event is called.
			if e.Name == "endpoint" {
				return nil
			}
			all, err := message.ParseAll(e.Data, message.MaxBatch)
			if err != nil && (e.Name == "" || e.Name == "message") {
				to.Stray(e.Data, err)
			}
			for _, m := range all {
				to.Message(m)
			}
			return nil
		}}
		w := newCapture(maxRefusal, func(status int, h http.Header) io.Writer {
			if status == http.StatusOK && mcp.IsEventStream(h) {
				return events
			}
			return nil
		})
		w.cut = p.cancel
		announced := make(chan struct{})
		var once sync.Once
		r := derive(p.ctx, p.opener, http.MethodGet, nil)
		r.Header["Accept"] = []string{"text/event-stream"}
		var err error
		go func() {
			defer p.end()
			err = backend.Call(w, Call{Request: r, Announced: func(path, query string) {
				once.Do(func() {
					p.path, p.query = path, query
					close(announced)
				})
			}})
		}()
		select {
		case <-announced:
			return p, nil
		case <-ctx.Done():
			p.cancel()
			<-p.done
			return nil, &Refusal{Status: http.StatusGatewayTimeout}
		case <-p.done:
			if refusal := w.refusal(err); refusal != nil {
				return nil, refusal
			}
			return nil, &Refusal{Status: http.StatusBadGateway}
		}
	}
}

// end waits for the calls under way when the stream is over.
func (p *ssePeer) end() {
	p.cancel()
	p.mu.Lock()
	p.ending = true
	p.mu.Unlock()
	p.calls.Wait()
	p.End()
}

// begin counts a call. It returns false if the conversation is over.
func (p *ssePeer) begin() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ending {
		return false
	}
	p.calls.Add(1)
	return true
}

// Send implements [Peer]. It returns when the header of the server's answer to the POST has
// arrived. A refusal is read to its end first.
func (p *ssePeer) Send(from *http.Request, m message.Message) error {
	id := p.matcher.send(m)
	err := p.post(from, m)
	if err != nil {
		p.matcher.unsend(id)
	}
	return err
}

func (p *ssePeer) post(from *http.Request, m message.Message) error {
	if !p.begin() {
		return ErrEnded
	}
	detached := p.opener
	if from != nil {
		detached = p.backend.Detach(from)
	}
	ctx, cancel := bind(p.ctx, detached)
	unlink := link(from, cancel)
	r := derive(ctx, detached, http.MethodPost, m.Raw)
	r.Header["Accept"] = []string{"application/json, text/event-stream"}
	// The address is the one that the server has announced. The client's own query may have
	// a key, so it is added.
	r.URL.RawQuery = origin.AddMissing(p.query, r.URL.RawQuery)
	taken, refused := make(chan struct{}), make(chan *Refusal, 1)
	w := newCapture(maxRefusal, func(status int, _ http.Header) io.Writer {
		if status/100 != 2 {
			return nil
		}
		close(taken)
		return io.Discard
	})
	w.cut = cancel
	go func() {
		defer p.calls.Done()
		defer cancel()
		refused <- w.refusal(p.backend.Call(w, Call{Request: r, Message: m, Path: p.path}))
	}()
	select {
	case <-taken:
		unlink()
		return nil
	case refusal := <-refused:
		unlink()
		switch {
		case refusal == nil:
			return nil
		case refusal.Header == nil && p.ctx.Err() != nil:
			return ErrEnded // and nothing was answered
		case refusal.Status == http.StatusNotFound || refusal.Status == http.StatusGone:
			p.cancel() // the server knows the conversation no more
			refusal.Over = true
		}
		return refusal
	}
}

// Check implements [Checker].
func (p *ssePeer) Check(from *http.Request) error { return p.Send(from, newPing()) }

// Close implements [Peer].
func (p *ssePeer) Close() error {
	p.cancel()
	<-p.done
	return nil
}
