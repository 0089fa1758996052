package mcptest

import (
	"testing"
	"time"
)

// Poll calls missing every few milliseconds until it returns the empty string: what it
// returns says what is still missing, and is how the test fails if that lasts longer than
// within. It is for what sends no event, such as the end of a process that is not a child,
// or open descriptors. A test that can wait for an event waits for that.
func Poll(t testing.TB, within time.Duration, missing func() string) {
	t.Helper()
	late := time.After(within)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		what := missing()
		if what == "" {
			return
		}
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("after %v: %s", within, what)
		}
	}
}
