package forward

import (
	"net/http"
	"sync"
	"time"
)

// headerDelay is how long the header of an answer that is flushed at once waits for the
// beginning of the body, so that both are sent together.
const headerDelay = time.Millisecond

// flusher writes the body of an answer and flushes it in time.
type flusher struct {
	w        http.ResponseWriter
	control  *http.ResponseController
	interval time.Duration

	mu      sync.Mutex
	timer   *time.Timer
	pending bool // the timer runs
}

// newFlusher returns a flusher for an answer whose header was written to w. The caller has to
// stop it.
func newFlusher(w http.ResponseWriter, interval time.Duration) *flusher {
	f := &flusher{w: w, control: http.NewResponseController(w), interval: interval, pending: true}
	delay := interval
	if interval < 0 {
		delay = headerDelay
	}
	f.timer = time.AfterFunc(delay, f.late)
	return f
}

// Write implements io.Writer.
func (f *flusher) Write(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n, err := f.w.Write(p)
	switch {
	case f.interval < 0:
		if f.pending {
			f.pending = false
			f.timer.Stop()
		}
		// Also the end of the body: handlers before this one may be busy for a while before
		// the server sends the end of the answer.
		f.flush()
	case !f.pending:
		f.pending = true
		f.timer.Reset(f.interval)
	}
	return n, err
}

// flush sends what was written. f.mu is held.
func (f *flusher) flush() {
	_ = f.control.Flush()
}

// late flushes what was written some time ago.
func (f *flusher) late() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.pending { // it was not stopped meanwhile
		f.pending = false
		f.flush()
	}
}

// stop ends the flusher. Nothing is flushed after it. The header of an answer that is flushed at
// once and has no body is flushed now, for the same reason as the end of a body.
func (f *flusher) stop() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.timer.Stop()
	if f.pending && f.interval < 0 {
		f.flush()
	}
	f.pending = false
}
