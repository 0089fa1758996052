package metadata

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/sse"
)

// sealed sets tokens as the bridge makes them: with one key, for one endpoint.
func sealed(t testing.TB, scope string) func(*Config) {
	t.Helper()
	sealer, err := sse.NewSealer([]byte(strings.Repeat("k", sse.KeySize)))
	if err != nil {
		t.Fatal(err)
	}
	return func(c *Config) {
		c.Seal = Seal{
			Seal: func(text string) (string, bool) { return sealer.Seal(text, scope), true },
			Open: func(token string) (string, bool) { return sealer.Open(token, scope) },
		}
	}
}

// follow asks for the document of a public URL, as a client does that has read it in a
// challenge.
func follow(t *testing.T, s *Store, url string) *httptest.ResponseRecorder {
	t.Helper()
	rest, ok := strings.CutPrefix(url, public.Origin+WellKnownPath)
	if !ok {
		t.Fatalf("%s is no metadata URL of the endpoint", url)
	}
	suffix, _, _ := strings.Cut(rest, "?")
	w := httptest.NewRecorder()
	s.Serve(w, httptest.NewRequest(http.MethodGet, public.Origin+WellKnownPath+rest, nil), public, suffix)
	return w
}

// docOf returns one whose authorization server tells it from others.
func docOf(resource, server string) string {
	return fmt.Sprintf(`{"resource":%q,"authorization_servers":["https://%s.example.com"]}`, resource, server)
}

// C2: each URL that is mapped in a challenge leads to the document that it named, right
// before anything was learned, on every replica.
func TestEachChallengeItsDocument(t *testing.T) {
	const up = "http://10.0.0.5:3000"
	docs := answers{
		atMCP:                      challenged("URL " + up + "/meta/v2.json"),
		"GET /meta/v2.json":        doc(docOf(up+"/mcp", "v2")),
		"GET /meta/step-up?a=1&b":  doc(docOf(up+"/mcp", "step-up")),
		"GET /tenants/b":           doc(docOf(up+"/mcp", "b")),
		"GET /x/.well-known/oauth": doc(docOf(up+"/mcp", "x")),
		atPath:                     doc(docOf(up+"/mcp", "path")),
		atRoot:                     doc(docOf(up+"/mcp", "root")),
	}
	for _, warm := range []bool{false, true} {
		for raw, want := range map[string]string{
			up + "/meta/v2.json":             "v2",
			up + "/meta/v2.json#x":           "v2",
			up + "/tenants/b":                "b",
			up + "/meta/step-up?a=1&b":       "step-up",
			"http://localhost:9/tenants/b":   "b",
			up + "/x/.well-known/oauth":      "x",
			up + "/gone":                     "path", // as clients go on
			up + WellKnownPath + "/mcp":      map[bool]string{false: "v2", true: "path"}[warm],
			up + WellKnownPath:               map[bool]string{false: "v2", true: "root"}[warm],
			public.Origin + "/.well-known/x": "path",
		} {
			t.Run(fmt.Sprintf("%s, warm: %t", raw, warm), func(t *testing.T) {
				maker, _ := newStore(t, &fakeUpstream{answers: docs}, sealed(t, "one"))
				if warm {
					maker.Known(t.Context(), public)
				}
				mapped, ok := maker.MapChallengeURL(raw, public, "", nil)
				if !ok || !strings.HasPrefix(mapped, ownURL) || strings.Contains(mapped, "tenants") {
					t.Fatalf("mapped to %q, %t; want a URL of the endpoint that says nothing of the upstream", mapped, ok)
				}
				other, _ := newStore(t, &fakeUpstream{answers: docs}, sealed(t, "one")) // another replica, or after a restart
				for _, s := range []*Store{maker, other} {
					if got := follow(t, s, mapped); got.Code != 200 || got.Body.String() != docOf(public.URL(), want) {
						t.Errorf("got %d %s; want that of %s", got.Code, got.Body, want)
					}
				}
			})
		}
	}
}

// C2: a challenge to a request with credentials may name another document than the server's
// own, which is to a request without, at a well-known URL too: each has its own once it is
// known what the server's own names.
func TestDocumentOfACaller(t *testing.T) {
	const up = "http://10.0.0.5:3000"
	u := func() *fakeUpstream {
		return &fakeUpstream{answers: answers{atMCP: challenged("URL " + up + WellKnownPath), atRoot: doc(docOf(up+"/mcp", "root")), atPath: doc(docOf(up+"/mcp", "path"))}}
	}
	s, _ := newStore(t, u(), sealed(t, "one"))
	s.Known(t.Context(), public)
	for raw, want := range map[string]string{up + WellKnownPath + "/mcp": "path", up + WellKnownPath: "root"} {
		mapped, _ := s.MapChallengeURL(raw, public, "", nil)
		other, _ := newStore(t, u(), sealed(t, "one"))
		if got := follow(t, other, mapped); got.Body.String() != docOf(public.URL(), want) {
			t.Errorf("%s: got %s; want that of %s", raw, got.Body, want)
		}
		if plain := mapped == ownURL; plain != (want == "root") {
			t.Errorf("%s: mapped to %s", raw, mapped)
		}
	}
}

// A2, C2: a server that names the public URL itself is left alone, whoever asks.
func TestPublicURLStays(t *testing.T) {
	s, _ := newStore(t, has(), sealed(t, "one"))
	for _, pub := range []Public{public, {Origin: public.Origin, Path: public.Path, Query: "?a"}} {
		for _, raw := range []string{ownURL, ownURL + "?a"} {
			if got, changed := s.MapChallengeURL(raw, pub, "", nil); changed || got != raw {
				t.Errorf("%s became %s", raw, got)
			}
		}
	}
}

// C4: a client cannot have the bridge ask for paths that the server has not named: neither
// a token of another endpoint nor a changed one opens.
func TestTokensOfOthers(t *testing.T) {
	u := &fakeUpstream{answers: answers{atPath: doc(upstreamDoc), "GET /admin": doc(upstreamDoc)}}
	s, _ := newStore(t, u, sealed(t, "one"))
	other, _ := newStore(t, u, sealed(t, "two"))
	foreign, _ := other.MapChallengeURL("http://10.0.0.5:3000/admin", public, "", nil)
	own, _ := s.MapChallengeURL("http://10.0.0.5:3000/admin", public, "", nil)
	for _, url := range []string{
		foreign, own[:len(own)-1] + "A", own + "A", own + "&a", ownURL + "?document=", ownURL + "?document=L2FkbWlu",
		ownURL + "?document=" + strings.Repeat("A", 1<<16), ownURL + "?a=1&" + own[strings.Index(own, "document="):], ownURL + "?document=/admin",
	} {
		if got := follow(t, s, url); got.Code != 200 || got.Body.String() != publicDoc {
			t.Errorf("%.200s: got %d %s; want the endpoint's own document", url, got.Code, got.Body)
		}
	}
	for _, name := range u.requests() {
		if path, _, _ := strings.Cut(name, "?"); strings.HasSuffix(path, "/admin") {
			t.Errorf("%s was sent", name)
		}
	}
}

// C4: a token for a listed origin is worth nothing once the origin is not listed any more.
func TestTokenOfAnOriginThatWasListed(t *testing.T) {
	u := &fakeUpstream{answers: answers{"GET https://other.example/meta": doc(upstreamDoc), atPath: doc(upstreamDoc)}}
	with, _ := newStore(t, u, func(c *Config) { sealed(t, "one")(c); c.Origins = []string{"https://other.example"} })
	mapped, _ := with.MapChallengeURL("https://other.example/meta", public, "", nil)
	if got := follow(t, with, mapped); got.Code != 200 || !slices.Contains(u.requests(), "GET https://other.example/meta") {
		t.Fatalf("got %d, asked %q", got.Code, u.requests())
	}
	u.mu.Lock()
	u.asked = nil
	u.mu.Unlock()
	without, _ := newStore(t, u, sealed(t, "one"))
	follow(t, without, mapped)
	for _, name := range u.requests() {
		if strings.Contains(name, "other.example") {
			t.Errorf("%s was sent", name)
		}
	}
}

// C2: what becomes of a document that a challenge named is told, and in the status.
func TestNamedDocumentFails(t *testing.T) {
	u := &fakeUpstream{answers: answers{"GET /meta": doc(`{"resource":["x"]}`)}}
	s, l := newStore(t, u, sealed(t, "one"))
	mapped, _ := s.MapChallengeURL("http://10.0.0.5:3000/meta", public, "", nil)
	want(t, follow(t, s, mapped), 404, unfitBody(errResources.Error()), map[string]string{"Cache-Control": "no-store", "Retry-After": ""})
	if st := s.States()[public.URL()]; st.LastError != errResources.Error() || st.Known {
		t.Errorf("state %+v; want the cause", st)
	}
	if got := l.all(); len(got) != 1 || got[0].Source != "/meta" || got[0].Kind != DocumentInvalid {
		t.Errorf("reported %+v; want the document", got)
	}
}

// queries is a server that has a document for each query (K4's situation).
func queries() *fakeUpstream {
	return &fakeUpstream{answer: func(req FetchRequest) FetchResponse {
		path, query, marked := strings.Cut(req.Path, "?")
		if marked {
			query = "?" + query
		}
		switch {
		case req.Method == http.MethodPost && path == "/mcp":
			return challenged("URL http://10.0.0.5:3000" + WellKnownPath + "/mcp" + query)
		case path == WellKnownPath+"/mcp":
			return doc(docOf("http://10.0.0.5:3000/mcp"+query, "all"))
		case path == WellKnownPath+"/late":
			return doc(docOf("http://10.0.0.5:3000/mcp", "late"))
		}
		return only(404)
	}}
}

// C2: the query of an MCP URL is a part of it, in the challenge, the well-known URL and the
// resource.
func TestQuery(t *testing.T) {
	for _, query := range []string{"?project=a", "?a", "?a=b&c=d%20e", "?document=a", "?a?b", "?a=/x/../y", "?"} {
		t.Run(query, func(t *testing.T) {
			s, _ := newStore(t, queries(), sealed(t, "one"))
			pub := public
			pub.Query = UsableQuery(query[1:])
			raw := "http://10.0.0.5:3000" + WellKnownPath + "/mcp" + query
			mapped, ok := s.MapChallengeURL(raw, pub, "", nil)
			if !ok || mapped != ownURL+pub.Query {
				t.Errorf("mapped to %q; want %q", mapped, ownURL+query)
			}
			if got := follow(t, s, ownURL+query); got.Code != 200 || got.Body.String() != docOf(public.URL()+pub.Query, "all") {
				t.Errorf("got %d %s", got.Code, got.Body)
			}
			if got := follow(t, s, ownURL); got.Body.String() != docOf(public.URL(), "all") {
				t.Errorf("without a query: got %s", got.Body)
			}
			for url := range s.States() {
				if strings.Contains(url, "?") {
					t.Errorf("the state names a query: %s", url)
				}
			}
		})
	}
}

// C2, C3: for an endpoint at the root, too, resource is the URL that the client uses.
func TestQueryAtTheRoot(t *testing.T) {
	pub := Public{Origin: public.Origin, Path: "/", Fixed: true}
	for _, resource := range []string{"http://10.0.0.5:3000/?a=b", "http://10.0.0.5:3000?a=b"} {
		s, _ := newStore(t, &fakeUpstream{answers: answers{"GET " + WellKnownPath + "?a=b": doc(docOf(resource, "x"))}}, func(c *Config) { c.UpstreamPath = "/" })
		w := httptest.NewRecorder()
		s.Serve(w, httptest.NewRequest(http.MethodGet, pub.Origin+WellKnownPath+"?a=b", nil), pub, "")
		want(t, w, 200, docOf(public.Origin+"/?a=b", "x"), nil)
	}
	s, _ := newStore(t, &fakeUpstream{answers: answers{"GET " + WellKnownPath: doc(docOf("http://10.0.0.5:3000", "x"))}}, func(c *Config) { c.UpstreamPath = "/" })
	w := httptest.NewRecorder()
	s.Serve(w, httptest.NewRequest(http.MethodGet, pub.Origin+WellKnownPath, nil), pub, "")
	want(t, w, 200, docOf(public.Origin, "x"), nil)
}

// C2: a server that does not look at queries has one document, whose resource stays what it
// says; a document of another query is another resource's.
func TestQueryOfOthers(t *testing.T) {
	s, _ := newStore(t, has(), sealed(t, "one"))
	if got := follow(t, s, ownURL+"?a"); got.Code != 200 || got.Body.String() != publicDoc {
		t.Errorf("got %d %s", got.Code, got.Body)
	}
	s, _ = newStore(t, &fakeUpstream{answers: answers{atPath + "?a": doc(docOf("http://10.0.0.5:3000/mcp?b", "b")), atRoot: doc(upstreamDoc)}}, nil)
	if got := follow(t, s, ownURL+"?a"); got.Code != 200 || got.Body.String() != publicDoc {
		t.Errorf("got %d %s; want that of the root", got.Code, got.Body)
	}
}

// C2: the document that the operator writes names the resource as the client does.
func TestQueryOfConfiguredDocument(t *testing.T) {
	s := mustNew(t, Config{AuthorizationServers: []string{"https://as.example.com"}, Dials: tcpUpstream.Dials, UpstreamPath: "/mcp"})
	if got := follow(t, s, ownURL+"?a=b"); !strings.HasPrefix(got.Body.String(), `{"resource":"https://mcp.example.com/mcp?a=b",`) {
		t.Errorf("got %s", got.Body)
	}
	pub := public
	pub.Query = "?a=b"
	if got, _ := s.MapChallengeURL("http://10.0.0.5:3000/x", pub, "", nil); got != ownURL+"?a=b" {
		t.Errorf("mapped to %q", got)
	}
}

// C4, G: queries that a client makes up take neither the place of others nor of the
// endpoint's own document, and cause a bounded number of searches.
func TestInventedQueries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := queries()
		s, _ := newStore(t, u, sealed(t, "one"))
		follow(t, s, ownURL)
		follow(t, s, ownURL+"?project=a")
		before := u.count()
		late, _ := s.MapChallengeURL("http://10.0.0.5:3000"+WellKnownPath+"/late", public, "", nil)
		for n := range 10_000 {
			if got := follow(t, s, fmt.Sprintf("%s?n=%d", ownURL, n)); got.Code != 200 && got.Code != 503 {
				t.Fatalf("got %d %s", got.Code, got.Body)
			}
		}
		if asked := u.count() - before; asked > 4*extraSearches {
			t.Errorf("%d requests to the upstream", asked)
		}
		if n := len(s.cache.queries.entries); n > DefaultMaxEntries {
			t.Errorf("%d documents are kept", n)
		}
		if got := follow(t, s, late); !strings.Contains(late, documentParameter) || got.Code != 200 || got.Body.String() != docOf(public.URL(), "late") {
			t.Errorf("a document that a challenge has named, %s: got %d %s", late, got.Code, got.Body)
		}
		before = u.count()
		for _, query := range []string{"", "?project=a"} {
			if got := follow(t, s, ownURL+query); got.Body.String() != docOf(public.URL()+query, "all") {
				t.Errorf("%q: got %d %s", query, got.Code, got.Body)
			}
		}
		if u.count() != before {
			t.Error("a document has lost its place")
		}
		time.Sleep(DefaultTTL)
		if got := follow(t, s, ownURL+"?new"); got.Code != 200 {
			t.Errorf("afterwards: got %d %s", got.Code, got.Body)
		}
	})
}

// F1: a query is in no event and no state.
func TestQueryIsNotTold(t *testing.T) {
	u := &fakeUpstream{answer: func(FetchRequest) FetchResponse { return only(500) }}
	s, l := newStore(t, u, sealed(t, "one"))
	follow(t, s, ownURL+"?api_key=secret")
	mapped, _ := s.MapChallengeURL("http://10.0.0.5:3000/meta?api_key=secret", public, "", nil)
	follow(t, s, mapped)
	if text := fmt.Sprintf("%+v %+v", l.all(), s.States()); strings.Contains(text, "secret") || len(l.all()) == 0 {
		t.Errorf("told %s", text)
	}
}

func TestUsableQuery(t *testing.T) {
	for in, want := range map[string]string{
		"": "", "a=b": "?a=b", "{x}|[y]": "?{x}|[y]", "a b": "", "a\"b": "", "é": "", "a\\b": "", "a\nb": "", "a#b": "", "<a>": "",
		strings.Repeat("a", maxQuery): "?" + strings.Repeat("a", maxQuery), strings.Repeat("a", maxQuery+1): "",
	} {
		if got := UsableQuery(in); got != want {
			t.Errorf("%.40q: got %.40q; want %.40q", in, got, want)
		}
	}
}

// C3, C5: the query is mapped back with the resource.
func TestUpstreamResourceQuery(t *testing.T) {
	s := &Server{resource: "http://10.0.0.5:3000/mcp"}
	for in, want := range map[string]string{
		public.URL() + "?a=b": "http://10.0.0.5:3000/mcp?a=b", public.URL() + "/?a": "http://10.0.0.5:3000/mcp?a", public.URL() + "x?a": "", public.URL() + "?": "",
	} {
		got, ok := s.UpstreamResource(in, public)
		if ok != (want != "") || ok && got != want {
			t.Errorf("%s: got %q, %t; want %q", in, got, ok, want)
		}
	}
}

// Whatever stands in a challenge and in the query of a metadata request: what is mapped is
// the endpoint's, and only what the upstream is known by is asked.
func FuzzNamed(f *testing.F) {
	for _, raw := range []string{"/meta", "http://10.0.0.5:3000/meta?a=b#c", "http://localhost/%2e%2e/x", "http://10.0.0.5:3000//evil.test/x", ownURL + "?document=x"} {
		f.Add(raw, "a=b")
		f.Add("/x", raw)
	}
	f.Add("/"+strings.Repeat("x", maxQuery), "")
	f.Fuzz(func(t *testing.T, raw, query string) {
		u := &fakeUpstream{answers: answers{}}
		s, _ := newStore(t, u, sealed(t, "one"))
		pub := public
		pub.Query = UsableQuery(query)
		mapped, ok := s.MapChallengeURL(raw, pub, "", nil)
		if !ok {
			if mapped != raw {
				t.Errorf("%q became %q without a word", raw, mapped)
			}
			return
		}
		if !strings.HasPrefix(mapped, ownURL) {
			t.Fatalf("%q is mapped to %q", raw, mapped)
		}
		_, q, _ := strings.Cut(mapped, "?")
		// A token may be longer than the query of an MCP URL, but has no other characters.
		for part := range slices.Chunk([]byte(q), maxQuery) {
			if UsableQuery(string(part)) == "" {
				t.Errorf("%q has a query that is none", mapped)
			}
		}
		if len(q) > len(documentParameter)+2*maxNamed {
			t.Errorf("a query of %d bytes for a document at %q", len(q), raw)
		}
		s.lookup(t.Context(), s.asked(public, q))
		for _, req := range u.received() {
			if req.Origin != "" || !strings.HasPrefix(req.Path, "/") {
				t.Errorf("asked %q %q", req.Origin, req.Path)
			}
		}
	})
}
