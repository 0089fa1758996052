package issuers

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/go-jose/go-jose/v4"
	"github.com/modelcontextprotocol/go-sdk/auth"
	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/modelcontextprotocol/go-sdk/oauthex"

	_ "github.com/mcp-auth-bridge/caddy-mcp-auth-bridge" // the handler
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/mcptest"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/testcaddy"
)

// program is the environment variable that makes the test binary the MCP server without a login.
const program = "MCP_AUTH_BRIDGE_TEST_TOOLS"

func TestMain(m *testing.M) {
	mcptest.Main(m, map[string]func(string){program: func(string) { _ = newTools().Run(context.Background(), &mcp.StdioTransport{}) }})
}

// newTools is an MCP server with a tool for everyone, and one for admins.
func newTools() *mcp.Server {
	s := mcp.NewServer(&mcp.Implementation{Name: "tools", Version: "1"}, nil)
	for _, name := range []string{"read", "admin"} {
		mcp.AddTool(s, &mcp.Tool{Name: name}, func(context.Context, *mcp.CallToolRequest, struct{}) (*mcp.CallToolResult, any, error) {
			return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: name + " is done"}}}, nil, nil
		})
	}
	return s
}

// runProgram runs Caddy with the program behind `authorize` at a port, and options of it.
func runProgram(t *testing.T, port int, authorize string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	run(t, port, "/mcp {\n\t\tstdio "+self+" -test.run=^$ {\n\t\t\tenv "+program+"=1\n\t\t}", authorize)
}

// run runs Caddy with an endpoint: directive is what stands behind mcp_auth_bridge up to the
// options of its block.
func run(t *testing.T, port int, directive, authorize string) {
	t.Helper()
	testcaddy.Run(t, fmt.Sprintf("{\n\tauto_https off\n}\nhttp://127.0.0.1:%d {\n\tbind 127.0.0.1\n\tmcp_auth_bridge %s\n\t\tauthorize {\n%s\n\t\t}\n\t}\n}\n", port, directive, authorize))
}

// endpoint is the URL of the endpoint at a port.
func endpoint(port int) string { return fmt.Sprintf("http://127.0.0.1:%d/mcp", port) }

// callback is where the browser is sent with the code. Nothing listens there.
const callback = "https://client.example/callback"

// browse visits an authorization URL until the redirect to the client.
func browse(ctx context.Context, at string) (*auth.AuthorizationResult, error) {
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	c := &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	for range 10 {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
		if err != nil {
			return nil, err
		}
		res, err := c.Do(r)
		if err != nil {
			return nil, err
		}
		text, _ := io.ReadAll(io.LimitReader(res.Body, 1<<20))
		_ = res.Body.Close()
		to, err := res.Location()
		if err != nil {
			return nil, fmt.Errorf("%s answers %s: %.300s", r.URL.Path, res.Status, text)
		}
		if at = to.String(); strings.HasPrefix(at, callback) {
			q := to.Query()
			if q.Get("error") != "" {
				return nil, fmt.Errorf("the authorization server answers %s: %s", q.Get("error"), q.Get("error_description"))
			}
			return &auth.AuthorizationResult{Code: q.Get("code"), State: q.Get("state"), Iss: q.Get("iss")}, nil
		}
	}
	return nil, errors.New("too many redirects")
}

// login is a client that logs in. It registers if it has no client id.
type login struct {
	id     string
	mu     sync.Mutex
	scopes []string // that were asked for, in each login
}

// newHandler returns the SDK's own handler of the authorization code flow.
func (l *login) newHandler(t *testing.T, c *http.Client) auth.OAuthHandler {
	t.Helper()
	cfg := &auth.AuthorizationCodeHandlerConfig{
		RedirectURL: callback, Client: c,
		AuthorizationCodeFetcher: func(ctx context.Context, args *auth.AuthorizationArgs) (*auth.AuthorizationResult, error) {
			u, err := url.Parse(args.URL)
			if err != nil {
				return nil, err
			}
			l.mu.Lock()
			l.scopes = append(l.scopes, u.Query().Get("scope"))
			l.mu.Unlock()
			return browse(ctx, args.URL)
		},
		DynamicClientRegistrationConfig: &auth.DynamicClientRegistrationConfig{Metadata: &oauthex.ClientRegistrationMetadata{
			ClientName: "go-sdk", RedirectURIs: []string{callback}, GrantTypes: []string{"authorization_code"}, ResponseTypes: []string{"code"}, TokenEndpointAuthMethod: "none",
		}},
	}
	if l.id != "" {
		cfg.DynamicClientRegistrationConfig, cfg.PreregisteredClient = nil, &oauthex.ClientCredentials{ClientID: l.id}
	}
	h, err := auth.NewAuthorizationCodeHandler(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// connect logs the SDK's client in, and returns its session and what has its token.
func (l *login) connect(t *testing.T, at string) (*mcp.ClientSession, auth.OAuthHandler) {
	t.Helper()
	tr := &http.Transport{}
	t.Cleanup(tr.CloseIdleConnections)
	c := &http.Client{Transport: tr}
	h := l.newHandler(t, c)
	s, err := mcp.NewClient(&mcp.Implementation{Name: "test", Version: "1"}, nil).
		Connect(t.Context(), &mcp.StreamableClientTransport{Endpoint: at, HTTPClient: c, OAuthHandler: h}, &mcp.ClientSessionOptions{ProtocolVersion: "2025-11-25"})
	if err != nil {
		t.Fatalf("logging in: %v", err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s, h
}

// tokenOf returns the access token of a client.
func tokenOf(t *testing.T, h auth.OAuthHandler) string {
	t.Helper()
	source, err := h.TokenSource(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	token, err := source.Token()
	if err != nil {
		t.Fatal(err)
	}
	return token.AccessToken
}

func call(t *testing.T, s *mcp.ClientSession, tool string) error {
	t.Helper()
	res, err := s.CallTool(t.Context(), &mcp.CallToolParams{Name: tool})
	if err == nil && res.Content[0].(*mcp.TextContent).Text != tool+" is done" {
		err = fmt.Errorf("got %v", res.Content)
	}
	return err
}

// begin sends initialize with a token, and returns the status and the challenge.
func begin(t *testing.T, at, token string) (int, string) {
	t.Helper()
	r := mcptest.NewRequest(t, http.MethodPost, at, mcptest.Initialize)
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	got := mcptest.Do(t, mcptest.NewClient(t), r)
	return got.Status, strings.Join(got.Header["Www-Authenticate"], "\n")
}

// callAs begins a session with a token and calls a tool in it.
func callAs(t *testing.T, at, token, tool string) (int, string) {
	t.Helper()
	c := mcptest.NewClient(t)
	got := mcptest.Do(t, c, mcptest.NewRequest(t, http.MethodPost, at, mcptest.Initialize, "Authorization", "Bearer "+token))
	if got.Status != http.StatusOK {
		t.Fatalf("initialize: got %d %s", got.Status, got.Body)
	}
	got = mcptest.Do(t, c, mcptest.NewRequest(t, http.MethodPost, at, `{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"`+tool+`","arguments":{}}}`,
		"Authorization", "Bearer "+token, "Mcp-Session-Id", got.Header.Get("Mcp-Session-Id")))
	return got.Status, strings.Join(got.Header["Www-Authenticate"], "\n")
}

// answer is what the edge answers to a token.
type answer struct {
	token     string
	status    int
	challenge string // a part of it
}

func checkAnswers(t *testing.T, at string, answers map[string]answer) {
	t.Helper()
	for name, want := range answers {
		status, challenge := begin(t, at, want.token)
		if status != want.status || !strings.Contains(challenge, want.challenge) {
			t.Errorf("%s: got %d %s", name, status, challenge)
		}
	}
}

// checkAway checks what the edge answers to tokens while the authorization server is away.
func checkAway(t *testing.T, at string, tokens ...string) {
	t.Helper()
	for _, token := range tokens {
		if status, challenge := begin(t, at, token); status != 503 || challenge != "" {
			t.Errorf("while the server is away: got %d %s", status, challenge)
		}
	}
}

// checkLogin logs a client in at the program behind a port. It may read; for the other tool it
// has to step up, and may then call both.
func checkLogin(t *testing.T, l *login, port int, opaque bool) {
	t.Helper()
	at := endpoint(port)
	session, handler := l.connect(t, at)
	if err := call(t, session, "read"); err != nil {
		t.Errorf("read: %v", err)
	}
	before := tokenOf(t, handler)
	if jwt := strings.Count(before, ".") == 2; jwt == opaque {
		t.Errorf("the token is a JWT: %t", jwt)
	}
	if status, challenge := callAs(t, at, before, "read"); status != 200 {
		t.Errorf("read with the first token: got %d %s", status, challenge)
	}
	status, challenge := callAs(t, at, before, "admin")
	if status != 403 || !strings.Contains(challenge, `error="insufficient_scope"`) || !strings.Contains(challenge, "mcp:admin") {
		t.Errorf("admin with the first token: got %d %s", status, challenge)
	}
	for _, tool := range []string{"admin", "read"} {
		if err := call(t, session, tool); err != nil {
			t.Errorf("%s: %v", tool, err)
		}
	}
	if status, challenge := callAs(t, at, tokenOf(t, handler), "admin"); status != 200 {
		t.Errorf("admin with the second token: got %d %s", status, challenge)
	}
	if len(l.scopes) != 2 || l.scopes[0] != "mcp:read" || !strings.Contains(l.scopes[1], "mcp:admin") {
		t.Errorf("the client has asked for %q", l.scopes)
	}
}

// checkExchange logs a client in, and checks that the server behind the edge gets one token, which
// is not that of the client, and none for another user, whose token is refused.
func checkExchange(t *testing.T, l *login, at string, s *server, g *guarded, refused string) {
	t.Helper()
	session, handler := l.connect(t, at)
	for range 3 {
		if err := call(t, session, "read"); err != nil {
			t.Errorf("read: %v", err)
		}
	}
	if status, challenge := begin(t, at, refused); status != 502 || challenge != "" {
		t.Errorf("a user who gets no token: got %d %s", status, challenge)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.tokens) != 1 || g.tokens[tokenOf(t, handler)] || !g.subjects["alice"] || g.refused != 0 || s.exchanges.Load() != 2 {
		t.Errorf("the server has seen %d tokens of %v, and has refused %d; %d exchanges", len(g.tokens), g.subjects, g.refused, s.exchanges.Load())
	}
}

// checkRevoked checks that a token that was revoked is not exchanged, and neither is that of a
// user who gets no token.
func checkRevoked(t *testing.T, at string, g *guarded, revoked, refused string) {
	t.Helper()
	if status, challenge := begin(t, at, revoked); status != 401 || !strings.Contains(challenge, `error="invalid_token"`) {
		t.Errorf("a token that was revoked: got %d %s", status, challenge)
	}
	if status, challenge := begin(t, at, refused); status != 502 || challenge != "" {
		t.Errorf("a user who gets no token: got %d %s", status, challenge)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.tokens) != 0 {
		t.Errorf("%d requests have reached the server", len(g.tokens))
	}
}

// internalMCP is the MCP server behind the edge, as the authorization server knows it.
const internalMCP = "https://files.internal/mcp"

// rules are options of authorize for an issuer; more are others.
func rules(issuer, ofIssuer, more string) string {
	return fmt.Sprintf("issuer %s {\n%s\n}\nscope mcp:read\ntools admin {\nscope mcp:admin\n}\n%s", issuer, ofIssuer, more)
}

// How Caddy authenticates at an authorization server.
const (
	secretPost  = "client_secret_post"
	secretBasic = "client_secret_basic"
)

// introspect is the option that asks about tokens.
func introspect(method string) string {
	return "introspect {\nclient_id caddy\nclient_secret caddy-secret\nauth_method " + method + "\n}"
}

// exchange is the option that exchanges tokens for a target, which is a resource or an audience.
func exchange(kind, target, secret, method string) string {
	return "token exchange {\n" + kind + " " + target + "\nscope mcp:read\nclient_id caddy\nclient_secret " + secret + "\nauth_method " + method + "\n}"
}

// server is an authorization server of a test, whatever library it is made with.
type server struct {
	*httptest.Server
	down      atomic.Bool // every answer is 503
	exchanges atomic.Int32

	mu   sync.Mutex
	keys []jose.JSONWebKey // the first signs
}

// newServer starts a server.
func newServer(t *testing.T, handle http.HandlerFunc, keys ...jose.JSONWebKey) *server {
	t.Helper()
	s := &server{keys: keys}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.down.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		handle(w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *server) keySet() []jose.JSONWebKey {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.keys
}

func (s *server) setKeys(keys ...jose.JSONWebKey) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys = keys
}

// public returns the keys as resource servers see them.
func (s *server) public() []byte {
	var set jose.JSONWebKeySet
	for _, key := range s.keySet() {
		set.Keys = append(set.Keys, key.Public())
	}
	raw, _ := json.Marshal(set)
	return raw
}

// newKey makes a key.
func newKey(t *testing.T, alg jose.SignatureAlgorithm, id string) jose.JSONWebKey {
	t.Helper()
	var key any
	var err error
	switch alg {
	case jose.ES256:
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case jose.EdDSA:
		_, key, err = ed25519.GenerateKey(rand.Reader)
	default:
		key, err = rsa.GenerateKey(rand.Reader, 2048)
	}
	if err != nil {
		t.Fatal(err)
	}
	return jose.JSONWebKey{Key: key, KeyID: id, Algorithm: string(alg), Use: "sig"}
}

// guarded is an MCP server that accepts only tokens of an issuer for an audience.
type guarded struct {
	*httptest.Server
	mu       sync.Mutex
	tokens   map[string]bool
	subjects map[string]bool
	refused  int
}

func newGuarded(t *testing.T, keys func() []byte, issuer, audience string) *guarded {
	t.Helper()
	g := &guarded{tokens: map[string]bool{}, subjects: map[string]bool{}}
	next := mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return newTools() }, nil)
	g.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		raw := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
		var claims struct {
			Issuer   string `json:"iss"`
			Subject  string `json:"sub"`
			Audience any    `json:"aud"`
		}
		err := verify(raw, keys(), &claims)
		g.mu.Lock()
		g.tokens[raw] = true
		ok := err == nil && claims.Issuer == issuer && strings.Contains(fmt.Sprint(claims.Audience), audience)
		if ok {
			g.subjects[claims.Subject] = true
		} else {
			g.refused++
			t.Logf("the server refuses %+v: %v", claims, err)
		}
		g.mu.Unlock()
		if !ok {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, r)
	}))
	t.Cleanup(g.Close)
	t.Cleanup(g.CloseClientConnections)
	return g
}

// verify verifies the signature of a token.
func verify(raw string, keys []byte, claims any) error {
	var set jose.JSONWebKeySet
	if err := json.Unmarshal(keys, &set); err != nil {
		return err
	}
	jws, err := jose.ParseSignedCompact(raw, []jose.SignatureAlgorithm{jose.RS256, jose.ES256, jose.EdDSA})
	if err != nil {
		return err
	}
	payload, err := jws.Verify(&set)
	if err != nil {
		return err
	}
	return json.Unmarshal(payload, claims)
}
