package hubtest

import (
	"runtime"
	"testing"
	"time"
)

// Eventually waits until a condition holds.
func Eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !holds(); {
		if time.Now().After(end) {
			t.Fatalf("after 20 s: %s", what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// Within fails where something takes too long.
func Within(t *testing.T, what string, do func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		do()
	}()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		buf := make([]byte, 1<<20)
		t.Fatalf("%s is not done after 20 s\n%s", what, buf[:runtime.Stack(buf, true)])
	}
}
