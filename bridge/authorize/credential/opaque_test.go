package credential_test

import (
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/authorize/credential"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/authorize/fetch"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/authorize/principal"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/issuertest"
)

// E1: an opaque token is asked about, once a minute at most, and no longer than it lives.
func TestOpaqueTokens(t *testing.T) {
	s := issuertest.Start(t, issuertest.NewKey(t, jose.ES256, "one"))
	clock := time.Now()
	a := newAuthenticator(t, credential.Config{
		Issuers: []credential.Issuer{{Issuer: s.URL, Introspect: &credential.Introspect{Credentials: fetch.Credentials{ID: "edge", Secret: "edge-secret"}}}},
		Now:     func() time.Time { return clock },
	})
	alice := map[string]any{"sub": "alice", "scope": "read", "aud": endpoint, "iss": s.URL}
	raw := s.Opaque(alice)
	ask := func(raw string) (credential.Result, *principal.Refusal) {
		return a.Authenticate(t.Context(), request("Bearer", raw))
	}
	for range 10 {
		if got, refusal := ask(raw); refusal != nil || got.Subject != "alice" || got.Kind != principal.Introspected || got.Issuer != s.URL {
			t.Fatalf("got %+v, %v", got.Principal, refusal)
		}
	}
	if n := s.Asked("/introspect"); n != 1 {
		t.Errorf("asked %d times; want 1", n)
	}
	clock = clock.Add(61 * time.Second)
	_, _ = ask(raw)
	if n := s.Asked("/introspect"); n != 2 {
		t.Errorf("asked %d times after a minute; want 2", n)
	}
	short := s.Opaque(map[string]any{"sub": "alice", "aud": []string{"other", endpoint}, "exp": clock.Unix() + 5})
	_, _ = ask(short)
	clock = clock.Add(36 * time.Second)
	_, refusal := ask(short)
	want(t, refusal, principal.InvalidToken, principal.Expired)
	for name, tc := range map[string]struct {
		answer map[string]any
		reason principal.Reason
	}{
		"inactive":       {nil, principal.Inactive},
		"active is text": {map[string]any{"active": "true", "sub": "alice"}, principal.IssuerUnreachable},
		"audience":       {map[string]any{"sub": "alice", "aud": "other"}, principal.WrongAudience},
		"no audience":    {map[string]any{"sub": "alice"}, principal.NoAudience},
		"empty audience": {map[string]any{"sub": "alice", "aud": []string{}}, principal.NoAudience},
		"issuer":         {map[string]any{"sub": "alice", "iss": "https://other.example"}, principal.UnknownIssuer},
		"nobody":         {map[string]any{"scope": "read", "aud": endpoint}, principal.NoSubject},
		"refresh token":  {map[string]any{"sub": "alice", "aud": endpoint, "token_use": "refresh_token"}, principal.WrongType},
		"by its type":    {map[string]any{"sub": "alice", "aud": endpoint, "token_type": "refresh_token"}, principal.WrongType},
		"offline token":  {map[string]any{"sub": "alice", "aud": endpoint, "typ": "Offline"}, principal.WrongType},
		"ID token":       {map[string]any{"sub": "alice", "aud": endpoint, "token_use": "id_token"}, principal.IDToken},
		"security event": {map[string]any{"sub": "alice", "aud": endpoint, "events": map[string]any{"urn:x": nil}}, principal.WrongType},
		"bound":          {map[string]any{"sub": "alice", "aud": endpoint, "cnf": map[string]any{"jkt": "x"}}, principal.Unbound},
	} {
		_, refusal := ask(s.Opaque(tc.answer))
		if refusal == nil || refusal.Reason != tc.reason {
			t.Errorf("%s: got %v; want %s", name, refusal, tc.reason)
		}
	}
	s.SetDown(true)
	_, refusal = ask(s.Opaque(alice))
	want(t, refusal, principal.Unavailable, principal.IssuerUnreachable)
	if strings.Contains(refusal.Error(), "edge-secret") || strings.Contains(refusal.Error(), "opaque-") {
		t.Errorf("the cause has a secret: %v", refusal)
	}
}

// E1: where the operator says that an answer need not name an audience, one that it names has to
// be right all the same.
func TestOpaqueTokensWithoutAudience(t *testing.T) {
	s := issuertest.Start(t, issuertest.NewKey(t, jose.ES256, "one"))
	a := newAuthenticator(t, credential.Config{Issuers: []credential.Issuer{{
		Issuer: s.URL, Introspect: &credential.Introspect{Credentials: fetch.Credentials{ID: "edge", Secret: "edge-secret"}, AudienceOptional: true},
	}}})
	for _, tc := range []struct {
		audience any
		code     principal.Code
		reason   principal.Reason
	}{{nil, "", ""}, {[]string{}, "", ""}, {endpoint, "", ""}, {"other", principal.InvalidToken, principal.WrongAudience}} {
		answer := map[string]any{"sub": "alice"}
		if tc.audience != nil {
			answer["aud"] = tc.audience
		}
		_, refusal := a.Authenticate(t.Context(), request("Bearer", s.Opaque(answer)))
		want(t, refusal, tc.code, tc.reason)
	}
}
