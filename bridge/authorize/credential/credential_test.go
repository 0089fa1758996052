package credential_test

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/authorize/credential"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/authorize/fetch"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/authorize/keyset"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/authorize/principal"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/issuertest"
)

const endpoint = "https://mcp.example.com/mcp"

// request is one with a token in Authorization.
func request(scheme, token string) credential.Request {
	return credential.Request{
		Authorization: []string{scheme + " " + token}, Method: http.MethodPost, URL: endpoint, Audiences: []string{endpoint, endpoint + "/"},
	}
}

func newAuthenticator(t *testing.T, cfg credential.Config) *credential.Authenticator {
	t.Helper()
	a, err := credential.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	return a
}

func at(s *issuertest.Server) []credential.Issuer { return []credential.Issuer{{Issuer: s.URL}} }

// want checks a refusal: its code and reason; both empty for none.
func want(t *testing.T, got *principal.Refusal, code principal.Code, reason principal.Reason) {
	t.Helper()
	switch {
	case got == nil && code != "":
		t.Errorf("accepted; want %s %s", code, reason)
	case got != nil && (got.Code != code || got.Reason != reason):
		t.Errorf("got %s %s (%v); want %q %q", got.Code, got.Reason, got, code, reason)
	case got != nil && got.Reason.Text() == "":
		t.Errorf("%s has no text", got.Reason)
	}
}

// E1: tokens of each algorithm that has a public key are accepted, with what they say.
func TestTokensOfEachAlgorithm(t *testing.T) {
	for _, alg := range []jose.SignatureAlgorithm{jose.RS256, jose.PS256, jose.ES256, jose.ES384, jose.EdDSA, keyset.Ed25519} {
		t.Run(string(alg), func(t *testing.T) {
			s := issuertest.Start(t, issuertest.NewKey(t, alg, "one"))
			a := newAuthenticator(t, credential.Config{Issuers: at(s)})
			raw := s.Token(endpoint, map[string]any{"scope": "b a b", "n": 12345678901234567, "exp": time.Now().Add(time.Hour).Unix()})
			got, refusal := a.Authenticate(t.Context(), request("Bearer", raw))
			if want(t, refusal, "", ""); refusal != nil {
				return
			}
			if got.Issuer != s.URL || got.Subject != "alice" || got.ClientID != "client-1" || got.Scopes.String() != "b a" || got.Kind != principal.Token {
				t.Errorf("got %+v", got.Principal)
			}
			if n := got.Claims["n"]; n != json.Number("12345678901234567") {
				t.Errorf("a number became %v", n)
			}
			before := s.Asked("/jwks")
			again, refusal := a.Authenticate(t.Context(), request("bearer", raw))
			if refusal != nil || again.Principal != got.Principal || s.Asked("/jwks") != before {
				t.Errorf("the second time: %v, asked %d times", refusal, s.Asked("/jwks")-before)
			}
		})
	}
}

// E1: `EdDSA` and `Ed25519` (RFC 9864) are one algorithm for a key that names none. A key that
// names one of them has signed no token with the other, and no other key or signature counts.
func TestAlgorithmsOfEd25519(t *testing.T) {
	key := issuertest.NewKey(t, keyset.Ed25519, "one")
	named := func(key issuertest.Key, alg jose.SignatureAlgorithm) issuertest.Key {
		key.Algorithm = string(alg)
		return key
	}
	for _, published := range []jose.SignatureAlgorithm{"", jose.EdDSA, keyset.Ed25519} {
		s := issuertest.Start(t, named(key, published))
		a := newAuthenticator(t, credential.Config{Issuers: at(s)})
		for _, alg := range []jose.SignatureAlgorithm{jose.EdDSA, keyset.Ed25519} {
			raw := named(key, alg).Sign(t, s.Claims(endpoint, nil), nil)
			_, refusal := a.Authenticate(t.Context(), request("Bearer", raw))
			if published == "" || published == alg {
				want(t, refusal, "", "")
			} else {
				want(t, refusal, principal.InvalidToken, principal.UnknownKey)
			}
			raw = named(issuertest.NewKey(t, keyset.Ed25519, "one"), alg).Sign(t, s.Claims(endpoint, nil), nil)
			if _, refusal := a.Authenticate(t.Context(), request("Bearer", raw)); published == "" {
				want(t, refusal, principal.InvalidToken, principal.WrongSignature)
			}
		}
	}
	for _, alg := range []jose.SignatureAlgorithm{jose.RS256, jose.ES256} {
		published := issuertest.NewKey(t, alg, "one")
		s := issuertest.Start(t, named(published, ""))
		a := newAuthenticator(t, credential.Config{Issuers: at(s)})
		_, refusal := a.Authenticate(t.Context(), request("Bearer", key.Sign(t, s.Claims(endpoint, nil), nil)))
		want(t, refusal, principal.InvalidToken, principal.UnknownKey)
	}
}

// E9: the operator is told of an issuer that is written with a slash too many or too few.
func TestIssuerWithAnotherEnd(t *testing.T) {
	s := issuertest.Start(t, issuertest.NewKey(t, jose.RS256, "one"))
	a := newAuthenticator(t, credential.Config{Issuers: at(s)})
	for issuer, want := range map[string]string{
		s.URL + "/": "write `issuer " + s.URL + "/`", s.URL + "//": "", s.URL + "/x": "", "https://other.example": "", "/": "", "": "",
	} {
		_, refusal := a.Authenticate(t.Context(), credential.Request{Authorization: []string{"Bearer " + s.Token(endpoint, map[string]any{"iss": issuer})}, Audiences: []string{endpoint}})
		if refusal == nil || refusal.Reason != principal.UnknownIssuer {
			t.Fatalf("%s: got %v", issuer, refusal)
		}
		if got := fmt.Sprint(refusal.Cause); want == "" && refusal.Cause != nil || !strings.Contains(got, want) {
			t.Errorf("%s: got %s; want %s", issuer, got, want)
		}
	}
}

// E1: what each check of a token refuses.
func TestBadTokensAreRefused(t *testing.T) {
	key, other := issuertest.NewKey(t, jose.RS256, "one"), issuertest.NewKey(t, jose.RS256, "one")
	s := issuertest.Start(t, key)
	stranger := issuertest.Start(t, other)
	a := newAuthenticator(t, credential.Config{Issuers: at(s)})
	now := time.Now().Unix()
	claims := func(others map[string]any) string { return s.Token(endpoint, others) }
	header := func(h map[jose.HeaderKey]any) string { return key.Sign(t, s.Claims(endpoint, nil), h) }
	good := claims(nil)
	part := strings.Split(good, ".")
	unsigned := func(header string) string {
		return base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + part[1] + "."
	}
	hmac := issuertest.Key{JSONWebKey: jose.JSONWebKey{Key: issuertest.Set(t, key), KeyID: "one", Algorithm: "HS256"}}
	twice := strings.Replace(string(mustJSON(t, s.Claims(endpoint, nil))), `{`, `{"sub":"root",`, 1)
	for name, tc := range map[string]struct {
		raw    string
		reason principal.Reason
	}{
		"another issuer, same kid": {stranger.Token(endpoint, nil), principal.UnknownIssuer},
		"signed by a stranger":     {other.Sign(t, s.Claims(endpoint, nil), nil), principal.WrongSignature},
		"issuer with a slash":      {claims(map[string]any{"iss": s.URL + "/"}), principal.UnknownIssuer},
		"no issuer":                {claims(map[string]any{"iss": nil}), principal.UnknownIssuer},
		"issuer is a list":         {claims(map[string]any{"iss": []string{s.URL}}), principal.MalformedToken},
		"changed":                  {part[0] + "." + base64.RawURLEncoding.EncodeToString(mustJSON(t, s.Claims(endpoint, map[string]any{"sub": "root"}))) + "." + part[2], principal.WrongSignature},
		"none":                     {unsigned(`{"alg":"none"}`), principal.WrongAlgorithm},
		"None":                     {unsigned(`{"alg":"None","kid":"one"}`), principal.WrongAlgorithm},
		"no alg":                   {unsigned(`{"kid":"one"}`), principal.WrongAlgorithm},
		"alg twice":                {unsigned(`{"alg":"none","alg":"RS256"}`), principal.MalformedToken},
		"HMAC with the public key": {hmac.Sign(t, s.Claims(endpoint, nil), nil), principal.WrongAlgorithm},
		"no signature":             {part[0] + "." + part[1] + ".", principal.WrongSignature},
		"a member twice":           {key.SignBytes(t, []byte(twice), nil), principal.MalformedToken},
		"payload is a list":        {key.SignBytes(t, []byte(`[1]`), nil), principal.MalformedToken},
		"payload is null":          {key.SignBytes(t, []byte(`null`), nil), principal.MalformedToken},
		"audience":                 {claims(map[string]any{"aud": "https://other.example/mcp"}), principal.WrongAudience},
		"audience in a list":       {claims(map[string]any{"aud": []string{"a", endpoint + "x"}}), principal.WrongAudience},
		"audience of another case": {claims(map[string]any{"aud": strings.ToUpper(endpoint)}), principal.WrongAudience},
		"no audience":              {claims(map[string]any{"aud": nil}), principal.WrongAudience},
		"audience is an object":    {claims(map[string]any{"aud": map[string]any{"a": endpoint}}), principal.MalformedToken},
		"expired":                  {claims(map[string]any{"exp": now - 31}), principal.Expired},
		"no exp":                   {claims(map[string]any{"exp": nil}), principal.NoExpiry},
		"exp is a text":            {claims(map[string]any{"exp": "9999999999"}), principal.MalformedToken},
		"exp is null":              {key.SignBytes(t, []byte(`{"iss":"`+s.URL+`","exp":null}`), nil), principal.MalformedToken},
		"exp is huge":              {claims(map[string]any{"exp": 1e300}), principal.MalformedToken},
		"nbf":                      {claims(map[string]any{"nbf": now + 60}), principal.NotYetValid},
		"iat":                      {claims(map[string]any{"iat": now + 60}), principal.IssuedInFuture},
		"ID token by nonce":        {claims(map[string]any{"nonce": "x"}), principal.IDToken},
		"ID token by at_hash":      {claims(map[string]any{"at_hash": "x"}), principal.IDToken},
		"ID token of Keycloak":     {claims(map[string]any{"typ": "ID"}), principal.IDToken},
		"ID token of Cognito":      {claims(map[string]any{"token_use": "id"}), principal.IDToken},
		"refresh token":            {claims(map[string]any{"typ": "Refresh"}), principal.WrongType},
		"offline token":            {claims(map[string]any{"typ": "Offline"}), principal.WrongType},
		"logout token":             {claims(map[string]any{"events": map[string]any{"http://schemas.openid.net/event/backchannel-logout": map[string]any{}}}), principal.WrongType},
		"security event":           {claims(map[string]any{"events": map[string]any{"urn:ietf:params:scim:event:create": map[string]any{}}}), principal.WrongType},
		"typ of an ID token":       {header(map[jose.HeaderKey]any{jose.HeaderType: "id+jwt"}), principal.WrongType},
		"typ of a logout token":    {header(map[jose.HeaderKey]any{jose.HeaderType: "logout+jwt"}), principal.WrongType},
		"typ is empty":             {header(map[jose.HeaderKey]any{jose.HeaderType: ""}), principal.WrongType},
		"crit":                     {header(map[jose.HeaderKey]any{"crit": []string{"x"}, "x": 1}), principal.CriticalHeader},
		"unknown kid":              {issuertest.NewKey(t, jose.RS256, "../one").Sign(t, s.Claims(endpoint, nil), nil), principal.UnknownKey},
		"kid too long":             {issuertest.NewKey(t, jose.RS256, strings.Repeat("k", 600)).Sign(t, s.Claims(endpoint, nil), nil), principal.MalformedToken},
		"kid of another type":      {issuertest.NewKey(t, jose.ES256, "one").Sign(t, s.Claims(endpoint, nil), nil), principal.UnknownKey},
		"key in the header":        {other.Sign(t, s.Claims(endpoint, nil), map[jose.HeaderKey]any{"jwk": other.Public(), "jku": stranger.URL + "/jwks", "x5u": stranger.URL}), principal.WrongSignature},
		"bound, without proof":     {claims(map[string]any{"cnf": map[string]any{"jkt": "x"}}), principal.Unbound},
		"bound by a certificate":   {claims(map[string]any{"cnf": map[string]any{"x5t#S256": "x"}}), principal.Unbound},
		"bound in another way":     {claims(map[string]any{"cnf": map[string]any{"kid": "x"}}), principal.UnknownBinding},
		"cnf is a text":            {claims(map[string]any{"cnf": "x"}), principal.UnknownBinding},
		"cnf is empty":             {claims(map[string]any{"cnf": map[string]any{}}), principal.UnknownBinding},
		"no subject":               {claims(map[string]any{"sub": nil, "client_id": nil}), principal.NoSubject},
		"subject is a number":      {claims(map[string]any{"sub": 1}), principal.MalformedToken},
		"scope is an object":       {claims(map[string]any{"scope": map[string]any{}}), principal.MalformedToken},
		"not a JWT":                {"abcdef", principal.MalformedToken},
		"long":                     {good + strings.Repeat("A", 17<<10), principal.TokenTooLong},
		"four parts":               {good + ".e30", principal.MalformedToken},
	} {
		t.Run(name, func(t *testing.T) {
			_, refusal := a.Authenticate(t.Context(), request("Bearer", tc.raw))
			want(t, refusal, principal.InvalidToken, tc.reason)
			if refusal != nil && strings.Contains(refusal.Error(), tc.raw) {
				t.Errorf("the refusal has the token: %v", refusal)
			}
		})
	}
	if _, refusal := a.Authenticate(t.Context(), request("Bearer", good)); refusal != nil {
		t.Errorf("the good token: %v", refusal)
	}
	if n := stranger.Asked("/jwks"); n != 0 {
		t.Errorf("an address in a token was asked %d times", n)
	}
	if n := s.Asked("/jwks"); n > 2 {
		t.Errorf("the keys were fetched %d times", n)
	}
}

func mustJSON(t *testing.T, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// E1: what is near a limit and allowed.
func TestUsableTokensAreAccepted(t *testing.T) {
	key := issuertest.NewKey(t, jose.ES256, "")
	s := issuertest.Start(t, key)
	a := newAuthenticator(t, credential.Config{Issuers: []credential.Issuer{{Issuer: s.URL, Audiences: []string{"api://files"}}}})
	now := time.Now().Unix()
	for name, raw := range map[string]string{
		"no kid, no typ":       key.Sign(t, s.Claims(endpoint, nil), nil),
		"typ JWT":              key.Sign(t, s.Claims(endpoint, nil), map[jose.HeaderKey]any{jose.HeaderType: "JWT"}),
		"typ application/...":  key.Sign(t, s.Claims(endpoint, nil), map[jose.HeaderKey]any{jose.HeaderType: "application/AT+jwt"}),
		"slash":                s.Token(endpoint+"/", nil),
		"a list":               key.Sign(t, s.Claims("", map[string]any{"aud": []string{"x", endpoint}}), nil),
		"the operator's":       s.Token("api://files", nil),
		"just expired":         s.Token(endpoint, map[string]any{"exp": now - 20}),
		"clock behind":         s.Token(endpoint, map[string]any{"iat": now + 20, "nbf": now + 20}),
		"times with fractions": s.Token(endpoint, map[string]any{"exp": float64(now) + 60.5}),
		"client only":          s.Token(endpoint, map[string]any{"sub": nil}),
		"scp in a list":        s.Token(endpoint, map[string]any{"scope": nil, "scp": []string{"a", "b"}}),
		"use of Keycloak":      s.Token(endpoint, map[string]any{"typ": "Bearer"}),
		"use of Cognito":       s.Token(endpoint, map[string]any{"token_use": "access"}),
		"use unknown":          s.Token(endpoint, map[string]any{"typ": "employee", "events": map[string]any{"read": true}}),
		// White space may stand anywhere in the JSON of a header (RFC 8259, section 2).
		"header over lines":   withHeader(t, key, "{\n  \"alg\": \"ES256\"\n}", s.Claims(endpoint, nil)),
		"header with a tab":   withHeader(t, key, "{\t\"alg\":\"ES256\"}", s.Claims(endpoint, nil)),
		"header of Windows":   withHeader(t, key, "{\r\n\"alg\":\"ES256\"}", s.Claims(endpoint, nil)),
		"header after spaces": withHeader(t, key, "\n    {\"alg\":\"ES256\"}", s.Claims(endpoint, nil)),
	} {
		t.Run(name, func(t *testing.T) {
			got, refusal := a.Authenticate(t.Context(), request("Bearer", raw))
			want(t, refusal, "", "")
			if name == "scp in a list" && got.Scopes.String() != "a b" {
				t.Errorf("got scopes %q", got.Scopes)
			}
		})
	}
}

// withHeader returns a token whose header is written as in the argument.
func withHeader(t *testing.T, key issuertest.Key, header string, claims map[string]any) string {
	t.Helper()
	payload, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	signed := base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + base64.RawURLEncoding.EncodeToString(payload)
	sum := sha256.Sum256([]byte(signed))
	r, v, err := ecdsa.Sign(rand.Reader, key.Key.(*ecdsa.PrivateKey), sum[:])
	if err != nil {
		t.Fatal(err)
	}
	signature := append(r.FillBytes(make([]byte, 32)), v.FillBytes(make([]byte, 32))...)
	return signed + "." + base64.RawURLEncoding.EncodeToString(signature)
}

// E1: one credential in one place.
func TestOneCredentialInOnePlace(t *testing.T) {
	const value = "0123456789abcdef0123456789abcdef"
	s := issuertest.Start(t, issuertest.NewKey(t, jose.ES256, "one"))
	a := newAuthenticator(t, credential.Config{Issuers: at(s), Keys: []credential.Key{{Name: "backup", Value: value, Scopes: []string{"read"}}}})
	good := s.Token(endpoint, nil)
	with := func(change func(*credential.Request)) credential.Request {
		r := request("Bearer", good)
		change(&r)
		return r
	}
	for name, tc := range map[string]struct {
		req    credential.Request
		code   principal.Code
		reason principal.Reason
	}{
		"a token":             {request("Bearer", good), "", ""},
		"another case":        {request("bEARER", good), "", ""},
		"a key":               {request("Bearer", value), "", ""},
		"a key in its field":  {with(func(r *credential.Request) { r.Authorization, r.Key = nil, []string{value} }), "", ""},
		"nothing":             {with(func(r *credential.Request) { r.Authorization = nil }), principal.Missing, principal.NoCredentials},
		"Basic":               {request("Basic", "YTpi"), principal.Missing, principal.NoCredentials},
		"two fields":          {with(func(r *credential.Request) { r.Authorization = append(r.Authorization, "Basic x") }), principal.InvalidRequest, principal.TwoCredentials},
		"twice the same":      {with(func(r *credential.Request) { r.Authorization = append(r.Authorization, r.Authorization[0]) }), principal.InvalidRequest, principal.TwoCredentials},
		"two in one field":    {request("Bearer", good+", Bearer "+good), principal.InvalidRequest, principal.MalformedHeader},
		"no token":            {request("Bearer", ""), principal.InvalidRequest, principal.MalformedHeader},
		"a space":             {request("Bearer", "a b"), principal.InvalidRequest, principal.MalformedHeader},
		"token and key":       {with(func(r *credential.Request) { r.Key = []string{value} }), principal.InvalidRequest, principal.TwoCredentials},
		"two proofs":          {with(func(r *credential.Request) { r.DPoP = []string{"a", "b"} }), principal.InvalidRequest, principal.TwoCredentials},
		"query":               {with(func(r *credential.Request) { r.Query = "a=b&access_token=x" }), principal.InvalidRequest, principal.TokenInQuery},
		"query, no value":     {with(func(r *credential.Request) { r.Query = "access_token" }), principal.InvalidRequest, principal.TokenInQuery},
		"query, encoded":      {with(func(r *credential.Request) { r.Query = "a;access%5Ftoken=x" }), principal.InvalidRequest, principal.TokenInQuery},
		"query, like it":      {with(func(r *credential.Request) { r.Query = "my_access_token=x&access_tokens=y" }), "", ""},
		"a wrong key":         {request("Bearer", value+"0"), principal.InvalidToken, principal.MalformedToken},
		"a wrong key, field":  {with(func(r *credential.Request) { r.Authorization, r.Key = nil, []string{"wrong"} }), principal.InvalidToken, principal.WrongKey},
		"a token in the key":  {with(func(r *credential.Request) { r.Authorization, r.Key = nil, []string{good} }), principal.InvalidToken, principal.WrongKey},
		"DPoP, which is off":  {request("DPoP", good), principal.InvalidToken, principal.WrongScheme},
		"a key as DPoP":       {request("DPoP", value), principal.InvalidToken, principal.WrongScheme},
		"user, not asked for": {with(func(r *credential.Request) { r.Authorization, r.User = nil, "bob" }), principal.Missing, principal.NoCredentials},
	} {
		t.Run(name, func(t *testing.T) {
			_, refusal := a.Authenticate(t.Context(), tc.req)
			want(t, refusal, tc.code, tc.reason)
		})
	}
	got, _ := a.Authenticate(t.Context(), request("Bearer", value))
	if got.Principal == nil || got.KeyName != "backup" || got.Kind != principal.Key || got.Scopes.String() != "read" {
		t.Errorf("got %+v", got.Principal)
	}
}

// E1: the user of an earlier handler counts where the operator says so, and a token that is
// sent all the same is checked.
func TestCaddyUser(t *testing.T) {
	s := issuertest.Start(t, issuertest.NewKey(t, jose.ES256, "one"))
	alone := newAuthenticator(t, credential.Config{CaddyUser: true})
	both := newAuthenticator(t, credential.Config{CaddyUser: true, Issuers: at(s)})
	user := credential.Request{Authorization: []string{"Basic Ym9iOng="}, User: "bob"}
	for name, a := range map[string]*credential.Authenticator{"alone": alone, "with an issuer": both} {
		got, refusal := a.Authenticate(t.Context(), user)
		if refusal != nil || got.Subject != "bob" || got.Kind != principal.User || got.Issuer != "" {
			t.Errorf("%s: got %+v, %v", name, got.Principal, refusal)
		}
		_, refusal = a.Authenticate(t.Context(), credential.Request{})
		want(t, refusal, principal.Missing, principal.NoCredentials)
	}
	bad := request("Bearer", "abc")
	bad.User = "bob"
	_, refusal := both.Authenticate(t.Context(), bad)
	want(t, refusal, principal.InvalidToken, principal.MalformedToken)
	if got, refusal := alone.Authenticate(t.Context(), bad); refusal != nil || got.Subject != "bob" {
		t.Errorf("a token of an earlier handler: got %+v, %v", got.Principal, refusal)
	}
}

// E1: while the issuer is away nobody is told to log in again.
func TestIssuerThatIsAway(t *testing.T) {
	one, two := issuertest.NewKey(t, jose.ES256, "one"), issuertest.NewKey(t, jose.ES256, "two")
	s := issuertest.Start(t, one)
	raw := s.Token(endpoint, nil)
	s.SetDown(true)
	var mu sync.Mutex
	var reports []error
	a := newAuthenticator(t, credential.Config{Issuers: at(s), Report: func(_ string, err error) {
		mu.Lock()
		defer mu.Unlock()
		reports = append(reports, err)
	}})
	for range 3 {
		_, refusal := a.Authenticate(t.Context(), request("Bearer", raw))
		want(t, refusal, principal.Unavailable, principal.IssuerUnreachable)
		if refusal != nil && refusal.RetryAfter < time.Second {
			t.Errorf("retry after %s", refusal.RetryAfter)
		}
	}
	_, refusal := a.Authenticate(t.Context(), request("Bearer", two.Sign(t, s.Claims(endpoint, nil), nil)))
	want(t, refusal, principal.Unavailable, principal.IssuerUnreachable)
	mu.Lock()
	defer mu.Unlock()
	if len(reports) != 1 || reports[0] == nil {
		t.Errorf("reported %v; want one error", reports)
	}
}

// E1: metadata of another issuer, endless documents, redirects and websites are no keys.
func TestMetadataThatIsNotTheIssuers(t *testing.T) {
	for name, handler := range map[string]http.HandlerFunc{
		"another issuer": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprintf(w, `{"issuer":"http://%s/","jwks_uri":"http://%s/jwks"}`, r.Host, r.Host)
		},
		"endless": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprintf(w, `{"issuer":"http://%s","jwks_uri":"http://%s/jwks","x":"`, r.Host, r.Host)
			for range 300 {
				fmt.Fprint(w, strings.Repeat("x", 1<<10))
			}
			fmt.Fprint(w, `"}`)
		},
		"redirect": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://"+r.Host+"/other", http.StatusFound)
		},
		"website": func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>") },
	} {
		t.Run(name, func(t *testing.T) {
			s := issuertest.Start(t, issuertest.NewKey(t, jose.ES256, "one"))
			raw := s.Token(endpoint, nil)
			s.Config.Handler = handler
			a := newAuthenticator(t, credential.Config{Issuers: at(s)})
			_, refusal := a.Authenticate(t.Context(), request("Bearer", raw))
			want(t, refusal, principal.Unavailable, principal.IssuerUnreachable)
		})
	}
}

// E1: a rotation of keys ends what was remembered of tokens.
func TestRememberedTokensEndWithTheirKey(t *testing.T) {
	one, two := issuertest.NewKey(t, jose.ES256, "one"), issuertest.NewKey(t, jose.ES256, "two")
	s := issuertest.Start(t, one)
	raw := s.Token(endpoint, map[string]any{"exp": time.Now().AddDate(100, 0, 0).Unix(), "iat": nil})
	synctest.Test(t, func(t *testing.T) {
		a, err := credential.New(credential.Config{Issuers: at(s), Client: fetch.New(s.InProcess())})
		if err != nil {
			t.Fatal(err)
		}
		defer a.Close()
		if _, refusal := a.Authenticate(t.Context(), request("Bearer", raw)); refusal != nil {
			t.Fatal(refusal)
		}
		s.SetKeys(two)
		time.Sleep(11 * time.Second)
		_, refusal := a.Authenticate(t.Context(), request("Bearer", raw))
		want(t, refusal, "", "") // the issuer was not asked again
		_, refusal = a.Authenticate(t.Context(), request("Bearer", two.Sign(t, s.Claims(endpoint, nil), nil)))
		want(t, refusal, "", "")
		_, refusal = a.Authenticate(t.Context(), request("Bearer", raw))
		want(t, refusal, principal.InvalidToken, principal.UnknownKey)
	})
}

// Limits of the configuration have a cure each.
func TestConfigurationsThatAreRefused(t *testing.T) {
	for name, tc := range map[string]struct {
		cfg  credential.Config
		want string
	}{
		"no URL":      {credential.Config{Issuers: []credential.Issuer{{Issuer: "login.example.com"}}}, "https://"},
		"query":       {credential.Config{Issuers: []credential.Issuer{{Issuer: "https://a.example?x"}}}, "without query"},
		"twice":       {credential.Config{Issuers: []credential.Issuer{{Issuer: "https://a.example"}, {Issuer: "https://a.example"}}}, "remove one of the two"},
		"short key":   {credential.Config{Keys: []credential.Key{{Name: "a", Value: "short"}}}, "openssl rand"},
		"key, spaces": {credential.Config{Keys: []credential.Key{{Name: "a", Value: "0123456789 0123456789"}}}, "openssl rand"},
		"no name":     {credential.Config{Keys: []credential.Key{{Value: "0123456789012345678"}}}, "key NAME VALUE"},
		"same value":  {credential.Config{Keys: []credential.Key{{Name: "a", Value: "0123456789012345678"}, {Name: "b", Value: "0123456789012345678"}}}, "its own"},
	} {
		_, err := credential.New(tc.cfg)
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: got %v; want a text with %q", name, err, tc.want)
		}
		if err != nil && strings.Contains(err.Error(), "0123456789") {
			t.Errorf("%s: the error has a key: %v", name, err)
		}
	}
}

func TestRefusalsUnwrap(t *testing.T) {
	cause := errors.New("x")
	if r := (&principal.Refusal{Reason: principal.TooBusy, Cause: cause}); !errors.Is(r, cause) {
		t.Error("the cause is lost")
	}
}
