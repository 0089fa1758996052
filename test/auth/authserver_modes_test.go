package auth_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/mcptest"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/testcaddy"
)

// Rule C5: a server of the 2025-03-26 specification, without any metadata, has
// its endpoints where that says; nothing else of it can be reached.
func TestServerWithoutMetadata(t *testing.T) {
	s := newCohosted(t)
	s.issuer = ""
	s.handlers["/.well-known/oauth-protected-resource/mcp"] = http.NotFound
	s.redirects("/authorize", s.URL+"/consent")
	base := startBridged(t, s, bridged)
	c := mcptest.NewClient(t)
	for path, want := range map[string]int{
		"/.well-known/oauth-authorization-server": 404, "/.well-known/oauth-protected-resource": 404,
		"/token": 200, "/register": 200, "/authorize": 302,
	} {
		if got := mcptest.Do(t, c, mcptest.NewRequest(t, "GET", base+path, "")); got.Status != want {
			t.Errorf("%s: got %d %s, want %d", path, got.Status, got.Body, want)
		}
	}
	for _, path := range []string{"/revoke", "/jwks", "/admin", "/introspect"} {
		mcptest.Do(t, c, mcptest.NewRequest(t, "GET", base+path, ""))
		if _, reached := s.last(path); reached {
			t.Errorf("%s reached the server", path)
		}
	}
	if got := mcptest.Do(t, c, mcptest.NewRequest(t, "GET", base+"/authorize", "")); got.Header.Get("Location") != base+"/consent" {
		t.Errorf("got Location %q", got.Header.Get("Location"))
	}
}

// Rule C5: a server that has its documents but no metadata of the protected
// resource: clients of the 2025-03-26 specification find it at the endpoint's
// origin.
func TestServerWithoutResource(t *testing.T) {
	s := newCohosted(t)
	s.handlers["/.well-known/oauth-protected-resource/mcp"] = http.NotFound
	base := startBridged(t, s, bridged)
	got := mcptest.Do(t, mcptest.NewClient(t), mcptest.NewRequest(t, "GET", base+"/.well-known/oauth-authorization-server", ""))
	if got.Status != 200 || !strings.Contains(got.Body, `"issuer": "`+base+`/"`) || !strings.Contains(got.Body, `"token_endpoint": "`+base+`/token"`) {
		t.Errorf("got %d %s", got.Status, got.Body)
	}
}

// Rules C1, C2, C5: what could not be had is 503 and comes back, never "not found"; a
// 502 of a document stays, since clients go on to the next one after it.
func TestServerUnavailable(t *testing.T) {
	s := newCohosted(t)
	down := true
	for _, path := range []string{"/.well-known/oauth-authorization-server", "/.well-known/openid-configuration"} {
		s.handlers[path] = func(w http.ResponseWriter, r *http.Request) {
			switch {
			case down:
				w.WriteHeader(http.StatusBadGateway)
			case strings.HasSuffix(path, "server"):
				w.Header().Set("Content-Type", "application/json")
				_, _ = fmt.Fprint(w, s.document())
			default:
				http.NotFound(w, r)
			}
		}
	}
	base := startBridged(t, s, bridged)
	c := mcptest.NewClient(t)
	for path, open := range map[string]bool{"/.well-known/oauth-authorization-server": true, "/token": true, "/register": true, "/authorize": false} {
		got := mcptest.Do(t, c, mcptest.NewRequest(t, "GET", base+path, "", "Origin", "https://anywhere.example"))
		status, retry := 503, "2"
		if strings.HasPrefix(path, "/.well-known/") {
			status, retry = 502, ""
		}
		if got.Status != status || got.Header.Get("Retry-After") != retry || got.Header.Get("Cache-Control") != "no-store" || (got.Header.Get("Access-Control-Allow-Origin") == "*") != open {
			t.Errorf("%s: got %d, header %v", path, got.Status, got.Header)
		}
	}
	// Where nothing else would answer, any path may be the server's.
	if got := mcptest.Do(t, c, mcptest.NewRequest(t, "POST", base+"/oauth/token", "{}")); got.Status != 503 || got.Header.Get("Access-Control-Allow-Origin") != "*" {
		t.Errorf("a path that may be the server's: got %d, header %v", got.Status, got.Header)
	}
	if _, reached := s.last("/token"); reached {
		t.Error("a request reached the server although nobody knows what it serves")
	}
}

// Rule C5: the server's paths stand at the root of the site, whatever prefix the
// endpoint has there; one line says what is missing.
func TestServerBelowPrefix(t *testing.T) {
	s := newCohosted(t)
	port := testcaddy.FreePort(t)
	base := "http://" + testcaddy.Addr(port)
	site := func(metadata string) string {
		return fmt.Sprintf(`{
	auto_https off
}
%s {
	handle_path /tools/* {
		mcp_auth_bridge %s {
			authorization_server bridge
		}
	}
	%s
}`, base, s.URL, metadata)
	}
	in := testcaddy.Run(t, site("mcp_auth_bridge metadata"))
	if testcaddy.Logged("cannot be reached") {
		t.Error("the log says that something cannot be reached")
	}
	c := mcptest.NewClient(t)
	if got := mcptest.Do(t, c, mcptest.NewRequest(t, "GET", base+"/.well-known/oauth-protected-resource/tools/mcp", "")); !strings.Contains(got.Body, `["`+base+`/","https://login`) {
		t.Errorf("got %d %s", got.Status, got.Body)
	}
	if got := mcptest.Do(t, c, mcptest.NewRequest(t, "GET", base+"/token", "")); got.Status != 200 || got.Body != `{"path":"/token"}` {
		t.Errorf("got %d %s", got.Status, got.Body)
	}
	if err := in.TryLoad(site("handle /.well-known/oauth-protected-resource/* {\n\t\tmcp_auth_bridge metadata\n\t}")); err != nil {
		t.Fatal(err)
	}
	if !testcaddy.Logged("the bridged authorization server cannot be reached") {
		t.Errorf("got log %q", testcaddy.Logs())
	}
}

// Rule C5: two servers cannot share a host, and two endpoints of one server can;
// a resource of either is mapped.
func TestServersOnOneHost(t *testing.T) {
	one, two := newCohosted(t), newCohosted(t)
	port := testcaddy.FreePort(t)
	base := "http://" + testcaddy.Addr(port)
	one.handlers["/.well-known/oauth-protected-resource/sse"] = func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprintf(w, `{"resource":"%s/sse","authorization_servers":["%[1]s/"]}`, one.URL)
	}
	site := func(second string) string {
		return fmt.Sprintf(`{
	auto_https off
}
%s {
	mcp_auth_bridge %s {
		authorization_server bridge
	}
	%s
}`, base, one.URL, second)
	}
	in := testcaddy.Run(t, site(""))
	err := in.TryLoad(site("mcp_auth_bridge /two " + two.URL + "/mcp {\n authorization_server bridge\n}"))
	if err == nil || !strings.Contains(err.Error(), `authorization_server bridge: endpoints`) || !strings.Contains(err.Error(), "its own host") {
		t.Errorf("got error %v", err)
	}
	in.Load(site("mcp_auth_bridge /sse sse+" + one.URL + "/sse {\n authorization_server bridge\n}\nmcp_auth_bridge /two " + two.URL + "/mcp"))
	c := mcptest.NewClient(t)
	for _, path := range []string{"/mcp", "/sse"} {
		r := mcptest.NewRequest(t, "POST", base+"/token", "resource="+strings.ReplaceAll(base, "/", "%2F")+path)
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		got := mcptest.Do(t, c, r)
		if seen, _ := one.last("/token"); got.Status != 200 || !strings.Contains(seen.body, "%2F"+path[1:]) || strings.Contains(seen.body, fmt.Sprint(port)) {
			t.Errorf("%s: got %d, the server %q", path, got.Status, seen.body)
		}
	}
	// The other endpoint of the host is its own, even where it answers like one.
	mcptest.Do(t, c, mcptest.NewRequest(t, "GET", base+"/two", ""))
	if _, reached := two.last("/mcp"); !reached {
		t.Error("the endpoint beside was not reached")
	}
	if _, reached := one.last("/two"); reached {
		t.Error("a path of the endpoint beside reached the authorization server")
	}
}

// Rules C5, D5b: paths that a login has been through are served after a reload, as long as
// requests go where they went, and as the same.
func TestServerPathsSurviveReload(t *testing.T) {
	s := newCohosted(t)
	s.redirects("/authorize", "/consent")
	port := testcaddy.FreePort(t)
	base := "http://" + testcaddy.Addr(port)
	in := testcaddy.Run(t, mcptest.BridgeTo(port, s.URL, bridged))
	c := mcptest.NewClient(t)
	mcptest.Do(t, c, mcptest.NewRequest(t, "GET", base+"/authorize", ""))
	if !testcaddy.Logged("redirects to one of its paths", `"path":"/consent"`) {
		t.Errorf("got log %q", testcaddy.Logs())
	}
	c.CloseIdleConnections()
	ask := func() {
		mcptest.Do(t, mcptest.NewClient(t), mcptest.NewRequest(t, "GET", base+"/consent", ""))
	}
	in.Load(mcptest.BridgeTo(port, s.URL, bridged+"\nlimits {\nmax_form 2MiB\n}\nflush_interval -1"))
	if ask(); s.count("/consent") != 1 {
		t.Error("the page was not reached")
	}
	in.Load(mcptest.BridgeTo(port, s.URL, bridged+"\nheader_up Host other.internal"))
	if ask(); s.count("/consent") != 1 {
		t.Error("the page of one host was asked of another")
	}
}

// Rules C4, C6: a host that is not configured is served, and nothing is kept for
// it; a million of them cost no memory.
func TestServerForUnknownHosts(t *testing.T) {
	s := newCohosted(t)
	port := testcaddy.FreePort(t)
	testcaddy.Run(t, fmt.Sprintf("{\n\tauto_https off\n}\nhttp://:%d {\n\tbind 127.0.0.1\n\tmcp_auth_bridge %s {\n\t\t%s\n\t}\n}", port, s.URL, bridged))
	c := mcptest.NewClient(t)
	for _, host := range []string{"a.example", "b.example", "a.example"} {
		r := mcptest.NewRequest(t, "GET", "http://"+testcaddy.Addr(port)+"/.well-known/oauth-authorization-server", "")
		r.Host = host
		got := mcptest.Do(t, c, r)
		if got.Status != 200 || !strings.Contains(got.Body, `"issuer": "http://`+host+`/"`) {
			t.Errorf("%s: got %d %s", host, got.Status, got.Body)
		}
	}
	if n := s.count("/.well-known/oauth-authorization-server"); n != 3 {
		t.Errorf("the server was asked %d times, want once for each request", n)
	}
	// What is not the server's costs it nothing.
	for i := range 50 {
		r := mcptest.NewRequest(t, "GET", "http://"+testcaddy.Addr(port)+"/page", "")
		r.Host = fmt.Sprintf("h%d.example", i)
		mcptest.Do(t, c, r)
	}
	if n := s.count("/.well-known/oauth-authorization-server"); n != 3 {
		t.Errorf("the server was asked %d times", n)
	}
}

// Rule C5: where the upstream has no server of its own on its origin, the entry
// for the one elsewhere and a copy of its document stay as they are.
func TestServerElsewhere(t *testing.T) {
	s := newCohosted(t)
	s.handlers["/.well-known/oauth-protected-resource/mcp"] = func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprintf(w, `{"resource":"%s/mcp","authorization_servers":["https://login.example.com/"]}`, s.URL)
	}
	s.issuer = "https://login.example.com/"
	base := startBridged(t, s, bridged)
	c := mcptest.NewClient(t)
	if got := mcptest.Do(t, c, mcptest.NewRequest(t, "GET", base+"/.well-known/oauth-authorization-server", "")); got.Body != s.document() {
		t.Errorf("got %d %s", got.Status, got.Body)
	}
	if got := mcptest.Do(t, c, mcptest.NewRequest(t, "GET", base+"/.well-known/oauth-protected-resource/mcp", "")); !strings.Contains(got.Body, `["https://login.example.com/"]`) {
		t.Errorf("got %d %s", got.Status, got.Body)
	}
	mcptest.Do(t, c, mcptest.NewRequest(t, "GET", base+"/token", ""))
	if _, reached := s.last("/token"); reached {
		t.Error("a path of a server elsewhere is served here")
	}
}

// Rule C5: a server that was told its public URL needs nothing mapped; its
// document crosses byte for byte, and its paths are served.
func TestServerThatKnowsItsURL(t *testing.T) {
	port := testcaddy.FreePort(t)
	public := "https://mcp.example.com"
	s := newCohosted(t)
	document := strings.ReplaceAll(s.document(), s.URL, public)
	s.handlers["/.well-known/oauth-authorization-server"] = func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprint(w, document)
	}
	testcaddy.Run(t, mcptest.BridgeTo(port, s.URL, "public_url "+public+"\n"+bridged))
	base := "http://" + testcaddy.Addr(port)
	c := mcptest.NewClient(t)
	if got := mcptest.Do(t, c, mcptest.NewRequest(t, "GET", base+"/.well-known/oauth-authorization-server", "")); got.Body != document {
		t.Errorf("got %d %s", got.Status, got.Body)
	}
	if got := mcptest.Do(t, c, mcptest.NewRequest(t, "GET", base+"/token", "")); got.Status != 200 {
		t.Errorf("got %d", got.Status)
	}
}

// Rules A7, C5: failures of the upstream are the bridge's own, readable where
// the endpoint is.
func TestServerFails(t *testing.T) {
	s := newCohosted(t)
	s.handlers["/token"] = func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }
	base := startBridged(t, s, bridged)
	got := mcptest.Do(t, mcptest.NewClient(t), mcptest.NewRequest(t, "POST", base+"/token", "{}", "Origin", "https://anywhere.example"))
	if got.Status != http.StatusBadGateway || got.Header.Get("Access-Control-Allow-Origin") != "*" || strings.Contains(got.Body, strings.TrimPrefix(s.URL, "http://")) {
		t.Errorf("got %d %s, header %v", got.Status, got.Body, got.Header)
	}
}

// Rule C3: without the option the entry stays, and one line names the option.
func TestServerNotBridged(t *testing.T) {
	s := newCohosted(t)
	port := testcaddy.FreePort(t)
	testcaddy.Run(t, mcptest.BridgeTo(port, s.URL, "public_url https://mcp.example.com"))
	base := "http://" + testcaddy.Addr(port)
	c := mcptest.NewClient(t)
	if got := mcptest.Do(t, c, mcptest.NewRequest(t, "GET", base+"/.well-known/oauth-protected-resource/mcp", "")); !strings.Contains(got.Body, s.URL+"/\"") {
		t.Errorf("got %d %s", got.Status, got.Body)
	}
	if !testcaddy.Logged("MCP server is its own authorization server", "authorization_server bridge") {
		t.Errorf("got log %q", testcaddy.Logs())
	}
	for _, path := range []string{"/token", "/.well-known/oauth-authorization-server"} {
		mcptest.Do(t, c, mcptest.NewRequest(t, "GET", base+path, ""))
		if _, reached := s.last(path); reached {
			t.Errorf("%s reached the server", path)
		}
	}
}

// Rules C1, C5: beside a website, a server that cannot be asked costs it nothing
// but a short wait, once.
func TestServerUnavailableBesideWebsite(t *testing.T) {
	s := newCohosted(t)
	released := make(chan struct{})
	for _, path := range []string{"/.well-known/oauth-authorization-server", "/.well-known/openid-configuration", "/.well-known/oauth-protected-resource/mcp"} {
		s.handlers[path] = func(_ http.ResponseWriter, r *http.Request) {
			select {
			case <-released:
			case <-r.Context().Done():
			}
		}
	}
	defer close(released)
	port := testcaddy.FreePort(t)
	base := "http://" + testcaddy.Addr(port)
	testcaddy.Run(t, fmt.Sprintf("{\n\tauto_https off\n}\n%s {\n\troute {\n\t\tmcp_auth_bridge %s {\n\t\t\tauthorization_server bridge\n\t\t\tlimits {\n\t\t\t\tchallenge_timeout 50ms\n\t\t\t}\n\t\t}\n\t\trespond web\n\t}\n}", base, s.URL))
	for range 3 {
		if got := mcptest.Do(t, mcptest.NewClient(t), mcptest.NewRequest(t, "GET", base+"/page", "")); got.Body != "web" {
			t.Errorf("got %d %s", got.Status, got.Body)
		}
	}
}

// Rule C5: two endpoints of one upstream may have an issuer each.
func TestTwoIssuersOfOneUpstream(t *testing.T) {
	s := newCohosted(t)
	for _, name := range []string{"a", "b"} {
		document := func(body string) http.HandlerFunc {
			return func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				_, _ = fmt.Fprint(w, strings.NewReplacer("UP", s.URL, "NAME", name).Replace(body))
			}
		}
		s.handlers["/.well-known/oauth-protected-resource/"+name+"/mcp"] = document(`{"resource":"UP/NAME/mcp","authorization_servers":["UP/NAME"]}`)
		s.handlers["/.well-known/oauth-authorization-server/"+name] = document(`{"issuer":"UP/NAME","authorization_endpoint":"UP/NAME/authorize","token_endpoint":"UP/NAME/token"}`)
		s.handlers["/"+name+"/token"] = document(`{"from":"NAME"}`)
	}
	s.issuer = ""
	port := testcaddy.FreePort(t)
	base := "http://" + testcaddy.Addr(port)
	testcaddy.Run(t, fmt.Sprintf("{\n\tauto_https off\n}\n%s {\n\tmcp_auth_bridge /a/mcp %s {\n\t\tauthorization_server bridge\n\t}\n\tmcp_auth_bridge /b/mcp %[2]s {\n\t\tauthorization_server bridge\n\t}\n}", base, s.URL))
	c := mcptest.NewClient(t)
	for _, name := range []string{"a", "b"} {
		if got := mcptest.Do(t, c, mcptest.NewRequest(t, "GET", base+"/.well-known/oauth-authorization-server/"+name, "")); got.Status != 200 || !strings.Contains(got.Body, `"issuer":"`+base+"/"+name+`"`) {
			t.Errorf("%s: got %d %s", name, got.Status, got.Body)
		}
		if got := mcptest.Do(t, c, mcptest.NewRequest(t, "POST", base+"/"+name+"/token", "{}")); got.Body != `{"from":"`+name+`"}` {
			t.Errorf("%s: got %d %s", name, got.Status, got.Body)
		}
	}
}

// Rule C5: hosts of one configuration whose servers differ do not mix.
func TestServerDiffersByHost(t *testing.T) {
	s := newCohosted(t)
	s.handlers["/.well-known/oauth-authorization-server"] = func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		name, _, _ := strings.Cut(r.Host, ".")
		_, _ = fmt.Fprintf(w, `{"issuer":"http://%s","token_endpoint":"http://%[1]s/%s/token"}`, r.Host, name)
	}
	s.handlers["/a/token"], s.handlers["/b/token"] = s.handlers["/token"], s.handlers["/token"]
	port := testcaddy.FreePort(t)
	testcaddy.Run(t, fmt.Sprintf("{\n\tauto_https off\n}\nhttp://a.test:%d, http://b.test:%[1]d {\n\tbind 127.0.0.1\n\tmcp_auth_bridge %s {\n\t\tauthorization_server bridge\n\t}\n}", port, s.URL))
	c := mcptest.NewClient(t)
	for range 2 {
		for _, name := range []string{"a", "b"} {
			r := mcptest.NewRequest(t, "GET", "http://"+testcaddy.Addr(port)+"/"+name+"/token", "")
			r.Host = fmt.Sprintf("%s.test:%d", name, port)
			before := s.count("/" + name + "/token")
			mcptest.Do(t, c, r)
			if s.count("/"+name+"/token") != before+1 {
				t.Errorf("the token endpoint of %s was not reached", name)
			}
		}
	}
}

// Rules C5, C6, D1: the server is bridged whatever protocol clients speak and
// whatever stands in front: its document, a redirect, the resource in a form, and
// cookies in several lines, as HTTP/2 and HTTP/3 send them.
func TestServerOverEveryProtocol(t *testing.T) {
	for name, f := range mcptest.Fronts {
		t.Run(name, func(t *testing.T) {
			s := newCohosted(t)
			s.redirects("/authorize", s.URL+"/consent?txn=1", "sid=1; Path=/")
			port, inner := testcaddy.FreePort(t), testcaddy.FreePort(t)
			cert, key := testcaddy.Certificate(t)
			config := strings.ReplaceAll(f.Config(port, inner), "CERTIFICATE", cert+" "+key)
			testcaddy.Run(t, fmt.Sprintf("{\nauto_https off\nservers {\ntrusted_proxies static 127.0.0.0/8\n}\n}\n"+config,
				"mcp_auth_bridge "+s.URL+" {\n"+bridged+"\n}"))
			base := f.Scheme + "://" + testcaddy.Addr(port)
			c := f.Client(t)
			if got := mcptest.Do(t, c, mcptest.NewRequest(t, "GET", base+"/.well-known/oauth-authorization-server", "")); !strings.Contains(got.Body, `"issuer": "`+base+`/"`) {
				t.Errorf("document: got %d %s", got.Status, got.Body)
			}
			if got := mcptest.Do(t, c, mcptest.NewRequest(t, "GET", base+"/authorize", "")); got.Header.Get("Location") != base+"/consent?txn=1" {
				t.Errorf("redirect: got %d, header %v", got.Status, got.Header)
			}
			mcptest.Do(t, c, mcptest.NewRequest(t, "GET", base+"/consent?txn=1", "", "Cookie", "mcp_as.sid=1", "Cookie", "other=secret", "Cookie", "mcp_as.b=2"))
			if r, _ := s.last("/consent"); strings.Join(r.header["Cookie"], "|") != "sid=1; b=2" {
				t.Errorf("cookies: got %q", r.header["Cookie"])
			}
			form := mcptest.NewRequest(t, "POST", base+"/token", "resource="+url.QueryEscape(base+"/mcp"))
			form.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			mcptest.Do(t, c, form)
			if r, _ := s.last("/token"); r.body != "resource="+url.QueryEscape(s.URL+"/mcp") {
				t.Errorf("the resource is %s", r.body)
			}
		})
	}
}
