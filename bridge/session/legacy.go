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

// sessionParam names the session in the address that messages are posted to. It is the
// bridge's own: what is sent to the server goes without it.
const sessionParam = "sessionId"

// ServeSSE is the event stream of HTTP+SSE (MCP specification 2024-11-05). It begins a
// session, which ends with the stream. messages is the unescaped path that clients post to.
// The address that the client gets has the query of its own request, so that a key in it
// comes with each message.
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
	r = withQuery(r, query)
	ctx, cancel := context.WithTimeout(r.Context(), t.servers.Config.StartTimeout)
	s, err := t.open(ctx, r)
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
	rd := newReader()
	if !t.admitOne(s, rd) {
		mcp.Refuse(w, http.StatusBadGateway, nil, message.CodeInternal, "the server has ended")
		return
	}
	defer s.leave()
	out := t.servers.EventWriter(w)
	out.Plain = true
	if out.Begin() != nil || out.Announce(origin.PathReference(messages, origin.AddMissing(query, sessionParam+"="+url.QueryEscape(s.id)))) != nil {
		return
	}
	s.pump(r.Context(), s.general, rd, out)
}

// admitOne lets clients post to a session of HTTP+SSE, whose one stream rd reads.
func (t *Table) admitOne(s *session, rd *reader) bool {
	s.out.Lock()
	s.one = true
	s.active++
	s.general.attach(rd, s.general.first)
	s.out.Unlock()
	return t.admit(s, "")
}

// ServeMessage takes a message of HTTP+SSE. It is answered once the server has it,
// and with the server's answer where that is a refusal.
func (t *Table) ServeMessage(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", "POST")
		mcp.Refuse(w, http.StatusMethodNotAllowed, nil, message.CodeInvalidRequest, "use POST")
		return
	}
	all, _, ok := t.servers.ReadPost(w, r)
	if !ok {
		return
	}
	id := all[0].RawID
	query, ids := origin.WithoutParam(r.URL.RawQuery, sessionParam)
	r = withQuery(r, query)
	if len(ids) != 1 || ids[0] == "" {
		if !t.refuseWithoutSession(w, r, id) {
			mcp.Refuse(w, http.StatusBadRequest, id, message.CodeServer, "the request needs one "+sessionParam+", as the event stream gives it")
		}
		return
	}
	s := t.find(ids[0])
	if s == nil || !s.one || !t.owns(s, r) || !s.enter() {
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

// boundInitialize ends a session whose server does not answer initialize in time: the
// client's POST is answered before, and its stream would wait for ever.
func (t *Table) boundInitialize(s *session, m message.Message) {
	if m.Kind != message.Request || m.Method != "initialize" {
		return
	}
	time.AfterFunc(t.servers.Config.StartTimeout, func() {
		s.out.Lock()
		waits := s.pending[m.ID] != nil && !s.heard && !s.ended
		s.out.Unlock()
		if waits && !t.servers.IsLate(s) { // which has more time
			t.servers.WarnSilent(s.peer)
			t.servers.EndWith(s, stats.EndServer, servers.TextNoAnswer)
		}
	})
}

// withQuery returns a request with another query, and nothing of the one that it had.
func withQuery(r *http.Request, query string) *http.Request {
	other, u := *r, *r.URL
	u.RawQuery = query
	other.URL, other.RequestURI = &u, u.RequestURI()
	return &other
}
