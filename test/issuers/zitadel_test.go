package issuers

import (
	"context"
	"crypto/rand"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/zitadel/oidc/v3/example/server/storage"
	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/mcptest"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/testcaddy"
)

// zitadelClient is the client that users log in with. It has no secret.
const zitadelClient = "go-sdk"

// zitadel is an authorization server made with pkg/op of github.com/zitadel/oidc and the storage
// of its example. The library does not know resource indicators, and writes no scope into a JWT,
// so the storage adds both: each login gets tokens for one audience. Tokens and keys are here,
// because the example cannot revoke and rotate them. Everyone logs in as alice.
type zitadel struct {
	*server
	*storage.Storage
	provider *op.Provider
	audience string
	opaque   bool // tokens of a login are not JWTs; those of an exchange are

	tokensMu sync.Mutex
	tokens   map[string]zitadelGrant
}

// zitadelGrant is what a token is issued for.
type zitadelGrant struct {
	subject, client  string
	scopes, audience []string
}

func (g zitadelGrant) GetSubject() string    { return g.subject }
func (g zitadelGrant) GetClientID() string   { return g.client }
func (g zitadelGrant) GetScopes() []string   { return g.scopes }
func (g zitadelGrant) GetAudience() []string { return g.audience }

// zitadelUsers are the users. Their ids are their names and passwords.
type zitadelUsers struct{}

func (zitadelUsers) GetUserByID(id string) *storage.User {
	return &storage.User{ID: id, Username: id, Password: id}
}
func (u zitadelUsers) GetUserByUsername(name string) *storage.User { return u.GetUserByID(name) }
func (zitadelUsers) ExampleClientID() string                       { return storage.ServiceUserID }

// zitadelLogin is where the library sends the browser to log in.
const zitadelLogin = "/login"

// startZitadel starts the server. audience is what tokens of a login are for.
func startZitadel(t *testing.T, audience string, opaque bool, keys ...jose.JSONWebKey) *zitadel {
	t.Helper()
	s := &zitadel{audience: audience, opaque: opaque, tokens: map[string]zitadelGrant{}}
	s.Storage = storage.NewStorageWithClients(zitadelUsers{}, map[string]*storage.Client{
		zitadelClient: storage.NativeClient(zitadelClient, callback),
		"caddy":       storage.WebClient("caddy", "caddy-secret"),
	})
	s.server = newServer(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != zitadelLogin {
			s.provider.ServeHTTP(w, r)
			return
		}
		id := r.FormValue("id")
		if err := s.CheckUsernamePassword("alice", "alice", id); err != nil {
			http.Error(w, err.Error(), http.StatusForbidden)
			return
		}
		http.Redirect(w, r, op.AuthCallbackURL(s.provider)(op.ContextWithIssuer(r.Context(), s.URL), id), http.StatusFound)
	}, keys...)
	var err error
	s.provider, err = op.NewProvider(&op.Config{CodeMethodS256: true, SupportedScopes: []string{oidc.ScopeOpenID, "mcp:read", "mcp:admin"}},
		s, op.StaticIssuer(s.URL), op.WithAllowInsecure(),
		op.WithAccessTokenVerifierOpts(op.WithSupportedAccessTokenSigningAlgorithms(keys[0].Algorithm)))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// zitadelApp is a client of the example that may ask for the scopes of the tests.
type zitadelApp struct {
	op.Client
	opaque bool
}

func (zitadelApp) IsScopeAllowed(scope string) bool { return strings.HasPrefix(scope, "mcp:") }
func (zitadelApp) LoginURL(id string) string        { return zitadelLogin + "?id=" + url.QueryEscape(id) }

func (c zitadelApp) AccessTokenType() op.AccessTokenType {
	if c.opaque {
		return op.AccessTokenTypeBearer
	}
	return op.AccessTokenTypeJWT
}

func (s *zitadel) GetClientByClientID(ctx context.Context, id string) (op.Client, error) {
	c, err := s.Storage.GetClientByClientID(ctx, id)
	return zitadelApp{c, s.opaque && id == zitadelClient}, err
}

// zitadelRequest is a login whose tokens are for an audience.
type zitadelRequest struct {
	op.AuthRequest
	audience string
}

func (r zitadelRequest) GetAudience() []string { return []string{r.audience} }

func (s *zitadel) AuthRequestByCode(ctx context.Context, code string) (op.AuthRequest, error) {
	r, err := s.Storage.AuthRequestByCode(ctx, code)
	return zitadelRequest{r, s.audience}, err
}

func (s *zitadel) CreateAccessToken(_ context.Context, r op.TokenRequest) (string, time.Time, error) {
	id, grant := rand.Text(), zitadelGrant{subject: r.GetSubject(), scopes: r.GetScopes(), audience: r.GetAudience()}
	if of, ok := r.(interface{ GetClientID() string }); ok {
		grant.client = of.GetClientID()
	}
	s.tokensMu.Lock()
	defer s.tokensMu.Unlock()
	s.tokens[id] = grant
	return id, time.Now().Add(5 * time.Minute), nil
}

// grant returns what a token was issued for, if it was not revoked.
func (s *zitadel) grant(id string) (zitadelGrant, bool) {
	s.tokensMu.Lock()
	defer s.tokensMu.Unlock()
	grant, ok := s.tokens[id]
	return grant, ok
}

func (s *zitadel) RevokeToken(_ context.Context, id, _, _ string) *oidc.Error {
	s.tokensMu.Lock()
	defer s.tokensMu.Unlock()
	delete(s.tokens, id)
	return nil
}

// SetIntrospectionFromToken tells Caddy about a token.
func (s *zitadel) SetIntrospectionFromToken(_ context.Context, about *oidc.IntrospectionResponse, id, _, asking string) error {
	grant, ok := s.grant(id)
	if !ok || asking != "caddy" {
		return errors.New("not active")
	}
	about.Subject, about.ClientID, about.Scope, about.Audience = grant.subject, grant.client, grant.scopes, grant.audience
	about.Issuer, about.Expiration = s.URL, oidc.FromTime(time.Now().Add(5*time.Minute))
	return nil
}

func (s *zitadel) GetPrivateClaimsFromScopes(_ context.Context, _, _ string, scopes []string) (map[string]any, error) {
	return map[string]any{"scope": strings.Join(scopes, " ")}, nil
}

func (s *zitadel) ValidateTokenExchangeRequest(_ context.Context, r op.TokenExchangeRequest) error {
	s.exchanges.Add(1)
	grant, ok := s.grant(r.GetExchangeSubjectTokenIDOrToken())
	switch {
	case !ok:
		return oidc.ErrInvalidRequest().WithDescription("the subject token is not valid")
	case grant.subject == "mallory":
		return oidc.ErrAccessDenied()
	case !slices.Equal(r.GetAudience(), []string{internalMCP}):
		return oidc.ErrInvalidTarget()
	}
	return nil
}

func (s *zitadel) GetPrivateClaimsFromTokenExchangeRequest(ctx context.Context, r op.TokenExchangeRequest) (map[string]any, error) {
	return s.GetPrivateClaimsFromScopes(ctx, r.GetSubject(), r.GetClientID(), r.GetScopes())
}

// zitadelKey is a key as the library wants it. A public one is [op.Key].
type zitadelKey struct{ of jose.JSONWebKey }

func (k zitadelKey) ID() string { return k.of.KeyID }
func (k zitadelKey) Algorithm() jose.SignatureAlgorithm {
	return jose.SignatureAlgorithm(k.of.Algorithm)
}
func (k zitadelKey) SignatureAlgorithm() jose.SignatureAlgorithm { return k.Algorithm() }
func (k zitadelKey) Use() string                                 { return k.of.Use }
func (k zitadelKey) Key() any                                    { return k.of.Key }

func (s *zitadel) SigningKey(context.Context) (op.SigningKey, error) {
	return zitadelKey{s.keySet()[0]}, nil
}

func (s *zitadel) SignatureAlgorithms(context.Context) ([]jose.SignatureAlgorithm, error) {
	return []jose.SignatureAlgorithm{zitadelKey{s.keySet()[0]}.Algorithm()}, nil
}

func (s *zitadel) KeySet(context.Context) (set []op.Key, err error) {
	for _, key := range s.keySet() {
		set = append(set, zitadelKey{key.Public()})
	}
	return set, nil
}

// token makes a token as the server issues it in a login.
func (s *zitadel) token(t *testing.T, subject, scope string, audience ...string) string {
	t.Helper()
	ctx := op.ContextWithIssuer(t.Context(), s.URL)
	c, err := s.GetClientByClientID(ctx, zitadelClient)
	if err != nil {
		t.Fatal(err)
	}
	grant := zitadelGrant{subject: subject, client: zitadelClient, scopes: strings.Fields(scope), audience: audience}
	raw, _, _, err := op.CreateAccessToken(ctx, grant, c.AccessTokenType(), s.provider, c, "")
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// revoke revokes a token by RFC 7009.
func (s *zitadel) revoke(t *testing.T, token string) {
	t.Helper()
	r := mcptest.NewRequest(t, http.MethodPost, s.URL+"/revoke", url.Values{"token": {token}, "token_type_hint": {"access_token"}}.Encode())
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.SetBasicAuth("caddy", "caddy-secret")
	if got := mcptest.Do(t, mcptest.NewClient(t), r); got.Status != http.StatusOK {
		t.Fatalf("revoking: got %d %s", got.Status, got.Body)
	}
}

// A client that the server knows logs in with PKCE at a program behind the edge, and steps up for
// one more tool, with tokens of each algorithm and with opaque ones, which are encrypted JWTs.
func TestZitadelLogin(t *testing.T) {
	for name, tc := range map[string]struct {
		alg    jose.SignatureAlgorithm
		opaque bool
	}{
		"RS256": {jose.RS256, false}, "ES256": {jose.ES256, false}, "EdDSA": {jose.EdDSA, false}, "opaque": {jose.RS256, true},
	} {
		t.Run(name, func(t *testing.T) {
			port, ofIssuer := testcaddy.FreePort(t), ""
			if tc.opaque {
				ofIssuer = introspect(secretBasic)
			}
			s := startZitadel(t, endpoint(port), tc.opaque, newKey(t, tc.alg, "one"))
			runProgram(t, port, rules(s.URL, ofIssuer, ""))
			checkLogin(t, &login{id: zitadelClient}, port, tc.opaque)
		})
	}
}

// Tokens that the edge must refuse, although the server has issued them.
func TestZitadelRefusals(t *testing.T) {
	for name, opaque := range map[string]bool{"JWT": false, "opaque": true} {
		t.Run(name, func(t *testing.T) {
			port := testcaddy.FreePort(t)
			at, ofIssuer, unknown := endpoint(port), "", "another issuer"
			if opaque {
				ofIssuer, unknown = introspect(secretBasic), "invalid_token"
			}
			s := startZitadel(t, at, opaque, newKey(t, jose.RS256, "one"))
			runProgram(t, port, rules(s.URL, ofIssuer, ""))
			other := startZitadel(t, at, opaque, newKey(t, jose.RS256, "one"))
			checkAnswers(t, at, map[string]answer{
				"accepted":           {s.token(t, "alice", "mcp:read", at), 200, ""},
				"without":            {"", 401, `Bearer scope="mcp:read"`},
				"another audience":   {s.token(t, "alice", "mcp:read", internalMCP), 401, "another audience"},
				"the client's id":    {s.token(t, "alice", "mcp:read", zitadelClient), 401, "another audience"},
				"too little scope":   {s.token(t, "alice", "openid", at), 403, `error="insufficient_scope"`},
				"another issuer":     {other.token(t, "alice", "mcp:read", at), 401, unknown},
				"changed at the end": {s.token(t, "alice", "mcp:read", at) + "AAAA", 401, "invalid_token"},
			})
		})
	}
}

// The edge asks about opaque tokens. One whose audience the answer does not name counts only if the
// operator says so. A token that is known goes on while the server is away. One that was revoked is refused, and asked about again.
func TestZitadelIntrospection(t *testing.T) {
	port := testcaddy.FreePort(t)
	at := endpoint(port)
	s := startZitadel(t, at, true, newKey(t, jose.RS256, "one"))
	runProgram(t, port, rules(s.URL, introspect(secretBasic), ""))
	known, revoked, unseen := s.token(t, "alice", "mcp:read", at), s.token(t, "alice", "mcp:read", at), s.token(t, "alice", "mcp:read", at)
	s.revoke(t, revoked)
	checkAnswers(t, at, map[string]answer{"known": {known, 200, ""}, "revoked": {revoked, 401, "invalid_token"}})
	checkAnswers(t, at, map[string]answer{"without an audience": {s.token(t, "alice", "mcp:read"), 401, "does not say what the token was issued for"}})
	s.down.Store(true)
	checkAnswers(t, at, map[string]answer{"known, while the server is away": {known, 200, ""}})
	checkAway(t, at, unseen, revoked)
}

// While the edge runs, the server withdraws a key and signs with a new one, and is away. Keys are
// fetched at most once in 10 seconds, so this takes 20.
func TestZitadelRotation(t *testing.T) {
	port := testcaddy.FreePort(t)
	at := endpoint(port)
	withdrawn, kept, added := newKey(t, jose.ES256, "withdrawn"), newKey(t, jose.ES256, "kept"), newKey(t, jose.ES256, "added")
	s := startZitadel(t, at, false, withdrawn, kept)
	runProgram(t, port, rules(s.URL, "", ""))
	ofWithdrawn, unseen := s.token(t, "alice", "mcp:read", at), s.token(t, "bob", "mcp:read", at)
	s.setKeys(kept, withdrawn)
	ofKept := s.token(t, "alice", "mcp:read", at)
	checkAnswers(t, at, map[string]answer{"before": {ofWithdrawn, 200, ""}, "before, another key": {ofKept, 200, ""}})

	s.setKeys(added, kept)
	ofAdded := s.token(t, "alice", "mcp:read", at)
	await := func(what string, want int) {
		t.Helper()
		mcptest.Poll(t, 30*time.Second, func() string {
			if status, challenge := begin(t, at, ofAdded); status != want {
				return what + ": got " + strconv.Itoa(status) + " " + challenge
			}
			return ""
		})
	}
	s.down.Store(true)
	await("the new key while the server is away", 503)
	checkAnswers(t, at, map[string]answer{"a known key while the server is away": {ofKept, 200, ""}})
	s.down.Store(false)
	await("the new key", 200)
	checkAnswers(t, at, map[string]answer{
		"the key that is kept":         {ofKept, 200, ""},
		"a withdrawn key, seen before": {ofWithdrawn, 401, `error="invalid_token"`},
		"a withdrawn key, not seen":    {unseen, 401, `error="invalid_token"`},
	})
}

// Token exchange (RFC 8693) for an audience: the server behind the edge gets tokens for itself
// alone, of JWTs and of opaque tokens, after a login.
func TestZitadelExchange(t *testing.T) {
	for name, opaque := range map[string]bool{"JWT": false, "opaque": true} {
		t.Run(name, func(t *testing.T) {
			port := testcaddy.FreePort(t)
			at, ofIssuer := endpoint(port), ""
			if opaque {
				ofIssuer = introspect(secretBasic)
			}
			s := startZitadel(t, at, opaque, newKey(t, jose.ES256, "one"))
			g := newGuarded(t, s.public, s.URL, internalMCP)
			run(t, port, "/mcp "+g.URL+"/mcp {", rules(s.URL, ofIssuer, exchange("audience", internalMCP, "caddy-secret", secretBasic)))
			checkExchange(t, &login{id: zitadelClient}, at, s.server, g, s.token(t, "mallory", "mcp:read", at))
			s.down.Store(true)
			checkAway(t, at, s.token(t, "bob", "mcp:read", at))
		})
	}
}

// A token that was revoked is verified by its signature, but not exchanged: the client has to log
// in again.
func TestZitadelExchangeOfARevokedToken(t *testing.T) {
	port := testcaddy.FreePort(t)
	at := endpoint(port)
	s := startZitadel(t, at, false, newKey(t, jose.ES256, "one"))
	g := newGuarded(t, s.public, s.URL, internalMCP)
	run(t, port, "/mcp "+g.URL+"/mcp {", rules(s.URL, "", exchange("audience", internalMCP, "caddy-secret", secretBasic)))
	token := s.token(t, "alice", "mcp:read", at)
	s.revoke(t, token)
	checkRevoked(t, at, g, token, s.token(t, "mallory", "mcp:read", at))
}

// What is wrong with the configuration is no fault of the client.
func TestZitadelExchangeIsConfiguredWrongly(t *testing.T) {
	for name, tc := range map[string]struct {
		kind, target, secret string
		status               int
	}{
		"an audience that the server does not know": {"audience", "elsewhere", "caddy-secret", 502},
		"a resource, which it ignores":              {"resource", internalMCP, "caddy-secret", 502},
		"a wrong secret":                            {"audience", internalMCP, "wrong-secret", 502},
	} {
		t.Run(name, func(t *testing.T) {
			port := testcaddy.FreePort(t)
			at := endpoint(port)
			s := startZitadel(t, at, false, newKey(t, jose.ES256, "one"))
			g := newGuarded(t, s.public, s.URL, internalMCP)
			run(t, port, "/mcp "+g.URL+"/mcp {", rules(s.URL, "", exchange(tc.kind, tc.target, tc.secret, secretBasic)))
			if status, challenge := begin(t, at, s.token(t, "alice", "mcp:read", at)); status != tc.status || challenge != "" {
				t.Errorf("got %d %s", status, challenge)
			}
			if len(g.tokens) != 0 {
				t.Errorf("%d requests have reached the server", len(g.tokens))
			}
		})
	}
}
