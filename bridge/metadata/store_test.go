package metadata

import (
	"context"
	"encoding/json"
	"errors"
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
func newStore(t *testing.T, u *upstream, set func(*Config)) (*Store, *log) {
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
func has() *upstream { return &upstream{answers: answers{atPath: doc(upstreamDoc)}} }

// hangs makes every request of u wait until the returned function is called, or
// the discovery ends.
func hangs(u *upstream) (release func()) {
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

func loose(n int) Public {
	p := host(n)
	p.Fixed = false
	return p
}

func wantCount(t *testing.T, u *upstream, want int) {
	t.Helper()
	if got := u.count(); got != want {
		t.Errorf("%d requests so far; want %d", got, want)
	}
}

// C4: what was found is used for its TTL, and no longer.
func TestTTL(t *testing.T) {
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
		wantCount(t, u, 1)
		time.Sleep(DefaultTTL - time.Nanosecond)
		s.Known(t.Context(), public)
		wantCount(t, u, 1)
		time.Sleep(time.Nanosecond)
		if !s.KnownNow(public) {
			t.Error("a stale document is not known")
		}
		s.Known(t.Context(), public)
		wantCount(t, u, 2)
	})
}

// C2: that the upstream has none is believed for NegativeTTL.
func TestNegativeTTL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := &upstream{}
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
func TestRetryAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := &upstream{answers: answers{atPath: only(500)}}
		s, l := newStore(t, u, nil)
		for range 3 {
			s.Known(t.Context(), public)
		}
		wantCount(t, u, 1)
		if st := s.State(public); st.Known || st.Absent || st.LastError != "server error" || st.LastErrorAt != time.Now() {
			t.Errorf("state %+v; want a server error now", st)
		}
		time.Sleep(DefaultRetryAfter)
		s.Known(t.Context(), public)
		wantCount(t, u, 2)
		if got := l.kinds(); len(got) != 1 {
			t.Errorf("reported %q; want one cause once", got)
		}
	})
}

// C4: while the upstream cannot be asked its last document is used, for
// StaleIfError; and each request does not wait for it again.
func TestStaleIfError(t *testing.T) {
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
		wantCount(t, u, 2)
		st := s.State(public)
		if !st.Known || st.Source != SourcePath || st.Age != DefaultTTL || st.LastError != "server error" || found.LastError != "" {
			t.Errorf("state %+v; want the stale document and the error", st)
		}
		if want := time.Now().Add(staleHold); st.Expires != want {
			t.Errorf("asked again at %v; want %v", st.Expires, want)
		}
		time.Sleep(staleHold - 1)
		s.Known(t.Context(), public)
		wantCount(t, u, 2)
		for n := range 2 {
			time.Sleep(staleHold)
			if !s.Known(t.Context(), public) {
				t.Errorf("after %v the stale document is not used", (time.Duration(n)+2)*staleHold)
			}
		}
		wantCount(t, u, 4)
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

// C4: no stale document where the operator wants none, and none once the
// upstream definitely has none.
func TestNotStale(t *testing.T) {
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

// C4: any number of requests wait for one discovery.
func TestSingleFlight(t *testing.T) {
	for _, pub := range []Public{public, loose(1)} {
		t.Run(fmt.Sprintf("fixed %v", pub.Fixed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				u := has()
				release := hangs(u)
				s, _ := newStore(t, u, nil)
				var wg sync.WaitGroup
				for range 100 {
					wg.Go(func() {
						if !s.Known(t.Context(), pub) {
							t.Error("not known")
						}
					})
				}
				synctest.Wait()
				wantCount(t, u, 1)
				release()
				wg.Wait()
				wantCount(t, u, 1)
			})
		})
	}
}

// C2: who waits gives up when its request ends; the discovery goes on for the
// others.
func TestWaiterLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := has()
		release := hangs(u)
		s, _ := newStore(t, u, nil)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		if s.Known(ctx, public) || time.Since(start) != time.Second {
			t.Errorf("known, or waited %v; want 1s", time.Since(start))
		}
		release()
		synctest.Wait()
		if !s.KnownNow(public) {
			t.Error("not known after the discovery")
		}
		wantCount(t, u, 1)
	})
}

// C4: one discovery with all its requests takes no longer than Timeout; a
// waiter gets the stale document as soon as its own time is over.
func TestTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := has()
		s, l := newStore(t, u, nil)
		s.Known(t.Context(), public)
		time.Sleep(DefaultTTL)
		release := hangs(u)
		defer release()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		if !s.Known(ctx, public) || time.Since(start) != time.Second {
			t.Errorf("not known, or waited %v; want 1s", time.Since(start))
		}
		if !s.Known(t.Context(), public) || time.Since(start) != DefaultTimeout {
			t.Errorf("not known, or waited %v; want %v", time.Since(start), DefaultTimeout)
		}
		if s.Known(t.Context(), host(1)) || time.Since(start) != 2*DefaultTimeout {
			t.Errorf("known, or waited %v; want %v", time.Since(start), 2*DefaultTimeout)
		}
		want := []Event{
			{Kind: Unavailable, Endpoint: public.URL(), Source: "/.well-known/oauth-protected-resource/mcp", Reason: "timeout"},
			{Kind: Unavailable, Endpoint: host(1).URL(), Source: "/.well-known/oauth-protected-resource/mcp", Reason: "timeout"},
		}
		if got := l.all(); !slices.Equal(got, want) {
			t.Errorf("reported\n%+v\nwant\n%+v", got, want)
		}
	})
}

// C2: nothing is learned from traffic, but it may begin a discovery early.
func TestWarm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := has()
		s, _ := newStore(t, u, nil)
		s.Warm(loose(1))
		s.Warm(public)
		s.Warm(public)
		synctest.Wait()
		if !s.KnownNow(public) || s.KnownNow(loose(1)) {
			t.Error("not known, or a host that is not fixed was asked for")
		}
		s.Warm(public)
		synctest.Wait()
		wantCount(t, u, 1)
		time.Sleep(DefaultTTL)
		s.Warm(public)
		synctest.Wait()
		wantCount(t, u, 2)
	})
}

// C4: only what belongs to configured hosts is cached.
func TestLooseHostsAreNotCached(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := has()
		s, _ := newStore(t, u, nil)
		for n := range 3 {
			if !s.Known(t.Context(), loose(1)) || s.KnownNow(loose(1)) {
				t.Error("not known, or cached")
			}
			wantCount(t, u, n+1)
		}
		if len(s.entries) != 0 || len(s.flights) != 0 || s.loose != 0 {
			t.Errorf("%d entries, %d flights, %d of them loose; want none", len(s.entries), len(s.flights), s.loose)
		}
		if got := s.State(loose(1)); got != (State{}) {
			t.Errorf("state %+v; want none", got)
		}
		// The same host fixed is another thing: a request must not fill its cache.
		if s.KnownNow(host(1)) {
			t.Error("a request that named a host made it known")
		}
	})
}

// C4: the cache is bounded, and the oldest gives way.
func TestMaxEntries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := has()
		s, _ := newStore(t, u, func(c *Config) { c.MaxEntries = 2 })
		for n := range 3 {
			s.Known(t.Context(), host(n))
			time.Sleep(time.Second)
		}
		if len(s.entries) != 2 {
			t.Errorf("%d entries; want 2", len(s.entries))
		}
		for n, want := range []bool{false, true, true} {
			if got := s.KnownNow(host(n)); got != want {
				t.Errorf("host %d is known: %v; want %v", n, got, want)
			}
		}
		time.Sleep(DefaultTTL)
		s.Known(t.Context(), host(2))
		if got := s.KnownNow(host(1)); !got {
			t.Error("a refresh of one entry removed another")
		}
	})
}

// G: discoveries at one time are bounded, those for hosts that a request names
// apart from the others. What is too much is told once.
func TestMaxFlights(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := has()
		release := hangs(u)
		s, l := newStore(t, u, func(c *Config) { c.MaxFlights, c.MaxEntries = 3, 2 })
		var wg sync.WaitGroup
		for n := range 3 {
			wg.Go(func() { s.Known(t.Context(), loose(n)) })
		}
		for n := range 2 {
			wg.Go(func() { s.Known(t.Context(), host(n)) })
		}
		synctest.Wait()
		wantCount(t, u, 5)
		for n := range 50 {
			if s.Known(t.Context(), loose(100+n)) {
				t.Error("known beyond the bound")
			}
		}
		wantCount(t, u, 5)
		if got := l.kinds(); !slices.Equal(got, []EventKind{Busy}) {
			t.Errorf("reported %q; want one %q", got, Busy)
		}
		if s.Known(t.Context(), host(2)) {
			t.Error("known beyond the bound of fixed hosts")
		}
		s.Warm(host(3))
		wantCount(t, u, 5)
		release()
		wg.Wait()
		if !s.Known(t.Context(), loose(7)) || !s.Known(t.Context(), host(2)) {
			t.Error("not known after the others were done")
		}
		for n := range 3 {
			wg.Go(func() { s.Known(t.Context(), loose(n)) })
		}
		wg.Wait()
		if got := l.kinds(); !slices.Equal(got, []EventKind{Busy, Busy}) { // one for each kind of host
			t.Errorf("reported %q; want no more", got)
		}
	})
}

// C4, D7: a configuration is replaced while its requests are still under way:
// they are answered. What nobody waits for ends at once, and so does the rest when
// the last request leaves.
func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := has()
		s, l := newStore(t, u, nil)
		release := hangs(u)
		s.Warm(host(0))
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for n := range 5 {
			wg.Go(func() {
				if s.Known(ctx, host(1)) || s.Known(ctx, loose(n)) {
					t.Error("known to a request that has left")
				}
			})
			wg.Go(func() {
				if !s.Known(t.Context(), host(2)) {
					t.Error("a request of the replaced configuration got no answer")
				}
			})
		}
		flights := func(want int) {
			t.Helper()
			synctest.Wait()
			s.mu.Lock()
			defer s.mu.Unlock()
			if len(s.flights) != want {
				t.Errorf("%d discoveries; want %d", len(s.flights), want)
			}
		}
		flights(3)
		start := time.Now()
		s.Close()
		flights(2) // without the one that nobody waits for
		cancel()
		flights(1)
		if time.Since(start) != 0 {
			t.Errorf("ended after %v; want at once", time.Since(start))
		}
		s.Warm(host(3))
		flights(1)
		release()
		wg.Wait()
		flights(0)
		if !s.Known(t.Context(), host(4)) || !s.Known(t.Context(), loose(5)) {
			t.Error("a request of the replaced configuration got no answer after Close")
		}
		flights(0)
		if got := l.all(); len(got) != 0 {
			t.Errorf("reported %+v; want nothing", got)
		}
		s.Close()
	})
}

// C4: after Close as before, a discovery ends by its time-out.
func TestCloseAndTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := has()
		s, _ := newStore(t, u, nil)
		defer hangs(u)()
		s.Close()
		start := time.Now()
		if s.Known(t.Context(), public) || time.Since(start) != DefaultTimeout {
			t.Errorf("ended after %v; want %v", time.Since(start), DefaultTimeout)
		}
	})
}

// C2: what the operator configured needs nobody.
func TestConfigured(t *testing.T) {
	u := has()
	s, _ := newStore(t, u, func(c *Config) { c.AuthorizationServers = []string{"https://as.example.com"} })
	s.Warm(public)
	if !s.KnownNow(loose(1)) || !s.Known(t.Context(), public) || !s.Configured() {
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

// C2: without a way to fetch there is definitely nothing.
func TestNoFetch(t *testing.T) {
	s := mustNew(t, tcpUpstream)
	s.Warm(public)
	if s.Known(t.Context(), public) || s.KnownNow(public) || s.Configured() {
		t.Error("known")
	}
	if got := s.State(public); got != (State{}) {
		t.Errorf("state %+v; want none", got)
	}
}

// F1: each cause is told once, without query and userinfo; a failure again
// after it was gone.
func TestEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := &upstream{answers: answers{atPath: doc(`{"resource":"https://user:secret@evil.test/?token=1"}`)}}
		s, l := newStore(t, u, nil)
		for range 3 {
			s.Known(t.Context(), public)
			s.Known(t.Context(), loose(1))
			s.Known(t.Context(), loose(2))
			time.Sleep(DefaultTTL)
		}
		want := []Event{
			{Kind: ForeignResource, Endpoint: public.URL(), Value: "https://evil.test/", Option: "challenge origins"},
			{Kind: ForeignResource, Endpoint: loose(1).URL(), Value: "https://evil.test/", Option: "challenge origins"},
		}
		if got := l.all(); !slices.Equal(got, want) {
			t.Errorf("reported\n%+v\nwant\n%+v", got, want)
		}
		u.answers = answers{}
		u.fail = map[string]error{atPath: errors.New("x")}
		for range 2 {
			s.Known(t.Context(), public)
			time.Sleep(DefaultTTL)
		}
		u.fail = nil
		s.Known(t.Context(), public)
		time.Sleep(DefaultTTL)
		u.answers = answers{atPath: only(500)}
		s.Known(t.Context(), public)
		u.answers = answers{atPath: doc("[")}
		time.Sleep(DefaultTTL)
		s.Known(t.Context(), public)
		if got, want := l.kinds()[2:], []EventKind{Unavailable, Unavailable, DocumentInvalid}; !slices.Equal(got, want) {
			t.Errorf("reported %q; want %q", got, want)
		}
	})
}

// G: what was told is remembered within a bound; a hostile upstream cannot make
// it grow, and cannot fill the log.
func TestReportsAreBounded(t *testing.T) {
	told := 0
	r := reporter{log: func(Event) { told++ }}
	for n := range 3 * maxReported {
		r.report(public, Event{Kind: ForeignResource, Value: fmt.Sprint(n)})
	}
	if told != maxReported || len(r.seen) != maxReported {
		t.Errorf("told %d, remembered %d; want %d", told, len(r.seen), maxReported)
	}
	told, r.seen = 0, nil
	for n := range 100 { // hosts and values that requests name
		r.report(loose(n), Event{Kind: ForeignResource, Value: fmt.Sprint(n)})
	}
	if told != 1 {
		t.Errorf("told %d times; want 1", told)
	}
	(&reporter{}).report(public, Event{Kind: Busy})
}

// F1: no text of an event has a query or userinfo, in any form that a client
// may take for one.
func TestRedact(t *testing.T) {
	for _, tc := range []struct{ in, want string }{
		{"", ""},
		{"https://evil.test/a", "https://evil.test/a"},
		{"https://evil.test/a?token=1#b", "https://evil.test/a"},
		{"https://evil.test#a?b", "https://evil.test"},
		{"https://user:secret@evil.test/a", "https://evil.test/a"},
		{"https://user:secret@evil.test", "https://evil.test"},
		{"https://user:se@cret@evil.test/a@b", "https://evil.test/a@b"},
		{"https:user:secret@evil.test/a", "https:evil.test/a"},
		{"https:/user:secret@evil.test/a", "https:/evil.test/a"},
		{"https:///user:secret@evil.test/a", "https:///evil.test/a"},
		{`https:\\user:secret@evil.test\a`, `https:\\evil.test\a`},
		{`https://user:secret@evil.test\a`, `https://evil.test\a`},
		{"//user:secret@evil.test/a", "//evil.test/a"},
		{`\/user:secret@evil.test/a`, `\/evil.test/a`},
		{"/@scope/a:b@c", "/@scope/a:b@c"},
		{"/a//b@c", "/a//b@c"},
		{"text/html; charset=utf-8", "text/html; charset=utf-8"},
		{"https://a.test/\xff\xfe", "https://a.test/\uFFFD"},
		{strings.Repeat("a", 300), strings.Repeat("a", 256)},
		{strings.Repeat("a", 255) + "é", strings.Repeat("a", 255) + "\uFFFD"},
	} {
		if got := redact(tc.in); got != tc.want {
			t.Errorf("redact(%q) = %q; want %q", tc.in, got, tc.want)
		}
	}
}

// Every kind of event is either forgotten after a success or not, and has a
// name of its own.
func TestEventKinds(t *testing.T) {
	for kind, want := range map[EventKind]bool{
		SignedMetadataDropped: false, PrivateAuthorizationServer: false, ForeignResource: false, ForeignMetadataURL: false,
		NotJSON: false, Busy: false, DocumentInvalid: true, RedirectRefused: true, Unavailable: true,
	} {
		if got := kind.transient(); got != want {
			t.Errorf("%s is transient: %v; want %v", kind, got, want)
		}
	}
}

// C2: a configuration that could only fail later is refused, each fault in a
// line that has option and value.
func TestNewRefuses(t *testing.T) {
	for _, tc := range []struct {
		name string
		cfg  Config
		want []string
	}{
		{"ttl", Config{TTL: -1}, []string{"metadata ttl -1ns: must be positive"}},
		{"negative_ttl", Config{NegativeTTL: -time.Second}, []string{"metadata negative_ttl -1s: must be positive"}},
		{"timeout", Config{Timeout: -time.Second}, []string{"metadata timeout -1s: must be positive"}},
		{"retry_after", Config{RetryAfter: -time.Second}, []string{"metadata retry_after -1s: must be positive"}},
		{"max_entries", Config{MaxEntries: -1}, []string{"metadata max_entries -1: must be positive"}},
		{"max_flights", Config{MaxFlights: -1}, []string{"metadata max_flights -1: must be positive"}},
		{"max_size", Config{MaxSize: -1}, []string{"metadata max_size -1: must be positive"}},
		{"path without a slash", Config{UpstreamPath: "mcp"}, []string{`upstream_path "mcp": must be a path that starts with a slash`}},
		{"path with a query", Config{UpstreamPath: "/mcp?a"}, []string{`upstream_path "/mcp?a": must be a path that starts with a slash`}},
		{"path with a space", Config{UpstreamPath: "/a b"}, []string{`upstream_path "/a b": must be a path that starts with a slash`}},
		{"path with a broken escape", Config{UpstreamPath: "/%zz"}, []string{`upstream_path "/%zz": invalid URL escape "%zz"`}},
		{"issuer without a scheme", Config{AuthorizationServers: []string{"as.example.com"}}, []string{`metadata authorization_servers "as.example.com": must start with http:// or https://`}},
		{"issuer with a query", Config{AuthorizationServers: []string{"https://as.example.com?a"}}, []string{`metadata authorization_servers "https://as.example.com?a": must not have a query or a fragment`}},
		{"issuer with a fragment", Config{AuthorizationServers: []string{"https://as.example.com#"}}, []string{`metadata authorization_servers "https://as.example.com#": must not have a query or a fragment`}},
		{"issuer in another encoding", Config{AuthorizationServers: []string{"https://as.example.com/\xff"}}, []string{`metadata authorization_servers "https://as.example.com/\xff": is not UTF-8`}},
		{"scopes", Config{ScopesSupported: []string{"", "a b", `a"`, `a\`, "ä", "ok"}}, []string{
			`metadata scopes_supported "": is no scope (RFC 6749 section 3.3)`,
			`metadata scopes_supported "a b": is no scope (RFC 6749 section 3.3)`,
			`metadata scopes_supported "a\"": is no scope (RFC 6749 section 3.3)`,
			`metadata scopes_supported "a\\": is no scope (RFC 6749 section 3.3)`,
			`metadata scopes_supported "ä": is no scope (RFC 6749 section 3.3)`,
		}},
		{"name in another encoding", Config{ResourceName: "\xff"}, []string{`metadata resource_name "\xff": is not UTF-8`}},
		{"members", Config{Set: []Member{
			{"", json.RawMessage("1")},
			{"\xff", json.RawMessage("1")},
			{"resource", json.RawMessage(`"https://evil.test"`)},
			{"authorization_servers", json.RawMessage(`[]`)},
			{"a", json.RawMessage("1")},
			{"a", json.RawMessage("1")},
			{"b", json.RawMessage("1,\"resource\":2")},
			{"c", nil},
			{"d", json.RawMessage("\"\xff\"")},
		}}, []string{
			`metadata set "": is no member name`,
			`metadata set "\xff": is no member name`,
			`metadata set "resource": it is the public URL, set public_url or keep_resource`,
			`metadata set "authorization_servers": use metadata authorization_servers`,
			`metadata set "a": is set twice`,
			`metadata set "b": value "1,\"resource\":2" is not JSON`,
			`metadata set "c": value "" is not JSON`,
			`metadata set "d": value "\"\xff\"" is not JSON`,
		}},
		{"addresses", Config{Dials: []string{"ok:1", "a:b", ":x", "a:1:2", "127.1:80", "u@h:1", "h%0:1", "[fe80::1%a:1"}}, []string{
			`upstream "a:b": has no valid port`,
			`upstream ":x": has no valid port`,
			`upstream "a:1:2": has no valid port`,
			`upstream "127.1:80": has a numeric host that is no dotted-decimal IPv4 address`,
			`upstream "u@h:1": must not have a user name or password`,
			`upstream "h%0:1": has a percent-encoded host or an IPv6 zone`,
			`upstream "[fe80::1%a:1": has a percent-encoded host or an IPv6 zone`,
		}},
		{"origins", Config{Origins: []string{"https://ok.example", "*", "https://a.example/x"}}, []string{
			`origins: origin "*": must start with http:// or https://`,
			`origins: origin "https://a.example/x": must be an origin, without path, query or fragment`,
		}},
		{"several", Config{TTL: -1, ResourceName: "\xff", Origins: []string{"x"}}, []string{
			`metadata resource_name "\xff": is not UTF-8`,
			`origins: origin "x": must start with http:// or https://`,
			`metadata ttl -1ns: must be positive`,
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s, err := New(tc.cfg)
			if err == nil {
				s.Close()
				t.Fatal("no error")
			}
			if got, want := err.Error(), strings.Join(tc.want, "\n"); got != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}

// The address that is dialled may have an IPv6 zone, which no URL has.
func TestDialWithZone(t *testing.T) {
	s := mustNew(t, Config{Dials: []string{"[fe80::1%eth0]:3000"}})
	l, err := parseLocation("http://[fe80::1]:3000")
	if err != nil || !s.id.dialled(l.hostPort) {
		t.Errorf("dials %+v; want %+v, %v", s.id.dials, l.hostPort, err)
	}
}

// C4: after the upstream has refused a token, the next client that asks has it asked
// again, once; a failure then is no reason to ask again at once, nor to forget what
// there is.
func TestDoubt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := has()
		s, _ := newStore(t, u, nil)
		s.Doubt(public) // of nothing
		serve := func() string {
			w := httptest.NewRecorder()
			s.Serve(w, httptest.NewRequest(http.MethodGet, "/", nil), public, "/mcp")
			return w.Body.String()
		}
		before := serve()
		wantCount(t, u, 1)
		u.answers = answers{atPath: doc(strings.Replace(upstreamDoc, "as.", "other.", 1))}
		if serve() != before {
			t.Error("asked again without a doubt")
		}
		s.Doubt(public)
		s.Doubt(public)
		if !s.Known(t.Context(), public) {
			t.Error("not known")
		}
		wantCount(t, u, 1) // a challenge does not wait for it
		after := serve()
		if after == before || !strings.Contains(after, "other.") {
			t.Errorf("got %s", after)
		}
		serve()
		wantCount(t, u, 2)

		u.answers = answers{atPath: {Status: http.StatusBadGateway}, atRoot: {Status: http.StatusBadGateway}}
		s.Doubt(public)
		if serve() != after {
			t.Error("forgot what there was")
		}
		failed := u.count()
		s.Doubt(public)
		if serve() != after {
			t.Error("forgot what there was")
		}
		wantCount(t, u, failed)
	})
}
