package token_test

import (
	"bytes"
	"encoding/json"
	"reflect"
	"testing"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/authorize/principal"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/authorize/token"
)

// Claims that are accepted are those that encoding/json sees, and none of them is there
// twice.
func FuzzParseClaims(f *testing.F) {
	for _, seed := range []string{
		`{"iss":"https://a.example","aud":["a","b"],"exp":1e9,"sub":"x","scope":"a b"}`, `{"sub":"a","sub":"b"}`, `{"SUB":"a","sub":"b"}`,
		`{"exp":-1}`, `{"exp":1e400}`, `{"a":1e700}`, `{"a":[{"b":-1e400}]}`, `{"aud":null}`, `null`, `[]`, `1`, `{"a":1e-999}`, `{"a":1} x`, `{"cnf":{"jkt":"x","jkt":"y"}}`, `{"a":1}{"b":2}`, "{\"s\\u0075b\":\"a\"}",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, doc []byte) {
		claims, err := token.ParseClaims(doc)
		if err != nil {
			return
		}
		var plain map[string]any
		var numbers map[string]any
		d := json.NewDecoder(bytes.NewReader(doc))
		d.UseNumber()
		if err := d.Decode(&numbers); err != nil || !reflect.DeepEqual(numbers, claims.All) {
			t.Fatalf("accepted %q as %v, which encoding/json reads as %v, %v", doc, claims.All, numbers, err)
		}
		if err := json.Unmarshal(doc, &plain); err != nil || len(plain) != len(claims.All) {
			t.Fatalf("accepted %q, which encoding/json reads as %v, %v", doc, plain, err)
		}
		if sub, ok := plain["sub"].(string); ok && claims.All["sub"] != sub {
			t.Errorf("subject %v; encoding/json has %q", claims.All["sub"], sub)
		}
		p, refusal := claims.Principal(principal.Token)
		if (p == nil) == (refusal == nil) {
			t.Errorf("got %v and %v", p, refusal)
		}
		_ = claims.CheckTimes(time.Now())
	})
}

func FuzzParse(f *testing.F) {
	f.Add("eyJhbGciOiJub25lIn0.e30.")
	f.Add("eyJhbGciOiJFUzI1NiJ9.e30.AA")
	f.Add("eyJhbGciOiJFUzI1NiIsImNyaXQiOlsiYiJdfQ.e30.AA")
	f.Fuzz(func(t *testing.T, raw string) {
		if p, refusal := token.Parse(raw); (p == nil) == (refusal == nil) {
			t.Errorf("got %v and %v", p, refusal)
		}
	})
}
