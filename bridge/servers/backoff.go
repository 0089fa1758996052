package servers

import (
	"fmt"
	"sync"
	"time"
)

// Backoff of servers that end within shortLife of their start.
const (
	shortLife   = 10 * time.Second
	backoffFrom = time.Second
	backoffTo   = time.Minute
	// BackoffAfter is how many servers in a row have to end soon before the next start waits.
	BackoffAfter = 3
)

// backoff delays the next start after several servers in a row have ended soon after theirs.
type backoff struct {
	mu       sync.Mutex
	short    int       // servers in a row that ended soon after their start
	notUntil time.Time // no server is started before
	lastEnd  string    // how the last server ended that ended by itself; empty if not known
}

// note notes whether a start went well, and returns how long the next one has to wait.
func (b *backoff) note(well bool) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	if well {
		b.short = 0
		return 0
	}
	if b.short++; b.short < BackoffAfter {
		return 0
	}
	wait := backoffTo
	if n := b.short - BackoffAfter; n < 6 {
		wait = min(backoffTo, backoffFrom<<n)
	}
	b.notUntil = time.Now().Add(wait)
	return wait
}

// noteEnd notes how a server has ended.
func (b *backoff) noteEnd(how string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.lastEnd = how
}

// state returns how many servers in a row have ended soon after their start, and when the next
// one may be started; zero if that is now.
func (b *backoff) state() (short int, notUntil time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if time.Now().Before(b.notUntil) {
		notUntil = b.notUntil
	}
	return b.short, notUntil
}

// retryAfter returns how long the next start has to wait, at least a second.
func (b *backoff) retryAfter() time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	return max(time.Until(b.notUntil), time.Second)
}

// text tells a client why no server is started for so long.
func (b *backoff) text(wait time.Duration) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	how := ""
	if b.lastEnd != "" {
		how = " (" + b.lastEnd + ")"
	}
	return fmt.Sprintf("the server ended soon after its start%s, %d times in a row; it is started again in %s", how, b.short, wait.Round(time.Second))
}
