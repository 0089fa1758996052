package auth_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/mcptest"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/testcaddy"
)

// Rule C5: a client that says where it wants to be redirected opens no path, in
// whatever way it says so; the redirect itself still goes to the public origin.
func TestClientsOpenNoPaths(t *testing.T) {
	for name, tc := range map[string]struct{ path, location, query, form, referer, cookie string }{
		"a path to go on at":         {location: "/admin", query: "next=/admin"},
		"escaped":                    {location: "/admin", query: "next=%2Fadmin"},
		"escaped twice":              {location: "/admin", query: "next=%252Fadmin"},
		"a URL":                      {location: "SERVER/admin", query: "ReturnUrl=PUBLIC%2Fadmin%3Fx"},
		"in a form":                  {path: "/consent", location: "SERVER/admin", form: "a=b&next=%2Fadmin"},
		"in the referer":             {location: "/admin", referer: "PUBLIC/admin"},
		"relative":                   {location: "SERVER/admin", query: "next=admin"},
		"relative, with dots":        {location: "/admin", query: "next=x%2F..%2Fadmin"},
		"relative, with a query":     {path: "/consent", location: "/admin?x", form: "next=admin%3Fx"},
		"in its own cookie":          {location: "/admin", cookie: "a=b; mcp_as.next=%2Fadmin"},
		"in a listed path":           {path: "/go/admin", location: "/admin"},
		"a prompt of its own":        {location: "/admin", query: "prompt=admin"},
		"a redirect URI":             {location: "SERVER/admin", query: "redirect_uri=SERVER%2Fadmin"},
		"in another case":            {location: "SERVER/admin?x", query: "redirect_uri=http%3A%2F%2FLOCALHOST%2Fadmin"},
		"after a logout":             {path: "/logout", location: "SERVER/admin", query: "post_logout_redirect_uri=SERVER%2Fadmin"},
		"an answer in the fragment":  {location: "SERVER/admin#error=login_required", query: "request_uri=urn:1"},
		"a token in the fragment":    {location: "SERVER/admin#access_token=x", query: "request_uri=urn:1"},
		"from an endpoint for forms": {path: "/token", location: "SERVER/admin"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newCohosted(t)
			base := startBridged(t, s, bridged+" {\n\t\t\tpaths /consent /logout /go/*\n\t\t}")
			fill := strings.NewReplacer("SERVER", s.URL, "PUBLIC", base)
			path := tc.path
			if path == "" {
				path = "/authorize"
			}
			s.redirects(path, fill.Replace(tc.location))
			c := mcptest.NewClient(t)
			method := "GET"
			if tc.form != "" {
				method = "POST"
			}
			r := mcptest.NewRequest(t, method, base+path+"?"+fill.Replace(tc.query), tc.form)
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			if tc.referer != "" {
				r.Header.Set("Referer", fill.Replace(tc.referer))
			}
			if tc.cookie != "" {
				r.Header.Set("Cookie", tc.cookie)
			}
			if got := mcptest.Do(t, c, r); got.Status != 302 {
				t.Errorf("got %d %s", got.Status, got.Body)
			}
			mcptest.Do(t, c, mcptest.NewRequest(t, "GET", base+"/admin", ""))
			if _, reached := s.last("/admin"); reached {
				t.Error("a private path is served")
			}
		})
	}
	t.Run("only what is listed", func(t *testing.T) {
		s := newCohosted(t)
		base := startBridged(t, s, bridged+" {\n\t\t\tonly_listed\n\t\t}")
		s.redirects("/authorize", "/consent")
		c := mcptest.NewClient(t)
		mcptest.Do(t, c, mcptest.NewRequest(t, "GET", base+"/authorize", ""))
		mcptest.Do(t, c, mcptest.NewRequest(t, "GET", base+"/consent", ""))
		if _, reached := s.last("/consent"); reached {
			t.Error("a path that is not listed is served")
		}
	})
}

// Rule C5: what clients say as a matter of course does not keep the pages of a
// login closed.
func TestOrdinaryRequestsOpenPages(t *testing.T) {
	for _, query := range []string{"prompt=consent&scope=a+consent.read", "client_id=consent-app&state=consents"} {
		s := newCohosted(t)
		base := startBridged(t, s, bridged)
		s.redirects("/authorize", s.URL+"/consent?txn=1")
		c := mcptest.NewClient(t)
		mcptest.Do(t, c, mcptest.NewRequest(t, "GET", base+"/authorize?"+query, "", "Cookie", "mcp_as.sid=consent1", "Referer", "https://client.example/"))
		mcptest.Do(t, c, mcptest.NewRequest(t, "GET", base+"/consent?txn=1", ""))
		if _, reached := s.last("/consent"); !reached {
			t.Errorf("%s: the page is not served", query)
		}
	}
}

// Rule C5: what one client makes the server answer does not change the name of
// the resource for others.
func TestClientsChangeNoAudience(t *testing.T) {
	for name, tc := range map[string]struct{ first, second, redirect string }{
		"its own URI looks like a refusal": {"http://127.0.0.1:1/cb?error=invalid_target&code=1", "", "http://127.0.0.1:1/cb?error=invalid_target"},
		"so does an error":                 {"http://127.0.0.1:1/cb?error=invalid_target", "", "http://127.0.0.1:1/cb?error=invalid_target"},
		"a limit is reached":               {"http://127.0.0.1:1/cb?error=invalid_target", "429", ""},
		"another error follows":            {"http://127.0.0.1:1/cb?error=invalid_target", "http://127.0.0.1:1/cb?error=access_denied", ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := newCohosted(t)
			asked := 0
			s.handlers["/authorize"] = func(w http.ResponseWriter, _ *http.Request) {
				asked++
				to := tc.first
				if asked > 1 {
					to = tc.second
				}
				if to == "429" {
					w.WriteHeader(http.StatusTooManyRequests)
					return
				}
				w.Header().Set("Location", to)
				w.WriteHeader(http.StatusFound)
			}
			base := startBridged(t, s, bridged)
			c := mcptest.NewClient(t)
			resource := "resource=" + url.QueryEscape(base+"/mcp")
			mcptest.Do(t, c, mcptest.NewRequest(t, "GET", base+"/authorize?"+resource+"&redirect_uri="+url.QueryEscape(tc.redirect), ""))
			if tc.second == "" && asked != 1 {
				t.Errorf("asked %d times", asked)
			}
			form := mcptest.NewRequest(t, "POST", base+"/token", resource)
			form.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			mcptest.Do(t, c, form)
			if got, _ := s.last("/token"); got.body != "resource="+url.QueryEscape(s.URL+"/mcp") {
				t.Errorf("the resource of another client is sent as %s", got.body)
			}
		})
	}
}

// Rule G: a form costs the upstream no more requests for naming a resource often,
// and a path with a made-up name none at all.
func TestServerAmplifiesNothing(t *testing.T) {
	s := newCohosted(t)
	port := testcaddy.FreePort(t)
	testcaddy.Run(t, fmt.Sprintf("{\n\tauto_https off\n}\nhttp://:%d {\n\tbind 127.0.0.1\n\tmcp_auth_bridge %s {\n\t\t%s\n\t}\n}", port, s.URL, bridged))
	base := "http://" + testcaddy.Addr(port)
	c := mcptest.NewClient(t)
	cost := func(n int) int {
		before := len(s.all())
		r := mcptest.NewRequest(t, "POST", base+"/token", strings.Repeat("resource="+url.QueryEscape(base+"/mcp")+"&", n))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		mcptest.Do(t, c, r)
		return len(s.all()) - before
	}
	cost(1)
	if one, many := cost(1), cost(300); many > one {
		t.Errorf("naming the resource once costs %d requests, 300 times %d", one, many)
	}
}

// Rule C5: introspection is private under every name, and the MCP path in every
// spelling; a link to the whole site is no page of a login.
func TestServerKeepsPrivate(t *testing.T) {
	s := newCohosted(t)
	s.handlers["/.well-known/oauth-authorization-server"] = func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprintf(w, `{"issuer":"%s","token_introspection_endpoint":"%[1]s/peek","service_documentation":"%[1]s/","token_endpoint":"%[1]s/token"}`, s.URL)
	}
	base := startBridged(t, s, bridged+" {\n\t\t\tpaths /*\n\t\t}")
	c := mcptest.NewClient(t)
	for _, path := range []string{"/MCP", "/Mcp/", "/", "/mcp;x", "/mcp%20", "/mcp."} {
		mcptest.Do(t, c, mcptest.NewRequest(t, "POST", base+path, mcptest.Initialize, "Origin", "https://evil.example"))
	}
	for _, seen := range s.all() {
		ping := seen.path == "/mcp" && seen.method == "POST" && seen.header.Get("Origin") == "" // of the bridge's own search
		if len(seen.path) < 10 && strings.HasPrefix(strings.ToLower(seen.path), "/mcp") && !ping || seen.path == "/" {
			t.Errorf("%s %s reached the server", seen.method, seen.path)
		}
	}
	base = startBridged(t, s, bridged)
	for _, path := range []string{"/peek", "/"} {
		mcptest.Do(t, c, mcptest.NewRequest(t, "POST", base+path, ""))
		if _, reached := s.last(path); reached {
			t.Errorf("%s reached the server", path)
		}
	}
}

// Rules C1, C4, C5, G: whatever the server has for metadata, clients get a clear
// answer in time and within bounded memory, nobody else is asked, and the metadata
// of the protected resource is served on.
func TestHostileServerDocuments(t *testing.T) {
	var trapped atomic.Bool
	trap := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { trapped.Store(true) }))
	t.Cleanup(trap.Close)
	bomb() // before the time of a search counts
	for name, tc := range hostileDocuments {
		t.Run(name, func(t *testing.T) {
			s := newCohosted(t)
			for _, path := range []string{
				"/.well-known/oauth-authorization-server", "/.well-known/openid-configuration",
				"/.well-known/oauth-authorization-server/mcp", "/mcp/.well-known/openid-configuration",
			} {
				s.handlers[path] = func(w http.ResponseWriter, r *http.Request) { tc.serve(w, r, trap.URL) }
			}
			base := startBridged(t, s, bridged+"\nlimits {\n metadata_timeout 500ms\n}")
			c := mcptest.NewClient(t)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			got := mcptest.Do(t, c, mcptest.NewRequest(t, "GET", base+"/.well-known/oauth-authorization-server", ""))
			runtime.ReadMemStats(&after)
			if got.Status != tc.want || got.Header.Get("Content-Type") != "application/json" || got.Header.Get("Access-Control-Allow-Origin") != "*" {
				t.Errorf("got %d %s, header %v", got.Status, got.Body, got.Header)
			}
			if grown := after.TotalAlloc - before.TotalAlloc; grown > 32<<20 {
				t.Errorf("%d bytes were allocated for it", grown)
			}
			want := http.StatusServiceUnavailable // what it serves is not known
			if name == "a page" {
				want = http.StatusOK // it has no metadata, so the default endpoints
			}
			if got := mcptest.Do(t, c, mcptest.NewRequest(t, "POST", base+"/token", "{}")); got.Status != want {
				t.Errorf("the token endpoint answered %d, want %d", got.Status, want)
			}
			if got := mcptest.Do(t, c, mcptest.NewRequest(t, "GET", base+"/.well-known/oauth-protected-resource/mcp", "")); got.Status != 200 || !strings.Contains(got.Body, base+"/mcp") {
				t.Errorf("the resource's metadata: got %d %s", got.Status, got.Body)
			}
		})
	}
	if trapped.Load() {
		t.Error("a server that only the upstream named was asked")
	}
}
