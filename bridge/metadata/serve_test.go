package metadata

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// get serves a request for suffix.
func get(t *testing.T, s *Store, method string, pub Public, suffix string) *httptest.ResponseRecorder {
	t.Helper()
	w := httptest.NewRecorder()
	r := httptest.NewRequest(method, "/", nil).WithContext(t.Context())
	s.Serve(w, r, pub, suffix)
	return w
}

// want fails the test unless w has the status, body and fields.
func want(t *testing.T, w *httptest.ResponseRecorder, status int, body string, fields map[string]string) {
	t.Helper()
	if w.Code != status || w.Body.String() != body {
		t.Errorf("got %d\n%s\nwant %d\n%s", w.Code, w.Body, status, body)
	}
	for name, value := range fields {
		if got := strings.Join(w.Header()[name], "|"); got != value {
			t.Errorf("%s: %q; want %q", name, got, value)
		}
	}
	if got := w.Header().Get("Content-Type"); got != "application/json" {
		t.Errorf("Content-Type: %q; want application/json", got)
	}
	if got := w.Header().Get("X-Content-Type-Options"); got != "nosniff" {
		t.Errorf("X-Content-Type-Options: %q; want nosniff", got)
	}
}

// later is the body of an answer that asks to come back, and unfitBody of one that does not.
func later(reason string) string {
	return failure("temporarily_unavailable", "The server behind cannot be asked right now", reason, " Try again later.")
}

func unfitBody(reason string) string {
	return failure("not_found", "What the server behind has as metadata cannot be used", reason, " The log of the bridge and `caddy mcp status` say more.")
}

// C1, C2: 200 with what is left of the TTL, a JSON 404 where there is none or waiting
// changes nothing, 503 and never 404 where that could not be found out, each with the
// cause.
func TestServe(t *testing.T) {
	for _, tc := range []struct {
		name    string
		answers answers
		fail    map[string]error
		status  int
		body    string
		fields  map[string]string
	}{
		{"document", answers{atPath: doc(upstreamDoc)}, nil, 200, publicDoc, map[string]string{"Cache-Control": "max-age=300"}},
		{"none", nil, nil, 404, bodyNotFound, map[string]string{"Cache-Control": "no-store", "Retry-After": ""}},
		{"a page", answers{atPath: page, atRoot: page}, nil, 404, unfitBody("is not JSON"), map[string]string{"Cache-Control": "no-store"}},
		{"a page of an open server", answers{atMCP: only(200), atPath: page, atRoot: page}, nil, 404, bodyNotFound, map[string]string{"Cache-Control": "no-store"}},
		{"server error", answers{atPath: only(500)}, nil, 503, later("server error"), map[string]string{"Cache-Control": "no-store", "Retry-After": "2"}},
		{"error of the server", answers{atMCP: only(500)}, nil, 503, later("server error"), map[string]string{"Cache-Control": "no-store", "Retry-After": "2"}},
		{"bad gateway", answers{atPath: only(502)}, nil, 502, later("server error"), map[string]string{"Cache-Control": "no-store", "Retry-After": ""}},
		{"bad gateway everywhere", answers{atMCP: only(502), atPath: only(502), atRoot: only(502)}, nil, 502, later("server error"), map[string]string{"Cache-Control": "no-store", "Retry-After": ""}},
		{"bad gateway and no connection", answers{atPath: only(502)}, map[string]error{atRoot: errors.New("refused")}, 503, later("server error"), map[string]string{"Retry-After": "2"}},
		{"open, and 500 elsewhere", answers{atMCP: only(200), atPath: only(500), atRoot: only(500)}, nil, 404, bodyNotFound, map[string]string{"Cache-Control": "no-store", "Retry-After": ""}},
		{"open, and no answer elsewhere", answers{atMCP: only(400), atPath: only(429)}, map[string]error{atRoot: errors.New("refused")}, 404, bodyNotFound, map[string]string{"Retry-After": ""}},
		{"refuses without a challenge, and 500 elsewhere", answers{atMCP: only(403), atPath: only(500)}, nil, 503, later("server error"), map[string]string{"Retry-After": "2"}},
		{"asked to wait", answers{atRoot: only(429)}, nil, 429, later("asked to come back later"), map[string]string{"Cache-Control": "no-store", "Retry-After": "2"}},
		{"no connection", nil, map[string]error{atPath: errors.New("refused")}, 503, later("no response"), map[string]string{"Cache-Control": "no-store", "Retry-After": "2"}},
		{"redirect elsewhere", answers{atPath: redirect(302, "https://evil.test")}, nil, 404, unfitBody("redirect to elsewhere"), map[string]string{"Cache-Control": "no-store", "Retry-After": ""}},
		{"invalid", answers{atPath: doc(`{"resource":1}`)}, nil, 404, unfitBody("has a resource that is not a string"), map[string]string{"Cache-Control": "no-store", "Retry-After": ""}},
		{"foreign resource", answers{atPath: doc(`{"resource":"https://evil.test/mcp"}`)}, nil, 200, `{"resource":"https://evil.test/mcp"}`, map[string]string{"Cache-Control": "max-age=300"}},
	} {
		for _, pub := range []Public{public, {Origin: public.Origin, Path: public.Path}} {
			t.Run(tc.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s, _ := newStore(t, &fakeUpstream{answers: tc.answers, fail: tc.fail}, nil)
					want(t, get(t, s, "GET", pub, "/mcp"), tc.status, tc.body, tc.fields)
					head := get(t, s, "HEAD", pub, "/mcp")
					want(t, head, tc.status, "", tc.fields)
					if got, length := head.Header().Get("Content-Length"), len(tc.body); got != strconv.Itoa(length) {
						t.Errorf("Content-Length of HEAD: %q; want %d", got, length)
					}
				})
			})
		}
	}
}

// C1: no method but GET and HEAD.
func TestMethods(t *testing.T) {
	u := has()
	s, _ := newStore(t, u, nil)
	for _, method := range []string{"POST", "PUT", "DELETE", "OPTIONS", "PATCH", "get", "X"} {
		want(t, get(t, s, method, public, "/mcp"), 405, bodyMethod, map[string]string{"Allow": "GET, HEAD", "Cache-Control": "no-store"})
	}
	wantCount(t, u, 0)
}

// C3: resource is the public origin and the suffix as written; both slash forms
// are served, and the root form names the endpoint.
func TestSuffix(t *testing.T) {
	const origin = "https://mcp.example.com"
	for _, tc := range []struct {
		path, suffix, want string // "" for 404
	}{
		{"/mcp", "/mcp", origin + "/mcp"},
		{"/mcp", "/mcp/", origin + "/mcp/"},
		{"/mcp", "", origin + "/mcp"},
		{"/mcp", "/", origin + "/mcp"},
		{"/mcp", "/%6Dcp", origin + "/%6Dcp"},
		{"/mcp", "/%6dcp/", origin + "/%6dcp/"},
		{"/a%20b", "/a%20b", origin + "/a%20b"},
		{"/a/b", "/a%2Fb", origin + "/a%2Fb"},
		{"/", "", origin},
		{"/", "/", origin},
		{"/mcp", "/other", ""},
		{"/mcp", "/mcp//", ""},
		{"/mcp", "//mcp", ""},
		{"/mcp", "/mcp/x", ""},
		{"/mcp", "/mc", ""},
		{"/mcp", "/MCP", ""},
		{"/mcp", "mcp", ""},
		{"/mcp", "%2Fmcp", ""},
		{"/mcp", "/mcp%2F", ""},
		{"/mcp", "/mcp%zz", ""},
		{"/mcp", "/%zz", ""},
		{"/mcp", ".evil.test/mcp", ""},
		{"/mcp", "@evil.test/mcp", ""},
		{"/", "//", ""},
		{"/", "%2F", ""},
		{"/", "/x", ""},
		{"/%zz", "/x", ""},
	} {
		t.Run(tc.path+" "+tc.suffix, func(t *testing.T) {
			s := mustNew(t, Config{AuthorizationServers: []string{"https://as.example.com"}})
			w := get(t, s, "GET", Public{Origin: origin, Path: tc.path}, tc.suffix)
			if tc.want == "" {
				want(t, w, 404, bodyNotFound, nil)
				return
			}
			want(t, w, 200, `{"resource":"`+tc.want+`","authorization_servers":["https://as.example.com"],"bearer_methods_supported":["header"]}`, nil)
		})
	}
}

// C1: max-age is what is left of the TTL; a stale document is not kept longer
// than until the upstream is asked again.
func TestMaxAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := has()
		s, _ := newStore(t, u, nil)
		age := func(pub Public, want string) {
			t.Helper()
			w := get(t, s, "GET", pub, "/mcp")
			if got := w.Header().Get("Cache-Control"); w.Code != 200 || got != "max-age="+want {
				t.Errorf("got %d with %q; want 200 with max-age=%s", w.Code, got, want)
			}
		}
		age(public, "300")
		time.Sleep(1500 * time.Millisecond)
		age(public, "298")
		time.Sleep(298 * time.Second)
		age(public, "0")
		u.answers = answers{atPath: only(500)}
		time.Sleep(time.Second)
		age(public, "30")
		time.Sleep(29 * time.Second)
		age(public, "1")
		time.Sleep(time.Second)
		defer hangs(u)()
		age(public, "30") // after the timeout
		time.Sleep(staleHold)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		w := httptest.NewRecorder()
		s.Serve(w, httptest.NewRequest("GET", "/", nil).WithContext(ctx), public, "/mcp")
		want(t, w, 200, publicDoc, map[string]string{"Cache-Control": "max-age=0"})
	})
}

// C1: of a configured document the TTL is always left.
func TestMaxAgeConfigured(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := mustNew(t, Config{AuthorizationServers: []string{"https://as.example.com"}, TTL: 90 * time.Second})
		for range 2 {
			w := get(t, s, "GET", public, "/mcp")
			if got := w.Header().Get("Cache-Control"); got != "max-age=90" {
				t.Errorf("Cache-Control: %q; want max-age=90", got)
			}
			time.Sleep(time.Hour)
		}
	})
}

// C1: Retry-After is whole seconds, and never less than what it stands for.
func TestRetryAfterField(t *testing.T) {
	for wait, field := range map[time.Duration]string{
		time.Nanosecond:         "1",
		time.Second:             "1",
		1500 * time.Millisecond: "2",
		time.Minute:             "60",
	} {
		s, _ := newStore(t, &fakeUpstream{answers: answers{atPath: only(500)}}, func(c *Config) { c.RetryAfter = wait })
		want(t, get(t, s, "GET", public, "/mcp"), 503, later("server error"), map[string]string{"Retry-After": field})
	}
}

// C4: concurrent requests share one discovery; each gets the resource as its
// own URL was written.
func TestServeConcurrently(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := has()
		release := hangs(u)
		s, _ := newStore(t, u, nil)
		var wg sync.WaitGroup
		for n := range 100 {
			suffix := []string{"/mcp", "/mcp/", ""}[n%3]
			resource := public.Origin + []string{"/mcp", "/mcp/", "/mcp"}[n%3]
			wg.Go(func() {
				want(t, get(t, s, "GET", public, suffix), 200, strings.Replace(publicDoc, public.URL(), resource, 1), nil)
			})
		}
		synctest.Wait()
		release()
		wg.Wait()
		wantCount(t, u, 2)
	})
}

// C1: a client that left is no failure of the upstream.
func TestServeClientLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := has()
		defer hangs(u)()
		s, l := newStore(t, u, nil)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		w := httptest.NewRecorder()
		s.Serve(w, httptest.NewRequest(http.MethodGet, "/", nil).WithContext(ctx), public, "/mcp")
		want(t, w, 503, later(""), map[string]string{"Retry-After": "2", "Cache-Control": "no-store"})
		if got := l.all(); len(got) != 0 {
			t.Errorf("reported %+v; want nothing", got)
		}
	})
}

// C1, C6: a document belongs to the public URL that it was found for.
func TestServeHosts(t *testing.T) {
	s, _ := newStore(t, has(), nil)
	for n := range 3 {
		for _, pub := range []Public{host(n), anyHost(n)} {
			want(t, get(t, s, "GET", pub, "/mcp"), 200, strings.Replace(publicDoc, public.Origin, pub.Origin, 1), nil)
		}
	}
}
