package bridge

import (
	"io"
	"net/http"
	"time"
)

// answer is the response writer of an exchange: it notes what the client is sent.
type answer struct {
	http.ResponseWriter
	x      *Exchange
	status int
	sent   int64     // bytes of the body
	stream time.Time // when a stream of events began; zero: it is none
	// older and newer are the streams of the endpoint that began before and after.
	older, newer *answer
}

// Watch returns w with an eye on it: what is written to it is noted in x. Done has to
// follow when the request is over.
func (x *Exchange) Watch(w http.ResponseWriter) http.ResponseWriter {
	x.answer.ResponseWriter, x.answer.x = w, x
	return &x.answer
}

// Answered returns the status that the client was sent, 0 where nothing was, and the
// bytes of the body.
func (x *Exchange) Answered() (status int, sent int64) { return x.answer.status, x.answer.sent }

// IsStream reports whether the answer is a stream of events.
func (x *Exchange) IsStream() bool { return !x.answer.stream.IsZero() }

// Done is called when the request is over.
func (x *Exchange) Done() {
	if x.IsStream() && x.endpoint.cfg.Observer != nil {
		x.endpoint.cfg.Observer.StreamClosed(x, time.Since(x.answer.stream))
	}
}

// begin notes the header.
func (a *answer) begin(status int) {
	if a.status != 0 || status < http.StatusOK && status != http.StatusSwitchingProtocols {
		return
	}
	a.status = status
	e := a.x.endpoint
	if status == http.StatusOK && e != nil && isEventStream(a.Header()) {
		a.stream = time.Now()
		if e.cfg.Observer != nil {
			e.cfg.Observer.StreamOpened(a.x)
		}
	}
}

// WriteHeader implements http.ResponseWriter.
func (a *answer) WriteHeader(status int) {
	a.begin(status)
	a.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (a *answer) Write(p []byte) (int, error) {
	a.begin(http.StatusOK)
	n, err := a.ResponseWriter.Write(p)
	a.sent += int64(n)
	return n, err
}

// ReadFrom implements io.ReaderFrom, so that the server's own is used.
func (a *answer) ReadFrom(r io.Reader) (int64, error) {
	a.begin(http.StatusOK)
	n, err := io.Copy(a.ResponseWriter, r)
	a.sent += n
	return n, err
}

// FlushError sends what is written; without a header before it, it sends one.
func (a *answer) FlushError() error {
	a.begin(http.StatusOK)
	return http.NewResponseController(a.ResponseWriter).Flush()
}

// Unwrap lets http.ResponseController find what else the writer can.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// outcomeTaker is a response writer that notes what became of a challenge which
// another exchange, behind a message bridge, was answered with.
type outcomeTaker interface{ takeOutcome(o *Outcome) }

func (a *answer) takeOutcome(o *Outcome) { a.x.Outcome = o }

// PassOutcome gives w what became of a challenge that its request is answered with, if
// it wants to know: the outcome of a call made for a client belongs to the client's
// own exchange.
func PassOutcome(w http.ResponseWriter, o *Outcome) {
	if taker, ok := w.(outcomeTaker); ok && o != nil {
		taker.takeOutcome(o)
	}
}
