package edge

import (
	"net/http"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/mcp"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
)

// Seal turns the session id of an MCP server into one that clients get, and back. Each id is
// bound to a scope: with another one it does not open.
type Seal interface {
	Seal(text, scope string) string
	Open(sealed, scope string) (text string, ok bool)
}

// sealScope binds a session id to the endpoint and to the owner of the session.
func (e *Edge) sealScope(f Facts, a *Admission) string {
	return "session\x00" + f.Scope + "\x00" + a.owner
}

// openSession returns the request with the session id that the server knows. Another
// owner's id, and one that was made up, is a session that does not exist. It returns false
// if it has answered the request.
func (e *Edge) openSession(w http.ResponseWriter, r *http.Request, f Facts, a *Admission) (*http.Request, bool) {
	ids := r.Header[mcp.SessionHeader]
	if f.Seal == nil || len(ids) == 0 {
		return r, true
	}
	// The header is copied: logs show the id that the client has.
	inner := *r
	inner.Header = r.Header.Clone()
	if a.stateless { // its server does not know of sessions
		delete(inner.Header, mcp.SessionHeader)
		return &inner, true
	}
	id, ok := "", false
	if len(ids) == 1 {
		id, ok = f.Seal.Open(ids[0], e.sealScope(f, a))
	}
	if !ok {
		e.NoSession(r, a)
		mcp.Refuse(w, http.StatusNotFound, a.Request.ID(), message.CodeServer, "there is no such session; begin again with initialize")
		return nil, false
	}
	inner.Header[mcp.SessionHeader] = []string{id}
	return &inner, true
}

// sealSession replaces the session id in the header of an answer.
func (e *Edge) sealSession(h http.Header, f Facts, a *Admission) {
	if ids := h[mcp.SessionHeader]; f.Seal != nil && len(ids) == 1 && ids[0] != "" {
		h[mcp.SessionHeader] = []string{f.Seal.Seal(ids[0], e.sealScope(f, a))}
	}
}
