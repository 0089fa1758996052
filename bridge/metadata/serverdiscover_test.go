package metadata

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/jsontext"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/cputime"
)

// The documents of an authorization server on the upstream's own origin.
var (
	serverDoc       = places.Replace(`{"issuer":"UP","authorization_endpoint":"UP/oauth/authorize","token_endpoint":"UP/oauth/token","jwks_uri":"UP/.well-known/jwks.json"}`)
	publicServerDoc = places.Replace(`{"issuer":"PUB","authorization_endpoint":"PUB/oauth/authorize","token_endpoint":"PUB/oauth/token","jwks_uri":"PUB/.well-known/jwks.json"}`)
	tenantDoc       = places.Replace(`{"issuer":"UP/t","token_endpoint":"UP/t/token"}`)
	publicTenantDoc = places.Replace(`{"issuer":"PUB/t","token_endpoint":"PUB/t/token"}`)
)

const (
	atServer = "GET " + serverPath
	atOpenID = "GET " + openIDPath
)

// Requests of a discovery: where clients look for an issuer with this path.
func documentsOf(path string) []string {
	if path == "" {
		return []string{atServer, atOpenID}
	}
	return []string{atServer + path, atOpenID + path, "GET " + path + openIDPath, "GET " + path + serverPath}
}

func resourceOf(servers ...string) FetchResponse {
	return doc(places.Replace(`{"resource":"UP/mcp","authorization_servers":["` + strings.Join(servers, `","`) + `"]}`))
}

// bridged returns a store like newStore that bridges the authorization server.
func bridged(t *testing.T, u *fakeUpstream, set func(*Config)) (*Store, *log) {
	t.Helper()
	return newStore(t, u, func(c *Config) {
		c.BridgeServer = true
		if set != nil {
			set(c)
		}
	})
}

// kindsOf returns the kinds of what was reported, each once.
func (l *log) kindsOf() []EventKind { return slices.Compact(slices.Sorted(slices.Values(l.kinds()))) }

// Rule C5: every document that a client may ask for is asked for: at the root,
// for each issuer that the upstream's own metadata names, path-inserted and
// path-appended, and for the endpoint. What is found is served at the public
// place of the same form, and the protected resource names the very issuer.
func TestServerDiscover(t *testing.T) {
	resource, root := []string{atPath, atRoot, atMCP}, documentsOf("")
	own := slices.Concat([]string{atMCP, atPath}, root, documentsOf("/mcp"))
	tenant := slices.Concat(own, documentsOf("/t"))
	bare := slices.Concat(resource, root, documentsOf("/mcp"))
	tooLarge, encoded := doc(""), doc(serverDoc)
	tooLarge.TooLarge = true
	encoded.Header.Set("Content-Encoding", "br")
	foreignDoc := places.Replace(`{"issuer":"https://as.example.com","token_endpoint":"UP/token"}`)

	for _, tc := range []struct {
		name    string
		cfg     func(*Config)
		pub     Public // default: public
		answers answers
		fail    map[string]error
		asked   []string
		servers string            // authorization_servers of the protected resource, as served
		docs    map[string]string // by path: what is served; all others are 404
		broken  []string          // paths that are 503
		code    int               // in place of 503
		reason  string            // of these
		unfit   map[string]string // paths that are 404 and say why
		kinds   []EventKind
	}{
		{
			name: "named and at the root", asked: own, servers: `["PUB"]`,
			answers: answers{atPath: resourceOf("UP"), atServer: doc(serverDoc)},
			docs:    map[string]string{serverPath: publicServerDoc},
		},
		{
			name: "named at the root of the resource", asked: slices.Concat(resource, root, documentsOf("/mcp")), servers: `["PUB"]`,
			answers: answers{atRoot: resourceOf("UP"), atOpenID: doc(serverDoc)},
			docs:    map[string]string{openIDPath: publicServerDoc},
		},
		{
			name: "named by the upstream's own 401", asked: slices.Concat([]string{atMCP, "GET /meta"}, root, documentsOf("/mcp")), servers: `["PUB"]`,
			answers: answers{atMCP: challenged("URL /meta"), "GET /meta": resourceOf("UP"), atServer: doc(serverDoc)},
			docs:    map[string]string{serverPath: publicServerDoc},
		},
		{
			name: "final slash of the resource alone", asked: own, servers: `["PUB"]`,
			answers: answers{atPath: resourceOf("UP/"), atServer: doc(serverDoc)},
			docs:    map[string]string{serverPath: publicServerDoc},
		},
		{
			name: "final slash of the server alone", asked: own, servers: `["PUB/"]`,
			answers: answers{atPath: resourceOf("UP"), atServer: doc(places.Replace(`{"issuer":"UP/"}`))},
			docs:    map[string]string{serverPath: places.Replace(`{"issuer":"PUB/"}`)},
		},
		{
			name: "final slash of a path", asked: tenant, servers: `["PUB/t"]`,
			answers: answers{atPath: resourceOf("UP/t/"), atServer + "/t": doc(tenantDoc)},
			docs:    map[string]string{serverPath + "/t": publicTenantDoc},
		},
		{
			name: "path-inserted and path-appended", asked: tenant, servers: `["PUB/t","https://as.example.com"]`,
			answers: answers{
				atPath: resourceOf("UP/t", "https://as.example.com"), atServer + "/t": doc(tenantDoc), atOpenID + "/t": doc(tenantDoc),
				"GET /t" + openIDPath: doc(tenantDoc), "GET /t" + serverPath: doc(tenantDoc),
			},
			docs: map[string]string{
				serverPath + "/t": publicTenantDoc, openIDPath + "/t": publicTenantDoc,
				"/t" + openIDPath: publicTenantDoc, "/t" + serverPath: publicTenantDoc,
			},
		},
		{
			name: "for the endpoint", asked: bare,
			answers: answers{atServer + "/mcp": doc(serverDoc), "GET /mcp" + openIDPath: doc(serverDoc)},
			docs:    map[string]string{serverPath + "/mcp": publicServerDoc, "/mcp" + openIDPath: publicServerDoc},
		},
		{
			name: "for an endpoint with another public path", asked: own, pub: Public{Origin: public.Origin, Path: "/a%20b/mcp", Fixed: true}, servers: `["PUB"]`,
			answers: answers{atPath: resourceOf("UP"), atServer + "/mcp": doc(serverDoc), "GET /mcp" + openIDPath: doc(serverDoc)},
			docs:    map[string]string{serverPath + "/a b/mcp": publicServerDoc, "/a b/mcp" + openIDPath: publicServerDoc},
		},
		{
			name: "for an endpoint at the root", asked: append([]string{"POST /", atRoot}, root...), servers: `["PUB"]`,
			cfg: func(c *Config) { c.UpstreamPath = "/" }, pub: Public{Origin: public.Origin, Path: "/", Fixed: true},
			answers: answers{atRoot: doc(places.Replace(`{"resource":"UP/","authorization_servers":["UP/"]}`)), atServer: doc(serverDoc)},
			docs:    map[string]string{serverPath: publicServerDoc},
		},
		{
			name: "for an endpoint whose server is at the root", asked: append([]string{"POST /", atRoot}, root...), servers: `["PUB"]`,
			cfg:     func(c *Config) { c.UpstreamPath = "/" },
			answers: answers{atRoot: doc(places.Replace(`{"resource":"UP","authorization_servers":["UP"]}`)), atServer: doc(serverDoc)},
			docs:    map[string]string{serverPath: publicServerDoc},
		},
		{
			name: "of an endpoint whose path is an issuer's", asked: own, servers: `["PUB/mcp"]`,
			answers: answers{atPath: resourceOf("UP/mcp"), atServer + "/mcp": doc(places.Replace(`{"issuer":"UP/mcp"}`))},
			docs:    map[string]string{serverPath + "/mcp": places.Replace(`{"issuer":"PUB/mcp"}`)},
		},
		{
			name: "MCP specification 2025-03-26, without a protected resource", asked: bare,
			answers: answers{atServer: doc(serverDoc)}, docs: map[string]string{serverPath: publicServerDoc},
		},
		{name: "neither", asked: bare},
		{
			name: "known by its public origin", asked: own, servers: `["HTTPS://MCP.example.com:443/"]`,
			answers: answers{atPath: resourceOf("HTTPS://MCP.example.com:443"), atServer: doc(`{"issuer":"HTTPS://MCP.example.com:443/","signed_metadata":1}`)},
			docs:    map[string]string{serverPath: `{"issuer":"HTTPS://MCP.example.com:443/","signed_metadata":1}`},
		},
		{
			name: "named by its public origin", asked: own, servers: `[ "PUB" ,"PUB" ]`,
			answers: answers{atPath: doc(places.Replace(`{"resource":"UP/mcp","authorization_servers":[ "PUB" ,"PUB" ]}`)), atServer: doc(serverDoc)},
			docs:    map[string]string{serverPath: publicServerDoc},
		},
		{
			name: "named as elsewhere on the origin, without a document", asked: tenant, servers: `["PUB/t/"]`,
			answers: answers{atPath: resourceOf("UP/t/")},
		},
		{
			name: "named otherwise than the server does", asked: own, servers: `["PUB"]`,
			answers: answers{atPath: resourceOf("http://localhost:3000"), atServer: doc(serverDoc)},
			docs:    map[string]string{serverPath: publicServerDoc},
		},
		{
			name: "issuers that cannot be asked for", asked: own, servers: `["PUB/%74","PUB?a","http://u@10.0.0.5:3000/t","PUB#a","http://10.0.0.5:3001/t",""]`,
			answers: answers{atPath: resourceOf("UP/%74", "UP?a", "http://u@10.0.0.5:3000/t", "UP#a", "http://10.0.0.5:3001/t", "")},
			kinds:   []EventKind{PrivateAuthorizationServer},
		},
		{
			name: "authorization servers of another type", asked: own, servers: `{"a":["UP"]}`,
			answers: answers{atPath: doc(places.Replace(`{"resource":"UP/mcp","authorization_servers":{"a":["UP"]}}`)), atServer: doc(serverDoc)},
			docs:    map[string]string{serverPath: publicServerDoc},
		},
		{
			name: "elements of another type", asked: own, servers: `["PUB",1,null]`,
			answers: answers{atPath: doc(places.Replace(`{"resource":"UP/mcp","authorization_servers":["UP/",1,null]}`)), atServer: doc(serverDoc)},
			docs:    map[string]string{serverPath: publicServerDoc},
		},

		// What could not be had is never "there is none".
		{
			name: "500 of the resource", asked: bare, reason: "server error",
			answers: answers{atPath: only(500), atServer: doc(serverDoc)}, docs: map[string]string{serverPath: publicServerDoc},
			broken: []string{serverPath + "/t", "/t" + openIDPath}, kinds: []EventKind{Unavailable},
		},
		{
			name: "500 of the documents", asked: own, servers: `["PUB"]`,
			answers: answers{atPath: resourceOf("UP"), atServer: only(500), atOpenID: only(503)},
			broken:  []string{serverPath, openIDPath}, reason: "server error", kinds: []EventKind{Unavailable},
		},
		{
			name: "502 of a document", asked: own, servers: `["PUB"]`,
			answers: answers{atPath: resourceOf("UP"), atServer: only(502), atOpenID: doc(serverDoc)},
			docs:    map[string]string{openIDPath: publicServerDoc}, broken: []string{serverPath}, code: 502, reason: "server error", kinds: []EventKind{Unavailable},
		},
		{
			name: "no connection", asked: own, servers: `["PUB"]`,
			answers: answers{atPath: resourceOf("UP")}, fail: map[string]error{atServer: errors.New("refused")},
			broken: []string{serverPath}, reason: "no response", kinds: []EventKind{Unavailable},
		},
		{
			name: "told to wait for one document", asked: own, servers: `["PUB"]`,
			answers: answers{atPath: resourceOf("UP"), atServer: only(429), atOpenID: doc(serverDoc)},
			docs:    map[string]string{openIDPath: publicServerDoc}, broken: []string{serverPath}, code: 429, reason: "asked to come back later", kinds: []EventKind{Unavailable},
		},
		{
			name: "redirect elsewhere", asked: own, servers: `["PUB"]`,
			answers: answers{atPath: resourceOf("UP"), atServer: redirect(302, "https://evil.test/doc")},
			unfit:   map[string]string{serverPath: "redirect to elsewhere"}, kinds: []EventKind{RedirectRefused},
		},
		{
			name: "redirect in place", asked: append(slices.Clone(own), "GET /doc"), servers: `["PUB"]`,
			answers: answers{atPath: resourceOf("UP"), atServer: redirect(302, "http://10.0.0.5:3000/doc"), "GET /doc": doc(serverDoc)},
			docs:    map[string]string{serverPath: publicServerDoc},
		},
		{
			name: "redirects without end", asked: append(slices.Clone(own), atServer, atServer, atServer), servers: `["PUB"]`,
			answers: answers{atPath: resourceOf("UP"), atServer: redirect(302, serverPath)},
			unfit:   map[string]string{serverPath: "too many redirects"}, kinds: []EventKind{RedirectRefused},
		},
		{
			name: "too large, encoded, and no document", asked: own, servers: `["PUB"]`,
			answers: answers{atPath: resourceOf("UP"), atServer: tooLarge, atOpenID: encoded, atServer + "/mcp": doc("{"), "GET /mcp" + openIDPath: doc(`{"issuer":1}`)},
			unfit: map[string]string{
				serverPath: errTooLarge.Error(), openIDPath: errCoding.Error(), serverPath + "/mcp": jsontext.ErrNotJSON.Error(), "/mcp" + openIDPath: errNoIssuer.Error(),
			}, kinds: []EventKind{DocumentInvalid},
		},
		{
			name: "pages", asked: own, servers: `["PUB"]`,
			answers: answers{atPath: resourceOf("UP"), atServer: page, atOpenID: page}, kinds: []EventKind{NotJSON},
		},

		// C2: as clients read them.
		{
			name: "byte order mark, gzip, and no media type", asked: own, servers: `["PUB"]`,
			answers: answers{atPath: resourceOf("UP"), atServer: doc("\ufeff" + serverDoc), atOpenID: packed(serverDoc), atServer + "/mcp": {Status: 200, Body: []byte(serverDoc)}},
			docs:    map[string]string{serverPath: publicServerDoc, openIDPath: publicServerDoc, serverPath + "/mcp": publicServerDoc},
		},

		// Another server's documents are passed on, as the site's own word.
		{
			name: "foreign issuer", asked: own, servers: `["https://as.example.com"]`,
			answers: answers{atPath: resourceOf("https://as.example.com"), atServer: doc(foreignDoc), atOpenID: doc(foreignDoc), atServer + "/mcp": doc(foreignDoc)},
			docs:    map[string]string{serverPath: foreignDoc, openIDPath: foreignDoc, serverPath + "/mcp": foreignDoc}, kinds: []EventKind{ForeignIssuer},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			u, pub := &fakeUpstream{answers: tc.answers, fail: tc.fail}, tc.pub
			if pub == (Public{}) {
				pub = public
			}
			s, l := bridged(t, u, tc.cfg)
			e := s.cache.lookup(t.Context(), pub)
			if got, want := slices.Sorted(slices.Values(u.requests())), slices.Sorted(slices.Values(tc.asked)); !slices.Equal(got, want) {
				t.Errorf("asked\n%q\nwant\n%q", got, want)
			}
			for _, req := range u.received() {
				if req.Origin != "" || req.Header.Get("Authorization") != "" || req.MaxBody > DefaultMaxSize {
					t.Errorf("asked %+v", req)
				}
			}
			if tc.servers != "" {
				want := places.Replace(`{"resource":"` + pub.URL() + `","authorization_servers":` + tc.servers + `}`)
				if e.status != found {
					t.Errorf("got status %d; want a resource", e.status)
				} else if got := string(e.doc.render(pub.URL())); got != want {
					t.Errorf("got resource %s; want %s", got, want)
				}
			} else if e.status == found {
				t.Errorf("got resource %s; want none", e.doc.render(pub.URL()))
			}
			paths := slices.Concat(slices.Collect(maps.Keys(e.server.documents)), tc.broken, []string{serverPath + "/", serverPath + "/zz"})
			retry := "2"
			if tc.code == 0 {
				tc.code = 503
			} else if tc.code == 502 {
				retry = ""
			}
			for _, path := range paths {
				w := getServer(t, s, "GET", pub, path)
				body, ok := tc.docs[strings.TrimSuffix(path, "/")]
				switch {
				case ok:
					want(t, w, 200, body, nil)
				case slices.Contains(tc.broken, strings.TrimSuffix(path, "/")), path == serverPath+"/zz" && e.status == unavailable:
					want(t, w, tc.code, later(tc.reason), map[string]string{"Retry-After": retry, "Cache-Control": "no-store"})
				case tc.unfit[strings.TrimSuffix(path, "/")] != "":
					want(t, w, 404, unfitBody(tc.unfit[strings.TrimSuffix(path, "/")]), map[string]string{"Retry-After": "", "Cache-Control": "no-store"})
				default:
					want(t, w, 404, bodyNotFound, map[string]string{"Retry-After": "", "Cache-Control": "no-store"})
				}
			}
			if got := l.kindsOf(); !slices.Equal(got, tc.kinds) {
				t.Errorf("reported %+v; want %q", l.all(), tc.kinds)
			}
			if len(tc.kinds) == 1 && tc.kinds[0] == ForeignIssuer && len(l.all()) != 1 {
				t.Errorf("reported %+v; want one event", l.all())
			}
		})
	}
}

// Rule C5: an upstream that names ten thousand servers is asked for a few, and
// its metadata is mapped, in a time that grows no faster than it does.
func TestServerDiscoverManyServers(t *testing.T) {
	list := func(n int, format string) []byte {
		var servers []string
		for i := range n {
			servers = append(servers, fmt.Sprintf(format, i))
		}
		return resourceOf(servers...).Body
	}
	for _, format := range []string{"UP/%d", "https://as.example.com/%d", "UP/same?%d", "\ufffd%d"} {
		u := &fakeUpstream{answers: answers{atPath: doc(string(list(10000, format))), atServer: doc(serverDoc)}}
		s, _ := bridged(t, u, func(c *Config) { c.MaxSize = 1 << 20 })
		if !s.Known(t.Context(), public) {
			t.Fatal("not known")
		}
		if got, most := u.count(), 2+2+4*maxServers+4; got > most {
			t.Errorf("%s: %d requests; want at most %d", format, got, most)
		}
		body := get(t, s, "GET", public, "/mcp").Body.String()
		if strings.Contains(body, "10.0.0.5") || strings.Count(body, ",") != 10000 {
			t.Errorf("%s: served %.200s", format, body)
		}
	}
	mapping := func(n int) func() {
		d := &search{finder: mustNew(t, tcpUpstream).finder, pub: public}
		raw := list(n, "UP/%d")
		return func() {
			srv := newServer(public)
			for _, l := range d.namedServers(raw, "") {
				srv.origins.Add(l)
			}
			d.readDocument(srv, &asked{raw: []byte(serverDoc)})
			if _, err := d.maps.rewrite(raw, public, "", srv, func(Event) {}); err != nil {
				t.Error(err)
			}
		}
	}
	if got := cputime.Ratio(40, mapping(2000), mapping(20000)); got > 40 {
		t.Errorf("ten times the servers took %.0f times as long", got)
	}
}

// Rule C5, C2: what the operator configured is served without a wait; the
// documents of the servers that it names on the public origin are discovered.
func TestServerConfigured(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := &fakeUpstream{answers: answers{atServer + "/t": doc(tenantDoc)}}
		release := hangs(u)
		defer release()
		s, _ := bridged(t, u, func(c *Config) {
			c.AuthorizationServers = []string{"https://mcp.example.com/t", "https://as.example.com/x"}
		})
		start := time.Now()
		want(t, get(t, s, "GET", public, "/mcp"), 200, `{"resource":"https://mcp.example.com/mcp","authorization_servers":["https://mcp.example.com/t","https://as.example.com/x"],"bearer_methods_supported":["header"]}`, nil)
		if time.Since(start) != 0 || !s.KnownNow(public) || !s.KnownNow(anyHost(1)) || !s.Known(t.Context(), anyHost(1)) {
			t.Error("the configured document waits for the upstream")
		}
		wantCount(t, u, 0)
		s.Warm(public)
		synctest.Wait()
		asked := slices.Concat(documentsOf(""), documentsOf("/t"), documentsOf("/mcp"))
		if got, want := slices.Sorted(slices.Values(u.requests())), slices.Sorted(slices.Values(asked)); !slices.Equal(got, want) {
			t.Errorf("asked\n%q\nwant\n%q", got, want)
		}
		release()
		want(t, getServer(t, s, "GET", public, serverPath+"/t"), 200, publicTenantDoc, map[string]string{"Cache-Control": "max-age=300"})
		want(t, getServer(t, s, "GET", public, serverPath), 404, bodyNotFound, nil)
		if got := s.Server(t.Context(), public).Route("/t/token"); got != RouteToken {
			t.Errorf("route %d; want %d", got, RouteToken)
		}
	})
}

// Rule C4: a transport that panics for the documents is one that cannot be
// asked, and no reason to lose the resource.
func TestServerFetchPanics(t *testing.T) {
	u := &fakeUpstream{answers: answers{atPath: resourceOf("UP")}}
	u.before = func(_ context.Context, req FetchRequest) {
		if req.Path != WellKnownPath+"/mcp" {
			panic(http.ErrAbortHandler)
		}
	}
	s, l := bridged(t, u, nil)
	if !s.Known(t.Context(), public) {
		t.Error("not known")
	}
	for _, path := range []string{serverPath, openIDPath} {
		want(t, getServer(t, s, "GET", public, path), 503, later("panic"), nil)
	}
	if got := l.all(); len(got) != 2 || got[0].Kind != Unavailable || got[0].Reason != "panic" || got[1].Kind != PassedOver {
		t.Errorf("reported %+v; want one panic", got)
	}
}
