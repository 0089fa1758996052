package metadata

import (
	"context"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// getServer serves a request for the metadata of the authorization server.
func getServer(t *testing.T, s *Store, method string, pub Public, path string) *httptest.ResponseRecorder {
	t.Helper()
	w := httptest.NewRecorder()
	r := httptest.NewRequest(method, "/", nil).WithContext(t.Context())
	s.ServeServer(w, r, pub, path)
	return w
}

// hasServer is an upstream with a resource and an authorization server.
func hasServer() *fakeUpstream {
	return &fakeUpstream{answers: answers{atPath: resourceOf("UP"), atServer: doc(serverDoc)}}
}

// The requests of one discovery at hasServer.
const askedOnce = 2 + 2 + 4

// Rule C5, C1: GET and HEAD, with what is left of the TTL, with a final slash as
// well as without.
func TestServeServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := hasServer()
		s, _ := bridged(t, u, nil)
		for _, method := range []string{"POST", "PUT", "DELETE", "OPTIONS", "get"} {
			want(t, getServer(t, s, method, public, serverPath), 405, bodyMethod, map[string]string{"Allow": "GET, HEAD", "Cache-Control": "no-store"})
		}
		wantCount(t, u, 0)
		for _, left := range []string{"max-age=300", "max-age=299"} {
			for _, path := range []string{serverPath, serverPath + "/"} {
				want(t, getServer(t, s, "GET", public, path), 200, publicServerDoc, map[string]string{"Cache-Control": left})
				w := getServer(t, s, "HEAD", public, path)
				want(t, w, 200, "", map[string]string{"Cache-Control": left, "Content-Length": strconv.Itoa(len(publicServerDoc))})
			}
			time.Sleep(time.Second)
		}
		want(t, getServer(t, s, "GET", public, serverPath+"//"), 404, bodyNotFound, nil)
		want(t, getServer(t, s, "HEAD", public, openIDPath), 404, "", nil)
		wantCount(t, u, askedOnce)
	})
}

// Rule C1: a client that left, a store that is not to bridge, and one without a
// way to ask, are no reason to say that there is nothing.
func TestServeServerUnavailable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := hasServer()
		defer hangs(u)()
		s, l := bridged(t, u, nil)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		w := httptest.NewRecorder()
		s.ServeServer(w, httptest.NewRequest("GET", "/", nil).WithContext(ctx), public, serverPath)
		want(t, w, 503, later(""), map[string]string{"Retry-After": "2", "Cache-Control": "no-store"})
		if got := l.all(); len(got) != 0 {
			t.Errorf("reported %+v; want nothing", got)
		}
	})
	u := hasServer()
	off, _ := newStore(t, u, nil)
	if off.Server(t.Context(), public) != nil {
		t.Error("a server that is not bridged")
	}
	wantCount(t, u, 0)
	asked := mustNew(t, Config{BridgeServer: true, UpstreamPath: "/mcp"})
	for _, s := range []*Store{off, asked} {
		want(t, getServer(t, s, "GET", public, serverPath), 503, later(""), map[string]string{"Retry-After": "2"})
	}
	if asked.Server(t.Context(), public) != nil {
		t.Error("a server that nobody can ask for")
	}
	w := httptest.NewRecorder()
	off.ServeUnavailable(w, httptest.NewRequest("GET", "/", nil))
	want(t, w, 503, later(""), map[string]string{"Retry-After": "2", "Cache-Control": "no-store"})
}

// Rule C1, C4: documents that hang cost one Timeout; the resource is served
// nonetheless, and after RetryAfter the upstream is asked again.
func TestServerTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := hasServer()
		u.before = func(ctx context.Context, req FetchRequest) {
			if req.Path != WellKnownPath+"/mcp" {
				<-ctx.Done()
			}
		}
		s, l := bridged(t, u, nil)
		start := time.Now()
		want(t, getServer(t, s, "GET", public, serverPath), 503, later("timeout"), map[string]string{"Retry-After": "2"})
		if got := time.Since(start); got != DefaultTimeout {
			t.Errorf("waited %v; want %v", got, DefaultTimeout)
		}
		want(t, get(t, s, "GET", public, "/mcp"), 200, places.Replace(`{"resource":"PUB/mcp","authorization_servers":["PUB"]}`), map[string]string{"Cache-Control": "max-age=2"})
		wantCount(t, u, askedOnce)
		if s.Server(t.Context(), public).Available() {
			t.Error("known")
		}
		time.Sleep(DefaultRetryAfter)
		u.before = nil
		want(t, getServer(t, s, "GET", public, serverPath), 200, publicServerDoc, map[string]string{"Cache-Control": "max-age=300"})
		if got := l.kinds(); !slices.Equal(got, []EventKind{Unavailable, PassedOver}) { // the documents, and the challenge
			t.Errorf("reported %q; want each cause once", got)
		}
	})
}

// Rule C4: while the upstream cannot be asked, its documents and routes stay for
// StaleIfError, and after that nothing is said to be gone.
func TestServerStaleIfError(t *testing.T) {
	down := answers{atPath: only(503), atServer: only(503), atOpenID: only(503)}
	for name, broken := range map[string]answers{
		"all":               down,
		"the documents":     {atPath: resourceOf("UP"), atServer: only(500), atOpenID: only(500)},
		"one of them":       {atPath: resourceOf("UP"), atServer: only(500), atOpenID: doc(serverDoc)},
		"the resource":      {atPath: only(500), atServer: doc(tenantDoc)},
		"redirected":        {atPath: resourceOf("UP"), atServer: redirect(302, "https://evil.test/")},
		"no document":       {atPath: resourceOf("UP"), atServer: doc("[]")},
		"without the other": {atServer: only(500)},
		"gone in part":      {atPath: resourceOf("UP"), atOpenID: only(500)},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				u := hasServer()
				s, _ := bridged(t, u, func(c *Config) { c.StaleIfError = 100 * time.Second })
				want(t, getServer(t, s, "GET", public, serverPath), 200, publicServerDoc, nil)
				u.answers = broken
				time.Sleep(DefaultTTL)
				for range 3 {
					want(t, getServer(t, s, "GET", public, serverPath), 200, publicServerDoc, map[string]string{"Cache-Control": "max-age=30"})
				}
				want(t, getServer(t, s, "GET", public, serverPath+"/mcp"), 404, bodyNotFound, nil)
				srv := s.Server(t.Context(), public)
				if !srv.Available() || srv.Route("/oauth/token") != RouteToken {
					t.Error("the routes are gone")
				}
				if asked := u.count(); asked > 2*askedOnce+2 {
					t.Errorf("%d requests; want one more discovery", asked)
				}
				u.answers = down
				time.Sleep(100*time.Second + 1)
				want(t, getServer(t, s, "GET", public, serverPath), 503, later("server error"), map[string]string{"Retry-After": "2"})
				want(t, getServer(t, s, "GET", public, serverPath+"/zz"), 503, later("server error"), nil)
				if s.Server(t.Context(), public).Available() {
					t.Error("a server is used past its end")
				}
				u.answers = hasServer().answers
				time.Sleep(DefaultRetryAfter)
				want(t, getServer(t, s, "GET", public, serverPath), 200, publicServerDoc, map[string]string{"Cache-Control": "max-age=300"})
			})
		})
	}
}

// Rule C4: documents of a server without a protected resource outlive a failure
// too, for which its absence is no longer vouched.
func TestServerStaleWithoutResource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := &fakeUpstream{answers: answers{atServer: doc(serverDoc)}}
		s, _ := bridged(t, u, nil)
		want(t, getServer(t, s, "GET", public, serverPath), 200, publicServerDoc, map[string]string{"Cache-Control": "max-age=60"})
		want(t, get(t, s, "GET", public, "/mcp"), 404, bodyNotFound, nil)
		defer hangs(u)()
		time.Sleep(DefaultNegativeTTL)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if srv := s.Server(ctx, public); srv.Route("/oauth/token") != RouteToken {
			t.Error("the routes are gone while the upstream is asked")
		}
		want(t, getServer(t, s, "GET", public, serverPath), 200, publicServerDoc, map[string]string{"Cache-Control": "max-age=30"})
		want(t, get(t, s, "GET", public, "/mcp"), 503, later(""), nil)
		u.before = func(context.Context, FetchRequest) { panic("x") }
		time.Sleep(staleHold)
		want(t, getServer(t, s, "GET", public, serverPath), 200, publicServerDoc, map[string]string{"Cache-Control": "max-age=30"})
	})
}

// Rule C4: what was found anew takes the place of the old, whatever it lacks;
// a document that could never be had is no reason to keep an old one.
func TestServerRefresh(t *testing.T) {
	second := places.Replace(`{"issuer":"UP","token_endpoint":"UP/second"}`)
	publicSecond := places.Replace(`{"issuer":"PUB","token_endpoint":"PUB/second"}`)
	synctest.Test(t, func(t *testing.T) {
		u := hasServer()
		u.answers[atOpenID+"/mcp"] = only(500) // for ever
		s, l := bridged(t, u, nil)
		want(t, getServer(t, s, "GET", public, serverPath), 200, publicServerDoc, map[string]string{"Cache-Control": "max-age=30"})
		want(t, getServer(t, s, "GET", public, openIDPath+"/mcp"), 503, later("server error"), nil)
		wantCount(t, u, askedOnce)
		u.answers[atServer] = doc(second)
		time.Sleep(staleHold - 1)
		want(t, getServer(t, s, "GET", public, serverPath), 200, publicServerDoc, nil)
		time.Sleep(time.Nanosecond)
		want(t, getServer(t, s, "GET", public, serverPath), 200, publicSecond, nil)
		srv := s.Server(t.Context(), public)
		if srv.Route("/oauth/token") != RouteNone || srv.Route("/second") != RouteToken {
			t.Error("the old routes stayed")
		}
		wantCount(t, u, 2*askedOnce)
		delete(u.answers, atOpenID+"/mcp")
		delete(u.answers, atServer)
		time.Sleep(staleHold)
		want(t, getServer(t, s, "GET", public, serverPath), 404, bodyNotFound, nil)
		if got := l.kinds(); len(got) != 1 {
			t.Errorf("reported %q; want one cause once", got)
		}
	})
}

// Rule F1: as long as documents cannot be had that is told once, though the
// resource can; and once more after it was over.
func TestServerFailureIsToldOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := hasServer()
		s, l := bridged(t, u, nil)
		for n := range 4 {
			u.answers[atServer] = only(500)
			for range 5 {
				s.Known(t.Context(), public)
				time.Sleep(DefaultTTL)
			}
			if got := len(l.all()); got != n+1 {
				t.Fatalf("reported %d times; want %d", got, n+1)
			}
			u.answers[atServer] = doc(serverDoc)
			s.Known(t.Context(), public)
			time.Sleep(DefaultTTL)
		}
	})
}

// Rule C1: a server that comes up after its resource is asked for every
// RetryAfter until it is there.
func TestServerComesUpLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := hasServer()
		u.answers[atServer] = only(502)
		s, _ := bridged(t, u, nil)
		for n := range 5 {
			want(t, getServer(t, s, "GET", public, serverPath), 502, later("server error"), map[string]string{"Retry-After": ""})
			wantCount(t, u, (n+1)*askedOnce)
			time.Sleep(DefaultRetryAfter)
		}
		u.answers[atServer] = doc(serverDoc)
		want(t, getServer(t, s, "GET", public, serverPath), 200, publicServerDoc, map[string]string{"Cache-Control": "max-age=300"})
	})
}

// Rule C4, C6: only what belongs to configured hosts is cached; each gets its own
// documents.
func TestServerHosts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := hasServer()
		s, _ := bridged(t, u, nil)
		if s.ServerNow(public) != nil {
			t.Error("a server before anything was asked")
		}
		wantCount(t, u, 0)
		asked := 0
		for range 2 {
			for n := range 3 {
				body := strings.ReplaceAll(publicServerDoc, public.Origin, host(n).Origin)
				want(t, getServer(t, s, "GET", host(n), serverPath), 200, body, nil)
				want(t, getServer(t, s, "GET", anyHost(n), serverPath), 200, body, nil)
				if srv := s.Server(t.Context(), anyHost(n)); srv.Public() != host(n).Origin {
					t.Errorf("public origin %q", srv.Public())
				}
				asked += 2
			}
		}
		if s.ServerNow(host(1)) != s.Server(t.Context(), host(1)) || s.ServerNow(anyHost(1)) != nil {
			t.Error("not the cached server, or one that is not cached")
		}
		wantCount(t, u, (3+asked)*askedOnce)
		if len(s.cache.entries) != 3 || len(s.cache.flights) != 0 || s.cache.unfixed != 0 {
			t.Errorf("%d entries, %d flights, %d of them for URLs that are not fixed; want the fixed ones", len(s.cache.entries), len(s.cache.flights), s.cache.unfixed)
		}
	})
}

// Rule C4: any number of requests for resource, documents and routes wait for
// one discovery.
func TestServerSingleFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := hasServer()
		release := hangs(u)
		s, _ := bridged(t, u, nil)
		var wg sync.WaitGroup
		for range 30 {
			wg.Go(func() { want(t, getServer(t, s, "GET", public, serverPath), 200, publicServerDoc, nil) })
			wg.Go(func() { s.Known(t.Context(), public) })
			wg.Go(func() {
				srv := s.Server(t.Context(), public)
				if to, ok := srv.UpstreamResource(public.URL(), public); !ok || to != "http://10.0.0.5:3000/mcp" || srv.Route("/oauth/authorize") != RouteAuthorize {
					t.Errorf("resource %q, %v", to, ok)
				}
			})
		}
		synctest.Wait()
		wantCount(t, u, 1) // the resource comes first
		release()
		wg.Wait()
		wantCount(t, u, askedOnce)
	})
}

// Rules C4, D7: Close ends the fetches of documents that nobody waits for; the
// requests that do are answered.
func TestServerClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := hasServer()
		s, l := bridged(t, u, nil)
		release := hangs(u)
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			if s.Server(ctx, host(1)) != nil {
				t.Error("known to a request that has left")
			}
		})
		wg.Go(func() {
			want(t, getServer(t, s, "GET", public, serverPath), 200, publicServerDoc, nil)
		})
		s.Warm(host(2))
		synctest.Wait()
		s.Close()
		cancel()
		synctest.Wait()
		s.cache.mu.Lock()
		if len(s.cache.flights) != 1 {
			t.Errorf("%d discoveries; want 1", len(s.cache.flights))
		}
		s.cache.mu.Unlock()
		release()
		wg.Wait()
		if got := l.all(); len(got) != 0 {
			t.Errorf("reported %+v; want nothing", got)
		}
	})
}
