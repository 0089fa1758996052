package cors

import (
	"errors"
	"net/netip"
	"net/url"
	"strings"
	"testing"
)

var originCases = []struct {
	in   string
	want string // "" for an error
	err  error
}{
	{in: "https://app.example.com", want: "https://app.example.com"},
	{in: "HTTPS://App.Example.COM", want: "https://app.example.com"},
	{in: "https://example.com:443", want: "https://example.com"},
	{in: "http://example.com:80", want: "http://example.com"},
	{in: "http://example.com:443", want: "http://example.com:443"},
	{in: "https://example.com:8443", want: "https://example.com:8443"},
	{in: "https://example.com:65535", want: "https://example.com:65535"},
	{in: "http://intranet", want: "http://intranet"},
	{in: "http://under_score.example.com", want: "http://under_score.example.com"},
	{in: "https://xn--bcher-kva.example", want: "https://xn--bcher-kva.example"},
	{in: "http://127.0.0.1:6274", want: "http://127.0.0.1:6274"},
	{in: "http://[::1]:3000", want: "http://[::1]:3000"},
	{in: "http://[0:0:0:0:0:0:0:1]", want: "http://[::1]"},
	{in: "http://[2001:DB8::1]:80", want: "http://[2001:db8::1]"},
	{in: "http://[::ffff:127.0.0.1]", want: "http://[::ffff:7f00:1]"},
	{in: "http://[::ffff:7f00:1]", want: "http://[::ffff:7f00:1]"},
	{in: "chrome-extension://abcdefghijklmnopabcdefghijklmnop", want: "chrome-extension://abcdefghijklmnopabcdefghijklmnop"},
	{in: "app://obsidian.md", want: "app://obsidian.md"},
	{in: "https://" + strings.Repeat("a", maxLabel) + ".example", want: "https://" + strings.Repeat("a", maxLabel) + ".example"},

	{in: "", err: errEmpty},
	{in: "null", err: errNull},
	{in: "*", err: errNoScheme},
	{in: "example.com", err: errNoScheme},
	{in: "//example.com", err: errNoScheme},
	{in: "://example.com", err: errBadScheme},
	{in: "1http://example.com", err: errBadScheme},
	{in: " https://example.com", err: errBadScheme},
	{in: "ht tp://example.com", err: errBadScheme},
	{in: strings.Repeat("a", maxScheme+1) + "://example.com", err: errBadScheme},
	{in: "https://", err: errHost},
	{in: "file://", err: errHost},
	{in: "https://:443", err: errHost},
	{in: "https://.example.com", err: errHost},
	{in: "https://a..example.com", err: errHost},
	{in: "https://" + strings.Repeat("a", maxLabel+1) + ".example", err: errHost},
	{in: "https://" + strings.Repeat("a.", 127), err: errHost},
	{in: "https://example.com.", err: errTrailing},
	{in: "https://example.com/", err: errPath},
	{in: "https://example.com/path", err: errPath},
	{in: `https://example.com\@evil.example`, err: errPath},
	{in: "https://example.com?", err: errQuery},
	{in: "https://example.com#", err: errQuery},
	{in: "https://user@example.com", err: errUserinfo},
	{in: "https://example.com%00", err: errByte},
	{in: "https://example.com evil.example", err: errByte},
	{in: "https://a.example,https://b.example", err: errByte},
	{in: "https://example.com\r\nX: y", err: errByte},
	{in: "https://example.com\x00", err: errByte},
	{in: "https://exam\u212Ale.com", err: errNonASCII}, // KELVIN SIGN folds to k
	{in: "https://bücher.example", err: errNonASCII},
	{in: "https://*.example.com", err: errBadPattern},
	{in: "https://example.com:", err: errBadPort},
	{in: "https://example.com:0", err: errBadPort},
	{in: "https://example.com:0443", err: errBadPort},
	{in: "https://example.com:65536", err: errBadPort},
	{in: "https://example.com:443:443", err: errBadPort},
	{in: "https://example.com:https", err: errBadPort},
	{in: "http://127.1", err: errNumeric},
	{in: "http://2130706433", err: errNumeric},
	{in: "http://0x7f.0.0.1", err: errNumeric},
	{in: "http://0x7f000001", err: errNumeric},
	{in: "http://127.0.0.0x1", err: errNumeric},
	{in: "http://0177.0.0.1", err: errNumeric},
	{in: "http://1.2.3.4.5", err: errNumeric},
	{in: "http://[::1", err: errBadIPv6},
	{in: "http://[]", err: errBadIPv6},
	{in: "http://[127.0.0.1]", err: errBadIPv6},
	{in: "http://[::1]]", err: errHost},
	{in: "http://[::1]x", err: errHost},
	{in: "http://::1", err: errHost},
	{in: "http://a[b]", err: errHost},
	{in: "http://[fe80::1%25eth0]", err: errByte},
	{in: "https://" + strings.Repeat("a", maxOrigin), err: errTooLong},
}

func TestParseOrigin(t *testing.T) {
	for _, c := range originCases {
		t.Run(c.in, func(t *testing.T) {
			got, err := ParseOrigin(c.in)
			if !errors.Is(err, c.err) || got.String() != c.want {
				t.Errorf("ParseOrigin(%q) = %q, %v; want %q, %v", c.in, got, err, c.want, c.err)
			}
		})
	}
}

func TestOriginParts(t *testing.T) {
	got, err := ParseOrigin("HTTP://[::1]:3000")
	if err != nil {
		t.Fatal(err)
	}
	if got.Scheme() != "http" || got.Host() != "[::1]" || got.Port() != 3000 {
		t.Errorf("got %q %q %d; want http, [::1], 3000", got.Scheme(), got.Host(), got.Port())
	}
	a, _ := ParseOrigin("https://example.com:443")
	b, _ := ParseOrigin("HTTPS://EXAMPLE.com")
	if a != b {
		t.Errorf("%+v != %+v; want equal", a, b)
	}
	if a.Port() != 0 {
		t.Errorf("port = %d; want 0 for the default", a.Port())
	}
}

func TestLoopback(t *testing.T) {
	for _, c := range []struct {
		host           string
		loopback, ipOr bool
	}{
		{"localhost", true, true},
		{"LocalHost", true, true},
		{"localhost.", true, true},
		{"app.localhost", true, false},
		{".localhost", false, false},
		{"notlocalhost", false, false},
		{"localhost.example.com", false, false},
		{"127.0.0.1", true, true},
		{"127.255.255.254", true, true},
		{"127.0.0.1.example.com", false, false},
		{"127.0.0.1.nip1", false, false},
		{"128.0.0.1", false, true},
		{"0.0.0.0", false, true},
		{"192.168.1.5", false, true},
		{"::1", true, true},
		{"[::1]", true, true},
		{"::1%lo", true, true},
		{"::ffff:127.0.0.1", true, true},
		{"[::ffff:7f00:1]", true, true},
		{"::2", false, true},
		{"[2001:db8::1]", false, true},
		{"127.1", false, false},
		{"example.com", false, false},
		{"", false, false},
		{"[]", false, false},
		{"host:80", false, false},
	} {
		t.Run(c.host, func(t *testing.T) {
			if got := Loopback(c.host); got != c.loopback {
				t.Errorf("Loopback(%q) = %v; want %v", c.host, got, c.loopback)
			}
			if got := IPOrLocalhost(c.host); got != c.ipOr {
				t.Errorf("IPOrLocalhost(%q) = %v; want %v", c.host, got, c.ipOr)
			}
		})
	}
}

// FuzzParseOrigin checks that the normal form is a fixed point, and that the
// parser understands the host that net/url understands.
func FuzzParseOrigin(f *testing.F) {
	for _, c := range originCases {
		f.Add(c.in)
	}
	f.Fuzz(func(t *testing.T, s string) {
		o, err := ParseOrigin(s)
		if err != nil {
			if o != (Origin{}) {
				t.Errorf("ParseOrigin(%q) = %+v with an error; want the zero value", s, o)
			}
			return
		}
		again, err := ParseOrigin(o.String())
		if err != nil || again != o {
			t.Errorf("ParseOrigin(%q) = %+v, %v; want %+v again", o, again, err, o)
		}
		u, err := url.Parse(s)
		if err != nil {
			t.Fatalf("net/url refuses %q: %v", s, err)
		}
		if u.Scheme != o.Scheme() || u.User != nil || u.Path != "" || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" {
			t.Errorf("net/url takes %q for %#v; want an origin of scheme %q", s, u, o.Scheme())
		}
		if !sameHost(u.Hostname(), o.Host()) {
			t.Errorf("net/url takes the host of %q for %q; want %q", s, u.Hostname(), o.Host())
		}
	})
}

// sameHost compares a host of net/url with a normal one.
func sameHost(host, normal string) bool {
	a, errA := netip.ParseAddr(host)
	b, errB := netip.ParseAddr(strings.Trim(normal, "[]"))
	if errA == nil && errB == nil {
		return a == b
	}
	return errA != nil && errB != nil && strings.ToLower(host) == normal
}
