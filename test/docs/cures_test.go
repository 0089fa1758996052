package docs_test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/doctor"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/mcptest"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/testcaddy"
)

// answered answers a request in place of a server that is well, or leaves it.
type answered func(w http.ResponseWriter, r *http.Request) bool

// cured is a symptom of docs/troubleshooting.md whose cure is a Caddyfile.
type cured struct {
	// server breaks the MCP server; nil: it is only that nobody told it its
	// public URL.
	server answered
	// before is the Caddyfile that shows the symptom. Default: reverse_proxy.
	before string
	// rule is what the doctor names before, at the page's origin, if any.
	rule, origin string
	// gains is what the challenge has after and not before, where the doctor
	// has nothing to say.
	gains string
	// path is the endpoint's. Default: /mcp.
	path string
	// tls has another proxy end TLS in front of Caddy; trusted has Caddy trust
	// it.
	tls, trusted bool
	// private has the MCP server name the authorization server by loopback.
	private bool
	// slash ends the issuer with a slash.
	slash bool
	// header is what the page's client sends.
	header http.Header
	// cohosted has the MCP server be the authorization server.
	cohosted bool
}

const plainProxy = "mcp.example.com {\n\treverse_proxy localhost:3000\n}"

const website = "\thandle {\n\t\troot * /var/www/html\n\t\ttry_files {path} /index.html\n\t\tfile_server\n\t}\n}"

// bare is a 401 and nothing else.
func bare(w http.ResponseWriter, r *http.Request) bool {
	if strings.HasPrefix(r.URL.Path, "/.well-known/") {
		http.NotFound(w, r)
	} else {
		w.WriteHeader(http.StatusUnauthorized)
	}
	return true
}

var cures = map[string]cured{
	"Failed to fetch, CORS error": {
		rule: "preflight.origin", origin: "https://app.example.com", before: "mcp.example.com {\n\tmcp_auth_bridge localhost:3000\n}",
	},
	"Response to preflight request does not have HTTP ok status": {
		rule: "preflight.answered", origin: "https://app.example.com",
		before: "mcp.example.com {\n\tforward_auth localhost:9091 {\n\t\turi /verify\n\t}\n\tmcp_auth_bridge localhost:3000\n}",
	},
	"403 for pages, 200 or 401 for curl": {
		rule: "endpoint.origin", origin: "https://app.example.com",
		before: "mcp.example.com {\n\tmcp_auth_bridge localhost:3000 {\n\t\tcors {\n\t\t\tallow_origins https://app.example.com\n\t\t}\n\t}\n}",
		server: func(w http.ResponseWriter, r *http.Request) bool {
			if r.Header.Get("Origin") == "" {
				return false
			}
			w.WriteHeader(http.StatusForbidden)
			return true
		},
	},
	"A header of the page is refused": {
		rule: "preflight.headers", origin: "https://app.example.com", header: http.Header{"X-Api-Key": {"k"}, "Traceparent": {"t"}},
		before: "mcp.example.com {\n\tmcp_auth_bridge localhost:3000 {\n\t\tcors {\n\t\t\tallow_origins https://app.example.com\n\t\t}\n\t}\n}",
	},
	"CORS error on the token endpoint":                  {rule: "resource.identical", cohosted: true},
	"401 and nothing happens":                           {rule: "challenge.present", server: bare},
	"The client goes to localhost or a private address": {rule: "resource.identical"},
	"The URL begins with http:":                         {rule: "challenge.scheme", tls: true, before: ":8080 {\n\tmcp_auth_bridge localhost:3000\n}"},
	"Metadata 404": {
		rule: "metadata.found", path: "/tools/mcp",
		before: "www.example.com {\n\thandle_path /tools/* {\n\t\tmcp_auth_bridge localhost:3000\n\t}\n\thandle {\n\t\trespond 404\n\t}\n}",
	},
	"Unexpected token '<', is not valid JSON": {
		rule:   "metadata.json",
		before: "www.example.com {\n\thandle /mcp* {\n\t\tmcp_auth_bridge localhost:3000\n\t}\n" + website,
	},
	"The browser asks for a name and a password": {
		rule:   "challenge.bearer",
		before: "mcp.example.com {\n\tbasic_auth {\n\t\talice $2a$14$Zkx19XLiW6VYouLHR5NmfOFU0z2GTNmpkT/5qqR7hx4IjWJPDhjvG\n\t}\n\tmcp_auth_bridge localhost:3000\n}",
	},
	"The authorization server is at localhost": {
		rule: "issuer.url", tls: true, trusted: true, private: true, before: "mcp.example.com {\n\tmcp_auth_bridge localhost:3000\n}",
	},
	"Issuer mismatch": {
		rule: "issuer.identical", slash: true,
		before: "mcp.example.com {\n\tmcp_auth_bridge localhost:3000 {\n\t\tmetadata {\n\t\t\tauthorization_servers https://login.example.com\n\t\t}\n\t}\n}",
	},
	"403 insufficient_scope": {
		gains: `scope="mcp:all"`, before: "mcp.example.com {\n\tmcp_auth_bridge localhost:3000\n}",
		server: func(w http.ResponseWriter, r *http.Request) bool {
			return !strings.HasPrefix(r.URL.Path, "/.well-known/") && bare(w, r)
		},
	},
	`421 or "Invalid Host header"`: {
		rule: "endpoint.host", before: "mcp.example.com {\n\tmcp_auth_bridge localhost:3000\n}",
		server: func(w http.ResponseWriter, r *http.Request) bool {
			if r.Host == r.Context().Value(http.LocalAddrContextKey).(net.Addr).String() {
				return false
			}
			w.WriteHeader(http.StatusMisdirectedRequest)
			_, _ = w.Write([]byte("Invalid Host header"))
			return true
		},
	},
	"404 or 405 at the URL": {
		rule: "endpoint.path", before: "mcp.example.com {\n\tmcp_auth_bridge localhost:3000\n}",
		server: func(w http.ResponseWriter, r *http.Request) bool {
			if !strings.HasSuffix(r.URL.Path, "/mcp") || strings.HasPrefix(r.URL.Path, "/.well-known/") {
				return false
			}
			http.NotFound(w, r)
			return true
		},
	},
}

// curedElsewhere are the symptoms whose Caddyfile another test runs.
var curedElsewhere = map[string]string{
	"Session not found, 404": "TestSessionsStayAtTheirReplica",
}

// Each Caddyfile on the page on troubleshooting mends what it is there for:
// the doctor names the cause before, and finds the server healthy after.
func TestTroubleshootingCures(t *testing.T) {
	shown := make(map[string]bool)
	for _, section := range regexp.MustCompile(`(?m)^#+ `).Split(read(t, "docs/troubleshooting.md"), -1) {
		heading, body, _ := strings.Cut(section, "\n")
		found := regexp.MustCompile("(?ms)^```caddyfile\n(.*?)^```$").FindAllStringSubmatch(body, -1)
		if len(found) == 0 || curedElsewhere[heading] != "" {
			continue
		}
		c, ok := cures[heading]
		if !ok || len(found) > 1 {
			t.Errorf("%q: %d Caddyfiles, want one that is run", heading, len(found))
			continue
		}
		shown[heading] = true
		t.Run(heading, func(t *testing.T) {
			if c.before == "" {
				c.before = plainProxy
			}
			before, after := c.walk(t, c.before), c.walk(t, found[0][1])
			said := text(t, after)
			if v := before.Verdict; c.gains == "" && (v.State != doctor.Broken || v.Finding.Rule != c.rule) {
				t.Errorf("before: got %s, %+v, want %s", v.State, v.Finding, c.rule)
			}
			if c.gains != "" && (strings.Contains(text(t, before), c.gains) || !strings.Contains(said, c.gains)) {
				t.Errorf("%s is not what the Caddyfile makes of\n%s", c.gains, text(t, before))
			}
			if after.Verdict.State != doctor.Healthy || after.Verdict.Warnings > 0 {
				t.Errorf("after: got\n%s", said)
			}
		})
	}
	for heading := range cures {
		if !shown[heading] {
			t.Errorf("the page has no Caddyfile for %q", heading)
		}
	}
}

// text is all that the doctor says.
func text(t *testing.T, r *doctor.Report) string {
	t.Helper()
	var b strings.Builder
	if err := r.WriteText(&b, doctor.TextOptions{Verbose: true}); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// walk has the doctor walk to the server behind a Caddyfile.
func (c cured) walk(t *testing.T, caddyfile string) *doctor.Report {
	t.Helper()
	var issuer string
	login := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { authorizationServer(w, r, issuer) }))
	t.Cleanup(login.Close)
	issuer = login.URL
	if c.tls {
		issuer = "https://login.example.com"
	}
	if c.slash {
		issuer += "/"
	}
	var server *httptest.Server
	server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		own := issuer
		switch {
		case c.cohosted:
			own = server.URL
		case c.private:
			own = login.URL
		}
		switch {
		case c.server != nil && c.server(w, r):
		case c.cohosted && (r.URL.Path == "/token" || strings.HasPrefix(r.URL.Path, "/.well-known/oauth-authorization-server")):
			authorizationServer(w, r, own)
		default:
			protected(w, r, server.URL, own)
		}
	}))
	server.Start()
	t.Cleanup(server.Close)
	verify := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) }))
	t.Cleanup(verify.Close)
	folder := t.TempDir()
	if err := os.WriteFile(filepath.Join(folder, "index.html"), []byte("<!doctype html><title>Welcome</title>"), 0o600); err != nil {
		t.Fatal(err)
	}
	replaced, origins := onLoopback(t, strings.NewReplacer(
		"localhost:3000", strings.TrimPrefix(server.URL, "http://"), "localhost:9091", strings.TrimPrefix(verify.URL, "http://"),
		"https://login.example.com", strings.TrimSuffix(issuer, "/"), "/var/www/html", folder,
	).Replace(caddyfile))
	var at string
	for name, origin := range origins {
		at = origin
		if c.tls { // the name, or the lack of one, counts
			address := "http://" + strings.TrimSuffix(name, ":8080") + origin[strings.LastIndex(origin, ":"):]
			replaced = strings.Replace(replaced, origin+" {", address+" {\n\tbind 127.0.0.1", 1)
		}
	}
	global := "{\n\tauto_https off\n"
	if c.trusted {
		global += "\tservers {\n\t\ttrusted_proxies static private_ranges\n\t}\n"
	}
	testcaddy.Run(t, global+"}\n"+replaced)
	path := c.path
	if path == "" {
		path = "/mcp"
	}
	opts := doctor.Options{URL: at + path, Origin: c.origin, Header: c.header}
	if c.tls {
		opts.URL, opts.Transport = "https://mcp.example.com"+path, endsTLS(t, at, login.URL)
	}
	r, err := doctor.Run(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// endsTLS is a proxy that ends TLS for Caddy and for an authorization server.
func endsTLS(t *testing.T, caddy, login string) *http.Transport {
	t.Helper()
	front := httptest.NewTLSServer(mcptest.Front(func(r *httputil.ProxyRequest) {
		to := caddy
		if strings.HasPrefix(r.In.Host, "login.") {
			to = login
		}
		u, err := url.Parse(to)
		if err != nil {
			t.Error(err)
			return
		}
		r.SetURL(u)
		r.SetXForwarded()
		r.Out.Host = r.In.Host
	}))
	t.Cleanup(front.Close)
	return &http.Transport{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, front.Listener.Addr().String())
		},
	}
}

// protected is an MCP server that wants a token and knows its own address
// alone.
func protected(w http.ResponseWriter, r *http.Request, own, issuer string) {
	const wellKnown = "/.well-known/oauth-protected-resource"
	if suffix, ok := strings.CutPrefix(r.URL.Path, wellKnown); ok && suffix != "" {
		answerJSON(w, http.StatusOK, map[string]any{"resource": own + suffix, "authorization_servers": []string{issuer}})
		return
	}
	if strings.HasPrefix(r.URL.Path, "/.well-known/") {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("WWW-Authenticate", `Bearer resource_metadata="`+own+wellKnown+r.URL.Path+`"`)
	w.WriteHeader(http.StatusUnauthorized)
}

// authorizationServer is open to pages, as one should be.
func authorizationServer(w http.ResponseWriter, r *http.Request, issuer string) {
	w.Header().Set("Access-Control-Allow-Origin", "*")
	w.Header().Set("Access-Control-Allow-Headers", "*")
	base := strings.TrimSuffix(issuer, "/")
	switch {
	case r.Method == http.MethodOptions:
		w.WriteHeader(http.StatusNoContent)
	case r.URL.Path == "/.well-known/oauth-authorization-server":
		answerJSON(w, http.StatusOK, map[string]any{
			"issuer": issuer, "authorization_endpoint": base + "/authorize", "token_endpoint": base + "/token", "registration_endpoint": base + "/register",
			"response_types_supported": []string{"code"}, "code_challenge_methods_supported": []string{"S256"}, "token_endpoint_auth_methods_supported": []string{"none"},
		})
	case r.URL.Path == "/token", r.URL.Path == "/register":
		answerJSON(w, http.StatusBadRequest, map[string]any{"error": "invalid_request"})
	default:
		http.NotFound(w, r)
	}
}

func answerJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}
