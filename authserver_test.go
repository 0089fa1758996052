package mcpauthbridge_test

import (
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/testcaddy"
)

// cohosted is an MCP server with its own authorization server on one private
// origin. It remembers what reaches it.
type cohosted struct {
	*httptest.Server
	issuer   string // of the document; empty: there is none
	handlers map[string]http.HandlerFunc

	mu   sync.Mutex
	seen []reached
}

// reached is one request that arrived.
type reached struct {
	method, path, query, body string
	header                    http.Header
	host                      string
}

func newCohosted(t *testing.T) *cohosted {
	t.Helper()
	s := &cohosted{handlers: make(map[string]http.HandlerFunc)}
	s.Server = httptest.NewServer(http.HandlerFunc(s.serve))
	t.Cleanup(s.Close)
	s.issuer = s.URL + "/"
	return s
}

func (s *cohosted) serve(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	s.mu.Lock()
	s.seen = append(s.seen, reached{r.Method, r.URL.EscapedPath(), r.URL.RawQuery, string(body), r.Header, r.Host})
	s.mu.Unlock()
	if handler := s.handlers[r.URL.Path]; handler != nil {
		handler(w, r)
		return
	}
	document := ""
	switch r.URL.Path {
	case "/.well-known/oauth-protected-resource/mcp":
		document = fmt.Sprintf(`{"resource":"%s/mcp","authorization_servers":[%q,"https://login.example.com"]}`, s.URL, s.issuer)
	case "/.well-known/oauth-authorization-server":
		if s.issuer != "" {
			document = s.document()
		}
	case "/mcp":
		w.Header().Set("WWW-Authenticate", `Bearer resource_metadata="`+s.URL+`/.well-known/oauth-protected-resource/mcp"`)
		w.WriteHeader(http.StatusUnauthorized)
		return
	case "/token", "/register", "/revoke", "/jwks", "/introspect", "/authorize", "/consent", "/admin", "/par":
		w.Header().Set("Access-Control-Allow-Origin", "https://wrong.example")
		document = `{"path":"` + r.URL.Path + `"}`
	}
	if document == "" {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(w, document)
}

func (s *cohosted) document() string {
	return fmt.Sprintf(`{
  "issuer": %q,
  "authorization_endpoint": "%[2]s/authorize?policy=a",
  "token_endpoint": "%[2]s/token",
  "registration_endpoint": "%[2]s/register",
  "revocation_endpoint": "%[2]s/revoke",
  "introspection_endpoint": "%[2]s/introspect",
  "pushed_authorization_request_endpoint": "%[2]s/par",
  "jwks_uri": "%[2]s/jwks",
  "userinfo_endpoint": "https://login.example.com/userinfo",
  "token_endpoint_auth_methods_supported": ["none", "private_key_jwt"],
  "dpop_signing_alg_values_supported": ["ES256"],
  "x_kept": "%[2]s/kept"
}
`, s.issuer, s.URL)
}

// last returns the last request for a path.
func (s *cohosted) last(path string) (reached, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range slices.Backward(s.seen) {
		if r.path == path {
			return r, true
		}
	}
	return reached{}, false
}

func (s *cohosted) count(path string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, r := range s.seen {
		if r.path == path {
			n++
		}
	}
	return n
}

// on has a path answered by a redirect.
func (s *cohosted) redirects(path, location string, cookies ...string) {
	s.handlers[path] = func(w http.ResponseWriter, _ *http.Request) {
		for _, c := range cookies {
			w.Header().Add("Set-Cookie", c)
		}
		w.Header().Set("Location", location)
		w.WriteHeader(http.StatusFound)
		_, _ = fmt.Fprintf(w, "Found: %s", location)
	}
}

const bridged = "authorization_server bridge"

// startBridged runs Caddy before a server and returns the public origin.
func startBridged(t *testing.T, s *cohosted, options string) string {
	t.Helper()
	port := testcaddy.FreePort(t)
	testcaddy.Run(t, bridgeTo(port, s.URL, allowApp+"\n"+options))
	return "http://" + testcaddy.Addr(port)
}

// Rule C5: the document of the server has its public URLs, and is found by the
// entry that the protected resource's metadata has for it; what is elsewhere
// stays, what cannot cross is gone.
func TestServerDocuments(t *testing.T) {
	s := newCohosted(t)
	base := startBridged(t, s, bridged)
	c := newClient(t)
	prm := do(t, c, newRequest(t, "GET", base+"/.well-known/oauth-protected-resource/mcp", ""))
	var resource struct {
		Resource             string
		AuthorizationServers []string `json:"authorization_servers"`
	}
	if err := json.Unmarshal([]byte(prm.body), &resource); err != nil {
		t.Fatalf("%v in %s", err, prm.body)
	}
	if want := []string{base + "/", "https://login.example.com"}; !slices.Equal(resource.AuthorizationServers, want) || resource.Resource != base+"/mcp" {
		t.Errorf("got %+v, want %q", resource, want)
	}
	want := strings.NewReplacer(
		`"`+s.URL+`/kept"`, `"`+s.URL+`/kept"`,
		s.URL, base,
		`["none", "private_key_jwt"]`, `["none"]`,
		"  \"dpop_signing_alg_values_supported\": [\"ES256\"],\n", "",
	).Replace(s.document())
	for _, method := range []string{"GET", "HEAD"} {
		got := do(t, c, newRequest(t, method, base+"/.well-known/oauth-authorization-server", "", "Origin", "https://anywhere.example"))
		if method == "GET" && got.body != want {
			t.Errorf("got\n%s\nwant\n%s", got.body, want)
		}
		if got.status != 200 || got.header.Get("Access-Control-Allow-Origin") != "*" || got.header.Get("Content-Type") != "application/json" ||
			!strings.HasPrefix(got.header.Get("Cache-Control"), "max-age=") || !strings.Contains(strings.Join(got.header["Vary"], ","), "Origin") {
			t.Errorf("%s: got %d, header %v", method, got.status, got.header)
		}
	}
	for path, status := range map[string]int{
		"/.well-known/openid-configuration":                404,
		"/.well-known/oauth-authorization-server/":         200,
		"/.well-known/oauth-authorization-server/mcp":      404,
		"/.well-known/oauth-authorization-server/x":        404,
		"/x/.well-known/openid-configuration":              404,
		"/.well-known/oauth-authorization-server%2f..%2fx": 404,
	} {
		got := do(t, c, newRequest(t, "GET", base+path, ""))
		if got.status != status && !(strings.Contains(path, "%") && got.body == "") {
			t.Errorf("%s: got %d %s, want %d", path, got.status, got.body, status)
		}
	}
	if got := do(t, c, newRequest(t, "POST", base+"/.well-known/oauth-authorization-server", "{}")); got.status != 405 || got.header.Get("Allow") != "GET, HEAD" {
		t.Errorf("POST: got %d, header %v", got.status, got.header)
	}
	if n := s.count("/.well-known/oauth-authorization-server"); n != 1 {
		t.Errorf("the server was asked %d times for its document", n)
	}
}

// Rules B5, C5: what scripts call is open to every origin, with one header of a
// kind; pages have none, whatever the server sends.
func TestServerCORS(t *testing.T) {
	s := newCohosted(t)
	base := startBridged(t, s, bridged+" {\n\t\t\tpaths /consent\n\t\t}")
	c := newClient(t)
	for path, open := range map[string]bool{
		"/token": true, "/register": true, "/revoke": true, "/jwks": true, "/par": true, "/register/abc": true,
		"/authorize": false, "/consent": false,
	} {
		got := do(t, c, newRequest(t, "POST", base+path, "{}", "Origin", "https://anywhere.example"))
		want := []string(nil)
		if open {
			want = []string{"*"}
		}
		if got.status >= 500 || !slices.Equal(got.header["Access-Control-Allow-Origin"], want) {
			t.Errorf("%s: got %d with %q, want %q", path, got.status, got.header["Access-Control-Allow-Origin"], want)
		}
		preflight := do(t, c, newRequest(t, "OPTIONS", base+path, "", "Origin", "https://anywhere.example",
			"Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "authorization,x-anything"))
		if allowed := strings.Contains(preflight.header.Get("Access-Control-Allow-Headers"), "x-anything"); allowed != open ||
			open && (preflight.status != 204 || preflight.header.Get("Access-Control-Allow-Origin") != "*") {
			t.Errorf("%s: preflight answered %d with %v", path, preflight.status, preflight.header)
		}
	}
}

// Rule C5: only the server's paths reach it: those that its documents name,
// those that it redirects to, and the operator's. Tricks with a path do not.
func TestServerRoutes(t *testing.T) {
	s := newCohosted(t)
	s.redirects("/authorize", s.URL+"/consent?txn=1")
	base := startBridged(t, s, bridged+" {\n\t\t\tpaths /static/*\n\t\t}")
	c := newClient(t)
	reaches := func(target string) bool {
		t.Helper()
		u, err := url.Parse(base)
		if err != nil {
			t.Fatal(err)
		}
		before := len(s.all())
		r := newRequest(t, "GET", base, "")
		u.Opaque = target // as it is, not cleaned by the client
		r.URL = &url.URL{Scheme: "http", Host: u.Host, Opaque: target}
		do(t, c, r)
		for _, seen := range s.all()[before:] {
			if !strings.Contains(seen.path, "/.well-known/") {
				t.Logf("%s reached the server as %s %s", target, seen.method, seen.path)
				return true
			}
		}
		return false
	}
	for target, want := range map[string]bool{
		"/token": true, "/jwks": true, "/static/app.js": true, "/static/a/b.css": true, "/register/abc": true,
		"/introspect": false, "/admin": false, "/consent": false, "/": false, "/kept": false, "/userinfo": false,
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
	if got := do(t, c, newRequest(t, "GET", base+"/authorize?client_id=x", "")); got.header.Get("Location") != base+"/consent?txn=1" || got.body != "" {
		t.Errorf("got Location %q and body %q", got.header.Get("Location"), got.body)
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
	c := newClient(t)
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
			got := do(t, c, newRequest(t, "GET", base+path, "")).header
			if path == "/mcp" && first == "/jwks" {
				want = base + first
			}
			if len(got["Location"]) != 1 || got["Location"][0] != want || len(got["Content-Location"]) != 1 || got["Content-Location"][0] != want {
				t.Errorf("%s: got %q and %q, want %s once", path, got["Location"], got["Content-Location"], want)
			}
		}
	}
}

func (s *cohosted) all() []reached {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.seen)
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
			c := newClient(t)
			request := strings.ReplaceAll(tc.request, url.QueryEscape("SERVER"), url.QueryEscape(s.URL))
			request = strings.ReplaceAll(request, "SERVER", url.QueryEscape(s.URL))
			got := do(t, c, newRequest(t, "GET", base+"/authorize?"+request, ""))
			if got.status != 302 || got.header.Get("Location") != fill.Replace(tc.want) {
				t.Errorf("got %d to\n%s\nwant\n%s", got.status, got.header.Get("Location"), fill.Replace(tc.want))
			}
			do(t, c, newRequest(t, "GET", base+"/admin", ""))
			if _, reached := s.last("/admin"); reached != (tc.learns == "/admin") {
				t.Errorf("/admin is served: %t", reached)
			}
			do(t, c, newRequest(t, "GET", base+"/introspect", ""))
			if _, reached := s.last("/introspect"); reached {
				t.Error("introspection is served")
			}
		})
	}
}

// Rule C5: the resource is mapped back where a client may name it, on exact
// equality; nothing else of a request changes.
func TestServerResource(t *testing.T) {
	s := newCohosted(t)
	base := startBridged(t, s, bridged)
	c := newClient(t)
	public, private := url.QueryEscape(base+"/mcp"), url.QueryEscape(s.URL+"/mcp")
	fill := strings.NewReplacer("PUBLIC", public, "PRIVATE", private)
	for name, tc := range map[string]struct{ send, want string }{
		"exact":         {"a=1&resource=PUBLIC&redirect_uri=PUBLIC%2Fcb&b=%20+", "a=1&resource=PRIVATE&redirect_uri=PUBLIC%2Fcb&b=%20+"},
		"with a slash":  {"resource=PUBLIC%2F", "resource=PRIVATE"},
		"twice":         {"resource=PUBLIC&resource=https%3A%2F%2Fother.example&resource=PUBLIC", "resource=PRIVATE&resource=https%3A%2F%2Fother.example&resource=PRIVATE"},
		"longer":        {"resource=PUBLIC%2Fx", "resource=PUBLIC%2Fx"},
		"other":         {"resource=https%3A%2F%2Fother.example&client_id=PUBLIC", "resource=https%3A%2F%2Fother.example&client_id=PUBLIC"},
		"escaped name":  {"%72esource=PUBLIC", "%72esource=PRIVATE"},
		"no pair":       {"resource", "resource"},
		"broken escape": {"resource=%zz&resource=PUBLIC", "resource=%zz&resource=PRIVATE"},
	} {
		t.Run(name, func(t *testing.T) {
			send, want := fill.Replace(tc.send), fill.Replace(tc.want)
			do(t, c, newRequest(t, "GET", base+"/authorize?"+send, ""))
			if got, _ := s.last("/authorize"); got.query != want {
				t.Errorf("query: got %q, want %q", got.query, want)
			}
			for _, path := range []string{"/token", "/par", "/authorize"} {
				r := newRequest(t, "POST", base+path, send)
				r.Header.Set("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
				do(t, c, r)
				if got, _ := s.last(path); got.body != want || got.header.Get("Content-Length") != fmt.Sprint(len(want)) {
					t.Errorf("%s: got %q (length %s), want %q", path, got.body, got.header.Get("Content-Length"), want)
				}
			}
			for _, path := range []string{"/register", "/revoke"} {
				r := newRequest(t, "POST", base+path+"?"+send, send)
				r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
				do(t, c, r)
				if got, _ := s.last(path); got.body != send || got.query != send {
					t.Errorf("%s: got %q and %q, want both untouched", path, got.query, got.body)
				}
			}
		})
	}
	big := newRequest(t, "POST", base+"/token", "a="+strings.Repeat("b", 2<<20))
	big.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if got := do(t, c, big); got.status != http.StatusRequestEntityTooLarge || got.header.Get("Access-Control-Allow-Origin") != "*" {
		t.Errorf("a form of 2 MiB: got %d, header %v", got.status, got.header)
	}
	chunked := newRequest(t, "POST", base+"/token", "")
	chunked.Body, chunked.ContentLength = io.NopCloser(strings.NewReader("a="+strings.Repeat("b", 2<<20))), -1
	chunked.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if got := do(t, c, chunked); got.status != http.StatusRequestEntityTooLarge {
		t.Errorf("a form of 2 MiB of unknown length: got %d", got.status)
	}
}

// Rule C5: a server whose metadata names its private URL, and that accepts the
// public one alone, is asked again, and from then on at once.
func TestServerRefusesResource(t *testing.T) {
	s := newCohosted(t)
	wanted := ""
	refuses := func(w http.ResponseWriter, r *http.Request) {
		_ = r.ParseForm()
		if r.Form.Get("resource") == wanted {
			w.Header().Set("Location", "http://127.0.0.1:1/cb?code=1")
			w.WriteHeader(http.StatusFound)
			return
		}
		if r.URL.Path == "/authorize" {
			w.Header().Set("Location", "http://127.0.0.1:1/cb?error=invalid_target")
			w.WriteHeader(http.StatusFound)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusBadRequest)
		_, _ = io.WriteString(w, `{"error":"invalid_target"}`)
	}
	s.handlers["/authorize"] = refuses
	s.handlers["/token"] = func(w http.ResponseWriter, r *http.Request) {
		// The body was read by serve; the form is what it remembers.
		got, _ := s.last("/token")
		r.Body = io.NopCloser(strings.NewReader(got.body))
		refuses(w, r)
	}
	base := startBridged(t, s, bridged)
	wanted = base + "/mcp"
	c := newClient(t)
	ask := func() (first, second answer) {
		form := newRequest(t, "POST", base+"/token", "resource="+url.QueryEscape(base+"/mcp"))
		form.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		return do(t, c, newRequest(t, "GET", base+"/authorize?resource="+url.QueryEscape(base+"/mcp"), "")), do(t, c, form)
	}
	for range 2 {
		first, second := ask()
		if first.header.Get("Location") != "http://127.0.0.1:1/cb?code=1" || second.status != http.StatusFound {
			t.Errorf("got %v and %d %s", first.header, second.status, second.body)
		}
	}
	if n := s.count("/authorize"); n != 3 {
		t.Errorf("%d authorization requests reached the server, want 3", n)
	}
	if n := s.count("/token"); n != 2 {
		t.Errorf("%d token requests reached the server, want 2", n)
	}
	wanted = "neither"
	if _, second := ask(); second.status != http.StatusBadRequest || second.body != `{"error":"invalid_target"}` {
		t.Errorf("got %d %s", second.status, second.body)
	}
}

// Rule C5: a refusal is understood although the client accepts compressed
// answers, and the server has them for all that do.
func TestServerRefusesResourceCompressed(t *testing.T) {
	s := newCohosted(t)
	s.handlers["/token"] = func(w http.ResponseWriter, r *http.Request) {
		got, _ := s.last("/token")
		status, document := http.StatusOK, `{"access_token":"x"}`
		if strings.Contains(got.body, url.QueryEscape(s.URL)) {
			status, document = http.StatusBadRequest, `{"error":"invalid_target"}`
		}
		w.Header().Set("Content-Type", "application/json")
		if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
			w.Header().Set("Content-Encoding", "gzip")
			w.WriteHeader(status)
			z := gzip.NewWriter(w)
			_, _ = io.WriteString(z, document)
			_ = z.Close()
			return
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, document)
	}
	base := startBridged(t, s, bridged)
	r := newRequest(t, "POST", base+"/token", "resource="+url.QueryEscape(base+"/mcp"), "Accept-Encoding", "gzip, deflate, br")
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if got := do(t, newClient(t), r); got.status != http.StatusOK || got.body != `{"access_token":"x"}` {
		t.Errorf("got %d %q", got.status, got.body)
	}
}

// Rule C5: the server gets the cookies that it set and no others, and sets them
// for the public host alone.
func TestServerCookies(t *testing.T) {
	s := newCohosted(t)
	s.redirects("/authorize", "/consent", "sid=1; Domain=localhost; Path=/; HttpOnly", "__Host-csrf=2; Secure; Path=/", "wide=3; domain=example.com")
	base := startBridged(t, s, bridged)
	c := newClient(t)
	got := do(t, c, newRequest(t, "GET", base+"/authorize", "", "Cookie", "sid=forged; other=secret"))
	if r, _ := s.last("/authorize"); len(r.header["Cookie"]) != 0 {
		t.Errorf("cookies of others reached the server: %q", r.header["Cookie"])
	}
	var send []string
	for _, line := range got.header["Set-Cookie"] {
		if strings.Contains(strings.ToLower(line), "domain") {
			t.Errorf("%q has a domain", line)
		}
		pair, _, _ := strings.Cut(line, ";")
		send = append(send, pair)
	}
	if len(send) != 3 || !strings.HasPrefix(send[1], "__Host-") {
		t.Errorf("got %q", got.header["Set-Cookie"])
	}
	do(t, c, newRequest(t, "GET", base+"/consent", "", "Cookie", "other=secret; "+strings.Join(send, "; ")))
	if r, _ := s.last("/consent"); strings.Join(r.header["Cookie"], "|") != "sid=1; __Host-csrf=2; wide=3" {
		t.Errorf("got cookies %q", r.header["Cookie"])
	}
	// Endpoints for clients and the MCP endpoint: what they carry is not the
	// authorization server's business, or not ours.
	do(t, c, newRequest(t, "POST", base+"/token", "{}", "Cookie", "other=secret"))
	if r, _ := s.last("/token"); len(r.header["Cookie"]) != 0 {
		t.Errorf("cookies of others reached the token endpoint: %q", r.header["Cookie"])
	}
}

// Rule C5, RFC 7592: where a client manages its registration is mapped, and can
// be reached.
func TestServerRegistration(t *testing.T) {
	s := newCohosted(t)
	at := "/register/abc"
	s.handlers["/register"] = func(w http.ResponseWriter, r *http.Request) {
		if got := r.Header.Get("Accept-Encoding"); got != "identity" {
			t.Errorf("Accept-Encoding: got %q", got)
		}
		w.Header().Set("Content-Type", "application/json;charset=utf-8")
		w.WriteHeader(http.StatusCreated)
		_, _ = fmt.Fprintf(w, `{ "client_id": "abc", "registration_client_uri" : "%s%s", "redirect_uris":["%[1]s/cb"], "client_uri":"%[1]s"}`, s.URL, at)
	}
	base := startBridged(t, s, bridged)
	c := newClient(t)
	for _, where := range []string{"/register/abc", "/connect/client?id=abc", "/register?client_id=abc"} {
		at = where
		sent := `{"redirect_uris":["` + base + `/cb"],"client_uri":"` + base + `"}`
		got := do(t, c, newRequest(t, "POST", base+"/register", sent))
		want := fmt.Sprintf(`{ "client_id": "abc", "registration_client_uri" : "%s%s", "redirect_uris":["%s/cb"], "client_uri":"%[3]s"}`, base, where, s.URL)
		if got.status != http.StatusCreated || got.body != want {
			t.Errorf("got %d\n%s\nwant\n%s", got.status, got.body, want)
		}
		if r, _ := s.last("/register"); r.body != sent {
			t.Errorf("the server got %s", r.body)
		}
		do(t, c, newRequest(t, "DELETE", base+where, ""))
		path, _, _ := strings.Cut(where, "?")
		if r, ok := s.last(path); !ok || r.method != "DELETE" {
			t.Errorf("%s was not reached", where)
		}
	}
}
