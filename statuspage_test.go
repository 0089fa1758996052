package mcpauthbridge_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/testcaddy"
)

// statusSite has an endpoint and what is given besides, in a site of its own.
func statusSite(t *testing.T, upstream, more string) (base, admin string) {
	t.Helper()
	port := testcaddy.FreePort(t)
	admin = testcaddy.Addr(testcaddy.FreePort(t))
	testcaddy.Run(t, fmt.Sprintf("{\n\tauto_https off\n\tadmin %s\n}\nhttp://%s {\n\tmcp_auth_bridge %s\n\t%s\n}", admin, testcaddy.Addr(port), upstream, more))
	return "http://" + testcaddy.Addr(port), admin
}

// Rule F2: the status page is there only where the configuration says so; it is for
// reading, it is stored nowhere, it runs no script but its own, and neither the page nor
// the state is given to another site.
func TestStatusPage(t *testing.T) {
	up := challenging(t, http.StatusUnauthorized, `Bearer realm="x"`)
	base, _ := statusSite(t, strings.TrimPrefix(up.URL, "http://"), "handle /mcp-status {\n\t\tmcp_auth_bridge status\n\t}")
	c := newClient(t)
	navigate := []string{"Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document"}
	for _, tt := range []struct {
		method, path string
		header       []string
		status       int
		media        string
	}{
		{"GET", "", nil, 200, "text/html; charset=utf-8"},
		{"HEAD", "", nil, 200, "text/html; charset=utf-8"},
		{"GET", "?json", nil, 200, "application/json"},
		{"HEAD", "?json", nil, 200, "application/json"},
		{"POST", "", nil, 405, ""},
		{"DELETE", "?json", nil, 405, ""},
		{"OPTIONS", "?json", nil, 405, ""},
		{"GET", "/sessions", nil, 200, ""}, // what is outside of its handle block is not its
		{"GET", "?json", []string{"Sec-Fetch-Site", "same-origin"}, 200, "application/json"},
		{"GET", "?json", []string{"Sec-Fetch-Site", "none"}, 200, "application/json"},
		{"GET", "?json", []string{"Sec-Fetch-Site", "same-site"}, 403, ""},
		{"GET", "?json", []string{"Sec-Fetch-Site", "cross-site"}, 403, ""},
		{"GET", "?json", append(navigate, "Sec-Fetch-Site", "cross-site"), 403, ""},
		{"GET", "", []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "no-cors", "Sec-Fetch-Dest", "script"}, 403, ""},
		{"GET", "", []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "iframe"}, 403, ""},
		{"GET", "", append(navigate, "Sec-Fetch-Site", "cross-site"), 200, "text/html; charset=utf-8"},
	} {
		got := do(t, c, newRequest(t, tt.method, base+"/mcp-status"+tt.path, "", tt.header...))
		if got.status != tt.status || got.header.Get("Content-Type") != tt.media {
			t.Errorf("%s %s %q: got %d, %q, want %d, %q", tt.method, tt.path, tt.header, got.status, got.header.Get("Content-Type"), tt.status, tt.media)
		}
		if tt.status == 405 && got.header.Get("Allow") != "GET, HEAD" {
			t.Errorf("%s: Allow is %q", tt.method, got.header.Get("Allow"))
		}
		if tt.path == "/sessions" {
			continue
		}
		for name, want := range map[string]string{
			"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Cross-Origin-Resource-Policy": "same-origin", "Access-Control-Allow-Origin": "",
		} {
			if got.header.Get(name) != want {
				t.Errorf("%s %s: %s is %q, want %q", tt.method, tt.path, name, got.header.Get(name), want)
			}
		}
		policy := got.header.Get("Content-Security-Policy")
		if !strings.HasPrefix(policy, "default-src 'none'; script-src 'sha256-") || strings.Contains(policy, "unsafe") || !strings.Contains(policy, "frame-ancestors 'none'") {
			t.Errorf("%s %s: the policy is %s", tt.method, tt.path, policy)
		}
		if tt.method == "HEAD" && got.body != "" {
			t.Errorf("HEAD %s has a body", tt.path)
		}
	}
	page := do(t, c, newRequest(t, http.MethodGet, base+"/mcp-status", "")).body
	for _, outside := range []string{" src=", " href=", "url(", "@import", "innerHTML", "{{"} {
		if strings.Contains(page, outside) {
			t.Errorf("the page has %q", outside)
		}
	}
}

// Without the directive no path has a page or a state.
func TestNoStatusPage(t *testing.T) {
	up := challenging(t, http.StatusUnauthorized, `Bearer realm="x"`)
	base, _ := statusSite(t, strings.TrimPrefix(up.URL, "http://"), "")
	c := newClient(t)
	for _, path := range []string{"/mcp-status", "/mcp-status?json", "/mcp_auth_bridge/", "/mcp/mcp-status?json", "/?json", "/mcp?json"} {
		if got := do(t, c, newRequest(t, http.MethodGet, base+path, "")); strings.Contains(got.body, "endpoints") || got.header.Get("Content-Security-Policy") != "" {
			t.Errorf("%s: got %d %s", path, got.status, got.body)
		}
	}
}

// Rules F1 and F2: the page's state is that of the admin API, and as free of secrets.
func TestStatusPageState(t *testing.T) {
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token", error_description="no `+r.Header.Get("Authorization")+`"`)
		w.WriteHeader(http.StatusUnauthorized)
	}))
	t.Cleanup(up.Close)
	base, admin := statusSite(t, strings.TrimPrefix(up.URL, "http://"), "handle_path /ops/* {\n\t\tmcp_auth_bridge status\n\t}")
	c := newClient(t)
	do(t, c, newRequest(t, http.MethodPost, base+"/mcp?key=query-secret", initReq, "Authorization", "Bearer token-secret", "Mcp-Session-Id", "session-secret"))
	_, want := askAdmin(t, c, admin)
	got := do(t, c, newRequest(t, http.MethodGet, base+"/ops/status?json", "")).body
	if a, b := withoutTimes(got), withoutTimes(want); a != b || !strings.Contains(got, "invalid_token") {
		t.Errorf("got\n%s\nwant\n%s", a, b)
	}
	if strings.Contains(got, "secret") {
		t.Errorf("a secret is in %s", got)
	}
}

// withoutTimes leaves out of a state what changes from one moment to the next.
func withoutTimes(state string) string {
	return regexp.MustCompile(`"(time|expires)":"[^"]*"|"age_seconds":[0-9.]+`).ReplaceAllString(state, "")
}

// An operator who lets everyone see the page is told so when the configuration is loaded;
// one who guards it, or is alone on the machine, is not.
func TestStatusPageOpen(t *testing.T) {
	const page = "mcp_auth_bridge status"
	for _, tt := range []struct {
		name, bind, block string
		warned            bool
	}{
		{"open", "", page, true},
		{"login", "", "basic_auth {\n\t\t\toperator " + bcrypted + "\n\t\t}\n\t\t" + page, false},
		{"login elsewhere", "", "forward_auth 127.0.0.1:1 {\n\t\t\turi /auth\n\t\t}\n\t\t" + page, false},
		{"login of something else", "", page + "\n\t}\n\thandle /other {\n\t\tbasic_auth {\n\t\t\toperator " + bcrypted + "\n\t\t}", true},
		{"loopback", "bind 127.0.0.1", page, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			testcaddy.ForgetLogs()
			testcaddy.Run(t, fmt.Sprintf("{\n\tauto_https off\n}\nhttp://:%d {\n\t%s\n\thandle /mcp-status {\n\t\t%s\n\t}\n}", testcaddy.FreePort(t), tt.bind, tt.block))
			if got := testcaddy.Logged("everyone can see the status page", "basic_auth"); got != tt.warned {
				t.Errorf("warned: got %v, want %v", got, tt.warned)
			}
		})
	}
}

// Rule B4: a page elsewhere whose name was made to point to this machine does not get the
// state of a site that has no name. Programs do, and the names that the configuration has.
func TestStatusPageRebinding(t *testing.T) {
	named, nameless := testcaddy.FreePort(t), testcaddy.FreePort(t)
	const page = "handle /mcp-status {\n\t\tmcp_auth_bridge status\n\t}"
	testcaddy.Run(t, fmt.Sprintf("{\n\tauto_https off\n}\nhttp://mcp.example.com:%d {\n\tbind 127.0.0.1\n\t%s\n}\nhttp://:%d {\n\tbind 127.0.0.1\n\t%[2]s\n}", named, page, nameless))
	c := newClient(t)
	for _, tt := range []struct {
		port       int
		host, site string
		status     int
	}{
		{nameless, "rebound.example.net", "same-origin", 403},
		{nameless, "rebound.example.net", "none", 403},
		{nameless, "rebound.example.net", "", 200},
		{nameless, "localhost", "same-origin", 200},
		{named, "mcp.example.com", "same-origin", 200},
		{named, "MCP.example.com", "same-origin", 200},
	} {
		r := newRequest(t, http.MethodGet, "http://"+testcaddy.Addr(tt.port)+"/mcp-status?json", "")
		r.Host = fmt.Sprintf("%s:%d", tt.host, tt.port)
		if tt.site != "" {
			r.Header.Set("Sec-Fetch-Site", tt.site)
		}
		if got := do(t, c, r); got.status != tt.status {
			t.Errorf("%s, %q: got %d, want %d", tt.host, tt.site, got.status, tt.status)
		}
	}
}

// bcrypted is the hash of a password.
const bcrypted = "$2a$04$Zn2jbdwi9zuuPch8z2u0ueL3ho9Rar0tApogGOr6umY9IrRpKzXfC"
