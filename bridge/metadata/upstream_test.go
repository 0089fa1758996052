package metadata

import (
	"testing"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/origin"
)

func mustNew(t testing.TB, cfg Config) *Store {
	t.Helper()
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// public is the endpoint of most tests, with its well-known URL.
var public = Public{Origin: "https://mcp.example.com", Path: "/mcp", Fixed: true}

const ownURL = "https://mcp.example.com/.well-known/oauth-protected-resource/mcp"

// Upstreams of the tables.
var (
	tcpUpstream  = Config{Dials: []string{"10.0.0.5:3000", "mcp.vendor.example:8443"}, UpstreamPath: "/mcp"}
	unixUpstream = Config{UpstreamPath: "/mcp", Origins: []string{"http://mcp.vendor.example", "https://Other.Example.:8443/"}}
	portUpstream = Config{Dials: []string{":3000"}, UpstreamPath: "/mcp"}
	tlsUpstream  = Config{Dials: []string{"mcp.vendor.example"}, TLS: true, UpstreamPath: "/mcp"}
)

// challengeCases seed the fuzzing as well.
var challengeCases = []struct {
	name, in string
	cfg      Config
	sent     string
	pub      Public // default: public
	known    bool   // metadata of the endpoint is known
	want     bool   // it is mapped to the endpoint's own URL
}{
	{name: "own already", in: ownURL},
	{name: "own already, known", in: ownURL, known: true},
	{name: "own in upper case", in: "HTTPS://MCP.example.com/.well-known/oauth-protected-resource/mcp", want: true},
	{name: "own with the default port", in: "https://mcp.example.com:443/.well-known/oauth-protected-resource/mcp", want: true},
	{name: "own with a slash", in: ownURL + "/", want: true},
	{name: "own with a query, which is a part of it", in: ownURL + "?a=b"},
	{name: "own with a fragment", in: ownURL + "#a", want: true},
	{name: "own with a trailing dot", in: "https://mcp.example.com./.well-known/oauth-protected-resource/mcp", want: true},
	{name: "own with userinfo", in: "https://a@mcp.example.com/.well-known/oauth-protected-resource/mcp"},

	{name: "dialled address", in: "http://10.0.0.5:3000/.well-known/oauth-protected-resource", cfg: tcpUpstream, want: true},
	{name: "dialled address, any path", in: "http://10.0.0.5:3000/x/y?z", cfg: tcpUpstream, want: true},
	{name: "dialled address, no path", in: "http://10.0.0.5:3000", cfg: tcpUpstream, want: true},
	{name: "dialled name", in: "https://mcp.vendor.example:8443/meta", cfg: tcpUpstream, want: true},
	{name: "dialled name, another port", in: "https://mcp.vendor.example/meta", cfg: tcpUpstream, want: true},
	{name: "dialled name, upper case", in: "https://MCP.Vendor.EXAMPLE./meta", cfg: tcpUpstream, want: true},
	{name: "dialled name without a port", in: "https://mcp.vendor.example/meta", cfg: tlsUpstream, want: true},
	{name: "below the dialled name", in: "https://a.mcp.vendor.example:8443/meta", cfg: tcpUpstream},
	{name: "above the dialled name", in: "https://vendor.example:8443/meta", cfg: tcpUpstream},
	{name: "ends like the dialled name", in: "https://evil-mcp.vendor.example/meta", cfg: tcpUpstream},
	{name: "begins like the dialled name", in: "https://mcp.vendor.example.evil.test/meta", cfg: tcpUpstream},
	{name: "public host with the dialled port", in: "http://mcp.example.com:3000/meta", cfg: tcpUpstream, want: true},
	{name: "public host with another port", in: "http://mcp.example.com:3001/meta", cfg: tcpUpstream},
	{name: "Host that was sent", in: "https://virtual.example/meta", sent: "virtual.example", want: true},
	{name: "Host that was sent, with a port", in: "https://virtual.example/meta", sent: "VIRTUAL.example:8080", want: true},
	{name: "Host that was sent, IPv6", in: "https://[2001:db8::1]/meta", sent: "[2001:db8:0::1]:80", want: true},
	{name: "another Host than was sent", in: "https://virtual.example.evil.test/meta", sent: "virtual.example"},
	{name: "Host that is none", in: "https://virtual.example/meta", sent: "a@virtual.example"},

	{name: "public host, scheme", in: "http://mcp.example.com/.well-known/oauth-protected-resource/mcp", want: true},
	{name: "public host, port", in: "https://mcp.example.com:3000/.well-known/oauth-protected-resource/mcp", want: true},
	{name: "public host, path", in: "https://mcp.example.com/.well-known/oauth-protected-resource", want: true},
	{name: "public host, any well-known path", in: "https://mcp.example.com/.well-known/other", want: true},
	{name: "public host elsewhere", in: "https://mcp.example.com/meta"},
	{name: "public host elsewhere, known", in: "https://mcp.example.com/meta", known: true, want: true},
	{name: "public host, no path", in: "https://mcp.example.com"},
	{name: "public host, well-known without a slash", in: "https://mcp.example.com/.well-known"},
	{name: "public host, well-known further down", in: "https://mcp.example.com/x/.well-known/oauth-protected-resource"},
	{name: "public host, well-known in the query", in: "https://mcp.example.com/?/.well-known/x"},
	{name: "public host, well-known in the fragment", in: "https://mcp.example.com/#/.well-known/x"},
	{name: "public host, well-known in upper case", in: "https://mcp.example.com/.WELL-KNOWN/x"},
	{name: "public host, escaped well-known", in: "https://mcp.example.com/%2ewell-known/x"},
	{name: "public host, dialled port", in: "http://mcp.example.com:3000/meta", cfg: Config{Dials: []string{"mcp.example.com:3000"}}, want: true},
	{name: "public host, another port", in: "http://mcp.example.com:3001/meta", cfg: Config{Dials: []string{"mcp.example.com:3000"}}},
	{name: "public host, public port is dialled", in: "https://mcp.example.com/meta", cfg: Config{Dials: []string{"mcp.example.com:443"}}},
	{name: "public host is the Host sent", in: "https://mcp.example.com/meta", sent: "mcp.example.com"},
	{name: "public host is local, elsewhere", in: "http://localhost:8080/meta", pub: Public{Origin: "http://localhost:8080", Path: "/mcp"}},
	{name: "public host is local, dialled port", in: "http://localhost:3000/meta", pub: Public{Origin: "http://localhost:8080", Path: "/mcp"}, cfg: Config{Dials: []string{"localhost:3000"}}, want: true},
	{name: "public host is local, another spelling", in: "http://127.0.0.1:8080/meta", pub: Public{Origin: "http://localhost:8080", Path: "/mcp"}, want: true},
	{name: "lookalike below another domain", in: "https://mcp.example.com.evil.test/.well-known/oauth-protected-resource/mcp"},
	{name: "lookalike with a prefix", in: "https://evil-mcp.example.com/.well-known/oauth-protected-resource/mcp"},
	{name: "lookalike without a dot", in: "https://evilmcp.example.com/.well-known/oauth-protected-resource/mcp"},
	{name: "lookalike, parent domain", in: "https://example.com/.well-known/oauth-protected-resource/mcp"},
	{name: "lookalike, subdomain", in: "https://a.mcp.example.com/.well-known/oauth-protected-resource/mcp"},
	{name: "public host as userinfo", in: "https://mcp.example.com@evil.test/.well-known/x"},
	{name: "public host as userinfo with a port", in: "https://mcp.example.com:443@evil.test/.well-known/x"},
	{name: "public host before an escaped slash", in: "https://mcp.example.com%2f.evil.test/.well-known/x"},
	{name: "public host before a backslash", in: `https://mcp.example.com\.evil.test/.well-known/x`},
	{name: "public host in the query", in: "https://evil.test/?https://mcp.example.com/.well-known/x"},
	{name: "public host in the path", in: "https://evil.test/mcp.example.com/.well-known/x", known: true},
	{name: "public host in the fragment", in: "https://evil.test#mcp.example.com/.well-known/x"},
	{name: "public host with a semicolon", in: "https://mcp.example.com;evil.test/.well-known/x"},

	{name: "loopback", in: "http://127.0.0.1:9999/x", want: true},
	{name: "mapped loopback", in: "http://[::ffff:7f00:1]/x", want: true},
	{name: "localhost", in: "http://localhost/x", want: true},
	{name: "unspecified", in: "http://0.0.0.0:8000/x", want: true},
	{name: "private", in: "http://192.168.1.9/x", want: true},
	{name: "link-local", in: "http://169.254.1.1/x", want: true},
	{name: "ULA", in: "http://[fd00::1]/x", want: true},
	{name: "shared", in: "http://100.100.100.100/x", want: true},
	{name: "single label", in: "http://mcp-server:3000/x", want: true},
	{name: "internal", in: "http://mcp.internal/x", want: true},
	{name: "svc", in: "http://mcp.tools.svc:80/x", want: true},
	{name: "local with a trailing dot", in: "http://mcp.local./x", want: true},
	{name: "private with userinfo", in: "http://a:b@192.168.1.9/x"},
	{name: "foreign", in: "https://auth.vendor.test/.well-known/oauth-protected-resource", known: true},
	{name: "foreign address", in: "https://192.0.2.7/.well-known/oauth-protected-resource"},
	{name: "short loopback", in: "http://127.1/x"},
	{name: "hexadecimal loopback", in: "http://0x7f.1/x"},
	{name: "decimal loopback", in: "http://2130706433/x"},
	{name: "punycode", in: "https://xn--mcp-example-com.test/x"},
	{name: "another scheme", in: "ftp://localhost/x"},
	{name: "percent-encoded loopback", in: "http://%31%32%37.0.0.1/x"},

	{name: "listed", in: "http://mcp.vendor.example/x?y", cfg: unixUpstream, want: true},
	{name: "listed with its port", in: "http://mcp.vendor.example:80/x", cfg: unixUpstream, want: true},
	{name: "listed, normalized", in: "https://other.example:8443/x", cfg: unixUpstream, want: true},
	{name: "listed, another scheme", in: "https://mcp.vendor.example/x", cfg: unixUpstream},
	{name: "listed, another port", in: "https://other.example/x", cfg: unixUpstream},
	{name: "below a listed one", in: "http://a.mcp.vendor.example/x", cfg: unixUpstream},
	{name: "a listed one as userinfo", in: "http://mcp.vendor.example@evil.test/x", cfg: unixUpstream},
	{name: "unix socket, a name of its own", in: "http://backend.example/x", cfg: Config{}},

	{name: "path-absolute well-known", in: "/.well-known/oauth-protected-resource", want: true},
	{name: "path-absolute with a query", in: "/.well-known/x?y#z", want: true},
	{name: "path-absolute elsewhere", in: "/meta"},
	{name: "path-absolute elsewhere, known", in: "/meta", known: true, want: true},
	{name: "path-absolute with a broken escape", in: "/%/0", known: true, want: true},
	{name: "scheme-relative", in: "//evil.test/.well-known/x", known: true},
	{name: "scheme-relative local", in: "//localhost/.well-known/x", known: true},
	{name: "slash and backslash", in: `/\evil.test/.well-known/x`, known: true},
	{name: "backslash in a well-known path", in: `/.well-known\x`, known: true},
	{name: "tab between slashes", in: "/\t/evil.test/", known: true},
	{name: "relative", in: ".well-known/oauth-protected-resource", known: true},
	{name: "query alone", in: "?x", known: true},
	{name: "empty", in: "", known: true},
	{name: "line end", in: "http://localhost/\r\nX: y", known: true},

	{name: "no public origin", in: "http://localhost/x", pub: Public{Path: "/mcp"}},
	{name: "no public origin, path-absolute", in: "/.well-known/x", pub: Public{Path: "/mcp"}},
	{name: "public host in the form of an attacker", in: "https://mcp.example.com/.well-known/x", pub: Public{Origin: "https://evil.test", Path: "/mcp"}},
	{name: "empty host of a port", in: "http://192.0.2.1:3000/x", cfg: portUpstream},
}

func (c *Config) withKnown(known bool) Config {
	cfg := *c
	if known {
		cfg.AuthorizationServers = []string{"https://as.example.com"}
	}
	return cfg
}

// A5: what is the upstream's becomes the endpoint's well-known URL; what is
// foreign stays, and so does a URL on the public host outside /.well-known/
// while no metadata of the endpoint is known.
func TestMapChallengeURL(t *testing.T) {
	for _, tc := range challengeCases {
		t.Run(tc.name, func(t *testing.T) {
			s := mustNew(t, tc.cfg.withKnown(tc.known))
			pub := tc.pub
			if pub == (Public{}) {
				pub = public
			}
			want := tc.in
			if tc.want {
				want = pub.WellKnown()
			}
			got, changed := s.MapChallengeURL(tc.in, pub, tc.sent, nil)
			if got != want || changed != tc.want {
				t.Errorf("MapChallengeURL(%q) = %q, %v; want %q, %v", tc.in, got, changed, want, tc.want)
			}
			if again, changed := s.MapChallengeURL(got, pub, tc.sent, nil); tc.want && (again != got || changed) {
				t.Errorf("the mapped URL is mapped again, to %q", again)
			}
		})
	}
}

var resourceCases = []struct {
	name, in string
	cfg      Config // default: tcpUpstream
	sent     string
	pub      Public
	want     bool
}{
	{name: "dialled", in: "http://10.0.0.5:3000/mcp", want: true},
	{name: "dialled, slash", in: "http://10.0.0.5:3000/mcp/", want: true},
	{name: "dialled, https", in: "https://10.0.0.5:3000/mcp", want: true},
	{name: "dialled, prefix of the path", in: "http://10.0.0.5:3000", want: true},
	{name: "dialled, root", in: "http://10.0.0.5:3000/", want: true},
	{name: "dialled, another path", in: "http://10.0.0.5:3000/other"},
	{name: "dialled, longer path", in: "http://10.0.0.5:3000/mcp/x"},
	{name: "dialled, part of a segment", in: "http://10.0.0.5:3000/mc"},
	{name: "dialled, path in upper case", in: "http://10.0.0.5:3000/MCP"},
	{name: "dialled, dot segments", in: "http://10.0.0.5:3000/mcp/../other"},
	{name: "dialled, query", in: "http://10.0.0.5:3000/mcp?a"},
	{name: "dialled, empty query", in: "http://10.0.0.5:3000/mcp?"},
	{name: "dialled, fragment", in: "http://10.0.0.5:3000/mcp#a"},
	{name: "dialled, empty fragment", in: "http://10.0.0.5:3000/mcp#"},
	{name: "dialled, userinfo", in: "http://a@10.0.0.5:3000/mcp"},
	{name: "dialled, another port", in: "http://10.0.0.5:3001/mcp"},
	{name: "dialled, no port", in: "http://10.0.0.5/mcp"},
	{name: "dialled name", in: "https://mcp.vendor.example:8443/mcp", want: true},
	{name: "dialled name, another's port", in: "https://mcp.vendor.example:3000/mcp"},
	{name: "dialled name, no port", in: "https://mcp.vendor.example/mcp"},
	{name: "dialled without a port", in: "https://mcp.vendor.example/mcp", cfg: tlsUpstream, want: true},
	{name: "dialled without a port, plain", in: "http://mcp.vendor.example/mcp", cfg: tlsUpstream},

	{name: "another server of the private network", in: "http://10.0.0.6:4000/mcp"},
	{name: "another server of the private network, no port", in: "http://10.0.0.6/mcp"},
	{name: "another server by its name", in: "http://payroll:8080/mcp"},
	{name: "another server by its internal name", in: "https://payroll.internal/mcp"},
	{name: "private with the upstream's port", in: "http://192.168.0.7:3000/mcp", want: true},
	{name: "private with the upstream's port, another path", in: "http://192.168.0.7:3000/admin"},
	{name: "loopback with the upstream's port", in: "http://127.0.0.1:3000/mcp", want: true},
	{name: "mapped loopback with the upstream's port", in: "http://[::ffff:127.0.0.1]:3000/mcp", want: true},
	{name: "localhost with the upstream's port", in: "http://LocalHost.:3000/mcp", want: true},
	{name: "unspecified with the upstream's port", in: "http://0.0.0.0:3000/mcp", want: true},
	{name: "single label with the upstream's port", in: "http://mcp:3000/mcp", want: true},
	{name: "internal with the upstream's port", in: "http://mcp.internal:3000/mcp", want: true},
	{name: "shared with the upstream's port", in: "http://100.64.0.1:3000/mcp", want: true},
	{name: "loopback with another port", in: "http://127.0.0.1:3001/mcp"},
	{name: "loopback, only a port is dialled", in: "http://127.0.0.1:3000/mcp", cfg: portUpstream, want: true},
	{name: "foreign address with the upstream's port", in: "http://192.0.2.1:3000/mcp"},
	{name: "foreign name with the upstream's port", in: "http://evil.test:3000/mcp"},
	{name: "only a port is dialled, foreign", in: "http://evil.test:3000/mcp", cfg: portUpstream},
	{name: "short loopback", in: "http://127.1:3000/mcp"},
	{name: "loopback with a port of 0", in: "http://127.0.0.1:0/mcp", cfg: Config{UpstreamPath: "/mcp"}},
	{name: "unix socket, loopback", in: "http://127.0.0.1/mcp", cfg: unixUpstream},

	{name: "public", in: "https://mcp.example.com/mcp", want: true},
	{name: "public, plain", in: "http://mcp.example.com/mcp", want: true},
	{name: "public, upstream's port", in: "http://mcp.example.com:3000/mcp", want: true},
	{name: "public, another port", in: "https://mcp.example.com:9999/mcp"},
	{name: "public, another path", in: "https://mcp.example.com/other"},
	{name: "public, public path", in: "https://mcp.example.com/team/mcp", pub: Public{Origin: "https://mcp.example.com", Path: "/team/mcp"}, want: true},
	{name: "public, prefix of the public path", in: "https://mcp.example.com/team", pub: Public{Origin: "https://mcp.example.com", Path: "/team/mcp"}, want: true},
	{name: "dialled, public path", in: "http://10.0.0.5:3000/team/mcp", pub: Public{Origin: "https://mcp.example.com", Path: "/team/mcp"}},
	{name: "public with its own port", in: "https://mcp.example.com:8443/mcp", pub: Public{Origin: "https://mcp.example.com:8443", Path: "/mcp"}, want: true},
	{name: "lookalike below another domain", in: "https://mcp.example.com.evil.test/mcp"},
	{name: "lookalike with a prefix", in: "https://evil-mcp.example.com/mcp"},
	{name: "public as userinfo", in: "https://mcp.example.com@evil.test/mcp"},
	{name: "parent domain", in: "https://example.com/mcp"},
	{name: "foreign", in: "https://vendor.test/mcp"},

	{name: "Host that was sent", in: "http://virtual.example:8080/mcp", sent: "virtual.example:8080", want: true},
	{name: "Host that was sent without a port", in: "https://virtual.example/mcp", sent: "virtual.example", want: true},
	{name: "Host that was sent without a port, plain", in: "http://virtual.example/mcp", sent: "virtual.example", want: true},
	{name: "Host that was sent, another port", in: "http://virtual.example:8081/mcp", sent: "virtual.example:8080"},
	{name: "Host that was sent without a port, a port", in: "http://virtual.example:8081/mcp", sent: "virtual.example"},

	{name: "listed", in: "http://mcp.vendor.example/mcp", cfg: unixUpstream, want: true},
	{name: "listed, prefix", in: "http://mcp.vendor.example", cfg: unixUpstream, want: true},
	{name: "listed, another path", in: "http://mcp.vendor.example/other", cfg: unixUpstream},
	{name: "listed, another scheme", in: "https://mcp.vendor.example/mcp", cfg: unixUpstream},
	{name: "upstream at the root", in: "http://10.0.0.5:3000", cfg: Config{Dials: []string{"10.0.0.5:3000"}}, want: true},
	{name: "upstream at the root, a path", in: "http://10.0.0.5:3000/mcp", cfg: Config{Dials: []string{"10.0.0.5:3000"}}},

	{name: "path-absolute", in: "/mcp"},
	{name: "scheme-relative", in: "//10.0.0.5:3000/mcp"},
	{name: "no URL", in: "mcp"},
	{name: "empty", in: ""},
	{name: "urn", in: "urn:mcp:server"},
	{name: "no public origin", in: "http://10.0.0.5:3000/mcp", pub: Public{Path: "/mcp"}},
}

// C3: resource is mapped only where it named the upstream itself. Any other,
// one of another server on the same private network above all, stays wrong
// where everyone sees it.
func TestNamesResource(t *testing.T) {
	for _, tc := range resourceCases {
		t.Run(tc.name, func(t *testing.T) {
			cfg := tc.cfg
			if cfg.UpstreamPath == "" && cfg.Dials == nil {
				cfg = tcpUpstream
			}
			pub := tc.pub
			if pub == (Public{}) {
				pub = public
			}
			s := mustNew(t, cfg)
			l, err := origin.Parse(tc.in)
			got := err == nil && s.up.namesResource(l, pub, tc.sent)
			if got != tc.want {
				t.Errorf("%q names the upstream: %v; want %v", tc.in, got, tc.want)
			}
		})
	}
}

// C1: the well-known URL of an endpoint, and the identifier that it is for.
func TestPublic(t *testing.T) {
	for _, tc := range []struct {
		pub            Public
		url, wellKnown string
	}{
		{public, "https://mcp.example.com/mcp", ownURL},
		{Public{Origin: "https://mcp.example.com", Path: "/"}, "https://mcp.example.com", "https://mcp.example.com/.well-known/oauth-protected-resource"},
		{Public{Origin: "http://localhost:8080", Path: "/a/b"}, "http://localhost:8080/a/b", "http://localhost:8080/.well-known/oauth-protected-resource/a/b"},
	} {
		if got := tc.pub.URL(); got != tc.url {
			t.Errorf("URL of %+v = %q; want %q", tc.pub, got, tc.url)
		}
		if got := tc.pub.WellKnown(); got != tc.wellKnown {
			t.Errorf("WellKnown of %+v = %q; want %q", tc.pub, got, tc.wellKnown)
		}
	}
}

// C3: a resource names the path of the upstream or a prefix of it, segment by
// segment.
func TestPathPrefix(t *testing.T) {
	for _, tc := range []struct {
		prefix, path string
		want         bool
	}{
		{"", "", true},
		{"/", "", true},
		{"", "/mcp", true},
		{"/", "/mcp", true},
		{"/mcp", "/mcp", true},
		{"/mcp/", "/mcp", true},
		{"/mcp", "/mcp/", true},
		{"/mcp", "/mcp/v1", true},
		{"/mcp/", "/mcp/v1", true},
		{"/mc", "/mcp", false},
		{"/mcp", "/mcp2", false},
		{"/mcp/v1", "/mcp", false},
		{"/mcp", "", false},
		{"/MCP", "/mcp", false},
		{"//", "/mcp", false},
		{"/mcp//", "/mcp", false},
		{"/%6dcp", "/mcp", false},
		{"/mcp/..", "/mcp", false},
		{"/./mcp", "/mcp", false},
	} {
		if got := pathPrefix(tc.prefix, tc.path); got != tc.want {
			t.Errorf("pathPrefix(%q, %q) = %v; want %v", tc.prefix, tc.path, got, tc.want)
		}
	}
}
