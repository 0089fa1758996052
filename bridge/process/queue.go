package process

import (
	"bytes"
	"os"
	"slices"
	"sync"
)

// pieceOut is the size of one write, in bytes: that of a pipe on Linux. After each write the
// queue has room for as much again.
const pieceOut = 64 << 10

// queue is a bounded queue of lines in front of a pipe. An empty queue has no buffer and no
// goroutine.
type queue struct {
	f      *os.File
	limit  int
	spawn  func(func()) // starts a goroutine
	failed func()       // called when writing to the pipe fails

	mu      sync.Mutex
	buf     []byte // lines that are not being written yet
	size    int    // bytes that are not written yet
	writing bool   // a goroutine writes
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

// blank replaces each c with a space.
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

// finish refuses further frames. The pipe is closed when the queue is written.
func (q *queue) finish() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed = true; !q.writing {
		_ = q.f.Close()
	}
}

// abort drops what is queued and closes the pipe. A blocked write returns.
func (q *queue) abort() {
	q.mu.Lock()
	q.closed, q.buf = true, nil
	q.mu.Unlock()
	_ = q.f.Close()
}

// run writes until the queue is empty or writing fails.
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

// take returns the queued lines. If there are none it returns nil, and the goroutine that
// writes must end.
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
