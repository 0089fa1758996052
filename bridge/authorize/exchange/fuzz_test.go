package exchange

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/authorize/fetch"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/authorize/principal"
)

// A token that is accepted is the one that encoding/json sees, can be the value of a header
// field, and is said to be Bearer.
func FuzzRead(f *testing.F) {
	for _, seed := range []string{
		strings.ReplaceAll(usable, "%d", "1"), `{}`, `null`, `[]`, `{"access_token":"a","access_token":"b"}`,
		`{"access_token":"a","issued_token_type":"urn:ietf:params:oauth:token-type:jwt","token_type":"bearer","expires_in":1e400}`,
		`{"access_token":"a b","issued_token_type":"urn:ietf:params:oauth:token-type:access_token","token_type":"Bearer"}`,
		`{"ACCESS_TOKEN":"x","access_token":"a","issued_token_type":"urn:ietf:params:oauth:token-type:access_token","token_type":"Bearer","expires_in":0.5}`,
		`{"access_token":"a","issued_token_type":"urn:ietf:params:oauth:token-type:jwt","token_type":"BeArer","":1e700}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, doc []byte) {
		got, err := read(doc, AccessToken)
		if err != nil {
			if got.token != "" {
				t.Fatalf("%q: a token beside %v", doc, err)
			}
			return
		}
		var plain map[string]any
		if err := json.Unmarshal(doc, &plain); err != nil {
			t.Fatalf("accepted %q: %v", doc, err)
		}
		kind, _ := plain["token_type"].(string)
		issued, _ := plain["issued_token_type"].(string)
		if plain["access_token"] != got.token || got.token == "" || !strings.EqualFold(kind, "bearer") || issued != string(AccessToken) && issued != string(JWT) {
			t.Fatalf("%q: got %q", doc, got.token)
		}
		if strings.ContainsFunc(got.token, func(r rune) bool { return r <= ' ' || r > '~' || r == ',' || r == '"' }) {
			t.Fatalf("the token %q", got.token)
		}
		if age := got.age(); age <= 0 || age > maxAge*time.Second {
			t.Fatalf("%q lives %v", doc, age)
		}
	})
}

// What an issuer says in a refusal is shown in bounds, without secrets, and is never a token.
func FuzzRefusal(f *testing.F) {
	for _, seed := range []string{`{"error":"invalid_grant","error_description":"Zq7-subject-Token"}`, `{"error":"x","error_description":"\u0007Zq7-client-Secret"}`, `{"error":1}`, `[]`} {
		f.Add(400, []byte(seed))
	}
	f.Fuzz(func(t *testing.T, status int, doc []byte) {
		x := New(Config{Credentials: fetch.Credentials{ID: "edge", Secret: "Zq7-client-Secret"}})
		refusal := x.refusal(&principal.Principal{Issuer: issuer, Subject: "alice"}, status, doc, "Zq7-subject-Token")
		if refusal.Cause == nil || refusal.Reason.Text() == "" {
			t.Fatalf("%q: got %+v", doc, refusal)
		}
		text := refusal.Error()
		if strings.Contains(text, "Zq7-subject-Token") || strings.Contains(text, "Zq7-client-Secret") || len(text) > 4*maxShown+200 {
			t.Fatalf("%q is shown as %q", doc, text)
		}
	})
}
