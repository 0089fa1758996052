package origin

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
)

// urlCases seed the fuzzing as well.
var urlCases = []struct {
	name, in string
	origin   string // "" for an error
	path     string
	query    string
	marked   bool
	local    bool
	err      error
}{
	{name: "plain", in: "https://mcp.example.com", origin: "https://mcp.example.com"},
	{name: "slash", in: "https://mcp.example.com/", origin: "https://mcp.example.com", path: "/"},
	{name: "path", in: "https://mcp.example.com/a/b", origin: "https://mcp.example.com", path: "/a/b"},
	{name: "query", in: "https://mcp.example.com/a?b=/c", origin: "https://mcp.example.com", path: "/a", query: "?b=/c"},
	{name: "query without path", in: "https://mcp.example.com?b", origin: "https://mcp.example.com", query: "?b"},
	{name: "empty query", in: "https://mcp.example.com/?", origin: "https://mcp.example.com", path: "/", query: "?"},
	{name: "fragment", in: "https://mcp.example.com/a#b", origin: "https://mcp.example.com", path: "/a", marked: true},
	{name: "empty fragment", in: "https://mcp.example.com#", origin: "https://mcp.example.com", marked: true},
	{name: "query in the fragment", in: "https://mcp.example.com/a#b?c", origin: "https://mcp.example.com", path: "/a", marked: true},
	{name: "fragment in the query", in: "https://mcp.example.com/a?c#b", origin: "https://mcp.example.com", path: "/a", query: "?c", marked: true},
	{name: "upper case", in: "HTTPS://MCP.Example.COM/A", origin: "https://mcp.example.com", path: "/A"},
	{name: "default port", in: "https://mcp.example.com:443/", origin: "https://mcp.example.com", path: "/"},
	{name: "default port with zeros", in: "https://mcp.example.com:00443", origin: "https://mcp.example.com"},
	{name: "empty port", in: "http://mcp.example.com:/x", origin: "http://mcp.example.com", path: "/x"},
	{name: "the other scheme's port", in: "http://mcp.example.com:443", origin: "http://mcp.example.com:443"},
	{name: "highest port", in: "http://mcp.example.com:65535", origin: "http://mcp.example.com:65535"},
	{name: "trailing dot", in: "https://mcp.example.com./a", origin: "https://mcp.example.com", path: "/a"},
	{name: "punycode", in: "https://xn--bcher-kva.example", origin: "https://xn--bcher-kva.example"},
	{name: "underscore", in: "http://my_server.example.com", origin: "http://my_server.example.com"},
	{name: "at sign in the path", in: "https://mcp.example.com/@a", origin: "https://mcp.example.com", path: "/@a"},
	{name: "at sign in the query", in: "https://mcp.example.com?x=@localhost", origin: "https://mcp.example.com", query: "?x=@localhost"},
	{name: "double slash path", in: "https://mcp.example.com//evil.test/x", origin: "https://mcp.example.com", path: "//evil.test/x"},
	{name: "dot segments are kept", in: "https://mcp.example.com/a/../b", origin: "https://mcp.example.com", path: "/a/../b"},
	{name: "escapes in the path are kept", in: "https://mcp.example.com/%2e%2E/%zz", origin: "https://mcp.example.com", path: "/%2e%2E/%zz"},
	{name: "longest label", in: "http://" + strings.Repeat("a", 63) + ".test", origin: "http://" + strings.Repeat("a", 63) + ".test"},
	{name: "digits, but not in the last label", in: "http://127.0.0.1.example.com", origin: "http://127.0.0.1.example.com"},
	{name: "hexadecimal, but not in the last label", in: "http://0x7f.example.com", origin: "http://0x7f.example.com"},
	{name: "looks hexadecimal", in: "http://a.0xg", origin: "http://a.0xg"},

	{name: "loopback", in: "http://127.0.0.1:3000/mcp", origin: "http://127.0.0.1:3000", path: "/mcp", local: true},
	{name: "loopback, another one", in: "http://127.255.3.4", origin: "http://127.255.3.4", local: true},
	{name: "loopback with a trailing dot", in: "http://127.0.0.1.", origin: "http://127.0.0.1", local: true},
	{name: "localhost", in: "http://localhost:3000", origin: "http://localhost:3000", local: true},
	{name: "localhost with a trailing dot", in: "http://LOCALHOST.:3000", origin: "http://localhost:3000", local: true},
	{name: "below localhost", in: "http://a.localhost", origin: "http://a.localhost", local: true},
	{name: "IPv6 loopback", in: "http://[::1]:3000/", origin: "http://[::1]:3000", path: "/", local: true},
	{name: "IPv6 loopback in full", in: "http://[0:0:0:0:0:0:0:1]", origin: "http://[::1]", local: true},
	{name: "mapped loopback", in: "http://[::ffff:127.0.0.1]:3000", origin: "http://127.0.0.1:3000", local: true},
	{name: "mapped loopback in hexadecimal", in: "http://[::FFFF:7F00:1]", origin: "http://127.0.0.1", local: true},
	{name: "unspecified", in: "http://0.0.0.0:8000", origin: "http://0.0.0.0:8000", local: true},
	{name: "IPv6 unspecified", in: "http://[::]:8000", origin: "http://[::]:8000", local: true},
	{name: "10/8", in: "http://10.1.2.3", origin: "http://10.1.2.3", local: true},
	{name: "172.16/12", in: "http://172.31.255.255", origin: "http://172.31.255.255", local: true},
	{name: "past 172.16/12", in: "http://172.32.0.0", origin: "http://172.32.0.0"},
	{name: "192.168/16", in: "http://192.168.0.1", origin: "http://192.168.0.1", local: true},
	{name: "mapped private", in: "http://[::ffff:192.168.0.1]", origin: "http://192.168.0.1", local: true},
	{name: "mapped public", in: "http://[::ffff:192.0.2.1]", origin: "http://192.0.2.1"},
	{name: "link-local", in: "http://169.254.169.254", origin: "http://169.254.169.254", local: true},
	{name: "IPv6 link-local", in: "http://[fe80::1]", origin: "http://[fe80::1]", local: true},
	{name: "ULA", in: "http://[fd12:3456::1]", origin: "http://[fd12:3456::1]", local: true},
	{name: "100.64/10, first", in: "http://100.64.0.0", origin: "http://100.64.0.0", local: true},
	{name: "100.64/10, last", in: "http://100.127.255.255", origin: "http://100.127.255.255", local: true},
	{name: "before 100.64/10", in: "http://100.63.255.255", origin: "http://100.63.255.255"},
	{name: "past 100.64/10", in: "http://100.128.0.0", origin: "http://100.128.0.0"},
	{name: "public IPv4", in: "http://192.0.2.1", origin: "http://192.0.2.1"},
	{name: "public IPv6", in: "http://[2001:DB8::1]", origin: "http://[2001:db8::1]"},
	{name: "single label", in: "http://mcp-server:3000", origin: "http://mcp-server:3000", local: true},
	{name: "single label with a trailing dot", in: "http://mcp.", origin: "http://mcp", local: true},
	{name: "internal", in: "https://mcp.internal", origin: "https://mcp.internal", local: true},
	{name: "host.docker.internal", in: "http://HOST.docker.INTERNAL.:80", origin: "http://host.docker.internal", local: true},
	{name: "metadata.google.internal", in: "http://metadata.google.internal", origin: "http://metadata.google.internal", local: true},
	{name: "svc", in: "http://mcp.tools.svc", origin: "http://mcp.tools.svc", local: true},
	{name: "svc.cluster.local", in: "http://mcp.tools.svc.cluster.local", origin: "http://mcp.tools.svc.cluster.local", local: true},
	{name: "mDNS", in: "http://printer.local", origin: "http://printer.local", local: true},
	{name: "localdomain", in: "http://a.localdomain", origin: "http://a.localdomain", local: true},
	{name: "lan", in: "http://nas.lan", origin: "http://nas.lan", local: true},
	{name: "home.arpa", in: "http://nas.home.arpa", origin: "http://nas.home.arpa", local: true},
	{name: "internal in the middle", in: "http://mcp.internal.example.com", origin: "http://mcp.internal.example.com"},
	{name: "ends like internal", in: "http://notinternal.example", origin: "http://notinternal.example"},
	{name: "svc in the middle", in: "http://mcp.svc.evil.test", origin: "http://mcp.svc.evil.test"},
	{name: "localhost in front", in: "http://localhost.evil.test", origin: "http://localhost.evil.test"},
	{name: "ends in localhost without a dot", in: "http://a.notlocalhost", origin: "http://a.notlocalhost"},

	{name: "empty", in: "", err: errScheme},
	{name: "no scheme", in: "mcp.example.com", err: errScheme},
	{name: "scheme-relative", in: "//mcp.example.com", err: errScheme},
	{name: "one slash", in: "https:/mcp.example.com", err: errScheme},
	{name: "no slash", in: "https:mcp.example.com", err: errScheme},
	{name: "backslashes for slashes", in: `https:\\mcp.example.com`, err: errScheme},
	{name: "another scheme", in: "ftp://localhost", err: errScheme},
	{name: "a scheme that begins alike", in: "httpss://localhost", err: errScheme},
	{name: "unix", in: "unix//run/mcp.sock", err: errScheme},
	{name: "javascript", in: "javascript:https://localhost", err: errScheme},
	{name: "space before", in: " https://localhost", err: errScheme},
	{name: "userinfo", in: "http://user:pass@localhost/", err: errUserinfo},
	{name: "empty userinfo", in: "http://@localhost/", err: errUserinfo},
	{name: "host as userinfo", in: "http://localhost:3000@evil.test/", err: errUserinfo},
	{name: "userinfo before IPv6", in: "http://a@[::1]/", err: errUserinfo},
	{name: "percent-encoded host", in: "http://%6cocalhost/", err: errPercent},
	{name: "percent-encoded dot", in: "http://127%2e0.0.1/", err: errPercent},
	{name: "percent-encoded slash", in: "http://localhost%2fevil.test/", err: errPercent},
	{name: "percent-encoded NUL", in: "http://localhost%00.evil.test/", err: errPercent},
	{name: "IPv6 zone", in: "http://[fe80::1%25eth0]/", err: errPercent},
	{name: "backslash in the host", in: `http://localhost\.evil.test/`, err: errByte},
	{name: "backslash in the path", in: `http://localhost/\evil.test`, err: errByte},
	{name: "space in the path", in: "http://localhost/a b", err: errByte},
	{name: "tab", in: "http://local\thost/", err: errByte},
	{name: "line end", in: "http://localhost/\r\nX: y", err: errByte},
	{name: "NUL", in: "http://localhost\x00.evil.test/", err: errByte},
	{name: "DEL", in: "http://localhost/\x7f", err: errByte},
	{name: "no host", in: "http://", err: errHost},
	{name: "no host but a path", in: "http:///localhost", err: errHost},
	{name: "no host but a port", in: "http://:3000/", err: errHost},
	{name: "a dot", in: "http://./", err: errHost},
	{name: "two trailing dots", in: "http://localhost../", err: errHost},
	{name: "leading dot", in: "http://.internal/", err: errHost},
	{name: "empty label", in: "http://a..internal/", err: errHost},
	{name: "too long a label", in: "http://" + strings.Repeat("a", 64) + ".test", err: errHost},
	{name: "too long a host", in: "http://" + strings.Repeat("a.", 127) + "a", err: errHost},
	{name: "semicolon", in: "http://localhost;evil.test/", err: errHost},
	{name: "comma", in: "http://localhost,evil.test/", err: errHost},
	{name: "asterisk", in: "http://*.example.com/", err: errHost},
	{name: "IPv6 without brackets", in: "http://::1/", err: errHost},
	{name: "IPv6 that is not closed", in: "http://[::1/", err: errHost},
	{name: "IPv6 with two brackets", in: "http://[[::1]/", err: errHost},
	{name: "IPv6 with two closing brackets", in: "http://[::1]]/", err: errHost},
	{name: "text after IPv6", in: "http://[::1].evil.test/", err: errHost},
	{name: "IPv4 in brackets", in: "http://[127.0.0.1]/", err: errHost},
	{name: "a name in brackets", in: "http://[localhost]/", err: errHost},
	{name: "empty brackets", in: "http://[]/", err: errHost},
	{name: "IPvFuture", in: "http://[v1.a:b]/", err: errHost},
	{name: "short IPv4", in: "http://127.1/", err: errNumeric},
	{name: "decimal IPv4", in: "http://2130706433/", err: errNumeric},
	{name: "hexadecimal IPv4", in: "http://0x7f000001/", err: errNumeric},
	{name: "short hexadecimal IPv4", in: "http://0x7f.1/", err: errNumeric},
	{name: "hexadecimal at the end", in: "http://127.0.0.0X1/", err: errNumeric},
	{name: "empty hexadecimal", in: "http://127.0.0.0x/", err: errNumeric},
	{name: "octal IPv4", in: "http://0177.0.0.1/", err: errNumeric},
	{name: "leading zero", in: "http://127.0.0.01/", err: errNumeric},
	{name: "too large an octet", in: "http://127.0.0.256/", err: errNumeric},
	{name: "too many octets", in: "http://127.0.0.1.1/", err: errNumeric},
	{name: "ends in a number", in: "http://mcp.example.1/", err: errNumeric},
	{name: "non-ASCII host", in: "http://bücher.example/", err: errNonASCII},
	{name: "full-width dot", in: "http://127\uff0e0\uff0e0\uff0e1/", err: errNonASCII},
	{name: "circled digits", in: "http://①②⑦.0.0.1/", err: errNonASCII},
	{name: "a letter that folds to ASCII", in: "http://\u212aocalhost/", err: errNonASCII},
	{name: "soft hyphen", in: "http://local\u00adhost/", err: errNonASCII},
	{name: "port of letters", in: "http://localhost:http/", err: errPort},
	{name: "negative port", in: "http://localhost:-1/", err: errPort},
	{name: "signed port", in: "http://localhost:+80/", err: errPort},
	{name: "port 0", in: "http://localhost:0/", err: errPort},
	{name: "too large a port", in: "http://localhost:65536/", err: errPort},
	{name: "two ports", in: "http://localhost:80:80/", err: errPort},
	{name: "port of IPv6", in: "http://[::1]:x/", err: errPort},
}

// A5: URLs are judged on the text: lower case, default port, no trailing dot;
// with userinfo, or in any form that clients read differently, they are foreign.
func TestParse(t *testing.T) {
	for _, tc := range urlCases {
		t.Run(tc.name, func(t *testing.T) {
			l, err := Parse(tc.in)
			if !errors.Is(err, tc.err) {
				t.Fatalf("Parse(%q): error %v; want %v", tc.in, err, tc.err)
			}
			if err != nil {
				return
			}
			if got := l.Origin(); got != tc.origin {
				t.Errorf("origin of %q is %q; want %q", tc.in, got, tc.origin)
			}
			if l.Path != tc.path || l.Query != tc.query || l.Fragment != tc.marked {
				t.Errorf("%q has path %q, query %q, fragment %v; want %q, %q, %v", tc.in, l.Path, l.Query, l.Fragment, tc.path, tc.query, tc.marked)
			}
			if got := l.Local(); got != tc.local {
				t.Errorf("%q is local: %v; want %v", tc.in, got, tc.local)
			}
			again, err := Parse(l.Origin())
			if err != nil || !again.SameOrigin(l) {
				t.Errorf("origin %q of %q is read as %v, %v; want the same", l.Origin(), tc.in, again, err)
			}
		})
	}
}

// A5: the origin in the one form that is compared, and nothing but an origin.
func TestParseOrigin(t *testing.T) {
	for _, tc := range urlCases {
		t.Run(tc.name, func(t *testing.T) {
			want, wantErr := tc.origin, tc.err
			if wantErr == nil && (len(tc.path) > 1 || tc.query != "" || tc.marked) {
				want, wantErr = "", errNotOrigin
			}
			u, err := ParseOrigin(tc.in)
			got := ""
			if err == nil {
				got = u.Origin()
			}
			if got != want || !errors.Is(err, wantErr) {
				t.Errorf("ParseOrigin(%q) = %q, %v; want %q, %v", tc.in, got, err, want, wantErr)
			}
			if err != nil && strings.ContainsAny(err.Error(), "\r\n") {
				t.Errorf("error %q has more than one line", err)
			}
		})
	}
}

// A5: the zero value, of a URL that could not be read, is no local host.
func TestZeroHostIsNotLocal(t *testing.T) {
	if (Host{}).Local() {
		t.Error("the zero value is local")
	}
	if (Host{Addr: netip.MustParseAddr("192.0.2.1")}).Local() {
		t.Error("a public address is local")
	}
}
