package rules

import (
	"testing"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/authorize/operation"
)

// resource is a request for a resource.
func resource(t testing.TB, uri string) operation.Request {
	t.Helper()
	r, err := operation.New("resources/read", uri, nil)
	if err != nil {
		t.Fatalf("%q: %v", uri, err)
	}
	return r
}

// Rule E3: a URI reaches no resource that a rule denies, whoever reads it: RFC 3986, the URL
// standard of browsers and Node, those who take its path alone, and file systems that do not
// tell letters apart.
func TestReadersOfURIs(t *testing.T) {
	p := must(t, Config{Rules: []Rule{{Deny: true, Resources: []string{
		"file:///srv/secret/*", "file:///srv/Caf\u00e9/*", "file:///C:/hidden/*", "file://nas/*", "file:///srv/one.txt", "https://inner.example/one", "db://Main/one",
		"https://inner.example/*", "http://127.0.0.1/*", "http://[::1]/*", "https://port.example:8443/*", "db://Main/private/*",
	}}}})
	for uri, want := range map[string]Reason{
		// Taken apart before it is decoded: the path is //srv/secret/a.
		"file:/%2Fsrv/secret/a":       Denied,
		"file:/%2fsrv%2fsecret%2fa":   Denied,
		"file:%2F%2Fsrv/secret/a":     Denied,
		"file:/%252Fsrv/secret/a":     Denied,
		"file%3A/%252Fsrv/secret/a":   Denied,
		"file:///%2fsrv/secret/a":     Denied,
		"file:/%2fx/..%2fsrv/secret/": Denied,
		// As browsers and Node read it.
		"file:srv/secret/a":                     Denied,
		" file:///srv/secret/a ":                Denied,
		"%20file:///srv/secret/a":               Denied,
		`file:\\\srv\secret\a`:                  Denied,
		`file:/\srv/secret/a`:                   Denied,
		"file:///C|/hidden/a":                   Denied,
		"file://C:/hidden/a":                    Denied,
		"file:c:/hidden/a":                      Denied,
		"file:c%7c/hidden/a":                    Denied,
		"https:inner.example/a":                 Denied,
		"https:/inner.example/a":                Denied,
		"https:////inner.example/a":             Denied,
		`https:\\inner.example\a`:               Denied,
		"https://inner.example:443/a":           Denied,
		"https://inner.example:0443/a":          Denied,
		"https://inner.example:/a":              Denied,
		"https://u:p@inner.example/a":           Denied,
		"https://outer.example@inner.example/a": Denied,
		"https://u%40inner.example/a":           Denied,
		"https://inner.example":                 Denied, // the same as with a slash (RFC 3986 section 6.2.3)
		"https://inner.example?a":               Denied,
		"https://inner.example#a":               Denied,
		"https://inner.example./a":              Denied,
		"https://inn%65r.example/a":             Denied,
		"https://\uff49nner.example/a":          Denied,
		"https://inner\u3002example/a":          Denied,
		"https://in\u00adner.example/a":         Denied,
		"http://127.1/a":                        Denied,
		"http://0x7f.0.0.1:80/a":                Denied,
		"http://017700000001/a":                 Denied,
		"http://2130706433/a":                   Denied,
		"http://[0:0::1]/a":                     Denied,
		"http://[::0001]:80/a":                  Denied,
		"HTTPS://PORT.example:08443/a":          Denied,
		// Those who take the path alone.
		"file://elsewhere/srv/secret/a":     Denied,
		"file://u@localhost:1/srv/secret/a": Denied,
		"file://LOCALHOST/srv/secret/a":     Denied,
		"file://nas/a":                      Denied,
		"FILE://NAS/a":                      Denied,
		// File systems that do not tell letters apart.
		"file:///srv/SECRET/a":          Denied,
		"file:///SRV/secret/a":          Denied,
		"file:///srv/secret./a":         Denied,
		"file:///srv/secret%20/a":       Denied,
		"file:///srv/cafe\u0301/a":      Denied,
		"file:///srv/CAF%C3%89/a":       Denied,
		`file:///srv/x/..\SECRET\a`:     Denied,
		"file:///srv/one.txt?x":         Denied, // who takes the path alone does not see the query
		"file:///srv/one.txt#x":         Denied,
		"file:///srv/one.txt/":          Denied,
		"file:///srv/one.txt/%2e":       Denied,
		"file:///srv/ONE.TXT":           Denied,
		"https://inner.example/one#two": Denied,
		"db://Main/one#two":             Denied,
		"db://u@Main:/one":              Denied,
		"db://Main/one?":                Denied,
		// Dots that are removed before anything is decoded, or some of them.
		"file:///srv/secret/x%2Fy/../../srv/secret/a": Denied,
		"file:///x%2Fy/%2e%2e/srv/secret/a":           Denied,
		"file:///x/%2E%2e/../srv/secret/a":            Denied,
		"file:///a/%2F../../srv/secret/a":             Denied,
		"file:///C:/../hidden/a":                      Denied, // a drive is no segment
		// Others are not.
		"file:///srv/one.txt.bak":                          Allowed,
		"db://Main/one?two":                                Allowed,
		"file:///srv/secrets/a":                            Allowed,
		"file:///srv/public/a":                             Allowed,
		"file:///srv/secret":                               Allowed,
		"file://elsewhere/srv/public/a":                    Allowed,
		"https://outer.example/a":                          Allowed,
		"https://inner.example:8443/a":                     Allowed,
		"https://port.example/a":                           Allowed,
		"http://inner.example/a":                           Allowed,
		"https://outer.example/?u=https://inner.example/a": Allowed,
		"http://127.0.0.2/a":                               Allowed,
		"db://Main/public/a":                               Allowed,
		"db://main/PRIVATE/a":                              Allowed, // no file
		"db://MAIN/private/a":                              Denied,
		"db:Main/private/a":                                Allowed, // no host in a scheme that the URL standard does not know
	} {
		if got := p.Decide(scopes(""), resource(t, uri)); got.Reason != want {
			t.Errorf("%q: got %s; want %s", uri, brief(got), want)
		}
	}
}

// Rule E3: what a rule names passes as the rule writes it.
func TestURIsPassAsWritten(t *testing.T) {
	for _, uri := range []string{
		"file:///srv/my%20file", "file:///srv/my file", "file:///srv/\u00fc", "file:///srv/%C3%BC", "file:///srv/100%25", "file://nas/Share/a", "file:///C:/Users/a", "file:///C|/a", "file:a",
		"https://example.com", "https://example.com/", "https://EXAMPLE.com:443/a", "https://u@example.com/a", "https://b\u00fccher.example/\u00fc", "http://127.1/",
		"https://example.com?x=%2F..%2F", "db:a/../b", "db:///a//b/", "db://Host:1", "note", "note://A/%2F/b", "//a/b", `c:\a\b`, "urn:a:b", "mailto:a@b", "x:y z", "data:,%3f",
		"https://u:p@example.com:8443/a%20b/../c?u=https%3A%2F%2Fx%2F..%2Fa%3Fb%23c#d%2Fe", `file:///C:/My%20Files/a%23b%5Cc.txt`, "drive:///a%2Fb%3Fc", "x://a/b?c=%255C..%252F", "data:text/html,<b>%20..%2F</b>?#",
		"jdbc:mysql://h/db?x=y", "git+ssh://u@h/x.git#v1", `\\nas\share\a%20b`, "https://example.com/%E2%82%AC/%2e%2e/x", "screen://localhost/1", "postgres://u:p%40ss@h:5432/db/table",
	} {
		p := must(t, Config{Default: "deny", Rules: []Rule{{Resources: []string{uri}}}})
		if got := p.Decide(scopes(""), resource(t, uri)); !got.Allowed {
			t.Errorf("%q: got %s", uri, brief(got))
		}
	}
	// Patterns that do not name all of a host.
	for pattern, uri := range map[string]string{
		"*://example.com": "https://example.com", "https://*": "https://example.com", "file://*": "file://NAS/Share", "*.example.com/*": "https://A.example.com/b",
		"https:*": "https://example.com", "*": "https://example.com", "file:///Users/*": "file:///Users/a",
	} {
		p := must(t, Config{Default: "deny", Rules: []Rule{{Resources: []string{pattern}}}})
		if got := p.Decide(scopes(""), resource(t, uri)); !got.Allowed {
			t.Errorf("%q for %q: got %s", uri, pattern, brief(got))
		}
	}
	// An expression over the name sees it as it is written, but for what every reader agrees on.
	p := must(t, Config{When: `name.startsWith("https://Example.com") || name.startsWith("file:///Users/") || name.startsWith("file://nas/")`})
	for _, uri := range []string{"file:///Users/A", "file://nas/A"} {
		if got := p.Decide(scopes(""), resource(t, uri)); !got.Allowed {
			t.Errorf("%q with an expression: got %s", uri, brief(got))
		}
	}
}
