package forward

import (
	"net/http"
	"sync"
)

// The sizes of the buffers that a body is copied with, in bytes. The large one has the size of
// that of reverse_proxy. An event stream that waits for its next event holds a small one.
const (
	smallSize = 4 << 10
	largeSize = 32 << 10
)

var (
	small = sync.Pool{New: func() any { return new([smallSize]byte) }}
	large = sync.Pool{New: func() any { return new([largeSize]byte) }}
)

// buffer is what a body is copied with: large while there is much to copy.
type buffer struct {
	bytes []byte
	small *[smallSize]byte
	large *[largeSize]byte
	stays bool // its size does
}

// bufferFor returns the buffer for the body of an answer. Any other body than an event stream is
// read in the pieces that reverse_proxy reads: encode compresses an answer of unknown length if
// its first piece is long enough, and what it sends depends on where each piece ends.
func bufferFor(res *http.Response) (b buffer) {
	b.stays = res.ContentLength >= 0 || !isEventStream(res.Header)
	b.use(!b.stays || res.ContentLength >= 0 && res.ContentLength <= smallSize)
	return b
}

// use takes a buffer of one of the sizes.
func (b *buffer) use(isSmall bool) {
	b.release()
	if isSmall {
		b.small = small.Get().(*[smallSize]byte)
		b.bytes = b.small[:]
		return
	}
	b.large = large.Get().(*[largeSize]byte)
	b.bytes = b.large[:]
}

// fit changes the size after a read of n bytes: what was full was too small.
func (b *buffer) fit(n int) {
	switch {
	case b.stays:
	case b.small != nil && n == smallSize:
		b.use(false)
	case b.large != nil && n < smallSize:
		b.use(true)
	}
}

// release gives the buffer back.
func (b *buffer) release() {
	if b.small != nil {
		small.Put(b.small)
	}
	if b.large != nil {
		large.Put(b.large)
	}
	b.small, b.large, b.bytes = nil, nil, nil
}
