package doctor

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// setup is one way to be broken, and what the doctor has to say first.
type setup struct {
	name  string
	spoil func(*site)
	opts  func(*testing.T, *site, *Options)
	state State
	rule  string
	says  string // in the finding
	cure  string // in one of its cures, with its place before it
}

// page walks as a page of another origin does.
func page(_ *testing.T, _ *site, o *Options) { o.Origin = pageOrigin }

// login goes through the login.
func login(t *testing.T, s *site, o *Options) { o.Login, o.Browse = true, s.browse(t) }

// at is another URL.
func at(raw string) func(*testing.T, *site, *Options) {
	return func(_ *testing.T, _ *site, o *Options) { o.URL = raw }
}

// answers answers with a status, a type and a body.
func answers(status int, contentType, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	}
}

// stalls answers nothing, or a header and nothing after it.
func stalls(header string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if header != "" {
			w.Header().Set("Content-Type", header)
			w.(http.Flusher).Flush()
		}
		<-r.Context().Done()
	}
}

func corsWithout(expose bool, status int, origin string, credentials bool) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if status != 0 && r.Method == http.MethodOptions {
			w.WriteHeader(status)
			return true
		}
		done := false
		h := w.Header()
		h.Set("Access-Control-Allow-Origin", origin)
		h.Set("Access-Control-Allow-Headers", "authorization, content-type, mcp-protocol-version")
		if expose {
			h.Set("Access-Control-Expose-Headers", "WWW-Authenticate, Mcp-Session-Id")
		}
		if credentials {
			h.Set("Access-Control-Allow-Credentials", "true")
		}
		if r.Method == http.MethodOptions {
			w.WriteHeader(http.StatusNoContent)
			done = true
		}
		return done
	}
}

// replicas are servers that do not know each other's sessions.
func replicas() http.HandlerFunc {
	var mu sync.Mutex
	made := make(map[string]bool) // connections that initialized a session
	return func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if r.Header.Get("Mcp-Session-Id") == "" {
			made[r.RemoteAddr] = true
		} else if !made[r.RemoteAddr] {
			answers(http.StatusNotFound, "application/json", `{"jsonrpc":"2.0","id":null,"error":{"code":-32001,"message":"Session not found"}}`)(w, r)
			return
		}
		speak(w, r)
	}
}

const basic = `Basic realm="site"`

var setups = []setup{
	{"bare 401", func(s *site) { s.challenge, s.at = nil, none(metadataPath) }, nil, Broken, "challenge.present", "no WWW-Authenticate", "server: WWW-Authenticate: Bearer"},
	{"bare 401, metadata at its well-known URL", func(s *site) { s.challenge = nil }, nil, Healthy, "challenge.present", "old ones do not", "Caddyfile: `mcp_auth_bridge"},
	{"challenge without metadata", func(s *site) { s.challenge, s.at = []string{"Bearer"}, none(metadataPath) }, nil, Broken, "challenge.metadata", "no resource_metadata", "server: add resource_metadata"},
	{"unparsable challenge", func(s *site) {
		s.challenge, s.at = []string{`Bearer resource_metadata="https://mcp`}, none(metadataPath)
	}, nil, Broken, "challenge.syntax", "quoted string without an end", "server: write it as"},
	{"basic alone", func(s *site) { s.challenge, s.at = []string{basic}, none(metadataPath) }, nil, Broken, "challenge.bearer", "the schemes are Basic", "Caddyfile: mcp_auth_bridge adds it; a site's own basic_auth"},
	{"basic before bearer", func(s *site) { s.challenge = append([]string{basic}, s.challenge...) }, nil, Healthy, "challenge.first", "Basic, before Bearer", "server: send the Bearer"},
	{"two Bearer challenges", func(s *site) { s.challenge = append(s.challenge, `Bearer realm="proxy"`) }, nil, Broken, "challenge.one", "2 Bearer challenges", "server: send one Bearer"},
	{"wrong scheme behind a proxy", func(s *site) {
		s.challenge = []string{`Bearer resource_metadata="http://mcp.example.com` + metadataPath + `"`}
	}, nil, Broken, "challenge.scheme", "begins with http:", "Caddyfile: `public_url https://mcp.example.com/mcp`, or `trusted_proxies`"},
	{"metadata on a private host", func(s *site) {
		s.challenge = []string{`Bearer resource_metadata="http://10.0.0.5:3000` + metadataPath + `"`}
	}, nil, Broken, "challenge.url", "private host", "Caddyfile: `mcp_auth_bridge <upstream>` maps it to https://mcp.example.com" + metadataPath},

	{"header not exposed", func(s *site) { s.cors = corsWithout(false, 0, "*", false) }, page, Broken, "browser.exposed", "cannot read the challenge", "server: send Access-Control-Expose-Headers: WWW-Authenticate"},
	{"preflight answered 401", func(s *site) { s.cors = corsWithout(true, 401, "*", false) }, page, Broken, "preflight.answered", "answered with 401", "Caddyfile: mcp_auth_bridge answers preflights; where basic_auth"},
	{"preflight answered 401, no page", func(s *site) { s.cors = corsWithout(true, 401, "*", false) }, nil, Healthy, "preflight.answered", "answered with 401", "server: answer OPTIONS with 204"},
	{"pages of another origin only", func(s *site) { s.cors = corsWithout(true, 0, "https://other.example.com", false) }, page, Broken, "preflight.origin", "names another origin", "Caddyfile: `allow_origins https://app.example.com` in the block cors"},
	{"CORS * with credentials", func(s *site) { s.cors = corsWithout(true, 0, "*", true) }, page, Broken, "cors.credentials", "Access-Control-Allow-Origin *", "server: send no Access-Control-Allow-Credentials"},
	{"origin refused after its preflight", func(s *site) {
		s.answer = func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Origin") != "" {
				w.WriteHeader(http.StatusForbidden)
				return
			}
			s.refuse(w, "")
		}
	}, page, Broken, "endpoint.origin", "others are not", "server: add https://app.example.com to its allowed origins"},
	{"token endpoint without CORS", func(s *site) { s.at["login.example.com/token"] = answers(400, "application/json", `{}`) }, page, Broken, "token.browser", "token endpoint", "authorization server: allow https://app.example.com"},
	{"metadata without CORS", func(s *site) {
		s.at["mcp.example.com"+metadataPath] = func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, 200, s.resource) }
	}, page, Broken, "metadata.browser", "cannot read", "server: send Access-Control-Allow-Origin: *"},

	{"metadata 404", func(s *site) { s.at = none(metadataPath) }, nil, Broken, "metadata.found", "404 Not Found", "Caddyfile: mcp_auth_bridge serves " + mcpOrigin + metadataPath},
	{"metadata behind a login", func(s *site) { s.at["mcp.example.com"+metadataPath] = answers(401, "text/plain", "") }, nil, Broken, "metadata.found", "asks for a login itself", "server: serve it at"},
	{"metadata HTML", func(s *site) {
		s.at["mcp.example.com"+metadataPath] = answers(200, "text/html", "<!doctype html><title>app</title>")
	}, nil, Broken, "metadata.json", "text/html", "Caddyfile: keep /.well-known/*"},
	{"metadata slow", func(s *site) { s.at["mcp.example.com"+metadataPath] = stalls("") }, short, Broken, "metadata.time", "in time", "server: answer the metadata at once"},
	{"metadata that does not end", func(s *site) { s.at["mcp.example.com"+metadataPath] = stalls("application/json") }, short, Broken, "metadata.time", "in time", "server: answer the metadata at once"},
	{"metadata huge", func(s *site) {
		s.at["mcp.example.com"+metadataPath] = answers(200, "application/json", `{"resource":"`+strings.Repeat("x", maxBody)+`"}`)
	}, nil, Broken, "metadata.size", "larger than 256 KiB", "server: send the document alone"},
	{"metadata redirected to a private host", func(s *site) {
		s.at["mcp.example.com"+metadataPath] = http.RedirectHandler("http://169.254.169.254/latest?token=1", http.StatusFound).ServeHTTP
	}, nil, Broken, "metadata.redirect", "redirects to http://169.254.169.254/latest?...", "server: answer the metadata with 200"},

	{"resource mismatch", func(s *site) { s.resource["resource"] = "http://mcp:3000/mcp" }, nil, Broken, "resource.identical", "resource is http://mcp:3000/mcp, but clients are at " + mcpURL, "server: set resource to " + mcpURL},
	{"resource mismatch by a slash", func(s *site) { s.resource["resource"] = mcpURL + "/" }, nil, Broken, "resource.identical", "by the final slash", "Caddyfile: `mcp_auth_bridge <upstream>` maps it to " + mcpURL},
	{"resource with a slash, URL without", func(s *site) {
		s.challenge, s.resource["resource"] = nil, mcpURL+"/"
	}, nil, Broken, "resource.identical", "by the final slash", "server: set resource to " + mcpURL},
	{"resource is the origin", func(s *site) { s.resource["resource"] = mcpOrigin }, nil, Healthy, "resource.identical", "wider", "server: set resource to " + mcpURL},
	{"resource missing", func(s *site) { s.resource["resource"] = nil }, nil, Broken, "resource.identical", "resource is missing", "server: set resource to " + mcpURL},
	{"no authorization server named", func(s *site) { s.resource["authorization_servers"] = nil }, nil, Broken, "resource.servers", "do not know where to log in", "Caddyfile: `authorization_servers <url>` in the block metadata"},

	{"authorization server on loopback", func(s *site) { s.resource["authorization_servers"] = []string{"http://localhost:9000"} }, nil, Broken, "issuer.url", "private host", "Caddyfile: `authorization_servers <url>` in the block metadata; for one on"},
	{"authorization server without metadata", func(s *site) { s.at["login.example.com"+serverPath] = http.NotFound }, nil, Broken, "issuer.found", "has no metadata", "authorization server: serve /.well-known/oauth-authorization-server"},
	{"issuer mismatch", func(s *site) { s.server["issuer"] = issuerURL + "/" }, nil, Broken, "issuer.identical", "its issuer is https://login.example.com/, but it was asked for https://login.example.com", "authorization server: set its issuer"},
	{"no PKCE", func(s *site) { s.server["code_challenge_methods_supported"] = nil }, nil, Broken, "issuer.pkce", "missing", "authorization server: turn PKCE with S256 on"},
	{"PKCE plain", func(s *site) { s.server["code_challenge_methods_supported"] = []string{"plain"} }, nil, Broken, "issuer.pkce", "no S256", "authorization server: turn PKCE with S256 on"},
	{"http: token endpoint", func(s *site) { s.server["token_endpoint"] = "http://login.example.com/token" }, nil, Broken, "issuer.https", "token_endpoint is no https URL", "authorization server: set its public URL to https"},
	{"no token endpoint", func(s *site) { s.server["token_endpoint"] = nil }, nil, Broken, "issuer.endpoints", "token_endpoint is missing", "authorization server: turn the authorization code flow on"},
	{"no registration way", func(s *site) { s.server["registration_endpoint"] = nil }, nil, Broken, "issuer.registration", "no way to register", "command line: register a client by hand"},

	{"endpoint path wrong, 404", nil, at(mcpOrigin + "/nowhere"), Broken, "endpoint.path", "404", "command line: give the URL of the MCP endpoint itself, often " + mcpURL},
	{"endpoint path wrong, 405", func(s *site) { s.answer = answers(405, "text/plain", "") }, nil, Broken, "endpoint.path", "405", "Caddyfile: `mcp_auth_bridge /mcp <upstream>`"},
	{"plain website", func(s *site) {
		s.answer = answers(200, "text/html; charset=utf-8", "<!doctype html><title>Welcome</title>")
	}, nil, Broken, "endpoint.mcp", "no MCP server: 200 with text/html", "command line: give the URL"},
	{"redirect to another host", func(s *site) {
		s.answer = http.RedirectHandler("https://other.example.com/mcp?session=1", http.StatusTemporaryRedirect).ServeHTTP
	}, nil, Broken, "endpoint.redirect", "another origin, https://other.example.com/mcp?...", "command line: give clients the URL that the redirect ends at"},
	{"redirect that loses the message", func(s *site) { s.answer = http.RedirectHandler("/mcp/", http.StatusMovedPermanently).ServeHTTP }, nil, Broken, "endpoint.redirect", "turns a POST into a GET", "Caddyfile: mcp_auth_bridge serves the endpoint with and without a final slash"},
	{"200 with an error inside", func(s *site) {
		s.answer = answers(200, "application/json", `{"jsonrpc":"2.0","id":null,"error":{"code":-32001,"message":"Unauthorized: missing token"}}`)
	}, nil, Broken, "endpoint.status", "inside an answer with status 200", "server: answer 401 with WWW-Authenticate"},
	{"200 with an error inside, no JSON-RPC", func(s *site) { s.answer = answers(200, "application/json", `{"error":"unauthorized"}`) }, nil, Broken, "endpoint.status", "inside an answer with status 200", "server: answer 401"},
	{"neither era is answered", func(s *site) {
		s.answer = answers(400, "application/json", `{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"Invalid request"}}`)
	}, nil, Broken, "endpoint.answer", "neither initialize nor server/discover is answered: 400 Bad Request Invalid request", "server: answer a request with one JSON-RPC response"},
	{"redirect that a final slash would spare", func(s *site) {
		s.at["mcp.example.com/mcp"] = http.RedirectHandler("/mcp/", http.StatusPermanentRedirect).ServeHTTP
		s.at["mcp.example.com/mcp/"] = func(w http.ResponseWriter, r *http.Request) {
			if !s.cors(w, r) {
				s.endpoint(w, r)
			}
		}
	}, nil, Healthy, "preflight.answered", "answered with 308", "Caddyfile: mcp_auth_bridge answers preflights"},
	{"500 in place of 401", func(s *site) { s.answer = answers(500, "application/json", `{"error":"Missing bearer token"}`) }, nil, Broken, "endpoint.status", "with status 500 instead of 401", "server: answer 401"},
	{"403 in place of 401", func(s *site) { s.answer = answers(403, "text/plain", "no") }, nil, Broken, "endpoint.status", "403 instead of 401", "server: answer 401"},
	{"challenge with 400", func(s *site) {
		s.answer = func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("WWW-Authenticate", s.challenge[0])
			w.WriteHeader(http.StatusBadRequest)
		}
	}, nil, Broken, "endpoint.status", "comes with status 400", "server: answer 401"},
	{"server down behind a proxy", func(s *site) { s.answer = answers(502, "text/plain", "") }, nil, Broken, "endpoint.upstream", "502", "server: see in the server's log"},
	{"host refused", func(s *site) { s.answer = answers(403, "text/plain", "Forbidden: invalid Host header") }, nil, Broken, "endpoint.host", "refuses the host", "Caddyfile: `header_up Host {upstream_hostport}"},
	{"host refused with 421", func(s *site) { s.answer = answers(421, "text/plain", "Invalid Host header") }, nil, Broken, "endpoint.host", "refuses the host that it is called by (421)", "server: add mcp.example.com to its allowed hosts"},
	{"SSE buffered", func(s *site) { s.answer = stalls("text/event-stream") }, short, Broken, "endpoint.stream", "no event comes in time", "network: turn response buffering off"},
	{"HTTP+SSE buffered", func(s *site) {
		s.answer = func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodGet {
				stalls("text/event-stream")(w, r)
				return
			}
			w.WriteHeader(http.StatusNotFound)
		}
	}, short, Broken, "endpoint.stream", "no event comes in time", "Caddyfile: `flush_interval -1"},
	{"session lost", func(s *site) { s.answer = replicas() }, nil, Broken, "session.kept", "lost (404) on another connection", "Caddyfile: `lb_policy client_ip_hash`"},
	{"session id lost", func(s *site) {
		s.answer = func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPost && r.Header.Get("Mcp-Session-Id") == "" && r.ContentLength != int64(len(initializeMessage)) {
				answers(400, "text/plain", "Mcp-Session-Id header is required")(w, r)
				return
			}
			speak(withoutSession{w}, r)
		}
	}, nil, Broken, "session.crosses", "none arrived with initialize", "network: let Mcp-Session-Id through"},

	{"DPoP with a private URL", func(s *site) { s.answer = s.dpop("http://10.0.0.5:3000/mcp"); s.resource["resource"] = mcpURL }, func(_ *testing.T, _ *site, o *Options) { o.Upstream = "http://10.0.0.5:3000/mcp" }, Broken, "dpop.url", "wants proofs for http://10.0.0.5:3000/mcp, but clients sign " + mcpURL, "server: have it expect proofs for " + mcpURL},
	{"DPoP with the wrong scheme", func(s *site) { s.answer = s.dpop("http://mcp.example.com/mcp") }, nil, Broken, "dpop.url", "wants proofs for http://mcp.example.com/mcp", "server: have it take its URL from X-Forwarded-Proto"},

	{"audience mismatch after login", func(s *site) { s.audience = "http://10.0.0.5:3000/mcp" }, login, Broken, "token.audience", "right after the login", "server: set the audience that it expects to the resource of the metadata, " + mcpURL},
	{"token for another audience", nil, token("https://other.example.com/mcp", time.Hour), Broken, "token.audience", "made out to https://other.example.com/mcp, not to " + mcpURL, "authorization server: make tokens out to"},
	{"token expired", func(s *site) { s.audience = "" }, token(mcpURL, -time.Hour), Broken, "token.time", "it expired at", "command line: give a token that is still valid"},
	{"too little scope", func(s *site) { s.scopes = true }, token(mcpURL, time.Hour), Broken, "token.scope", "wanted: mcp:all", "command line: log in with the scopes"},
	{"registration refused", func(s *site) {
		s.at["login.example.com/register"] = answers(400, "application/json", `{"error":"invalid_redirect_uri","error_description":"loopback is not allowed"}`)
	}, login, Broken, "login.registers", "invalid_redirect_uri loopback is not allowed", "authorization server: admit native clients"},
	{"login with the wrong iss", func(s *site) { s.iss = "https://other.example.com" }, login, Broken, "login.issuer", "iss https://other.example.com", "authorization server: send iss"},
	{"code not taken", func(s *site) {
		s.at["login.example.com/token"] = answers(400, "application/json", `{"error":"invalid_grant","error_description":"PKCE failed"}`)
	}, login, Broken, "login.token", "invalid_grant PKCE failed", "authorization server: see in its log"},
}

// none answers paths of the MCP server with 404.
func none(paths ...string) map[string]http.HandlerFunc {
	at := make(map[string]http.HandlerFunc)
	for _, path := range paths {
		at["mcp.example.com"+path] = http.NotFound
	}
	return at
}

// short bounds requests to what a test waits for.
func short(_ *testing.T, _ *site, o *Options) { o.Timeout = time.Second }

func token(audience string, lifetime time.Duration) func(*testing.T, *site, *Options) {
	return func(_ *testing.T, _ *site, o *Options) { o.Token = jwtFor(audience, lifetime) }
}

// withoutSession loses the session id.
type withoutSession struct{ http.ResponseWriter }

func (w withoutSession) WriteHeader(status int) {
	w.Header().Del("Mcp-Session-Id")
	w.ResponseWriter.WriteHeader(status)
}

// dpop is a server that wants proofs for a URL.
func (s *site) dpop(want string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		proof := r.Header.Get("DPoP")
		switch {
		case proof == "":
			w.Header().Add("WWW-Authenticate", `DPoP algs="ES256", resource_metadata="`+mcpOrigin+metadataPath+`"`)
		case r.Header.Get("Authorization") == "" || proofURL(proof) != want:
			w.Header().Add("WWW-Authenticate", `DPoP error="invalid_dpop_proof", algs="ES256"`)
		default:
			w.Header().Add("WWW-Authenticate", `DPoP error="invalid_token", algs="ES256"`)
		}
		w.WriteHeader(http.StatusUnauthorized)
	}
}

// Rule F3: each set-up is started for real, and the doctor names its cause
// first, with a cure.
func TestBroken(t *testing.T) {
	for _, tc := range setups {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s := newSite()
			if tc.spoil != nil {
				tc.spoil(s)
			}
			s.start(t)
			opts := Options{URL: mcpURL, Transport: s.transport(), Timeout: 5 * time.Second}
			if tc.opts != nil {
				tc.opts(t, s, &opts)
			}
			r, err := Run(t.Context(), opts)
			if err != nil {
				t.Fatal(err)
			}
			expect(t, r, tc.state, tc.rule, tc.says, tc.cure)
		})
	}
}

// expect asserts what a report says first.
func expect(t *testing.T, r *Report, state State, rule, says, cure string) {
	t.Helper()
	var text strings.Builder
	if err := r.WriteText(&text, TextOptions{Verbose: true}); err != nil {
		t.Fatal(err)
	}
	v := r.Verdict
	if v.Finding == nil {
		v.Finding = &Finding{}
	}
	if v.State != state || v.Finding.Rule != rule || !strings.Contains(v.Finding.Text, says) {
		t.Errorf("got %s, %s: %s\nwant %s, %s: ...%s...\n%s", v.State, v.Finding.Rule, v.Finding.Text, state, rule, says, text.String())
	}
	var cures []string
	for _, c := range v.Finding.Cures {
		cures = append(cures, c.Where+": "+c.Text)
	}
	if all := strings.Join(cures, "\n"); !strings.Contains(all, cure) {
		t.Errorf("got cures\n%s\nwant one with %s", all, cure)
	}
	first, _, _ := strings.Cut(text.String(), "\n\n")
	if rule != "" && !strings.Contains(first, "mend") {
		t.Errorf("the first paragraph has no cure:\n%s", first)
	}
}

// Rule F3: what cannot be reached.
func TestUnreachable(t *testing.T) {
	closed, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // it is closed at once
	if err != nil {
		t.Fatal(err)
	}
	nobody := closed.Addr().String()
	_ = closed.Close()
	plainServer := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(plainServer.Close)
	secure := httptest.NewUnstartedServer(http.NotFoundHandler())
	secure.TLS = &tls.Config{Certificates: []tls.Certificate{certificate(t, time.Now().Add(-time.Hour))}}
	secure.Config.ErrorLog = newSiteLog()
	secure.StartTLS()
	t.Cleanup(secure.Close)
	silent, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // it ends with the test
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = silent.Close() })

	for name, tc := range map[string]struct{ url, rule, says, cure string }{
		"nothing listens":           {"http://" + nobody + "/mcp", "connect.listens", "nothing listens there", "network: start the server"},
		"certificate not trusted":   {secure.URL + "/mcp", "connect.tls", "certificate is refused", "server: a certificate that names"},
		"no TLS at an https URL":    {strings.Replace(plainServer.URL, "http:", "https:", 1) + "/mcp", "connect.tls", "no TLS that works", "Caddyfile: a site named"},
		"name that does not exist":  {"http://nobody.invalid/mcp", "connect.name", "name of the host is not found", "network: add a DNS record for nobody.invalid"},
		"connection without a word": {"http://" + silent.Addr().String() + "/mcp", "connect.answers", "", "network: find what holds the request"},
	} {
		t.Run(name, func(t *testing.T) {
			opts := Options{URL: tc.url, Timeout: 5 * time.Second}
			state := Unreachable
			switch name {
			case "connection without a word":
				opts.Timeout, state = 200*time.Millisecond, Broken
			case "name that does not exist":
				opts.Transport = &http.Transport{DialContext: noSuchName}
			}
			r, err := Run(t.Context(), opts)
			if err != nil {
				t.Fatal(err)
			}
			expect(t, r, state, tc.rule, tc.says, tc.cure)
		})
	}
	if n := len(setups) + 5; n < 25 {
		t.Errorf("%d set-ups, want 25", n)
	}
	fmt.Fprintln(t.Output(), len(setups)+5, "set-ups")
}
