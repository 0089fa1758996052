package issuers

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"
	"github.com/luikyv/go-oidc/pkg/goidc"
	"github.com/luikyv/go-oidc/pkg/provider"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/testcaddy"
)

// goOIDC is an authorization server made with github.com/luikyv/go-oidc. It issues tokens for
// the resource that clients name, registers clients, and logs everyone in as alice.
type goOIDC struct {
	*server
	provider *provider.Provider
}

// startGoOIDC starts the server. at is the URL of the endpoint.
func startGoOIDC(t *testing.T, at string, options goidc.TokenOptions, keys ...jose.JSONWebKey) *goOIDC {
	t.Helper()
	s := new(goOIDC)
	s.server = newServer(t, func(w http.ResponseWriter, r *http.Request) { s.provider.Handler().ServeHTTP(w, r) }, keys...)
	scopes := []goidc.Scope{goidc.ScopeOpenID, goidc.NewScope("mcp:read"), goidc.NewScope("mcp:admin")}
	var ids []string
	for _, scope := range scopes {
		ids = append(ids, scope.ID)
	}
	policy := goidc.NewPolicy("main",
		func(*http.Request, *goidc.AuthnSession, *goidc.Client) bool { return true },
		func(_ http.ResponseWriter, _ *http.Request, session *goidc.AuthnSession, _ *goidc.Client) (goidc.Status, error) {
			session.Subject, session.GrantedScopes, session.GrantedResources = "alice", session.Scopes, session.Resources
			return goidc.StatusSuccess, nil
		})
	var err error
	s.provider, err = provider.New(
		provider.Config{
			Issuer: s.URL, IDTokenAlgs: []goidc.SignatureAlgorithm{goidc.SignatureAlgorithm(keys[0].Algorithm)},
			JWKS: func(context.Context) (goidc.JSONWebKeySet, error) { return s.set() },
		},
		provider.WithScopes(scopes...),
		provider.WithNoneAuthn(), provider.WithSecretBasicAuthn(), provider.WithSecretPostAuthn(),
		provider.WithAuthCodeGrant(provider.AuthCodeGrantConfig{ResponseTypes: []goidc.ResponseType{goidc.ResponseTypeCode}},
			provider.WithPKCE([]goidc.CodeChallengeMethod{goidc.CodeChallengeMethodSHA256}, provider.WithPKCERequired()),
			provider.WithIssuerResponseParameter(), provider.WithAuthPolicies(policy)),
		provider.WithDCR(nil, provider.WithDCRClientHandler(func(_ context.Context, _ string, meta *goidc.ClientMeta) error {
			meta.ScopeIDs = strings.Join(ids, " ")
			return nil
		})),
		provider.WithResourceIndicators([]goidc.ResourceIndicator{at, internalMCP}),
		provider.WithTokenOptions(func(context.Context, *goidc.Grant, *goidc.Client) goidc.TokenOptions { return options }, provider.WithOpaqueTokens(nil)),
		provider.WithTokenIntrospection(func(_ context.Context, c *goidc.Client, _ goidc.TokenInfo) bool { return c.ID == "caddy" }),
		provider.WithTokenRevocation(func(context.Context, *goidc.Client) bool { return true }, provider.WithTokenRevocationRevokeGrantOnAccessToken()),
		provider.WithTokenExchangeGrant(s.exchange, provider.WithTokenExchangeClientAuthnRequired()),
		provider.WithStaticClients(&goidc.Client{ID: "caddy", Secret: "caddy-secret", ClientMeta: goidc.ClientMeta{
			GrantTypes: []goidc.GrantType{goidc.GrantTokenExchange}, ScopeIDs: strings.Join(ids, " "),
			TokenAuthnMethod: goidc.AuthnMethodSecretPost, TokenIntrospectionAuthnMethod: goidc.AuthnMethodSecretPost,
		}}),
	)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// exchange accepts the tokens that this server has issued.
func (s *goOIDC) exchange(ctx context.Context, r goidc.TokenExchangeRequest) (goidc.TokenExchangeResult, error) {
	s.exchanges.Add(1)
	info, grant, err := s.provider.Introspect(ctx, r.SubjectToken)
	if err != nil || !info.IsActive {
		return goidc.TokenExchangeResult{}, goidc.WrapError(goidc.ErrorCodeInvalidRequest, "the subject token is not valid", err)
	}
	if grant.Subject == "mallory" {
		return goidc.TokenExchangeResult{}, goidc.NewError(goidc.ErrorCodeAccessDenied, "not for this user")
	}
	return goidc.TokenExchangeResult{Subject: grant.Subject}, nil
}

// set returns the keys as the library wants them.
func (s *goOIDC) set() (set goidc.JSONWebKeySet, err error) {
	raw, err := json.Marshal(jose.JSONWebKeySet{Keys: s.keySet()})
	if err == nil {
		err = json.Unmarshal(raw, &set)
	}
	return set, err
}

// token makes a token as the server issues it.
func (s *goOIDC) token(t *testing.T, subject, scope string, resources ...string) string {
	t.Helper()
	raw, err := s.provider.MakeToken(t.Context(), &goidc.Grant{ID: subject + scope, Subject: subject, ClientID: "caddy", Scopes: scope, Resources: resources})
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// The client of the Go SDK logs in at a program behind the edge by metadata, registration and
// PKCE, and steps up for one more tool, with tokens of each algorithm and with opaque ones.
func TestGoOIDCLogin(t *testing.T) {
	for name, tc := range map[string]struct {
		alg    jose.SignatureAlgorithm
		opaque bool
	}{
		"RS256": {jose.RS256, false}, "ES256": {jose.ES256, false}, "EdDSA": {jose.EdDSA, false}, "opaque": {jose.RS256, true},
	} {
		t.Run(name, func(t *testing.T) {
			port := testcaddy.FreePort(t)
			options, ofIssuer := goidc.NewJWTTokenOptions(goidc.SignatureAlgorithm(tc.alg), 300), ""
			if tc.opaque {
				options, ofIssuer = goidc.NewOpaqueTokenOptions(300), introspect(secretPost)
			}
			s := startGoOIDC(t, endpoint(port), options, newKey(t, tc.alg, "one"))
			runProgram(t, port, rules(s.URL, ofIssuer, ""))
			checkLogin(t, new(login), port, tc.opaque)
		})
	}
}

// Tokens that the edge must refuse, although the server has issued them.
func TestGoOIDCRefusals(t *testing.T) {
	port := testcaddy.FreePort(t)
	at := endpoint(port)
	s := startGoOIDC(t, at, goidc.NewJWTTokenOptions(goidc.RS256, 300), newKey(t, jose.RS256, "one"))
	runProgram(t, port, rules(s.URL, "", ""))
	other := startGoOIDC(t, at, goidc.NewJWTTokenOptions(goidc.RS256, 300), newKey(t, jose.RS256, "one"))
	checkAnswers(t, at, map[string]answer{
		"accepted":          {s.token(t, "alice", "mcp:read", at), 200, ""},
		"without":           {"", 401, `Bearer scope="mcp:read"`},
		"another audience":  {s.token(t, "alice", "mcp:read", internalMCP), 401, "another audience"},
		"no audience":       {s.token(t, "alice", "mcp:read"), 401, "another audience"},
		"too little scope":  {s.token(t, "alice", "openid", at), 403, `error="insufficient_scope"`},
		"another issuer":    {other.token(t, "alice", "mcp:read", at), 401, "another issuer"},
		"changed signature": {strings.TrimRight(s.token(t, "alice", "mcp:read", at), "=") + "AAAA", 401, "invalid_token"},
	})
}

// A server that is away is 503, and tokens of an old and of a new key are accepted.
func TestGoOIDCRotation(t *testing.T) {
	port := testcaddy.FreePort(t)
	at := endpoint(port)
	one, two := newKey(t, jose.ES256, "one"), newKey(t, jose.ES256, "two")
	s := startGoOIDC(t, at, goidc.NewJWTTokenOptions(goidc.ES256, 300), one)
	runProgram(t, port, rules(s.URL, "", ""))
	first := s.token(t, "alice", "mcp:read", at)
	s.down.Store(true)
	checkAway(t, at, first)
	// Caddy asks again after 10 seconds at most; a new configuration asks at once.
	s.down.Store(false)
	port = testcaddy.FreePort(t)
	s2 := startGoOIDC(t, endpoint(port), goidc.NewJWTTokenOptions(goidc.ES256, 300), two, one)
	runProgram(t, port, rules(s2.URL, "", ""))
	if status, challenge := begin(t, endpoint(port), s2.token(t, "alice", "mcp:read", endpoint(port))); status != 200 {
		t.Errorf("with the new key: got %d %s", status, challenge)
	}
	s2.setKeys(one)
	if status, challenge := begin(t, endpoint(port), s2.token(t, "bob", "mcp:read", endpoint(port))); status != 200 {
		t.Errorf("with the old key: got %d %s", status, challenge)
	}
}

// Token exchange (RFC 8693): the server behind the edge gets tokens for itself alone, of JWTs and
// of opaque tokens, after a login.
func TestGoOIDCExchange(t *testing.T) {
	port := testcaddy.FreePort(t)
	at := endpoint(port)
	s := startGoOIDC(t, at, goidc.NewJWTTokenOptions(goidc.ES256, 300), newKey(t, jose.ES256, "one"))
	g := newGuarded(t, s.public, s.URL, internalMCP)
	run(t, port, "/mcp "+g.URL+"/mcp {", rules(s.URL, "", exchange("resource", internalMCP, "caddy-secret", secretPost)))
	checkExchange(t, new(login), at, s.server, g, s.token(t, "mallory", "mcp:read", at))
}

// A token whose grant was revoked is verified by its signature, but not exchanged: the client
// has to log in again.
func TestGoOIDCExchangeOfARevokedToken(t *testing.T) {
	port := testcaddy.FreePort(t)
	at := endpoint(port)
	s := startGoOIDC(t, at, goidc.NewJWTTokenOptions(goidc.ES256, 300), newKey(t, jose.ES256, "one"))
	g := newGuarded(t, s.public, s.URL, internalMCP)
	run(t, port, "/mcp "+g.URL+"/mcp {", rules(s.URL, "", exchange("resource", internalMCP, "caddy-secret", secretPost)))
	token := s.token(t, "alice", "mcp:read", at)
	if err := s.provider.RevokeToken(t.Context(), token); err != nil {
		t.Fatal(err)
	}
	checkRevoked(t, at, g, token, s.token(t, "mallory", "mcp:read", at))
}

// What is wrong with the configuration is no fault of the client.
func TestGoOIDCExchangeIsConfiguredWrongly(t *testing.T) {
	for name, tc := range map[string]struct {
		resource, secret string
		status           int
	}{
		"a resource that the server does not know": {"https://elsewhere.internal/mcp", "caddy-secret", 502},
		"a wrong secret": {internalMCP, "wrong-secret", 502},
	} {
		t.Run(name, func(t *testing.T) {
			port := testcaddy.FreePort(t)
			at := endpoint(port)
			s := startGoOIDC(t, at, goidc.NewJWTTokenOptions(goidc.ES256, 300), newKey(t, jose.ES256, "one"))
			g := newGuarded(t, s.public, s.URL, internalMCP)
			run(t, port, "/mcp "+g.URL+"/mcp {", rules(s.URL, "", exchange("resource", tc.resource, tc.secret, secretPost)))
			if status, challenge := begin(t, at, s.token(t, "alice", "mcp:read", at)); status != tc.status || challenge != "" {
				t.Errorf("got %d %s", status, challenge)
			}
			if len(g.tokens) != 0 {
				t.Errorf("%d requests have reached the server", len(g.tokens))
			}
		})
	}
}
