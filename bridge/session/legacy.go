package session

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/mcp"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/notes"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/origin"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/servers"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/stats"
)

// sessionParam is the query parameter with the session id, in the URL that clients post messages
// to. It is removed before a request is sent to the server.
const sessionParam = "sessionId"

// ServeSSE serves the event stream of HTTP+SSE (MCP specification 2024-11-05). It begins a
// session, which ends with the stream. messages is the unescaped path that clients post to. The
// URL in the event `endpoint` has that path and the query of the client's request, so that a key
// in the query comes with each message.
func (t *Table) ServeSSE(w http.ResponseWriter, r *http.Request, messages string) {
	if r.Method != http.MethodGet {
		w.Header().Set("Allow", "GET")
		mcp.Refuse(w, http.StatusMethodNotAllowed, nil, message.CodeInvalidRequest, "use GET, or POST to the address that the stream names")
		return
	}
	if !mcp.Accepts(r, "text/event-stream") {
		mcp.Refuse(w, http.StatusNotAcceptable, nil, message.CodeInvalidRequest, "Accept has to list text/event-stream")
		return
	}
	query, _ := origin.WithoutParam(r.URL.RawQuery, sessionParam)
	r = origin.WithQuery(r, query)
	ctx, cancel := context.WithTimeout(r.Context(), t.servers.Config.StartTimeout)
	s, err := t.begin(ctx, r, true)
	cancel()
	if err != nil {
		t.servers.RefuseStart(w, nil, err)
		return
	}
	defer func() {
		if !t.servers.Abandon(s) {
			t.servers.End(s, stats.EndClient)
		}
	}()
	notes.NoteSession(r, s.id)
	rd := newReader(&s.streams)
	rd.stream = s.streams.general
	s.streams.open(rd)
	if !t.admitLegacy(s) {
		mcp.Refuse(w, http.StatusBadGateway, nil, message.CodeInternal, "the server has ended")
		return
	}
	defer s.leave()
	out := t.servers.EventWriter(w)
	out.Plain = true
	if out.Begin() != nil || out.Announce(origin.PathReference(messages, origin.AddMissing(query, sessionParam+"="+url.QueryEscape(s.id)))) != nil {
		return
	}
	out.Pump(r.Context(), rd)
}

// admitLegacy admits a session of HTTP+SSE, and counts the request that has its event stream: the
// caller must then call leave.
func (t *Table) admitLegacy(s *session) bool {
	s.mu.Lock()
	s.active++
	s.mu.Unlock()
	return t.admit(s, "")
}

// ServeMessage serves a POST of HTTP+SSE, with a message. It answers 202 once the server has the
// message. If the server refuses it, the client gets the server's status ([session.forward]).
func (t *Table) ServeMessage(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", "POST")
		mcp.Refuse(w, http.StatusMethodNotAllowed, nil, message.CodeInvalidRequest, "use POST")
		return
	}
	query, ids := origin.WithoutParam(r.URL.RawQuery, sessionParam)
	r = origin.WithQuery(r, query)
	all, _, ok := t.servers.ReadPost(w, r, func() servers.Sender {
		if len(ids) == 1 && t.isMember(ids[0], r, true) {
			return servers.Member
		}
		return servers.Lost
	})
	if !ok {
		return
	}
	var id []byte
	if len(all) > 0 {
		id = all[0].RawID
	}
	if len(ids) != 1 || ids[0] == "" {
		if !t.refuseWithoutSession(w, r, id) {
			mcp.Refuse(w, http.StatusBadRequest, id, message.CodeServer, "the request needs one "+sessionParam+", as the event stream gives it")
		}
		return
	}
	s := t.find(ids[0])
	if s == nil || !s.legacy || len(all) == 0 || !t.owns(s, r) || !s.enter() {
		if !t.refuseWithoutSession(w, r, id) {
			mcp.Refuse(w, http.StatusNotFound, id, message.CodeServer, "session not found; open the event stream again")
		}
		return
	}
	defer s.leave()
	notes.NoteSession(r, s.id)
	if _, ok := s.forward(w, r, all, nil); ok {
		t.boundInitialize(s, all[0])
		w.WriteHeader(http.StatusAccepted)
	}
}

// boundInitialize ends the session if m is initialize and the server does not answer it within
// the start timeout. The POST was answered already, so only the end of the event stream tells
// the client. A late server has more time ([servers.Servers.IsLate]).
func (t *Table) boundInitialize(s *session, m message.Message) {
	if m.Kind != message.Request || m.Method != "initialize" {
		return
	}
	time.AfterFunc(t.servers.Config.StartTimeout, func() {
		if s.streams.awaitsFirst(m.ID) && !t.servers.IsLate(s) {
			t.servers.WarnSilent(s.peer)
			t.servers.EndWith(s, stats.EndServer, servers.TextNoAnswer)
		}
	})
}
