package session

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/identity"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/mcp"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/servers"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/upstream"
)

// Config describes the sessions of one endpoint.
type Config struct {
	// Wrap translates between the server of a session and its client. It returns the peer that
	// the session sends messages to, and the function that takes the server's messages.
	// Default: no translation.
	Wrap func(peer upstream.Peer, deliver upstream.Deliver) (upstream.Peer, upstream.Deliver)
	// Judge sends a request without a known session to the server, to find out whether the
	// server refuses the credentials. Default: the server is not asked.
	Judge upstream.Backend
}

// Table has the sessions of one endpoint, by their ids.
type Table struct {
	servers *servers.Servers
	config  Config

	mu   sync.Mutex
	byID map[string]*session
}

// NewTable returns an empty table, whose sessions get their servers from v.
func NewTable(v *servers.Servers, cfg Config) *Table {
	return &Table{servers: v, config: cfg, byID: make(map[string]*session)}
}

// begin starts a server for a new session, which is of HTTP+SSE if legacy is true. Requests find
// the session, but cannot enter it before admit.
func (t *Table) begin(ctx context.Context, from *http.Request, legacy bool) (*session, error) {
	s := newSession(t, mcp.NewID(), legacy)
	s.owner, s.fields = t.servers.OwnerOf(from), identity.FieldsOf(from)
	needed := func() bool { return true }
	list := func() bool {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.byID[s.id] = s
		return true
	}
	if err := t.servers.Reserve(ctx, s, needed, list); err != nil {
		return nil, err
	}
	if err := t.servers.Launch(ctx, from, s); err != nil {
		return nil, err
	}
	return s, nil
}

// admit lets requests enter a session. version is the negotiated protocol version, if it is
// known. admit returns false if the session has ended already.
func (t *Table) admit(s *session, version string) bool {
	bounds := t.servers.Bounds()
	s.mu.Lock()
	if s.ended {
		s.mu.Unlock()
		return false
	}
	s.version, s.admitted = version, true
	s.timer = time.AfterFunc(min(bounds.Idle, bounds.Lifetime), s.watch)
	s.mu.Unlock()
	t.servers.Config.Observer.SessionBegun(s.Info())
	return true
}

// find returns a session by its id; nil if there is none.
func (t *Table) find(id string) *session {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.byID[id]
}

// Unlist implements [servers.Holder].
func (s *session) Unlist() {
	s.table.mu.Lock()
	defer s.table.mu.Unlock()
	delete(s.table.byID, s.id)
}

// refuseWithoutSession answers a request without a known session with 401 or 403, if the server
// refuses its credentials: the client has to log in before it can begin a session (A1). It
// returns false if it has not answered the request.
func (t *Table) refuseWithoutSession(w http.ResponseWriter, r *http.Request, id []byte) bool {
	if t.config.Judge == nil {
		return false
	}
	ctx, cancel := context.WithTimeout(r.Context(), upstream.RefusalWithin)
	defer cancel()
	refusal := upstream.ProbeAccess(ctx, t.config.Judge, t.config.Judge.Detach(r))
	if refusal == nil || !refusal.DeniesAccess() {
		return false
	}
	refusal.Write(w, id)
	return true
}
