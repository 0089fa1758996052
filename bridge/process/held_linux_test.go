package process

import (
	"bytes"
	"runtime"
	"testing"
	"time"
)

// held counts the goroutines that have a frame of this package, and returns their stacks.
func held() (n int, stacks []byte) {
	stacks = make([]byte, 1<<20)
	stacks = stacks[:runtime.Stack(stacks, true)]
	for stack := range bytes.SplitSeq(stacks, []byte("\n\n")) {
		if bytes.Contains(stack, []byte("process.(*")) {
			n++
		}
	}
	return n, stacks
}

// A server that has nothing to do has three goroutines: one for its standard output, one for its
// standard error, one for its end. Messages to it take none. Its environment is not kept.
func TestWhatAServerHoldsWhileItIsQuiet(t *testing.T) {
	cfg := child("echo")
	cfg.Stderr = func([]byte, int) {}
	p := start(t, cfg)
	send(t, p, []byte(`{}`))
	receive(t, p)
	if p.cfg.Env != nil {
		t.Errorf("the environment is kept: %q", p.cfg.Env)
	}
	for late := time.Now().Add(testTimeout); ; runtime.Gosched() { // that which wrote the message still has to end
		n, stacks := held()
		if n <= 3 {
			return
		}
		if time.Now().After(late) {
			t.Fatalf("got %d goroutines, want 3 at most:\n%s", n, stacks)
		}
	}
}
