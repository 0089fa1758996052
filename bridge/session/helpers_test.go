package session

import (
	"net/http"
	"testing"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/mcp"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/servers"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/stats"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/translate"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/hubtest"
)

// testHub serves the clients with a session, as a hub does, and no others.
type testHub struct {
	servers  *servers.Servers
	sessions *Table
}

func newTestHub(cfg servers.Config, _ *translate.ServerRevision, wrap hubtest.Wrap) *testHub {
	v := servers.New(cfg)
	return &testHub{servers: v, sessions: NewTable(v, Config{Wrap: wrap})}
}

func (h *testHub) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.Method {
	case http.MethodGet:
		h.sessions.Get(w, r)
	case http.MethodDelete:
		h.sessions.Delete(w, r)
	default:
		all, batch, ok := h.servers.ReadPost(w, r, func() servers.Sender { return h.sessions.Sender(r) })
		switch {
		case !ok:
		case mcp.IsStateless(r, all):
			http.Error(w, "the test has no shared servers", http.StatusNotImplemented)
		default:
			h.sessions.Post(w, r, all, batch)
		}
	}
}

func (h *testHub) ServeSSE(w http.ResponseWriter, r *http.Request, messages string) {
	h.sessions.ServeSSE(w, r, messages)
}

func (h *testHub) ServeMessage(w http.ResponseWriter, r *http.Request) {
	h.sessions.ServeMessage(w, r)
}

func (h *testHub) List() []stats.SessionInfo { return h.servers.List() }

func (h *testHub) Len() int { return h.servers.Len() }

func (h *testHub) EndSession(id string) bool { return h.servers.EndSession(id) }

func (h *testHub) Close() { h.servers.Close() }

// kit makes the hubs of the tests.
var kit = hubtest.Kit[*testHub]{New: newTestHub}

// farm serves a hub with a scripted server for each session, and returns what begins one.
func farm(t *testing.T, cfg servers.Config) (h *testHub, url string, begin func(version string) (*hubtest.Scripted, *session)) {
	t.Helper()
	h, url, open := kit.Farm(t, cfg)
	return h, url, func(version string) (*hubtest.Scripted, *session) {
		t.Helper()
		p, id := open(version)
		return p, h.sessions.find(id)
	}
}
