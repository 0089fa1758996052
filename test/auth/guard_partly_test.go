package auth_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/mcptest"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/testcaddy"
)

// Rule A10: of what refuses some requests in front of an endpoint, and of a login for
// some hosts, it is said that requests get past it; where none do, nothing is said.
func TestPartialRefusalIsLogged(t *testing.T) {
	const (
		path = "guard may not cover every path of the endpoint"
		host = "guard covers only some hosts of the endpoint"
	)
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }))
	t.Cleanup(up.Close)
	account := " {\n\t\talice $2a$14$Zkx19XLiW6VYouLHR5NmfOFU0z2GTNmpkT/5qqR7hx4IjWJPDhjvG\n\t}"
	for name, tc := range map[string]struct {
		text, want string
		passed     string // a path that gets past
		ofHost     string
	}{
		"key for one path":             {"@k {\n\t\tpath /mcp\n\t\tnot header X-Key abc\n\t}\n\trespond @k 401", path, "/mcp/", "mcp.example.com"},
		"error for one path":           {"@k {\n\t\tpath /mcp\n\t\tnot header X-Key abc\n\t}\n\terror @k 403", path, "/mcp/", "mcp.example.com"},
		"addresses for one path":       {"@k {\n\t\tpath /mcp\n\t\tnot remote_ip 192.0.2.0/24\n\t}\n\tabort @k", path, "/mcp/", "mcp.example.com"},
		"login for one host":           {"@h host mcp.example.com\n\tbasic_auth @h" + account, host, "/mcp", "other.example.com"},
		"key for all":                  {"@k not header X-Key abc\n\trespond @k 401", "", "", ""},
		"key for all paths":            {"@k {\n\t\tpath /mcp*\n\t\tnot header X-Key abc\n\t\tnot method OPTIONS\n\t}\n\trespond @k 401", "", "", ""},
		"one path, and a login":        {"basic_auth" + account + "\n\t@k {\n\t\tpath /mcp\n\t\tnot header X-Key abc\n\t}\n\trespond @k 403", "", "", ""},
		"refusals that are for others": {"@k {\n\t\tpath */.git/* /.env\n\t\tnot header X-Key abc\n\t}\n\trespond @k 404", "", "", ""},
		"refusals of a method":         {"@k {\n\t\tmethod GET\n\t\tnot header Accept *event-stream*\n\t}\n\trespond @k 404", "", "", ""},
		"login for all hosts":          {"basic_auth" + account, "", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			addr := testcaddy.Addr(testcaddy.FreePort(t))
			endpoint := "\n\tmcp_auth_bridge " + up.URL + " {\n\t\tcors off\n\t}\n"
			site := func(text string) string {
				return ":" + addr[strings.LastIndexByte(addr, ':')+1:] + " {\n\t" + text + "}"
			}
			in := testcaddy.Run(t, site("route {\n\t"+tc.text+endpoint+"\t}\n"))
			for _, text := range []string{path, host} {
				if got := testcaddy.Logged(text); got != (text == tc.want) {
					t.Errorf("%q is said: %v", text, got)
				}
			}
			if tc.passed != "" {
				raw := &mcptest.LiteralClient{T: t, Addr: addr}
				defer raw.Close()
				if got := raw.Send(tc.ofHost, http.MethodPost, tc.passed, "").StatusCode; got != http.StatusNoContent {
					t.Errorf("%s of %s: got %d, want the server's %d", tc.passed, tc.ofHost, got, http.StatusNoContent)
				}
			}
			// Without `route`, what refuses is sorted behind the endpoint.
			err := in.TryLoad(site(tc.text + endpoint))
			lost := strings.Contains(tc.text, "@k") && name != "refusals that are for others"
			if refused := err != nil && strings.Contains(err.Error(), "stands behind it and is not asked"); refused != lost || err != nil && !lost {
				t.Errorf("sorted by Caddy: got %v, want refused: %v", err, lost)
			}
		})
	}
}
