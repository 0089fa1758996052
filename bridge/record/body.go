package record

import (
	"io"
	"sync/atomic"
)

// Body passes a request body on that is too large to hold. It remembers the
// end of the body: once the announced length was read, or the end was seen,
// the underlying body is not touched again, so that a server that closes it
// early does not break a connection whose request is complete.
type Body struct {
	rc       io.ReadCloser
	head     []byte
	left     int64 // bytes still announced; -1 where no length was
	limit    int64 // 0: none
	read     int64
	done     bool
	tooLarge atomic.Bool
}

// Read reads the body. Its error is ErrBodyTooLarge past the limit.
func (b *Body) Read(p []byte) (int, error) {
	if b.done {
		return 0, io.EOF
	}
	if len(p) == 0 {
		return 0, nil
	}
	n, err := b.next(p)
	b.read += int64(n)
	if b.limit > 0 && b.read > b.limit {
		b.tooLarge.Store(true)
		return 0, ErrBodyTooLarge
	}
	if b.left > 0 {
		b.left -= int64(n)
		if b.left <= 0 && err == nil {
			err = io.EOF
		}
	}
	if err == io.EOF {
		b.done = true
	}
	return n, err
}

func (b *Body) next(p []byte) (int, error) {
	if len(b.head) > 0 {
		n := copy(p, b.head)
		b.head = b.head[n:]
		return n, nil
	}
	return b.rc.Read(p)
}

// Close leaves the underlying body to its server, which closes it when the
// request is done.
func (b *Body) Close() error { return nil }
