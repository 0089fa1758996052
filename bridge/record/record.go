// Package record makes the round trip of one request to the upstream, and keeps the
// header of the answer and the request body, so that the request can be sent again.
//
// A Record belongs to one request. RoundTrip runs between the proxy and the real
// transport. It lets the bridge edit the answer as soon as the header has arrived,
// before the proxy copies it, so no response writer is needed in between.
package record

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"strings"

	"golang.org/x/net/http/httpguts"
)

// ErrBodyTooLarge says that the client's body exceeds the limit.
var ErrBodyTooLarge = errors.New("request body exceeds the limit")

// RoundTripFunc is the real transport.
type RoundTripFunc func(*http.Request) (*http.Response, error)

// Hooks take part in a round trip once the response header has arrived.
type Hooks interface {
	// Redo is called once. If it returns true the answer is discarded, and the
	// request is sent once more to Path, which Redo may have changed. It is not
	// called if the request cannot be repeated.
	Redo(*Record, *http.Response) bool

	// Edit changes the response before the proxy sees it.
	Edit(*Record, *http.Response)

	// Inform changes the header of an informational answer (1xx) before the proxy sees it. It
	// may be called on another goroutine, and after the round trip.
	Inform(http.Header)
}

// Record is one request to the upstream: what to send, and what the upstream
// answered.
type Record struct {
	// Path is the path at the upstream, unescaped. If it is empty the path of the
	// request is used.
	Path string

	// RawPath is the escaped form of Path if it differs from the default encoding,
	// as in url.URL.
	RawPath string

	// Identity asks the upstream for a body without content coding.
	Identity bool

	// Status is the status of the upstream's answer, or 0 if there is none yet.
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
	relay   relay
}

// Hold reads the body of r into memory if it has at most limit bytes, so that it can
// be sent in one piece and sent again. A larger body is passed on and bounded to max
// bytes (0 means no bound). Hold replaces the Body of the request. It returns
// ErrBodyTooLarge if the announced length exceeds max, or the error of reading the
// body. The answer to r will be written to w, which may be nil.
//
// Holding a body also protects the connection: if the upstream answers before its
// transport has read to the end of the body, the last read would fail once the server
// closes the body.
func (rec *Record) Hold(w http.ResponseWriter, r *http.Request, limit, maxBytes int64) error {
	if r.Body == nil || r.Body == http.NoBody || r.ContentLength == 0 {
		return nil
	}
	rec.hasBody = true
	if maxBytes > 0 && r.ContentLength > maxBytes {
		return ErrBodyTooLarge
	}
	if len(r.Trailer) > 0 || r.ContentLength > limit {
		rec.stream(w, r, nil, r.ContentLength, maxBytes)
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
	return rec.holdUnknown(w, r, limit, maxBytes)
}

// holdUnknown holds a body whose length was not announced.
func (rec *Record) holdUnknown(w http.ResponseWriter, r *http.Request, limit, maxBytes int64) error {
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
	rec.stream(w, r, buf.Bytes(), -1, maxBytes)
	return nil
}

// stream passes the body on as it arrives, after the part that was read already.
func (rec *Record) stream(w http.ResponseWriter, r *http.Request, head []byte, left, maxBytes int64) {
	rec.body = &Body{
		rc: r.Body, ctx: r.Context(), head: head, left: left, limit: maxBytes,
		w: w, http1: r.ProtoMajor == 1,
	}
	rec.body.read.Store(int64(len(head)))
	r.Body = rec.body
}

func (rec *Record) hold(r *http.Request, held []byte) {
	rec.held, rec.isHeld = held, true
	r.Body = replay(held)
}

// Held returns the body, and true if it is held.
func (rec *Record) Held() []byte { return rec.held }

// SetHeld replaces a held body in requests that are sent from now on.
func (rec *Record) SetHeld(body []byte) {
	if rec.isHeld {
		rec.held = body
	}
}

// Again returns the body from its start, for a request that can be sent again.
func (rec *Record) Again() io.ReadCloser {
	if !rec.isHeld {
		return http.NoBody
	}
	return replay(rec.held)
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
	return rec.body.read.Load()
}

// ClientFailed reports whether the body could not be passed on because the client
// stopped sending it or exceeded the limit.
func (rec *Record) ClientFailed() bool {
	return rec.body != nil && rec.body.failed.Load()
}

// Reset clears the answer of an earlier attempt.
func (rec *Record) Reset() {
	rec.Status, rec.Challenge = 0, nil
}

// RoundTrip sends req, a request that the caller owns, through rt and fills
// the record. It edits req in place: a proxy passes its own copy. The hooks see the
// answer and may change it; without hooks (nil) it passes as it is.
func (rec *Record) RoundTrip(req *http.Request, rt RoundTripFunc, hooks Hooks) (*http.Response, error) {
	rec.Reset()
	rec.relay.reset()
	if hooks != nil {
		informed(req, hooks)
	}
	res, err := rec.once(req, rt)
	if err != nil {
		return nil, err
	}
	if hooks != nil && rec.Repeatable() && hooks.Redo(rec, res) {
		_ = res.Body.Close()
		if res, err = rec.once(req, rt); err != nil {
			return nil, err
		}
	}
	rec.Status = res.StatusCode
	rec.Challenge = res.Header["Www-Authenticate"]
	if hooks != nil {
		hooks.Edit(rec, res)
	}
	rec.relay.watch(res)
	return res, nil
}

// informed has the hooks change the informational answers to req that a proxy asks for.
func informed(req *http.Request, hooks Hooks) {
	trace := httptrace.ContextClientTrace(req.Context())
	if trace == nil || trace.Got1xxResponse == nil {
		return
	}
	pass := trace.Got1xxResponse
	trace.Got1xxResponse = func(status int, header textproto.MIMEHeader) error {
		hooks.Inform(http.Header(header))
		return pass(status, header)
	}
}

// once sends the request once.
func (rec *Record) once(req *http.Request, rt RoundTripFunc) (*http.Response, error) {
	res, err := rec.send(req, rt)
	if err == nil && res.StatusCode < 100 { // net/http reads three digits, and panics if they are written
		_ = res.Body.Close()
		return nil, fmt.Errorf("the server answered with the status %03d, which HTTP does not have (RFC 9110 section 15)", res.StatusCode)
	}
	if err == nil && res.StatusCode == http.StatusSwitchingProtocols && !switches(req.Header, res.Header) {
		_ = res.Body.Close()
		return nil, errors.New("the server switched to a protocol that the request had not asked for (RFC 9110 section 7.8)")
	}
	return res, err
}

// switches reports whether a request asks for another protocol on its connection, and the answer
// grants that one. For another answer 101 reverse_proxy makes an empty 200, or gives the client the
// connection to the server.
func switches(request, answer http.Header) bool {
	granted := upgrade(answer)
	return granted != "" && strings.EqualFold(upgrade(request), granted)
}

// upgrade returns the protocol that a header asks for or grants, and "" if there is none.
func upgrade(h http.Header) string {
	if !httpguts.HeaderValuesContainsToken(h["Connection"], "Upgrade") {
		return ""
	}
	return h.Get("Upgrade")
}

func (rec *Record) send(req *http.Request, rt RoundTripFunc) (*http.Response, error) {
	if rec.Path != "" {
		req.URL.Path, req.URL.RawPath = rec.Path, rec.RawPath
	}
	if rec.Identity {
		req.Header["Accept-Encoding"] = []string{"identity"}
	}
	if rec.isHeld {
		req.Body = replay(rec.held)
		req.GetBody = func() (io.ReadCloser, error) { return replay(rec.held), nil }
		// The length is known, so header and body are sent in one write. No
		// later write can fail after an upstream has answered without reading.
		req.ContentLength, req.TransferEncoding = int64(len(rec.held)), nil
	}
	// Some servers begin a stream for HEAD as for GET. For the client the answer ends
	// with the header, but such a server continues the stream and answers nothing else
	// on the connection.
	req.Close = req.Close || req.Method == http.MethodHead
	rec.Host, rec.Dial = req.Host, req.URL.Host
	if rec.body != nil {
		if req.Body != nil {
			// HTTP/2 closes a body that it still reads if the answer comes early. A proxy's
			// body, around this one, need not be safe for that. To close this one does nothing.
			req.Body = io.NopCloser(req.Body)
		}
		rec.body.Ask()
		res, err := guarded(req, rt)
		rec.Scheme = req.URL.Scheme
		if err == nil {
			rec.body.Answered()
		} else {
			rec.body.endConnection()
		}
		return res, err
	}
	res, err := rt(req)
	rec.Scheme = req.URL.Scheme
	return res, err
}

// replay returns a reader that net/http recognizes as one in memory and writes
// together with the request's header.
func replay(b []byte) io.ReadCloser {
	if len(b) == 0 {
		return http.NoBody // net/http sends any other body of length 0 in chunks
	}
	return io.NopCloser(bytes.NewReader(b))
}

// FirstLine returns the first line of a field that has one value (RFC 9110 section 5.3),
// and removes further lines: they would not be mapped, and clients differ in which line
// they use.
func FirstLine(h http.Header, name string) (string, bool) {
	lines := h[name]
	if len(lines) == 0 {
		return "", false
	}
	if len(lines) > 1 {
		h[name] = lines[:1:1]
	}
	return lines[0], true
}
