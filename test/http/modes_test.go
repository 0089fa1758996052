package http_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/mcptest"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/testcaddy"
)

// Rule A6: what each mode makes of a challenge.
func TestChallengeModes(t *testing.T) {
	const at = "/.well-known/oauth-protected-resource/mcp"
	for _, tc := range []struct {
		name, options string
		status        int
		lines         []string
		wantStatus    int
		want          []string // PUB stands for the public origin
	}{
		{"rewrite maps", "", 401, []string{`Bearer resource_metadata="UP` + at + `"`}, 401, []string{`Bearer resource_metadata="PUB` + at + `"`}},
		{"rewrite adds to the first Bearer", "", 401, []string{`Basic realm="x", Bearer scope="a"`}, 401, []string{`Basic realm="x", Bearer scope="a", resource_metadata="PUB` + at + `"`}},
		{"rewrite adds to a bare Bearer", "", 401, []string{`Bearer`}, 401, []string{`Bearer resource_metadata="PUB` + at + `"`}},
		{"rewrite adds to a 403", "", 403, []string{`Bearer error="insufficient_scope"`}, 403, []string{`Bearer error="insufficient_scope", resource_metadata="PUB` + at + `"`}},
		{"rewrite inserts before others", "challenge {\n scope a b\n realm \"the \\\"tools\\\"\"\n}", 401, []string{`Negotiate`}, 401, []string{`Bearer realm="the \"tools\"", scope="a b", resource_metadata="PUB` + at + `"`, `Negotiate`}},
		{"rewrite inserts into a bare 401", "", 401, nil, 401, []string{`Bearer resource_metadata="PUB` + at + `"`}},
		{"rewrite leaves a bare 403", "", 403, nil, 403, nil},
		{"rewrite maps on any status", "", 400, []string{`Bearer resource_metadata="UP` + at + `"`}, 400, []string{`Bearer resource_metadata="PUB` + at + `"`}},
		{"rewrite adds to no other status", "", 400, []string{`Bearer scope="a"`}, 400, []string{`Bearer scope="a"`}},
		{"rewrite leaves what does not parse", "", 401, []string{`Bearer realm="never ends`}, 401, []string{`Bearer resource_metadata="PUB` + at + `"`, `Bearer realm="never ends`}},
		{"relay", "challenge relay", 401, []string{`Bearer resource_metadata="UP` + at + `"`}, 401, []string{`Bearer resource_metadata="UP` + at + `"`}},
		{"relay adds nothing", "challenge relay", 401, nil, 401, nil},
		{"replace makes a 401 the gateway's", "challenge replace", 401, []string{`Bearer resource_metadata="UP` + at + `"`}, 502, nil},
		{"replace keeps a 403 without its challenge", "challenge replace", 403, []string{`Bearer error="insufficient_scope"`}, 403, nil},
		{"metadata off adds nothing", "metadata off", 401, nil, 401, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			up := mcptest.NewChallenging(t, tc.status, tc.lines...)
			port := testcaddy.FreePort(t)
			testcaddy.Run(t, mcptest.BridgeTo(port, up.URL, tc.options))
			base := "http://" + testcaddy.Addr(port)
			got := mcptest.Do(t, mcptest.NewClient(t), mcptest.NewRequest(t, "POST", base+"/mcp", mcptest.Initialize, "Authorization", "Bearer secret", "Cookie", "a=b"))
			if got.Status != tc.wantStatus {
				t.Errorf("got status %d, want %d", got.Status, tc.wantStatus)
			}
			want := strings.NewReplacer("PUB", base, "UP", up.URL).Replace(strings.Join(tc.want, "\n"))
			if lines := strings.Join(got.Header["Www-Authenticate"], "\n"); lines != want {
				t.Errorf("got challenge\n%s\nwant\n%s", lines, want)
			}
			if got.Status == 502 && got.Body != "" {
				t.Errorf("the upstream's body %q came with a fault of the gateway", got.Body)
			}
		})
	}
}

// Rule A4: what Amazon's API gateway renames gets its name back, behind the lines that have kept it.
func TestRemappedChallenge(t *testing.T) {
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header()["Www-Authenticate"] = r.URL.Query()["kept"]
		w.Header().Set("x-amzn-remapped-www-authenticate", `Bearer resource_metadata="http://localhost/.well-known/oauth-protected-resource/mcp"`)
		w.WriteHeader(http.StatusUnauthorized)
	}))
	t.Cleanup(up.Close)
	port := testcaddy.FreePort(t)
	testcaddy.Run(t, mcptest.BridgeTo(port, up.URL, ""))
	base := "http://" + testcaddy.Addr(port)
	for query, kept := range map[string][]string{"": nil, "?kept=Basic&kept=Negotiate": {"Basic", "Negotiate"}} {
		got := mcptest.Do(t, mcptest.NewClient(t), mcptest.NewRequest(t, "POST", base+"/mcp"+query, mcptest.Initialize))
		want := append(kept, `Bearer resource_metadata="`+base+`/.well-known/oauth-protected-resource/mcp"`)
		if lines := got.Header.Values("WWW-Authenticate"); !slices.Equal(lines, want) || got.Header.Get("X-Amzn-Remapped-Www-Authenticate") != "" {
			t.Errorf("%q: got %q in %v, want %q", query, lines, got.Header, want)
		}
	}
}

// Rules A3, B1: informational answers of the upstream have neither its challenge nor its CORS
// fields, whoever passes them on.
func TestInformationalAnswers(t *testing.T) {
	up := mcptest.ListenRaw(t, func(conn net.Conn) {
		if _, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
			fields := "WWW-Authenticate: Bearer resource_metadata=\"http://localhost/.well-known/oauth-protected-resource/mcp\"\r\n" +
				"X-Amzn-Remapped-WWW-Authenticate: Bearer\r\nAccess-Control-Allow-Origin: *\r\nVary: Accept, Origin\r\nLink: </a>\r\n"
			_, _ = io.WriteString(conn, "HTTP/1.1 103 Early Hints\r\n"+fields+"\r\nHTTP/1.1 401 Unauthorized\r\nConnection: close\r\nContent-Length: 0\r\n"+fields+"\r\n")
		}
	})
	for _, by := range []string{"direct", "reverse_proxy"} {
		port := testcaddy.FreePort(t)
		testcaddy.Run(t, mcptest.BridgeTo(port, up, mcptest.AllowApp+"\nforwarding "+by))
		var early http.Header
		ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{Got1xxResponse: func(_ int, h textproto.MIMEHeader) error {
			early = http.Header(h).Clone()
			return nil
		}})
		req := mcptest.NewRequest(t, "POST", "http://"+testcaddy.Addr(port)+"/mcp", mcptest.Initialize).WithContext(ctx)
		req.Header.Set("Origin", mcptest.AppOrigin)
		got := mcptest.Do(t, mcptest.NewClient(t), req)
		if lines := early.Values("WWW-Authenticate"); len(lines) > 0 || early.Get("X-Amzn-Remapped-Www-Authenticate") != "" {
			t.Errorf("%s: the informational answer has a challenge: %v", by, early)
		}
		if lines := early.Values("Access-Control-Allow-Origin"); !slices.Equal(lines, []string{mcptest.AppOrigin}) {
			t.Errorf("%s: the informational answer allows %q", by, lines)
		}
		if vary := strings.Join(early.Values("Vary"), ", "); early.Get("Link") != "</a>" || strings.Count(vary, "Origin") != 1 || !strings.Contains(vary, "Accept") {
			t.Errorf("%s: the informational answer has %v", by, early)
		}
		if lines := got.Header.Values("WWW-Authenticate"); got.Status != 401 || len(lines) != 2 {
			t.Errorf("%s: got %d with %q, want 401 with 2 challenges", by, got.Status, lines)
		}
	}
}

// Rule A2: an answer without Content-Type has none for the client either, whoever passes it on.
func TestNoContentTypeIsMadeUp(t *testing.T) {
	up := mcptest.ListenRaw(t, func(conn net.Conn) {
		if r, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
			_, _ = io.WriteString(conn, "HTTP/1.1 401 Unauthorized\r\nConnection: close\r\nX-Content-Type-Options: nosniff\r\n"+r.URL.Query().Get("type")+"Content-Length: 9\r\n\r\n<html>401")
		}
	})
	for _, by := range []string{"direct", "reverse_proxy"} {
		port := testcaddy.FreePort(t)
		testcaddy.Run(t, mcptest.BridgeTo(port, up, "forwarding "+by))
		for query, want := range map[string][]string{"": nil, "?type=Content-Type:text/x%0d%0a": {"text/x"}} {
			got := mcptest.Do(t, mcptest.NewClient(t), mcptest.NewRequest(t, "POST", "http://"+testcaddy.Addr(port)+"/mcp"+query, mcptest.Initialize))
			if lines := got.Header["Content-Type"]; !slices.Equal(lines, want) || got.Status != 401 || got.Body != "<html>401" {
				t.Errorf("%s %q: got %d of type %q with %q, want %q", by, query, got.Status, lines, got.Body, want)
			}
		}
	}
}

// Rules C6, A5: behind a trusted proxy the public URL is what that proxy
// forwards, and the answer says that it depends on it; what an untrusted peer
// forwards is not believed; public_url wins.
func TestPublicURL(t *testing.T) {
	up := mcptest.NewChallenging(t, 401, `Bearer resource_metadata="UP/.well-known/oauth-protected-resource/mcp"`)
	port := testcaddy.FreePort(t)
	forwarded := []string{"X-Forwarded-Proto", "https", "X-Forwarded-Host", "mcp.example.com"}
	for _, tc := range []struct{ name, global, options, host, want string }{
		{"untrusted", "", "", "", "http://" + testcaddy.Addr(port)},
		{"trusted by the server", "servers {\n trusted_proxies static 127.0.0.0/8\n}", "", "", "https://mcp.example.com"},
		{"trusted by the proxy", "", "trusted_proxies 127.0.0.1", "", "https://mcp.example.com"},
		{"public_url", "", "public_url https://other.example.com", "", "https://other.example.com"},
		{"case and default port", "", "", "MCP.Example.COM:80", "http://mcp.example.com"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			testcaddy.Run(t, fmt.Sprintf("{\n\tauto_https off\n%s\n}\nhttp://:%d {\n\tmcp_auth_bridge %s {\n\t\t%s\n\t}\n}", tc.global, port, up.URL, tc.options))
			r := mcptest.NewRequest(t, "POST", "http://"+testcaddy.Addr(port)+"/mcp", mcptest.Initialize, forwarded...)
			r.Host = tc.host
			refusal := mcptest.Do(t, mcptest.NewClient(t), r).Header
			got := refusal.Get("WWW-Authenticate")
			if want := `Bearer resource_metadata="` + tc.want + `/.well-known/oauth-protected-resource/mcp"`; got != want {
				t.Errorf("got %s, want %s", got, want)
			}
			vary := strings.Join(refusal["Vary"], ", ")
			if trusted := strings.HasPrefix(tc.name, "trusted"); strings.Contains(vary, "X-Forwarded-Host, X-Forwarded-Proto") != trusted {
				t.Errorf("got Vary %s", vary)
			}
			r = mcptest.NewRequest(t, "GET", "http://"+testcaddy.Addr(port)+"/.well-known/oauth-protected-resource/mcp", "", forwarded...)
			r.Host = tc.host
			if doc := mcptest.Do(t, mcptest.NewClient(t), r); doc.Body != fmt.Sprintf(`{"resource":%q}`, tc.want+"/mcp") {
				t.Errorf("got metadata %d %s", doc.Status, doc.Body)
			}
		})
	}
}

// Endpoints inside handle_path: the metadata stands at the site's level, under
// the path that clients use.
func TestHandlePath(t *testing.T) {
	up := mcptest.NewChallenging(t, 401, `Bearer resource_metadata="UP/.well-known/oauth-protected-resource/mcp"`)
	var base string
	// Each has a port of its own: the client may hold a connection to the one before.
	run := func(options string) {
		base = "http://" + testcaddy.Addr(testcaddy.FreePort(t))
		testcaddy.Run(t, "{\n\tauto_https off\n}\n"+base+" {\n\t"+options+"\n\thandle_path /tools/* {\n\t\tmcp_auth_bridge "+up.URL+"\n\t}\n\thandle {\n\t\trespond \"site\" 200\n\t}\n}")
	}
	c := mcptest.NewClient(t)
	run("handle /.well-known/oauth-protected-resource/* {\n\t\tmcp_auth_bridge metadata\n\t}")
	const wellKnown = "/.well-known/oauth-protected-resource/tools/mcp"
	got := mcptest.Do(t, c, mcptest.NewRequest(t, "POST", base+"/tools/mcp", mcptest.Initialize)).Header.Get("WWW-Authenticate")
	if want := `Bearer resource_metadata="` + base + wellKnown + `"`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if doc := mcptest.Do(t, c, mcptest.NewRequest(t, "GET", base+wellKnown, "")); doc.Body != fmt.Sprintf(`{"resource":%q}`, base+"/tools/mcp") {
		t.Errorf("got metadata %d %s", doc.Status, doc.Body)
	}
	if testcaddy.Logged("cannot be reached") {
		t.Errorf("warning about metadata that can be reached:\n%s", strings.Join(testcaddy.Logs(), "\n"))
	}
	run("mcp_auth_bridge metadata")
	if doc := mcptest.Do(t, c, mcptest.NewRequest(t, "GET", base+wellKnown, "")); doc.Body != fmt.Sprintf(`{"resource":%q}`, base+"/tools/mcp") || testcaddy.Logged("cannot be reached") {
		t.Errorf("without a block: got metadata %d %s", doc.Status, doc.Body)
	}
	run("")
	if !testcaddy.Logged("mcp_auth_bridge metadata", "cannot be reached", wellKnown) {
		t.Errorf("no warning about metadata that cannot be reached:\n%s", strings.Join(testcaddy.Logs(), "\n"))
	}
}

// Rules A5, C4: Caddy strips a prefix in upper case and with doubled slashes as
// well. The challenge names the metadata that there is, and the upstream is not
// asked for the metadata of each spelling.
func TestSpellingsOfPrefix(t *testing.T) {
	var searches atomic.Int32
	var up *httptest.Server
	up = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/.well-known/") {
			searches.Add(1)
			w.Header().Set("Content-Type", "application/json")
			_, _ = fmt.Fprintf(w, `{"resource":%q}`, up.URL+"/mcp")
			return
		}
		w.WriteHeader(http.StatusUnauthorized) // without a challenge, so that one is added
	}))
	up.Start()
	t.Cleanup(up.Close)
	base := "http://" + testcaddy.Addr(testcaddy.FreePort(t))
	testcaddy.Run(t, fmt.Sprintf("{\n\tauto_https off\n}\n%s {\n\tmcp_auth_bridge metadata\n\thandle_path /tools/* {\n\t\thandle_path /a/* {\n\t\t\tmcp_auth_bridge %s\n\t\t}\n\t}\n}", base, up.URL))
	c := mcptest.NewClient(t)
	want := `Bearer resource_metadata="` + base + `/.well-known/oauth-protected-resource/tools/a/mcp"`
	for _, path := range []string{"/tools/a/mcp", "/Tools/A/mcp", "//tools/a/mcp", "/tools///a/mcp", "/TOOLS//a/mcp/"} {
		r := mcptest.NewRequest(t, "POST", base+path, mcptest.Initialize)
		r.URL.Opaque = path
		if strings.HasPrefix(path, "//") {
			r.URL.Opaque = strings.TrimPrefix(base, "http:") + path
		}
		got := mcptest.Do(t, c, r)
		if got.Status != http.StatusUnauthorized || got.Header.Get("WWW-Authenticate") != want {
			t.Errorf("%s: got %d %v, want %s", path, got.Status, got.Header["Www-Authenticate"], want)
		}
	}
	if n := searches.Load(); n != 1 {
		t.Errorf("the upstream was asked for its metadata %d times, want 1", n)
	}
}

// Rule C1: a prefix that the whole site strips keeps no metadata away, and the
// log does not say so.
func TestStrippedPrefix(t *testing.T) {
	up := mcptest.NewChallenging(t, 401, `Bearer resource_metadata="UP/.well-known/oauth-protected-resource/mcp"`)
	base := "http://" + testcaddy.Addr(testcaddy.FreePort(t))
	testcaddy.Run(t, fmt.Sprintf("{\n\tauto_https off\n}\n%s {\n\turi strip_prefix /pre\n\tmcp_auth_bridge %s\n\tmcp_auth_bridge metadata\n}", base, up.URL))
	c := mcptest.NewClient(t)
	wellKnown := base + "/.well-known/oauth-protected-resource/pre/mcp"
	if got, want := mcptest.Do(t, c, mcptest.NewRequest(t, "POST", base+"/pre/mcp", mcptest.Initialize)).Header.Get("WWW-Authenticate"), `Bearer resource_metadata="`+wellKnown+`"`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if doc := mcptest.Do(t, c, mcptest.NewRequest(t, "GET", wellKnown, "")); doc.Body != fmt.Sprintf(`{"resource":%q}`, base+"/pre/mcp") {
		t.Errorf("got metadata %d %s", doc.Status, doc.Body)
	}
	if testcaddy.Logged("cannot be reached") {
		t.Errorf("warning about metadata that can be reached:\n%s", strings.Join(testcaddy.Logs(), "\n"))
	}
}

// An endpoint at the root of the site owns `/` alone.
func TestRootEndpoint(t *testing.T) {
	up := mcptest.NewChallenging(t, 401, `Bearer resource_metadata="UP/.well-known/oauth-protected-resource"`)
	port := testcaddy.FreePort(t)
	base := "http://" + testcaddy.Addr(port)
	testcaddy.Run(t, fmt.Sprintf("{\n\tauto_https off\n}\n%s {\n\troute {\n\t\tmcp_auth_bridge / %s/mcp\n\t\trespond \"site\" 200\n\t}\n}", base, up.URL))
	c := mcptest.NewClient(t)
	got := mcptest.Do(t, c, mcptest.NewRequest(t, "POST", base+"/", mcptest.Initialize)).Header.Get("WWW-Authenticate")
	if want := `Bearer resource_metadata="` + base + `/.well-known/oauth-protected-resource"`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if doc := mcptest.Do(t, c, mcptest.NewRequest(t, "GET", base+"/.well-known/oauth-protected-resource", "")); doc.Body != fmt.Sprintf(`{"resource":%q}`, base) {
		t.Errorf("got metadata %d %s", doc.Status, doc.Body)
	}
	if other := mcptest.Do(t, c, mcptest.NewRequest(t, "GET", base+"/page", "")); other.Body != "site" {
		t.Errorf("got %d %q of another page", other.Status, other.Body)
	}
}

// Middleware mode inside route: what follows may authenticate and answer; its
// challenge is edited, preflight and metadata come before it.
func TestMiddlewareMode(t *testing.T) {
	auth := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "" {
			return
		}
		w.Header().Set("WWW-Authenticate", `Bearer realm="edge", resource_metadata="http://auth.internal/.well-known/oauth-protected-resource"`)
		w.Header().Set("Access-Control-Allow-Origin", "*")
		w.WriteHeader(http.StatusUnauthorized)
	}))
	t.Cleanup(auth.Close)
	up := mcptest.NewAnswers(t)
	port := testcaddy.FreePort(t)
	base := "http://" + testcaddy.Addr(port)
	testcaddy.Run(t, fmt.Sprintf(`{
	auto_https off
}
%s {
	route {
		mcp_auth_bridge /mcp {
			metadata {
				authorization_servers https://login.example.com
			}
			%s
		}
		forward_auth %s {
			uri /auth
		}
		reverse_proxy %s
	}
}`, base, mcptest.AllowApp, auth.URL, up.URL))
	c := mcptest.NewClient(t)
	got := mcptest.Do(t, c, mcptest.NewRequest(t, "POST", base+"/mcp?answer=200", mcptest.Initialize, "Origin", mcptest.AppOrigin))
	want := `Bearer realm="edge", resource_metadata="` + base + `/.well-known/oauth-protected-resource/mcp?answer=200"`
	if got.Status != 401 || strings.Join(got.Header["Www-Authenticate"], "\n") != want || strings.Join(got.Header["Access-Control-Allow-Origin"], " ") != mcptest.AppOrigin {
		t.Errorf("got %d %v, want challenge %s", got.Status, got.Header, want)
	}
	doc := mcptest.Do(t, c, mcptest.NewRequest(t, "GET", base+"/.well-known/oauth-protected-resource/mcp", ""))
	if want := fmt.Sprintf(`"resource":%q`, base+"/mcp"); !strings.Contains(strings.ReplaceAll(doc.Body, ": ", ":"), want) {
		t.Errorf("got metadata %d %s, want %s", doc.Status, doc.Body, want)
	}
	for _, name := range []string{"200", "sse", "401", "403", "500"} {
		want := mcptest.Do(t, c, mcptest.NewRequest(t, "POST", up.URL+"/mcp?answer="+name, mcptest.Initialize))
		got := mcptest.Do(t, c, mcptest.NewRequest(t, "POST", base+"/mcp?answer="+name, mcptest.Initialize, "Origin", mcptest.AppOrigin, "Authorization", "Bearer x"))
		if got.Status != want.Status || got.Body != want.Body {
			t.Errorf("%s: got %d %q, want %d %q", name, got.Status, got.Body, want.Status, want.Body)
		}
		if lines := got.Header["Access-Control-Allow-Origin"]; len(lines) != 1 || lines[0] != mcptest.AppOrigin {
			t.Errorf("%s: got Access-Control-Allow-Origin %q", name, lines)
		}
	}
	preflight := mcptest.Do(t, c, mcptest.NewRequest(t, "OPTIONS", base+"/mcp", "", "Origin", mcptest.AppOrigin, "Access-Control-Request-Method", "POST"))
	if preflight.Status != http.StatusNoContent {
		t.Errorf("preflight was answered %d", preflight.Status)
	}
}

// Rules A5, A6, C1 to C3: a middleware has the metadata of the server behind it,
// found through the handlers that follow, whether its challenge names it or it has
// none. An answer that does not end holds nobody up.
func TestMiddlewareMetadata(t *testing.T) {
	const wellKnown = "/.well-known/oauth-protected-resource/mcp"
	for name, tc := range map[string]struct {
		challenge string // UP is the server's own origin
		at        string // of its metadata
		status    int    // of the metadata that clients get
	}{
		"as the specification has it": {`Bearer resource_metadata="UP` + wellKnown + `"`, wellKnown, 200},
		"only its challenge names it": {`Bearer resource_metadata="UP/meta"`, "/meta", 200},
		"no challenge":                {"", wellKnown, 200},
		"no metadata":                 {"", "", 404},
	} {
		t.Run(name, func(t *testing.T) {
			var up *httptest.Server
			up = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				switch {
				case tc.at != "" && r.URL.Path == tc.at:
					w.Header().Set("Content-Type", "application/json")
					_, _ = fmt.Fprintf(w, `{"resource":%q}`, up.URL+"/mcp")
				case r.URL.Path == "/mcp" && r.Header.Get("Authorization") == "":
					if tc.challenge != "" {
						w.Header().Set("WWW-Authenticate", strings.ReplaceAll(tc.challenge, "UP", up.URL))
					}
					w.WriteHeader(http.StatusUnauthorized)
					_ = http.NewResponseController(w).Flush()
					if strings.Contains(r.Header.Get("User-Agent"), "Go-http-client") {
						return // the test itself
					}
					<-r.Context().Done()
				default:
					http.NotFound(w, r)
				}
			}))
			up.Start()
			t.Cleanup(up.Close)
			base := "http://" + testcaddy.Addr(testcaddy.FreePort(t))
			testcaddy.Run(t, fmt.Sprintf("{\n\tauto_https off\n}\n%s {\n\troute {\n\t\tmcp_auth_bridge {\n\t\t\tchallenge {\n\t\t\t\torigins %[2]s\n\t\t\t}\n\t\t}\n\t\treverse_proxy %[2]s\n\t}\n}", base, up.URL))
			c := mcptest.NewClient(t)
			doc := mcptest.Do(t, c, mcptest.NewRequest(t, "GET", base+wellKnown, ""))
			if doc.Status != tc.status || doc.Status == 200 && doc.Body != fmt.Sprintf(`{"resource":%q}`, base+"/mcp") {
				t.Errorf("got metadata %d %s", doc.Status, doc.Body)
			}
			want := ""
			if tc.at != "" {
				want = `Bearer resource_metadata="` + base + wellKnown + `"`
			}
			got := mcptest.Do(t, c, mcptest.NewRequest(t, "POST", base+"/mcp", mcptest.Initialize))
			if got.Status != http.StatusUnauthorized || got.Header.Get("WWW-Authenticate") != want {
				t.Errorf("got %d %v, want %s", got.Status, got.Header["Www-Authenticate"], want)
			}
		})
	}
}

// Rule A6: in mode replace the 401 of a handler that follows is 502, also where it
// is an error that the site's error routes answer.
func TestMiddlewareReplaces(t *testing.T) {
	base := "http://" + testcaddy.Addr(testcaddy.FreePort(t))
	for name, follows := range map[string]string{
		"an answer": "header WWW-Authenticate Bearer\n\t\trespond \"secret\" 401",
		"an error":  "header WWW-Authenticate Bearer\n\t\terror 401",
	} {
		t.Run(name, func(t *testing.T) {
			testcaddy.Run(t, fmt.Sprintf("{\n\tauto_https off\n}\n%s {\n\troute {\n\t\tmcp_auth_bridge {\n\t\t\tchallenge replace\n\t\t}\n\t\t%s\n\t}\n\thandle_errors {\n\t\trespond \"error {err.status_code}\"\n\t}\n}", base, follows))
			got := mcptest.Do(t, mcptest.NewClient(t), mcptest.NewRequest(t, "POST", base+"/mcp", mcptest.Initialize))
			want := ""
			if name == "an error" {
				want = "error 502"
			}
			if got.Status != http.StatusBadGateway || got.Body != want || got.Header.Get("WWW-Authenticate") != "" {
				t.Errorf("got %d %q %v, want 502 %q without a challenge", got.Status, got.Body, got.Header, want)
			}
		})
	}
}

// Configurations that adapt and cannot work are refused at load, by one line
// that names the option.
func TestRefusedAtLoad(t *testing.T) {
	for _, tc := range []struct{ name, options, want string }{
		{"wildcard beside an origin", "cors {\n allow_origins * https://a.example.com\n}", "allow_origins"},
		{"origin with a path", "cors {\n allow_origins https://a.example.com/app\n}", "allow_origins"},
		{"every subdomain of a public suffix", "cors {\n allow_origins https://*.com\n}", "allow_origins"},
		{"header that no page may send", "cors {\n allow_headers Cookie\n}", "allow_headers"},
		{"header that no page may read", "cors {\n expose_headers Set-Cookie\n}", "expose_headers"},
		{"host with a path", "hosts example.com/mcp", "hosts"},
		{"authorization server without scheme", "metadata {\n authorization_servers login.example.com\n}", "authorization_servers"},
		{"origin of a challenge with a path", "challenge {\n origins http://a/mcp\n}", "origins"},
		{"paths of the authorization server that are the endpoint", "authorization_server bridge {\n paths /mcp/\n}", "authorization_server paths"},
		{"paths of the authorization server that are metadata", "authorization_server bridge {\n paths /.well-known/openid-configuration\n}", "authorization_server paths"},
		{"authorization server and no metadata", "authorization_server bridge\nmetadata off", "authorization_server bridge"},
		{"trusted proxies", "trusted_proxies nonsense", "trusted_proxies"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			port := testcaddy.FreePort(t)
			in := testcaddy.Run(t, fmt.Sprintf("{\n\tauto_https off\n}\nhttp://127.0.0.1:%d {\n}", port))
			err := in.TryLoad(mcptest.BridgeTo(port, "localhost:1", tc.options))
			if err == nil {
				t.Fatal("the configuration was accepted")
			}
			if !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %q does not name %q", err, tc.want)
			}
			t.Log(err)
		})
	}
	for name, tc := range map[string]struct{ block, want string }{
		"a process as nobody knows": {"stdio cat {\n user no-such-user\n}", "stdio user: there is no user"},
		"a process without a name":  {`stdio ""`, "stdio: missing program"},
		"a variable without a name": {"stdio cat {\n env =x\n}", "stdio env"},
		"sessions of an upstream":   {"to localhost:1\nsessions {\n max 1\n}", "sessions: is for stdio"},
		"an old client's endpoint":  {"to localhost:1\nlegacy_sse /mcp", `legacy_sse: "/mcp" is the endpoint itself`},
		"old paths that are one":    {"to localhost:1\nlegacy_sse /a /a", `legacy_sse: "/a" is both`},
		"old messages of a server":  {"to sse+http://localhost:1\nlegacy_sse /a /b", `legacy_sse: "/b": in front of an HTTP+SSE server`},
		"old clients of nobody":     {"legacy_sse\n}\nrespond 401\nroute {", "legacy_sse: needs an upstream"},
		"old paths of two":          {"to localhost:1\nlegacy_sse /a\n}\nmcp_auth_bridge /other localhost:2 {\nlegacy_sse /a", `legacy_sse: "/a" belongs to two endpoints`},
	} {
		t.Run(name, func(t *testing.T) {
			port := testcaddy.FreePort(t)
			in := testcaddy.Run(t, fmt.Sprintf("{\n\tauto_https off\n}\nhttp://127.0.0.1:%d {\n}", port))
			err := in.TryLoad(fmt.Sprintf("{\n\tauto_https off\n}\nhttp://127.0.0.1:%d {\n\tbind 127.0.0.1\n\tmcp_auth_bridge {\n%s\n}\n}", port, tc.block))
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got error %v", err)
			}
		})
	}
	t.Run("authorization server without an upstream", func(t *testing.T) {
		port := testcaddy.FreePort(t)
		in := testcaddy.Run(t, fmt.Sprintf("{\n\tauto_https off\n}\nhttp://127.0.0.1:%d {\n}", port))
		err := in.TryLoad(fmt.Sprintf("{\n\tauto_https off\n}\nhttp://127.0.0.1:%d {\n\troute {\n\t\tmcp_auth_bridge /mcp {\n\t\t\tauthorization_server bridge\n\t\t}\n\t\trespond 401\n\t}\n}", port))
		if err == nil || !strings.Contains(err.Error(), "authorization_server bridge: needs an upstream") {
			t.Errorf("got error %v", err)
		}
	})
	t.Run("no upstream and nothing behind", func(t *testing.T) {
		port := testcaddy.FreePort(t)
		in := testcaddy.Run(t, fmt.Sprintf("{\n\tauto_https off\n}\nhttp://127.0.0.1:%d {\n}", port))
		err := in.TryLoad(fmt.Sprintf("{\n\tauto_https off\n}\nhttp://127.0.0.1:%d {\n\tmcp_auth_bridge /mcp\n}", port))
		if err == nil || !strings.Contains(err.Error(), "no upstream") {
			t.Errorf("got error %v", err)
		}
	})
}
