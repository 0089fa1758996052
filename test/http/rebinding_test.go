package http_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/mcptest"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/testcaddy"
)

// Rules B3, B4: who may call an endpoint on loopback under which host.
func TestOriginsAndRebinding(t *testing.T) {
	up := mcptest.NewAnswers(t)
	port := testcaddy.FreePort(t)
	site := func(options string) string {
		return fmt.Sprintf("{\n\tauto_https off\n\tservers {\n\t\ttrusted_proxies static 127.0.0.9\n\t}\n}\nhttp://:%d {\n\tmcp_auth_bridge %s {\n\t\t%s\n\t}\n}", port, up.URL, options)
	}
	for _, tc := range []struct {
		name, options, host string
		header              []string
		want                int
	}{
		{"no origin", "", "localhost", nil, 200},
		{"own origin, localhost", "", "localhost:8080", []string{"Origin", "http://localhost:8080"}, 200},
		{"other loopback origin", "", "localhost", []string{"Origin", "http://127.0.0.1:5173"}, 200},
		{"foreign origin", "", "localhost", []string{"Origin", "https://evil.example"}, 403},
		{"rebound: own origin of a foreign host", "", "evil.example", []string{"Origin", "http://evil.example"}, 403},
		{"rebound: same-origin GET of a page", "", "evil.example", []string{"Sec-Fetch-Site", "same-origin"}, 403},
		{"rebound, though public_url is set", "public_url https://mcp.example.com", "evil.example", []string{"Sec-Fetch-Site", "same-origin"}, 403},
		{"no browser, foreign host (a tunnel)", "", "evil.example", nil, 200},
		{"a tunnel, and a page that is allowed", "cors {\n\t\t\tallow_origins https://app.example.com\n\t\t}", "x.tunnel.example", []string{"Origin", "https://app.example.com", "User-Agent", "Mozilla/5.0"}, 200},
		{"a tunnel that is configured, browser without origin", "hosts x.tunnel.example", "x.tunnel.example", []string{"User-Agent", "Mozilla/5.0"}, 200},
		{"rebound: browser without origin", "", "evil.example", []string{"User-Agent", "Mozilla/5.0 (X11; Linux x86_64) Chrome/156.0.0.0"}, 403},
		{"rebound: browser without origin, though public_url is set", "public_url https://mcp.example.com", "evil.example", []string{"User-Agent", "Mozilla/5.0"}, 403},
		{"rebound: no usable host", "", "evil.example:99999", []string{"User-Agent", "Mozilla/5.0"}, 403},
		{"browser without origin, localhost", "", "localhost:8080", []string{"User-Agent", "Mozilla/5.0"}, 200},
		{"browser without origin, below localhost", "", "mcp.localhost", []string{"User-Agent", "Mozilla/5.0"}, 200},
		{"browser without origin, address", "", "192.168.1.5:8080", []string{"User-Agent", "Mozilla/5.0"}, 200},
		{"browser without origin, IPv6", "", "[::1]:8080", []string{"User-Agent", "Mozilla/5.0"}, 200},
		{"browser without origin, configured host", "hosts mcp.example.com", "mcp.example.com", []string{"User-Agent", "Mozilla/5.0"}, 200},
		{"cross-site without origin", "", "localhost", []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "no-cors", "Sec-Fetch-Dest", "image"}, 403},
		{"cross-site frame", "", "localhost", []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "iframe"}, 403},
		{"cross-site link", "", "localhost", []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document"}, 200},
		{"cross-site with an allowed origin", "cors {\n\t\t\tallow_origins https://app.example.com\n\t\t}", "localhost", []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "cors", "Origin", "https://app.example.com"}, 200},
		{"configured host", "hosts mcp.example.com", "mcp.example.com", []string{"Origin", "http://mcp.example.com"}, 200},
		{"public_url's origin", "public_url https://mcp.example.com", "localhost", []string{"Origin", "https://mcp.example.com"}, 200},
		{"loopback origin with public_url", "public_url https://mcp.example.com", "localhost", []string{"Origin", "http://localhost:6274"}, 200},
		{"loopback origin, public host", "hosts mcp.example.com", "mcp.example.com", []string{"Origin", "http://localhost:6274"}, 403},
		{"null", "", "localhost", []string{"Origin", "null"}, 403},
		{"two origins", "", "localhost", []string{"Origin", "http://localhost", "Origin", "https://evil.example"}, 403},
		{"empty origin", "", "localhost", []string{"Origin", ""}, 403},
		{"forged forwarded host", "", "evil.example", []string{"X-Forwarded-Host", "localhost", "Origin", "http://localhost"}, 403},
	} {
		t.Run(tc.name, func(t *testing.T) {
			testcaddy.Run(t, site(tc.options))
			r := mcptest.NewRequest(t, http.MethodPost, "http://"+testcaddy.Addr(port)+"/mcp?answer=200", mcptest.Initialize, tc.header...)
			r.Host = tc.host
			if r.Header.Get("User-Agent") == "" {
				r.Header.Set("User-Agent", "node")
			}
			got := mcptest.Do(t, mcptest.NewClient(t), r)
			if got.Status != tc.want {
				t.Errorf("got %d %s, want %d", got.Status, got.Body, tc.want)
			}
			if got.Status == http.StatusForbidden && got.Header.Get("Access-Control-Allow-Origin") != "" {
				t.Errorf("a refused origin was allowed to read: %v", got.Header)
			}
			if got.Header.Get("Vary") == "" {
				t.Errorf("no Vary: %v", got.Header)
			}
		})
	}
}

// Rule B4: what came through a trusted proxy was named by that, and a local proxy in
// front keeps working for browsers.
func TestRebindingBehindTrustedProxy(t *testing.T) {
	up := mcptest.NewAnswers(t)
	port := testcaddy.FreePort(t)
	for _, trusted := range []bool{true, false} {
		option := ""
		if trusted {
			option = "\n\tservers {\n\t\ttrusted_proxies static 127.0.0.0/8\n\t}"
		}
		testcaddy.Run(t, fmt.Sprintf("{\n\tauto_https off%s\n}\nhttp://:%d {\n\tmcp_auth_bridge %s\n}", option, port, up.URL))
		r := mcptest.NewRequest(t, http.MethodGet, "http://"+testcaddy.Addr(port)+"/mcp?answer=200", "", "User-Agent", "Mozilla/5.0", "X-Forwarded-Host", "mcp.example.com")
		r.Host = "mcp.example.com"
		if got := mcptest.Do(t, mcptest.NewClient(t), r); (got.Status == http.StatusForbidden) == trusted {
			t.Errorf("trusted %v: got %d", trusted, got.Status)
		}
	}
}

// Rules B4, D5: neither a rebound name nor a page of another site starts a program.
func TestPagesElsewhereStartNoProgram(t *testing.T) {
	started := filepath.Join(t.TempDir(), "started")
	script := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(script, []byte("#!/bin/sh\necho > "+started+"\nexec cat\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	port := testcaddy.FreePort(t)
	testcaddy.Run(t, fmt.Sprintf("{\n\tauto_https off\n}\nhttp://:%d {\n\tbind 127.0.0.1\n\tmcp_auth_bridge {\n\t\tlegacy_sse\n\t\tstdio %s\n\t}\n}", port, script))
	client := &mcptest.LiteralClient{T: t, Addr: testcaddy.Addr(port)}
	defer client.Close()
	for _, tt := range []struct {
		host   string
		header []string
		want   int
	}{
		{"rebound.example", []string{"User-Agent", "Mozilla/5.0"}, 403},
		{"rebound.example", []string{"User-Agent", "Mozilla/5.0", "Origin", "http://rebound.example"}, 403},
		{"localhost", []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "no-cors"}, 403},
		{"localhost", []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "no-cors", "Sec-Fetch-Dest", "image", "User-Agent", "Mozilla/5.0"}, 403},
		{"localhost", []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "iframe"}, 403},
		{"localhost", []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document"}, 403},
	} {
		for _, method := range []string{http.MethodGet, http.MethodPost} {
			path := map[string]string{http.MethodGet: "/mcp/sse", http.MethodPost: "/mcp"}[method]
			if method == http.MethodPost && slices.Contains(tt.header, "document") {
				continue // a form elsewhere has an origin
			}
			if got := client.Send(tt.host, method, path, "x", tt.header...); got.StatusCode != tt.want {
				t.Errorf("%s %s of %s, %v: got %d, want %d", method, path, tt.host, tt.header, got.StatusCode, tt.want)
			}
		}
	}
	if _, err := os.Stat(started); err == nil {
		t.Error("the program was started")
	}
	if !testcaddy.Logged("page of another site sent no Origin") {
		t.Error("nobody was told")
	}
}

// Rules B4, D5: without the check of Origin any page could run a program, so that the two
// do not go together, wherever the option stands.
func TestProgramNeedsOriginCheck(t *testing.T) {
	for name, tt := range map[string]struct {
		global, options string
		refused         bool
	}{
		"endpoint":                    {"", "cors off", true},
		"global":                      {"mcp_auth_bridge {\n\t\tcors off\n\t}", "", true},
		"global, and one of its own":  {"mcp_auth_bridge {\n\t\tcors off\n\t}", "cors {\n\t\t\tallow_origins https://app.example.com\n\t\t}", false},
		"neither":                     {"", "", false},
		"not for all that is guarded": {"", "cors off\n\t\tlegacy_sse", true},
	} {
		t.Run(name, func(t *testing.T) {
			in := testcaddy.Run(t, "{\n\tauto_https off\n}\n")
			err := in.TryLoad(fmt.Sprintf("{\n\tauto_https off\n\t%s\n}\nhttp://localhost:%d {\n\tbind 127.0.0.1\n\tmcp_auth_bridge {\n\t\tstdio /bin/cat {\n\t\t\tallow_unauthenticated\n\t\t}\n\t\t%s\n\t}\n}", tt.global, testcaddy.FreePort(t), tt.options))
			if refused := err != nil && strings.Contains(err.Error(), "cors off: with stdio"); refused != tt.refused || !refused && err != nil {
				t.Errorf("got %v, want refused: %v", err, tt.refused)
			}
		})
	}
}
