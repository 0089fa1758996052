// Package ratewriter writes answers to clients that have to accept them at a least rate.
package ratewriter

import (
	"net/http"
	"os"
	"time"
)

const (
	// DefaultStall bounds how long a client may take to accept the next part of an
	// answer.
	DefaultStall = 30 * time.Second
	// DefaultRate is how many bytes a second a client has to accept while something
	// waits for it.
	DefaultRate = 16 << 10
	// PartSize is the size of a part, in bytes. An answer that is shorter never waits
	// for its client.
	PartSize = 64 << 10
)

// Writer writes an answer in parts. It ends the connection of a client that does not
// accept a part in time, or that falls behind the least rate by as much: an answer is not
// kept for hours for a client that accepts a part of it now and then.
type Writer struct {
	w       http.ResponseWriter
	control *http.ResponseController
	limit   time.Duration
	rate    int           // bytes a second
	behind  time.Duration // how much longer the client has taken than the rate allows
	stalled *time.Timer
	fired   chan struct{} // closed when the timer has ended the connection
}

// New returns a writer to w, whose client may fall behind rate, in bytes a second, by
// limit.
func New(w http.ResponseWriter, limit time.Duration, rate int) *Writer {
	p := &Writer{w: w, control: http.NewResponseController(w), limit: limit, rate: rate, fired: make(chan struct{})}
	p.stalled = time.AfterFunc(limit, func() {
		// This ends a write that waits. A deadline that an operator has set is not
		// touched before.
		_ = p.control.SetWriteDeadline(time.Unix(1, 0))
		close(p.fired)
	})
	p.stalled.Stop()
	return p
}

// Write implements io.Writer.
func (p *Writer) Write(b []byte) (n int, err error) {
	for n < len(b) && err == nil {
		part := b[n:min(len(b), n+PartSize)]
		var written int
		err = p.inTime(len(part), func() (err error) {
			written, err = p.w.Write(part)
			return err
		})
		n += written
	}
	return n, err
}

// Flush sends what was written.
func (p *Writer) Flush() error { return p.inTime(0, p.control.Flush) }

// inTime has f write n bytes. It returns an error if the client did not accept them in
// time. The connection is ended within the call or not at all: it may serve another
// request afterwards.
func (p *Writer) inTime(n int, f func() error) error {
	left := p.limit - p.behind
	if left <= 0 {
		return os.ErrDeadlineExceeded
	}
	begun := time.Now()
	p.stalled.Reset(left)
	err := f()
	if !p.stalled.Stop() {
		<-p.fired
		p.behind = p.limit
		return os.ErrDeadlineExceeded
	}
	p.behind = max(0, p.behind+time.Since(begun)-time.Duration(n)*time.Second/time.Duration(p.rate))
	return err
}

// CaughtUp notes that the client has accepted everything there is.
func (p *Writer) CaughtUp() { p.behind = 0 }
