package process

import (
	"errors"
	"os"
	"sync"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/ready"
)

// maxRead is the size of one read, in bytes: that of a pipe on Linux.
const maxRead = 64 << 10

// maxDrain bounds, in bytes, how much is read of a pipe after the last process of the group has
// ended. It is the size of the largest pipe of an unprivileged process.
const maxDrain = 1 << 20

// linger is how long a goroutine waits for more in a pipe after it has read something. To begin one
// for each message of a busy server would cost more than to keep it.
const linger = 200 * time.Millisecond

// readBuffers are used while data is being read. A pipe without data holds none.
var readBuffers = sync.Pool{New: func() any { return new([maxRead]byte) }}

// errEmpty means that the pipe is empty.
var errEmpty = errors.New("pipe is empty")

// reader reads one of the child's pipes to its end. On Linux no goroutine waits for a server that
// has written nothing for a while.
type reader struct {
	f    *os.File
	take func(chunk []byte)
	over func()      // called after the last chunk
	in   pipe        // reads f
	file *ready.File // waits for f; nil: a goroutine does

	mu      sync.Mutex
	waiting bool // for file
	late    bool // expire was called: what is in the pipe is read, and no more is waited for
}

// startReading calls take with the data that it reads from f, and over when it stops: at the end
// of the file, or after expire.
func startReading(f *os.File, take func(chunk []byte), over func()) *reader {
	r := &reader{f: f, take: take, over: over}
	if fd, err := r.in.open(f); err == nil {
		r.file, _ = ready.New(fd, r.run)
	}
	if r.file == nil {
		go func() {
			readPipe(f, take)
			over()
		}()
		return r
	}
	r.wait()
	return r
}

// wait has run called when there is something to read. It returns false if that is not waited
// for.
func (r *reader) wait() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.late {
		return false
	}
	r.waiting = true
	r.file.Wait()
	return true
}

// run reads until the pipe has been empty for a while, or to its end.
func (r *reader) run() {
	for left := maxDrain; left > 0; {
		wait := r.prepare()
		chunk, err := r.in.read(wait)
		if err == nil {
			r.take(chunk)
			r.in.release()
			if !wait {
				left -= len(chunk)
			}
			continue
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			break
		}
		if r.wait() {
			return
		}
	}
	r.file.Close()
	r.over()
}

// prepare sets the read deadline, and reports whether the next read waits.
func (r *reader) prepare() (wait bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.waiting = false
	var deadline time.Time
	if !r.late {
		deadline = time.Now().Add(linger)
	}
	_ = r.f.SetReadDeadline(deadline)
	return !r.late
}

// expire tells the reader to read what is in the pipe, and not to wait for more. If the system
// cannot do that, the pipe is closed after grace, unless the returned function was called.
func (r *reader) expire(grace time.Duration) (stop func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.late = true
	if r.waiting && r.file.Cancel() {
		go r.run()
		return func() {}
	}
	if r.f.SetReadDeadline(time.Now()) == nil {
		return func() {}
	}
	late := time.AfterFunc(grace, func() { _ = r.f.Close() })
	return func() { late.Stop() }
}

// readPipe calls take with what it reads from f, up to the end of the file or until the read
// deadline. After the deadline it reads what is in the pipe without waiting.
func readPipe(f *os.File, take func(chunk []byte)) {
	var in pipe
	if _, err := in.open(f); err != nil {
		return
	}
	wait := true
	for left := maxDrain; left > 0; {
		chunk, err := in.read(wait)
		switch {
		case err == nil:
			take(chunk)
			in.release()
			if !wait {
				left -= len(chunk)
			}
		case !wait || !errors.Is(err, os.ErrDeadlineExceeded) || f.SetReadDeadline(time.Time{}) != nil:
			return
		default:
			wait = false
		}
	}
}
