package record

import (
	"io"
	"net/http"
)

// relay watches how a proxy passes an answer on. A proxy whose copy breaks off logs the whole
// request, at a level that is on by default: the query, the session id, and each field that
// it does not know to be secret. So the proxy is given an answer that ends where it breaks
// off. The caller then asks [Record.Broken] what happened, and aborts the answer.
type relay struct {
	w    http.ResponseWriter
	body io.ReadCloser
	err  error // why the answer is not complete
	left bool  // a write to the client failed
	lost int   // bytes written after that
}

// maxLost bounds, in bytes, what may be written to a client that has left. A proxy writes
// one buffer and then sees the end of the body; other writers need an error.
const maxLost = 64 << 10

// Relay returns the response writer that a proxy has to write the answer to, in place of w.
func (rec *Record) Relay(w http.ResponseWriter) http.ResponseWriter {
	rec.relay.w = w
	return (*relayWriter)(&rec.relay)
}

// Broken returns why the answer was not passed on completely, and nil if it was. clientLeft
// is true if the client could not be written to.
func (rec *Record) Broken() (clientLeft bool, err error) { return rec.relay.left, rec.relay.err }

// reset forgets the answer of an earlier attempt.
func (t *relay) reset() { t.body, t.err, t.left = nil, nil, false }

// watch watches the body of an answer.
func (t *relay) watch(res *http.Response) {
	// After 101 the body is a connection, and the proxy has to see that.
	if t.w != nil && res.StatusCode != http.StatusSwitchingProtocols {
		t.body = res.Body
		res.Body = (*relayBody)(t)
	}
}

// relayBody is the body of the upstream's answer, as the proxy sees it.
type relayBody relay

// Read implements io.Reader.
func (b *relayBody) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, io.EOF
	}
	n, err := b.body.Read(p)
	if err != nil && err != io.EOF { // io.Reader's contract
		b.err, err = err, io.EOF
	}
	return n, err
}

// Close implements io.Closer.
func (b *relayBody) Close() error { return b.body.Close() }

// relayWriter is the writer that the proxy writes the answer to.
type relayWriter relay

// Header implements http.ResponseWriter.
func (w *relayWriter) Header() http.Header { return w.w.Header() }

// WriteHeader implements http.ResponseWriter. An answer without Content-Type stays without: net/http
// would make one up from the body, unless the header is flushed before.
func (w *relayWriter) WriteHeader(status int) {
	const contentType = "Content-Type"
	if h := w.w.Header(); len(h[contentType]) == 0 {
		h[contentType] = nil
	}
	w.w.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (w *relayWriter) Write(p []byte) (int, error) {
	n, err := w.w.Write(p)
	if err == nil && n < len(p) {
		err = io.ErrShortWrite // of the writer of another plugin
	}
	if err == nil || w.body == nil {
		return n, err
	}
	if w.err == nil {
		w.err, w.left = err, true
	}
	if w.lost += len(p); w.lost > maxLost {
		return n, err
	}
	return len(p), nil // and the body has ended
}

// ReadFrom implements io.ReaderFrom, so that the ReadFrom of the server's writer is used.
func (w *relayWriter) ReadFrom(r io.Reader) (int64, error) { return io.Copy(w.w, r) }

// Unwrap lets http.ResponseController find what else the writer can do.
func (w *relayWriter) Unwrap() http.ResponseWriter { return w.w }
