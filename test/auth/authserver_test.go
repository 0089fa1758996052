package auth_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/mcptest"
)

// Rule C5: only the server's paths reach it: those that its documents name,
// those that it redirects to, and the operator's. Tricks with a path do not.
func TestServerRoutes(t *testing.T) {
	s := newCohosted(t)
	s.redirects("/authorize", s.URL+"/consent?txn=1")
	base := startBridged(t, s, bridged+" {\n\t\t\tpaths /static/*\n\t\t}")
	c := mcptest.NewClient(t)
	reaches := func(target string) bool {
		t.Helper()
		u, err := url.Parse(base)
		if err != nil {
			t.Fatal(err)
		}
		before := len(s.all())
		r := mcptest.NewRequest(t, "GET", base, "")
		u.Opaque = target // as it is, not cleaned by the client
		r.URL = &url.URL{Scheme: "http", Host: u.Host, Opaque: target}
		mcptest.Do(t, c, r)
		for _, seen := range s.all()[before:] {
			search := seen.method == "POST" && seen.path == "/mcp" // for the challenge
			if !search && !strings.Contains(seen.path, "/.well-known/") {
				t.Logf("%s reached the server as %s %s", target, seen.method, seen.path)
				return true
			}
		}
		return false
	}
	for target, want := range map[string]bool{
		"/token": true, "/jwks": true, "/static/app.js": true, "/static/a/b.css": true, "/register/abc": true,
		"/introspect": false, "/admin": false, "/consent": false, "/": false, "/private": false, "/userinfo": false,
		"/TOKEN": false, "/token/": false, "//token": false, "/x/../token": false, "/%2e/token": false, "/.//token": false,
		"/static/../admin": false, "/static/%2e%2e/admin": false, "/static/..%2fadmin": false, "/static/%2E%2E%2Fadmin": false,
		"/static/..\\admin": false, "/static/%5c..%5cadmin": false, "/static/a//b": false, "/static/a%00b": false, "/static/": false,
		"/token%00": false, "/token%2f": false, "/token;x": false, "/register/a/b": false,
		"/mcp/../admin": false, "/.well-known/oauth-authorization-server/../../admin": false,
	} {
		if got := reaches(target); got != want {
			t.Errorf("%s: reached the server: %t, want %t", target, got, want)
		}
	}
	if got := mcptest.Do(t, c, mcptest.NewRequest(t, "GET", base+"/authorize?client_id=x", "")); got.Header.Get("Location") != base+"/consent?txn=1" || got.Body != "" {
		t.Errorf("got Location %q and body %q", got.Header.Get("Location"), got.Body)
	}
	if !reaches("/consent?txn=1") {
		t.Error("the page that the server redirects to cannot be reached")
	}
	if reaches("/admin") {
		t.Error("another page can be reached now")
	}
	// A login may outlast a reload.
	if r, ok := s.last("/consent"); !ok || r.query != "txn=1" {
		t.Errorf("the page was asked for as %+v", r)
	}
}

// Rules A10, C5: of several Location or Content-Location lines the first is
// mapped, and no other, which may name the private origin, arrives.
func TestSecondLocation(t *testing.T) {
	s := newCohosted(t)
	base := startBridged(t, s, bridged)
	c := mcptest.NewClient(t)
	for _, first := range []string{s.URL + "/jwks", "/jwks", "https://x.example/", "https://x.example/?code=1"} {
		several := func(w http.ResponseWriter, _ *http.Request) {
			for _, name := range []string{"Location", "Content-Location"} {
				w.Header()[name] = []string{first, s.URL + "/admin"}
			}
			w.WriteHeader(http.StatusFound)
		}
		s.handlers["/authorize"], s.handlers["/mcp"] = several, several
		want := strings.Replace(first, s.URL, base, 1)
		for _, path := range []string{"/authorize", "/mcp"} {
			got := mcptest.Do(t, c, mcptest.NewRequest(t, "GET", base+path, "")).Header
			if path == "/mcp" && first == "/jwks" {
				want = base + first
			}
			if len(got["Location"]) != 1 || got["Location"][0] != want || len(got["Content-Location"]) != 1 || got["Content-Location"][0] != want {
				t.Errorf("%s: got %q and %q, want %s once", path, got["Location"], got["Content-Location"], want)
			}
		}
	}
}

// Rule C5: a redirect to the server's own origin becomes one to the public
// origin; one to a client goes where the client wants, with the public issuer,
// even if the client's address looks like the server's; foreign ones stay.
func TestServerRedirects(t *testing.T) {
	for name, tc := range map[string]struct {
		location, want string // SERVER is its private origin, PUBLIC the public one
		request        string // query
		learns         string
	}{
		"own":                      {location: "SERVER/admin?a=%2f&b", want: "PUBLIC/admin?a=%2f&b", learns: "/admin"},
		"own, relative":            {location: "/admin?x#y", want: "/admin?x#y", learns: "/admin"},
		"own, in the folder":       {location: "admin", want: "admin", learns: "/admin"},
		"own, without a scheme":    {location: "//HOST/admin", want: "PUBLIC/admin", learns: "/admin"},
		"own root":                 {location: "SERVER", want: "PUBLIC"},
		"own, an error of a login": {location: "SERVER/token?error=wrong+password", want: "PUBLIC/token?error=wrong+password"},
		"own, the MCP server":      {location: "SERVER/mcp?a=b", want: "PUBLIC/mcp?a=b"},
		"own, introspection":       {location: "SERVER/introspect", want: "PUBLIC/introspect"},
		"own, dots":                {location: "SERVER/x/%2e%2e/admin", want: "PUBLIC/x/%2e%2e/admin"},
		"to a client":              {location: "http://127.0.0.1:1/cb?code=a%20b&state=x&iss=ISS", want: "http://127.0.0.1:1/cb?code=a%20b&state=x&iss=PISS"},
		"to an app":                {location: "app.example:/cb?iss=ISS&code=1", want: "app.example:/cb?iss=PISS&code=1"},
		"an error to a client":     {location: "https://client.example/?error=access_denied&iss=ISS#f", want: "https://client.example/?error=access_denied&iss=PISS#f"},
		"another issuer":           {location: "https://client.example/?code=1&iss=https%3A%2F%2Flogin.example.com", want: "https://client.example/?code=1&iss=https%3A%2F%2Flogin.example.com"},
		"no issuer":                {location: "https://client.example/?code=1", want: "https://client.example/?code=1"},
		"a client at the server's address": {
			location: "SERVER/admin?code=1&iss=ISS", want: "SERVER/admin?code=1&iss=PISS",
		},
		"a client at the server's address, error": {
			location: "SERVER/admin?error=access_denied&state=1", want: "SERVER/admin?error=access_denied&state=1",
		},
		"a client at the server's address, asked for": {
			location: "SERVER/admin?x=1", want: "SERVER/admin?x=1", request: "redirect_uri=" + url.QueryEscape("SERVER/admin"),
		},
		"foreign with our name in the query": {
			location: "https://evil.example/?next=PUBLIC/admin&iss=ISS", want: "https://evil.example/?next=PUBLIC/admin&iss=ISS",
		},
		"foreign with the server's name in it": {
			location: "https://evil.example/SERVER/admin", want: "https://evil.example/SERVER/admin",
		},
		"userinfo":          {location: "http://HOST@evil.example/admin", want: "http://HOST@evil.example/admin"},
		"own with userinfo": {location: "http://a@HOST/admin", want: "http://a@HOST/admin"},
		"another port":      {location: "http://127.0.0.1:1/admin", want: "http://127.0.0.1:1/admin"},
		"another loopback":  {location: "http://localhost:1/admin", want: "http://localhost:1/admin"},
		"a backslash":       {location: `/\evil.example/admin`, want: `/\evil.example/admin`},
		"to an identity provider": {
			location: "https://login.example.com/authorize?redirect_uri=PUBLIC%2Fcallback&iss=ISS", want: "https://login.example.com/authorize?redirect_uri=PUBLIC%2Fcallback&iss=ISS",
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newCohosted(t)
			base := startBridged(t, s, bridged)
			fill := strings.NewReplacer("PISS", url.QueryEscape(base+"/"), "ISS", url.QueryEscape(s.URL+"/"), "SERVER", s.URL,
				"PUBLIC", base, "HOST", strings.TrimPrefix(s.URL, "http://"))
			s.redirects("/authorize", fill.Replace(tc.location))
			c := mcptest.NewClient(t)
			request := strings.ReplaceAll(tc.request, url.QueryEscape("SERVER"), url.QueryEscape(s.URL))
			request = strings.ReplaceAll(request, "SERVER", url.QueryEscape(s.URL))
			got := mcptest.Do(t, c, mcptest.NewRequest(t, "GET", base+"/authorize?"+request, ""))
			if got.Status != 302 || got.Header.Get("Location") != fill.Replace(tc.want) {
				t.Errorf("got %d to\n%s\nwant\n%s", got.Status, got.Header.Get("Location"), fill.Replace(tc.want))
			}
			mcptest.Do(t, c, mcptest.NewRequest(t, "GET", base+"/admin", ""))
			if _, reached := s.last("/admin"); reached != (tc.learns == "/admin") {
				t.Errorf("/admin is served: %t", reached)
			}
			mcptest.Do(t, c, mcptest.NewRequest(t, "GET", base+"/introspect", ""))
			if _, reached := s.last("/introspect"); reached {
				t.Error("introspection is served")
			}
		})
	}
}

// Rule C5: the server gets the cookies that it set and no others, and sets them
// for the public host alone.
func TestServerCookies(t *testing.T) {
	s := newCohosted(t)
	s.redirects("/authorize", "/consent", "sid=1; Domain=localhost; Path=/; HttpOnly", "__Host-csrf=2; Secure; Path=/", "wide=3; domain=example.com")
	base := startBridged(t, s, bridged)
	c := mcptest.NewClient(t)
	got := mcptest.Do(t, c, mcptest.NewRequest(t, "GET", base+"/authorize", "", "Cookie", "sid=forged; other=secret"))
	if r, _ := s.last("/authorize"); len(r.header["Cookie"]) != 0 {
		t.Errorf("cookies of others reached the server: %q", r.header["Cookie"])
	}
	var send []string
	for _, line := range got.Header["Set-Cookie"] {
		if strings.Contains(strings.ToLower(line), "domain") {
			t.Errorf("%q has a domain", line)
		}
		pair, _, _ := strings.Cut(line, ";")
		send = append(send, pair)
	}
	if len(send) != 3 || !strings.HasPrefix(send[1], "__Host-") {
		t.Errorf("got %q", got.Header["Set-Cookie"])
	}
	mcptest.Do(t, c, mcptest.NewRequest(t, "GET", base+"/consent", "", "Cookie", "other=secret; "+strings.Join(send, "; ")))
	if r, _ := s.last("/consent"); strings.Join(r.header["Cookie"], "|") != "sid=1; __Host-csrf=2; wide=3" {
		t.Errorf("got cookies %q", r.header["Cookie"])
	}
	// Endpoints for clients and the MCP endpoint: what they carry is not the
	// authorization server's business, or not ours.
	mcptest.Do(t, c, mcptest.NewRequest(t, "POST", base+"/token", "{}", "Cookie", "other=secret"))
	if r, _ := s.last("/token"); len(r.header["Cookie"]) != 0 {
		t.Errorf("cookies of others reached the token endpoint: %q", r.header["Cookie"])
	}
}
