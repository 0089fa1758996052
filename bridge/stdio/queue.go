package stdio

import (
	"bytes"
	"os"
	"slices"
	"sync"
)

// pieceOut is how much is written at once, in bytes: the size of a pipe on
// Linux. What is written leaves the count of what is queued.
const pieceOut = 64 << 10

// queue is a bounded queue of lines in front of a pipe. A quiet one has neither a
// buffer nor a goroutine.
type queue struct {
	f      *os.File
	limit  int
	spawn  func(func()) // starts a goroutine
	failed func()       // called when the pipe takes nothing more

	mu      sync.Mutex
	buf     []byte // lines not yet being written
	size    int    // bytes not yet written
	writing bool   // a goroutine is at it
	closed  bool   // nothing more is accepted
}

// newQueue returns a queue of at most limit bytes in front of f, which it
// will close.
func newQueue(f *os.File, limit int, spawn func(func()), failed func()) *queue {
	return &queue{f: f, limit: limit, spawn: spawn, failed: failed}
}

// put queues a frame as one line.
func (q *queue) put(frame []byte) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case q.closed:
		return ErrClosed
	case q.size+len(frame) > q.limit:
		return ErrQueueFull
	}
	from := len(q.buf)
	q.buf = append(slices.Grow(q.buf, len(frame)+1), frame...)
	blank(q.buf[from:], '\n')
	blank(q.buf[from:], '\r')
	q.buf = append(q.buf, '\n')
	q.size += len(frame) + 1
	if !q.writing {
		q.writing = true
		q.spawn(q.run)
	}
	return nil
}

// blank replaces a byte by spaces.
func blank(b []byte, c byte) {
	for {
		i := bytes.IndexByte(b, c)
		if i < 0 {
			return
		}
		b[i] = ' '
		b = b[i+1:]
	}
}

// finish accepts nothing more; the pipe is closed when what is queued is
// written.
func (q *queue) finish() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed = true; !q.writing {
		_ = q.f.Close()
	}
}

// abort forgets what is queued and closes the pipe, which ends a write that
// waits.
func (q *queue) abort() {
	q.mu.Lock()
	q.closed, q.buf = true, nil
	q.mu.Unlock()
	_ = q.f.Close()
}

// run writes what is queued, until nothing is or writing fails.
func (q *queue) run() {
	for lines := q.take(); lines != nil; lines = q.take() {
		for len(lines) > 0 {
			n, err := q.f.Write(lines[:min(len(lines), pieceOut)])
			q.mu.Lock()
			q.size -= n
			q.mu.Unlock()
			if err != nil {
				q.abort()
				q.failed()
				return
			}
			lines = lines[n:]
		}
	}
}

// take returns the lines that wait; nothing where none do, after which a goroutine
// that writes is needed again.
func (q *queue) take() []byte {
	q.mu.Lock()
	defer q.mu.Unlock()
	lines := q.buf
	q.buf = nil
	if len(lines) > 0 {
		return lines
	}
	if q.writing = false; q.closed {
		_ = q.f.Close()
	}
	return nil
}
