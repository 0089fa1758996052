package observe_test

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/mcptest"
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
	up := mcptest.NewChallenging(t, http.StatusUnauthorized, `Bearer realm="x"`)
	base, _ := statusSite(t, strings.TrimPrefix(up.URL, "http://"), "handle /mcp-status {\n\t\tmcp_auth_bridge status\n\t}")
	c := mcptest.NewClient(t)
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
		got := mcptest.Do(t, c, mcptest.NewRequest(t, tt.method, base+"/mcp-status"+tt.path, "", tt.header...))
		if got.Status != tt.status || got.Header.Get("Content-Type") != tt.media {
			t.Errorf("%s %s %q: got %d, %q, want %d, %q", tt.method, tt.path, tt.header, got.Status, got.Header.Get("Content-Type"), tt.status, tt.media)
		}
		if tt.status == 405 && got.Header.Get("Allow") != "GET, HEAD" {
			t.Errorf("%s: Allow is %q", tt.method, got.Header.Get("Allow"))
		}
		if tt.path == "/sessions" {
			continue
		}
		for name, want := range map[string]string{
			"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Cross-Origin-Resource-Policy": "same-origin", "Access-Control-Allow-Origin": "",
		} {
			if got.Header.Get(name) != want {
				t.Errorf("%s %s: %s is %q, want %q", tt.method, tt.path, name, got.Header.Get(name), want)
			}
		}
		policy := got.Header.Get("Content-Security-Policy")
		if !strings.HasPrefix(policy, "default-src 'none'; script-src 'sha256-") || strings.Contains(policy, "unsafe") || !strings.Contains(policy, "frame-ancestors 'none'") {
			t.Errorf("%s %s: the policy is %s", tt.method, tt.path, policy)
		}
		if tt.method == "HEAD" && got.Body != "" {
			t.Errorf("HEAD %s has a body", tt.path)
		}
	}
	page := mcptest.Do(t, c, mcptest.NewRequest(t, http.MethodGet, base+"/mcp-status", "")).Body
	for _, outside := range []string{" src=", " href=", "url(", "@import", "innerHTML", "{{"} {
		if strings.Contains(page, outside) {
			t.Errorf("the page has %q", outside)
		}
	}
}

// Without the directive no path has a page or a state.
func TestSiteWithoutTheDirectiveHasNoStatusPage(t *testing.T) {
	up := mcptest.NewChallenging(t, http.StatusUnauthorized, `Bearer realm="x"`)
	base, _ := statusSite(t, strings.TrimPrefix(up.URL, "http://"), "")
	c := mcptest.NewClient(t)
	for _, path := range []string{"/mcp-status", "/mcp-status?json", "/mcp_auth_bridge/", "/mcp/mcp-status?json", "/?json", "/mcp?json"} {
		if got := mcptest.Do(t, c, mcptest.NewRequest(t, http.MethodGet, base+path, "")); strings.Contains(got.Body, "endpoints") || got.Header.Get("Content-Security-Policy") != "" {
			t.Errorf("%s: got %d %s", path, got.Status, got.Body)
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
	c := mcptest.NewClient(t)
	mcptest.Do(t, c, mcptest.NewRequest(t, http.MethodPost, base+"/mcp?key=query-secret", mcptest.Initialize, "Authorization", "Bearer token-secret", "Mcp-Session-Id", "session-secret"))
	_, want := askAdmin(t, c, admin)
	got := mcptest.Do(t, c, mcptest.NewRequest(t, http.MethodGet, base+"/ops/status?json", "")).Body
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
func TestOpenStatusPageIsLoggedAtLoad(t *testing.T) {
	const page = "mcp_auth_bridge status"
	for _, tt := range []struct {
		name, bind, block string
		warned            bool
	}{
		{"open", "", page, true},
		{"login", "", "basic_auth {\n\t\t\toperator " + mcptest.Bcrypted + "\n\t\t}\n\t\t" + page, false},
		{"login elsewhere", "", "forward_auth 127.0.0.1:1 {\n\t\t\turi /auth\n\t\t}\n\t\t" + page, false},
		{"login of something else", "", page + "\n\t}\n\thandle /other {\n\t\tbasic_auth {\n\t\t\toperator " + mcptest.Bcrypted + "\n\t\t}", true},
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

// Rule A10: a guard that covers only some of the paths that lead to the page is refused.
func TestHalfGuardedStatusPageIsRefused(t *testing.T) {
	const page = "mcp_auth_bridge status"
	login := func(matcher string) string {
		return "basic_auth " + matcher + " {\n\t\toperator " + mcptest.Bcrypted + "\n\t}\n\t"
	}
	for _, tt := range []struct {
		name, site      string
		refused, warned bool
	}{
		{"all", login("/mcp-status*") + "handle /mcp-status* {\n\t\t" + page + "\n\t}", false, false},
		{"the one path", login("/mcp-status") + "handle /mcp-status {\n\t\t" + page + "\n\t}", false, false},
		{"one of several paths", login("/mcp-status") + "handle /mcp-status* {\n\t\t" + page + "\n\t}", true, false},
		{"where it is not", login("/ops") + "handle_path /ops/* {\n\t\t" + page + "\n\t}", false, true},
		{"a prefix that is stripped", login("/ops/x") + "handle_path /ops/* {\n\t\t" + page + "\n\t}", true, false},
		{"a prefix that is stripped, all", login("/ops*") + "handle_path /ops/* {\n\t\t" + page + "\n\t}", false, false},
		{"a prefix that is stripped, in one case", "@ops path_regexp ^/ops\n\t" + login("@ops") + "handle_path /ops/* {\n\t\t" + page + "\n\t}", true, false},
		{"what it answers", "@get method GET HEAD\n\t" + login("@get") + "handle /mcp-status {\n\t\t" + page + "\n\t}", false, false},
		{"for some addresses", "@ops {\n\t\tpath /mcp-status*\n\t\tremote_ip 192.0.2.0/24\n\t}\n\thandle @ops {\n\t\t" + page + "\n\t}", false, false},
		{"for some addresses behind a proxy", "@ops client_ip private_ranges\n\thandle @ops {\n\t\t" + page + "\n\t}", false, false},
		{"for all addresses", "@ops remote_ip 0.0.0.0/0 ::/0\n\thandle @ops {\n\t\t" + page + "\n\t}", false, true},
		{"for all but some addresses", "@ops not remote_ip 192.0.2.0/24\n\thandle @ops {\n\t\t" + page + "\n\t}", false, true},
		{"something else", login("/elsewhere/*") + "handle /mcp-status {\n\t\t" + page + "\n\t}", false, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := testcaddy.Run(t, "{\n\tauto_https off\n}\n")
			err := in.TryLoad(fmt.Sprintf("{\n\tauto_https off\n}\nhttp://:%d {\n\t%s\n}", testcaddy.FreePort(t), tt.site))
			if refused := err != nil && strings.Contains(err.Error(), "status page: basic_auth guards "); refused != tt.refused || !refused && err != nil {
				t.Errorf("got %v, want refused: %v", err, tt.refused)
			}
			if open := testcaddy.Logged("everyone can see the status page"); open != tt.warned {
				t.Errorf("warned: %v", open)
			}
		})
	}
}

// A client certificate guards the page where every connection has to show one that is
// verified, and not where another site wants one, or takes any.
func TestStatusPageBehindCertificates(t *testing.T) {
	cert, key := testcaddy.Certificate(t)
	const page = "handle /mcp-status {\n\t\tmcp_auth_bridge status\n\t}"
	verified := "client_auth {\n\t\t\ttrust_pool file " + cert + "\n\t\t}"
	mode := func(name string) string {
		return "client_auth {\n\t\t\tmode " + name + "\n\t\t\ttrust_pool file " + cert + "\n\t\t}"
	}
	for _, tt := range []struct {
		name, own, other string
		warned           bool
	}{
		{"none", "", "", true},
		{"verified", verified, "", false},
		{"require_and_verify", mode("require_and_verify"), "", false},
		{"require, which takes any", "client_auth {\n\t\t\tmode require\n\t\t}", "", true},
		{"verify_if_given", mode("verify_if_given"), "", true},
		{"request", mode("request"), "", true},
		{"another site's", "", verified, true},
		{"both", verified, verified, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			port := testcaddy.FreePort(t)
			site := func(host, block, more string) string {
				return fmt.Sprintf("https://%s:%d {\n\ttls %s %s {\n\t\t%s\n\t}\n\t%s\n}\n", host, port, cert, key, block, more)
			}
			testcaddy.ForgetLogs()
			testcaddy.Run(t, "{\n\tauto_https off\n}\n"+site("page.test", tt.own, page)+site("other.test", tt.other, "respond ok"))
			if got := testcaddy.Logged("everyone can see the status page"); got != tt.warned {
				t.Errorf("warned: %v, want %v", got, tt.warned)
			}
		})
	}
}

// Rule B4: the page answers to names of this machine, addresses, and the names that the
// configuration has: a page elsewhere can make its own name point here, and browsers say
// nothing of that.
func TestStatusPageRebinding(t *testing.T) {
	named, nameless, configured := testcaddy.FreePort(t), testcaddy.FreePort(t), testcaddy.FreePort(t)
	const page = "handle /mcp-status {\n\t\tmcp_auth_bridge status\n\t}"
	site := func(options string) string {
		return fmt.Sprintf("{\n\tauto_https off\n\tservers {\n\t\ttrusted_proxies static 127.0.0.9\n\t}\n}\nhttp://mcp.example.com:%[1]d {\n\tbind 127.0.0.1\n\t%[2]s\n}\nhttp://:%[3]d {\n\tbind 127.0.0.1\n\t%[2]s\n}\nhttp://:%[4]d {\n\tmcp_auth_bridge localhost:1 {\n\t\t%[5]s\n\t}\n\t%[2]s\n}",
			named, page, nameless, configured, options)
	}
	testcaddy.Run(t, site("hosts other.example.com\n\t\tpublic_url https://public.example.com"))
	for _, tt := range []struct {
		port   int
		host   string
		from   string
		status int
	}{
		{nameless, "rebound.example.net", "127.0.0.1", 403},
		{nameless, "localhost.example.net", "127.0.0.1", 403},
		{nameless, "127.0.0.1.example.net", "127.0.0.1", 403},
		{nameless, "127.0.0.1.nip.io", "127.0.0.1", 403},
		{nameless, "rebound.example.net", "127.0.0.9", 200}, // a trusted proxy
		{nameless, "localhost", "127.0.0.1", 200},
		{nameless, "LOCALHOST", "127.0.0.1", 200},
		{nameless, "page.localhost", "127.0.0.1", 200},
		{nameless, "127.0.0.1", "127.0.0.1", 200},
		{nameless, "[::1]", "127.0.0.1", 200},
		{nameless, "192.168.1.5", "127.0.0.1", 200},
		{nameless, "mcp.example.com", "127.0.0.1", 403}, // a name of another site
		{nameless, "other.example.com", "127.0.0.1", 200},
		{nameless, "public.example.com", "127.0.0.1", 200},
		{configured, "other.example.com", "127.0.0.1", 200},
		{configured, "rebound.example.net", "127.0.0.1", 403},
		{named, "mcp.example.com", "127.0.0.1", 200},
		{named, "MCP.example.com", "127.0.0.1", 200},
	} {
		local := &net.TCPAddr{IP: net.ParseIP(tt.from)}
		tr := &http.Transport{DialContext: (&net.Dialer{LocalAddr: local}).DialContext, DisableKeepAlives: true}
		for _, site := range []string{"", "same-origin", "none"} {
			for _, path := range []string{"/mcp-status", "/mcp-status?json"} {
				r := mcptest.NewRequest(t, http.MethodGet, "http://"+testcaddy.Addr(tt.port)+path, "")
				r.Host = fmt.Sprintf("%s:%d", tt.host, tt.port)
				if site != "" {
					r.Header.Set("Sec-Fetch-Site", site)
				}
				if got := mcptest.Do(t, &http.Client{Transport: tr}, r); got.Status != tt.status {
					t.Errorf("%s%s from %s, %q: got %d, want %d", tt.host, path, tt.from, site, got.Status, tt.status)
				}
			}
		}
	}
}
