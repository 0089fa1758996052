package bridge

import (
	"context"
	"io"
	"net/http"
	"net/url"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
)

// sessionParam names the conversation in the address that messages are posted to.
const sessionParam = "sessionId"

// ServeSSE is the event stream of HTTP+SSE (MCP specification 2024-11-05): one
// conversation, which ends with it. messages is the path-absolute reference that
// clients post to.
func (h *Hub) ServeSSE(w http.ResponseWriter, r *http.Request, messages string) {
	if r.Method != http.MethodGet {
		w.Header().Set("Allow", "GET")
		refuse(w, http.StatusMethodNotAllowed, nil, message.CodeInvalidRequest, "use GET, or POST to the address that the stream names")
		return
	}
	if !accepts(r, "text/event-stream") {
		refuse(w, http.StatusNotAcceptable, nil, message.CodeInvalidRequest, "Accept has to list text/event-stream")
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), h.cfg.StartTimeout)
	s, err := h.open(ctx, r)
	cancel()
	if err != nil {
		h.refuseStart(w, nil, err)
		return
	}
	defer h.end(s, EndClient)
	noteSession(r, s)
	rd := newReader()
	if !h.admitOne(s, rd) {
		refuse(w, http.StatusBadGateway, nil, message.CodeInternal, "the server has ended")
		return
	}
	defer s.leave()
	out := &eventWriter{w: w, to: newPatientWriter(w, h.cfg.Stall), plain: true}
	if out.begin() != nil || out.announce(messages+"?"+sessionParam+"="+url.QueryEscape(s.id)) != nil {
		return
	}
	s.pump(r, s.general, rd, out)
}

// admitOne lets clients post to a conversation whose one stream rd reads.
func (h *Hub) admitOne(s *session, rd *reader) bool {
	s.mu.Lock()
	s.one = true
	s.active++
	s.general.attach(rd, s.general.first)
	s.mu.Unlock()
	return h.admit(s, "")
}

// announce writes the event that names where messages are posted to.
func (o *eventWriter) announce(address string) error {
	if _, err := io.WriteString(o.to, "event: endpoint\ndata: "+address+"\n\n"); err != nil {
		return err
	}
	return o.to.Flush()
}

// ServeMessage takes a message of HTTP+SSE. It is answered once the server has it,
// and with the server's answer where that is a refusal.
func (h *Hub) ServeMessage(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", "POST")
		refuse(w, http.StatusMethodNotAllowed, nil, message.CodeInvalidRequest, "use POST")
		return
	}
	all, _, ok := readPost(w, r)
	if !ok {
		return
	}
	id := all[0].RawID
	ids := r.URL.Query()[sessionParam]
	if len(ids) != 1 || ids[0] == "" {
		if !h.refuseStranger(w, r, id) {
			refuse(w, http.StatusBadRequest, id, message.CodeServer, "the request needs one "+sessionParam+", as the event stream gives it")
		}
		return
	}
	s := h.find(ids[0])
	if s == nil || !s.one || !h.owns(s, r) || !s.enter() {
		if !h.refuseStranger(w, r, id) {
			refuse(w, http.StatusNotFound, id, message.CodeServer, "there is no such session; open the event stream again")
		}
		return
	}
	defer s.leave()
	noteSession(r, s)
	if _, ok := s.forward(w, r, all, nil); ok {
		w.WriteHeader(http.StatusAccepted)
	}
}
