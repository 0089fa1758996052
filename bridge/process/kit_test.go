package process

import (
	"bytes"
	"os"
	"runtime"
	"slices"
	"testing"
	"time"
)

// testTimeout bounds the waits of a test.
const testTimeout = time.Minute

// child configures a child process; what it writes to stderr is not read.
func child(mode string, args ...string) Config {
	exe, err := os.Executable()
	if err != nil {
		panic(err)
	}
	return Config{Command: append([]string{exe, childArg, mode}, args...), Env: childEnv}
}

// start runs a child and checks that its end leaves nothing behind.
func start(t testing.TB, cfg Config) *Process {
	t.Helper()
	before := descriptors()
	p, err := Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
		nothingLeft(t, before)
	})
	return p
}

// nothingLeft checks that no goroutine of the package, no child and no pipe
// more than before is left. It is for tests that run alone.
func nothingLeft(t testing.TB, before []string) {
	t.Helper()
	if after := descriptors(); !slices.Equal(after, before) {
		t.Errorf("descriptors after: %v, before: %v", after, before)
	}
	if left := children(t); len(left) > 0 {
		t.Errorf("children left: %v", left)
	}
	stacks := make([]byte, 1<<20)
	for late := time.Now().Add(testTimeout); ; runtime.Gosched() { // one that is done still has to end
		all := stacks[:runtime.Stack(stacks, true)]
		if !bytes.Contains(all, []byte("process.(*")) && !bytes.Contains(all, []byte("process.afterExit")) {
			return
		}
		if time.Now().After(late) {
			t.Fatalf("goroutines left:\n%s", all)
		}
	}
}

// receive returns the next frame.
func receive(t testing.TB, p *Process) []byte {
	t.Helper()
	select {
	case frame, ok := <-p.Frames():
		if !ok {
			<-p.Done()
			t.Fatalf("no more frames: %v", p.Err())
		}
		return frame
	case <-time.After(testTimeout):
		t.Fatal("no frame")
		return nil
	}
}

// rest returns all further frames, as text.
func rest(t testing.TB, p *Process) (frames []string) {
	t.Helper()
	late := time.After(testTimeout)
	for {
		select {
		case frame, ok := <-p.Frames():
			if !ok {
				return frames
			}
			frames = append(frames, string(frame))
		case <-late:
			t.Fatalf("no end after %d frames", len(frames))
		}
	}
}

// send sends a frame.
func send(t testing.TB, p *Process, frame []byte) {
	t.Helper()
	if err := p.Send(frame); err != nil {
		t.Fatal(err)
	}
}

// await waits until a channel is closed.
func await(t testing.TB, what string, c <-chan struct{}) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(testTimeout):
		t.Fatalf("%s: waited in vain", what)
	}
}

// ended waits until the process has ended, and checks how it ended.
func ended(t testing.TB, p *Process, want string) {
	t.Helper()
	await(t, "done", p.Done())
	got := ""
	if err := p.Err(); err != nil {
		got = err.Error()
	}
	if got != want {
		t.Errorf("ended with %q, want %q", got, want)
	}
}
