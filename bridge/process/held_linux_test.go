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

// A server that has written nothing for a while has no goroutine, neither for its output nor for its
// end. Its environment is not kept.
func TestWhatAServerHoldsWhileItIsQuiet(t *testing.T) {
	cfg := child("echo")
	cfg.Stderr = func([]byte, int) {}
	p := start(t, cfg)
	send(t, p, []byte(`{}`))
	receive(t, p)
	if p.cfg.Env != nil {
		t.Errorf("the environment is kept: %q", p.cfg.Env)
	}
	for late := time.Now().Add(testTimeout); ; time.Sleep(linger / 50) { // those that wrote and read the message still have to end
		n, stacks := held()
		if n == 0 {
			return
		}
		if time.Now().After(late) {
			t.Fatalf("got %d goroutines, want none:\n%s", n, stacks)
		}
	}
}
