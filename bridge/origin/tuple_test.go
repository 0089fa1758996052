package origin

import (
	"errors"
	"net/netip"
	"net/url"
	"strings"
	"testing"
)

var tupleCases = []struct {
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
	{in: "safari-web-extension://6F9619FF-8B86-D011-B42D-00C04FC964FF", want: "safari-web-extension://6F9619FF-8B86-D011-B42D-00C04FC964FF"},
	{in: "Safari-Web-Extension://6F9619FF", want: "safari-web-extension://6F9619FF"},
	{in: "vscode-webview://0123456789", want: "vscode-webview://0123456789"},
	{in: "app://Host.:443", want: "app://Host.:443"},
	{in: "app://[::0:1]", want: "app://[::1]"},
	{in: "app://" + strings.Repeat("A", maxHostLength), want: "app://" + strings.Repeat("A", maxHostLength)},
	{in: "https://" + strings.Repeat("a", maxLabelLength) + ".example", want: "https://" + strings.Repeat("a", maxLabelLength) + ".example"},

	{in: "", err: errEmpty},
	{in: "null", err: errNull},
	{in: "*", err: ErrNoScheme},
	{in: "example.com", err: ErrNoScheme},
	{in: "//example.com", err: ErrNoScheme},
	{in: "://example.com", err: errBadScheme},
	{in: "1http://example.com", err: errBadScheme},
	{in: " https://example.com", err: errBadScheme},
	{in: "ht tp://example.com", err: errBadScheme},
	{in: strings.Repeat("a", maxScheme+1) + "://example.com", err: errBadScheme},
	{in: "https://", err: errHost},
	{in: "file://", err: errHost},
	{in: "app://", err: errHost},
	{in: "app://:80", err: errHost},
	{in: "app://a]", err: errHost},
	{in: "app://A/", err: ErrPath},
	{in: "app://A@b", err: errNoUserinfo},
	{in: "app://" + strings.Repeat("A", maxHostLength+1), err: errHost},
	{in: "https://:443", err: errHost},
	{in: "https://.example.com", err: errHost},
	{in: "https://a..example.com", err: errHost},
	{in: "https://" + strings.Repeat("a", maxLabelLength+1) + ".example", err: errHost},
	{in: "https://" + strings.Repeat("a.", 127), err: errHost},
	{in: "https://example.com.", err: errTrailing},
	{in: "https://example.com/", err: ErrPath},
	{in: "https://example.com/path", err: ErrPath},
	{in: `https://example.com\@evil.example`, err: ErrPath},
	{in: "https://example.com?", err: errQuery},
	{in: "https://example.com#", err: errQuery},
	{in: "https://user@example.com", err: errNoUserinfo},
	{in: "https://example.com%00", err: errOddByte},
	{in: "https://example.com evil.example", err: errOddByte},
	{in: "https://a.example,https://b.example", err: errOddByte},
	{in: "https://example.com\r\nX: y", err: errOddByte},
	{in: "https://example.com\x00", err: errOddByte},
	{in: "https://exam\u212Ale.com", err: errNonASCII}, // KELVIN SIGN folds to k
	{in: "https://bücher.example", err: errNonASCII},
	{in: "https://*.example.com", err: ErrWildcard},
	{in: "https://example.com:", err: errExactPort},
	{in: "https://example.com:0", err: errExactPort},
	{in: "https://example.com:0443", err: errExactPort},
	{in: "https://example.com:65536", err: errExactPort},
	{in: "https://example.com:443:443", err: errExactPort},
	{in: "https://example.com:https", err: errExactPort},
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
	{in: "http://[fe80::1%25eth0]", err: errOddByte},
	{in: "https://" + strings.Repeat("a", MaxTuple), err: errTooLong},
}

func TestParseTuple(t *testing.T) {
	for _, c := range tupleCases {
		t.Run(c.in, func(t *testing.T) {
			got, err := ParseTuple(c.in)
			if !errors.Is(err, c.err) || got.String() != c.want {
				t.Errorf("ParseTuple(%q) = %q, %v; want %q, %v", c.in, got, err, c.want, c.err)
			}
		})
	}
}

func TestTupleParts(t *testing.T) {
	got, err := ParseTuple("HTTP://[::1]:3000")
	if err != nil {
		t.Fatal(err)
	}
	if got.Scheme() != "http" || got.Host() != "[::1]" || got.Port() != 3000 {
		t.Errorf("got %q %q %d; want http, [::1], 3000", got.Scheme(), got.Host(), got.Port())
	}
	a, _ := ParseTuple("https://example.com:443")
	b, _ := ParseTuple("HTTPS://EXAMPLE.com")
	if a != b {
		t.Errorf("%+v != %+v; want equal", a, b)
	}
	if a.Port() != 0 {
		t.Errorf("port = %d; want 0 for the default", a.Port())
	}
}

// FuzzParseTuple checks that the normal form is a fixed point, and that the
// parser understands the host that net/url understands.
func FuzzParseTuple(f *testing.F) {
	for _, c := range tupleCases {
		f.Add(c.in)
	}
	f.Fuzz(func(t *testing.T, s string) {
		o, err := ParseTuple(s)
		if err != nil {
			if o != (Tuple{}) {
				t.Errorf("ParseTuple(%q) = %+v with an error; want the zero value", s, o)
			}
			return
		}
		again, err := ParseTuple(o.String())
		if err != nil || again != o {
			t.Errorf("ParseTuple(%q) = %+v, %v; want %+v again", o, again, err, o)
		}
		u, err := url.Parse(s)
		if err != nil {
			t.Fatalf("net/url refuses %q: %v", s, err)
		}
		if u.Scheme != o.Scheme() || u.User != nil || u.Path != "" || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" {
			t.Errorf("net/url takes %q for %#v; want an origin of scheme %q", s, u, o.Scheme())
		}
		if !sameHost(u.Hostname(), o) {
			t.Errorf("net/url takes the host of %q for %q; want %q", s, u.Hostname(), o.Host())
		}
	})
}

// sameHost compares a host of net/url with that of an origin.
func sameHost(host string, o Tuple) bool {
	a, errA := netip.ParseAddr(host)
	b, errB := netip.ParseAddr(strings.Trim(o.Host(), "[]"))
	if errA == nil && errB == nil {
		return a == b
	}
	if !o.Web() { // its case, and numbers in it, are its own
		return host == o.Host()
	}
	return errA != nil && errB != nil && strings.ToLower(host) == o.Host()
}
