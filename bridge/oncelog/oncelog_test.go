package oncelog

import (
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func due[K comparable](t *testing.T, s *Set[K], of K, want bool, wantSince int) {
	t.Helper()
	if since, ok := s.Due(of); ok != want || since != wantSince {
		t.Errorf("Due(%v) = %d, %v; want %d, %v", of, since, ok, wantSince, want)
	}
}

// A cause is logged at once, and again after a while, with how often it came.
func TestAgainAfterAWhile(t *testing.T) {
	for _, every := range []time.Duration{0, time.Minute} {
		synctest.Test(t, func(t *testing.T) {
			s, wait := &Set[string]{Every: every}, every
			if wait == 0 {
				wait = defaultEvery
			}
			due(t, s, "a", true, 0)
			due(t, s, "b", true, 0)
			due(t, s, "a", false, 0)
			time.Sleep(wait - time.Nanosecond)
			due(t, s, "a", false, 0)
			time.Sleep(time.Nanosecond)
			due(t, s, "a", true, 2)
			due(t, s, "b", true, 0)
			due(t, s, "a", false, 0)
		})
	}
}

// B3, G: invented causes silence the log for no longer than they come, and cost neither
// lines nor memory without bound.
func TestFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s Set[string]
		due(t, &s, "known", true, 0)
		lines := 0
		const hours = 3
		for i := range hours * 3600 {
			if _, ok := s.Due(fmt.Sprint("invented ", i)); ok {
				lines++
			}
			time.Sleep(time.Second)
		}
		if bound := Burst + hours*60 + 1; lines > bound || lines < Burst {
			t.Errorf("%d lines, want from %d to %d", lines, Burst, bound)
		}
		if len(s.seen) > maxCauses {
			t.Errorf("%d causes are remembered", len(s.seen))
		}
		time.Sleep(refill)
		due(t, &s, "the operator's own", true, 0)
		time.Sleep(Burst * refill)
		due(t, &s, "known", true, 0) // which was forgotten, or is due again
		for i := range 2 * Burst {
			_, ok := s.Due(fmt.Sprint("later ", i))
			if want := i < Burst-1; ok != want {
				t.Fatalf("line %d: %v", i, ok)
			}
		}
	})
}

// A cause that is due while no line is left is not lost.
func TestDueWithoutALine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := Set[int]{Every: time.Second}
		for i := range Burst {
			due(t, &s, i, true, 0)
		}
		time.Sleep(time.Second)
		due(t, &s, 0, false, 0)
		time.Sleep(refill)
		due(t, &s, 0, true, 1)
	})
}

func TestForget(t *testing.T) {
	var s Set[string]
	due(t, &s, "a", true, 0)
	due(t, &s, "b", true, 0)
	s.Forget(func(of string) bool { return of == "a" })
	due(t, &s, "a", true, 0)
	due(t, &s, "b", false, 0)
}

func TestConcurrent(t *testing.T) {
	var s Set[string]
	var mu sync.Mutex
	var wg sync.WaitGroup
	lines := 0
	for range 50 {
		wg.Go(func() {
			if _, ok := s.Due("a"); ok {
				mu.Lock()
				lines++
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if lines != 1 {
		t.Errorf("%d lines", lines)
	}
}
