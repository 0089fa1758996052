package credential_test

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"runtime"
	"strings"
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

// E1: a proof may be signed with each algorithm that a token may have.
func TestProofsOfEachAlgorithm(t *testing.T) {
	s := issuertest.Start(t, issuertest.NewKey(t, jose.ES256, "one"))
	a := newAuthenticator(t, credential.Config{Issuers: at(s), DPoP: credential.Required})
	for _, alg := range []jose.SignatureAlgorithm{jose.RS256, jose.PS256, jose.ES256, jose.ES384, jose.EdDSA, keyset.Ed25519} {
		key := issuertest.NewKey(t, alg, "")
		token := s.Token(endpoint, map[string]any{"cnf": map[string]any{"jkt": key.Thumbprint(t)}})
		proof := key.Proof(t, "POST", endpoint, token, nil)
		req := request("DPoP", token)
		req.DPoP = []string{proof[:len(proof)-8] + "AAAAAAAA"}
		_, refusal := a.Authenticate(t.Context(), req)
		want(t, refusal, principal.InvalidProof, principal.ProofKey)
		req.DPoP = []string{proof}
		_, refusal = a.Authenticate(t.Context(), req)
		want(t, refusal, "", "")
	}
}

// E1: each member of a DPoP proof is checked, and a proof counts once.
func TestProofs(t *testing.T) {
	s := issuertest.Start(t, issuertest.NewKey(t, jose.ES256, "one"))
	mine, other := issuertest.NewKey(t, jose.ES256, ""), issuertest.NewKey(t, jose.RS256, "")
	a := newAuthenticator(t, credential.Config{Issuers: at(s), DPoP: credential.Optional})
	bound := s.Token(endpoint, map[string]any{"cnf": map[string]any{"jkt": mine.Thumbprint(t)}})
	plain := s.Token(endpoint, nil)
	now := time.Now().Unix()
	proof := func(claims map[string]any) string { return mine.Proof(t, "POST", endpoint, bound, claims) }
	sign := func(k issuertest.Key, header map[jose.HeaderKey]any) string {
		return k.Sign(t, map[string]any{"htm": "POST", "htu": endpoint, "iat": now, "jti": rand.Text()}, header)
	}
	used := proof(nil)
	for _, tc := range []struct {
		name, scheme, token, proof string
		code                       principal.Code
		reason                     principal.Reason
	}{
		{"good", "DPoP", bound, used, "", ""},
		{"replayed", "DPoP", bound, used, principal.InvalidProof, principal.ProofReplayed},
		{"same id", "DPoP", bound, proof(map[string]any{"jti": "same"}), "", ""},
		{"same id again", "DPoP", bound, proof(map[string]any{"jti": "same", "iat": now - 1}), principal.InvalidProof, principal.ProofReplayed},
		{"URL of another form", "dpop", bound, proof(map[string]any{"htu": "HTTPS://MCP.example.com:443/%6dcp?a=b#c"}), "", ""},
		{"clock behind", "DPoP", bound, proof(map[string]any{"iat": now + 50}), "", ""},
		{"as Bearer", "Bearer", bound, proof(nil), principal.InvalidToken, principal.Unbound},
		{"token that is not bound", "DPoP", plain, mine.Proof(t, "POST", endpoint, plain, nil), principal.InvalidToken, principal.NotBound},
		{"Bearer, not bound", "Bearer", plain, "", "", ""},
		{"no proof", "DPoP", bound, "", principal.InvalidProof, principal.Unbound},
		{"another key", "DPoP", bound, other.Proof(t, "POST", endpoint, bound, nil), principal.InvalidToken, principal.NotBound},
		{"another URL", "DPoP", bound, proof(map[string]any{"htu": endpoint + "/x"}), principal.InvalidProof, principal.ProofURL},
		{"another host", "DPoP", bound, proof(map[string]any{"htu": "https://mcp.example.com.evil.example/mcp"}), principal.InvalidProof, principal.ProofURL},
		{"user in the URL", "DPoP", bound, proof(map[string]any{"htu": "https://a@mcp.example.com/mcp"}), principal.InvalidProof, principal.ProofURL},
		{"slash encoded", "DPoP", bound, proof(map[string]any{"htu": "https://mcp.example.com%2fmcp"}), principal.InvalidProof, principal.ProofURL},
		{"http", "DPoP", bound, proof(map[string]any{"htu": "http://mcp.example.com/mcp"}), principal.InvalidProof, principal.ProofURL},
		{"no URL", "DPoP", bound, proof(map[string]any{"htu": nil}), principal.InvalidProof, principal.ProofURL},
		{"another method", "DPoP", bound, proof(map[string]any{"htm": "GET"}), principal.InvalidProof, principal.ProofMethod},
		{"method in lower case", "DPoP", bound, proof(map[string]any{"htm": "post"}), principal.InvalidProof, principal.ProofMethod},
		{"old", "DPoP", bound, proof(map[string]any{"iat": now - 70}), principal.InvalidProof, principal.ProofTime},
		{"from the future", "DPoP", bound, proof(map[string]any{"iat": now + 70}), principal.InvalidProof, principal.ProofTime},
		{"no iat", "DPoP", bound, proof(map[string]any{"iat": nil}), principal.InvalidProof, principal.ProofMalformed},
		{"no id", "DPoP", bound, proof(map[string]any{"jti": nil}), principal.InvalidProof, principal.ProofMalformed},
		{"long id", "DPoP", bound, proof(map[string]any{"jti": strings.Repeat("j", 300)}), principal.InvalidProof, principal.ProofMalformed},
		{"another token", "DPoP", bound, mine.Proof(t, "POST", endpoint, plain, nil), principal.InvalidProof, principal.ProofToken},
		{"no ath", "DPoP", bound, proof(map[string]any{"ath": nil}), principal.InvalidProof, principal.ProofToken},
		{"no typ", "DPoP", bound, sign(mine, map[jose.HeaderKey]any{"jwk": mine.Public()}), principal.InvalidProof, principal.ProofMalformed},
		{"no key", "DPoP", bound, sign(mine, map[jose.HeaderKey]any{jose.HeaderType: "dpop+jwt"}), principal.InvalidProof, principal.ProofMalformed},
		{"private key", "DPoP", bound, sign(mine, map[jose.HeaderKey]any{jose.HeaderType: "dpop+jwt", "jwk": mine.JSONWebKey}), principal.InvalidProof, principal.ProofMalformed},
		{"signed by another", "DPoP", bound, sign(issuertest.NewKey(t, jose.ES256, ""), map[jose.HeaderKey]any{jose.HeaderType: "dpop+jwt", "jwk": mine.Public()}), principal.InvalidProof, principal.ProofKey},
		{"not a JWT", "DPoP", bound, "x", principal.InvalidProof, principal.ProofMalformed},
		{"long", "DPoP", bound, strings.Repeat("x", 9<<10), principal.InvalidProof, principal.ProofMalformed},
	} {
		t.Run(tc.name, func(t *testing.T) {
			req := request(tc.scheme, tc.token)
			if tc.proof != "" {
				req.DPoP = []string{tc.proof}
			}
			_, refusal := a.Authenticate(t.Context(), req)
			want(t, refusal, tc.code, tc.reason)
		})
	}
}

// E1: with `required` a token without a binding is refused.
func TestProofsThatAreRequired(t *testing.T) {
	s := issuertest.Start(t, issuertest.NewKey(t, jose.ES256, "one"))
	a := newAuthenticator(t, credential.Config{Issuers: at(s), DPoP: credential.Required})
	_, refusal := a.Authenticate(t.Context(), request("Bearer", s.Token(endpoint, nil)))
	want(t, refusal, principal.InvalidToken, principal.WrongScheme)
	raw := s.Token(endpoint, nil)
	req := request("DPoP", raw)
	req.DPoP = []string{issuertest.NewKey(t, jose.ES256, "").Proof(t, "POST", endpoint, raw, nil)}
	_, refusal = a.Authenticate(t.Context(), req)
	want(t, refusal, principal.InvalidToken, principal.NotBound)
}

// E1: a nonce of one replica is good at the next with the same key, for five minutes, and at
// no other endpoint.
func TestNoncesOfReplicas(t *testing.T) {
	s := issuertest.Start(t, issuertest.NewKey(t, jose.ES256, "one"))
	mine := issuertest.NewKey(t, jose.ES256, "")
	clock := time.Now()
	replica := func(key, name string) *credential.Authenticator {
		return newAuthenticator(t, credential.Config{
			Issuers: at(s), DPoP: credential.Required, NonceKey: []byte(key), Endpoint: name, Now: func() time.Time { return clock },
		})
	}
	first, second, elsewhere, foreign := replica("k", "e"), replica("k", "e"), replica("k", "other"), replica("l", "e")
	raw := s.Token(endpoint, map[string]any{"cnf": map[string]any{"jkt": mine.Thumbprint(t)}, "exp": clock.Add(time.Hour).Unix()})
	send := func(a *credential.Authenticator, nonce string) (credential.Result, *principal.Refusal) {
		claims := map[string]any{"nonce": nonce, "iat": clock.Unix()}
		if nonce == "" {
			claims["nonce"] = nil
		}
		req := request("DPoP", raw)
		req.DPoP = []string{mine.Proof(t, "POST", endpoint, raw, claims)}
		return a.Authenticate(t.Context(), req)
	}
	got, refusal := send(first, "")
	want(t, refusal, principal.UseNonce, principal.ProofNonce)
	nonce := got.Nonce
	if nonce == "" {
		t.Fatal("no nonce")
	}
	got, refusal = send(second, nonce)
	want(t, refusal, "", "")
	if got.Nonce != "" {
		t.Error("a fresh nonce is renewed")
	}
	for name, a := range map[string]*credential.Authenticator{"another endpoint": elsewhere, "another key": foreign} {
		_, refusal := send(a, nonce)
		if refusal == nil || refusal.Code != principal.UseNonce {
			t.Errorf("%s: got %v", name, refusal)
		}
	}
	for _, bad := range []string{nonce[1:], nonce + "A", "x", strings.Repeat("A", 32)} {
		_, refusal := send(first, bad)
		want(t, refusal, principal.UseNonce, principal.ProofNonce)
	}
	clock = clock.Add(3 * time.Minute)
	got, refusal = send(first, nonce)
	want(t, refusal, "", "")
	if got.Nonce == "" || got.Nonce == nonce {
		t.Error("an old nonce is not renewed")
	}
	clock = clock.Add(3 * time.Minute)
	_, refusal = send(first, nonce)
	want(t, refusal, principal.UseNonce, principal.ProofNonce)
}

// E1: ten thousand distinct bad tokens leave nothing behind, and have the issuer asked once
// in 10 s at most.
func TestFloodOfBadTokens(t *testing.T) {
	s := issuertest.Start(t, issuertest.NewKey(t, jose.EdDSA, "one"))
	usable := map[string]any{"iat": nil, "exp": time.Now().AddDate(100, 0, 0).Unix()}
	good := s.Token(endpoint, usable)
	part := strings.Split(good, ".")
	encode := func(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	synctest.Test(t, func(t *testing.T) {
		a, err := credential.New(credential.Config{Issuers: at(s), DPoP: credential.Optional, Client: fetch.New(s.InProcess())})
		if err != nil {
			t.Fatal(err)
		}
		defer a.Close()
		if _, refusal := a.Authenticate(t.Context(), request("Bearer", good)); refusal != nil {
			t.Fatal(refusal)
		}
		before := heap()
		for n := range 10_000 {
			header, payload := part[0], encode(fmt.Sprintf(`{"iss":%q,"jti":"%d"}`, s.URL, n))
			if n%2 == 1 {
				header = encode(fmt.Sprintf(`{"alg":"EdDSA","kid":"kid-%d"}`, n))
			}
			if _, refusal := a.Authenticate(t.Context(), request("Bearer", header+"."+payload+"."+part[2])); refusal == nil {
				t.Fatal("accepted")
			}
			if n == 5_000 {
				time.Sleep(10 * time.Second)
			}
		}
		if after := heap(); after > before+1<<20 {
			t.Errorf("%d bytes more are held", after-before)
		}
		if n := s.Asked("/jwks"); n != 2 {
			t.Errorf("the keys were fetched %d times; want 2", n)
		}
	})
}
