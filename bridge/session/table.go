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
	// Wrap puts something between the server of a session and its client. It returns what
	// the session sends to, and what takes the server's messages. Default: nothing is put
	// between.
	Wrap func(peer upstream.Peer, deliver upstream.Deliver) (upstream.Peer, upstream.Deliver)
	// Judge is asked whether the server refuses a request that names no session, if the
	// server judges credentials. Default: no request is refused.
	Judge upstream.Backend
}

// Table has the sessions of one endpoint, by their ids.
type Table struct {
	servers *servers.Servers
	config  Config

	mu   sync.Mutex
	byID map[string]*session
}

// NewTable returns the table of an endpoint, which has no sessions yet.
func NewTable(v *servers.Servers, cfg Config) *Table {
	return &Table{servers: v, config: cfg, byID: make(map[string]*session)}
}

// open starts a server for a new session. Requests find the session, but cannot enter it
// before admit.
func (t *Table) open(ctx context.Context, from *http.Request) (*session, error) {
	s := newSession(t, mcp.NewID())
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

// admit lets clients use a session that was initialized. It returns false if the session
// has ended already.
func (t *Table) admit(s *session, version string) bool {
	bounds := t.servers.Bounds()
	s.out.Lock()
	if s.ended {
		s.out.Unlock()
		return false
	}
	s.version, s.admitted = version, true
	s.timer = time.AfterFunc(min(bounds.Idle, bounds.Lifetime), s.watch)
	s.out.Unlock()
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

// refuseWithoutSession answers a request that names no session, or an unknown one, with the
// 401 or 403 that the server has for its client. The client has to log in before it can
// begin a session (A1). It returns false if the request is not answered.
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
