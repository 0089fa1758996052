package auth_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/mcptest"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/testcaddy"
)

// openServer is an MCP server without a login: everything but its endpoint is 404.
func openServer(t *testing.T) *httptest.Server {
	t.Helper()
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if r.URL.Path != "/mcp" || r.Method != http.MethodPost {
			w.WriteHeader(http.StatusNotFound)
			_, _ = io.WriteString(w, "{}")
			return
		}
		_, _ = io.WriteString(w, mcptest.Initialize)
	}))
	t.Cleanup(up.Close)
	return up
}

// probes are what clients ask a site for before they connect, and the like.
var probes = []string{
	"/.well-known/oauth-authorization-server", "/.well-known/oauth-authorization-server/", "/.well-known/oauth-authorization-server/mcp",
	"/.well-known/oauth-authorization-server/other/mcp", "/mcp/.well-known/oauth-authorization-server", "/other/.well-known/oauth-authorization-server",
	"/.well-known/openid-configuration", "/.well-known/openid-configuration/mcp", "/mcp/.well-known/openid-configuration", "/other/.well-known/openid-configuration",
	"/.well-known/oauth-protected-resource/other", "/.well-known/oauth-protected-resource/mcp/sse", "/mcp/.well-known/oauth-protected-resource",
	"/other/.well-known/oauth-protected-resource", "/.well-known/mcp", "/.well-known/mcp.json", "/.well-known/mcp/server-card.json", "/.well-known/OAuth-Authorization-Server",
	"/authorize", "/register", "/token", "//token", "/mcp/x", "/mcp/x/y", "/mcp//", "/MCP",
}

// checkNothing checks that a path is a JSON 404, for every method, and open to pages of every
// origin where these look for something.
func checkNothing(t *testing.T, base, path string) {
	t.Helper()
	c := mcptest.NewClient(t)
	open := strings.Contains(strings.ToLower(path), ".well-known") || !strings.HasPrefix(strings.ToLower(path), "/mcp") && !strings.Contains(path, "/mcp/")
	for _, method := range []string{"GET", "HEAD", "POST", "DELETE", "OPTIONS"} {
		got := mcptest.Do(t, c, mcptest.NewRequest(t, method, base+path, "", "Origin", "https://anywhere.example"))
		if method == "HEAD" && got.Header.Get("Content-Length") != "" && got.Body == "" {
			got.Body = "{}"
		}
		if got.Status != http.StatusNotFound || got.Header.Get("Content-Type") != "application/json" || !json.Valid([]byte(got.Body)) {
			t.Errorf("%s %s: got %d %q, header %v", method, path, got.Status, got.Body, got.Header)
		}
		if lines := got.Header["Access-Control-Allow-Origin"]; open != (len(lines) == 1 && lines[0] == "*") || got.Header.Get("Access-Control-Allow-Credentials") != "" {
			t.Errorf("%s %s: Access-Control-Allow-Origin %q", method, path, lines)
		}
	}
	preflight := mcptest.Do(t, c, mcptest.NewRequest(t, "OPTIONS", base+path, "", "Origin", "https://anywhere.example",
		"Access-Control-Request-Method", "GET", "Access-Control-Request-Headers", "mcp-protocol-version"))
	if allowed := preflight.Header.Get("Access-Control-Allow-Headers"); open != (preflight.Status == http.StatusNoContent && strings.Contains(allowed, "mcp-protocol-version")) {
		t.Errorf("preflight of %s: got %d, header %v", path, preflight.Status, preflight.Header)
	}
}

// Rules C0, B5: whatever belongs to MCP or OAuth discovery at a site with an endpoint, of any
// kind, is a JSON 404, and never Caddy's empty 200.
func TestDiscoveryIsNeverEmpty(t *testing.T) {
	up := openServer(t)
	for name, tc := range map[string]struct{ directives, prefix string }{
		"one endpoint":            {"mcp_auth_bridge " + up.URL, ""},
		"two endpoints":           {"mcp_auth_bridge " + up.URL + "\n\tmcp_auth_bridge /two/mcp " + up.URL + "/mcp", ""},
		"metadata off":            {"mcp_auth_bridge " + up.URL + " {\n\t\tmetadata off\n\t}", ""},
		"cors off":                {"mcp_auth_bridge " + up.URL + " {\n\t\tcors off\n\t}", ""},
		"HTTP+SSE":                {"mcp_auth_bridge sse+" + up.URL + "/sse", ""},
		"both transports":         {"mcp_auth_bridge " + up.URL + " {\n\t\tlegacy_sse /events /messages\n\t}", ""},
		"a program":               {"mcp_auth_bridge {\n\t\tstdio cat\n\t}", ""},
		"a middleware":            {"route {\n\t\tmcp_auth_bridge\n\t\treverse_proxy /mcp " + up.URL + "\n\t}", ""},
		"a matcher":               {"@m {\n\t\tpath /mcp /mcp/*\n\t\theader !X-Not\n\t}\n\tmcp_auth_bridge @m " + up.URL, ""},
		"an authorization server": {"mcp_auth_bridge " + up.URL + " {\n\t\tauthorization_server bridge {\n\t\t\tonly_listed\n\t\t}\n\t\tmetadata {\n\t\t\tset x 1\n\t\t}\n\t}", "bridged"},
		"handle_path":             {"mcp_auth_bridge metadata\n\thandle_path /tools/* {\n\t\tmcp_auth_bridge " + up.URL + "\n\t}", "/tools"},
		"handle":                  {"mcp_auth_bridge metadata\n\thandle /mcp* {\n\t\tmcp_auth_bridge " + up.URL + "\n\t}", ""},
		"the root":                {"mcp_auth_bridge / " + up.URL + "/mcp", ""},
	} {
		t.Run(name, func(t *testing.T) {
			port := testcaddy.FreePort(t)
			testcaddy.Run(t, fmt.Sprintf("{\n\tauto_https off\n}\nhttp://127.0.0.1:%d {\n\tbind 127.0.0.1\n\t%s\n}", port, tc.directives))
			base := "http://" + testcaddy.Addr(port)
			for _, path := range probes {
				if tc.prefix == "bridged" && (path == "/authorize" || path == "/register" || path == "/token" || strings.Contains(path, ".well-known/o")) {
					continue // its server answers
				}
				if tc.prefix == "/tools" && strings.HasPrefix(strings.ToLower(path), "/mcp") && !strings.Contains(path, ".well-known") {
					continue // no endpoint is there
				}
				if name == "both transports" && path == "/.well-known/oauth-protected-resource/mcp/sse" {
					continue
				}
				checkNothing(t, base, path)
			}
			if tc.prefix == "/tools" {
				for _, path := range []string{"/mcp/x", "/.well-known/openid-configuration", "/mcp/.well-known/oauth-authorization-server"} {
					checkNothing(t, base, tc.prefix+path)
				}
			}
		})
	}
}

// Rule C0: what follows in the site keeps its answers, errors and streams among them, and
// paths that have nothing to do with discovery are left alone, as are sites without an
// endpoint.
func TestSiteKeepsItsAnswers(t *testing.T) {
	up := openServer(t)
	port := testcaddy.FreePort(t)
	testcaddy.Run(t, fmt.Sprintf(`{
	auto_https off
}
http://127.0.0.1:%d {
	bind 127.0.0.1
	mcp_auth_bridge %s
	route {
		respond /register "registered" 201
		respond /token 200
		error /authorize 403
		header /.well-known/mcp X-Site yes
		reverse_proxy /mcp/files/* %[2]s {
			rewrite /mcp
		}
	}
	handle_errors {
		respond "site {err.status_code}"
	}
}
http://localhost:%[1]d {
	bind 127.0.0.1
	header X-Site other
}`, port, up.URL))
	base := "http://" + testcaddy.Addr(port)
	c := mcptest.NewClient(t)
	for path, want := range map[string]struct {
		status int
		body   string
	}{
		"/register": {201, "registered"}, "/token": {200, ""}, "/authorize": {403, "site 403"}, "/mcp/files/a": {200, mcptest.Initialize}, "/elsewhere": {200, ""},
	} {
		got := mcptest.Do(t, c, mcptest.NewRequest(t, "POST", base+path, "", "Origin", "https://anywhere.example"))
		if got.Status != want.status || got.Body != want.body || got.Header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s: got %d %q, header %v", path, got.Status, got.Body, got.Header)
		}
	}
	if got := mcptest.Do(t, c, mcptest.NewRequest(t, "GET", base+"/.well-known/mcp", "")); got.Status != http.StatusNotFound || got.Header.Get("X-Site") != "yes" {
		t.Errorf("got %d, header %v", got.Status, got.Header)
	}
	r := mcptest.NewRequest(t, "GET", base+"/.well-known/oauth-authorization-server", "")
	r.Host = fmt.Sprintf("localhost:%d", port)
	if got := mcptest.Do(t, c, r); got.Status != http.StatusOK || got.Body != "" || got.Header.Get("X-Site") != "other" {
		t.Errorf("a site without an endpoint: got %d %q, header %v", got.Status, got.Body, got.Header)
	}
}

// Rules C5, F1: a page of the bridged authorization server that is not served is a 404, and
// the operator is told the line to add, once a path, and only where a page of the server
// leads there.
func TestRefusedPages(t *testing.T) {
	s := newCohosted(t)
	s.says("/.well-known/oauth-authorization-server", 200, "application/json", strings.ReplaceAll(s.document(), "/authorize?policy=a", "/oauth/authorize"))
	s.handlers["/oauth/authorize"] = func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		w.Header().Set("Set-Cookie", "__Host-consent=x; Path=/; Secure; HttpOnly; SameSite=Lax")
		_, _ = io.WriteString(w, `<form method="post" action="/oauth/authorize/decision">`)
	}
	s.handlers["/oauth/authorize/decision"] = func(w http.ResponseWriter, r *http.Request) {
		if !strings.Contains(r.Header.Get("Cookie"), "__Host-consent=x") {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		w.Header().Set("Location", "http://127.0.0.1:9/cb?code=k&state=s")
		w.WriteHeader(http.StatusFound)
	}
	base := startBridged(t, s, bridged)
	c := mcptest.NewClient(t)
	page := mcptest.Do(t, c, mcptest.NewRequest(t, "GET", base+"/oauth/authorize?client_id=x", ""))
	cookie, _, _ := strings.Cut(page.Header.Get("Set-Cookie"), ";")
	decide := func() mcptest.Answer {
		return mcptest.Do(t, c, mcptest.NewRequest(t, "POST", base+"/oauth/authorize/decision?secret=1", "approved=true", "Cookie", cookie, "Origin", base,
			"Content-Type", "application/x-www-form-urlencoded"))
	}
	for range 2 {
		if got := decide(); got.Status != http.StatusNotFound || !json.Valid([]byte(got.Body)) {
			t.Errorf("got %d %q", got.Status, got.Body)
		}
	}
	message := "path of the bridged authorization server is not served"
	testcaddy.WantAdvice(t, message, "paths /oauth/authorize/*")

	// By where it comes from: the page's own Referer, and a form of the public origin.
	testcaddy.ForgetLogs()
	for path, fields := range map[string][]string{
		"/login/script.js?v=1": {"GET", "Referer", base + "/oauth/authorize?client_id=x"},
		"/decide":              {"POST", "Origin", base, "Referer", base + "/"},
		"/x } respond {":       {"POST", "Origin", base},
		"/other":               {"POST", "Origin", "https://elsewhere.example", "Referer", "https://elsewhere.example" + "/oauth/authorize"},
		"/scan":                {"GET"},
		"/scan2":               {"GET", "Referer", base + "/somewhere"},
		"/scan3":               {"GET", "Referer", base + ".evil.example/oauth/authorize"},
		"/introspect":          {"GET"},
	} {
		r := mcptest.NewRequest(t, fields[0], base, "", fields[1:]...)
		r.URL.Path, r.URL.RawQuery, _ = strings.Cut(path, "?")
		_ = r.URL.RawQuery
		if got := mcptest.Do(t, c, r); got.Status != http.StatusNotFound || !json.Valid([]byte(got.Body)) {
			t.Errorf("%s: got %d %q", path, got.Status, got.Body)
		}
	}
	var lines []string
	for _, line := range testcaddy.Logs() {
		var entry struct{ Msg, Add, Subject string }
		if json.Unmarshal([]byte(line), &entry) == nil && entry.Msg == message {
			lines = append(lines, entry.Subject+": "+entry.Add)
		}
	}
	for _, want := range []string{"/login/script.js: paths /login/script.js", "/decide: paths /decide", "/x } respond {: "} {
		if n := strings.Count(strings.Join(lines, "\n")+"\n", want+"\n"); n != 1 {
			t.Errorf("%q is told %d times, in %q", want, n, lines)
		}
	}
	if len(lines) != 3 {
		t.Errorf("told %q", lines)
	}

	// With the line the login goes through, its cookie there and back.
	base = startBridged(t, s, bridged+" {\n\t\t\tpaths /oauth/authorize/*\n\t\t}")
	page = mcptest.Do(t, c, mcptest.NewRequest(t, "GET", base+"/oauth/authorize?client_id=x", ""))
	cookie, _, _ = strings.Cut(page.Header.Get("Set-Cookie"), ";")
	if got := decide(); got.Status != http.StatusFound || got.Header.Get("Location") != "http://127.0.0.1:9/cb?code=k&state=s" {
		t.Errorf("got %d to %q", got.Status, got.Header.Get("Location"))
	}
}
