package cors

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// Requests as the caller computes them.
var (
	remote     = Request{PublicOrigin: "https://mcp.example.com", HostConfigured: true}
	unknown    = Request{PublicOrigin: "https://mcp.example.com"}
	lan        = Request{PublicOrigin: "http://192.168.1.5:8080", IPOrLocalhost: true}
	local      = Request{PublicOrigin: "http://localhost:8080", IPOrLocalhost: true, LoopbackHost: true, LoopbackLocal: true}
	rebinding  = Request{PublicOrigin: "http://evil.example:8080", LoopbackLocal: true}
	localIP    = Request{PublicOrigin: "http://192.168.1.5:8080", IPOrLocalhost: true, LoopbackLocal: true}
	proxied    = Request{PublicOrigin: "http://192.168.1.5:8080", IPOrLocalhost: true, LoopbackLocal: true, TrustedProxy: true}
	configured = Request{PublicOrigin: "https://mcp.example.com", HostConfigured: true, LoopbackLocal: true}
)

func (r Request) sibling() Request {
	r.OriginConfigured = true
	return r
}

func (r Request) from(origin string) Request {
	r.Origin = origin
	return r
}

func (r Request) site(value string) Request {
	r.SecFetchSite = value
	return r
}

func (r Request) browser() Request {
	r.Browser = true
	return r
}

func (r Request) navigating() Request {
	r.Navigation = true
	return r
}

func TestDecideDefault(t *testing.T) {
	p := mustNew(t, Config{Own: []string{"https://mcp.example.com", "https://alias.example.com"}})
	for _, c := range []struct {
		name string
		in   Request
		want Decision
	}{
		{"B3 no origin passes", remote, Pass},
		{"B3 no origin passes, unknown host", unknown, Pass},
		{"B4 no origin, cross-site", remote.site("cross-site"), Refused},
		{"B4 no origin, cross-site, loopback", local.site("cross-site"), Refused},
		{"B4 no origin, cross-site, trusted proxy", proxied.site("cross-site"), Refused},
		{"B4 no origin, cross-site navigation", remote.site("cross-site").navigating(), Pass},
		{"B4 no origin, same-site", remote.site("same-site"), Pass},
		{"B4 cross-site with an allowed origin", remote.from("https://alias.example.com").site("cross-site"), Allow},
		{"B3 own origin", remote.from("https://mcp.example.com"), Allow},
		{"B3 own origin in upper case", remote.from("HTTPS://MCP.example.com"), Allow},
		{"B3 own origin with its default port", remote.from("https://mcp.example.com:443"), Allow},
		{"B3 another configured host", remote.from("https://alias.example.com"), Allow},
		{"B3 own host, other scheme", remote.from("http://mcp.example.com"), Refused},
		{"B3 own host, other port", remote.from("https://mcp.example.com:8443"), Refused},
		{"B3 below the own host", remote.from("https://x.mcp.example.com"), Refused},
		{"B3 foreign origin", remote.from("https://evil.example"), Refused},
		{"B3 loopback origin, public host", remote.from("http://localhost:6274"), Refused},
		{"B3 null", remote.from("null"), Refused},
		{"B3 null on loopback", local.from("null"), Refused},
		{"B3 request's own address", lan.from("http://192.168.1.5:8080"), Allow},
		{"B3 other port of that address", lan.from("http://192.168.1.5:9090"), Refused},
		{"B3 loopback origin, address of the network", lan.from("http://localhost:6274"), Refused},
		{"B3 localhost", local.from("http://localhost:8080"), Allow},
		{"B3 loopback origin, other port", local.from("http://localhost:6274"), Allow},
		{"B3 loopback origin, IPv4", local.from("http://127.0.0.1:6274"), Allow},
		{"B3 loopback origin, IPv6", local.from("http://[::1]:6274"), Allow},
		{"B3 loopback origin, below localhost", local.from("https://app.localhost"), Allow},
		{"B3 app of another scheme at localhost", local.from("tauri://localhost"), Refused},
		{"B3 foreign origin on loopback", local.from("https://evil.example"), Refused},
		{"B3 name that looks like localhost", local.from("http://localhost.evil.example"), Refused},
		{"B4 no origin, no browser", rebinding, Pass},
		{"B4 no origin, browser", rebinding.browser(), Refused},
		{"B4 no origin, browser that navigates", rebinding.browser().site("none").navigating(), Refused},
		{"B4 no origin, browser, by address", localIP.browser(), Pass},
		{"B4 no origin, browser, trusted proxy", Request{PublicOrigin: "http://evil.example", LoopbackLocal: true, TrustedProxy: true}.browser(), Pass},
		{"B4 no origin, browser, configured host", configured.browser(), Pass},
		{"B4 no origin, browser, loopback host", local.browser(), Pass},
		{"B4 no origin, browser, not on a loopback address", unknown.browser(), Pass},
		{"B4 no origin, browser, no usable host", Request{LoopbackLocal: true}.browser(), Refused},
		{"B4 no origin, same-origin", rebinding.site("same-origin"), Refused},
		{"B4 no origin, typed address", rebinding.site("none"), Refused},
		{"B4 same origin", rebinding.from("http://evil.example:8080"), Refused},
		{"B4 same origin with the header", rebinding.from("http://evil.example:8080").site("same-origin"), Refused},
		{"B4 same origin by address", localIP.from("http://192.168.1.5:8080"), Allow},
		{"B4 trusted proxy, same origin by address", proxied.from("http://192.168.1.5:8080"), Allow},
		{"B4 trusted proxy, no origin", proxied.site("same-origin"), Pass},
		{"B4 configured host behind a local proxy", configured.from("https://mcp.example.com"), Allow},
		{"B4 configured host, no origin", configured.site("same-origin"), Pass},
		{"B4 loopback host, no origin", local.site("same-origin"), Pass},
		{"B4 not on a loopback address, no origin", unknown.site("same-origin"), Pass},
		{"B4 own origin is no forgery under a foreign host", rebinding.from("https://mcp.example.com"), Allow},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := p.Decide(c.in); got != c.want {
				t.Errorf("Decide(%+v) = %v; want %v", c.in, got, c.want)
			}
		})
	}
}

// B3: where no host is configured, a name that the request alone vouches for is
// nobody's own.
func TestDecideWithoutOwn(t *testing.T) {
	p := mustNew(t, Config{})
	for _, c := range []struct {
		name string
		in   Request
		want Decision
	}{
		{"B3 the request's own name", unknown.from("https://mcp.example.com"), Refused},
		{"B3 a host of the site", remote.from("https://mcp.example.com"), Allow},
		{"B3 another host of the site", remote.from("https://app.example.com").sibling(), Allow},
		{"B3 a host of the site, under a foreign name", rebinding.from("https://app.example.com").sibling(), Refused},
		{"B3 the request's own address", lan.from("http://192.168.1.5:8080"), Allow},
		{"B3 no usable host", Request{}.from("https://mcp.example.com"), Refused},
		{"B3 no usable host, loopback origin", Request{LoopbackLocal: true}.from("http://localhost"), Refused},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := p.Decide(c.in); got != c.want {
				t.Errorf("Decide(%+v) = %v; want %v", c.in, got, c.want)
			}
		})
	}
}

func TestDecideList(t *testing.T) {
	p := mustNew(t, Config{
		Own: []string{"https://mcp.example.com", "https://*.tenants.example.com"},
		AllowOrigins: []string{
			"https://App.example.com", "http://intranet:8080", "https://*.example.org",
			"http://*.example.net:3000", "chrome-extension://abcdefghijklmnopabcdefghijklmnop",
		},
	})
	for _, c := range []struct {
		name string
		in   Request
		want Decision
	}{
		{"B3 listed", remote.from("https://app.example.com"), Allow},
		{"B3 another host of the site, not listed", remote.from("https://www.example.com").sibling(), Refused},
		{"B3 listed, port", remote.from("http://intranet:8080"), Allow},
		{"B3 listed, extension", remote.from("chrome-extension://abcdefghijklmnopabcdefghijklmnop"), Allow},
		{"B3 other extension", remote.from("chrome-extension://ponmlkjihgfedcbaponmlkjihgfedcba"), Refused},
		{"B3 other port than listed", remote.from("http://intranet"), Refused},
		{"B3 other scheme than listed", remote.from("http://app.example.com"), Refused},
		{"B3 below what is listed", remote.from("https://x.app.example.com"), Refused},
		{"B3 wildcard, one label", remote.from("https://a.example.org"), Allow},
		{"B3 wildcard, two labels", remote.from("https://a.b.example.org"), Allow},
		{"B3 wildcard, upper case", remote.from("https://A.EXAMPLE.org:443"), Allow},
		{"B3 wildcard is not its apex", remote.from("https://example.org"), Refused},
		{"B3 wildcard ends at a label", remote.from("https://evilexample.org"), Refused},
		{"B3 wildcard is no prefix", remote.from("https://a.example.org.evil.example"), Refused},
		{"B3 wildcard, other scheme", remote.from("http://a.example.org"), Refused},
		{"B3 wildcard, other port", remote.from("https://a.example.org:8443"), Refused},
		{"B3 wildcard with a port", remote.from("http://a.example.net:3000"), Allow},
		{"B3 wildcard with a port, default port", remote.from("http://a.example.net"), Refused},
		{"B3 own stays allowed", remote.from("https://mcp.example.com"), Allow},
		{"B3 own by wildcard", remote.from("https://t1.tenants.example.com"), Allow},
		{"B3 own address stays allowed", lan.from("http://192.168.1.5:8080"), Allow},
		{"B3 own localhost stays allowed", local.from("http://localhost:8080"), Allow},
		{"B3 a list replaces the loopback origins", local.from("http://localhost:6274"), Refused},
		{"B3 null", remote.from("null"), Refused},
		{"B4 listed origins are not same-origin", rebinding.from("https://app.example.com"), Allow},
		{"B4 same origin", rebinding.from("http://evil.example:8080"), Refused},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := p.Decide(c.in); got != c.want {
				t.Errorf("Decide(%+v) = %v; want %v", c.in, got, c.want)
			}
		})
	}
}

// Rules B1, B3: the host of an app or a browser extension is opaque. Browsers send it and
// compare it byte for byte, so that is how it is allowed and answered.
func TestOpaqueOriginsKeepTheirCase(t *testing.T) {
	const safari, firefox = "safari-web-extension://6F9619FF-8B86-D011-B42D-00C04FC964FF", "moz-extension://7c2b0d1e-5a5c-4c55-9d7c-2f5f0f0e9a11"
	for _, c := range []struct {
		name, allowed, origin string
		want                  Decision
		header                string
	}{
		{"B1 upper case", safari, safari, Allow, safari},
		{"B3 lower case is another", safari, strings.ToLower(safari), Refused, ""},
		{"B3 upper case is another", strings.ToLower(safari), safari, Refused, ""},
		{"B1 all of a scheme", "safari-web-extension://*", safari, Allow, safari},
		{"B1 all of a scheme, as operators write it", "Moz-Extension://*", firefox, Allow, firefox},
		{"B3 all of a scheme is no other scheme", "moz-extension://*", safari, Refused, ""},
		{"B3 all of a scheme is no web page", "moz-extension://*", "https://moz-extension", Refused, ""},
		{"B3 all of a scheme has a host", "moz-extension://*", "moz-extension://", Refused, ""},
		{"B1 every origin", "*", safari, Allow, "*"},
		{"B1 web pages are in lower case", "https://App.example.com", "https://app.example.com", Allow, "https://app.example.com"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := mustNew(t, Config{AllowOrigins: []string{c.allowed}})
			if got := p.Decide(remote.from(c.origin)); got != c.want {
				t.Fatalf("Decide(%q) = %v; want %v", c.origin, got, c.want)
			}
			if c.want != Allow {
				return
			}
			h := make(http.Header)
			p.SetHeaders(h, c.origin)
			if got := h.Get(allowOrigin); got != c.header {
				t.Errorf("%s = %q; want %q", allowOrigin, got, c.header)
			}
			r := preflight(t)
			r.Header.Set("Origin", c.origin)
			w := httptest.NewRecorder()
			p.Preflight(w, r)
			if got := w.Header().Get(allowOrigin); got != c.header {
				t.Errorf("preflight: %s = %q; want %q", allowOrigin, got, c.header)
			}
		})
	}
	for _, bad := range []string{"https://*", "http://*", "file://*", "moz-extension://*:80", "moz-extension://*x", "moz-extension://**", "1x://*", "://*"} {
		if _, err := New(Config{AllowOrigins: []string{bad}}); err == nil {
			t.Errorf("%q is allowed; want an error", bad)
		}
	}
}

func TestDecideStar(t *testing.T) {
	p := mustNew(t, Config{AllowOrigins: []string{"*"}})
	for _, c := range []struct {
		name string
		in   Request
		want Decision
	}{
		{"B3 any origin", remote.from("https://evil.example"), Allow},
		{"B3 any scheme", remote.from("vscode-webview://0a1b2c"), Allow},
		{"B3 null", remote.from("null"), Allow},
		{"B3 local file", remote.from("file://"), Allow},
		{"B3 no origin", remote, Pass},
		{"B3 what is no origin", remote.from("https://a.example https://b.example"), Refused},
		{"B4 no origin", rebinding.site("same-origin"), Refused},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := p.Decide(c.in); got != c.want {
				t.Errorf("Decide(%+v) = %v; want %v", c.in, got, c.want)
			}
		})
	}
}

// Lists is no more than a shortcut: what it says yes to is allowed, whatever
// else the request says.
func TestLists(t *testing.T) {
	p, err := New(Config{AllowOrigins: []string{"https://app.example.com", "https://*.example.org"}, Own: []string{"https://mcp.example.com"}})
	if err != nil {
		t.Fatal(err)
	}
	for origin, want := range map[string]bool{
		"https://app.example.com":      true,
		"https://mcp.example.com":      true,
		"https://app.example.com:8443": false,
		"http://app.example.com":       false,
		"https://a.example.org":        false, // allowed, but by a pattern
		"null":                         false,
		"":                             false,
	} {
		if got := p.Lists(origin); got != want {
			t.Errorf("Lists(%q): got %v, want %v", origin, got, want)
		}
		if want && p.Decide(Request{Origin: origin, LoopbackLocal: true, SecFetchSite: "cross-site"}) != Allow {
			t.Errorf("%q is listed and not allowed", origin)
		}
	}
}
