package bridge

import (
	"io"
	"net/http"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/mcp"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/stats"
)

// answer is what the client of a request is sent.
type answer struct {
	w      http.ResponseWriter
	status int
	sent   int64        // bytes of the body
	stream stats.Stream // begun if the answer is an event stream
}

// Watch returns a writer to w that notes in x what is written. Done has to follow when the
// request is over.
func (x *ClientRequest) Watch(w http.ResponseWriter) http.ResponseWriter {
	x.answer.w = w
	return (*answerWriter)(x)
}

// Answered returns the status that the client got, and the bytes of the body. The status is 0 if
// the client got none.
func (x *ClientRequest) Answered() (status int, sent int64) { return x.answer.status, x.answer.sent }

// IsStream reports whether the answer is an event stream.
func (x *ClientRequest) IsStream() bool { return !x.answer.stream.Begun.IsZero() }

// Done has to be called when the request is over.
func (x *ClientRequest) Done() {
	if counts := x.endpoint.cfg.Counts; counts != nil && x.IsStream() {
		counts.StreamClosed(&x.answer.stream)
	}
}

// answerWriter is the response writer of a [ClientRequest].
type answerWriter ClientRequest

// begin notes the header.
func (w *answerWriter) begin(status int) {
	a := &w.answer
	if a.status != 0 || status < http.StatusOK && status != http.StatusSwitchingProtocols {
		return
	}
	a.status = status
	if status == http.StatusOK && mcp.IsEventStream(a.w.Header()) {
		a.stream.Begun = time.Now()
		if counts := w.endpoint.cfg.Counts; counts != nil {
			counts.StreamOpened(&a.stream)
		}
	}
}

// Header implements http.ResponseWriter.
func (w *answerWriter) Header() http.Header { return w.answer.w.Header() }

// WriteHeader implements http.ResponseWriter.
func (w *answerWriter) WriteHeader(status int) {
	w.begin(status)
	w.answer.w.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (w *answerWriter) Write(p []byte) (int, error) {
	w.begin(http.StatusOK)
	n, err := w.answer.w.Write(p)
	w.answer.sent += int64(n)
	return n, err
}

// ReadFrom implements io.ReaderFrom, so that the ReadFrom of the server's writer is used.
func (w *answerWriter) ReadFrom(r io.Reader) (int64, error) {
	w.begin(http.StatusOK)
	n, err := io.Copy(w.answer.w, r)
	w.answer.sent += n
	return n, err
}

// FlushError sends what is written, and the header if that was not sent before.
func (w *answerWriter) FlushError() error {
	w.begin(http.StatusOK)
	return http.NewResponseController(w.answer.w).Flush()
}

// Unwrap lets http.ResponseController find what else the writer can do.
func (w *answerWriter) Unwrap() http.ResponseWriter { return w.answer.w }

// TakeOutcome implements [upstream.OutcomeTaker].
func (w *answerWriter) TakeOutcome(o *stats.Outcome) { w.Outcome = o }
