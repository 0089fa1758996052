package authserver

import (
	"errors"
	"net/url"
	"testing"
)

func mustGlob(t *testing.T, s string) Glob {
	t.Helper()
	g, err := ParseGlob(s)
	if err != nil {
		t.Fatalf("ParseGlob(%q): %v", s, err)
	}
	return g
}

var globCases = []struct {
	glob      string
	yes, none []string
}{
	{"/", []string{"/"}, []string{"", "/a", "//", "/."}},
	{"/consent", []string{"/consent"}, []string{"", "/", "/consent/", "/consent/a", "/Consent", "/consen", "/consents", "consent", "/a/consent", "/consent;a=b", "/consent?a", "/consent%20"}},
	{"/consent/", []string{"/consent/"}, []string{"/consent", "/consent//", "/consent/a", "/consent/."}},
	{"/a/b", []string{"/a/b"}, []string{"/a", "/a/", "/a/b/", "/a/b/c", "/a//b", "/a/./b", "/a/c/../b", "//a/b", "/b"}},
	{"/*", []string{"/a", "/a/", "/a/b", "/.a", "/..a", "/...", "/a..", "/*", "/\u00fc", "/a b"}, []string{"", "/", "a", "//", "/.", "/..", "/a/..", "/a//b"}},
	{"/static/*", []string{"/static/a", "/static/a/", "/static/a/b.css", "/static/a;b", "/static/*"}, []string{"/static", "/static/", "/statics/a", "/Static/a", "/static//a", "/static/../a", "/static/..", "/static/a/../../b"}},
	{"/*/login", []string{"/a/login"}, []string{"/login", "/;a/login", "/a/login;", "//login", "/a/b/login", "/a/login/", "/../login"}},
	{"/u/*/edit", []string{"/u/1/edit"}, []string{"/u//edit", "/u/edit", "/u/1/2/edit", "/u/1/edit/", "/u/1/edits", "/u/../edit", "/u/./edit"}},
	{"/*/*", []string{"/a/b", "/a/b/c"}, []string{"/a", "/a/", "//b", "/"}},
	{"/*/", []string{"/a/"}, []string{"/", "/a", "/a/b", "/a/b/", "//"}},
	{"/a*", []string{"/a", "/ab", "/a*"}, []string{"/", "/b", "/ab/c", "/a/", "/a/b"}},
	{"/*.css", []string{"/a.css", "/.css"}, []string{"/a/b.css", "/a.css/", "/a.css.map"}},
	{"/a*c*e", []string{"/ace", "/abcde", "/acce"}, []string{"/abcd", "/aec", "/ac/e"}},
	{"/app/v*/*.js", []string{"/app/v1/a.js", "/app/v/.js"}, []string{"/app/v1/a/b.js", "/app/1/a.js", "/app/v1/a.css"}},
	{"/a.b+c(d)|e^f$", []string{"/a.b+c(d)|e^f$"}, []string{"/aXb+c(d)|e^f$", "/a.b"}},
	{"/\u00fc", []string{"/\u00fc"}, []string{"/%C3%BC", "/u\u0308", "/\u00dc"}},
	{"/a;b=c", []string{"/a;b=c"}, []string{"/a", "/a;b", "/a;"}},
}

// Rule C5: `paths` opens what it names and nothing else.
func TestGlob(t *testing.T) {
	for _, tc := range globCases {
		t.Run(tc.glob, func(t *testing.T) {
			g := mustGlob(t, tc.glob)
			for _, p := range tc.yes {
				if !g.Match(p) {
					t.Errorf("%q does not match %q", tc.glob, p)
				}
			}
			for _, p := range tc.none {
				if g.Match(p) {
					t.Errorf("%q matches %q", tc.glob, p)
				}
			}
		})
	}
}

var badGlobs = []struct {
	in   string
	want error
}{
	{"", errGlobSlash},
	{"consent", errGlobSlash},
	{"/static/**", errGlobText},
	{"*", errGlobSlash},
	{"*/a", errGlobSlash},
	{" /a", errGlobSlash},
	{"https://mcp.example.com/a", errGlobSlash},
	{"//", errGlobText},
	{"//a", errGlobText},
	{"/a//b", errGlobText},
	{"/a//", errGlobText},
	{"/.", errGlobText},
	{"/..", errGlobText},
	{"/./a", errGlobText},
	{"/a/../b", errGlobText},
	{"/a/..", errGlobText},
	{"/a/..;/b", errGlobText},
	{"/a/;b", errGlobText},
	{"/a?b", errGlobText},
	{"/a#b", errGlobText},
	{"/a%20b", errGlobText},
	{`/a\b`, errGlobText},
	{`/a\*`, errGlobText},
	{"/{http.request.uri.path}", errGlobText},
	{"/{a,b}", errGlobText},
	{"/[ab]", errGlobText},
	{"/a]", errGlobText},
	{"/a}", errGlobText},
	{"/a b", errGlobText},
	{"/a\tb", errGlobText},
	{"/a\n", errGlobText},
	{"/a\x00", errGlobText},
	{"/a\x7f", errGlobText},
	{"/a\xff", errGlobText},
}

// A glob that says something else than it seems to is refused at load, and one
// that was refused opens nothing.
func TestParseGlobRefuses(t *testing.T) {
	for _, tc := range badGlobs {
		g, err := ParseGlob(tc.in)
		if !errors.Is(err, tc.want) {
			t.Errorf("ParseGlob(%q) = %v; want %v", tc.in, err, tc.want)
		}
		for _, p := range []string{"", "/", "/a", tc.in} {
			if g.Match(p) {
				t.Errorf("the glob of %q, which is none, matches %q", tc.in, p)
			}
		}
	}
}

var plainTargets = []struct{ target, want string }{
	{"/", "/"},
	{"/a", "/a"},
	{"/a/", "/a/"},
	{"/a/b.css?x=..%2f", "/a/b.css"},
	{"/a%20b", "/a b"},
	{"/%61%75th", "/auth"},
	{"/%C3%BC", "/\u00fc"},
	{"/a+b", "/a+b"},
	{"/login;jsessionid=ABC", "/login;jsessionid=ABC"},
	{"/a;/b", "/a;/b"},
	{"/a%3Bb", "/a;b"},
	{"/.a/..b/c./d../...", "/.a/..b/c./d../..."},
	{"/.well-known/openid-configuration", "/.well-known/openid-configuration"},
	{"/a%3Fb%23c", "/a?b#c"},
	{"/a:b@c!$&'()*,=~", "/a:b@c!$&'()*,=~"},
}

// Rule C5: routes are compared with the path unescaped.
func TestPlainPath(t *testing.T) {
	for _, tc := range plainTargets {
		t.Run(tc.target, func(t *testing.T) {
			u, err := url.ParseRequestURI(tc.target)
			if err != nil {
				t.Fatal(err)
			}
			if got, ok := PlainPath(u); got != tc.want || ok != (tc.want != "") {
				t.Errorf("PlainPath(%q) = %q, %t; want %q", tc.target, got, ok, tc.want)
			}
		})
	}
}
