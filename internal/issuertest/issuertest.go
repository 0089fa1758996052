// Package issuertest is an authorization server for tests: it serves metadata and keys,
// signs tokens and answers questions about opaque ones. It has no logins.
package issuertest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// Key is a key that signs tokens.
type Key struct {
	jose.JSONWebKey
}

// NewKey makes a key for an algorithm: RS256, PS256, ES256, ES384, EdDSA or Ed25519.
func NewKey(tb testing.TB, alg jose.SignatureAlgorithm, id string) Key {
	tb.Helper()
	var (
		key any
		err error
	)
	switch alg {
	case jose.ES256:
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case jose.ES384:
		key, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case jose.EdDSA, ed25519Algorithm:
		_, key, err = ed25519.GenerateKey(rand.Reader)
	default:
		key, err = rsa.GenerateKey(rand.Reader, 2048)
	}
	if err != nil {
		tb.Fatal(err)
	}
	return Key{jose.JSONWebKey{Key: key, KeyID: id, Algorithm: string(alg), Use: "sig"}}
}

// ed25519Algorithm is an algorithm of RFC 9864 that go-jose does not know.
const ed25519Algorithm = "Ed25519"

// ed25519Signer signs with it.
type ed25519Signer struct{ key jose.JSONWebKey }

// Public implements [jose.OpaqueSigner].
func (s ed25519Signer) Public() *jose.JSONWebKey {
	public := s.key.Public()
	return &public
}

// Algs implements [jose.OpaqueSigner].
func (s ed25519Signer) Algs() []jose.SignatureAlgorithm {
	return []jose.SignatureAlgorithm{ed25519Algorithm}
}

// SignPayload implements [jose.OpaqueSigner].
func (s ed25519Signer) SignPayload(payload []byte, _ jose.SignatureAlgorithm) ([]byte, error) {
	return ed25519.Sign(s.key.Key.(ed25519.PrivateKey), payload), nil
}

// Sign signs a JSON object. header is added to that of the token.
func (k Key) Sign(tb testing.TB, claims any, header map[jose.HeaderKey]any) string {
	tb.Helper()
	payload, err := json.Marshal(claims)
	if err != nil {
		tb.Fatal(err)
	}
	return k.SignBytes(tb, payload, header)
}

// SignBytes signs a payload as it is.
func (k Key) SignBytes(tb testing.TB, payload []byte, header map[jose.HeaderKey]any) string {
	tb.Helper()
	opts := &jose.SignerOptions{ExtraHeaders: map[jose.HeaderKey]any{}}
	for name, value := range header {
		opts.ExtraHeaders[name] = value
	}
	var key any = k.JSONWebKey
	if k.Algorithm == ed25519Algorithm {
		key = ed25519Signer{k.JSONWebKey}
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.SignatureAlgorithm(k.Algorithm), Key: key}, opts)
	if err != nil {
		tb.Fatal(err)
	}
	jws, err := signer.Sign(payload)
	if err != nil {
		tb.Fatal(err)
	}
	text, err := jws.CompactSerialize()
	if err != nil {
		tb.Fatal(err)
	}
	return text
}

// Proof makes a DPoP proof (RFC 9449, section 4.2). Claims replace those that it makes.
func (k Key) Proof(tb testing.TB, method, url, token string, claims map[string]any) string {
	tb.Helper()
	sum := sha256.Sum256([]byte(token))
	all := map[string]any{
		"htm": method, "htu": url, "iat": time.Now().Unix(), "jti": rand.Text(),
		"ath": base64.RawURLEncoding.EncodeToString(sum[:]),
	}
	for name, value := range claims {
		if all[name] = value; value == nil {
			delete(all, name)
		}
	}
	plain := k
	plain.KeyID, plain.Use = "", ""
	return plain.Sign(tb, all, map[jose.HeaderKey]any{jose.HeaderType: "dpop+jwt", "jwk": plain.Public()})
}

// Thumbprint returns the thumbprint of a key as in `jkt`.
func (k Key) Thumbprint(tb testing.TB) string {
	tb.Helper()
	sum, err := k.JSONWebKey.Thumbprint(crypto.SHA256)
	if err != nil {
		tb.Fatal(err)
	}
	return base64.RawURLEncoding.EncodeToString(sum)
}

// Set returns the public halves of keys as a JWK set.
func Set(tb testing.TB, keys ...Key) []byte {
	tb.Helper()
	var set jose.JSONWebKeySet
	for _, k := range keys {
		set.Keys = append(set.Keys, k.Public())
	}
	doc, err := json.Marshal(set)
	if err != nil {
		tb.Fatal(err)
	}
	return doc
}

// Server is a running issuer. Its URL is the issuer.
type Server struct {
	*httptest.Server
	tb testing.TB

	mu     sync.Mutex
	keys   []Key
	down   bool
	opaque map[string]map[string]any
	asked  map[string]int
	// exchanged are the forms of token exchanges, and script answers these; it may be nil.
	exchanged []url.Values
	script    http.HandlerFunc
}

// Start starts an issuer with keys.
func Start(tb testing.TB, keys ...Key) *Server {
	tb.Helper()
	s := &Server{tb: tb, keys: keys, opaque: map[string]map[string]any{}, asked: map[string]int{}}
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(s.answer))
	s.Start()
	tb.Cleanup(s.Close)
	return s
}

// InProcess returns a transport that asks the issuer without a network, as tests with
// testing/synctest need it.
func (s *Server) InProcess() http.RoundTripper { return inProcess{s} }

type inProcess struct{ s *Server }

func (t inProcess) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	t.s.answer(w, r)
	return w.Result(), nil
}

// SetKeys replaces the keys.
func (s *Server) SetKeys(keys ...Key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys = keys
}

// SetDown makes every answer 503, or ends that.
func (s *Server) SetDown(down bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down = down
}

// Opaque makes a token that the issuer can be asked about. answer may be nil: then the
// token is not active.
func (s *Server) Opaque(answer map[string]any) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	raw := "opaque-" + rand.Text()
	s.opaque[raw] = answer
	return raw
}

// Asked returns how often a path was asked.
func (s *Server) Asked(path string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked[path]
}

// SetExchange has token exchanges answered by a function; nil ends that. Without it the client
// edge with the secret edge-secret gets a JWT for the first audience or resource and the
// subject of its token.
func (s *Server) SetExchange(script http.HandlerFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.script = script
}

// Exchanged returns the forms of token exchanges.
func (s *Server) Exchanged() []url.Values {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.exchanged)
}

// Claims returns the claims of a usable access token. Others replace them; nil removes one.
func (s *Server) Claims(audience string, others map[string]any) map[string]any {
	now := time.Now().Unix()
	all := map[string]any{
		"iss": s.URL, "aud": audience, "sub": "alice", "client_id": "client-1", "scope": "",
		"iat": now, "exp": now + 300, "jti": rand.Text(),
	}
	for name, value := range others {
		if all[name] = value; value == nil {
			delete(all, name)
		}
	}
	return all
}

// Token signs a usable access token with the first key.
func (s *Server) Token(audience string, others map[string]any) string {
	s.mu.Lock()
	key := s.keys[0]
	s.mu.Unlock()
	return key.Sign(s.tb, s.Claims(audience, others), map[jose.HeaderKey]any{jose.HeaderType: "at+jwt"})
}

func (s *Server) answer(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.asked[r.URL.Path]++
	down, keys := s.down, s.keys
	s.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	switch {
	case down:
		w.WriteHeader(http.StatusServiceUnavailable)
	case r.URL.Path == "/.well-known/oauth-authorization-server":
		_ = json.NewEncoder(w).Encode(map[string]any{
			"issuer": s.URL, "jwks_uri": s.URL + "/jwks", "introspection_endpoint": s.URL + "/introspect",
			"authorization_endpoint": s.URL + "/authorize", "token_endpoint": s.URL + "/token",
			"response_types_supported": []string{"code"}, "code_challenge_methods_supported": []string{"S256"},
		})
	case r.URL.Path == "/jwks":
		_, _ = w.Write(Set(s.tb, keys...))
	case r.URL.Path == "/introspect" && r.Method == http.MethodPost:
		s.introspect(w, r)
	case r.URL.Path == "/token" && r.Method == http.MethodPost:
		s.exchange(w, r)
	default:
		http.NotFound(w, r)
	}
}

func (s *Server) introspect(w http.ResponseWriter, r *http.Request) {
	if user, secret, ok := r.BasicAuth(); !ok || user != "edge" || secret != "edge-secret" {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	s.mu.Lock()
	claims := s.opaque[r.FormValue("token")]
	s.mu.Unlock()
	answer := map[string]any{"active": claims != nil}
	for name, value := range claims {
		answer[name] = value
	}
	_ = json.NewEncoder(w).Encode(answer)
}

// exchange answers a token exchange (RFC 8693). It verifies no token.
func (s *Server) exchange(w http.ResponseWriter, r *http.Request) {
	_ = r.ParseForm()
	s.mu.Lock()
	s.exchanged = append(s.exchanged, r.PostForm)
	script := s.script
	s.mu.Unlock()
	if script != nil {
		script(w, r)
		return
	}
	user, secret, ok := r.BasicAuth()
	if !ok {
		user, secret = r.PostFormValue("client_id"), r.PostFormValue("client_secret")
	}
	refuse := func(status int, code string) {
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(map[string]any{"error": code})
	}
	if user != "edge" || secret != "edge-secret" {
		refuse(http.StatusUnauthorized, "invalid_client")
		return
	}
	subject := s.subject(r.PostFormValue("subject_token"))
	targets := append(r.PostForm["audience"], r.PostForm["resource"]...)
	if subject == "" || len(targets) == 0 {
		refuse(http.StatusBadRequest, "invalid_request")
		return
	}
	_ = json.NewEncoder(w).Encode(map[string]any{
		"access_token": s.Token(targets[0], map[string]any{"sub": subject, "client_id": user, "scope": r.PostFormValue("scope")}),
		"token_type":   "Bearer", "expires_in": 300, "issued_token_type": "urn:ietf:params:oauth:token-type:access_token",
	})
}

// subject returns the subject of a token of this issuer.
func (s *Server) subject(raw string) string {
	s.mu.Lock()
	claims := s.opaque[raw]
	s.mu.Unlock()
	if jws, err := jose.ParseSignedCompact(raw, []jose.SignatureAlgorithm{jose.RS256, jose.ES256, jose.EdDSA}); err == nil {
		_ = json.Unmarshal(jws.UnsafePayloadWithoutVerification(), &claims)
	}
	subject, _ := claims["sub"].(string)
	return subject
}
