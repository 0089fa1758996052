package token_test

import (
	"testing"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/authorize/token"
)

func BenchmarkParseClaims(b *testing.B) {
	doc := []byte(`{"iss":"https://login.example.com/realms/one","aud":["https://mcp.example.com/mcp","account"],"sub":"4fbdc1f7-0a8e-4d4c-a2ab-67a62c8d0a1f",` +
		`"azp":"client-1","exp":1795950709,"iat":1795950409,"jti":"0b6d4f0a","scope":"files:read files:write","realm_access":{"roles":["a","b","c"]},"email_verified":true}`)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := token.ParseClaims(doc); err != nil {
			b.Fatal(err)
		}
	}
}
