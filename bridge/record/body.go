package record

import (
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"
)

// maxRest bounds, in bytes, the rest of a body that is read into memory when
// the answer comes before the body's end. It is what net/http's server of
// HTTP/1 itself reads, and throws away, before it sends the answer's header.
const maxRest = 256 << 10

// Body passes a request body on that is too large to hold.
//
// It remembers the end of the body: once the announced length was read, or
// the end was seen, the underlying body is not touched again, so that a
// server that closes it early does not break a connection whose request is
// complete. And it keeps the rest of the body when the answer comes before:
// a server of HTTP/1 takes it away as soon as the answer begins, and the
// upstream's connection would die of it, with the answer half read.
type Body struct {
	mu       sync.Mutex
	rc       io.ReadCloser
	ctx      context.Context // of the request: it ends with the answer
	head     []byte
	left     int64 // bytes still announced; -1 where no length was
	limit    int64 // 0: none
	read     int64
	done     bool // the end was seen: nothing but head is left
	cut      bool // the rest is not to be had any more
	err      error
	keep     bool // Answered keeps the rest
	tooLarge atomic.Bool
}

// Read reads the body. Its error is ErrBodyTooLarge past the limit. Where the
// rest was taken away it waits until the request is over, for an upstream that
// answers early is done with it.
func (b *Body) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	b.mu.Lock()
	if len(b.head) > 0 {
		n := copy(p, b.head)
		b.head = b.head[n:]
		var err error
		if b.done && len(b.head) == 0 {
			err = b.end()
		}
		b.mu.Unlock()
		return n, err
	}
	if b.cut {
		b.mu.Unlock()
		<-b.ctx.Done()
		return 0, b.ctx.Err()
	}
	defer b.mu.Unlock()
	if b.done {
		return 0, b.end()
	}
	return b.next(p)
}

// end is what Read returns at the end.
func (b *Body) end() error {
	if b.err != nil {
		return b.err
	}
	return io.EOF
}

// next reads from the client.
func (b *Body) next(p []byte) (int, error) {
	n, err := b.rc.Read(p)
	b.read += int64(n)
	if b.limit > 0 && b.read > b.limit {
		b.tooLarge.Store(true)
		b.done, b.err = true, ErrBodyTooLarge
		return 0, ErrBodyTooLarge
	}
	if b.left > 0 {
		b.left -= int64(n)
		if b.left <= 0 && err == nil {
			err = io.EOF
		}
	}
	if err != nil {
		b.done = true
		if err != io.EOF {
			b.err = err
		}
	}
	return n, err
}

// Answered is called when the upstream's answer has come and nothing of it has
// gone to the client yet. It reads the rest of the body into memory, or, where
// that is too long, cuts the body there.
func (b *Body) Answered() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.done || !b.keep {
		return
	}
	rest := b.head
	chunk := make([]byte, 32<<10)
	for !b.done && len(rest) <= maxRest {
		n, err := b.next(chunk)
		rest = append(rest, chunk[:n]...)
		if err != nil && !errors.Is(err, io.EOF) {
			break
		}
	}
	b.head, b.cut = rest, !b.done
}

// Close leaves the underlying body to its server, which closes it when the
// request is done.
func (b *Body) Close() error { return nil }
