package session

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/mcp"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/notes"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/process"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/servers"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/stats"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/upstream"
)

// session finds the session that a request names, and enters it. If there is none, it answers
// the request and returns nil: after 404 a client initializes again.
func (t *Table) session(w http.ResponseWriter, r *http.Request, id []byte) *session {
	ids := r.Header[mcp.SessionHeader]
	if len(ids) != 1 || ids[0] == "" {
		if !t.refuseWithoutSession(w, r, id) {
			mcp.Refuse(w, http.StatusBadRequest, id, message.CodeServer, "the request needs one Mcp-Session-Id; begin with initialize")
		}
		return nil
	}
	s := t.find(ids[0])
	if s == nil || s.legacy || !t.owns(s, r) || !s.enter() {
		if !t.refuseWithoutSession(w, r, id) {
			refuseGone(w, id)
		}
		return nil
	}
	return s
}

// Refuse answers a POST whose sender is [servers.Lost].
func (t *Table) Refuse(w http.ResponseWriter, r *http.Request) {
	if s := t.session(w, r, nil); s != nil { // it has begun since
		s.leave()
		refuseGone(w, nil)
	}
}

// refuseGone answers a request for a session that has ended or is not known.
func refuseGone(w http.ResponseWriter, id []byte) {
	mcp.Refuse(w, http.StatusNotFound, id, message.CodeServer, "session not found; send initialize again")
}

// knownVersion reports whether the protocol version in the header of a request is one with
// sessions. A request without the header field has that of its session, or 2025-03-26.
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

// Post serves a POST of Streamable HTTP: initialize, which begins a session, or the messages of
// a client with a session.
func (t *Table) Post(w http.ResponseWriter, r *http.Request, all []message.Message, batch bool) {
	first := all[0]
	if !knownVersion(r) {
		// A client that also knows the stateless revisions must not get the error code that
		// those have for this: any other error tells it that the server wants initialize.
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

// initialize begins a session. If the server does not answer with a result, the client gets no
// session id, and the server is ended (A8), unless it is late ([servers.Servers.Abandon]).
func (t *Table) initialize(w http.ResponseWriter, r *http.Request, all []message.Message) {
	m := all[0]
	if len(all) > 1 {
		mcp.Refuse(w, http.StatusBadRequest, m.RawID, message.CodeInvalidRequest, "initialize cannot be part of a batch")
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), t.servers.Config.StartTimeout)
	defer cancel()
	s, err := t.begin(ctx, r, false)
	if err != nil {
		t.servers.RefuseStart(w, m.RawID, err)
		return
	}
	rd := newReader(&s.streams)
	st, ok := s.streams.expect(all, rd)
	if !ok {
		err = upstream.ErrEnded
	} else {
		err = s.peer.Send(r.WithContext(ctx), m)
	}
	if err != nil {
		s.mu.Lock()
		s.failedStart = ctx.Err() == nil
		s.mu.Unlock()
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
	answer, ok := s.streams.answer(ctx, st, rd)
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

// post serves one POST of a client with a session.
func (s *session) post(w http.ResponseWriter, r *http.Request, all []message.Message, batch bool) {
	if batch && s.version > "2025-03-26" {
		mcp.Refuse(w, http.StatusBadRequest, nil, message.CodeInvalidRequest, "this protocol version has no batches")
		return
	}
	rd := newReader(&s.streams)
	st, ok := s.forward(w, r, all, rd)
	switch {
	case !ok:
	case st == nil:
		w.WriteHeader(http.StatusAccepted)
	default:
		s.serve(w, r, st, rd, batch)
	}
}

// forward sends the messages of one POST to the server. It returns the stream for the answers to
// the requests among them, which rd reads; nil if there are no requests. If the server does not
// take the messages, forward answers the POST and returns false.
func (s *session) forward(w http.ResponseWriter, r *http.Request, all []message.Message, rd *reader) (st *stream, ok bool) {
	var requests []message.Message
	for _, m := range all {
		if m.Kind == message.Request {
			requests = append(requests, m)
		}
	}
	id := all[0].RawID
	if len(requests) > 0 {
		if st, ok = s.streams.expect(requests, rd); !ok {
			if s.isEnded() { // after the request had found the session
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
				s.streams.unexpect(st, requests)
			}
			refuseSend(w, r, s, id, err)
			return nil, false
		}
	}
	for _, m := range all {
		if m.Cancels != "" {
			s.streams.cancelled(m.Cancels)
		}
	}
	return st, true
}

// answerRefused answers a request that the server has refused on the event stream of an HTTP+SSE
// client. Such clients take an error status of a POST for the end of the connection. It returns
// false if the POST itself must be answered: for other clients, if the server refuses access, or
// if the server has ended.
func (s *session) answerRefused(m message.Message, err error) bool {
	refusal, ok := errors.AsType[*upstream.Refusal](err)
	if !s.legacy || m.Kind != message.Request || !ok || !refusal.OfMessage() {
		return false
	}
	s.streams.deliver(refusal.Answer(m), "", nil)
	return true
}

// refuseSend answers a request whose message could not be sent to the server, because of err.
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

// check asks the server whether it accepts the credentials of a request that is not forwarded
// to it, if the server judges each request. If it does not accept them, check answers the
// request and returns true.
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

// Get serves a GET of Streamable HTTP: the general stream of the session, or the stream that
// Last-Event-ID belongs to. If that is over, as after a call that the client has cancelled, the
// answer is 204, which tells clients of server-sent events not to connect again (HTML standard,
// section 9.2.3). A client takes an empty stream for a broken one, and asks again without end.
// Version 1 of the TypeScript SDK asks after each error as well.
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
	rd := newReader(&s.streams)
	st, err := s.streams.resume(r.Header.Get("Last-Event-Id"), rd)
	switch {
	case errors.Is(err, errOver):
		w.WriteHeader(http.StatusNoContent)
		return
	case err != nil:
		mcp.Refuse(w, http.StatusBadRequest, nil, message.CodeInvalidRequest, err.Error())
		return
	}
	s.serve(w, r, st, rd, true)
}

// serve writes a stream to a client: as JSON if the stream is one answer alone and events is
// false, else as server-sent events. It returns when the stream ends, when the client leaves, or
// when another request resumes the stream.
func (s *session) serve(w http.ResponseWriter, r *http.Request, st *stream, rd *reader, events bool) {
	defer s.streams.detach(st, rd)
	out := s.servers.EventWriter(w)
	out.Number = st.number
	out.Resumable = s.resumes()
	if events && out.Begin() != nil {
		return
	}
	rd.stream = st
	out.Pump(r.Context(), rd)
}

// resumes reports whether a POST that takes long gets an event without data. Clients of earlier
// revisions would read its data as a message. If the server may still refuse the request, the
// header is not sent before, because its status has to be that of the refusal.
func (s *session) resumes() bool {
	return s.version >= "2025-11-25" && !upstream.RefusesLate(s.peer)
}

// Delete serves a DELETE of Streamable HTTP, with which a client ends its session.
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
