package auth_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/mcptest"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/testcaddy"
)

// Rule C7: where the upstream refuses tokens as invalid and has never accepted
// one, the log says, once, which side to set; where it has, a token has merely
// expired. No token is in the log (rule F1).
func TestAudienceHint(t *testing.T) {
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") == "Bearer good" {
			return
		}
		line := `Bearer realm="mcp"`
		if r.Header.Get("Authorization") != "" {
			line = `Bearer error="invalid_token"`
		}
		w.Header().Set("WWW-Authenticate", line)
		w.WriteHeader(http.StatusUnauthorized)
	}))
	t.Cleanup(up.Close)
	port := testcaddy.FreePort(t)
	url := "http://" + testcaddy.Addr(port) + "/mcp"
	for name, tc := range map[string]struct {
		tokens []string
		want   int
	}{
		"no token":           {[]string{"", ""}, 0},
		"none was accepted":  {[]string{"", "Bearer secret-1", "Bearer secret-2"}, 1},
		"one was accepted":   {[]string{"", "Bearer good", "Bearer secret-1"}, 0},
		"refused, then good": {[]string{"Bearer secret-1", "Bearer good", "Bearer secret-2"}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			testcaddy.Run(t, mcptest.BridgeTo(port, up.URL, ""))
			c := mcptest.NewClient(t)
			for _, token := range tc.tokens {
				var header []string
				if token != "" {
					header = []string{"Authorization", token}
				}
				mcptest.Do(t, c, mcptest.NewRequest(t, http.MethodPost, url, mcptest.Initialize, header...))
			}
			got := 0
			for _, line := range testcaddy.Logs() {
				if strings.Contains(line, "invalid_token") && strings.Contains(line, `"detail":"`+url+`"`) {
					got++
				}
				if strings.Contains(line, "secret-") {
					t.Errorf("a token is in the log: %s", line)
				}
			}
			if got != tc.want {
				t.Errorf("got %d lines, want %d", got, tc.want)
			}
		})
	}
}

// Rule C7: a middleware says so as well.
func TestAudienceHintOfMiddleware(t *testing.T) {
	up := mcptest.NewChallenging(t, 401, `Bearer error="invalid_token"`)
	base := "http://" + testcaddy.Addr(testcaddy.FreePort(t))
	testcaddy.Run(t, "{\n\tauto_https off\n}\n"+base+" {\n\troute {\n\t\tmcp_auth_bridge\n\t\treverse_proxy "+up.URL+"\n\t}\n}")
	mcptest.Do(t, mcptest.NewClient(t), mcptest.NewRequest(t, http.MethodPost, base+"/mcp", mcptest.Initialize, "Authorization", "Bearer x"))
	if !testcaddy.Logged("invalid_token", `"detail":"`+base+`/mcp"`) {
		t.Errorf("no line about the audience:\n%s", strings.Join(testcaddy.Logs(), "\n"))
	}
}

// Rules C5, C7: with the authorization server bridged, tokens are made out to
// what the upstream's own metadata names, and the log says so.
func TestAudienceHintBridged(t *testing.T) {
	s := newCohosted(t)
	s.handlers["/mcp"] = func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
		w.WriteHeader(http.StatusUnauthorized)
	}
	base := startBridged(t, s, bridged)
	c := mcptest.NewClient(t)
	mcptest.Do(t, c, mcptest.NewRequest(t, http.MethodGet, base+"/.well-known/oauth-protected-resource/mcp", ""))
	mcptest.Do(t, c, mcptest.NewRequest(t, http.MethodPost, base+"/mcp", mcptest.Initialize, "Authorization", "Bearer x"))
	if !testcaddy.Logged("invalid_token", `"detail":"`+s.URL+`/mcp"`) {
		t.Errorf("got log %q", testcaddy.Logs())
	}
}

// Rule A8: a 401 is not tried again, whatever reverse_proxy is told of
// retries.
func TestNoRetryAfter401(t *testing.T) {
	var asked atomic.Int32
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/mcp" && r.Header.Get("X-Client") != "" {
			asked.Add(1)
		}
		w.WriteHeader(http.StatusUnauthorized)
	}))
	t.Cleanup(up.Close)
	port := testcaddy.FreePort(t)
	testcaddy.Run(t, mcptest.BridgeTo(port, up.URL+" "+up.URL, "lb_try_duration 2s\n\t\tlb_retries 5"))
	c := mcptest.NewClient(t)
	for _, method := range []string{http.MethodPost, http.MethodGet, http.MethodDelete} {
		asked.Store(0)
		got := mcptest.Do(t, c, mcptest.NewRequest(t, method, "http://"+testcaddy.Addr(port)+"/mcp", "", "X-Client", "1"))
		if got.Status != http.StatusUnauthorized || asked.Load() != 1 {
			t.Errorf("%s: got %d after %d requests, want 401 after one", method, got.Status, asked.Load())
		}
	}
}
