package observe_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/mcptest"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/testcaddy"
)

// F2: an upstream that is asked with TLS and has none, or whose certificate is not trusted, is told
// of with the line that helps.
func TestFailuresOfTLS(t *testing.T) {
	answer := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("{}")) })
	plain, secure := httptest.NewServer(answer), httptest.NewTLSServer(answer)
	t.Cleanup(plain.Close)
	t.Cleanup(secure.Close)
	for name, tc := range map[string]struct{ upstream, why, advice string }{
		"no TLS":         {strings.Replace(plain.URL, "http:", "https:", 1), "no_tls", "write http:// in the address"},
		"its own CA":     {secure.URL, "certificate", "tls_trust_pool file"},
		"over HTTP+SSE":  {"sse+" + strings.Replace(plain.URL, "http:", "https:", 1) + "/sse", "no_tls", "write http:// in the address"},
		"an unknown one": {"sse+" + secure.URL + "/sse", "certificate", "tls_trust_pool file"},
	} {
		t.Run(name, func(t *testing.T) {
			port := testcaddy.FreePort(t)
			testcaddy.ForgetLogs()
			testcaddy.Run(t, fmt.Sprintf("{\n\tauto_https off\n}\nhttp://127.0.0.1:%d {\n\tbind 127.0.0.1\n\tmcp_auth_bridge %s\n}", port, tc.upstream))
			r := mcptest.NewRequest(t, http.MethodPost, fmt.Sprintf("http://127.0.0.1:%d/mcp", port), mcptest.Initialize)
			if got := mcptest.Do(t, mcptest.NewClient(t), r); got.Status != http.StatusBadGateway {
				t.Errorf("got %d %s", got.Status, got.Body)
			}
			testcaddy.AwaitLog(t, func(line string) bool {
				return strings.Contains(line, `"why":"`+tc.why+`"`) && strings.Contains(line, tc.advice)
			})
		})
	}
}
