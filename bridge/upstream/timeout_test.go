package upstream

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
)

// A timeout that was stopped is not called, also if it expires at the same moment.
func TestAStoppedTimeoutIsNotCalled(t *testing.T) {
	for range 300 {
		synctest.Test(t, func(t *testing.T) {
			var mu sync.Mutex
			var calls, then int
			stopped := false
			mu.Lock()
			timer := StartTimeout(&mu, time.Second, func() func() {
				calls++
				if stopped {
					t.Error("it is called although it was stopped")
				}
				return func() {
					mu.Lock() // it is not locked any more
					then++
					mu.Unlock()
				}
			})
			mu.Unlock()
			time.Sleep(time.Second)
			mu.Lock()
			timer.Stop()
			stopped = true
			before := calls
			mu.Unlock()
			time.Sleep(time.Second)
			mu.Lock()
			if calls != before || then != calls || calls > 1 {
				t.Errorf("%d calls before it was stopped, %d in all, followed by %d", before, calls, then)
			}
			mu.Unlock()
			(*Timeout)(nil).Stop()
		})
	}
}

// D5c: a request is answered at the moment at which it would have failed. A later request with
// the same id gets the whole time.
func TestARequestWithAUsedIDHasItsWholeTime(t *testing.T) {
	for range 200 {
		synctest.Test(t, func(t *testing.T) {
			var mu sync.Mutex
			failed := 0
			u := &matcher{
				hand: func(message.Message) {
					mu.Lock()
					defer mu.Unlock()
					failed++
				},
				wait: func() time.Duration { return DefaultUnmatched },
			}
			defer u.close()
			id := u.send(message.NewRequest([]byte("1"), "x", nil))
			suspect := func() { u.failLater(verdict{candidates: []message.Key{id}}, "x") }
			u.mu.Lock()
			suspect()
			u.mu.Unlock()
			time.Sleep(DefaultUnmatched)
			u.mu.Lock()
			inTime := u.timers[id] != nil
			u.settle(id)
			suspect()
			u.mu.Unlock()
			time.Sleep(DefaultUnmatched - time.Second)
			mu.Lock()
			defer mu.Unlock()
			if inTime && failed != 0 {
				t.Error("it failed at once")
			}
		})
	}
}
