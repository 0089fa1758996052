package upstream

import (
	"io"
)

// Sizes of the buffer that a stream of the upstream is read into, in bytes: that of an idle
// stream, and the largest.
const (
	leastRead = 1 << 10
	mostRead  = 32 << 10
)

// Opener is a response writer that reads the body of an event stream itself. A proxy that
// copies the body holds a large buffer for as long as the stream lasts.
type Opener interface {
	// Opened is called with the body of an event stream before the header is written. It
	// returns the body that the proxy then copies.
	Opened(body io.ReadCloser) io.ReadCloser
}

// streamBody lets the response writer read an event stream itself. The proxy finds the body
// at its end.
type streamBody struct {
	io.ReadCloser
	begun bool // something was read before the response writer began
	over  bool
}

// Read implements io.Reader.
func (b *streamBody) Read(p []byte) (int, error) {
	b.begun = true
	if b.over {
		return 0, io.EOF
	}
	return b.ReadCloser.Read(p)
}

// copyTo copies all of the body. It does not report how the stream ended: the reader knows
// whether everything has arrived.
func (b *streamBody) copyTo(w io.Writer) {
	if b.begun { // the bytes that were read ahead come first
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
