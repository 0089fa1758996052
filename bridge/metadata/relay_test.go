package metadata

import (
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/jsontext"
)

// elsewhereDoc is what a server of MCP specification 2025-03-26 has at its own origin.
const elsewhereDoc = ` {"issuer":"https://login.example.com", "authorization_endpoint":"https://login.example.com/authorize","token_endpoint":"https://login.example.com/token", "registration_endpoint":"https://login.example.com/register","response_types_supported":["code"]}`

// relay asks for the metadata of the authorization server. Code 0: nothing was written.
func relay(s *Store, method, path string, pub Public, root bool) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	if !s.ServeRelay(w, httptest.NewRequest(method, "/", nil), pub, path, root, func() {}) {
		w.Code = 0
	}
	return w
}

// C1: where the server has no metadata of a resource, that of its authorization server is
// relayed if all of it is elsewhere, byte by byte.
func TestRelay(t *testing.T) {
	edited := func(from, to string) string { return strings.Replace(elsewhereDoc, from, to, 1) }
	for _, tc := range []struct {
		name    string
		doc     FetchResponse
		more    answers
		path    string // default: serverPath
		pub     Public // default: public
		notRoot bool
		status  int // 0: it is not answered
		reason  error
		kinds   []EventKind
		cfg     func(*Config)
	}{
		{name: "elsewhere", doc: doc(elsewhereDoc), status: 200},
		{name: "of an open server", doc: doc(elsewhereDoc), more: answers{atMCP: only(200)}, status: 200},
		{name: "as clients read it", doc: packed("\ufeff" + elsewhereDoc), status: 200},
		{name: "without a media type", doc: FetchResponse{Status: 200, Body: []byte(elsewhereDoc)}, status: 200},
		{name: "final slash", doc: doc(elsewhereDoc), path: serverPath + "/", status: 200},
		{name: "openid", doc: only(404), more: answers{atOpenID: doc(elsewhereDoc)}, path: openIDPath, status: 200},
		{name: "for the endpoint", doc: only(404), more: answers{atServer + "/mcp": doc(elsewhereDoc)}, path: serverPath + "/mcp", notRoot: true, status: 200},
		{name: "path-appended", doc: only(404), more: answers{"GET /mcp" + openIDPath: doc(elsewhereDoc)}, path: "/mcp" + openIDPath, status: 200},
		{name: "the root of another endpoint", doc: doc(elsewhereDoc), notRoot: true},
		{name: "another path", doc: doc(elsewhereDoc), path: serverPath + "/x"},
		{name: "none", doc: only(404)},
		{name: "a page", doc: page},
		{name: "500", doc: only(500)},
		{name: "with metadata of the resource", doc: doc(elsewhereDoc), more: answers{atPath: doc(upstreamDoc)}},
		{name: "with broken metadata of the resource", doc: doc(elsewhereDoc), more: answers{atPath: doc("{}")}},
		{name: "while that cannot be had", doc: doc(elsewhereDoc), more: answers{atRoot: only(500)}},
		{name: "with a server that is bridged", doc: doc(elsewhereDoc), cfg: func(c *Config) { c.BridgeServer = true }},
		{name: "with a document of the operator's", doc: doc(elsewhereDoc), cfg: func(c *Config) { c.AuthorizationServers = []string{"https://a.example"} }},

		// Impostors, and what is private.
		{name: "own issuer", doc: doc(edited("https://login.example.com\"", "http://10.0.0.5:3000\"")), status: 404, reason: errRelayOwn},
		{name: "own token endpoint", doc: doc(edited("https://login.example.com/token", "http://10.0.0.5:3000/token")), status: 404, reason: errRelayOwn},
		{name: "public issuer", doc: doc(edited("https://login.example.com\"", "https://mcp.example.com\"")), status: 404, reason: errRelayOwn},
		{name: "vendor's own", doc: doc(strings.ReplaceAll(elsewhereDoc, "login.example.com", "mcp.vendor.example:8443")), status: 404, reason: errRelayOwn},
		{name: "private host", doc: doc(edited("https://login.example.com/token", "https://keycloak:9443/token")), status: 404, reason: errRelayPrivate},
		{name: "cloud's metadata service", doc: doc(edited("https://login.example.com/register", "http://169.254.169.254/latest")), status: 404, reason: errRelayPrivate},
		{name: "private host in a list", doc: doc(edited(`["code"]`, `["code",{"a":["see http://10.1.2.3/x"]}]`)), status: 404, reason: errRelayPrivate},
		{name: "private host as a name", doc: doc(edited(`"response_types_supported"`, `"http://10.1.2.3/x"`)), status: 404, reason: errRelayPrivate},
		{name: "private host in escapes", doc: doc(edited(`["code"]`, `"http:\u002f\u002f10.1.2.3/x"`)), status: 404, reason: errRelayPrivate},
		{name: "without https", doc: doc(edited("https://login.example.com/token", "http://login.example.com/token")), status: 404, reason: errRelayInsecure},
		{name: "another scheme", doc: doc(edited("https://login.example.com/authorize", "javascript:alert(1)")), status: 404, reason: errRelayInsecure},
		{name: "userinfo", doc: doc(edited("https://login.example.com/token", "https://login.example.com@10.0.0.5/token")), status: 404, reason: errRelayInsecure},
		{name: "numeric host", doc: doc(edited("https://login.example.com/token", "https://2130706433/token")), status: 404, reason: errRelayInsecure},
		{name: "no endpoint", doc: doc(`{"issuer":"https://login.example.com"}`), status: 404, reason: errRelayEndpoint},
		{name: "no issuer", doc: doc(`{"authorization_endpoint":"https://login.example.com/a"}`), status: 404, reason: errNoIssuer},
		{name: "issuer twice", doc: doc(edited(`"response_types_supported"`, `"issuer"`)), status: 404, reason: jsontext.ErrDuplicate},
	} {
		t.Run(tc.name, func(t *testing.T) {
			all := answers{atServer: tc.doc}
			for name, res := range tc.more {
				all[name] = res
			}
			u := &fakeUpstream{answers: all}
			s, l := newStore(t, u, tc.cfg)
			pub, path := public, serverPath
			if tc.path != "" {
				path = tc.path
			}
			for range 2 {
				w := relay(s, "GET", path, pub, !tc.notRoot)
				switch {
				case w.Code != tc.status:
					t.Fatalf("got %d %s; want %d", w.Code, w.Body, tc.status)
				case tc.status == 200 && w.Body.String() != elsewhereDoc:
					t.Errorf("got %s", w.Body)
				case tc.status == 404:
					want(t, w, 404, unfitBody(tc.reason.Error()), map[string]string{"Retry-After": "", "Cache-Control": "no-store"})
				}
			}
			if tc.status == 404 && !slices.Contains(l.kinds(), ServerNotRelayed) {
				t.Errorf("reported %+v; want why", l.all())
			}
			if st := s.State(public); tc.status == 404 && st.LastError != ofServer+tc.reason.Error() || tc.status == 200 && st.LastError != "" {
				t.Errorf("state %+v; want the cause", st)
			}
			if tc.status == 404 && len(l.all()) != 1 {
				t.Errorf("reported %+v; want one cause once", l.all())
			}
			asked := 0
			for _, req := range u.received() {
				if req.Origin != "" || req.Header.Get("Authorization") != "" {
					t.Errorf("asked %+v", req)
				}
				if req.Method == http.MethodGet && strings.Contains(req.Path, serverPath) {
					asked++
				}
			}
			if tc.cfg == nil && asked > 1 {
				t.Errorf("asked %d times", asked)
			}
		})
	}
	s, _ := newStore(t, &fakeUpstream{answers: answers{atServer: doc(elsewhereDoc)}}, nil)
	if w := relay(s, "POST", serverPath, public, true); w.Code != 0 {
		t.Errorf("POST: got %d", w.Code)
	}
	if w := relay(s, "HEAD", serverPath, public, true); w.Code != 200 || w.Body.Len() != 0 {
		t.Errorf("HEAD: got %d %s", w.Code, w.Body)
	}
	// Of one machine or network everything may be.
	local := Public{Origin: "http://127.0.0.1:8080", Path: "/mcp", Fixed: true}
	s, _ = newStore(t, &fakeUpstream{answers: answers{atServer: doc(strings.ReplaceAll(elsewhereDoc, "https://login.example.com", "http://localhost:9000"))}}, nil)
	if w := relay(s, "GET", serverPath, local, true); w.Code != 200 {
		t.Errorf("on one machine: got %d %s", w.Code, w.Body)
	}
}

// C4, G: queries that a client makes up keep nobody from a document that is relayed.
func TestRelayBesideInventedQueries(t *testing.T) {
	s, _ := newStore(t, &fakeUpstream{answers: answers{atServer: doc(elsewhereDoc)}}, sealed(t, "one"))
	for n := range 1000 {
		follow(t, s, ownURL+"?n="+strconv.Itoa(n))
	}
	for range 2 {
		if w := relay(s, "GET", serverPath, public, true); w.Code != 200 {
			t.Errorf("got %d %s", w.Code, w.Body)
		}
	}
	if all := s.States(); len(all) != 1 || !all[public.URL()].Absent {
		t.Errorf("states %+v; want that of the endpoint", all)
	}
}

// A document that crosses names nothing private and nothing of the server's own origin.
func FuzzRelayable(f *testing.F) {
	f.Add([]byte(elsewhereDoc))
	f.Add([]byte(strings.Replace(elsewhereDoc, "login.example.com/token", "10.0.0.5:3000/token", 1)))
	private := regexp.MustCompile(`"https?://(10\.0\.0\.5|127\.0\.0\.1|localhost)(:[0-9]+)?[/"]`)
	s := mustNew(f, tcpUpstream)
	f.Fuzz(func(t *testing.T, raw []byte) {
		d := &search{finder: s.finder, pub: public}
		if d.relayable(raw, "") != nil {
			return
		}
		if private.Match(raw) {
			t.Errorf("%s crosses", raw)
		}
	})
}
