// Package filter reads the JSON-RPC messages of an answer on their way to the client, in JSON
// and in event streams, and changes them. A writer of [New] reads each of them, one of [Guard] those
// with certain words. All other bytes stay as they are.
package filter

import (
	"io"
	"net/http"
)

// Writer is a response writer for the answer of a server. Close has to follow when the answer
// is complete.
type Writer struct {
	to     http.ResponseWriter
	header func(http.Header) // called before the header is sent, also that of a 1xx; may be nil
	mode   mode
	body   body // nil before the answer has a header
}

// mode is what a writer is for: to change messages, to show them, or to pass on the answer.
type mode interface {
	// open returns the body of an answer that has this status and header. It may change the
	// header.
	open(to http.ResponseWriter, status int, h http.Header) body
}

// body is where the body of one answer is written to.
type body interface {
	// begin sends the header, unless the body decides about it.
	begin(status int)
	write(p []byte) (int, error)
	// mayFlush reports whether a part of the answer may be sent before the others.
	mayFlush() bool
	// close returns why the answer was not passed on, if it was not.
	close() error
}

// PassOn returns a writer to w that reads no message. header, which may be nil, is called
// before the header of the answer is sent.
func PassOn(w http.ResponseWriter, header func(http.Header)) *Writer {
	return &Writer{to: w, header: header, mode: passOn{}}
}

// Header implements http.ResponseWriter.
func (w *Writer) Header() http.Header { return w.to.Header() }

// WriteHeader implements http.ResponseWriter.
func (w *Writer) WriteHeader(status int) {
	switch {
	case w.body != nil:
		return
	case status < http.StatusOK:
		if w.header != nil {
			w.header(w.to.Header()) // which is that of this answer alone
		}
		w.to.WriteHeader(status)
		return
	}
	h := w.to.Header()
	w.body = w.mode.open(w.to, status, h)
	if w.header != nil {
		w.header(h)
	}
	w.body.begin(status)
}

// Write implements http.ResponseWriter.
func (w *Writer) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	return w.body.write(p)
}

// ReadFrom implements io.ReaderFrom.
func (w *Writer) ReadFrom(r io.Reader) (int64, error) {
	w.WriteHeader(http.StatusOK)
	if _, ok := w.body.(passed); ok {
		return io.Copy(w.to, r)
	}
	return io.Copy(struct{ io.Writer }{w}, r)
}

// FlushError sends what can be sent.
func (w *Writer) FlushError() error {
	w.WriteHeader(http.StatusOK)
	if !w.body.mayFlush() {
		return nil
	}
	return http.NewResponseController(w.to).Flush()
}

// Unwrap lets http.ResponseController find what else the writer can do.
func (w *Writer) Unwrap() http.ResponseWriter { return w.to }

// Close ends the answer. It returns why the answer of the server was not passed on, if it was
// not.
func (w *Writer) Close() error {
	if w.body == nil {
		return nil
	}
	return w.body.close()
}

// passOn is the mode of a writer that reads no message.
type passOn struct{}

func (passOn) open(to http.ResponseWriter, _ int, _ http.Header) body { return passed{to} }

// passed is a body whose bytes go to the client as they come.
type passed struct{ to http.ResponseWriter }

func (b passed) begin(status int)            { b.to.WriteHeader(status) }
func (b passed) write(p []byte) (int, error) { return b.to.Write(p) }
func (b passed) mayFlush() bool              { return true }
func (b passed) close() error                { return nil }
