package bridge

import (
	"io"
)

// Sizes of the buffer that a stream of the upstream is read into, in bytes: what a
// quiet one holds, and what one that brings much grows to.
const (
	leastRead = 1 << 10
	mostRead  = 32 << 10
)

// Opener is a writer of answers that reads event streams itself, once it is given
// their header: a proxy holds a large buffer for each stream that it copies, for as
// long as that lasts.
type Opener interface {
	// Opened is called with the body of an event stream before its header is
	// written, and returns what a proxy copies of it.
	Opened(body io.ReadCloser) io.ReadCloser
}

// quietBody is the body of an event stream whose writer reads it. What a proxy reads
// of it is what is left.
type quietBody struct {
	io.ReadCloser
	begun bool // someone has read of it before the writer has
	over  bool
}

// Read implements io.Reader.
func (b *quietBody) Read(p []byte) (int, error) {
	b.begun = true
	if b.over {
		return 0, io.EOF
	}
	return b.ReadCloser.Read(p)
}

// copyTo hands all of the body on. The end of a stream says nothing of how it came
// about: whether it brought what it had to is the reader's to know.
func (b *quietBody) copyTo(w io.Writer) {
	if b.begun { // what was read first comes first
		return
	}
	b.over = true
	buf := make([]byte, leastRead)
	for {
		n, err := b.ReadCloser.Read(buf)
		if n > 0 {
			if _, failed := w.Write(buf[:n]); failed != nil {
				return
			}
		}
		switch {
		case err != nil:
			return
		case n == len(buf) && n < mostRead:
			buf = make([]byte, 2*n)
		case n <= leastRead && len(buf) > leastRead:
			buf = make([]byte, leastRead)
		}
	}
}
