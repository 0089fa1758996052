package authserver

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// foreignCookies are not the server's, or pretend to be one that a browser would
// not have taken.
var foreignCookies = []struct{ name, in string }{
	{"no mark", "sid=1"},
	{"no name", "=1"},
	{"only an equals sign", "="},
	{"name of nothing but the mark", "mcp_as.=1"},
	{"name of nothing but the mark, and a space", "mcp_as. =1"},
	{"nothing but the mark", "mcp_as."},
	{"no equals sign", "mcp_as.sid"},
	{"mark without its dot", "mcp_as=1"},
	{"part of the mark", "mcp_asid=1"},
	{"mark in the middle", "a.mcp_as.sid=1"},
	{"mark behind a space", "a mcp_as.sid=1"},
	{"mark behind a space that is not ASCII", "\u00a0mcp_as.sid=1"},
	{"mark behind a comma", "a,mcp_as.sid=1"},
	{"mark behind a comma and a value", "a=b, mcp_as.sid=1"},
	{"mark in the value", "a=mcp_as.sid=1"},
	{"mark in the value of one without a name", "=mcp_as.sid=1"},
	{"mark in quotes", `"mcp_as.sid"=1`},
	{"mark behind a quote", `"mcp_as.sid=1`},
	{"mark in upper case", "MCP_AS.sid=1"},
	{"mark escaped", "mcp%5fas.sid=1"},
	{"mark with a PHP name", "mcp_as_sid=1"},
	{"mark in full width", "mcp\uff3fas.sid=1"},
	{"mark behind a control character", "\x00mcp_as.sid=1"},
	{"mark behind two prefixes", "__Secure-__Host-mcp_as.sid=1"},
	{"mark behind half a prefix", "__Host-Httpmcp_as.sid=1"},
	{"mark behind an unknown prefix", "__Foo-mcp_as.sid=1"},
	{"mark behind a prefix in full width", "\uff3f_Host-mcp_as.sid=1"},
	{"mark behind a space behind a prefix", "__Host- mcp_as.sid=1"},
	// The browser takes these from a sibling domain, without a prefix.
	{"prefix behind the mark", "mcp_as.__Host-sid=1"},
	{"prefix behind the mark, in lower case", "mcp_as.__host-sid=1"},
	{"__Secure- behind the mark", "mcp_as.__Secure-sid=1"},
	{"__Http- behind the mark", "mcp_as.__Http-sid=1"},
	{"__Host-Http- behind the mark", "mcp_as.__Host-Http-sid=1"},
	{"half a prefix behind the mark", "__Host-mcp_as.Http-sid=1"},
	{"half a prefix behind the mark, in lower case", "__host-mcp_as.http-sid=1"},
	// A server that trims names sees a prefix where the browser saw none.
	{"prefix behind the mark and a space", "mcp_as. __Host-sid=1"},
	{"prefix behind the mark and a tab", "mcp_as.\t__Host-sid=1"},
	{"prefix behind the mark and several", "mcp_as. \t __Secure-sid=1"},
	{"prefix behind the mark and a vertical tab", "mcp_as.\v__Host-sid=1"},
	// Django and ASP.NET trim these too.
	{"prefix behind the mark and an en quad", "mcp_as.\u2000__Host-sid=1"},
	{"prefix behind the mark and a no-break space", "mcp_as.\u00a0__Host-sid=1"},
	{"prefix behind the mark and a next line", "mcp_as.\u0085__Host-sid=1"},
	{"name behind the mark and a space", "mcp_as. sid=1"},
	{"space behind the name", "mcp_as.sid =1"},
}

// Rule C5: only cookies that the server set go to it, under whichever line and
// between whatever others.
func TestForeignCookies(t *testing.T) {
	for _, tc := range foreignCookies {
		t.Run(tc.name, func(t *testing.T) {
			for _, lines := range [][]string{
				{tc.in},
				{tc.in + ";" + tc.in},
				{" \t" + tc.in + "\t ; "},
				{"a=b", tc.in, "c=d"},
			} {
				h := http.Header{"Cookie": lines}
				requestCookies(h)
				if got, ok := h["Cookie"]; ok {
					t.Errorf("of %q %q crossed", lines, got)
				}
			}
			h := http.Header{"Cookie": {"mcp_as.x=1; " + tc.in + "; mcp_as.y=2"}}
			requestCookies(h)
			if got := strings.Join(h["Cookie"], "\n"); got != "x=1; y=2" {
				t.Errorf("of %q between the server's own %q crossed", tc.in, got)
			}
		})
	}
}

// hostilePaths are such as servers read in different ways, each as it is in a
// request line.
var hostilePaths = []string{
	"//",
	"//static/a",
	"/static//a",
	"/static/a//",
	"/.",
	"/..",
	"/static/.",
	"/static/./a",
	"/static/..",
	"/static/../admin",
	"/static/%2e",
	"/static/%2e%2e/admin",
	"/static/%2E%2e/admin",
	"/static/.%2e/admin",
	"/static/%2e./admin",
	"/static/a%2eb",
	"/static/..%2fadmin",
	"/static/..%2Fadmin",
	"/static%2fa",
	"/static/%2f%2fa",
	"/static/a%2f",
	"/%2fstatic/a",
	"/static/..%5cadmin",
	"/static/..%5Cadmin",
	`/static/..\admin`,
	`/\static/a`,
	"/static/a%5c",
	"/static/a%00",
	"/static/a%00.css",
	"/static/a%0a",
	"/static/a%0D%0Ab",
	"/static/a%09",
	"/static/a%1f",
	"/static/a%7f",
	// Escaped twice, and more often.
	"/static/%252e%252e/admin",
	"/static/%252e%252e%252fadmin",
	"/static/..%252fadmin",
	"/static/..%252Fadmin",
	"/static/..%255cadmin",
	"/static/..%25252fadmin",
	"/static/a%2500",
	"/static/%25252e%25252e/admin",
	"/static/a%25",
	"/static/a%25%32%66",
	// What an escape elsewhere does to RawPath changes nothing.
	"/%73tatic/..%252fadmin",
	"/static/..%252f%61dmin",
	"/%73tatic/../admin",
	"/%73tatic//a",
	// Java's servers read no further than a semicolon.
	"/static/..;/admin",
	"/static/..;a=b/admin",
	"/static/.;/admin",
	"/static/..;",
	"/static/..;x",
	"/static/..%3b/admin",
	"/static/..%3B/admin",
	"/static/;/a",
	"/static/;a=b/a",
	"/static/;",
	"/;/static/a",
	"/;a",
	// Overlong and other text that is no UTF-8.
	"/static/%c0%ae%c0%ae/admin",
	"/static/..%c0%af../admin",
	"/static/%e0%80%ae%e0%80%ae/admin",
	"/static/%ff",
	"/static/\xff",
	// No path.
	"*",
	"mailto:a",
	"http://mcp.example.com",
}

// Rule C5: a path that servers read in different ways is none of the
// authorization server's.
func TestHostilePaths(t *testing.T) {
	for _, target := range hostilePaths {
		t.Run(target, func(t *testing.T) {
			u, err := url.ParseRequestURI(target)
			if err != nil {
				t.Fatal(err)
			}
			if got, ok := PlainPath(u); ok {
				t.Errorf("PlainPath(%q) = %q, true; want false", target, got)
			}
		})
	}
}

// Rule C5: whatever the operator opened, a glob leads nowhere else.
func TestHostileGlobPaths(t *testing.T) {
	for _, glob := range []string{"/*", "/static/*", "/*/*", "/*/*/*", "/s*/*", "/*/*dmin"} {
		g := mustGlob(t, glob)
		for _, p := range []string{
			"", "static/a", "//static/a", "/static//admin", "/static/./admin", "/static/../admin", "/static/..", "/static/.",
			"/static/..;/admin", "/static/..;a=b/admin", "/static/.;/admin", "/static/;/admin", "/static/;admin", "/static/..;",
			`/static/..\admin`, `/static\admin`, "/static/\x00admin", "/static/a\x1f/admin", "/static/\x7fadmin", "/static/a\nadmin",
			"/static/..%2fadmin", "/static/%2e%2e/admin", "/static/..%252fadmin", "/static/%admin",
			"/static/\xc0\xae\xc0\xae/admin", "/static/\xffadmin",
		} {
			if g.Match(p) {
				t.Errorf("%q matches %q", glob, p)
			}
		}
	}
}

// Rule C5: what a middleware did to a URL does not let a path through that is
// another one on the wire.
func TestInconsistentPaths(t *testing.T) {
	for _, tc := range []struct {
		name string
		u    url.URL
		want string
	}{
		{"no path", url.URL{}, ""},
		{"opaque", url.URL{Scheme: "a", Opaque: "/b"}, ""},
		{"no slash", url.URL{Path: "a"}, ""},
		{"raw path alone", url.URL{RawPath: "/a"}, ""},
		{"raw path of another path", url.URL{Path: "/a", RawPath: "/b"}, "/a"}, // net/url sends /a
		{"raw path that does not decode", url.URL{Path: "/a", RawPath: "/a%"}, "/a"},
		{"raw path with a slash escaped", url.URL{Path: "/a", RawPath: "/a%2Fb"}, ""},
		{"raw path with a dot escaped", url.URL{Path: "/a.b", RawPath: "/a%2Eb"}, ""},
		{"raw path with a backslash escaped", url.URL{Path: "/a", RawPath: "/a%5Cb"}, ""},
		{"raw path that hides nothing", url.URL{Path: "/..", RawPath: "/a"}, ""},
		{"no raw path", url.URL{Path: "/a b"}, "/a b"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got, ok := PlainPath(&tc.u); ok != (tc.want != "") || ok && got != tc.want {
				t.Errorf("PlainPath = %q, %t; want %q", got, ok, tc.want)
			}
		})
	}
}
