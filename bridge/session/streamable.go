package session

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/mcp"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/notes"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/process"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/servers"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/stats"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/upstream"
)

// session finds the session that a request names, and enters it. It answers where
// there is none: 404 has a client initialize again.
func (t *Table) session(w http.ResponseWriter, r *http.Request, id []byte) *session {
	ids := r.Header[mcp.SessionHeader]
	if len(ids) != 1 || ids[0] == "" {
		if !t.refuseWithoutSession(w, r, id) {
			mcp.Refuse(w, http.StatusBadRequest, id, message.CodeServer, "the request needs one Mcp-Session-Id; begin with initialize")
		}
		return nil
	}
	s := t.find(ids[0])
	if s == nil || s.one || !t.owns(s, r) || !s.enter() {
		if !t.refuseWithoutSession(w, r, id) {
			refuseGone(w, id)
		}
		return nil
	}
	return s
}

// refuseGone says that the session is over, or never was.
func refuseGone(w http.ResponseWriter, id []byte) {
	mcp.Refuse(w, http.StatusNotFound, id, message.CodeServer, "session not found; send initialize again")
}

// knownVersion reports whether a request names a revision that is served. One
// without the field is of 2025-03-26, or of the session.
func knownVersion(r *http.Request) bool {
	lines := r.Header[mcp.VersionHeader]
	if len(lines) == 0 {
		return true
	}
	for _, known := range mcp.HandshakeRevisions {
		if len(lines) == 1 && lines[0] == known {
			return true
		}
	}
	return false
}

// Post takes a POST of a client with a session, or of one that may get one.
func (t *Table) Post(w http.ResponseWriter, r *http.Request, all []message.Message, batch bool) {
	first := all[0]
	if !knownVersion(r) {
		// No error of the stateless revisions: a client that knows both takes
		// this for a server of before, and initializes.
		mcp.Refuse(w, http.StatusBadRequest, first.RawID, message.CodeServer,
			"unsupported protocol version; supported are "+strings.Join(mcp.HandshakeRevisions, ", "))
		return
	}
	if first.Kind == message.Request && first.Method == "initialize" {
		t.initialize(w, r, all)
		return
	}
	s := t.session(w, r, first.RawID)
	if s == nil {
		return
	}
	defer s.leave()
	s.post(w, r, all, batch)
}

// initialize starts a session. One whose initialize fails is none: there is no id
// and no server left (A8).
func (t *Table) initialize(w http.ResponseWriter, r *http.Request, all []message.Message) {
	m := all[0]
	if len(all) > 1 {
		mcp.Refuse(w, http.StatusBadRequest, m.RawID, message.CodeInvalidRequest, "initialize cannot be part of a batch")
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), t.servers.Config.StartTimeout)
	defer cancel()
	s, err := t.open(ctx, r)
	if err != nil {
		t.servers.RefuseStart(w, m.RawID, err)
		return
	}
	rd := newReader()
	st, ok := s.ask(all, rd)
	if !ok {
		err = upstream.ErrEnded
	} else {
		err = s.peer.Send(r.WithContext(ctx), m)
	}
	if err != nil {
		s.out.Lock()
		s.failedStart = ctx.Err() == nil
		s.out.Unlock()
		upstream.NoteEnd(s.peer, stats.ExitHungUp)
		t.servers.End(s, stats.EndServer)
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			err = &upstream.Refusal{Status: http.StatusGatewayTimeout}
		}
		if _, ok := errors.AsType[*upstream.Refusal](err); !ok {
			mcp.Refuse(w, http.StatusBadGateway, m.RawID, message.CodeInternal, servers.TextEnded(s.peer))
			return
		}
		refuseSend(w, r, s, m.RawID, err)
		return
	}
	answer, ok := s.wait(ctx, st, rd)
	if !ok {
		if t.servers.Abandon(s) {
			t.servers.RefuseStart(w, m.RawID, servers.ErrStarting)
			return
		}
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			t.servers.WarnSilent(s.peer)
		} else {
			upstream.NoteEnd(s.peer, stats.ExitCause(stats.EndClient))
		}
		t.servers.End(s, stats.EndServer)
		mcp.Refuse(w, http.StatusGatewayTimeout, m.RawID, message.CodeInternal, servers.TextNoAnswer)
		return
	}
	switch {
	case s.isEnded():
		mcp.WriteJSON(w, http.StatusBadGateway, message.Error(m.RawID, message.CodeInternal, message.Text(answer.Raw, "error", "message")))
		return
	case answer.Refusal() != nil:
		t.servers.End(s, stats.EndServer)
		answer.Refusal().Write(w, m.RawID)
		return
	case answer.Failed || !t.admit(s, answer.Version()):
		upstream.NoteEnd(s.peer, stats.ExitRejected)
		t.servers.End(s, stats.EndServer)
	default:
		w.Header().Set(mcp.SessionHeader, s.id)
		notes.NoteSession(r, s.id)
	}
	out := t.servers.EventWriter(w)
	out.Answer(http.StatusOK, answer.Raw)
}

// wait returns the one message that a stream ends with. What else the server says
// before that goes to the session's own stream.
func (s *session) wait(ctx context.Context, st *stream, rd *reader) (answer servers.Event, ok bool) {
	for {
		s.out.Lock()
		for len(st.events) > 0 && !st.events[0].Response {
			s.general.add(st.forget())
		}
		if len(st.events) > 0 {
			answer = st.forget()
			s.dropStream(st)
			s.out.Unlock()
			return answer, true
		}
		s.out.Unlock()
		select {
		case <-rd.changed:
		case <-ctx.Done():
			return answer, false
		}
	}
}

// post takes the messages of one POST to the server.
func (s *session) post(w http.ResponseWriter, r *http.Request, all []message.Message, batch bool) {
	if batch && s.version > "2025-03-26" {
		mcp.Refuse(w, http.StatusBadRequest, nil, message.CodeInvalidRequest, "this protocol version has no batches")
		return
	}
	rd := newReader()
	st, ok := s.forward(w, r, all, rd)
	switch {
	case !ok:
	case st == nil:
		w.WriteHeader(http.StatusAccepted)
	default:
		s.serve(w, r, st, rd, batch)
	}
}

// forward sends the messages of one POST on, and returns the stream of the answers
// to the requests among them, which rd reads. It answers where the server does not
// take them.
func (s *session) forward(w http.ResponseWriter, r *http.Request, all []message.Message, rd *reader) (st *stream, ok bool) {
	var requests []message.Message
	for _, m := range all {
		if m.Kind == message.Request {
			requests = append(requests, m)
		}
	}
	id := all[0].RawID
	if len(requests) > 0 {
		if st, ok = s.ask(requests, rd); !ok {
			if s.isEnded() { // since the request has found it
				refuseGone(w, id)
				return nil, false
			}
			mcp.Refuse(w, http.StatusBadRequest, id, message.CodeInvalidRequest, "the id is in use, or too many requests are in progress")
			return nil, false
		}
	}
	for _, m := range all {
		if err := s.peer.Send(r, m); err != nil && !s.answerRefused(m, err) {
			if st != nil {
				s.unask(st, requests)
			}
			refuseSend(w, r, s, id, err)
			return nil, false
		}
	}
	for _, m := range all {
		if m.Cancels != "" {
			s.cancelled(m.Cancels)
		}
	}
	return st, true
}

// answerRefused answers a request that the server has refused on the stream of an HTTP+SSE
// client, which takes the status of a POST for the state of the whole connection. It returns
// false if the POST has to have the status: access is refused, or the server is gone.
func (s *session) answerRefused(m message.Message, err error) bool {
	refusal, ok := errors.AsType[*upstream.Refusal](err)
	if !s.one || m.Kind != message.Request || !ok || !refusal.OfMessage() {
		return false
	}
	s.hand(refusal.Answer(m), "", nil)
	return true
}

// refuseSend answers a request that could not be sent on.
func refuseSend(w http.ResponseWriter, r *http.Request, s *session, id []byte, err error) {
	refusal, ok := errors.AsType[*upstream.Refusal](err)
	switch {
	case ok:
		refusal.Write(w, id)
	case s.isEnded(), errors.Is(err, upstream.ErrEnded):
		if !s.table.refuseWithoutSession(w, r, id) {
			refuseGone(w, id)
		}
	case errors.Is(err, process.ErrFrameTooLong):
		(&upstream.Refusal{Status: http.StatusRequestEntityTooLarge}).Write(w, id)
	default:
		mcp.Refuse(w, http.StatusServiceUnavailable, id, message.CodeInternal, "the server takes no messages now")
	}
}

// check asks a server that decides on each request whether it takes one that it does
// not get itself. It returns true where the request is answered.
func (s *session) check(w http.ResponseWriter, r *http.Request) (done bool) {
	c, ok := s.peer.(upstream.Checker)
	if !ok {
		return false
	}
	err := c.Check(r)
	if err != nil {
		refuseSend(w, r, s, nil, err)
	}
	return err != nil
}

// Get serves a stream of a session over Streamable HTTP.
func (t *Table) Get(w http.ResponseWriter, r *http.Request) {
	if !mcp.Accepts(r, "text/event-stream") {
		mcp.Refuse(w, http.StatusNotAcceptable, nil, message.CodeInvalidRequest, "Accept has to list text/event-stream")
		return
	}
	s := t.session(w, r, nil)
	if s == nil {
		return
	}
	defer s.leave()
	if s.check(w, r) {
		return
	}
	rd := newReader()
	st, ok := s.resume(r.Header.Get("Last-Event-Id"), rd)
	if !ok {
		mcp.Refuse(w, http.StatusBadRequest, nil, message.CodeInvalidRequest, "the events after Last-Event-ID are not kept any more")
		return
	}
	s.serve(w, r, st, rd, true)
}

// resume has rd read the stream that an event id belongs to, beginning with the event after
// it. Without an id it is the session's own stream, beginning with the first event that no
// client has read.
func (s *session) resume(last string, rd *reader) (st *stream, ok bool) {
	s.out.Lock()
	defer s.out.Unlock()
	if last == "" {
		return s.general, s.general.attach(rd, s.general.read)
	}
	number, seq, _ := strings.Cut(last, "-")
	n, err := strconv.Atoi(number)
	at, err2 := strconv.Atoi(seq)
	if err != nil || err2 != nil || at < 0 || last != servers.EventID(n, at) {
		return nil, false
	}
	if n == 0 {
		st = s.general
	}
	for _, other := range s.streams {
		if other.number == n {
			st = other
		}
	}
	return st, st != nil && st.attach(rd, at+1)
}

// serve writes a stream to a client, whose reader is rd: as JSON where it is one
// answer alone, else as events. It ends with the stream, with the client, or when another request takes
// the stream over; the stream itself stays for a client that comes back.
func (s *session) serve(w http.ResponseWriter, r *http.Request, st *stream, rd *reader, events bool) {
	defer func() {
		s.out.Lock()
		st.detach(rd)
		s.hold(rd, 0)
		s.out.Unlock()
	}()
	out := s.servers.EventWriter(w)
	out.Number = st.number
	if events && out.Begin() != nil {
		return
	}
	s.pump(r.Context(), st, rd, out)
}

// pump writes a stream, which rd reads, to its client.
func (s *session) pump(ctx context.Context, st *stream, rd *reader, out *servers.EventWriter) {
	rd.session, rd.stream = s, st
	out.Pump(ctx, rd)
}

// Take implements [servers.Source].
func (rd *reader) Take() (batch []servers.Event, seq int, over bool) {
	s, st := rd.session, rd.stream
	s.out.Lock()
	defer s.out.Unlock()
	if rd.gone {
		return nil, 0, true
	}
	seq = max(st.read, st.first)
	size := 0
	for _, e := range st.events[seq-st.first:] {
		if len(batch) > 0 && size+len(e.Raw) > maxTake {
			break
		}
		size += len(e.Raw)
		batch = append(batch, e)
	}
	s.hold(rd, size)
	st.read = seq + len(batch)
	for s.one && st.first < st.read { // no client comes back for them
		st.forget()
	}
	return batch, seq, st.done && st.read == st.end()
}

// Wake implements [servers.Source].
func (rd *reader) Wake() <-chan struct{} { return rd.changed }

// Alone implements [servers.Source].
func (rd *reader) Alone(_ servers.Event, seq int, over bool) (status int) {
	if !over || seq != 0 {
		return 0
	}
	rd.session.spend(rd.stream) // first: the client's next request need not find it kept
	return http.StatusOK
}

// Delete ends a session on behalf of its client.
func (t *Table) Delete(w http.ResponseWriter, r *http.Request) {
	s := t.session(w, r, nil)
	if s == nil {
		return
	}
	defer s.leave()
	if s.check(w, r) {
		return
	}
	t.servers.End(s, stats.EndClient)
	w.WriteHeader(http.StatusNoContent)
}
