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

// A request to the last of a thousand endpoints of a site allocates at most a tenth more than one
// to the only endpoint of a site. So does one for its metadata.
func TestAllocationsOfManyEndpoints(t *testing.T) {
	if mcptest.Raced {
		t.Skip("the race detector allocates as well")
	}
	up := httptest.NewServer(http.HandlerFunc(mcptest.ServeMixed))
	t.Cleanup(up.Close)
	addr := strings.TrimPrefix(up.URL, "http://")
	one, many := testcaddy.FreePort(t), testcaddy.FreePort(t)
	var others strings.Builder
	for i := range 999 {
		fmt.Fprintf(&others, "\tmcp_auth_bridge /s%d/mcp %s\n", i, addr)
	}
	testcaddy.Run(t, fmt.Sprintf(`{
	auto_https off
	log {
		level ERROR
	}
}
http://127.0.0.1:%d {
	mcp_auth_bridge %s
}
http://127.0.0.1:%d {
%s	mcp_auth_bridge %[2]s
}`, one, addr, many, others.String()))
	c := mcptest.NewClient(t)
	send := func(r *http.Request) {
		res, err := c.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, res.Body)
		_ = res.Body.Close()
	}
	for name, request := range map[string]func(base string) *http.Request{
		"message": func(base string) *http.Request { return mcptest.MixedRequest(t, base, "ok") },
		"metadata": func(base string) *http.Request {
			return mcptest.NewRequest(t, http.MethodGet, base+"/.well-known/oauth-protected-resource/mcp", "")
		},
	} {
		of := func(port int) float64 {
			return testing.AllocsPerRun(300, func() { send(request("http://" + testcaddy.Addr(port))) })
		}
		alone, last := of(one), of(many)
		t.Logf("%s: %.0f allocations for the only endpoint, %.0f for the last of 1,000", name, alone, last)
		if last > 1.1*alone {
			t.Errorf("%s: %.0f allocations for the last of 1,000 endpoints, want at most 1.1 times the %.0f of an only one", name, last, alone)
		}
	}
}
