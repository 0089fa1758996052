package edge

import (
	"net/http"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/authorize/answer"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/mcp"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
)

// Seal turns the session id of an MCP server into one for clients, and back. Each id is bound to a
// scope, and can be turned back only with that scope.
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

// sealSession replaces each session id in the header of an answer.
func (e *Edge) sealSession(h http.Header, f Facts, a *Admission) {
	ids := h[mcp.SessionHeader]
	if f.Seal == nil || len(ids) == 0 {
		return
	}
	sealed := make([]string, len(ids))
	for i, id := range ids {
		if id != "" {
			sealed[i] = f.Seal.Seal(id, e.sealScope(f, a))
		}
	}
	h[mcp.SessionHeader] = sealed
}

// ownTasks refuses a request that names a task of other principals, as a server does if there is
// no such task. It returns false if it has answered the request.
func (e *Edge) ownTasks(w http.ResponseWriter, r *http.Request, f Facts, a *Admission) bool {
	if e.tasks == nil {
		return true
	}
	for _, op := range a.Request.Operations {
		for _, id := range op.Tasks {
			if !e.tasks.Refuses(a.owner, id) {
				continue
			}
			// An answer to a message of HTTP+SSE belongs on the event stream, and a message without
			// an id gets none. So only the status can tell the client.
			no := answer.NoTask(a.Request.ID(), f.Legacy)
			e.rejected(r, a, CheckTask, no.Status, reasonTask)
			no.Write(w)
			return false
		}
	}
	return true
}
