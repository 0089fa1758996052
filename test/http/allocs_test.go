package http_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/mcptest"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/testcaddy"
)

// The ceilings of what one request allocates in Caddy and the bridge, with everything
// on that observes it.
const (
	maxAllocsAnswer    = 290 // objects, for an answer in JSON
	maxAllocsChallenge = 300 // for one with a challenge that is mapped
)

// A request through the bridge, with all that is counted and remembered of it, stays
// below its ceiling of allocations.
func TestAllocationsPerRequest(t *testing.T) {
	if mcptest.Raced {
		t.Skip("the race detector allocates as well")
	}
	up := httptest.NewServer(http.HandlerFunc(mcptest.ServeMixed))
	t.Cleanup(up.Close)
	port := testcaddy.FreePort(t)
	testcaddy.Run(t, fmt.Sprintf(`{
	auto_https off
	metrics
	log {
		level ERROR
	}
}
http://127.0.0.1:%d {
	mcp_auth_bridge %s
}`, port, strings.TrimPrefix(up.URL, "http://")))
	c := mcptest.NewClient(t)
	request := func(base, kind string) func() {
		return func() {
			r := mcptest.MixedRequest(t, base, kind)
			if kind != "direct" {
				r.Header.Set("Origin", "http://"+testcaddy.Addr(port))
			}
			res, err := c.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			_, _ = io.Copy(io.Discard, res.Body)
			_ = res.Body.Close()
		}
	}
	for kind, most := range map[string]float64{"ok": maxAllocsAnswer, "expired": maxAllocsChallenge} {
		direct := testing.AllocsPerRun(300, request(up.URL, kind))
		through := testing.AllocsPerRun(300, request("http://"+testcaddy.Addr(port), kind))
		t.Logf("%s: %.0f allocations, %.0f of them of client and server", kind, through, direct)
		if got := through - direct; got > most {
			t.Errorf("%s: %.0f allocations in Caddy and the bridge, want at most %.0f", kind, got, most)
		}
	}
}
