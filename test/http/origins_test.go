package http_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/mcptest"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/testcaddy"
)

// Rule B2: a preflight is answered before the upstream, for every endpoint.
func TestPreflight(t *testing.T) {
	asked := make(chan string, 100)
	up := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { asked <- r.Method }))
	t.Cleanup(up.Close)
	port := testcaddy.FreePort(t)
	testcaddy.Run(t, mcptest.BridgeTo(port, up.URL, mcptest.AllowApp))
	base := "http://" + testcaddy.Addr(port)
	preflightAnswered(t, mcptest.NewClient(t), base)
	if len(asked) != 0 {
		t.Errorf("upstream was asked: %s", <-asked)
	}
	mcptest.Do(t, mcptest.NewClient(t), mcptest.NewRequest(t, "OPTIONS", base+"/mcp", ""))
	if got := <-asked; got != "OPTIONS" {
		t.Errorf("an OPTIONS that is no preflight reached the upstream as %q", got)
	}
}

func preflightAnswered(t *testing.T, c *http.Client, base string) {
	t.Helper()
	r := mcptest.NewRequest(t, "OPTIONS", base+"/mcp", "", "Origin", mcptest.AppOrigin,
		"Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "authorization,content-type,mcp-protocol-version,mcp-param-x")
	got := mcptest.Do(t, c, r)
	if got.Status != http.StatusNoContent || got.Header.Get("Access-Control-Allow-Origin") != mcptest.AppOrigin {
		t.Errorf("got %d %v", got.Status, got.Header)
	}
	allowed := strings.ToLower(strings.Join(got.Header["Access-Control-Allow-Headers"], ","))
	for _, name := range []string{"authorization", "content-type", "mcp-session-id", "mcp-method", "mcp-param-x", "dpop", "last-event-id"} {
		if !strings.Contains(allowed, name) {
			t.Errorf("Access-Control-Allow-Headers %q lacks %s", allowed, name)
		}
	}
}

// Rule B3: a page of another origin is refused before the upstream is asked,
// and the log names the line that would allow it.
func TestOriginRefused(t *testing.T) {
	up := mcptest.NewAnswers(t)
	port := testcaddy.FreePort(t)
	testcaddy.Run(t, mcptest.BridgeTo(port, up.URL, mcptest.AllowApp))
	originRefused(t, mcptest.NewClient(t), "http://"+testcaddy.Addr(port))
	if !testcaddy.Logged("allow_origins https://evil.example") {
		t.Errorf("no log line names the option:\n%s", strings.Join(testcaddy.Logs(), "\n"))
	}
}

func originRefused(t *testing.T, c *http.Client, base string) {
	t.Helper()
	got := mcptest.Do(t, c, mcptest.NewRequest(t, "POST", base+"/mcp?answer=200", mcptest.Initialize, "Origin", "https://evil.example"))
	if got.Status != http.StatusForbidden || got.Header.Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("got %d, header %v", got.Status, got.Header)
	}
	if !strings.Contains(got.Body, `"jsonrpc":"2.0"`) || strings.Contains(got.Body, `"id"`) {
		t.Errorf("got body %q, want a JSON-RPC error without an id", got.Body)
	}
}
