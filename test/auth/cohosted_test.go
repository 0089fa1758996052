package auth_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/mcptest"
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
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(s.serve))
	s.Start()
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
  "x_private": "%[2]s/private"
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
	testcaddy.Run(t, mcptest.BridgeTo(port, s.URL, mcptest.AllowApp+"\n"+options))
	return "http://" + testcaddy.Addr(port)
}

func (s *cohosted) all() []reached {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.seen)
}

// says has a path of the server answer with a document, in which UP is its own origin.
func (s *cohosted) says(path string, status int, mediaType, document string) {
	s.handlers[path] = func(w http.ResponseWriter, _ *http.Request) {
		if mediaType != "" {
			w.Header().Set("Content-Type", mediaType)
		} else {
			w.Header()["Content-Type"] = nil
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, strings.ReplaceAll(document, "UP", s.URL))
	}
}
