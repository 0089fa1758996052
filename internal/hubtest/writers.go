package hubtest

import (
	"bytes"
	"net/http"
	"os"
	"sync"
	"testing"
	"time"
)

// StuckWriter is the answer to a client that accepts so many bytes and no more.
type StuckWriter struct {
	header http.Header
	Left   int
	Mu     sync.Mutex
	Body   bytes.Buffer
	Cut    chan struct{} // closed when the deadline of writes has passed
	Once   sync.Once
}

// NewStuckWriter returns the answer to a client that accepts so many bytes.
func NewStuckWriter(accepts int) *StuckWriter {
	return &StuckWriter{header: make(http.Header), Left: accepts, Cut: make(chan struct{})}
}

func (w *StuckWriter) Header() http.Header { return w.header }

func (w *StuckWriter) WriteHeader(int) {}

func (w *StuckWriter) Flush() {}

func (w *StuckWriter) Write(p []byte) (int, error) {
	w.Mu.Lock()
	n := min(len(p), w.Left)
	w.Left -= n
	w.Body.Write(p[:n])
	w.Mu.Unlock()
	if n < len(p) {
		<-w.Cut
		return n, os.ErrDeadlineExceeded
	}
	return n, nil
}

func (w *StuckWriter) SetWriteDeadline(d time.Time) error {
	if !d.IsZero() && d.Before(time.Now()) {
		w.Once.Do(func() { close(w.Cut) })
	}
	return nil
}

// SlowWriter waits until its client accepts more.
type SlowWriter struct{ *StuckWriter }

func (w SlowWriter) Write(p []byte) (int, error) {
	for {
		w.Mu.Lock()
		enough := w.Left >= len(p)
		w.Mu.Unlock()
		select {
		case <-w.Cut:
			return 0, os.ErrDeadlineExceeded
		default:
		}
		if enough {
			return w.StuckWriter.Write(p)
		}
		time.Sleep(time.Second)
	}
}

// LateWriter is the answer to a client that accepts a part in the very moment in which
// it would be cut off.
type LateWriter struct {
	Fields   http.Header
	Takes    time.Duration
	Returned bool
	Mu       sync.Mutex
	Cut      bool
	T        *testing.T
}

func (w *LateWriter) Header() http.Header { return w.Fields }

func (w *LateWriter) WriteHeader(int) {}

func (w *LateWriter) Write(p []byte) (int, error) {
	time.Sleep(w.Takes)
	return len(p), nil
}

func (w *LateWriter) SetWriteDeadline(time.Time) error {
	w.Mu.Lock()
	defer w.Mu.Unlock()
	if w.Returned {
		w.T.Error("the connection is cut off after the answer, and so is what follows on it")
	}
	w.Cut = true
	return nil
}
