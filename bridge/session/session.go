package session

import (
	"slices"
	"sync"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/identity"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/mcp"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/safetext"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/servers"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/stats"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/upstream"
)

const (
	// maxTake bounds what is taken from a session's buffer to be written next, in bytes,
	// if it is more than one message.
	maxTake = 256 << 10
	// maxFinished bounds the finished streams that are kept for a client whose
	// connection broke.
	maxFinished = 16
)

// session is one client with a server of its own.
type session struct {
	servers *servers.Servers
	table   *Table
	id      string
	// owner began it. Requests of others get 404.
	owner identity.Owner
	// fields are those of the request that began it, to say why another one is refused.
	fields identity.Fields
	// one says that all messages go to one stream (HTTP+SSE).
	one  bool
	peer upstream.Peer
	// receive takes the messages of peer.
	receive upstream.Deliver

	out         servers.Outbox
	version     string // that was negotiated; empty until then
	general     *stream
	streams     []*stream // of POSTs, in order
	pending     map[message.Key]*stream
	progress    map[message.Key]*stream
	next        int
	dropped     int
	held        int        // bytes that readers are writing
	room        *sync.Cond // that has changed, or what is unread has
	active      int        // HTTP requests under way
	begun       time.Time
	used        time.Time // when the last of them ended
	admitted    bool      // it was initialized
	heard       bool      // the server has answered a request
	failedStart bool      // the server rejected its first request
	ended       bool
	timer       *time.Timer
}

func newSession(t *Table, id string) *session {
	now := time.Now()
	s := &session{
		servers: t.servers, table: t, id: id, general: &stream{waiting: make(map[message.Key][]byte)}, next: 1, begun: now, used: now,
		pending: make(map[message.Key]*stream), progress: make(map[message.Key]*stream),
	}
	s.room = sync.NewCond(&s.out)
	return s
}

// Join implements [servers.Holder].
func (s *session) Join(peer upstream.Peer) bool {
	s.out.Lock()
	defer s.out.Unlock()
	s.peer, s.receive = peer, s.hand
	if wrap := s.table.config.Wrap; wrap != nil {
		s.peer, s.receive = wrap(peer, s.hand)
	}
	s.out.Join(s.peer)
	return !s.ended
}

func (s *session) isEnded() bool {
	s.out.Lock()
	defer s.out.Unlock()
	return s.ended
}

// Answered reports whether the start of the server went well: it has answered a request,
// or was ended before for another reason than that it rejects its first request. A server
// that a client's request kills later is no reason to let other clients wait.
func (s *session) Answered() bool {
	s.out.Lock()
	defer s.out.Unlock()
	return s.heard || s.ended && !s.failedStart
}

// Info implements [servers.Holder].
func (s *session) Info() stats.SessionInfo {
	s.out.Lock()
	defer s.out.Unlock()
	i := stats.SessionInfo{
		ID: safetext.HashID(s.id), Transport: stats.TransportHTTP, User: servers.HashOwner(s.owner),
		Used: s.used, Active: s.active, Version: s.version,
	}
	if s.admitted {
		i.Begun = s.begun
	}
	if s.one {
		i.Transport = stats.TransportSSE
	}
	return i
}

// enter counts a request under way. It returns false where the session is over, or
// has not begun.
func (s *session) enter() bool {
	s.out.Lock()
	defer s.out.Unlock()
	if s.ended || !s.admitted {
		return false
	}
	s.active++
	return true
}

func (s *session) leave() {
	s.out.Lock()
	defer s.out.Unlock()
	s.active--
	s.used = time.Now()
}

// watch ends the session when it is idle or old. It is called by its timer.
func (s *session) watch() {
	s.out.Lock()
	left := time.Until(s.begun.Add(s.servers.Bounds().Lifetime))
	if idle := time.Until(s.used.Add(s.servers.Bounds().Idle)); s.active == 0 && idle < left {
		left = idle
	} else if s.active > 0 {
		left = min(left, s.servers.Bounds().Idle)
	}
	over := left <= 0 && !s.ended
	why := stats.EndIdle
	if time.Since(s.begun) >= s.servers.Bounds().Lifetime {
		why = stats.EndLifetime
	}
	if !over && !s.ended {
		s.timer.Reset(left)
	}
	s.out.Unlock()
	if over {
		s.servers.End(s, why)
	}
}

// ask registers requests of one POST and returns the stream of their answers, which
// rd reads. It returns false where an id is in use already.
func (s *session) ask(requests []message.Message, rd *reader) (*stream, bool) {
	s.out.Lock()
	defer s.out.Unlock()
	if s.ended || len(s.pending)+len(requests) > servers.MaxPending {
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
	s.out.Lock()
	defer s.out.Unlock()
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
	s.out.Lock()
	defer s.out.Unlock()
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

// Deliver implements [servers.Holder]: it takes one message of the server.
func (s *session) Deliver(m message.Message) { s.receive(m, "", upstream.RefusalOf(s.peer)) }

// hand gives one message to the stream that the specification wants for it. An answer and
// the progress of a request go to the POST of that request. What concerns the whole server
// (list_changed, updated) goes to the session's own stream. Another request or notification
// goes to the stream of the request about, if that is known. Otherwise it goes to the only
// request in flight; if there are several, to the session's own stream if a client reads
// it, and to the newest request if not. cause is the refusal because of which an answer is
// an error; nil if there is none. Messages are kept, within a bound, while no client reads.
func (s *session) hand(m message.Message, about message.Key, cause *upstream.Refusal) {
	s.out.Lock()
	defer s.out.Unlock()
	for m.Kind == message.Response && s.pending[m.ID] != nil && !s.ended && !s.makeRoom(len(m.Raw)) {
		s.room.Wait()
	}
	if s.ended {
		return
	}
	if m.Kind != message.Response {
		cause = nil
	}
	e := servers.Event{Raw: m.Raw, More: servers.DetailsOf(&m, cause)}
	var st *stream
	switch {
	case m.Kind == message.Response:
		if st = s.pending[m.ID]; st == nil {
			return // it was cancelled, or never asked for
		}
		e.Response, e.Failed, s.heard = true, m.Failed, true
		delete(s.pending, m.ID)
		delete(st.waiting, m.ID)
	case s.one:
		st = s.general
	case m.Method == "notifications/progress":
		if st = s.progress[m.Progress]; st == nil || st.done {
			return // it is of a request that has been answered
		}
	case mcp.ConcernsServer(m.Method):
		st = s.general
	case s.pending[about] != nil:
		st = s.pending[about]
	default:
		st = s.related()
	}
	st.add(e)
	if e.Response && len(st.waiting) == 0 && !s.one {
		for token, other := range s.progress {
			if other == st {
				delete(s.progress, token)
			}
		}
		st.finish()
	}
	s.trim()
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
func (s *session) trim() {
	finished := 0
	for _, st := range s.streams {
		if st.done && st.reader == nil {
			finished++
		}
	}
	for i := 0; i < len(s.streams) && finished > maxFinished; {
		if st := s.streams[i]; st.done && st.reader == nil {
			s.giveUp(st)
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
		for total > s.servers.Bounds().Buffer && len(st.events) > 0 && st.first < st.read {
			total -= len(st.forget().Raw)
		}
	}
	for _, st := range all {
		for total > s.servers.Bounds().Buffer {
			e, ok := st.drop()
			if !ok {
				break
			}
			total -= len(e.Raw)
			s.dropped++
			s.refuseUnread(e)
		}
	}
}

// refuseUnread answers an event that no client reads with an error, if it is a request of
// the server.
func (s *session) refuseUnread(e servers.Event) {
	if e.More != nil && e.More.Request {
		s.out.Post(message.NewError(e.More.ID, message.CodeInternal, "no client takes requests"))
	}
}

// giveUp drops a finished stream that no client reads.
func (s *session) giveUp(st *stream) {
	for _, e := range st.events[st.read-st.first:] {
		s.refuseUnread(e)
	}
	s.dropStream(st)
}

// makeRoom reports whether an answer of n bytes may be kept. It drops finished streams that
// no client reads to make room, the oldest first. One answer may always be kept.
func (s *session) makeRoom(n int) bool {
	for {
		unread := s.unread()
		if unread == 0 || unread+n <= servers.MaxUnread*s.servers.Bounds().Buffer {
			return true
		}
		i := slices.IndexFunc(s.streams, func(st *stream) bool { return st.done && st.reader == nil })
		if i < 0 {
			return false
		}
		s.giveUp(s.streams[i])
	}
}

// unread is how many bytes of answers wait for clients to read them, and of anything
// are being written to clients.
func (s *session) unread() int {
	n := s.held
	for _, st := range append([]*stream{s.general}, s.streams...) {
		for _, e := range st.events[max(st.read, st.first)-st.first:] {
			if e.Response {
				n += len(e.Raw)
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
	s.out.Lock()
	defer s.out.Unlock()
	st := s.pending[id]
	if st == nil {
		return
	}
	delete(s.pending, id)
	delete(st.waiting, id)
	s.room.Broadcast()
	if len(st.waiting) == 0 && !s.one {
		st.finish()
		s.trim()
	}
}

// Fail answers what is pending with an error and ends all streams. It returns the
// server, and false where the session was over before.
func (s *session) Fail(text string) (upstream.Peer, bool) {
	s.out.Lock()
	defer s.out.Unlock()
	if s.ended {
		return nil, false
	}
	s.ended = true
	if s.timer != nil {
		s.timer.Stop()
	}
	for _, st := range append([]*stream{s.general}, s.streams...) {
		for _, id := range st.waiting {
			st.add(servers.Event{Raw: message.Error(id, message.CodeInternal, text), Response: true})
		}
		clear(st.waiting)
		st.finish()
	}
	clear(s.pending)
	s.room.Broadcast()
	return s.peer, true
}
