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

// login is a client that registers and logs in.
type login struct {
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
