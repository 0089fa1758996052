package cors

import (
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

const (
	builtin = "Authorization, Content-Type, Accept, DPoP, Last-Event-ID, MCP-Protocol-Version, Mcp-Session-Id, Mcp-Method, Mcp-Name"
	vary    = "Origin, Access-Control-Request-Method, Access-Control-Request-Headers"
)

// preflight returns a preflight with header lines "name: value".
func preflight(t testing.TB, lines ...string) *http.Request {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodOptions, "/mcp", nil)
	r.Header.Set("Origin", "https://a.example")
	r.Header.Set(requestMethod, "POST")
	for _, line := range lines {
		name, value, _ := strings.Cut(line, ": ")
		r.Header.Add(name, value)
	}
	return r
}

func TestIsPreflight(t *testing.T) {
	for _, c := range []struct {
		name string
		edit func(*http.Request)
		want bool
	}{
		{"B2 preflight", func(*http.Request) {}, true},
		{"B2 without Origin", func(r *http.Request) { r.Header.Del("Origin") }, false},
		{"B2 without the method asked for", func(r *http.Request) { r.Header.Del(requestMethod) }, false},
		{"B2 POST", func(r *http.Request) { r.Method = http.MethodPost }, false},
		{"B2 methods are case-sensitive", func(r *http.Request) { r.Method = "options" }, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := preflight(t)
			c.edit(r)
			if got := IsPreflight(r); got != c.want {
				t.Errorf("IsPreflight = %v; want %v", got, c.want)
			}
		})
	}
}

func TestPreflight(t *testing.T) {
	base := Config{AllowOrigins: []string{"https://a.example"}}
	custom := base
	custom.AllowHeaders, custom.MaxAge = []string{"X-Tenant", "traceparent", "ACCEPT", "x-tenant"}, 90*time.Second+time.Millisecond
	private := base
	private.PrivateNetwork = true
	star := Config{AllowOrigins: []string{"*"}}
	const askPrivate = requestPrivateNetwork + ": true"
	for _, c := range []struct {
		name string
		cfg  Config
		ask  []string
		want map[string]string // beyond what every answer has
	}{
		{"B2 plain", base, nil, nil},
		{"B2 star", star, nil, map[string]string{allowOrigin: "*"}},
		{"B2 a header that is not allowed", base, []string{requestHeaders + ": x-evil,authorization"}, nil},
		{"B2 a method that is not allowed", base, []string{requestMethod + ": PUT"}, nil},
		{
			"B2 parameters as asked for", base,
			[]string{requestHeaders + ": content-type,mcp-param-city, Mcp-Param-X"},
			map[string]string{allowHeaders: builtin + ", mcp-param-city, Mcp-Param-X"},
		},
		{
			"B2 parameters in several lines", base,
			[]string{requestHeaders + ": mcp-param-a", requestHeaders + ": mcp-param-b"},
			map[string]string{allowHeaders: builtin + ", mcp-param-a, mcp-param-b"},
		},
		{"B2 parameters need a name", base, []string{requestHeaders + ": mcp-param-, mcp-param"}, nil},
		{"B2 custom", custom, nil, map[string]string{allowHeaders: builtin + ", X-Tenant, traceparent", maxAgeSeconds: "90"}},
		{
			"B2 private network", private,
			[]string{askPrivate},
			map[string]string{allowPrivate: "true", "Vary": vary + ", " + requestPrivateNetwork},
		},
		{"B2 private network not asked for", private, nil, map[string]string{"Vary": vary + ", " + requestPrivateNetwork}},
		{"B2 private network not configured", base, []string{askPrivate}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := httptest.NewRecorder()
			SetVary(w.Header())
			mustNew(t, c.cfg).Preflight(w, preflight(t, c.ask...))
			if w.Code != http.StatusNoContent || w.Body.Len() > 0 {
				t.Errorf("got %d with %d bytes; want 204 with none", w.Code, w.Body.Len())
			}
			want := map[string]string{
				allowOrigin: "https://a.example", exposeHeaders: exposed, allowMethods: "GET, POST, DELETE",
				allowHeaders: builtin, maxAgeSeconds: "7200", "Vary": vary,
			}
			maps.Copy(want, c.want)
			checkHeader(t, w.Header(), want)
		})
	}
}

func TestPreflightKeepsVary(t *testing.T) {
	w := httptest.NewRecorder()
	w.Header()["Vary"] = []string{"Accept-Encoding, Origin"}
	mustNew(t, Config{}).Preflight(w, preflight(t))
	if got, want := w.Header()["Vary"], []string{"Accept-Encoding", vary}; !slices.Equal(got, want) {
		t.Errorf("B2: Vary = %q; want %q", got, want)
	}
}

func TestOpen(t *testing.T) {
	t.Run("B5 headers", func(t *testing.T) {
		h := http.Header{allowOrigin: {"https://b.example", "x"}}
		OpenHeaders(h)
		checkHeader(t, h, map[string]string{allowOrigin: "*", exposeHeaders: "*"})
	})
	for _, c := range []struct {
		name string
		p    *Policy
		ask  []string
		want map[string]string
	}{
		{"B5 nothing asked for", nil, nil, nil},
		{
			"B5 any header", nil,
			[]string{requestHeaders + ": authorization,mcp-protocol-version,*, x-any"},
			map[string]string{allowHeaders: "*, Authorization, mcp-protocol-version, x-any"},
		},
		{"B5 no private network by itself", nil, []string{requestPrivateNetwork + ": true"}, nil},
		{
			"B5 private network as configured", mustNew(t, Config{PrivateNetwork: true}),
			[]string{requestPrivateNetwork + ": true"},
			map[string]string{allowPrivate: "true", "Vary": vary + ", " + requestPrivateNetwork},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := httptest.NewRecorder()
			if c.p == nil {
				OpenPreflight(w, preflight(t, c.ask...))
			} else {
				c.p.OpenPreflight(w, preflight(t, c.ask...))
			}
			if w.Code != http.StatusNoContent || w.Body.Len() > 0 {
				t.Errorf("got %d with %d bytes; want 204 with none", w.Code, w.Body.Len())
			}
			want := map[string]string{
				allowOrigin: "*", exposeHeaders: "*", allowMethods: "GET, HEAD, POST, PUT, DELETE",
				allowHeaders: "*, Authorization", maxAgeSeconds: "7200", "Vary": vary,
			}
			maps.Copy(want, c.want)
			checkHeader(t, w.Header(), want)
		})
	}
}

// checkHeader checks that h has these fields, one line each, and no others.
func checkHeader(t *testing.T, h http.Header, want map[string]string) {
	t.Helper()
	for name, value := range want {
		if got := h[name]; !slices.Equal(got, []string{value}) {
			t.Errorf("%s = %q; want %q", name, got, value)
		}
	}
	for name := range h {
		if _, ok := want[name]; !ok {
			t.Errorf("%s = %q; want no such field", name, h[name])
		}
	}
}

// Rule B2: what a preflight asks for in vain can be told to the operator.
func TestDenied(t *testing.T) {
	var many []string
	for i := range 3 * maxDenied {
		many = append(many, "x-"+strconv.Itoa(i))
	}
	for _, c := range []struct {
		name   string
		config Config
		lines  []string
		want   []Denied
	}{
		{"nothing", Config{}, []string{requestHeaders + ": authorization, content-type,mcp-protocol-version, MCP-PARAM-city"}, nil},
		{"header fields", Config{}, []string{requestHeaders + ": authorization,traceparent,x-api-key,X-API-Key"}, []Denied{{WantHeader, "Traceparent"}, {WantHeader, "X-Api-Key"}}},
		{"some are allowed", Config{AllowHeaders: []string{"X-API-KEY"}}, []string{requestHeaders + ": traceparent,x-api-key"}, []Denied{{WantHeader, "Traceparent"}}},
		{"on several lines", Config{}, []string{requestHeaders + ": a", requestHeaders + ": b"}, []Denied{{WantHeader, "A"}, {WantHeader, "B"}}},
		{"what is no name", Config{}, []string{requestHeaders + ": a b, \x00, "}, nil},
		{"a parameter without a name", Config{}, []string{requestHeaders + ": mcp-param-"}, []Denied{{WantHeader, "Mcp-Param-"}}},
		{"a method", Config{}, []string{requestMethod + ": PATCH"}, []Denied{{WantMethod, "PATCH"}}},
		{"a method that needs no leave", Config{}, []string{requestMethod + ": HEAD"}, nil},
		{"what is no method", Config{}, []string{requestMethod + ": a b"}, nil},
		{"private network", Config{}, []string{requestPrivateNetwork + ": true"}, []Denied{{Want: WantPrivateNetwork}}},
		{"private network, allowed", Config{PrivateNetwork: true}, []string{requestPrivateNetwork + ": true"}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := preflight(t)
			for _, line := range c.lines {
				name, _, _ := strings.Cut(line, ": ")
				r.Header.Del(name)
			}
			for _, line := range c.lines {
				name, value, _ := strings.Cut(line, ": ")
				r.Header.Add(name, value)
			}
			if got := mustNew(t, c.config).Denied(r.Header); !slices.Equal(got, c.want) {
				t.Errorf("Denied = %v; want %v", got, c.want)
			}
		})
	}
	r := preflight(t, requestHeaders+": "+strings.Join(many, ","))
	if got := mustNew(t, Config{}).Denied(r.Header); len(got) != maxDenied {
		t.Errorf("%d are told; want at most %d", len(got), maxDenied)
	}
}
