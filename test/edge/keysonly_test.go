package edge_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/mcptest"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/testcaddy"
)

// Rules B5, C0, E8: an endpoint without an issuer says at its well-known URL that it has no
// login, to pages of any origin too, and says so of no other endpoint of the site.
func TestNoLogin(t *testing.T) {
	up := mcptest.NewAnswers(t)
	addr := testcaddy.Addr(testcaddy.FreePort(t))
	endpoint := func(path, options string) string {
		return "\tmcp_auth_bridge " + path + " " + up.URL + " {\n\t\t" + options + "\n\t}\n"
	}
	testcaddy.Run(t, "http://"+addr+" {\n"+
		endpoint("/keys", "authorize {\n\t\t\tkey backup 0123456789abcdef\n\t\t}")+
		endpoint("/more", "authorize {\n\t\t\tkey backup 0123456789abcdef\n\t\t}\n\t\tmetadata off")+
		endpoint("/login", "authorize {\n\t\t\tissuer https://login.example.com\n\t\t}")+
		endpoint("/off", "metadata off")+
		"}\n")
	const says = "This endpoint has no login"
	for path, want := range map[string]struct {
		status int
		says   bool
	}{
		"/keys":           {404, true},
		"/keys/":          {404, true},
		"/more":           {404, true},
		"/login":          {200, false},
		"/off":            {404, false},
		"/keys-and-other": {404, false},
		"":                {404, false},
	} {
		r := mcptest.NewRequest(t, http.MethodGet, "http://"+addr+"/.well-known/oauth-protected-resource"+path, "", "Origin", "https://app.example.com")
		got := mcptest.Do(t, mcptest.NewClient(t), r)
		if got.Status != want.status || strings.Contains(got.Body, says) != want.says || got.Header.Get("Access-Control-Allow-Origin") != "*" {
			t.Errorf("%q: got %d %v %s", path, got.Status, got.Header, got.Body)
		}
	}
}
