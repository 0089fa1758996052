package bridge

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
)

// errand is a request under way at a stateless server: one of the client's, or the
// bridge's own.
type errand struct {
	id     message.Key // at the server
	method string
	raw    []byte // as the client has written it; the id does not matter
	// then takes the answer.
	then func(m message.Message)

	// What the client has: its id, and its progress token as written.
	client   message.Key
	clientID []byte
	token    []byte

	relearnt bool // its fields were asked for again
	rounds   int  // answers that were requests for input
	// awaited are the inputs that the client is asked for, by their keys, until it has
	// given the last; given is what it has given.
	awaited map[message.Key]string
	given   map[string][]byte
	state   []byte // that the server wants back, as written; nil: none
}

// dispatch sends the request of an errand, or sends it again: each time with an id of
// its own. A server's error in a refusal is its answer.
func (f *facade) dispatch(from *http.Request, e *errand, raw []byte) error {
	f.mu.Lock()
	if e.client != "" && f.relayed[e.client] != e {
		f.mu.Unlock()
		return nil // the client has taken it back
	}
	f.next++
	number := []byte(strconv.Itoa(f.next)) // it is the progress token as well
	id := message.KeyOf(number)
	e.id = id
	if f.errands == nil {
		f.errands = make(map[message.Key]*errand)
	}
	f.errands[id] = e
	client := f.client
	var fields http.Header
	if f.poster != nil {
		fields = f.fields.repeat(e.method, raw)
	}
	f.mu.Unlock()
	sealed := message.Set(client.seal(raw), number, "id")
	sealed = message.Replace(sealed, number, "params", "_meta", "progressToken")
	err := f.post(from, sealed, fields)
	refusal, _ := errors.AsType[*Refusal](err)
	if refusal == nil {
		if err != nil {
			f.forget(id)
		}
		return err
	}
	m, answered := answerIn(refusal, number)
	if answered && missesFields(e, m) && !e.relearnt {
		e.relearnt = true
		switch err = f.relearn(from); {
		case err == nil:
			f.forget(id)
			return f.dispatch(from, e, raw)
		case isOfAnyRequest(err):
			answered = false
		}
	}
	if answered {
		f.hear(m)
		return nil
	}
	f.forget(id)
	return err
}

// forget drops what comes for a request at the server.
func (f *facade) forget(id message.Key) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.errands, id)
}

// post sends a message to the server.
func (f *facade) post(from *http.Request, raw []byte, fields http.Header) error {
	if f.poster == nil {
		return f.Peer.Send(from, raw)
	}
	return f.poster.post(from, raw, fields)
}

// ask sends a request of the bridge's own and returns the answer. It waits for the
// client's request as well, where there is one.
func (f *facade) ask(from *http.Request, method string, params []byte, within time.Duration) (message.Message, error) {
	ctx := context.Background()
	if from != nil {
		ctx = from.Context()
	}
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	answer := make(chan message.Message, 1)
	raw := []byte(`{"jsonrpc":"2.0","id":0,"method":"` + method + `"}`)
	if params != nil {
		raw = message.Set(raw, params, "params")
	}
	e := &errand{method: method, then: func(m message.Message) { answer <- m }}
	if from != nil {
		from = from.WithContext(ctx)
	}
	if err := f.dispatch(from, e, raw); err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return message.Message{}, err
	}
	select {
	case m := <-answer:
		return m, nil
	case <-ctx.Done():
		f.giveUp(e, nil)
		return message.Message{}, ctx.Err()
	case <-f.Done():
		return message.Message{}, errPeerEnded
	}
}

// giveUp ends a request at the server. cancelled is the notification that says so; nil:
// one is written.
func (f *facade) giveUp(e *errand, cancelled []byte) {
	f.mu.Lock()
	id := e.id
	open := f.errands[id] == e
	delete(f.errands, id)
	f.mu.Unlock()
	switch {
	case !open:
	case f.poster != nil:
		f.poster.abandon(id)
	default:
		if cancelled == nil {
			cancelled = []byte(`{"jsonrpc":"2.0","method":"notifications/cancelled"}`)
		}
		_ = f.Peer.Send(nil, message.Set(cancelled, []byte(id[1:]), "params", "requestId"))
	}
}

// relay sends a request of the client's on.
func (f *facade) relay(from *http.Request, m message.Message) error {
	e := &errand{method: m.Method, raw: m.Raw, client: m.ID, clientID: m.RawID, token: progressToken(m)}
	e.then = func(m message.Message) { f.answer(e, m) }
	f.mu.Lock()
	if f.relayed == nil {
		f.relayed = make(map[message.Key]*errand)
	}
	f.relayed[e.client] = e
	f.mu.Unlock()
	err := f.dispatch(from, e, e.raw)
	if err != nil {
		f.settle(e)
	}
	return err
}

// settle forgets a request of the client's and what it was asked for. It returns false
// where that was done.
func (f *facade) settle(e *errand) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.relayed[e.client] != e {
		return false
	}
	delete(f.relayed, e.client)
	for id := range e.awaited {
		delete(f.inputs, id)
	}
	return true
}

// finish answers a request of the client's.
func (f *facade) finish(e *errand, raw []byte) {
	if f.settle(e) {
		f.reply(message.Message{ID: e.client, RawID: e.clientID}, raw)
	}
}

// fail answers a request of the client's with an error.
func (f *facade) fail(e *errand, text string) {
	f.finish(e, message.Error(e.clientID, message.CodeInternal, text))
}

// answer takes the server's answer to a request of the client's.
func (f *facade) answer(e *errand, m message.Message) {
	result := message.Get(m.Raw, "result")
	switch kind := message.Text(result, "resultType"); {
	case m.Failed:
		f.finish(e, message.Set(olderError(e, m.Raw), e.clientID, "id"))
	case kind == "input_required":
		f.require(e, result)
	case kind == "" || kind == "complete":
		f.finish(e, message.Set(f.older(e.method, m.Raw), e.clientID, "id"))
	default:
		f.fail(e, "the server answers with a result of a type that this client does not know: "+strconv.Quote(kind))
	}
}

// olderError makes an error one of the revisions with a handshake.
func olderError(e *errand, raw []byte) []byte {
	code := 0
	switch string(message.Get(raw, "error", "code")) {
	case strconv.Itoa(message.CodeInvalidParams):
		if e.method == "resources/read" && message.Text(e.raw, "params", "uri") != "" {
			code = message.CodeResourceNotFound
		}
	case strconv.Itoa(message.CodeHeaderMismatch), strconv.Itoa(message.CodeMissingCapability), strconv.Itoa(message.CodeUnsupportedVersion):
		code = message.CodeInternal
	}
	if code == 0 {
		return raw
	}
	return message.Set(raw, []byte(strconv.Itoa(code)), "error", "code")
}
