package upstream

import (
	"sync"
	"time"
)

// Timeout is a function call after some time. Once it was stopped, the call never comes. A
// time.Timer cannot promise that: it may have fired already, and wait for the lock that the
// caller of Stop holds.
type Timeout struct {
	timer *time.Timer
	over  bool
}

// StartTimeout calls f after d with mu locked, and then calls what f returns with mu unlocked.
// f may return nil. The caller has mu locked.
func StartTimeout(mu sync.Locker, d time.Duration, f func() (then func())) *Timeout {
	t := new(Timeout)
	t.timer = time.AfterFunc(d, func() {
		mu.Lock()
		var then func()
		if !t.over {
			t.over = true
			then = f()
		}
		mu.Unlock()
		if then != nil {
			then()
		}
	})
	return t
}

// Stop stops the timeout, which may be nil. The caller holds the lock of [StartTimeout].
func (t *Timeout) Stop() {
	if t != nil {
		t.over = true
		t.timer.Stop()
	}
}
