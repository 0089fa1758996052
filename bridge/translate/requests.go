package translate

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/mcp"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/upstream"
)

// AskWithin bounds how long a server may take to answer what the bridge itself asks it.
const AskWithin = 10 * time.Second

// requests are the requests under way at a stateless server.
type requests struct {
	peer      upstream.Peer
	stateless upstream.Poster // the peer if it speaks HTTP; otherwise nil
	deliver   upstream.Deliver
	inputs    *inputRounds
	warn      func(msg, cause string)
	tools     toolHeaders

	mu       sync.Mutex
	client   Client                           // what each request has about the client
	last     int                              // number of the last request, in either direction
	open     map[message.Key]*upstreamRequest // by their id at the server
	byClient map[message.Key]*upstreamRequest // of the client, by the client's id
}

// upstreamRequest is a request under way at a stateless server. It belongs to the client or
// to the bridge.
type upstreamRequest struct {
	id     message.Key // at the server; the lock of requests guards it
	method string
	// then is called with the answer.
	then func(m message.Message)

	// What the client has sent: the request, and its progress token as written. Requests of
	// the bridge have neither.
	client message.Message
	token  []byte

	headersFetched bool // the tools were listed to learn the header fields
	input          inputState
}

// setClient keeps what an initialize has about its client.
func (r *requests) setClient(initialize message.Message) {
	client := Client{
		Capabilities: initialize.Get("params", "capabilities"),
		Info:         initialize.Get("params", "clientInfo"),
	}
	if len(client.Capabilities) == 0 || client.Capabilities[0] != '{' {
		client.Capabilities = []byte("{}")
	}
	if len(client.Info) == 0 || client.Info[0] != '{' {
		client.Info = nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.client = client
}

// setLogLevel sets the log level that each request carries from now on.
func (r *requests) setLogLevel(level string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.client.LogLevel = level
}

// clientCapabilities returns the capabilities of the client, as written.
func (r *requests) clientCapabilities() []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.client.Capabilities
}

// number returns a number that was not used before.
func (r *requests) number() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.last++
	return r.last
}

// begin gives a request a new id at the server, and returns the message to send. It returns
// false if the client has cancelled the request.
func (r *requests) begin(u *upstreamRequest, m message.Message) (message.Message, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if u.client.ID != "" && r.byClient[u.client.ID] != u {
		return m, false
	}
	r.last++
	number := []byte(strconv.Itoa(r.last)) // the progress token as well
	u.id = message.KeyOf(number)
	if r.open == nil {
		r.open = make(map[message.Key]*upstreamRequest)
	}
	r.open[u.id] = u
	return r.client.Seal(m).WithID(number).Replace(number, "params", "_meta", "progressToken"), true
}

// dispatch sends a request to the server, each time with a new id. If the server answers
// with an HTTP error that carries a JSON-RPC error, that error is the answer.
func (r *requests) dispatch(from *http.Request, u *upstreamRequest, m message.Message) error {
	sent, ok := r.begin(u, m)
	if !ok {
		return nil
	}
	var headers http.Header
	if r.stateless != nil {
		headers = r.tools.headers(m)
	}
	err := r.send(from, sent, headers)
	refusal, _ := errors.AsType[*upstream.Refusal](err)
	if refusal == nil {
		if err != nil {
			r.forget(sent.ID)
		}
		return err
	}
	answer, answered := upstream.AnswerIn(refusal, sent.RawID)
	if answered && lacksHeaders(u, answer) && !u.headersFetched {
		u.headersFetched = true
		switch err = r.fetchToolHeaders(from); {
		case err == nil:
			r.forget(sent.ID)
			return r.dispatch(from, u, m)
		case upstream.IsOfAnyRequest(err):
			answered = false
		}
	}
	if answered {
		r.answered(answer)
		return nil
	}
	r.forget(sent.ID)
	return err
}

// send sends a message to the server, over HTTP with header fields.
func (r *requests) send(from *http.Request, m message.Message, headers http.Header) error {
	if r.stateless == nil {
		return r.peer.Send(from, m)
	}
	return r.stateless.Post(from, m, headers)
}

// notify sends a notification of the client on.
func (r *requests) notify(from *http.Request, m message.Message) error {
	var headers http.Header
	if r.stateless != nil {
		headers = mcp.ToolFields(nil).Headers(m)
	}
	return r.send(from, m, headers)
}

// forget drops a request. Its answer is ignored from now on.
func (r *requests) forget(id message.Key) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.open, id)
}

// hasID reports whether a request has an id at the server.
func (r *requests) hasID(u *upstreamRequest, id message.Key) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return u.id == id
}

// answered takes an answer of the server to its request. It returns false if no request has
// the id.
func (r *requests) answered(m message.Message) bool {
	r.mu.Lock()
	u := r.open[m.ID]
	delete(r.open, m.ID)
	r.mu.Unlock()
	if u == nil {
		return false
	}
	u.then(m)
	return true
}

// ask sends a request of the bridge and returns the answer. It also ends when the client's
// request ends, if from is not nil.
func (r *requests) ask(from *http.Request, method string, params []byte, within time.Duration) (message.Message, error) {
	ctx := context.Background()
	if from != nil {
		ctx = from.Context()
	}
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	answer := make(chan message.Message, 1)
	u := &upstreamRequest{method: method, then: func(m message.Message) { answer <- m }}
	if from != nil {
		from = from.WithContext(ctx)
	}
	if err := r.dispatch(from, u, newRequest(method, params)); err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return message.Message{}, err
	}
	select {
	case m := <-answer:
		return m, nil
	case <-ctx.Done():
		r.giveUp(u, message.Message{})
		return message.Message{}, ctx.Err()
	case <-r.peer.Done():
		return message.Message{}, upstream.ErrEnded
	}
}

// newRequest returns a request of the bridge. dispatch gives it its id.
func newRequest(method string, params []byte) message.Message {
	return message.NewRequest([]byte("0"), method, params)
}

// giveUp cancels a request at the server. cancelled is the client's notification of that;
// without one, giveUp writes it.
func (r *requests) giveUp(u *upstreamRequest, cancelled message.Message) {
	r.mu.Lock()
	id := u.id
	open := r.open[id] == u
	delete(r.open, id)
	r.mu.Unlock()
	switch {
	case !open:
	case r.stateless != nil:
		r.stateless.Abandon(id)
	default:
		if cancelled.Raw == nil {
			cancelled = message.NewNotification("notifications/cancelled", nil)
		}
		_ = r.peer.Send(nil, cancelled.Set([]byte(id[1:]), "params", "requestId"))
	}
}

// relay sends a request of the client on.
func (r *requests) relay(from *http.Request, m message.Message) error {
	u := &upstreamRequest{method: m.Method, client: m, token: m.RawProgress}
	u.then = func(answer message.Message) { r.answerClient(u, answer) }
	r.mu.Lock()
	if r.byClient == nil {
		r.byClient = make(map[message.Key]*upstreamRequest)
	}
	r.byClient[m.ID] = u
	r.mu.Unlock()
	err := r.dispatch(from, u, m)
	if err != nil {
		r.settle(u)
	}
	return err
}

// cancel takes a notifications/cancelled of the client.
func (r *requests) cancel(m message.Message) {
	r.mu.Lock()
	u := r.byClient[m.Cancels]
	r.mu.Unlock()
	if u != nil {
		r.settle(u)
		r.giveUp(u, m)
	}
}

// progressToken returns the client's token for the progress of a request. It returns false
// if the request is not under way, or if the client has asked for no progress.
func (r *requests) progressToken(atServer message.Key) ([]byte, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	u := r.open[atServer]
	if u == nil || u.token == nil {
		return nil, false
	}
	return u.token, true
}

// settle forgets a request of the client and the input that it waits for. It returns false
// if that was done before.
func (r *requests) settle(u *upstreamRequest) bool {
	r.mu.Lock()
	current := r.byClient[u.client.ID] == u
	if current {
		delete(r.byClient, u.client.ID)
	}
	r.mu.Unlock()
	if current {
		r.inputs.forget(u)
	}
	return current
}
