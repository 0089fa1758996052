package ready

import (
	"bytes"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"
)

const timeout = 30 * time.Second

// pipe returns a pipe, and a File for its end that is read, whose calls go to a channel.
func pipe(t *testing.T) (r, w *os.File, f *File, calls chan struct{}) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	calls = make(chan struct{}, 8)
	f, err = New(fdOf(t, r), func() { calls <- struct{}{} })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		f.Close()
		_, _ = r.Close(), w.Close()
	})
	return r, w, f, calls
}

func fdOf(t *testing.T, file *os.File) (fd int) {
	t.Helper()
	conn, err := file.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.Control(func(n uintptr) { fd = int(n) }); err != nil {
		t.Fatal(err)
	}
	return fd
}

func await(t *testing.T, calls chan struct{}) {
	t.Helper()
	select {
	case <-calls:
	case <-time.After(timeout):
		t.Fatal("no call")
	}
}

// A file is reported once for each wait: when something comes, when something is left, and at
// its end.
func TestFileIsReportedOnceForEachWait(t *testing.T) {
	r, w, f, calls := pipe(t)
	buf := make([]byte, 1)
	f.Wait()
	for range 2 {
		if _, err := w.Write([]byte("ab")); err != nil {
			t.Fatal(err)
		}
		for range 2 { // the second one is left behind
			await(t, calls)
			if _, err := r.Read(buf); err != nil {
				t.Fatal(err)
			}
			f.Wait()
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	await(t, calls)
	if len(calls) > 0 {
		t.Errorf("%d more calls", len(calls))
	}
	f.Wait() // the end lasts
	await(t, calls)
}

// What is not waited for is not reported, and a wait that was cancelled is none.
func TestCancelEndsAWait(t *testing.T) {
	_, w, f, calls := pipe(t)
	if f.Cancel() {
		t.Error("a wait was cancelled that never began")
	}
	f.Wait()
	if !f.Cancel() {
		t.Error("the wait could not be cancelled")
	}
	if _, err := w.Write([]byte("a")); err != nil {
		t.Fatal(err)
	}
	_, w2, other, otherCalls := pipe(t) // whose event comes later
	other.Wait()
	if _, err := w2.Write([]byte("a")); err != nil {
		t.Fatal(err)
	}
	await(t, otherCalls)
	if len(calls) > 0 {
		t.Error("a cancelled wait was reported")
	}
	f.Wait()
	await(t, calls)
	if f.Cancel() {
		t.Error("a wait was cancelled that is over")
	}
}

// Many files that are waited for at the same time are all reported, and nothing is left when the
// last one is closed.
func TestManyFilesAtOnce(t *testing.T) {
	const files, rounds = 3 * maxEvents, 20
	t.Run("files", func(t *testing.T) {
		var wg sync.WaitGroup
		for range files {
			r, w, f, calls := pipe(t)
			wg.Go(func() {
				buf := make([]byte, 1)
				for range rounds {
					f.Wait()
					_, _ = w.Write([]byte("a"))
					select {
					case <-calls:
					case <-time.After(timeout):
						t.Error("no call")
						return
					}
					_, _ = r.Read(buf)
				}
			})
		}
		wg.Wait()
	})
	for late := time.Now().Add(timeout); ; runtime.Gosched() {
		stacks := make([]byte, 1<<20)
		if stacks = stacks[:runtime.Stack(stacks, true)]; !bytes.Contains(stacks, []byte("ready.(*poller)")) {
			break
		}
		if time.Now().After(late) {
			t.Fatalf("a goroutine is left:\n%s", stacks)
		}
	}
	if all.file != nil {
		t.Error("the instance is not closed")
	}
}

// A file that cannot be waited for is refused, and takes nothing.
func TestFileThatIsAlwaysReady(t *testing.T) {
	file, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	if _, err := New(int(file.Fd()), func() {}); err == nil {
		t.Error("a regular file was taken")
	}
	if all.file != nil {
		t.Error("the instance is not closed")
	}
}
