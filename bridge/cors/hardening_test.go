package cors

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
)

var hostileOrigins = []string{
	"https://app.example.com https://app.example.com", // two field lines
	"https://app.example.com, https://evil.example",
	"https://app.example.com\x00.evil.example",
	"https://app.example.com\r\nAccess-Control-Allow-Credentials: true",
	"https://app.example.com\t",
	" https://app.example.com",
	"https://app.example.com.",
	"https://app.example.com/",
	"https://app.example.com#",
	"https://app.example.com:",
	"https://app.example.com:0443",
	"https://app.example.com@evil.example",
	"https://evil.example#.app.example.com",
	`https://evil.example\.app.example.com`,
	"https://evil.example%2f.app.example.com",
	"https://\u0430pp.example.com", // Cyrillic a
	"https://app\uff0eexample.com", // full-width dot
	"https:app.example.com",
	"https:///app.example.com",
	"NULL",
	"Null",
	"null null",
	"*",
	"http://0x7f000001",
	"http://2130706433",
	"http://127.1",
	"http://[::1%25lo]",
	"https://" + strings.Repeat("a.", 1<<20) + "example.com",
	strings.Repeat("a", 1<<20) + "://app.example.com",
}

func TestHostileOrigins(t *testing.T) {
	for name, p := range map[string]*Policy{
		"list":    mustNew(t, Config{AllowOrigins: []string{"https://app.example.com", "https://*.app.example.com", "https://*.example.com"}}),
		"star":    mustNew(t, Config{AllowOrigins: []string{"*"}}),
		"default": mustNew(t, Config{Own: []string{"https://app.example.com"}}),
	} {
		for _, origin := range hostileOrigins {
			if got := p.Decide(local.from(origin)); got != Refused {
				t.Errorf("B3 %s: Decide(%.80q) = %v; want Refused", name, origin, got)
			}
		}
	}
}

// B1: what a server does in place to one response's header must not reach
// another's.
func TestHeadersAreNotShared(t *testing.T) {
	p := mustNew(t, Config{AllowOrigins: []string{"https://a.example"}})
	answers := func() []http.Header {
		plain := http.Header{}
		p.SetHeaders(plain, "https://a.example")
		SetVary(plain)
		open := http.Header{}
		OpenHeaders(open)
		pre, openPre, refused := httptest.NewRecorder(), httptest.NewRecorder(), httptest.NewRecorder()
		p.Preflight(pre, preflight(t))
		OpenPreflight(openPre, preflight(t))
		Refuse(refused)
		return []http.Header{plain, open, pre.Header(), openPre.Header(), refused.Header()}
	}
	for _, h := range answers() {
		before := h.Clone()
		for name, values := range h {
			h[name] = append(values, "spoiled")[:len(values)] // must not reach another field
		}
		for name, want := range before {
			if got := h[name]; !slices.Equal(got, want) {
				t.Errorf("%s = %q; want %q: two fields share room", name, got, want)
			}
			for i := range h[name] {
				h[name][i] = "spoiled"
			}
		}
	}
	for _, h := range answers() {
		for name, values := range h {
			if slices.Contains(values, "spoiled") {
				t.Errorf("%s = %q; want a value of its own", name, values)
			}
		}
	}
}

// B1: room behind a Vary that two headers share is not written to.
func TestVaryIsCopied(t *testing.T) {
	shared := append(make([]string, 0, 4), "Accept-Encoding")
	a, b := http.Header{"Vary": shared}, http.Header{"Vary": shared}
	SetVary(a)
	setPreflightVary(b, vary)
	if got, want := shared[:3], []string{"Accept-Encoding", "", ""}; !slices.Equal(got, want) {
		t.Errorf("the room is now %q; want %q", got, want)
	}
}

// B3: the refusal repeats nothing of the request and no header of CORS.
func TestRefuseReflectsNothing(t *testing.T) {
	w := httptest.NewRecorder()
	w.Header()["Access-Control-Allow-Credentials"] = []string{"true"}
	w.Header()["access-control-allow-origin"] = []string{"https://evil.example"}
	Refuse(w)
	for name := range w.Header() {
		if strings.HasPrefix(strings.ToLower(name), "access-control-") {
			t.Errorf("%s = %q; want none", name, w.Header()[name])
		}
	}
}

// B2: never with credentials.
func TestNoCredentials(t *testing.T) {
	for _, origins := range [][]string{{"*"}, {"https://a.example"}, nil} {
		p := mustNew(t, Config{AllowOrigins: origins})
		w := httptest.NewRecorder()
		p.Preflight(w, preflight(t, requestHeaders+": cookie"))
		p.SetHeaders(w.Header(), "https://a.example")
		if got := w.Header()["Access-Control-Allow-Credentials"]; got != nil {
			t.Errorf("%v: Access-Control-Allow-Credentials = %q; want none", origins, got)
		}
	}
}

// B2: two Origin lines get no allowed origin, even if the caller does not ask.
func TestPreflightTwoOrigins(t *testing.T) {
	w := httptest.NewRecorder()
	mustNew(t, Config{AllowOrigins: []string{"https://a.example"}}).Preflight(w, preflight(t, "Origin: https://evil.example"))
	if got := w.Header()[allowOrigin]; got != nil {
		t.Errorf("%s = %q; want none", allowOrigin, got)
	}
}

func TestRequestHeadersAreBounded(t *testing.T) {
	p := mustNew(t, Config{AllowOrigins: []string{"https://a.example"}})
	many := make([]string, 0, 2*maxReflected)
	for i := range 2 * maxReflected {
		many = append(many, "mcp-param-"+strconv.Itoa(i))
	}
	for _, c := range []struct {
		name string
		ask  []string
		want int // reflected names
	}{
		{"B2 number of names", []string{strings.Join(many, ",")}, maxReflected},
		{"B2 number of names over lines", many, maxReflected},
		{"B2 length of a name", []string{"mcp-param-" + strings.Repeat("a", maxName-len(paramPrefix)) + ",mcp-param-" + strings.Repeat("a", maxName)}, 1},
		{"B2 length of the line", []string{"mcp-param-a", strings.Repeat(",", maxAsked) + "mcp-param-b"}, 1},
		{"B2 no tokens", []string{"mcp-param-a b", "mcp-param-\"", "mcp-param-a\r\nX: y", "mcp-param-ä", "mcp-param-a;b", "mcp-param-\x00"}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := preflight(t)
			r.Header[requestHeaders] = c.ask
			w := httptest.NewRecorder()
			p.Preflight(w, r)
			rest := strings.TrimPrefix(w.Header().Get(allowHeaders), builtin)
			if got := strings.Count(rest, ","); got != c.want {
				t.Errorf("%d names are reflected; want %d", got, c.want)
			}
		})
	}
}

// FuzzPreflight checks that whatever is asked for, what is reflected is a list
// of valid names, and of parameters alone.
func FuzzPreflight(f *testing.F) {
	for _, s := range []string{
		"", "content-type,mcp-param-city", "mcp-param-a\r\nX: y", "Mcp-Param-*", "a,,b\nmcp-param-x", "mcp-param-", "mcp-param-é",
	} {
		f.Add(s)
	}
	p, err := New(Config{})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r := preflight(t)
		r.Header[requestHeaders] = strings.Split(s, "\n")
		w, open := httptest.NewRecorder(), httptest.NewRecorder()
		p.Preflight(w, r)
		OpenPreflight(open, r)
		rest, ok := strings.CutPrefix(w.Header().Get(allowHeaders), builtin)
		if !ok {
			t.Fatalf("%s = %q; want the built-in names first", allowHeaders, w.Header().Get(allowHeaders))
		}
		for _, name := range elements([]string{rest}) {
			if !isToken(name) || !strings.HasPrefix(strings.ToLower(name), "mcp-param-") {
				t.Errorf("%q is reflected; want names of parameters", name)
			}
		}
		for _, name := range elements(open.Header()[allowHeaders]) {
			if !isToken(name) {
				t.Errorf("%q is reflected by OpenPreflight; want tokens", name)
			}
		}
	})
}

// FuzzDecide checks the decision against a slow one, written for this policy
// alone: nothing is allowed that it does not allow.
func FuzzDecide(f *testing.F) {
	for _, s := range []string{
		"HTTPS://App.Example.COM:443", "http://[0:0:0:0:0:0:0:1]", "http://[::ffff:127.0.0.1]", "http://127.1", "http://0x7f000001",
		"safari-web-extension://6F9619FF", "app://Host.:443", "app://:80", "null", "*", "file://", "//example.com",
		"https://example.com.", "https://example.com/", "https://user@example.com", "https://example.com:0443", "https://*.example.com",
	} {
		f.Add(s, uint8(0xff))
	}
	for _, s := range hostileOrigins {
		if len(s) < 1000 {
			f.Add(s, uint8(0b110))
		}
	}
	for _, s := range []string{
		"https://app.example.com", "https://a.example.org", "http://a.b.corp:8080", "https://mcp.example.com",
		"http://192.168.1.5:8080", "http://localhost:1", "https://x.localhost", "http://[::1]", "http://127.9.9.9",
	} {
		for bits := range uint8(1 << 5) {
			f.Add(s, bits)
		}
	}
	own := []string{"https://mcp.example.com"}
	policies := map[bool]*Policy{}
	for listed, list := range map[bool][]string{false: nil, true: {"https://app.example.com", "https://*.example.org", "http://*.corp:8080"}} {
		p, err := New(Config{Own: own, AllowOrigins: list})
		if err != nil {
			f.Fatal(err)
		}
		policies[listed] = p
	}
	f.Fuzz(func(t *testing.T, origin string, bits uint8) {
		r := Request{
			Origin:         origin,
			PublicOrigin:   "http://192.168.1.5:8080",
			HostConfigured: bits&1 != 0,
			LoopbackHost:   bits&2 != 0,
			IPOrLocalhost:  bits&4 != 0,
			LoopbackLocal:  bits&8 != 0,
			TrustedProxy:   bits&16 != 0,
		}
		for listed, p := range policies {
			got := p.Decide(r)
			switch {
			case origin == "" && got != Pass, origin != "" && got == Pass:
				t.Errorf("Decide(%+v) = %v; Pass is for no origin alone", r, got)
			case got == Allow && !slowAllows(r, listed):
				t.Errorf("listed %v: Decide(%+v) = Allow; want Refused", listed, r)
			}
			if got != Allow {
				continue
			}
			h := http.Header{}
			p.SetHeaders(h, origin)
			if v := h[allowOrigin]; len(v) != 1 || !strings.EqualFold(slowKey(v[0]), slowKey(origin)) || slowKey(origin) == "" {
				t.Errorf("%s = %q for %q; want that origin", allowOrigin, v, origin)
			}
		}
	})
}

// slowAllows is the policy of FuzzDecide written down by hand.
func slowAllows(r Request, listed bool) bool {
	key := slowKey(r.Origin)
	if key == "" {
		return false
	}
	scheme, authority, _ := strings.Cut(key, "|")
	host, port, _ := strings.Cut(authority, "|")
	if key == slowKey("https://mcp.example.com") {
		return true
	}
	rebound := r.LoopbackLocal && !r.LoopbackHost && !r.IPOrLocalhost && !r.HostConfigured && !r.TrustedProxy
	if key == slowKey(r.PublicOrigin) && (r.HostConfigured || r.IPOrLocalhost) && !rebound {
		return true
	}
	if !listed {
		addr, err := netip.ParseAddr(host)
		loopback := host == "localhost" || strings.HasSuffix(host, ".localhost") || err == nil && addr.Unmap().IsLoopback()
		return r.LoopbackHost && loopback && (scheme == "http" || scheme == "https")
	}
	return key == slowKey("https://app.example.com") ||
		scheme == "https" && port == "443" && strings.HasSuffix(host, ".example.org") ||
		scheme == "http" && port == "8080" && strings.HasSuffix(host, ".corp")
}

// slowKey returns "scheme|host|port" of what net/url takes for an origin.
func slowKey(s string) string {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.User != nil || u.Opaque != "" ||
		u.Path != "" || u.RawQuery != "" || u.ForceQuery || strings.ContainsAny(s, "#/?") && !onlySchemeSlashes(s) {
		return ""
	}
	host, port := strings.ToLower(u.Hostname()), u.Port()
	if addr, err := netip.ParseAddr(host); err == nil {
		host = addr.Unmap().String()
	}
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return u.Scheme + "|" + host + "|" + port
}

// onlySchemeSlashes reports whether the only delimiters are those of "://".
func onlySchemeSlashes(s string) bool {
	_, rest, ok := strings.Cut(s, "://")
	return ok && !strings.ContainsAny(rest, "#/?")
}
