package metadata

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// newStore returns a store of tcpUpstream that is answered by u. In a bubble of
// synctest it must be closed before the bubble ends, which mustNew sees to.
func newStore(t *testing.T, u *fakeUpstream, set func(*Config)) (*Store, *log) {
	t.Helper()
	l := &log{}
	cfg := tcpUpstream
	cfg.Fetch, cfg.Log, cfg.ChallengeMetadata = u.fetch, l.add, challengeMetadata
	if set != nil {
		set(&cfg)
	}
	return mustNew(t, cfg), l
}

// has is an upstream with a document.
func has() *fakeUpstream { return &fakeUpstream{answers: answers{atPath: doc(upstreamDoc)}} }

// hangs makes every request of u wait until the returned function is called, or
// the discovery ends.
func hangs(u *fakeUpstream) (release func()) {
	released := make(chan struct{})
	u.before = func(ctx context.Context, _ FetchRequest) {
		select {
		case <-released:
		case <-ctx.Done():
		}
	}
	return sync.OnceFunc(func() { close(released) })
}

func host(n int) Public {
	return Public{Origin: fmt.Sprintf("https://h%d.example.com", n), Path: "/mcp", Fixed: true}
}

func anyHost(n int) Public {
	p := host(n)
	p.Fixed = false
	return p
}

func wantCount(t *testing.T, u *fakeUpstream, want int) {
	t.Helper()
	if got := u.count(); got != want {
		t.Errorf("%d requests so far; want %d", got, want)
	}
}

// C4: a document is used for its TTL, and no longer.
func TestADocumentIsUsedForItsTTL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := has()
		s, _ := newStore(t, u, nil)
		if s.KnownNow(public) {
			t.Error("known before anything was asked")
		}
		for range 3 {
			if !s.Known(t.Context(), public) {
				t.Error("not known")
			}
		}
		wantCount(t, u, 2)
		time.Sleep(DefaultTTL - time.Nanosecond)
		s.Known(t.Context(), public)
		wantCount(t, u, 2)
		time.Sleep(time.Nanosecond)
		if !s.KnownNow(public) {
			t.Error("a stale document is not known")
		}
		s.Known(t.Context(), public)
		wantCount(t, u, 4)
	})
}

// C2: if the upstream has no document, it is not asked again for NegativeTTL.
func TestAMissingDocumentIsRememberedForNegativeTTL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := &fakeUpstream{}
		s, _ := newStore(t, u, func(c *Config) { c.NegativeTTL = 7 * time.Second })
		for range 2 {
			if s.Known(t.Context(), public) {
				t.Error("known")
			}
		}
		wantCount(t, u, 3)
		if st := s.State(public); !st.Absent || st.Known || st.Expires != time.Now().Add(7*time.Second) {
			t.Errorf("state %+v; want absent for 7 s", st)
		}
		time.Sleep(7 * time.Second)
		s.Known(t.Context(), public)
		wantCount(t, u, 6)
	})
}

// C1: a failure is not repeated for RetryAfter.
func TestAFailureIsNotRepeatedForRetryAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := &fakeUpstream{answers: answers{atPath: only(500)}}
		s, l := newStore(t, u, nil)
		for range 3 {
			s.Known(t.Context(), public)
		}
		wantCount(t, u, 3)
		if st := s.State(public); st.Known || st.Absent || st.LastError != "server error" || st.LastErrorAt != time.Now() {
			t.Errorf("state %+v; want a server error now", st)
		}
		time.Sleep(DefaultRetryAfter)
		s.Known(t.Context(), public)
		wantCount(t, u, 6)
		if got := l.kinds(); len(got) != 1 {
			t.Errorf("reported %q; want one cause once", got)
		}
	})
}

// C4: while the upstream is unavailable its last document is used, for StaleIfError. Requests
// do not wait for the upstream again.
func TestTheLastDocumentIsUsedWhileTheUpstreamFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := has()
		s, l := newStore(t, u, func(c *Config) { c.StaleIfError = 100 * time.Second })
		s.Known(t.Context(), public)
		found := s.State(public)
		u.answers = answers{atPath: only(503)}
		time.Sleep(DefaultTTL)
		if !s.Known(t.Context(), public) {
			t.Error("the stale document is not used")
		}
		wantCount(t, u, 5)
		st := s.State(public)
		if !st.Known || st.Source != SourcePath || st.Age != DefaultTTL || st.LastError != "server error" || found.LastError != "" {
			t.Errorf("state %+v; want the stale document and the error", st)
		}
		if want := time.Now().Add(staleHold); st.Expires != want {
			t.Errorf("asked again at %v; want %v", st.Expires, want)
		}
		time.Sleep(staleHold - 1)
		s.Known(t.Context(), public)
		wantCount(t, u, 5)
		for n := range 2 {
			time.Sleep(staleHold)
			if !s.Known(t.Context(), public) {
				t.Errorf("after %v the stale document is not used", (time.Duration(n)+2)*staleHold)
			}
		}
		wantCount(t, u, 11)
		// The last hold would end after StaleIfError does.
		time.Sleep(10*time.Second + 1)
		if s.KnownNow(public) || s.Known(t.Context(), public) {
			t.Error("the stale document is used past its end")
		}
		if st := s.State(public); st.Known || st.Source != "" {
			t.Errorf("state %+v; want nothing known", st)
		}
		u.answers = answers{atPath: doc(upstreamDoc)}
		time.Sleep(DefaultRetryAfter)
		if !s.Known(t.Context(), public) {
			t.Error("not known after the upstream came back")
		}
		if got := l.kinds(); !slices.Equal(got, []EventKind{Unavailable}) {
			t.Errorf("reported %q; want one cause once", got)
		}
	})
}

// C4: no stale document is used if the operator has switched that off, or if the upstream
// definitely has no document any more.
func TestNoStaleDocumentIsUsedIfThereIsDefinitelyNone(t *testing.T) {
	for _, tc := range []struct {
		name   string
		stale  time.Duration
		answer FetchResponse
	}{
		{"turned off", -1, only(503)},
		{"definitely gone", 0, only(404)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				u := has()
				s, _ := newStore(t, u, func(c *Config) { c.StaleIfError = tc.stale })
				s.Known(t.Context(), public)
				u.answers = answers{atPath: tc.answer}
				time.Sleep(DefaultTTL)
				if s.Known(t.Context(), public) || s.KnownNow(public) {
					t.Error("the old document is used")
				}
			})
		})
	}
}

// C2: traffic may begin a discovery early. It is no source of metadata.
func TestTrafficBeginsADiscoveryEarly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := has()
		s, _ := newStore(t, u, nil)
		s.Warm(anyHost(1))
		s.Warm(public)
		s.Warm(public)
		synctest.Wait()
		if !s.KnownNow(public) || s.KnownNow(anyHost(1)) {
			t.Error("not known, or a host that is not fixed was asked for")
		}
		s.Warm(public)
		synctest.Wait()
		wantCount(t, u, 2)
		time.Sleep(DefaultTTL)
		s.Warm(public)
		synctest.Wait()
		wantCount(t, u, 4)
	})
}

// C4: only documents of configured hosts are cached.
func TestOnlyConfiguredHostsAreCached(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := has()
		s, _ := newStore(t, u, nil)
		for n := range 3 {
			if !s.Known(t.Context(), anyHost(1)) || s.KnownNow(anyHost(1)) {
				t.Error("not known, or cached")
			}
			wantCount(t, u, 2*(n+1))
		}
		if len(s.cache.entries) != 0 || len(s.cache.flights) != 0 || s.cache.unfixed != 0 {
			t.Errorf("%d entries, %d flights, %d of them for URLs that are not fixed; want none", len(s.cache.entries), len(s.cache.flights), s.cache.unfixed)
		}
		if got := s.State(anyHost(1)); got != (State{}) {
			t.Errorf("state %+v; want none", got)
		}
		// The same host fixed is another thing: a request must not fill its cache.
		if s.KnownNow(host(1)) {
			t.Error("a request that named a host made it known")
		}
	})
}

// C2: if the operator has configured all metadata, the upstream is not asked.
func TestConfiguredMetadataNeedsNoUpstream(t *testing.T) {
	u := has()
	s, _ := newStore(t, u, func(c *Config) { c.AuthorizationServers = []string{"https://as.example.com"} })
	s.Warm(public)
	if !s.KnownNow(anyHost(1)) || !s.Known(t.Context(), public) || !s.Configured() {
		t.Error("a configured document is not known")
	}
	if got, want := s.State(public), (State{Known: true, Source: SourceConfigured}); got != want {
		t.Errorf("state %+v; want %+v", got, want)
	}
	s.Close()
	if !s.Known(t.Context(), public) {
		t.Error("a configured document is not known after Close")
	}
	wantCount(t, u, 0)
}

// C2: without Fetch there is definitely no document.
func TestWithoutFetchThereIsNoDocument(t *testing.T) {
	s := mustNew(t, tcpUpstream)
	s.Warm(public)
	if s.Known(t.Context(), public) || s.KnownNow(public) || s.Configured() {
		t.Error("known")
	}
	if got := s.State(public); got != (State{}) {
		t.Errorf("state %+v; want none", got)
	}
}

// C4: after the upstream has refused a token, the next request for metadata begins one new
// discovery. If that fails it is not repeated at once, and the old document is kept.
func TestARefusedTokenLeadsToOneNewDiscovery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := has()
		s, _ := newStore(t, u, nil)
		s.Refetch(public) // of nothing
		serve := func() string {
			w := httptest.NewRecorder()
			s.Serve(w, httptest.NewRequest(http.MethodGet, "/", nil), public, "/mcp")
			return w.Body.String()
		}
		before := serve()
		wantCount(t, u, 2)
		u.answers = answers{atPath: doc(strings.Replace(upstreamDoc, "as.", "other.", 1))}
		if serve() != before {
			t.Error("asked again without Refetch")
		}
		s.Refetch(public)
		s.Refetch(public)
		if !s.Known(t.Context(), public) {
			t.Error("not known")
		}
		wantCount(t, u, 2) // a challenge does not wait for it
		after := serve()
		if after == before || !strings.Contains(after, "other.") {
			t.Errorf("got %s", after)
		}
		serve()
		wantCount(t, u, 4)

		u.answers = answers{atPath: {Status: http.StatusBadGateway}, atRoot: {Status: http.StatusBadGateway}}
		s.Refetch(public)
		if serve() != after {
			t.Error("forgot what there was")
		}
		failed := u.count()
		s.Refetch(public)
		if serve() != after {
			t.Error("forgot what there was")
		}
		wantCount(t, u, failed)
	})
}
