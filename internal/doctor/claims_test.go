package doctor

import (
	"encoding/base64"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/doctor/report"
)

// jwtWith returns an unsigned token with claims.
func jwtWith(claims string) string {
	b64 := base64.RawURLEncoding.EncodeToString
	return b64([]byte(`{"alg":"none"}`)) + "." + b64([]byte(claims)) + "." + b64([]byte("signature"))
}

// A token is explained against the endpoint, whether the server accepts it or not. Its
// subject and its other claims are not shown.
func TestExplain(t *testing.T) {
	const good = `"aud":"` + mcpURL + `","iss":"` + issuerURL + `","sub":"alice-s3cr3t"`
	for name, tc := range map[string]struct {
		token string
		rule  string // of the finding
		want  string
		shown string // in the line about the token
	}{
		"good": {jwtWith("{" + good + `,"exp":4102444800,"scope":"mcp:read more"}`), "token.scope", "", "Token: issuer " + issuerURL + "; audience " + mcpURL + "; scopes mcp:read more; expires 2100-01-01T00:00:00Z"},
		// Scopes are what people look for, so that a long issuer does not cut them off.
		"several scopes":   {jwtWith("{" + good + `,"exp":4102444800,"scope":"mcp:read https://mcp.example.com/mcp/access files:read files:write"}`), "token.scope", "", "scopes mcp:read https://mcp.example.com/mcp/access files:read files:write;"},
		"opaque":           {"opaque", "token.time", "", "not a JWT"},
		"another issuer":   {jwtWith(`{"aud":"` + mcpURL + `","iss":"https://other.example.com"}`), "token.issuer", "warn: the token is from https://other.example.com, but the server's authorization server is " + issuerURL, "issuer https://other.example.com"},
		"too few scopes":   {jwtWith("{" + good + `,"scp":["mcp:write"]}`), "token.scope", "warn: the token does not have the scopes that WWW-Authenticate names: mcp:read", "scopes mcp:write"},
		"a DPoP token":     {jwtWith("{" + good + `,"cnf":{"jkt":"key-s3cr3t"}}`), "token.binding", "warn: the token is bound to a DPoP key, so a request with only the token must be refused", "bound to a DPoP key"},
		"a certificate's":  {jwtWith("{" + good + `,"cnf":{"x5t#S256":"x"}}`), "token.binding", "warn: the token is bound to a client certificate, so a request with only the token must be refused", "bound to a client certificate"},
		"not valid yet":    {jwtWith("{" + good + `,"nbf":4102444800}`), "token.time", "warn: the token is not valid before 2100-01-01T00:00:00Z", "audience"},
		"expired":          {jwtWith("{" + good + `,"exp":946684800}`), "token.time", "warn: the token expired at 2000-01-01T00:00:00Z", "expires 2000-01-01T00:00:00Z"},
		"expires at never": {jwtWith("{" + good + `,"exp":1e300}`), "token.time", "", "audience"},
		"another audience": {jwtWith(`{"aud":["https://other.example.com"]}`), "token.audience", "fail: the server refuses the token (401); it was issued for https://other.example.com, not for " + mcpURL, "audience https://other.example.com"},
		"no claims":        {jwtWith(`{}`), "token.time", "", "a JWT without the usual claims"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite()
			s.answer = func(w http.ResponseWriter, r *http.Request) {
				token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
				c, _ := readClaims(token)
				switch {
				case !ok:
					s.refuse(w, "")
				case len(c.Audience) > 0 && c.Audience[0] != mcpURL:
					s.refuse(w, `, error="invalid_token"`)
				default:
					speak(w, r)
				}
			}
			s.start(t)
			r, err := Run(t.Context(), Options{URL: mcpURL, Transport: s.transport(), Token: tc.token, Timeout: 5 * time.Second})
			if err != nil {
				t.Fatal(err)
			}
			if got := found(r, tc.rule); got != tc.want {
				t.Errorf("got %s\nwant %s", got, tc.want)
			}
			var text strings.Builder
			if err := r.WriteText(&text, report.TextOptions{}); err != nil {
				t.Fatal(err)
			}
			if joined := strings.Join(strings.Fields(text.String()), " "); !strings.Contains(joined, tc.shown) {
				t.Errorf("it does not say %q\n%s", tc.shown, text.String())
			}
			if all := everything(t, r); strings.Contains(all, "s3cr3t") || strings.Contains(all, tc.token) && len(tc.token) > 8 {
				t.Errorf("a secret is shown\n%s", all)
			}
		})
	}
}

// FuzzClaims reads tokens.
func FuzzClaims(f *testing.F) {
	for _, seed := range []string{`{}`, `{"aud":1}`, `{"exp":1e999}`, `{"scope":null,"scp":["a",1]}`, `{"cnf":{"jkt":1}}`, `[]`, `{"nbf":-1,"exp":"x"}`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		c, ok := readClaims(jwtWith(raw))
		if !ok && (c.Issuer != "" || len(c.Audience)+len(c.granted()) > 0 || c.bound() != "") {
			t.Errorf("claims of what is not a JWT: %+v", c)
		}
		if why := c.outside(time.Unix(1, 0)); len(why) > 64 {
			t.Errorf("got %q", why)
		}
	})
}
