package origin

import (
	"net/url"
	"slices"
	"strings"
	"testing"
)

// uses are all uses, by the letters of the table: Challenge, Reference, Document, Fetch.
var uses = []struct {
	letter byte
	use    Use
}{{'c', Challenge}, {'r', Reference}, {'d', Document}, {'f', Fetch}}

// The server of the tables, behind a public host.
var (
	server   = mustNames(false, []string{"10.0.0.5:3000", "mcp.vendor.example:8443"}, "http://listed.example:8000", "http://localhost:8000")
	nameless = mustNames(false, nil, "http://listed.example:8000") // a unix socket
	byPort   = mustNames(false, []string{":3000"})
	overTLS  = mustNames(true, []string{"mcp.vendor.example"})
	zoned    = mustNames(false, []string{"[fe80::1%eth0]:3000"})
)

func mustNames(https bool, dials []string, listed ...string) *Names {
	n, err := NewNames(dials, https, listed)
	if err != nil {
		panic(err)
	}
	return n
}

type ownCase struct {
	name, in string
	names    *Names // default: server
	sent     string // default: the public host
	dial     string
	public   string // default: https://mcp.example.com; "-" is none
	want     string
}

// ownCases are URLs and the uses, by their letters, in which each is the server's.
var ownCases = []ownCase{
	{name: "dialled", in: "http://10.0.0.5:3000/a", want: "crdf"},
	{name: "dialled, https", in: "https://10.0.0.5:3000/a", want: "crdf"},
	{name: "dialled, mapped IPv6", in: "http://[::ffff:10.0.0.5]:3000/a", want: "crdf"},
	{name: "dialled, another port", in: "http://10.0.0.5:3001/a", want: "cr"},
	{name: "dialled name", in: "http://MCP.Vendor.example.:8443/a", want: "crdf"},
	{name: "dialled name, no port", in: "http://mcp.vendor.example/a", want: "cr"},
	{name: "dialled name, the port of another address", in: "http://mcp.vendor.example:3000/a", want: "cr"},
	{name: "dialled over TLS", in: "https://mcp.vendor.example/a", names: overTLS, want: "crdf"},
	{name: "dialled over TLS, plain", in: "http://mcp.vendor.example/a", names: overTLS, want: "cr"},
	{name: "dialled with a zone", in: "http://[fe80::1]:3000/a", names: zoned, want: "crdf"},
	{name: "below the dialled name", in: "http://a.mcp.vendor.example:8443/a"},
	{name: "above the dialled name", in: "http://vendor.example:8443/a"},
	{name: "dialled by a dynamic upstream", in: "http://pod.example:9000/a", names: nameless, dial: "pod.example:9000", want: "crdf"},
	{name: "dialled by a dynamic upstream, another port", in: "http://pod.example:9001/a", names: nameless, dial: "pod.example:9000", want: "cr"},

	{name: "Host that was sent", in: "http://virtual.example:8080/a", sent: "virtual.example:8080", want: "crdf"},
	{name: "Host that was sent, another port", in: "http://virtual.example:8081/a", sent: "virtual.example:8080", want: "cr"},
	{name: "Host that was sent without a port", in: "https://virtual.example/a", sent: "virtual.example", want: "crdf"},
	{name: "Host that was sent without a port, plain", in: "http://virtual.example/a", sent: "virtual.example", want: "crdf"},
	{name: "Host that was sent without a port, a port", in: "http://virtual.example:81/a", sent: "virtual.example", want: "cr"},

	{name: "public", in: "https://mcp.example.com/a", want: "crdf"},
	{name: "public, plain", in: "http://mcp.example.com/a", want: "crdf"},
	{name: "public, upper case, dot, port", in: "https://MCP.Example.com.:443/a", want: "crdf"},
	{name: "public, the dialled port", in: "http://mcp.example.com:3000/a", want: "crdf"},
	{name: "public, another port", in: "https://mcp.example.com:9443/a", want: "c"},
	{name: "public, another port, and sent so", in: "https://mcp.example.com:9443/a", sent: "mcp.example.com:9443", want: "c"},
	{name: "public, the port of a dynamic upstream", in: "http://mcp.example.com:9000/a", names: nameless, dial: "10.9.9.9:9000", want: "crdf"},
	{name: "public and local, another port", in: "http://localhost:9999/a", public: "http://localhost:8080", want: "cr"},
	{name: "public and local, the dialled port", in: "http://localhost:3000/a", public: "http://localhost:8080", want: "crdf"},
	{name: "no public host", in: "http://mcp.example.com/a", public: "-"},
	{name: "no public host, dialled", in: "http://10.0.0.5:3000/a", public: "-", want: "crdf"},

	{name: "loopback, the dialled port", in: "http://127.0.0.1:3000/a", want: "crd"},
	{name: "loopback, another port", in: "http://127.0.0.1:9000/a", want: "cr"},
	{name: "localhost, the dialled port", in: "http://localhost:3000/a", want: "crd"},
	{name: "localhost, listed", in: "http://LOCALHOST.:8000/a", want: "crd"},
	{name: "localhost, not listed", in: "http://localhost:8000/a", names: nameless, want: "cr"},
	{name: "localhost, no port dialled", in: "http://localhost:3000/a", names: nameless, want: "cr"},
	{name: "localhost, only the port is dialled", in: "http://localhost:3000/a", names: byPort, want: "crd"},
	{name: "unspecified, the dialled port", in: "http://0.0.0.0:3000/a", want: "crd"},
	{name: "another machine, the dialled port", in: "http://192.168.7.7:3000/a", want: "crd"},
	{name: "another machine", in: "http://192.168.7.7:9000/a", want: "cr"},
	{name: "shared address space", in: "http://100.64.1.1/a", want: "cr"},
	{name: "single label", in: "http://mcp:3000/a", want: "crd"},
	{name: "internal", in: "https://as.internal/a", want: "cr"},
	{name: "svc", in: "http://mcp.tools.svc/a", want: "cr"},

	{name: "listed", in: "http://listed.example:8000/a", want: "crd"},
	{name: "listed, another scheme", in: "https://listed.example:8000/a"},
	{name: "listed, another port", in: "http://listed.example/a"},
	{name: "below a listed one", in: "http://a.listed.example:8000/a"},

	{name: "foreign", in: "https://team.example.org/a"},
	{name: "foreign, the dialled port", in: "http://team.example.org:3000/a"},
	{name: "foreign, only a port is dialled", in: "http://team.example.org:3000/a", names: byPort},
	{name: "foreign address", in: "http://192.0.2.1:3000/a"},
	{name: "lookalike", in: "https://mcp.example.com.evil.test/a"},
	{name: "lookalike in front", in: "https://evil-mcp.example.com/a"},
	{name: "parent", in: "https://example.com/a"},
	{name: "userinfo", in: "http://a@10.0.0.5:3000/a"},
	{name: "server as userinfo", in: "http://10.0.0.5:3000@evil.test/a"},
	{name: "numeric", in: "http://127.1:3000/a"},
	{name: "escaped", in: "http://local%68ost:3000/a"},
	{name: "zone", in: "http://[fe80::1%25eth0]:3000/a", names: zoned},
	{name: "no URL", in: "/a"},
	{name: "Host that does not parse", in: "http://evil.test/a", sent: "evil.test/"},
	{name: "address that does not parse", in: "http://run/a", names: nameless, dial: "/run/a.sock", want: "cr"}, // a single label
}

func (tc *ownCase) seen() Seen {
	seen := Seen{Sent: tc.sent, Dial: tc.dial}
	public := tc.public
	if public == "" {
		public = "https://mcp.example.com"
	}
	if public != "-" {
		seen.Public, _ = Parse(public)
	}
	if seen.Sent == "" {
		seen.Sent = seen.Public.Name
	}
	return seen
}

// A5, A10, C3, C4, D2: one place decides whether a URL is the server's, and how sure it has
// to be depends on the use alone.
func TestOwn(t *testing.T) {
	for _, tc := range ownCases {
		t.Run(tc.name, func(t *testing.T) {
			names := tc.names
			if names == nil {
				names = server
			}
			got := ""
			u, err := Parse(tc.in)
			for _, x := range uses {
				if err == nil && names.Own(u, tc.seen(), x.use) {
					got += string(x.letter)
				}
			}
			if got != tc.want {
				t.Errorf("%s is the server's for %q; want %q", tc.in, got, tc.want)
			}
		})
	}
}

// What is the server's in a stricter use is in each laxer one, and nothing is that has
// userinfo, or another host to net/url than the one judged.
func FuzzOwn(f *testing.F) {
	for _, tc := range ownCases {
		f.Add(tc.in, tc.sent, tc.dial, tc.public)
	}
	for _, tc := range urlCases {
		f.Add(tc.in, "", "", "")
	}
	f.Fuzz(func(t *testing.T, raw, sent, dial, public string) {
		u, err := Parse(raw)
		if err != nil {
			return
		}
		seen := Seen{Sent: sent, Dial: dial}
		seen.Public, _ = Parse(public)
		for _, n := range []*Names{server, nameless, byPort, overTLS, zoned} {
			own := make(map[Use]bool)
			for _, x := range uses {
				own[x.use] = n.Own(u, seen, x.use)
			}
			if own[Fetch] && !own[Document] || own[Document] && !own[Reference] || own[Reference] && !own[Challenge] {
				t.Fatalf("%q: a stricter use owns more: %v", raw, own)
			}
			if !own[Challenge] {
				continue
			}
			to, err := url.Parse(raw)
			if err != nil {
				continue // an invalid escape in the path
			}
			if to.User != nil {
				t.Fatalf("%q has userinfo and is the server's", raw)
			}
			h, err := ParseHost(to.Host, defaultPort(u.HTTPS))
			if err != nil || h != u.Host {
				t.Fatalf("%q is at %+v to net/url, and at %+v here", raw, h, u.Host)
			}
		}
	})
}

// C5: in traffic of an authorization server nothing counts but the origin.
func TestSet(t *testing.T) {
	var s Set
	for _, raw := range []string{"http://10.0.0.5:3000/a?b#c", "https://as.example", "HTTPS://AS.example.:443/x"} {
		u, err := Parse(raw)
		if err != nil {
			t.Fatal(err)
		}
		s.Add(u)
	}
	if len(s) != 2 {
		t.Fatalf("set of %d origins; want 2", len(s))
	}
	for raw, want := range map[string]bool{
		"http://10.0.0.5:3000/z": true, "https://as.example/z": true, "https://AS.EXAMPLE.": true,
		"https://10.0.0.5:3000/z": false, "http://10.0.0.5/z": false, "http://as.example": false, "https://as.example:8443": false,
		"http://127.0.0.1:3000": false, "https://a.as.example": false,
	} {
		u, err := Parse(raw)
		if got := err == nil && s.Has(u); got != want {
			t.Errorf("%s is in the set: %v; want %v", raw, got, want)
		}
	}
}

// What is no address or no origin is said, each in a line that names it.
func TestNewNamesErrors(t *testing.T) {
	_, err := NewNames([]string{"a:3000", "b:x", ":0", "10.0.0.5"}, false, []string{"https://a", "https://b/c", "https://d@e"})
	if err == nil {
		t.Fatal("no error")
	}
	lines := strings.Split(err.Error(), "\n")
	want := []string{`upstream "b:x": `, `upstream ":0": `, `origins: origin "https://b/c": `, `origins: origin "https://d@e": `}
	if len(lines) != len(want) || slices.ContainsFunc(want, func(w string) bool {
		return !slices.ContainsFunc(lines, func(l string) bool { return strings.HasPrefix(l, w) })
	}) {
		t.Errorf("got\n%s\nwant a line for each of %q", err, want)
	}
}
