package stdio

import (
	"bytes"
	"os"
	"sync"
)

// pieceOut is how much is written at once, in bytes: the size of a pipe on
// Linux. What is written leaves the count of what is queued.
const pieceOut = 64 << 10

// keepOut is the largest buffer, in bytes, that an idle queue holds on to.
const keepOut = 64 << 10

// queue is a bounded queue of lines in front of a pipe.
type queue struct {
	f     *os.File
	limit int

	mu     sync.Mutex
	wake   *sync.Cond
	buf    []byte // lines not yet being written
	size   int    // bytes not yet written
	closed bool   // nothing more is accepted
}

// newQueue returns a queue of at most limit bytes in front of f, which it
// will close.
func newQueue(f *os.File, limit int) *queue {
	q := &queue{f: f, limit: limit}
	q.wake = sync.NewCond(&q.mu)
	return q
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
	q.buf = append(q.buf, frame...)
	blank(q.buf[from:], '\n')
	blank(q.buf[from:], '\r')
	q.buf = append(q.buf, '\n')
	q.size += len(frame) + 1
	q.wake.Signal()
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
	q.closed = true
	q.wake.Signal()
}

// abort forgets what is queued and closes the pipe, which ends a write that
// waits.
func (q *queue) abort() {
	q.mu.Lock()
	q.closed, q.buf = true, nil
	q.wake.Signal()
	q.mu.Unlock()
	_ = q.f.Close()
}

// run writes what is queued until finish or abort, or until writing fails.
func (q *queue) run() error {
	var out []byte
	for {
		out = q.take(out)
		if len(out) == 0 {
			return q.f.Close()
		}
		for rest := out; len(rest) > 0; {
			n, err := q.f.Write(rest[:min(len(rest), pieceOut)])
			q.mu.Lock()
			q.size -= n
			q.mu.Unlock()
			if err != nil {
				q.abort()
				return err
			}
			rest = rest[n:]
		}
	}
}

// take waits for lines and returns them; used is the buffer they replace.
// Nothing is left to be written if it returns nothing.
func (q *queue) take(used []byte) []byte {
	if cap(used) > keepOut {
		used = nil
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.buf) == 0 && !q.closed {
		q.wake.Wait()
	}
	lines := q.buf
	q.buf = used[:0]
	return lines
}
