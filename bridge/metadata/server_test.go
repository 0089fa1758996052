package metadata

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/origin"
)

// Rule C5: the routes are the paths that the documents name on the server's own
// origin. Introspection never is one, nor are the MCP server's own path and the
// paths of metadata, whatever the documents say.
func TestRoutes(t *testing.T) {
	const issuer = `{"issuer":"UP",`
	for _, tc := range []struct {
		name, in string
		cfg      Config
		routes   map[string]RouteKind
		closed   []string
	}{
		{
			name: "each endpoint",
			in: issuer + `"authorization_endpoint":"UP/a","token_endpoint":"UP/b","jwks_uri":"UP/c","registration_endpoint":"UP/d","revocation_endpoint":"UP/e","introspection_endpoint":"UP/f","userinfo_endpoint":"UP/g",` +
				`"end_session_endpoint":"UP/h","device_authorization_endpoint":"UP/i","pushed_authorization_request_endpoint":"UP/j","backchannel_authentication_endpoint":"UP/k","op_policy_uri":"UP/l","service_documentation":"UP/m","check_session_iframe":"UP/n","x_endpoint":"UP/o"}`,
			routes: map[string]RouteKind{
				"/a": RouteAuthorize, "/b": RouteToken, "/c": RouteAPI, "/d": RouteRegistration, "/e": RouteAPI, "/f": RouteNone, "/g": RouteAPI,
				"/h": RoutePage, "/i": RouteAPI, "/j": RouteToken, "/k": RouteAPI, "/l": RoutePage, "/m": RoutePage, "/n": RoutePage, "/o": RoutePage,
				"/": RouteNone, "": RouteNone, "/A": RouteNone, "/a/": RouteNone, "/a/b": RouteNone, "/token": RouteNone, "/authorize": RouteNone, "/register": RouteNone,
			},
			closed: []string{"/f", "/introspect"},
		},
		{
			name:   "query, fragment, escapes and no path",
			in:     issuer + `"authorization_endpoint":"UP/a%20b?x=/y","token_endpoint":"UP/%74#/z","revocation_endpoint":"UP?q","jwks_uri":"UP/%zz","userinfo_endpoint":"UP/ü"}`,
			routes: map[string]RouteKind{"/a b": RouteAuthorize, "/a%20b": RouteNone, "/t": RouteToken, "/%74": RouteNone, "/": RouteAPI, "/%zz": RouteNone, "/ü": RouteAPI},
		},
		{
			name:   "foreign endpoints",
			in:     issuer + `"authorization_endpoint":"https://as.example.com/a","token_endpoint":"http://10.0.0.5:3001/b","jwks_uri":"http://u@10.0.0.5:3000/c","userinfo_endpoint":"/d","x_endpoint":["UP/e"]}`,
			routes: map[string]RouteKind{"/a": RouteNone, "/b": RouteNone, "/c": RouteNone, "/d": RouteNone, "/e": RouteNone, "/token": RouteNone},
		},
		{
			name:   "endpoints of a server that knows its public origin",
			in:     `{"issuer":"PUB","authorization_endpoint":"HTTPS://MCP.example.com:443/a","token_endpoint":"PUB/b","revocation_endpoint":"UP/c"}`,
			routes: map[string]RouteKind{"/a": RouteAuthorize, "/b": RouteToken, "/c": RouteNone},
		},
		{
			name:   "endpoints that are public already, of a server that is not",
			in:     issuer + `"authorization_endpoint":"PUB/a","introspection_endpoint":"PUB/i","token_endpoint":"UP/b","mtls_endpoint_aliases":{"token_endpoint":"PUB/c"}}`,
			routes: map[string]RouteKind{"/a": RouteAuthorize, "/b": RouteToken, "/c": RouteToken, "/i": RouteNone},
			closed: []string{"/i"},
		},
		{
			name:   "aliases",
			in:     issuer + `"mtls_endpoint_aliases":{"token_endpoint":"UP/b","introspection_endpoint":"UP/i","x":"UP/x","y_uri":"UP/y"}}`,
			routes: map[string]RouteKind{"/b": RouteToken, "/i": RouteNone, "/x": RouteNone, "/y": RouteNone},
			closed: []string{"/i"},
		},
		{
			name:   "one path for several uses",
			in:     issuer + `"x_endpoint":"UP/a","userinfo_endpoint":"UP/a","token_endpoint":"UP/a?t","registration_endpoint":"UP/r","op_policy_uri":"UP/r"}`,
			routes: map[string]RouteKind{"/a": RouteToken, "/r": RouteRegistration},
		},
		{
			name: "introspection that has another use",
			in: issuer + `"token_endpoint":"UP/t","introspection_endpoint":"UP/t/i","x_endpoint":"UP/t/i","mtls_endpoint_aliases":{"token_endpoint":"UP/t/i"},` +
				`"registration_endpoint":"UP/t/i","y_endpoint":"UP/t/%69"}`,
			routes: map[string]RouteKind{"/t": RouteToken, "/t/i": RouteNone},
			closed: []string{"/t/i"},
		},
		{
			name:   "registrations",
			in:     issuer + `"registration_endpoint":"UP/oauth/r","introspection_endpoint":"UP/oauth/r/introspect"}`,
			routes: map[string]RouteKind{"/oauth/r": RouteRegistration, "/oauth/r/1": RouteRegistration, "/oauth/r/1/2": RouteNone, "/oauth/r/": RouteNone, "/oauth/r1": RouteNone, "/oauth": RouteNone, "/oauth/r/introspect": RouteNone},
			closed: []string{"/oauth/r/introspect"},
		},
		{
			name:   "registration at the root",
			in:     issuer + `"registration_endpoint":"UP/"}`,
			routes: map[string]RouteKind{"/": RouteRegistration, "/a": RouteNone},
		},
		{
			name: "the MCP server's own path",
			in: issuer + `"authorization_endpoint":"UP/mcp","token_endpoint":"UP/mcp/","registration_endpoint":"UP/%6dcp","revocation_endpoint":"UP/mcp?a","userinfo_endpoint":"PUB/mcp",` +
				`"x_endpoint":"UP/mcp/x","mtls_endpoint_aliases":{"token_endpoint":"UP/mcp#"}}`,
			routes: map[string]RouteKind{"/mcp": RouteNone, "/mcp/": RouteNone, "/mcp/x": RoutePage, "/mcp/y": RouteNone},
		},
		{
			name: "an MCP server at the root", cfg: Config{Dials: []string{"10.0.0.5:3000"}},
			in:     issuer + `"authorization_endpoint":"UP","token_endpoint":"UP/","revocation_endpoint":"UP/a"}`,
			routes: map[string]RouteKind{"/": RouteNone, "": RouteNone, "/a": RouteAPI},
		},
		{
			name: "an MCP server with escapes in its path", cfg: Config{Dials: []string{"10.0.0.5:3000"}, UpstreamPath: "/a%20b/"},
			in:     issuer + `"token_endpoint":"UP/a%20b","revocation_endpoint":"UP/%61%20b/"}`,
			routes: map[string]RouteKind{"/a b": RouteNone, "/a b/": RouteNone},
		},
		{
			name: "paths of metadata",
			in: issuer + `"token_endpoint":"UP/.well-known/oauth-protected-resource","revocation_endpoint":"UP/.well-known/oauth-protected-resource/mcp","userinfo_endpoint":"UP/.well-known/oauth-authorization-server",` +
				`"registration_endpoint":"UP/a/.well-known/openid-configuration","x_endpoint":"UP/.well-known/openid-configuration/x","jwks_uri":"UP/.well-known/jwks.json","y_endpoint":"UP/.well-known/openid-configuration/jwks"}`,
			routes: map[string]RouteKind{
				WellKnownPath: RouteNone, WellKnownPath + "/mcp": RouteNone, serverPath: RouteNone, "/a" + openIDPath: RouteNone, openIDPath + "/x": RouteNone,
				"/a" + openIDPath + "/x": RouteNone, "/.well-known/jwks.json": RouteAPI, openIDPath + "/jwks": RoutePage,
			},
		},
		{name: "a foreign server", in: `{"issuer":"https://as.example.com","token_endpoint":"UP/token","introspection_endpoint":"UP/i"}`, routes: map[string]RouteKind{"/token": RouteNone, "/i": RouteNone}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, srv, _ := mapServer(t, tc.cfg, public, "", places.Replace(tc.in))
			for path, want := range tc.routes {
				if got := srv.Route(path); got != want {
					t.Errorf("%s is %d; want %d", path, got, want)
				}
			}
			for _, path := range append(tc.closed, "/introspect") {
				if !srv.Closed(path) || srv.Route(path) != RouteNone {
					t.Errorf("%s is open", path)
				}
			}
			if len(srv.closed) > len(tc.closed) || srv.Closed("/token") {
				t.Errorf("closed are %v; want %q", srv.closed, tc.closed)
			}
		})
	}
}

// Rule C5: without a document the endpoints are those of MCP specification
// 2025-03-26; that is not known where documents could not be had.
func TestDefaultRoutes(t *testing.T) {
	for name, tc := range map[string]struct {
		srv       *Server
		available bool
	}{
		"nobody asked": {nil, false},
		"no documents": {newServer(public), true},
		"unavailable":  {&Server{unavailable: true}, false},
	} {
		for path, want := range map[string]RouteKind{
			"/authorize": RouteAuthorize, "/token": RouteToken, "/register": RouteRegistration,
			"/introspect": RouteNone, "/": RouteNone, "": RouteNone, "/token/": RouteNone, "/register/1": RouteNone, "/mcp": RouteNone,
		} {
			if got := tc.srv.Route(path); got != want {
				t.Errorf("%s: %s is %d; want %d", name, path, got, want)
			}
		}
		if got := tc.srv.Available(); got != tc.available {
			t.Errorf("%s: available is %v", name, got)
		}
	}
	for kind, open := range map[RouteKind]bool{
		RouteNone: false, RouteAuthorize: false, RouteToken: true, RouteRegistration: true, RouteAPI: true, RoutePage: false,
	} {
		if kind.Open() != open {
			t.Errorf("kind %d is open: %v; want %v", kind, !open, open)
		}
	}
}

// Rule C5, C1: what belongs to metadata, and what is the MCP server's own, is no
// path of the authorization server; a key set may stand among them.
func TestReserved(t *testing.T) {
	for _, tc := range []struct {
		path                         string
		document, reserved, rootOnly bool
	}{
		{path: serverPath, document: true},
		{path: serverPath + "/", document: true},
		{path: serverPath + "/a/b", document: true},
		{path: openIDPath, document: true},
		{path: openIDPath + "/a", document: true},
		{path: "/a" + openIDPath, document: true},
		{path: "/a/b" + serverPath, document: true},
		{path: "/a/b" + serverPath + "/"},
		{path: serverPath + "x"},
		{path: "/a" + openIDPath + "x"},
		{path: openIDPath + "/jwks"},
		{path: openIDPath + "/jwks/", document: true},
		{path: "/.well-known/jwks.json"},
		{path: "/.well-known/"},
		{path: "/.Well-Known/openid-configuration", reserved: true},
		{path: serverPath + ";a", reserved: true},
		{path: "/.well-known;a/openid-configuration/b", reserved: true},
		{path: "/a" + openIDPath + " .", reserved: true},
		{path: WellKnownPath + ";a/b", reserved: true},
		{path: strings.ToUpper(WellKnownPath), reserved: true},
		{path: "a" + openIDPath, document: true},
		{path: WellKnownPath, reserved: true},
		{path: WellKnownPath + "/a", reserved: true},
		{path: WellKnownPath + "x"},
		{path: "/mcp", reserved: true},
		{path: "/mcp/", reserved: true},
		{path: "/mcp;a=b", reserved: true},
		{path: "/mcp;a/", reserved: true},
		{path: "/mcp. ", reserved: true},
		{path: "/MCP", reserved: true},
		{path: "/mcp/a"},
		{path: "/mcp.a"},
		{path: "/mc"},
		{path: "/", rootOnly: true},
		{path: "/authorize"},
		{path: ""},
	} {
		if got := OwnsServerPath(tc.path); got != tc.document {
			t.Errorf("%q is a document's: %v", tc.path, got)
		}
		for upstreamPath, want := range map[string]bool{
			"/mcp": tc.reserved || tc.document, "/mcp/": tc.reserved || tc.document, "/%6Dcp": tc.reserved || tc.document,
			"/": tc.document || tc.rootOnly || tc.reserved && !strings.EqualFold(tc.path[:2], "/m"),
		} {
			s := mustNew(t, Config{UpstreamPath: upstreamPath})
			if got := s.Reserved(tc.path); got != want {
				t.Errorf("%q is reserved with an MCP server at %s: %v", tc.path, upstreamPath, got)
			}
		}
	}
}

// ownsCases seed the fuzzing as well. Rest is what follows an origin of ownsServer.
var ownsCases = []struct {
	in, rest string
	want     bool
}{
	{"http://10.0.0.5:3000", "", true},
	{"http://10.0.0.5:3000/", "/", true},
	{"http://10.0.0.5:3000/a?b=http://x/#c", "/a?b=http://x/#c", true},
	{"http://10.0.0.5:3000?b", "?b", true},
	{"http://10.0.0.5:3000#c", "#c", true},
	{"HTTP://10.0.0.5.:03000//x@y/%zz", "//x@y/%zz", true},
	{"http://[::ffff:a00:5]:3000/a", "/a", true},
	{"https://AS.internal/a", "/a", true},
	{"https://as.internal:443/a", "/a", true},
	{"https://as.internal:/a", "/a", true},
	{"http://[::1]:3000/é\u202e", "/é\u202e", true},
	{in: "https://10.0.0.5:3000/a"},
	{in: "http://10.0.0.5/a"},
	{in: "http://10.0.0.5:30000/a"},
	{in: "http://10.0.0.5:3000@evil.test/"},
	{in: "http://u@10.0.0.5:3000/"},
	{in: "http://@10.0.0.5:3000/"},
	{in: "http://10.0.0.5:3000\\@evil.test/"},
	{in: "http://10.0.0.5:3000\t/"},
	{in: " http://10.0.0.5:3000/"},
	{in: "http://10.0.0.5:3000/a b"},
	{in: "http://10.0.0.5:3000/\x7f"},
	{in: "http://10.0.0.5:3000.evil.test/"},
	{in: "http://evil.test/http://10.0.0.5:3000/"},
	{in: "http://10.0.0.%35:3000/"},
	{in: "http://10.0.0.５:3000/"},
	{in: "http://167772165:3000/"},
	{in: "http://10.0.5:3000/"},
	{in: "http://012.0.0.5:3000/"},
	{in: "http://[::1%25lo]:3000/"},
	{in: "https://as.internal:444/"},
	{in: "https://as。internal/"},
	{in: "https://aſ.internal/"},
	{in: "https://as.internal../"},
	{in: "https://a\u00ads.internal/"},
	{in: "//10.0.0.5:3000/a"},
	{in: "/a"},
	{in: "http:10.0.0.5:3000/a"},
	{in: "http:/10.0.0.5:3000/a"},
	{in: "http:///10.0.0.5:3000/a"},
	{in: "http:\\\\10.0.0.5:3000/a"},
	{in: "ftp://10.0.0.5:3000/a"},
	{in: "javascript://10.0.0.5:3000/%0aalert(1)"},
	{in: ""},
}

// ownsServer is a server that writes three origins for its own.
func ownsServer(t testing.TB) *Server {
	t.Helper()
	srv := newServer(public)
	for _, raw := range []string{"http://10.0.0.5:3000", "http://[::1]:3000", "https://as.internal", "http://10.0.0.5:3000/other"} {
		l, err := origin.Parse(raw)
		if err != nil {
			t.Fatal(err)
		}
		srv.origins.Add(l)
	}
	if len(srv.origins) != 3 {
		t.Fatalf("origins %+v; want 3", srv.origins)
	}
	return srv
}

// Rule C5: in its traffic a URL is the server's only if its origin is.
func TestOwns(t *testing.T) {
	srv := ownsServer(t)
	for _, tc := range ownsCases {
		rest, ok := srv.Owns(tc.in)
		if ok != tc.want || rest != tc.rest {
			t.Errorf("Owns(%q) = %q, %v; want %q, %v", tc.in, rest, ok, tc.rest, tc.want)
		}
		to := tc.in
		if tc.want {
			to = "https://mcp.example.com" + tc.rest
		}
		if got, ok := srv.MapURL(tc.in); ok != tc.want || got != to {
			t.Errorf("MapURL(%q) = %q, %v; want %q, %v", tc.in, got, ok, to, tc.want)
		}
	}
	if srv.Public() != public.Origin {
		t.Errorf("public origin %q", srv.Public())
	}
	for _, tc := range []struct {
		raw     string
		further []string
		want    bool
	}{
		{"http://evil.test/a", []string{"http://sent.example", "http://evil.test"}, true},
		{"http://evil.test:80/a", []string{"http://EVIL.test."}, true},
		{"http://evil.test:81/a", []string{"http://evil.test"}, false},
		{"http://evil.test/a", []string{"http:///run/mcp.sock", "http://", "", "http://evil.test/path", "http://u@evil.test"}, false},
		{"http://10.0.0.5:3000/a", []string{"x"}, true},
		{"a", []string{"a"}, false},
	} {
		if rest, ok := srv.Owns(tc.raw, tc.further...); ok != tc.want || ok && rest != "/a" {
			t.Errorf("Owns(%q, %q) = %q, %v; want %v", tc.raw, tc.further, rest, ok, tc.want)
		}
	}
}

// Rule C5: an issuer is mapped where it equals the server's own, byte by byte.
func TestMapIssuer(t *testing.T) {
	_, srv, _ := mapServer(t, Config{}, public, "", places.Replace(`{"issuer":"UP/t"}`))
	for in, want := range map[string]string{
		"http://10.0.0.5:3000/t": "https://mcp.example.com/t", "http://10.0.0.5:3000/t/": "", "http://10.0.0.5:3000": "", "HTTP://10.0.0.5:3000/t": "",
		"http://10.0.0.5:3000/t ": "", "https://mcp.example.com/t": "", "": "", "https://evil.test": "",
	} {
		got, ok := srv.MapIssuer(in)
		if ok != (want != "") || ok && got != want || !ok && got != in {
			t.Errorf("MapIssuer(%q) = %q, %v; want %q", in, got, ok, want)
		}
	}
	if got, ok := newServer(public).MapIssuer(""); ok || got != "" {
		t.Errorf("a server without an issuer maps %q", got)
	}
}

// Rule C5: resource is mapped back on exact equality, to the very text of the
// upstream's metadata, and only where that was mapped.
func TestUpstreamResource(t *testing.T) {
	root := Public{Origin: public.Origin, Path: "/", Fixed: true}
	for _, tc := range []struct {
		name, resource string
		keep           bool
		pub            Public
		in, want       string
	}{
		{"endpoint", "UP/mcp", false, public, "PUB/mcp", "UP/mcp"},
		{"final slash of the client", "UP/mcp", false, public, "PUB/mcp/", "UP/mcp"},
		{"final slash of the upstream", "UP/mcp/", false, public, "PUB/mcp", "UP/mcp/"},
		{"prefix of the path", "UP", false, public, "PUB/mcp", "UP"},
		{"another spelling", "HTTP://10.0.0.5.:3000/mcp", false, public, "PUB/mcp", "HTTP://10.0.0.5.:3000/mcp"},
		{"root", "UP", false, root, "PUB", "UP"},
		{"root with a slash", "UP", false, root, "PUB/", "UP"},
		{"two slashes", "UP/mcp", false, public, "PUB/mcp//", ""},
		{"another path", "UP/mcp", false, public, "PUB/mcp2", ""},
		{"another case", "UP/mcp", false, public, "https://MCP.example.com/mcp", ""},
		{"query", "UP/mcp", false, public, "PUB/mcp?", ""},
		{"origin alone", "UP/mcp", false, public, "PUB", ""},
		{"nothing", "UP/mcp", false, public, "", ""},
		{"none, so that it is guessed", "", false, public, "PUB/mcp", "http://10.0.0.5:3000/mcp"},
		{"none, with keep_resource", "", true, public, "PUB/mcp", ""},
		{"foreign", "https://evil.test/mcp", false, public, "PUB/mcp", ""},
		{"keep_resource", "UP/mcp", true, public, "PUB/mcp", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			u := &fakeUpstream{}
			if tc.resource != "" {
				u.answers = answers{atPath: doc(places.Replace(`{"resource":"` + tc.resource + `"}`))}
			}
			s, _ := bridged(t, u, func(c *Config) { c.KeepResource = tc.keep })
			in, want := places.Replace(tc.in), places.Replace(tc.want)
			got, ok := s.Server(t.Context(), tc.pub).UpstreamResource(in, tc.pub)
			if ok != (want != "") || ok && got != want || !ok && got != in {
				t.Errorf("got %q, %v; want %q", got, ok, want)
			}
		})
	}
	for origin, want := range map[string]string{
		"UP": "UP/mcp", "http://localhost:3000": "http://localhost:3000/mcp", "PUB": "PUB/mcp", "https://as.example.com": "UP/mcp",
	} {
		u := &fakeUpstream{answers: answers{atServer: doc(places.Replace(`{"issuer":"` + origin + `/t"}`))}}
		s, _ := bridged(t, u, nil)
		if got, _ := s.Server(t.Context(), public).UpstreamResource(public.URL(), public); got != places.Replace(want) {
			t.Errorf("without metadata, at the server %s, the resource is %q; want %q", origin, got, want)
		}
	}
	for _, cfg := range []Config{unixUpstream, portUpstream} {
		cfg.BridgeServer, cfg.Fetch = true, (&fakeUpstream{}).fetch
		if got, ok := mustNew(t, cfg).Server(t.Context(), public).UpstreamResource(public.URL(), public); ok {
			t.Errorf("an upstream without a host names %q", got)
		}
	}
	if got, ok := (*Server)(nil).UpstreamResource("a", public); ok || got != "a" {
		t.Error("a server that could not be asked names a resource")
	}
}

// Rule C5: what a discovery says of a path holds for a TTL, without another.
func TestStoreRoute(t *testing.T) {
	route := func(s *Store, path string, kind RouteKind, fresh bool) {
		t.Helper()
		if got, _, isFresh := s.Route(path, anyHost(1)); got != kind || isFresh != fresh {
			t.Errorf("Route(%q) = %d, %v; want %d, %v", path, got, isFresh, kind, fresh)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		u := hasServer()
		s, _ := bridged(t, u, nil)
		route(s, "/oauth/token", RouteNone, false)
		s.Server(t.Context(), anyHost(1))
		route(s, "/oauth/token", RouteToken, true)
		route(s, "/other", RouteNone, true)
		u.answers[atServer] = only(500)
		time.Sleep(DefaultTTL - 1)
		s.Server(t.Context(), anyHost(1))
		route(s, "/oauth/token", RouteToken, true)
		time.Sleep(time.Nanosecond)
		route(s, "/oauth/token", RouteToken, false)
		route(s, "/other", RouteNone, false)
	})
	// The MCP server's own path is none, whatever the documents say.
	synctest.Test(t, func(t *testing.T) {
		u := hasServer()
		u.answers[atServer] = doc(places.Replace(`{"issuer":"UP","token_endpoint":"UP/mcp","registration_endpoint":"UP/r"}`))
		s, _ := bridged(t, u, nil)
		srv := s.Server(t.Context(), public)
		if got := srv.Route("/mcp"); got != RouteNone || srv.Route("/r") != RouteRegistration {
			t.Errorf("the MCP server is route %d", got)
		}
		route(s, "/mcp", RouteNone, true)
	})
	// A request that names another host must not close the routes of this one:
	// to that host the server is foreign, or the upstream refuses it.
	synctest.Test(t, func(t *testing.T) {
		u := &fakeUpstream{answers: answers{atServer: doc(places.Replace(`{"issuer":"PUB","token_endpoint":"PUB/oauth/token"}`))}}
		s, _ := bridged(t, u, nil)
		s.Server(t.Context(), anyHost(1))
		route(s, "/oauth/token", RouteNone, false)
		s.Server(t.Context(), public)
		route(s, "/oauth/token", RouteToken, true)
		u.answers = nil
		s.Server(t.Context(), anyHost(1))
		s.Server(t.Context(), host(1))
		route(s, "/oauth/token", RouteToken, true)
	})
}

// Rule C5: one URL of an answer is changed, and no other byte.
func TestEditURL(t *testing.T) {
	change := func(s string) (string, bool) { return "<" + s + ">", s != "" && s != "keep" }
	for in, want := range map[string]string{
		`{"u":"a"}`: `{"u":"<a>"}`,
		"{ \"a\" : 1e400 ,\n\"u\" : \"\\u0061\" }\n": "{ \"a\" : 1e400 ,\n\"u\" : \"<a>\" }\n",
		`{"\u0075":"a","U":"a"}`:                     `{"\u0075":"<a>","U":"a"}`,
		`{"u":"keep"}`:                               "",
		`{"u":""}`:                                   "",
		`{"u":1}`:                                    "",
		`{"u":null}`:                                 "",
		`{"u":["a"]}`:                                "",
		`{"a":{"u":"a"}}`:                            "",
		`{}`:                                         "",
		`{"u":"a","u":"b"}`:                          "",
		`["u"]`:                                      "",
		`{"u":"a"`:                                   "",
		"\ufeff" + `{"u":"a"}`:                       "",
		"":                                           "",
	} {
		got, ok := EditURL([]byte(in), "u", change)
		if ok != (want != "") || ok && string(got) != want || !ok && string(got) != in {
			t.Errorf("EditURL(%q) = %q, %v; want %q", in, got, ok, want)
		}
	}
}
