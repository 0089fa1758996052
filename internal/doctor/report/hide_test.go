package report

import (
	"crypto/rand"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/safetext"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/cputime"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/doctor/doctortest"
)

// Secrets and the queries of URLs are hidden. Secrets with fewer than 8 characters are hidden
// only as whole words.
func TestHide(t *testing.T) {
	const limit = 40
	for _, tc := range []struct {
		secrets    []string
		text, want string
	}{
		{[]string{"k"}, "the key is k, not kk or a_k", "the key is (hidden), not kk or a_k"},
		{[]string{"k"}, "k", "(hidden)"},
		{[]string{"k"}, `{"X-Api-Key":"k","ok":1}`, `{"X-Api-Key":"(hidden)","ok":1}`},
		{[]string{"1234567"}, "1234567 01234567 12345678", "(hidden) 01234567 12345678"},
		{[]string{"12345678"}, "x12345678y", "x(hidden)y"},
		{[]string{"q7"}, `\u003cq7\u003e \nq7 nq7`, `\u003c(hidden)\u003e \n(hidden) nq7`},
		{[]string{"q7"}, `%20q7%20 20q7`, `%20(hidden)%20 20q7`},
		{[]string{"é"}, "é éa aé", "(hidden) éa aé"},
		{[]string{"a b"}, "a+b a%20b a b", "(hidden) (hidden) (hidden)"},
		{[]string{"+="}, "key: += x", "key: (hidden) x"},
		{[]string{"abcdefgh", "efghijkl"}, "abcdefghijkl.", "(hidden)."},
		{[]string{"abcdefgh", "abcdefghij"}, "abcdefghij abcdefgh", "(hidden) (hidden)"},
		{[]string{"secret-at-the-limit"}, strings.Repeat("x", limit-3) + "secret-at-the-limit", strings.Repeat("x", limit-3) + "(hi..."},
		{[]string{"secret-at-the-limit"}, strings.Repeat("x", limit-1) + "secret-at-the-limit", strings.Repeat("x", limit-1) + "(..."},
		{nil, strings.Repeat("x", limit), strings.Repeat("x", limit)},
		{nil, strings.Repeat("x", limit+1), strings.Repeat("x", limit) + "..."},
		{nil, `a="https://x.example/y?p=a&q", b`, `a="https://x.example/y?...", b`},
		{nil, "see /mcp?project=a or why?", "see /mcp?... or why?"},
		{nil, "https://x.example/?...", "https://x.example/?..."},
	} {
		s := new(Secrets)
		for _, secret := range tc.secrets {
			s.Add(secret)
		}
		if got := s.Show(tc.text, limit); got != tc.want {
			t.Errorf("%q in %q: got %q, want %q", tc.secrets, tc.text, got, tc.want)
		}
	}
}

// Hiding secrets in a long text takes no more time than in a short one.
func TestHideIsBounded(t *testing.T) {
	const large = 1 << 20
	s := new(Secrets)
	for range 100 {
		s.Add(rand.Text())
	}
	s.Add("s3cr3t")
	hide := func(size int) func() {
		text := strings.Repeat("s3cr3t ", size/7)
		return func() {
			for range 20 {
				s.Text(text)
			}
		}
	}
	if got := cputime.Ratio(3, hide(64*ShownText), hide(large)); got > 3 {
		t.Errorf("a text of %d bytes takes %.1f times as long as one of %d", large, got, 64*ShownText)
	}
}

// No text of a server can control the terminal or show a secret.
func FuzzText(f *testing.F) {
	for _, seed := range []string{"", doctortest.HostileText, "plain", "s3cr3t", "\xe2\x80", strings.Repeat("\x80", 500), strings.Repeat("s3cr3t", 100)} {
		f.Add(seed, "s3cr3t")
		f.Add("a "+seed+" k", "k")
	}
	f.Fuzz(func(t *testing.T, text, secret string) {
		s := new(Secrets)
		s.Add(secret)
		got := s.Text(text)
		doctortest.CheckPlain(t, got)
		if len(secret) > len(Hidden) && utf8.RuneCountInString(secret) >= 8 && strings.Contains(got, secret) {
			t.Errorf("%q is in %q", secret, got)
		}
		if short := regexp.MustCompile(`^[a-z0-9]{1,7}$`); short.MatchString(secret) && text == safetext.Printable(text) && len(text) < ShownText && !strings.Contains(Hidden, secret) {
			if whole := regexp.MustCompile(`(^|[^\pL\pN_])` + secret + `($|[^\pL\pN_])`); whole.MatchString(got) {
				t.Errorf("the word %q is in %q", secret, got)
			}
		}
		if len(got) > 10*(ShownText+len("...")) {
			t.Errorf("%d bytes of %d", len(got), len(text))
		}
		doctortest.CheckPlain(t, s.Link(text))
	})
}
