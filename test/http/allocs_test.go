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
	maxAllocsAnswer    = 240 // objects, for an answer in JSON
	maxAllocsChallenge = 242 // for one with a challenge that is mapped
)

// A request through the bridge, with all that is counted and remembered of it, stays
// below its ceiling of allocations.
func TestAllocationsPerRequest(t *testing.T) {
	if mcptest.Raced {
		t.Skip("the race detector allocates as well")
	}
	testcaddy.AsWritten(t)
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

// A request to the last of a thousand endpoints of a site, half of which are `names`, allocates at
// most a tenth more than one to the only endpoint of a site. So does one for its metadata.
func TestAllocationsOfManyEndpoints(t *testing.T) {
	if mcptest.Raced {
		t.Skip("the race detector allocates as well")
	}
	up := httptest.NewServer(http.HandlerFunc(mcptest.ServeMixed))
	t.Cleanup(up.Close)
	addr := strings.TrimPrefix(up.URL, "http://")
	one, many := testcaddy.FreePort(t), testcaddy.FreePort(t)
	var others, names strings.Builder
	for i := range 499 {
		fmt.Fprintf(&others, "\tmcp_auth_bridge /s%d/mcp %s\n", i, addr)
		fmt.Fprintf(&names, " n%d", i)
	}
	fmt.Fprintf(&others, "\tmcp_auth_bridge /{name}/mcp %s {\n\t\tnames%s last\n\t}\n", addr, names.String())
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
		"metadata of a server": func(base string) *http.Request {
			return mcptest.NewRequest(t, http.MethodGet, base+"/.well-known/oauth-authorization-server/elsewhere", "")
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

// Of a hundred endpoints that have one bridged authorization server, the metadata of that server
// takes no more allocations than of one, but for the three that Caddy makes for each route.
func TestAllocationsOfManyBridged(t *testing.T) {
	if mcptest.Raced {
		t.Skip("the race detector allocates as well")
	}
	mux := http.NewServeMux()
	up := httptest.NewServer(mux)
	t.Cleanup(up.Close)
	mux.HandleFunc("/.well-known/oauth-authorization-server", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprintf(w, `{"issuer":%q,"authorization_endpoint":%q,"token_endpoint":%q,"response_types_supported":["code"]}`, up.URL, up.URL+"/authorize", up.URL+"/token")
	})
	mux.HandleFunc("/.well-known/oauth-protected-resource/", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprintf(w, `{"resource":%q,"authorization_servers":[%q]}`, up.URL+strings.TrimPrefix(r.URL.Path, "/.well-known/oauth-protected-resource"), up.URL)
	})
	addr := strings.TrimPrefix(up.URL, "http://")
	one, many := testcaddy.FreePort(t), testcaddy.FreePort(t)
	var others strings.Builder
	const bridged = "\tmcp_auth_bridge /s%d/mcp %s {\n\t\tauthorization_server bridge\n\t}\n"
	for i := range 100 {
		fmt.Fprintf(&others, bridged, i, addr)
	}
	testcaddy.Run(t, fmt.Sprintf("{\n\tauto_https off\n\tlog {\n\t\tlevel ERROR\n\t}\n}\nhttp://127.0.0.1:%d {\n%s}\nhttp://127.0.0.2:%d {\n\tbind 127.0.0.2\n%s}\n", one, fmt.Sprintf(bridged, 0, addr), many, others.String()))
	c := mcptest.NewClient(t)
	of := func(base string) float64 {
		return testing.AllocsPerRun(30, func() {
			res, err := c.Do(mcptest.NewRequest(t, http.MethodGet, base+"/.well-known/oauth-authorization-server", ""))
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = res.Body.Close() }()
			if body, _ := io.ReadAll(res.Body); res.StatusCode != http.StatusOK {
				t.Fatalf("got status %d, want 200: %s", res.StatusCode, body)
			}
		})
	}
	alone, last := of("http://"+testcaddy.Addr(one)), of(fmt.Sprintf("http://127.0.0.2:%d", many))
	t.Logf("%.0f allocations for the only endpoint, %.0f for 100", alone, last)
	if most := 1.1*alone + 3*100; last > most {
		t.Errorf("%.0f allocations for 100 endpoints, want at most %.0f", last, most)
	}
}
