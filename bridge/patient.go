package bridge

import (
	"net/http"
	"time"
)

const (
	// DefaultStall bounds how long a client may take to accept the next part of
	// what it is sent.
	DefaultStall = 30 * time.Second
	// partSize is the size of such a part, in bytes.
	partSize = 64 << 10
	// maxTake bounds what is taken from the session's buffer to be written next, in
	// bytes, if it is more than one message.
	maxTake = 256 << 10
	// maxUnread bounds the answers that wait for clients to read them, as a
	// multiple of the session's buffer. The server waits when it is reached.
	maxUnread = 8
)

// patientWriter writes an answer in parts, and ends the connection of a client that
// does not accept one in time.
type patientWriter struct {
	w       http.ResponseWriter
	control *http.ResponseController
	limit   time.Duration
	stalled *time.Timer
}

func newPatientWriter(w http.ResponseWriter, limit time.Duration) *patientWriter {
	p := &patientWriter{w: w, control: http.NewResponseController(w), limit: limit}
	p.stalled = time.AfterFunc(limit, func() {
		// It ends a write that waits. The deadline that an operator has set is
		// left alone until then.
		_ = p.control.SetWriteDeadline(time.Unix(1, 0))
	})
	p.stalled.Stop()
	return p
}

// Write implements io.Writer.
func (p *patientWriter) Write(b []byte) (n int, err error) {
	defer p.stalled.Stop()
	for n < len(b) && err == nil {
		p.stalled.Reset(p.limit)
		var written int
		written, err = p.w.Write(b[n:min(len(b), n+partSize)])
		n += written
	}
	return n, err
}

// Flush sends what is written.
func (p *patientWriter) Flush() error {
	p.stalled.Reset(p.limit)
	defer p.stalled.Stop()
	return p.control.Flush()
}
