package challenge

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/safetext"
)

// shown returns what is shown of a line that answers a request without secrets.
func shown(line string) string { return Show([]string{line}, safetext.SecretsOf(nil))[0] }

// Rule F1: what is shown of a challenge says what is wanted, and has no secret.
func TestShownChallengesHaveNoSecret(t *testing.T) {
	for _, tt := range []struct{ line, want string }{
		{`Bearer realm="mcp", error="invalid_token", error_description="The access token expired", scope="a b:c"`, `Bearer realm="mcp", error="invalid_token", error_description="The access token expired", scope="a b:c"`},
		{`Bearer resource_metadata="https://u:pw@mcp.example.com/.well-known/oauth-protected-resource/mcp?key=s3cret#x"`, `Bearer resource_metadata="https://mcp.example.com/.well-known/oauth-protected-resource/mcp"`},
		{`Bearer  error="invalid_token" ,error_description="token eyJhbGciOi.x.y is for https://api.example.com/v1?sig=abc"`, `Bearer  error="invalid_token" ,error_description="token [redacted] is for https://api.example.com/v1"`},
		{`Digest realm="x", nonce="dcd98b7102dd", opaque=5ccc069c403, qop="auth"`, `Digest realm="x", nonce="[redacted]", opaque="[redacted]", qop="auth"`},
		{`Negotiate YIIZ1234567890==, Bearer`, `Negotiate redacted, Bearer`},
		{`Bearer error_description="no user 0123456789abcdefghij"`, `Bearer error_description="no user [redacted]"`},
		{`Bearer session="abc", token=abc`, `Bearer session="[redacted]", token="[redacted]"`},
		{`Bearer scope="api://8a1b2c3d-0000-4000-8000-1234567890ab/mcp.read offline_access"`, `Bearer scope="api://8a1b2c3d-0000-4000-8000-1234567890ab/mcp.read offline_access"`},
		{`= broken "eyJhbGciOi.x.y", https://u:pw@example.com/p?q=1`, `= broken "[redacted]", https://example.com/p`},
		{`Bearer error_description="eyJhbGciOi#://x"`, `Bearer error_description="[redacted]"`},
		{`Basic realm=""`, `Basic realm=""`},
		{"", ""},
	} {
		if got := shown(tt.line); got != tt.want {
			t.Errorf("%s\ngot  %s\nwant %s", tt.line, got, tt.want)
		}
	}
	if got := shown("Bearer realm=\"" + strings.Repeat("x", 10*safetext.MaxLine)); len(got) > safetext.MaxLine+len(redacted) {
		t.Errorf("%d bytes are shown", len(got))
	}
}

// Rule F1: a server that quotes what the client sent in confidence does not make it
// seen.
func TestClientSecretsAreNotShown(t *testing.T) {
	r := httptest.NewRequest(http.MethodPost, "/mcp?api_key=key-1%2Fx&sid=s-secret", nil)
	r.Header.Set("Authorization", "Bearer short-token")
	r.Header.Set("Cookie", "a=cookie-1; b=\"cookie-2\"")
	r.Header.Set("Mcp-Session-Id", "sess-1")
	r.Header.Set("Dpop", "proof-1")
	r.Header.Set("X-Api-Key", "apikey")
	lines := []string{`Bearer error_description="short-token cookie-1 cookie-2 sess-1 proof-1 apikey s-secret key-1%2Fx key-1/x", realm="Bearer short-token"`}
	got := strings.Join(Show(lines, safetext.SecretsOf(r)), "\n")
	if strings.ContainsAny(got, "12") || strings.Contains(got, "secret") || strings.Contains(got, "short") || strings.Contains(got, "apikey") {
		t.Errorf("got %s", got)
	}
}

// Rule F1: nor does a server that quotes a part of it, or quotes it in another encoding.
func TestPartsOfClientSecretsAreNotShown(t *testing.T) {
	r := httptest.NewRequest(http.MethodPost, "/mcp?pasted-in-place-of-a-name&b=two+words", nil)
	r.Header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte("anna:pass:word")))
	r.Header.Set("X-Api-Key", `a"b\cde/f`)
	for _, quoted := range []string{
		"pass:word", "anna:pass:word", "pass%3Aword", "pasted-in-place-of-a-name", "two words", "two%20words",
		`a\"b\\cde/f`, "a%22b%5Ccde%2Ff",
	} {
		got := Show([]string{`Bearer error_description="no ` + quoted + ` here"`}, safetext.SecretsOf(r))
		if want := `Bearer error_description="no [redacted] here"`; len(got) != 1 || got[0] != want {
			t.Errorf("%s is quoted, got %s, want %s", quoted, got, want)
		}
	}
}

// Rule G: a client decides neither how long a line grows in which its secrets are masked,
// nor how long that takes: what stands for a secret has no other one in it.
func TestMaskedIsNotMaskedAgain(t *testing.T) {
	r := httptest.NewRequest(http.MethodPost, "/mcp?a=realm-1&b=realm-1%2Fx", nil)
	r.Header.Set("Cookie", "a=redacted; b=redact; c=[redac; d=realm-1-and-more")
	got := Show([]string{`Bearer realm="realm-1", scope="realm-1/x realm-1-and-more"`}, safetext.SecretsOf(r))
	if want := `Bearer realm="[redacted]", scope="[redacted] [redacted]"`; len(got) != 1 || got[0] != want {
		t.Errorf("got %s, want %s", got, want)
	}
	many := ""
	for i := range 2 * 256 {
		many += fmt.Sprintf("a=cookie-%d; ", i)
	}
	r.Header.Set("Cookie", many)
	if got = Show([]string{`Bearer realm="realm-1"`, "Basic"}, safetext.SecretsOf(r)); len(got) != 2 || got[0] != redacted || got[1] != redacted {
		t.Errorf("got %s", got)
	}
}

// Rule A3: what is shown of a line is a line of the same challenges.
func FuzzShow(f *testing.F) {
	f.Add(`Bearer realm="x", nonce="y", resource_metadata="https://u@h/p?q"`)
	f.Add("Negotiate abc==, Digest nonce=\"\\\"\"")
	f.Add(`=, eyJx "https://`)
	f.Add("#0://")
	f.Add("eyJx#://")
	f.Fuzz(func(t *testing.T, line string) {
		got := shown(line)
		if len(line) > safetext.MaxLine {
			return
		}
		was, is := Parse(line), Parse(got)
		if was.Err() != nil {
			return
		}
		if is.Err() != nil || len(is.Challenges()) != len(was.Challenges()) {
			t.Fatalf("%q is shown as %q: %v", line, got, is.Err())
		}
		for i, c := range was.Challenges() {
			shownAs := is.Challenges()[i]
			if shownAs.Scheme != c.Scheme {
				t.Fatalf("%q is shown as %q", line, got)
			}
			for _, p := range shownAs.Params {
				if !shownParams[strings.ToLower(p.Name)] && p.Value != redacted && p.Value != "" {
					t.Fatalf("%q is shown as %q", line, got)
				}
			}
		}
	})
}
