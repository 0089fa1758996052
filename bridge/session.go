package bridge

import (
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
)

// Peer is an MCP server that is spoken to in messages.
type Peer interface {
	// Send sends one message on behalf of a client's request; nil: on behalf of
	// whoever began the conversation. It returns once the peer has it: a process
	// by its queue, an HTTP server by the header of its answer, which, where it is
	// no success, is returned as a [*Refusal].
	Send(from *http.Request, frame []byte) error
	// Done is closed when the peer has ended.
	Done() <-chan struct{}
	// Close ends it, and waits for that.
	Close() error
}

const (
	// maxPending bounds the requests in flight in one session.
	maxPending = 256
	// maxFinished bounds the finished streams that are kept for a client whose
	// connection broke.
	maxFinished = 16
)

// session is one client's conversation with a peer of its own.
type session struct {
	hub *Hub
	id  string
	// host and owner began it; it is none for others.
	host  string
	owner identity
	// one says that all messages go to one stream (HTTP+SSE).
	one  bool
	peer Peer
	// facade is peer, where it may have to be translated for.
	facade *facade

	mu        sync.Mutex
	version   string // that was negotiated; empty until then
	general   *stream
	streams   []*stream // of POSTs, in order
	pending   map[message.Key]*stream
	progress  map[message.Key]*stream
	next      int
	dropped   int
	held      int        // bytes that readers are writing
	room      *sync.Cond // that has changed, or what is unread has
	active    int        // HTTP requests under way
	begun     time.Time
	used      time.Time // when the last of them ended
	admitted  bool      // it was initialized
	heard     bool      // the server has answered a request
	stillborn bool      // the server did not take the first message
	ended     bool
	timer     *time.Timer
}

func newSession(h *Hub, id string) *session {
	now := time.Now()
	s := &session{
		hub: h, id: id, general: &stream{waiting: make(map[message.Key][]byte)}, next: 1, begun: now, used: now,
		pending: make(map[message.Key]*stream), progress: make(map[message.Key]*stream),
	}
	s.room = sync.NewCond(&s.mu)
	return s
}

// enter counts a request under way. It returns false where the session is over, or
// has not begun.
func (s *session) enter() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended || !s.admitted {
		return false
	}
	s.active++
	return true
}

func (s *session) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.active--
	s.used = time.Now()
}

// watch ends the session when it is idle or old. It is called by its timer.
func (s *session) watch() {
	s.mu.Lock()
	left := time.Until(s.begun.Add(s.hub.cfg.Lifetime))
	if idle := time.Until(s.used.Add(s.hub.cfg.Idle)); s.active == 0 && idle < left {
		left = idle
	} else if s.active > 0 {
		left = min(left, s.hub.cfg.Idle)
	}
	over := left <= 0 && !s.ended
	why := EndIdle
	if time.Since(s.begun) >= s.hub.cfg.Lifetime {
		why = EndLifetime
	}
	if !over && !s.ended {
		s.timer.Reset(left)
	}
	s.mu.Unlock()
	if over {
		s.hub.end(s, why)
	}
}

// ask registers requests of one POST and returns the stream of their answers, which
// rd reads. It returns false where an id is in use already.
func (s *session) ask(requests []message.Message, rd *reader) (*stream, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended || len(s.pending)+len(requests) > maxPending {
		return nil, false
	}
	st := s.general
	if !s.one {
		st = &stream{number: s.next, waiting: make(map[message.Key][]byte, len(requests)), reader: rd}
	}
	for i, m := range requests {
		if s.pending[m.ID] != nil || slices.ContainsFunc(requests[:i], func(o message.Message) bool { return o.ID == m.ID }) {
			return nil, false
		}
	}
	for _, m := range requests {
		st.waiting[m.ID] = m.RawID
		s.pending[m.ID] = st
		if m.Progress != "" && !s.one {
			s.progress[m.Progress] = st
		}
	}
	if s.one {
		return st, true
	}
	s.next++
	s.streams = append(s.streams, st)
	return st, true
}

// unask takes requests back that could not be sent.
func (s *session) unask(st *stream, requests []message.Message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.one {
		s.dropStream(st)
		return
	}
	for _, m := range requests {
		delete(s.pending, m.ID)
		delete(st.waiting, m.ID)
	}
}

// spend drops a stream that is one answer alone: the client is given no event id to
// resume it by.
func (s *session) spend(st *stream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dropStream(st)
}

func (s *session) dropStream(st *stream) {
	for id := range st.waiting {
		delete(s.pending, id)
	}
	for token, other := range s.progress {
		if other == st {
			delete(s.progress, token)
		}
	}
	if i := slices.Index(s.streams, st); i >= 0 {
		s.streams = slices.Delete(s.streams, i, i+1)
	}
}

// deliver takes one message of the peer.
func (s *session) deliver(m message.Message) {
	if s.facade == nil || !s.facade.take(m) {
		s.hand(m, "", refusalOf(s.peer))
	}
}

// hand takes one message for the client to the stream where the specification
// wants it: an answer and the progress of a request to the POST that it belongs
// to; what concerns the whole server (list_changed, updated) to the session's own
// stream. Another request or notification belongs, as far as anyone can tell, to
// the only request in flight; where there are several, it goes to the session's
// own stream if a client reads that, else to the newest request's; but to that of
// the request about, where that is known. cause is the refusal because of which an
// answer is an error, if there is one. Nothing is lost while no client reads, within a
// bound.
func (s *session) hand(m message.Message, about message.Key, cause *Refusal) {
	var lost [][]byte
	defer func() { s.send(lost) }() // not under the lock
	s.mu.Lock()
	defer s.mu.Unlock()
	for m.Kind == message.Response && s.pending[m.ID] != nil && !s.ended && !s.makeRoom(len(m.Raw), &lost) {
		s.room.Wait()
	}
	if s.ended {
		return
	}
	e := event{raw: m.Raw, kind: m.Kind, id: m.RawID}
	var st *stream
	switch {
	case m.Kind == message.Response:
		if st = s.pending[m.ID]; st == nil {
			return // it was cancelled, or never asked for
		}
		e.response, s.heard, e.refusal = true, true, cause
		delete(s.pending, m.ID)
		delete(st.waiting, m.ID)
	case s.one:
		st = s.general
	case m.Method == "notifications/progress":
		if st = s.progress[m.Progress]; st == nil || st.done {
			return // it is of a request that has been answered
		}
	case concernsServer(m.Method):
		st = s.general
	case s.pending[about] != nil:
		st = s.pending[about]
	default:
		st = s.related()
	}
	st.add(e)
	if e.response && len(st.waiting) == 0 && !s.one {
		for token, other := range s.progress {
			if other == st {
				delete(s.progress, token)
			}
		}
		st.finish()
	}
	lost = s.trim()
}

// send sends what need not arrive.
func (s *session) send(frames [][]byte) {
	for _, frame := range frames {
		_ = s.peer.Send(nil, frame)
	}
}

// concernsServer reports whether a notification has nothing to do with a request.
func concernsServer(method string) bool {
	switch method {
	case "notifications/tools/list_changed", "notifications/prompts/list_changed",
		"notifications/resources/list_changed", "notifications/resources/updated":
		return true
	}
	return false
}

// related returns the stream for what the peer does not tie to a request.
func (s *session) related() *stream {
	var newest *stream
	open := 0
	for _, st := range s.streams {
		if !st.done {
			newest = st
			open++
		}
	}
	if open == 0 || open > 1 && s.general.reader != nil {
		return s.general
	}
	return newest
}

// trim keeps the session's buffer within its bound: first events that were read
// already go, then what is oldest on the session's own stream, then on those of
// POSTs. Answers never go before they are read, unless their streams are too many.
// It returns the errors that answer the peer's requests which went unread.
func (s *session) trim() (lost [][]byte) {
	refused := func(e event) { lost = appendRefused(lost, e) }
	finished := 0
	for _, st := range s.streams {
		if st.done && st.reader == nil {
			finished++
		}
	}
	for i := 0; i < len(s.streams) && finished > maxFinished; {
		if st := s.streams[i]; st.done && st.reader == nil {
			s.giveUp(st, &lost)
			finished--
			continue
		}
		i++
	}
	total := s.general.used
	for _, st := range s.streams {
		total += st.used
	}
	all := append([]*stream{s.general}, s.streams...)
	for _, st := range all {
		for total > s.hub.cfg.Buffer && len(st.events) > 0 && st.first < st.read {
			total -= len(st.forget().raw)
		}
	}
	for _, st := range all {
		for total > s.hub.cfg.Buffer {
			e, ok := st.drop()
			if !ok {
				break
			}
			total -= len(e.raw)
			s.dropped++
			refused(e)
		}
	}
	return lost
}

// appendRefused appends the error that answers an event which goes unread, if it is
// a request of the peer's.
func appendRefused(lost [][]byte, e event) [][]byte {
	if e.kind == message.Request {
		lost = append(lost, message.Error(e.id, message.CodeInternal, "no client takes requests"))
	}
	return lost
}

// giveUp drops a finished stream that nobody reads.
func (s *session) giveUp(st *stream, lost *[][]byte) {
	for _, e := range st.events[st.read-st.first:] {
		*lost = appendRefused(*lost, e)
	}
	s.dropStream(st)
}

// makeRoom reports whether an answer of n bytes may be kept, and drops what nobody
// reads for it, oldest first. One answer always may.
func (s *session) makeRoom(n int, lost *[][]byte) bool {
	for {
		unread := s.unread()
		if unread == 0 || unread+n <= maxUnread*s.hub.cfg.Buffer {
			return true
		}
		i := slices.IndexFunc(s.streams, func(st *stream) bool { return st.done && st.reader == nil })
		if i < 0 {
			return false
		}
		s.giveUp(s.streams[i], lost)
	}
}

// unread is how many bytes of answers wait for clients to read them, and of anything
// are being written to clients.
func (s *session) unread() int {
	n := s.held
	for _, st := range append([]*stream{s.general}, s.streams...) {
		for _, e := range st.events[max(st.read, st.first)-st.first:] {
			if e.response {
				n += len(e.raw)
			}
		}
	}
	return n
}

// hold notes how many bytes a reader is writing.
func (s *session) hold(rd *reader, n int) {
	s.held += n - rd.held
	rd.held = n
	s.room.Broadcast()
}

// cancelled ends the wait for the answer to a request that the client has taken
// back: the server need not give one.
func (s *session) cancelled(id message.Key) {
	var lost [][]byte
	defer func() { s.send(lost) }() // not under the lock
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.pending[id]
	if st == nil {
		return
	}
	delete(s.pending, id)
	delete(st.waiting, id)
	s.room.Broadcast()
	if len(st.waiting) == 0 && !s.one {
		st.finish()
		lost = s.trim()
	}
}

// fail answers what is pending with an error and ends all streams. It returns the
// server, and false where the session was over before.
func (s *session) fail(text string) (Peer, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return nil, false
	}
	s.ended = true
	if s.timer != nil {
		s.timer.Stop()
	}
	for _, st := range append([]*stream{s.general}, s.streams...) {
		for _, id := range st.waiting {
			st.add(event{raw: message.Error(id, message.CodeInternal, text), response: true})
		}
		clear(st.waiting)
		st.finish()
	}
	clear(s.pending)
	s.room.Broadcast()
	return s.peer, true
}
