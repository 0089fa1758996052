package mcpauthbridge_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/upstream"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/mcptest"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/testcaddy"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/upstreams"
)

func init() { caddy.RegisterModule(memoryUpstream{}) }

// memoryUpstream is a kind of upstream as another plugin would write it: its MCP server is
// a part of the process. It has nothing but what [upstreams.Kind] demands, and one
// interface more.
type memoryUpstream struct {
	// Greeting is what the server's ping answers.
	Greeting string `json:"greeting,omitempty"`
	// Open is what the operator says of the guard.
	Open bool `json:"open,omitempty"`
}

func (memoryUpstream) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.mcp_auth_bridge.upstreams.memory",
		New: func() caddy.Module { return new(memoryUpstream) },
	}
}

func (*memoryUpstream) Transport() string { return "memory" }

func (u *memoryUpstream) AllowsUnauthenticated() bool { return u.Open }

func (u *memoryUpstream) Connect(_ context.Context, c upstreams.Connection) (upstream.Peer, error) {
	c.Logger().Info("memory server connected")
	return &memoryServer{greeting: u.Greeting, to: c.Receiver, done: make(chan struct{})}, nil
}

// memoryServer answers initialize and ping.
type memoryServer struct {
	greeting string
	to       upstream.Receiver
	end      sync.Once
	done     chan struct{}
}

func (s *memoryServer) Send(_ *http.Request, m message.Message) error {
	if m.Kind != message.Request {
		return nil
	}
	result := fmt.Sprintf(`{"greeting":%q}`, s.greeting)
	if m.Method == "initialize" {
		result = `{"protocolVersion":"2025-06-18","capabilities":{},"serverInfo":{"name":"memory","version":"1"}}`
	}
	s.to.Message(message.NewResult(m.RawID, []byte(result)))
	return nil
}

func (s *memoryServer) Done() <-chan struct{} { return s.done }

func (s *memoryServer) Close() error {
	s.end.Do(func() { close(s.done) })
	return nil
}

// memorySite is a configuration with an endpoint in front of a memoryUpstream.
func memorySite(listen, upstream, more string) []byte {
	return fmt.Appendf(nil, `{"apps":{"http":{"servers":{"s":{"listen":[%q],"automatic_https":{"disable":true},`+
		`"routes":[{"handle":[{"handler":"mcp_auth_bridge","upstream":{"protocol":"memory"%s}%s}]}]}}}}}`, listen, upstream, more)
}

// Another plugin can add a kind of upstream: its server gets sessions, logs and a place in
// the status like the three kinds of this module.
func TestUpstreamOfAnotherPlugin(t *testing.T) {
	port := testcaddy.FreePort(t)
	in := testcaddy.Run(t, "{\n\tauto_https off\n}")
	if err := in.TryLoadJSON(memorySite(testcaddy.Addr(port), `,"greeting":"hello"`, "")); err != nil {
		t.Fatal(err)
	}
	c, url := mcptest.NewClient(t), "http://"+testcaddy.Addr(port)+"/mcp"
	res := mcptest.Do(t, c, mcptest.NewRequest(t, "POST", url, mcptest.Initialize))
	if res.Status != http.StatusOK || !strings.Contains(string(res.Body), `"name":"memory"`) {
		t.Fatalf("initialize: %d %s", res.Status, res.Body)
	}
	session := res.Header.Get("Mcp-Session-Id")
	res = mcptest.Do(t, c, mcptest.NewRequest(t, "POST", url, `{"jsonrpc":"2.0","id":"p","method":"ping"}`, "Mcp-Session-Id", session, "MCP-Protocol-Version", "2025-06-18"))
	if res.Status != http.StatusOK || !strings.Contains(string(res.Body), `"id":"p","result":{"greeting":"hello"}`) {
		t.Errorf("ping: %d %s", res.Status, res.Body)
	}
	if res = mcptest.Do(t, c, mcptest.NewRequest(t, "DELETE", url, "", "Mcp-Session-Id", session)); res.Status/100 != 2 {
		t.Errorf("delete: %d", res.Status)
	}
	if !testcaddy.Logged("memory server connected", `"logger":"http.handlers.mcp_auth_bridge.memory"`) {
		t.Error("the log of the kind is not the endpoint's")
	}
	if !testcaddy.Logged("MCP endpoint ready", `"transport":"memory"`) {
		t.Error("the endpoint does not say its transport")
	}
}

// A kind that says nothing of a login is one that needs a guard.
func TestUpstreamOfAnotherPluginNeedsAGuard(t *testing.T) {
	port := testcaddy.FreePort(t)
	in := testcaddy.Run(t, "{\n\tauto_https off\n}")
	for name, tc := range map[string]struct{ listen, upstream, more, want string }{
		"other machines reach it": {fmt.Sprintf(":%d", port), "", "", "memory: endpoint"},
		"something guards it":     {fmt.Sprintf(":%d", port), `,"open":true`, "", ""},
		"only this machine":       {testcaddy.Addr(port), "", "", ""},
		"beside a proxy":          {testcaddy.Addr(port), "", `,"reverse_proxy":{"upstreams":[{"dial":"localhost:1"}]}`, "memory: excludes an upstream address"},
	} {
		t.Run(name, func(t *testing.T) {
			err := in.TryLoadJSON(memorySite(tc.listen, tc.upstream, tc.more))
			if tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
				t.Errorf("got error %v, want %q", err, tc.want)
			}
		})
	}
}
