package http_test

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/mcptest"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/testcaddy"
)

// Rule B3: pages of the hosts that a site names may call each other's endpoint, unless
// the operator lists others; a host that only a wildcard covers is its own alone.
func TestHostsOfOneSite(t *testing.T) {
	up := mcptest.NewAnswers(t)
	port := testcaddy.FreePort(t)
	testcaddy.Run(t, fmt.Sprintf(`{
	auto_https off
}
http://mcp.example.com:%[1]d, http://app.example.com:%[1]d, http://*.tenants.example.com:%[1]d {
	bind 127.0.0.1
	mcp_auth_bridge /mcp %[2]s
	mcp_auth_bridge /listed %[2]s/mcp {
		cors {
			allow_origins https://else.example.com
		}
	}
}`, port, up.URL))
	at := func(host string) string { return fmt.Sprintf("%s:%d", host, port) }
	for _, tc := range []struct {
		path, host, origin string
		want               int
	}{
		{"/mcp", "mcp.example.com", "http://" + at("mcp.example.com"), 200},
		{"/mcp", "mcp.example.com", "http://" + at("app.example.com"), 200},
		{"/mcp", "app.example.com", "http://" + at("mcp.example.com"), 200},
		{"/mcp", "mcp.example.com", "https://" + at("app.example.com"), 403},
		{"/mcp", "mcp.example.com", "http://app.example.com", 403},
		{"/mcp", "mcp.example.com", "http://" + at("a.tenants.example.com"), 403},
		{"/mcp", "a.tenants.example.com", "http://" + at("a.tenants.example.com"), 200},
		{"/mcp", "a.tenants.example.com", "http://" + at("b.tenants.example.com"), 403},
		{"/mcp", "a.tenants.example.com", "http://" + at("*.tenants.example.com"), 403},
		{"/listed", "mcp.example.com", "http://" + at("app.example.com"), 403},
	} {
		r := mcptest.NewRequest(t, http.MethodPost, "http://"+testcaddy.Addr(port)+tc.path+"?answer=200", mcptest.Initialize, "Origin", tc.origin)
		r.Host = at(tc.host)
		if got := mcptest.Do(t, mcptest.NewClient(t), r); got.Status != tc.want {
			t.Errorf("%s at %s from %s: got %d, want %d", tc.path, tc.host, tc.origin, got.Status, tc.want)
		}
	}
}
