package safetext

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

// Rule F1: no text that is shown has userinfo, query or fragment of a URL in it.
func FuzzURLHasNoSecret(f *testing.F) {
	for _, seed := range []string{
		"https://user:pw@a.test/b?c#d", "https:user:pw@a.test/b", `\\\/user:pw@a.test\b`, "x:https://user:pw@a.test", "https://a\\b:pw@c/d", "/@scope/a:b@c", "",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := URL(s)
		if strings.ContainsAny(got, "?#") || URL(got) != got && !strings.Contains(got, "@") {
			t.Fatalf("%q is shown as %q", s, got)
		}
		if u, err := url.Parse(s); err == nil && u.User != nil && u.User.String() != "" {
			if shown, err := url.Parse(got); err == nil && shown.User != nil {
				t.Fatalf("%q is shown as %q", s, got)
			}
		}
	})
}

// Rule F1: no secret of a request is in a text that is shown, however it is quoted.
func FuzzTextHasNoSecretOfTheRequest(f *testing.F) {
	f.Add("the key is s3cr3t", "s3cr3t")
	f.Add("s3cr3ts3cr3t", "s3cr3t")
	f.Add("a%20b%20c%20", "a b c ")
	f.Fuzz(func(t *testing.T, text, secret string) {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header.Set("X-Api-Key", secret)
		got := SecretsOf(r).Text(text)
		if secret = strings.TrimSpace(secret); len(secret) > len(redacted) && strings.Contains(got, secret) {
			t.Fatalf("%q is in %q, shown of %q", secret, got, text)
		}
		if len(got) > 10*(MaxLine+len("...")) {
			t.Fatalf("%d bytes are shown of %d", len(got), len(text))
		}
	})
}
