package session

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/mcp"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/safetext"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/servers"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/stats"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/hubtest"
)

// heard is an observer that keeps what it is told.
type heard struct {
	servers.Unobserved

	mu   sync.Mutex
	said []string
}

func (h *heard) say(words ...string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.said = append(h.said, strings.Join(words, " "))
}

func (h *heard) take() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	said := h.said
	h.said = nil
	return said
}

// health keeps what an exchange says of the health of the upstream.
func (h *heard) SessionBegun(s stats.SessionInfo) { h.say("begun", string(s.Transport)) }

func (h *heard) SessionEnded(s stats.SessionInfo, why stats.EndReason) {
	h.say("ended", string(s.Transport), string(why))
}

func (h *heard) ServerStarted(again bool) { h.say("started", map[bool]string{true: "again"}[again]) }
func (h *heard) ServerFailed(error)       { h.say("not started") }
func (h *heard) ServerEnded(byItself bool) {
	h.say("gone", map[bool]string{true: "by itself"}[byItself])
}
func (h *heard) ServerLate(after time.Duration) { h.say("answers late", after.String()) }
func (h *heard) BackingOff(wait time.Duration)  { h.say("waits", wait.String()) }

func (h *heard) wants(t *testing.T, want ...string) {
	t.Helper()
	if got := h.take(); !reflect.DeepEqual(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// A session is told of when it begins and when it ends, with the reason, and its
// server with it.
func TestHubIsObserved(t *testing.T) {
	h := new(heard)
	hub, started := kit.Programs(t, hubtest.Handshakes, servers.Config{Observer: h})
	initialize := func() (id string) {
		t.Helper()
		w := httptest.NewRecorder()
		r := httptest.NewRequest(http.MethodPost, "/mcp", strings.NewReader(`{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{}}}`))
		r.Header.Set("Content-Type", "application/json")
		hub.ServeHTTP(w, r)
		return w.Header().Get(mcp.SessionHeader)
	}
	id := initialize()
	<-started
	list := hub.List()
	if len(list) != 1 || list[0].ID != safetext.HashID(id) || list[0].Transport != stats.TransportHTTP || list[0].Version == "" {
		t.Fatalf("got %+v", list)
	}
	if raw, _ := json.Marshal(list); strings.Contains(string(raw), id) {
		t.Error("the id of the session is shown")
	}
	if hub.EndSession("0000000000000000") || !hub.EndSession(list[0].ID) || hub.EndSession(list[0].ID) {
		t.Error("a session is not ended by its hash, once")
	}
	if hub.sessions.find(id) != nil {
		t.Error("the session goes on")
	}
	hub.Close()
	h.wants(t, "started ", "begun http", "ended http operator", "gone ")
}
