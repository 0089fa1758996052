package main

import (
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/demo"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/issuertest"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/mcptest"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/testcaddy"
)

// keyFile writes a public key to a file.
func keyFile(t *testing.T, key any) string {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "issuer.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// keyOf fetches the public key of an authorization server.
func keyOf(t *testing.T, issuer string) any {
	t.Helper()
	var metadata struct {
		JWKS string `json:"jwks_uri"`
	}
	var keys jose.JSONWebKeySet
	get := func(url string, to any) {
		got := mcptest.Do(t, newClient(t), mcptest.NewRequest(t, "GET", url, ""))
		if err := json.Unmarshal([]byte(got.Body), to); got.Status != 200 || err != nil {
			t.Fatalf("%s: %d %v", url, got.Status, err)
		}
	}
	get(issuer+"/.well-known/openid-configuration", &metadata)
	get(metadata.JWKS, &keys)
	return keys.Keys[0].Key
}

// secured runs the documented Caddyfile for an issuer with a key. upstream is what follows the
// path of the second mcp_auth_bridge, and changed are further changes of the Caddyfile.
func secured(t *testing.T, port int, issuer string, key any, upstream string, changed ...string) {
	t.Helper()
	runRecipe(t, port, recipes(t, "caddy-security")[0], append(changed,
		"/etc/caddy/issuer.pem", keyFile(t, key), "https://login.example.com", issuer, "https://mcp.example.com/mcp", endpointAt(port),
		"mcp_auth_bridge /mcp localhost:3000", "mcp_auth_bridge /mcp "+upstream)...)
}

// withToken sends a token with each request.
type withToken struct {
	http.RoundTripper
	token string
}

func (t withToken) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+t.token)
	return t.RoundTripper.RoundTrip(r)
}

// A client that has no token finds the authorization server, logs in and calls a tool. Streams
// and programs work behind the plugin, and a session belongs to its user.
func TestSecurity(t *testing.T) {
	t.Run("login", func(t *testing.T) {
		port := testcaddy.FreePort(t)
		url := endpointAt(port)
		d, err := demo.Start(t.Context(), demo.Options{Public: []string{url}, AnyHost: true})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = d.Close() })
		secured(t, port, d.Issuer(), keyOf(t, d.Issuer()), d.Origin())
		wantChallenge(t, newClient(t), url, d.Issuer())
		logIn(t, newClient(t), url)
	})

	key := issuertest.NewKey(t, jose.ES256, "one")
	issuer := issuertest.Start(t, key)
	t.Run("stream", func(t *testing.T) {
		port := testcaddy.FreePort(t)
		up, arrived := newStreaming(t)
		secured(t, port, issuer.URL, key.Public().Key, up.URL)
		url := endpointAt(port)
		token := "Bearer " + issuer.Token(url, nil)
		readStream(t, newClient(t), mcptest.NewRequest(t, "GET", url, "", "Authorization", token), arrived)
		readStream(t, newClient(t), mcptest.NewRequest(t, "POST", url, call, "Authorization", token), arrived)
	})
	t.Run("program", func(t *testing.T) {
		port := testcaddy.FreePort(t)
		secured(t, port, issuer.URL, key.Public().Key, "{\n\t\t\t"+program(t)+"\n\t\t}")
		url := endpointAt(port)
		c := newClient(t)
		c.Transport = withToken{c.Transport, issuer.Token(url, nil)}
		session, err := mcp.NewClient(&mcp.Implementation{Name: "test", Version: "1"}, nil).
			Connect(t.Context(), &mcp.StreamableClientTransport{Endpoint: url, HTTPClient: c}, &mcp.ClientSessionOptions{ProtocolVersion: "2025-11-25"})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = session.Close() }()
		if pid := mcptest.DoIn(t, session, "pid", 0); pid == "" {
			t.Error("the program does not say its process id")
		}
		bob := user{t, issuer, url, "bob"}
		if got := bob.post(ping, "Mcp-Session-Id", session.ID()); got.Status != 404 {
			t.Errorf("another user in the session: got %d %s", got.Status, got.Body)
		}
	})
}

// Only tokens of the issuer, signed with its key, for the endpoint are accepted. Each refusal
// is what the page says.
func TestSecurityRefusals(t *testing.T) {
	key := issuertest.NewKey(t, jose.ES256, "one")
	issuer, other := issuertest.Start(t, key), issuertest.Start(t, issuertest.NewKey(t, jose.ES256, "one"))
	port := testcaddy.FreePort(t)
	url := endpointAt(port)
	secured(t, port, issuer.URL, key.Public().Key, newSimple(t).URL)
	for name, c := range map[string]struct {
		token      string
		status     int
		challenged bool
	}{
		"no token":         {"", 401, true},
		"of the issuer":    {issuer.Token(url, nil), 200, false},
		"expired":          {issuer.Token(url, map[string]any{"exp": 1}), 401, true},
		"another key":      {other.Token(url, map[string]any{"iss": issuer.URL}), 401, true},
		"another audience": {issuer.Token("https://other.example.com", nil), 403, false},
		"another issuer":   {issuer.Token(url, map[string]any{"iss": "https://other.example.com"}), 403, false},
	} {
		t.Run(name, func(t *testing.T) {
			for _, path := range []string{"", "/"} {
				r := mcptest.NewRequest(t, "POST", url+path, ping)
				if c.token != "" {
					r.Header.Set("Authorization", "Bearer "+c.token)
				}
				got := mcptest.Do(t, newClient(t), r)
				line := got.Header.Get("WWW-Authenticate")
				if got.Status != c.status || c.challenged != strings.Contains(line, "resource_metadata=") {
					t.Errorf("%q: got %d %q", path, got.Status, line)
				}
			}
		})
	}
}

// Without the lines that the page calls necessary clients cannot log in, or tokens for others
// are accepted.
func TestSecurityNeedsItsLines(t *testing.T) {
	key := issuertest.NewKey(t, jose.ES256, "one")
	issuer := issuertest.Start(t, key)
	site := func(t *testing.T, changed ...string) user {
		port := testcaddy.FreePort(t)
		secured(t, port, issuer.URL, key.Public().Key, newSimple(t).URL, changed...)
		return user{t, issuer, endpointAt(port), "alice"}
	}
	t.Run("disable auth redirect", func(t *testing.T) {
		u := site(t, "\t\t\tdisable auth redirect\n", "")
		got := mcptest.Do(t, newClient(t), mcptest.NewRequest(t, "POST", u.url, ping))
		if got.Status != 302 || got.Header.Get("Location") == "" {
			t.Errorf("got %d %v", got.Status, got.Header)
		}
	})
	t.Run("validate bearer header", func(t *testing.T) {
		if got := site(t, "\t\t\tvalidate bearer header\n", "").post(ping); got.Status != 401 {
			t.Errorf("got %d %v", got.Status, got.Header)
		}
	})
	t.Run("match", func(t *testing.T) {
		u := site(t, "match iss https://login.example.com", "match sub alice", "\t\t\t\tmatch aud https://mcp.example.com/mcp\n", "")
		token := issuer.Token("https://other.example.com", map[string]any{"iss": "https://other.example.com"})
		if got := mcptest.Do(t, newClient(t), mcptest.NewRequest(t, "POST", u.url, ping, "Authorization", "Bearer "+token)); got.Status != 200 {
			t.Errorf("a token for another service, of another issuer: got %d", got.Status)
		}
	})
	t.Run("route", func(t *testing.T) { // handle sorts the directives in it, as a site does
		u := site(t, "\troute {\n", "\thandle {\n", "\t\tmcp_auth_bridge /mcp {\n\t\t\tmetadata {\n\t\t\t\tauthorization_servers https://login.example.com\n\t\t\t}\n\t\t}\n", "",
			"authorize /mcp* with", "authorize with")
		got := mcptest.Do(t, newClient(t), mcptest.NewRequest(t, "GET", strings.TrimSuffix(u.url, "/mcp")+"/.well-known/oauth-protected-resource/mcp", ""))
		if got.Status != 401 {
			t.Errorf("metadata: got %d", got.Status)
		}
		if got := mcptest.Do(t, newClient(t), mcptest.NewRequest(t, "POST", u.url, ping)); got.Status != 401 || got.Header.Get("WWW-Authenticate") != "" {
			t.Errorf("without a token: got %d %v", got.Status, got.Header)
		}
		if !testcaddy.Logged("metadata is behind a login") {
			t.Error("Caddy does not warn")
		}
	})
}
