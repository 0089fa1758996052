package mcpauthbridge_test

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/testcaddy"
)

// Rules B3, B4: who may call an endpoint on loopback under which host.
func TestOriginsAndRebinding(t *testing.T) {
	up := newAnswers(t)
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
			r := newRequest(t, http.MethodPost, "http://"+testcaddy.Addr(port)+"/mcp?answer=200", initReq, tc.header...)
			r.Host = tc.host
			got := do(t, newClient(t), r)
			if got.status != tc.want {
				t.Errorf("got %d %s, want %d", got.status, got.body, tc.want)
			}
			if got.status == http.StatusForbidden && got.header.Get("Access-Control-Allow-Origin") != "" {
				t.Errorf("a refused origin was allowed to read: %v", got.header)
			}
			if got.header.Get("Vary") == "" {
				t.Errorf("no Vary: %v", got.header)
			}
		})
	}
}
