package shared

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/mcp"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/servers"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/translate"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/hubtest"
)

// testHub serves stateless clients, as a hub does, and no others.
type testHub struct {
	servers *servers.Servers
	shared  *Servers
}

func newTestHub(cfg servers.Config, revision *translate.ServerRevision, _ hubtest.Wrap) *testHub {
	v := servers.New(cfg)
	h := &testHub{servers: v, shared: New(v, Config{Revision: revision})}
	v.Spare = h.shared.Spare
	return h
}

func (h *testHub) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	all, batch, ok := h.servers.ReadPost(w, r, func() servers.Sender { return servers.Stranger })
	switch {
	case !ok:
	case !mcp.IsStateless(r, all):
		http.Error(w, "the test has no sessions", http.StatusNotImplemented)
	default:
		h.shared.Post(w, r, all, batch)
	}
}

func (h *testHub) Len() int { return h.servers.Len() }

func (h *testHub) Close() { h.servers.Close() }

// kit makes the hubs of the tests.
var kit = hubtest.Kit[*testHub]{New: newTestHub}

// callFrom posts a stateless tools/call from an address, and returns when the server has it
// and what is closed when it is over.
func callFrom(t *testing.T, ctx context.Context, h http.Handler, w http.ResponseWriter, address, owner, meta string) (over <-chan struct{}) {
	t.Helper()
	r := httptest.NewRequestWithContext(ctx, http.MethodPost, "http://h/", strings.NewReader(hubtest.Ask("7", "tools/call", `"name":"t"`, `"progressToken":"p"`+meta)))
	r.RemoteAddr = address + ":1"
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Mcp-Protocol-Version", "2026-07-28")
	r.Header.Set("Mcp-Method", "tools/call")
	r.Header.Set("Mcp-Name", "t")
	if owner != "" {
		r.Header.Set("Authorization", owner)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		h.ServeHTTP(w, r)
	}()
	synctest.Wait()
	return done
}

// waits is what waits at a shared server for its clients: as it is counted, and as it is.
func (h *testHub) waits() (counted, is, clients int) {
	h.shared.mu.Lock()
	defer h.shared.mu.Unlock()
	for _, c := range h.shared.byKey {
		c.out.Lock()
		counted += c.calls.unread.all
		clients += len(c.calls.unread.of)
		for _, k := range c.calls.byID {
			for _, e := range k.events {
				is += len(e.Raw)
			}
			is += k.held
		}
		c.out.Unlock()
	}
	return counted, is, clients
}

// warm begins the conversation of a hub, and returns its server.
func warm(t *testing.T, h http.Handler, started <-chan *hubtest.Program, header ...string) *hubtest.Program {
	t.Helper()
	first := hubtest.Send(t, h, hubtest.Ask("1", "tools/list", ""), header...)
	synctest.Wait()
	p := <-started
	p.Answer(p.Next(t, "tools/list"), `{"tools":[]}`)
	if !first.Over() {
		t.Fatal("the first request is not answered")
	}
	return p
}
