// Package hub serves the clients of an endpoint whose requests are carried over to another
// transport. It passes each request to the sessions (bridge/session) or to the shared servers
// (bridge/shared). Both start their servers through bridge/servers, within the same bounds.
package hub

import (
	"net/http"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/mcp"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/servers"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/session"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/shared"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/stats"
)

// Config describes the hub of one endpoint, by its parts.
type Config struct {
	Servers  servers.Config
	Sessions session.Config
	Shared   shared.Config
}

// Hub serves the clients of one endpoint, those with a session and stateless ones.
type Hub struct {
	servers  *servers.Servers
	sessions *session.Table
	shared   *shared.Servers
}

// New returns a hub that has no sessions yet.
func New(cfg Config) *Hub {
	v := servers.New(cfg.Servers)
	h := &Hub{servers: v, sessions: session.NewTable(v, cfg.Sessions), shared: shared.New(v, cfg.Shared)}
	v.Spare = h.shared.Spare
	return h
}

// ServeHTTP serves Streamable HTTP, with sessions (MCP specification 2025-03-26 to 2025-11-25)
// and without (2026-07-28). The caller has checked the origin and set the CORS headers.
func (h *Hub) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.Method {
	case http.MethodPost:
		h.post(w, r)
	case http.MethodGet:
		h.sessions.Get(w, r)
	case http.MethodDelete:
		h.sessions.Delete(w, r)
	default:
		w.Header().Set("Allow", "GET, POST, DELETE")
		mcp.Refuse(w, http.StatusMethodNotAllowed, nil, message.CodeInvalidRequest, "use GET, POST or DELETE")
	}
}

func (h *Hub) post(w http.ResponseWriter, r *http.Request) {
	if !mcp.Accepts(r, "application/json", "text/event-stream") {
		mcp.Refuse(w, http.StatusNotAcceptable, nil, message.CodeInvalidRequest, "Accept has to list application/json and text/event-stream")
		return
	}
	all, batch, ok := h.servers.ReadPost(w, r, func() servers.Sender { return h.sessions.Sender(r) })
	switch {
	case !ok:
		return
	case len(all) == 0:
		h.sessions.Refuse(w, r)
		return
	}
	if mcp.IsStateless(r, all) {
		h.shared.Post(w, r, all, batch)
		return
	}
	h.sessions.Post(w, r, all, batch)
}

// ServeSSE serves the event stream of HTTP+SSE (MCP specification 2024-11-05). messages is the
// unescaped path that clients post messages to.
func (h *Hub) ServeSSE(w http.ResponseWriter, r *http.Request, messages string) {
	h.sessions.ServeSSE(w, r, messages)
}

// ServeMessage serves a POST with a message of an HTTP+SSE client.
func (h *Hub) ServeMessage(w http.ResponseWriter, r *http.Request) { h.sessions.ServeMessage(w, r) }

// List describes the sessions that have begun, oldest first, and the servers that
// stateless requests share.
func (h *Hub) List() []stats.SessionInfo { return h.servers.List() }

// Len returns the number of sessions, and of servers that stateless requests share.
func (h *Hub) Len() int { return h.servers.Len() }

// State describes the starts of the servers.
func (h *Hub) State() servers.State { return h.servers.State() }

// EndSession ends the session with that [stats.SessionInfo.ID] on behalf of the operator. It returns
// false if there is none.
func (h *Hub) EndSession(id string) bool { return h.servers.EndSession(id) }

// Close ends every session and waits for their servers.
func (h *Hub) Close() { h.servers.Close() }
