package session

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/mcp"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/servers"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/upstream"
)

// streams has the streams of one session, and finds the stream that a message of the server
// belongs to. Methods that do not take the lock say so.
type streams struct {
	servers *servers.Servers // for the bounds that hold now
	// legacy is true for HTTP+SSE, where general is the only stream.
	legacy bool

	// out guards what follows. A server's request that no client will read is answered through
	// it, with an error.
	out      servers.Outbox
	general  *stream                 // the session's own stream, which a GET opens
	posts    []*stream               // one for each POST with requests, oldest first
	pending  map[message.Key]*stream // by the ids of the requests in flight
	progress map[message.Key]*stream // by the progress tokens of requests
	next     int                     // number of the next stream of a POST
	writing  int                     // bytes that readers are writing to clients
	// room is signalled when writing changes, or when fewer answers wait to be read.
	room     *sync.Cond
	answered bool // the server has answered a request
	closed   bool // no message is taken any more
}

func (b *streams) init(v *servers.Servers, legacy bool) {
	b.servers, b.legacy, b.next = v, legacy, 1
	b.general = &stream{waiting: make(map[message.Key][]byte)}
	b.pending, b.progress = make(map[message.Key]*stream), make(map[message.Key]*stream)
	b.room = sync.NewCond(&b.out)
}

// join sets the server.
func (b *streams) join(peer upstream.Peer) {
	b.out.Lock()
	defer b.out.Unlock()
	b.out.Join(peer)
}

// hasAnswer reports whether the server has answered a request.
func (b *streams) hasAnswer() bool {
	b.out.Lock()
	defer b.out.Unlock()
	return b.answered
}

// awaitsFirst reports whether a request is in flight at a server that has not answered any
// request yet.
func (b *streams) awaitsFirst(id message.Key) bool {
	b.out.Lock()
	defer b.out.Unlock()
	return b.pending[id] != nil && !b.answered
}

// expect adds the requests of one POST to those in flight, and returns the stream for their
// answers. rd reads it, unless it is the general stream. expect returns false if the streams
// are closed, if an id is in use, or if too many requests are in flight.
func (b *streams) expect(requests []message.Message, rd *reader) (*stream, bool) {
	b.out.Lock()
	defer b.out.Unlock()
	if b.closed || len(b.pending)+len(requests) > servers.MaxPending {
		return nil, false
	}
	st := b.general
	if !b.legacy {
		st = &stream{number: b.next, waiting: make(map[message.Key][]byte, len(requests)), reader: rd}
	}
	for i, m := range requests {
		if b.pending[m.ID] != nil || slices.ContainsFunc(requests[:i], func(o message.Message) bool { return o.ID == m.ID }) {
			return nil, false
		}
	}
	for _, m := range requests {
		st.waiting[m.ID] = m.RawID
		b.pending[m.ID] = st
		if m.Progress != "" && !b.legacy {
			b.progress[m.Progress] = st
		}
	}
	if b.legacy {
		return st, true
	}
	b.next++
	b.posts = append(b.posts, st)
	return st, true
}

// unexpect undoes expect for requests that could not be sent.
func (b *streams) unexpect(st *stream, requests []message.Message) {
	b.out.Lock()
	defer b.out.Unlock()
	if !b.legacy {
		b.remove(st)
		st.finish() // another request may read it already
		return
	}
	for _, m := range requests {
		delete(b.pending, m.ID)
		delete(st.waiting, m.ID)
	}
}

// cancelled removes a request that its client has cancelled: the server need not answer it.
func (b *streams) cancelled(id message.Key) {
	b.out.Lock()
	defer b.out.Unlock()
	st := b.pending[id]
	if st == nil {
		return
	}
	delete(b.pending, id)
	delete(st.waiting, id)
	b.room.Broadcast()
	if len(st.waiting) == 0 && !b.legacy {
		st.finish()
		b.trim()
	}
}

// deliver adds a message of the server to the stream that the specification has for it.
//
//   - An answer, and the progress of a request: the stream of the POST that had the request.
//   - What concerns the whole server (list_changed, updated): the general stream.
//   - Any other request or notification: the stream of the request that it is about, if about
//     is known; else the stream of the only POST in progress. If there are several, it is the
//     general stream while a client reads it, and otherwise the newest POST.
//
// cause is the refusal because of which an answer is an error, and nil if there is none.
// Messages are kept, within a bound, while no client reads; an answer beyond it waits for room.
func (b *streams) deliver(m message.Message, about message.Key, cause *upstream.Refusal) {
	b.out.Lock()
	defer b.out.Unlock()
	for m.Kind == message.Response && b.pending[m.ID] != nil && !b.closed && !b.makeRoom(len(m.Raw)) {
		b.room.Wait()
	}
	if b.closed {
		return
	}
	if m.Kind != message.Response {
		cause = nil
	}
	e := servers.Event{Raw: m.Raw, More: servers.DetailsOf(&m, cause)}
	var st *stream
	switch {
	case m.Kind == message.Response:
		if st = b.pending[m.ID]; st == nil {
			return // the request was cancelled, or there was none
		}
		e.Response, e.Failed, b.answered = true, m.Failed, true
		delete(b.pending, m.ID)
		delete(st.waiting, m.ID)
	case b.legacy:
		st = b.general
	case m.Method == "notifications/progress":
		if st = b.progress[m.Progress]; st == nil || st.done {
			return // the request was answered already
		}
	case mcp.ConcernsServer(m.Method):
		st = b.general
	case b.pending[about] != nil:
		st = b.pending[about]
	default:
		st = b.likeliest()
	}
	st.add(e)
	if e.Response && len(st.waiting) == 0 && !b.legacy {
		b.forgetProgress(st)
		st.finish()
	}
	b.trim()
}

// likeliest returns the stream for a message that may be about any request. The lock is held.
func (b *streams) likeliest() *stream {
	var newest *stream
	open := 0
	for _, st := range b.posts {
		if !st.done {
			newest = st
			open++
		}
	}
	if open == 0 || open > 1 && b.general.reader != nil {
		return b.general
	}
	return newest
}

// forgetProgress removes the progress tokens of a stream. The lock is held.
func (b *streams) forgetProgress(st *stream) {
	for token, other := range b.progress {
		if other == st {
			delete(b.progress, token)
		}
	}
}

// remove removes the stream of a POST. The lock is held.
func (b *streams) remove(st *stream) {
	for id := range st.waiting {
		delete(b.pending, id)
	}
	b.forgetProgress(st)
	if i := slices.Index(b.posts, st); i >= 0 {
		b.posts = slices.Delete(b.posts, i, i+1)
	}
}

// removeRead removes the stream of a POST whose client gets the answer as JSON: no event id
// names it, so it cannot be resumed.
func (b *streams) removeRead(st *stream) {
	b.out.Lock()
	defer b.out.Unlock()
	b.remove(st)
}

// answer waits for the answer to the one request of a POST, and removes its stream. Other
// messages on it move to the general stream.
func (b *streams) answer(ctx context.Context, st *stream, rd *reader) (answer servers.Event, ok bool) {
	for {
		b.out.Lock()
		for len(st.events) > 0 && !st.events[0].Response {
			b.general.add(st.forget())
		}
		if len(st.events) > 0 {
			answer = st.forget()
			b.remove(st)
			b.out.Unlock()
			return answer, true
		}
		b.out.Unlock()
		select {
		case <-rd.changed:
		case <-ctx.Done():
			return answer, false
		}
	}
}

// What resume returns where there is no stream to read.
var (
	errOver    = errors.New("the stream is over")
	errNotKept = errors.New("the events after Last-Event-ID are not kept any more")
)

// open makes rd the reader of the general stream, from its first event.
func (b *streams) open(rd *reader) {
	b.out.Lock()
	defer b.out.Unlock()
	b.general.attach(rd, b.general.first)
}

// resume makes rd the reader of the stream that the event id last belongs to, from the event
// after it. If last is empty, it is the general stream, from the first event that no client has
// read. resume returns errOver if the stream has ended and no event follows, and errNotKept if
// those events are not kept any more, or if last is not an id of the session.
func (b *streams) resume(last string, rd *reader) (*stream, error) {
	b.out.Lock()
	defer b.out.Unlock()
	if last == "" {
		b.general.join(rd)
		return b.general, nil
	}
	number, seq, hasSeq := strings.Cut(last, "-")
	n, err := strconv.Atoi(number)
	at := -1
	if hasSeq && err == nil {
		at, err = strconv.Atoi(seq)
	}
	if err != nil || last != servers.EventID(n, at) {
		return nil, errNotKept
	}
	var st *stream
	if n == 0 && hasSeq {
		st = b.general
	}
	for _, other := range b.posts {
		if other.number == n {
			st = other
		}
	}
	switch {
	case st != nil && st.done && at+1 == st.end():
		return nil, errOver
	case st == nil || at < 0 && !st.primed || !st.attach(rd, at+1):
		return nil, errNotKept
	}
	return st, nil
}

// detach ends the reading of a stream. The stream is kept for a client that resumes it.
func (b *streams) detach(st *stream, rd *reader) {
	b.out.Lock()
	defer b.out.Unlock()
	st.detach(rd)
	b.setWriting(rd, 0)
}

// close answers the requests in flight with an error, and ends all streams.
func (b *streams) close(text string) {
	b.out.Lock()
	defer b.out.Unlock()
	b.closed = true
	for _, st := range b.all() {
		for _, id := range st.waiting {
			st.add(servers.Event{Raw: message.Error(id, message.CodeInternal, text), Response: true})
		}
		clear(st.waiting)
		st.finish()
	}
	clear(b.pending)
	b.room.Broadcast()
}

// all returns all streams. The lock is held.
func (b *streams) all() []*stream { return append([]*stream{b.general}, b.posts...) }
