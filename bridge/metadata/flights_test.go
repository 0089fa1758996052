package metadata

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// C4: any number of requests wait for one discovery.
func TestAllRequestsWaitForOneDiscovery(t *testing.T) {
	for _, pub := range []Public{public, anyHost(1)} {
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
				wantCount(t, u, 2)
			})
		})
	}
}

// C2: a request that ends stops waiting. The discovery goes on for the others.
func TestADiscoveryGoesOnWithoutARequestThatEnds(t *testing.T) {
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
		wantCount(t, u, 2)
	})
}

// C4: one discovery with all its requests takes no longer than Timeout. A request that waits
// gets the stale document when its own time is over.
func TestADiscoveryTakesNoLongerThanItsTimeout(t *testing.T) {
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
			{Kind: Unavailable, Endpoint: public.URL(), Source: "/mcp", Reason: "timeout"},
			{Kind: Unavailable, Endpoint: host(1).URL(), Source: "/mcp", Reason: "timeout"},
		}
		if got := l.all(); !slices.Equal(got, want) {
			t.Errorf("reported\n%+v\nwant\n%+v", got, want)
		}
	})
}

// C4: the cache is bounded. The oldest entry is removed for a new one.
func TestTheCacheIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := has()
		s, _ := newStore(t, u, func(c *Config) { c.MaxEntries = 2 })
		for n := range 3 {
			s.Known(t.Context(), host(n))
			time.Sleep(time.Second)
		}
		if len(s.cache.entries) != 2 {
			t.Errorf("%d entries; want 2", len(s.cache.entries))
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

// G: the number of discoveries at one time is bounded. Those for hosts that are not configured
// have a bound of their own. An excess is reported once.
func TestDiscoveriesAtOneTimeAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := has()
		release := hangs(u)
		s, l := newStore(t, u, func(c *Config) { c.MaxFlights, c.MaxEntries = 3, 2 })
		var wg sync.WaitGroup
		for n := range 3 {
			wg.Go(func() { s.Known(t.Context(), anyHost(n)) })
		}
		for n := range 2 {
			wg.Go(func() { s.Known(t.Context(), host(n)) })
		}
		synctest.Wait()
		wantCount(t, u, 5)
		for n := range 50 {
			if s.Known(t.Context(), anyHost(100+n)) {
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
		if !s.Known(t.Context(), anyHost(7)) || !s.Known(t.Context(), host(2)) {
			t.Error("not known after the others were done")
		}
		for n := range 3 {
			wg.Go(func() { s.Known(t.Context(), anyHost(n)) })
		}
		wg.Wait()
		if got := l.kinds(); !slices.Equal(got, []EventKind{Busy, Busy}) { // one for each kind of host
			t.Errorf("reported %q; want no more", got)
		}
	})
}

// C4, D7: when a configuration is replaced, its requests under way are still answered. A
// discovery that no request waits for ends at once.
func TestCloseAnswersRequestsUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := has()
		s, l := newStore(t, u, nil)
		release := hangs(u)
		s.Warm(host(0))
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for n := range 5 {
			wg.Go(func() {
				if s.Known(ctx, host(1)) || s.Known(ctx, anyHost(n)) {
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
			s.cache.mu.Lock()
			defer s.cache.mu.Unlock()
			if len(s.cache.flights) != want {
				t.Errorf("%d discoveries; want %d", len(s.cache.flights), want)
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
		if !s.Known(t.Context(), host(4)) || !s.Known(t.Context(), anyHost(5)) {
			t.Error("a request of the replaced configuration got no answer after Close")
		}
		flights(0)
		if got := l.all(); len(got) != 0 {
			t.Errorf("reported %+v; want nothing", got)
		}
		s.Close()
	})
}

// C4: a discovery ends by its timeout also after Close.
func TestADiscoveryEndsByItsTimeoutAfterClose(t *testing.T) {
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
