package cors

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
)

func mustNew(t testing.TB, cfg Config) *Policy {
	t.Helper()
	p, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// B3: what cannot be meant fails at load, in one line that names option, value
// and, where it is plain, what to write.
func TestNewErrors(t *testing.T) {
	for _, c := range []struct {
		name string
		cfg  Config
		want []string
	}{
		{"path", Config{AllowOrigins: []string{"https://example.com/path"}}, []string{
			`allow_origins: "https://example.com/path": an origin has no path; write "https://example.com"`,
		}},
		{"trailing slash", Config{AllowOrigins: []string{"https://example.com/"}}, []string{
			`allow_origins: "https://example.com/": an origin has no path; write "https://example.com"`,
		}},
		{"pattern with a slash", Config{AllowOrigins: []string{"https://*.example.com/"}}, []string{
			`allow_origins: "https://*.example.com/": an origin has no path; write "https://*.example.com"`,
		}},
		{"no scheme", Config{AllowOrigins: []string{"app.example.com"}}, []string{
			`allow_origins: "app.example.com": an origin starts with a scheme, as in https://; write "https://app.example.com"`,
		}},
		{"no scheme, loopback", Config{AllowOrigins: []string{"localhost:3000"}}, []string{
			`allow_origins: "localhost:3000": an origin starts with a scheme, as in https://; write "http://localhost:3000"`,
		}},
		{"pattern without scheme", Config{AllowOrigins: []string{"*.example.com"}}, []string{
			`allow_origins: "*.example.com": an origin starts with a scheme, as in https://; write "https://*.example.com"`,
		}},
		{"pattern of a suffix without scheme", Config{AllowOrigins: []string{"*.com"}}, []string{
			`allow_origins: "*.com": an origin starts with a scheme, as in https://`,
		}},
		{"null", Config{AllowOrigins: []string{"null"}}, []string{
			`allow_origins: "null": names no origin: every sandboxed page and local file sends it; remove it`,
		}},
		{"empty", Config{AllowOrigins: []string{""}}, []string{`allow_origins: "": is empty`}},
		{"star beside others", Config{AllowOrigins: []string{"https://example.com", "*"}}, []string{
			`allow_origins: "*": allows every origin; remove it or the others`,
		}},
		{"every host", Config{AllowOrigins: []string{"https://*", "http://*:3000"}}, []string{
			`allow_origins: "https://*": covers every host; write * to allow every origin`,
			`allow_origins: "http://*:3000": covers every host; write * to allow every origin`,
		}},
		{"public suffix", Config{AllowOrigins: []string{"https://*.com", "https://*.co.uk", "https://*.github.io", "https://*.unlisted"}}, []string{
			`allow_origins: "https://*.com": anyone can get a host below the public suffix com; name your own domain, as in https://*.example.com`,
			`allow_origins: "https://*.co.uk": anyone can get a host below the public suffix co.uk; name your own domain, as in https://*.example.com`,
			`allow_origins: "https://*.github.io": anyone can get a host below the public suffix github.io; name your own domain, as in https://*.example.com`,
			`allow_origins: "https://*.unlisted": anyone can get a host below the public suffix unlisted; name your own domain, as in https://*.example.com`,
		}},
		{"wildcard with a path", Config{AllowOrigins: []string{"moz-extension://*/", "https://*/mcp", "moz-extension://*:443", "moz-extension://*a"}}, []string{
			`allow_origins: "moz-extension://*/": an origin has no path; write "moz-extension://*"`,
			`allow_origins: "https://*/mcp": an origin has no path`,
			`allow_origins: "moz-extension://*:443": the host of an app or extension has no subdomains; write it in full, or * in its place for all of the scheme`,
			`allow_origins: "moz-extension://*a": the host of an app or extension has no subdomains; write it in full, or * in its place for all of the scheme`,
		}},
		{"wildcard elsewhere", Config{AllowOrigins: []string{"https://a.*.example.com", "https://*a.example.com", "https://*.*.example.com"}}, []string{
			`allow_origins: "https://a.*.example.com": a wildcard must be the whole first label, as in https://*.example.com`,
			`allow_origins: "https://*a.example.com": a wildcard must be the whole first label, as in https://*.example.com`,
			`allow_origins: "https://*.*.example.com": a wildcard must be the whole first label, as in https://*.example.com`,
		}},
		{"wildcard port", Config{AllowOrigins: []string{"http://localhost:*"}}, []string{
			`allow_origins: "http://localhost:*": has no valid port; a port is a number from 1 to 65535`,
		}},
		{"wildcard of an address", Config{AllowOrigins: []string{"http://*.127.0.0.1", "http://*.[::1]"}}, []string{
			`allow_origins: "http://*.127.0.0.1": an IP address has no subdomains`,
			`allow_origins: "http://*.[::1]": an IP address has no subdomains`,
		}},
		{"wildcard of an extension", Config{AllowOrigins: []string{"chrome-extension://*.example.com"}}, []string{
			`allow_origins: "chrome-extension://*.example.com": the host of an app or extension has no subdomains; write it in full, or * in its place for all of the scheme`,
		}},
		{"newline stays one line", Config{AllowOrigins: []string{"https://a.example\nb"}}, []string{
			`allow_origins: "https://a.example\nb": has a space, a control character or another character that no origin has`,
		}},
		{"long value is cut", Config{AllowOrigins: []string{strings.Repeat("a", 1000)}}, []string{
			`allow_origins: "` + strings.Repeat("a", maxErrorValue) + `...": is longer than any origin`,
		}},
		{"own", Config{Own: []string{"*"}}, []string{
			`own origin: "*": an origin starts with a scheme, as in https://`,
		}},
		{"request headers", Config{AllowHeaders: []string{"X-Ok", "*", "X Y", "", "Cookie", "sec-fetch-site", "Proxy-Authorization", "ORIGIN", "Host"}}, []string{
			`allow_headers: "*": names must be listed one by one`,
			`allow_headers: "X Y": is not a header name`,
			`allow_headers: "": is empty`,
			`allow_headers: "Cookie": browsers let no page set this header`,
			`allow_headers: "sec-fetch-site": browsers let no page set this header`,
			`allow_headers: "Proxy-Authorization": browsers let no page set this header`,
			`allow_headers: "ORIGIN": browsers let no page set this header`,
			`allow_headers: "Host": browsers let no page set this header`,
		}},
		{"exposed headers", Config{ExposeHeaders: []string{"X-Ok", "*", "a,b", "Set-Cookie"}}, []string{
			`expose_headers: "*": names must be listed one by one`,
			`expose_headers: "a,b": is not a header name`,
			`expose_headers: "Set-Cookie": browsers let no page read this header`,
		}},
		{"negative age", Config{MaxAge: -time.Second}, []string{`max_age: "-1s": must not be negative`}},
		{"short age", Config{MaxAge: time.Millisecond}, []string{`max_age: "1ms": must be a second or more`}},
		{"long age", Config{MaxAge: 48 * time.Hour}, []string{
			`max_age: "48h0m0s": must not be longer than 24h0m0s, no browser keeps an answer longer`,
		}},
		{"all mistakes at once", Config{AllowOrigins: []string{"x"}, AllowHeaders: []string{"*"}, MaxAge: -1}, []string{
			`allow_origins: "x": an origin starts with a scheme, as in https://; write "https://x"`,
			`allow_headers: "*": names must be listed one by one`,
			`max_age: "-1ns": must not be negative`,
		}},
	} {
		t.Run("B3 "+c.name, func(t *testing.T) {
			p, err := New(c.cfg)
			if err == nil || p != nil {
				t.Fatalf("New = %v, %v; want an error", p, err)
			}
			if got := strings.Split(err.Error(), "\n"); !slices.Equal(got, c.want) {
				t.Errorf("got\n%s\nwant\n%s", err, strings.Join(c.want, "\n"))
			}
			joined, ok := err.(interface{ Unwrap() []error })
			if !ok {
				t.Fatalf("error is a %T; want a joined one", err)
			}
			for _, e := range joined.Unwrap() {
				var typed *Error
				if !errors.As(e, &typed) || typed.Option == "" || typed.Unwrap() == nil {
					t.Errorf("%v is a %T; want an *Error with option and reason", e, e)
				}
			}
		})
	}
}

func TestNewAccepts(t *testing.T) {
	for _, origins := range [][]string{
		nil,
		{"*"},
		{"*", "*"},
		{"https://a.example", "https://a.example", "HTTPS://A.example:443"},
		{"http://intranet:8080", "http://192.168.1.5"},
		{"https://*.Example.com", "https://*.example.com:8443", "http://*.example.com"},
		{"http://*.corp", "http://*.home.arpa", "http://*.localhost:3000"},
		{"https://*.team.github.io"},
		{"chrome-extension://abcdefghijklmnopabcdefghijklmnop"},
	} {
		t.Run(strings.Join(origins, " "), func(t *testing.T) {
			if _, err := New(Config{AllowOrigins: origins}); err != nil {
				t.Errorf("New: %v; want no error", err)
			}
		})
	}
}
