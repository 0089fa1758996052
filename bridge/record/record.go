// Package record keeps what an upstream said in answer to one request, and
// holds what is needed to ask it again: the scoped transport of the bridge.
//
// A Record belongs to one request. It is filled by RoundTrip, between the
// proxy and the real transport, at the moment when the response header has
// arrived and before anything of it is copied downstream; so a response is
// edited without a response writer in between.
package record

import (
	"bytes"
	"errors"
	"io"
	"net/http"
)

// ErrBodyTooLarge says that the client sent more than Body's limit.
var ErrBodyTooLarge = errors.New("request body exceeds the limit")

// RoundTripFunc is the real transport.
type RoundTripFunc func(*http.Request) (*http.Response, error)

// Hooks take part in a round trip once the response header has arrived.
type Hooks interface {
	// Redo is asked once: if it returns true, the answer is discarded and
	// the request is sent once more to Path, which Redo may have changed.
	// It is asked only where the request can be repeated.
	Redo(*Record, *http.Response) bool

	// Edit changes the response before the proxy sees it.
	Edit(*Record, *http.Response)
}

// Record is what one request is about to ask of its upstream, and what the
// upstream answered.
type Record struct {
	// Path is the path to ask the upstream for, unescaped. Empty leaves
	// the request's own.
	Path string

	// RawPath is the escaped form of Path where it differs from the
	// default encoding, as in url.URL.
	RawPath string

	// Identity asks the upstream for a body without content coding.
	Identity bool

	// Hooks look at the answer and change it. Nil: it passes as it is.
	Hooks Hooks

	// Status of the upstream's answer; 0 while there is none.
	Status int

	// Host is the Host field that was sent to the upstream.
	Host string

	// Scheme and Dial are the scheme that was used and the address that
	// the request was sent to, "host:port".
	Scheme, Dial string

	// Challenge holds the WWW-Authenticate lines as the upstream sent them.
	Challenge []string

	held    []byte
	isHeld  bool
	hasBody bool
	body    *Body
}

// Hold reads the body of r into memory if it is no larger than limit bytes,
// so that it can be sent at once and sent again, and bounds it to max bytes
// otherwise (0: no bound). The request's Body is replaced. It returns
// ErrBodyTooLarge where the announced length already exceeds max, or the
// error of reading the body.
//
// A held body also keeps the connection to the client whole: an upstream
// that answers before its transport has seen the end of the body would
// otherwise leave a read that fails once the server closes the body.
func (rec *Record) Hold(r *http.Request, limit, maxBytes int64) error {
	if r.Body == nil || r.Body == http.NoBody || r.ContentLength == 0 {
		return nil
	}
	rec.hasBody = true
	if maxBytes > 0 && r.ContentLength > maxBytes {
		return ErrBodyTooLarge
	}
	if len(r.Trailer) > 0 || r.ContentLength > limit {
		rec.stream(r, nil, r.ContentLength, maxBytes)
		return nil
	}
	if r.ContentLength > 0 {
		held := make([]byte, r.ContentLength)
		if _, err := io.ReadFull(r.Body, held); err != nil {
			return err
		}
		rec.hold(r, held)
		return nil
	}
	return rec.holdUnknown(r, limit, maxBytes)
}

// holdUnknown holds a body whose length was not announced.
func (rec *Record) holdUnknown(r *http.Request, limit, maxBytes int64) error {
	var buf bytes.Buffer
	n, err := io.Copy(&buf, io.LimitReader(r.Body, limit+1))
	if err != nil {
		return err
	}
	if n <= limit {
		if maxBytes > 0 && n > maxBytes {
			return ErrBodyTooLarge
		}
		rec.hold(r, buf.Bytes())
		r.ContentLength = n
		return nil
	}
	rec.stream(r, buf.Bytes(), -1, maxBytes)
	return nil
}

// stream passes the body on as it comes, after what was read of it already.
func (rec *Record) stream(r *http.Request, head []byte, left, maxBytes int64) {
	rec.body = &Body{
		rc: r.Body, ctx: r.Context(), head: head, left: left, limit: maxBytes, read: int64(len(head)),
		keep: r.ProtoMajor == 1,
	}
	r.Body = rec.body
}

func (rec *Record) hold(r *http.Request, held []byte) {
	rec.held, rec.isHeld = held, true
	r.Body = replay(held)
}

// Held returns the body, if it is held.
func (rec *Record) Held() []byte { return rec.held }

// SetHeld replaces a body that is held, in what is sent from now on.
func (rec *Record) SetHeld(body []byte) {
	if rec.isHeld {
		rec.held = body
	}
}

// Repeatable reports whether the request can be sent more than once.
func (rec *Record) Repeatable() bool { return !rec.hasBody || rec.isHeld }

// TooLarge reports whether the client sent more than the limit while the
// body was being passed on.
func (rec *Record) TooLarge() bool { return rec.body != nil && rec.body.tooLarge.Load() }

// Received returns how many bytes of the body the client has sent so far.
func (rec *Record) Received() int64 {
	if rec.body == nil {
		return int64(len(rec.held))
	}
	rec.body.mu.Lock()
	defer rec.body.mu.Unlock()
	return rec.body.read
}

// ClientFailed reports whether the client is to blame for a body that could not be
// passed on: it broke off, or sent more than the limit.
func (rec *Record) ClientFailed() bool {
	if rec.body == nil {
		return false
	}
	rec.body.mu.Lock()
	defer rec.body.mu.Unlock()
	return rec.body.err != nil
}

// Reset forgets the answer of an earlier attempt.
func (rec *Record) Reset() {
	rec.Status, rec.Challenge = 0, nil
}

// RoundTrip sends req, a request that the caller owns, through rt and fills
// the record. It edits req in place: a proxy hands its own copy.
func (rec *Record) RoundTrip(req *http.Request, rt RoundTripFunc) (*http.Response, error) {
	rec.Reset()
	res, err := rec.once(req, rt)
	if err != nil {
		return nil, err
	}
	if rec.Hooks != nil && rec.Repeatable() && rec.Hooks.Redo(rec, res) {
		_ = res.Body.Close()
		if res, err = rec.once(req, rt); err != nil {
			return nil, err
		}
	}
	rec.Status = res.StatusCode
	rec.Challenge = res.Header["Www-Authenticate"]
	if rec.Hooks != nil {
		rec.Hooks.Edit(rec, res)
	}
	return res, nil
}

func (rec *Record) once(req *http.Request, rt RoundTripFunc) (*http.Response, error) {
	if rec.Path != "" {
		req.URL.Path, req.URL.RawPath = rec.Path, rec.RawPath
	}
	if rec.Identity {
		req.Header["Accept-Encoding"] = []string{"identity"}
	}
	if rec.isHeld {
		req.Body = replay(rec.held)
		req.GetBody = func() (io.ReadCloser, error) { return replay(rec.held), nil }
		// The length is known now: one write, and none that can fail after
		// an upstream has answered without reading.
		req.ContentLength, req.TransferEncoding = int64(len(rec.held)), nil
	}
	// There are servers that begin a stream for HEAD as for GET. To a client its answer
	// is over with the header, but the server goes on, and answers nothing else on that
	// connection.
	req.Close = req.Close || req.Method == http.MethodHead
	rec.Host, rec.Dial = req.Host, req.URL.Host
	if rec.body != nil {
		res, err := guarded(req, rt)
		rec.Scheme = req.URL.Scheme
		if err == nil {
			rec.body.Answered()
		}
		return res, err
	}
	res, err := rt(req)
	rec.Scheme = req.URL.Scheme
	return res, err
}

// replay is a reader that net/http recognizes as one in memory, and so
// writes together with the request's header.
func replay(b []byte) io.ReadCloser { return io.NopCloser(bytes.NewReader(b)) }
