package benchkit

import (
	"fmt"
	"sync"
)

// Tally counts what became of requests, streams and sessions, by kind.
type Tally struct {
	mu     sync.Mutex
	Counts map[string]int
	Failed map[string]int
	Firsts map[string]string // of each kind of failure
}

// NewTally returns an empty tally.
func NewTally() *Tally {
	return &Tally{Counts: make(map[string]int), Failed: make(map[string]int), Firsts: make(map[string]string)}
}

// Count counts one of a kind.
func (t *Tally) Count(kind string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.Counts[kind]++
}

// Fail counts a failure of a kind. The text of the first one is kept.
func (t *Tally) Fail(kind, format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.Failed[kind]++; t.Failed[kind] == 1 {
		t.Firsts[kind] = fmt.Sprintf(format, args...)
	}
}
