// Package oncelog decides whether to log something that happens again and again. A cause is
// logged at once, and again after a while. Clients and servers can often make up any number
// of causes, so the number of lines and of remembered causes is bounded as well.
package oncelog

import (
	"sync"
	"time"
)

const (
	// defaultEvery is how long a cause that was logged is not logged again.
	defaultEvery = time.Hour
	// maxCauses bounds the causes that are remembered.
	maxCauses = 256
	// Burst bounds how many lines are logged at one time. After that one more line is
	// allowed every refill.
	Burst  = 64
	refill = time.Minute
)

// Set is a set of causes. The zero value is ready to use; it must not be copied.
type Set[K comparable] struct {
	// Every is how long a cause that was logged is not logged again. Default: an hour.
	Every time.Duration

	mu   sync.Mutex
	seen map[K]*cause
	used int       // lines of Burst that were used
	full time.Time // when the refill of the next line began
}

// cause is a cause that was logged.
type cause struct {
	at    time.Time
	since int // how often it was not logged since then
}

// Due reports whether to log a cause now, and how often it was not logged since the last
// time.
func (s *Set[K]) Due(of K) (since int, ok bool) {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	was := s.seen[of]
	if was != nil && now.Sub(was.at) < s.every() {
		was.since++
		return 0, false
	}
	if !s.take(now) {
		if was != nil {
			was.since++
		}
		return 0, false
	}
	if was == nil {
		was = s.add(of)
	}
	since, was.at, was.since = was.since, now, 0
	return since, true
}

// Forget forgets the causes for which matches returns true, so that they are logged again.
func (s *Set[K]) Forget(matches func(K) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for of := range s.seen {
		if matches(of) {
			delete(s.seen, of)
		}
	}
}

func (s *Set[K]) every() time.Duration {
	if s.Every > 0 {
		return s.Every
	}
	return defaultEvery
}

// take uses a line of the burst. It returns false if none is left.
func (s *Set[K]) take(now time.Time) bool {
	if back := int(now.Sub(s.full) / refill); back >= s.used {
		s.used, s.full = 0, now
	} else if back > 0 {
		s.used -= back
		s.full = s.full.Add(time.Duration(back) * refill)
	}
	if s.used >= Burst {
		return false
	}
	s.used++
	return true
}

// add remembers a cause. If there are too many it forgets the oldest one.
func (s *Set[K]) add(of K) *cause {
	if s.seen == nil {
		s.seen = make(map[K]*cause)
	}
	if len(s.seen) >= maxCauses {
		var first K
		var at time.Time
		for known, c := range s.seen {
			if at.IsZero() || c.at.Before(at) {
				first, at = known, c.at
			}
		}
		delete(s.seen, first)
	}
	c := new(cause)
	s.seen[of] = c
	return c
}
