package stdio_test

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/mcptest"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/testcaddy"
)

// D6, G: `sessions max` bounds programs: one that does not want to end has its place
// until it has, also after a reload that leaves the endpoint as it is, and clients are
// told when to come back.
func TestSessionsMaxBoundsPrograms(t *testing.T) {
	port := testcaddy.FreePort(t)
	site := strings.Replace(faultySite(t, port, ""), "max_buffer 1MiB", "max 2", 1)
	in := testcaddy.Run(t, site)
	c := mcptest.NewClient(t)
	url := "http://" + testcaddy.Addr(port) + "/mcp"
	for range 2 {
		s := mcptest.BeginAs(t, c, url, "x")
		s.Call("stubborn", 0)
		s.End()
	}
	wantFull := func(when string) {
		t.Helper()
		mcptest.AfterReload(t, func() error {
			res, err := c.Do(mcptest.NewRequest(t, http.MethodPost, url, mcptest.InitializeAs("x")))
			if err != nil {
				return err
			}
			defer func() { _ = res.Body.Close() }()
			body, err := io.ReadAll(res.Body)
			if res.StatusCode != http.StatusServiceUnavailable || res.Header.Get("Retry-After") == "" || !strings.Contains(string(body), "too many sessions") {
				t.Errorf("%s: %d %v %s", when, res.StatusCode, res.Header, body)
			}
			return err
		})
		if pids := mcptest.Children(t); len(pids) != 2 {
			t.Errorf("%s: programs %v, want 2", when, pids)
		}
	}
	wantFull("while two are ending")
	in.Load(strings.Replace(site, "mcp_auth_bridge {", "header X-Again 1\n\tmcp_auth_bridge {", 1))
	wantFull("after a reload")
	mcptest.WantChildren(t, 30*time.Second, 0)
	for range 2 { // no place is lost
		mcptest.BeginAs(t, c, url, "x").End()
	}
	mcptest.WantChildren(t, 30*time.Second, 0)
}
