package bridge

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
)

// Backend has an endpoint's upstream answer requests that are made on behalf of a
// client's, with everything that the endpoint does to an answer: the challenge
// that w gets is the one for that client.
type Backend interface {
	// Detach returns a copy of a client's request that outlives it, and that stays
	// as it is when the client's is done.
	Detach(from *http.Request) *http.Request
	// Call sends one request to the upstream and w, which may be an [Opener], its
	// answer. It returns when the answer is complete. The error is a [*Refusal] without a header, if anything
	// was wrong before that was begun.
	Call(w http.ResponseWriter, c Call) error
}

// Call is one request to the upstream.
type Call struct {
	// Request has all but the path.
	Request *http.Request
	// Message is the escaped path that messages of an HTTP+SSE upstream are posted
	// to. Empty: the endpoint itself.
	Message string
	// Announced is called with the escaped path and the query that an HTTP+SSE
	// upstream announces for messages, once that is known to be on its own origin.
	Announced func(path, query string)
}

const (
	// maxRefusal bounds, in bytes, the body of an answer that is no success.
	maxRefusal = 1 << 20
	// refusalWithin bounds how long that body may take: whoever is refused is told
	// with what there is of it.
	refusalWithin = 2 * time.Second
)

// errTooLong ends an answer that is longer than its bound.
var errTooLong = errors.New("answer exceeds the limit")

// capture is the answer to a call.
type capture struct {
	header http.Header
	status int
	// ready is closed when the header has arrived.
	ready chan struct{}
	// stream returns where the body of a success goes. Nil: it is kept.
	stream func(status int, h http.Header) io.Writer
	// cut ends the call. Nil: nothing bounds how long a refusal takes.
	cut   func()
	limit int // of what is kept, in bytes
	body  bytes.Buffer
	to    io.Writer
	from  *quietBody // of an event stream; nil: it is written
	slow  *time.Timer
	once  sync.Once
	// outcome is what became of the answer's challenge. The caller's goroutine has it
	// when the call is over.
	outcome *Outcome
}

func newCapture(limit int, stream func(int, http.Header) io.Writer) *capture {
	return &capture{header: make(http.Header), ready: make(chan struct{}), stream: stream, limit: limit}
}

func (c *capture) Header() http.Header { return c.header }

// Opened implements Opener.
func (c *capture) Opened(body io.ReadCloser) io.ReadCloser {
	c.from = &quietBody{ReadCloser: body}
	return c.from
}

func (c *capture) takeOutcome(o *Outcome) { c.outcome = o }

func (c *capture) WriteHeader(status int) {
	if status < http.StatusOK {
		return
	}
	begins := false
	c.once.Do(func() {
		begins = true
		c.status = status
		if c.stream != nil {
			c.to = c.stream(status, c.header)
		}
		if status/100 != 2 {
			c.limit = maxRefusal
			if c.cut != nil {
				c.slow = time.AfterFunc(refusalWithin, c.cut)
			}
		}
		close(c.ready)
	})
	if begins && c.to != nil && c.from != nil {
		c.from.copyTo(c.to)
	}
}

func (c *capture) Write(p []byte) (int, error) {
	c.WriteHeader(http.StatusOK)
	if c.to != nil {
		return c.to.Write(p)
	}
	if c.body.Len()+len(p) > c.limit {
		return 0, errTooLong
	}
	return c.body.Write(p)
}

// Flush implements http.Flusher; a write has arrived when it returns.
func (c *capture) Flush() { c.WriteHeader(http.StatusOK) }

// refusal returns the answer, once it is complete, if it is no success.
func (c *capture) refusal(err error) *Refusal {
	select {
	case <-c.ready:
	default:
		var refusal *Refusal
		if errors.As(err, &refusal) {
			return refusal
		}
		return &Refusal{Status: http.StatusBadGateway}
	}
	if c.status/100 == 2 {
		return nil
	}
	if c.slow != nil {
		c.slow.Stop()
	}
	return &Refusal{Status: c.status, Header: c.header, Body: c.body.Bytes(), Outcome: c.outcome}
}

// isStream reports whether an answer is a stream of events.
func (c *capture) isStream() bool { return c.status == http.StatusOK && isEventStream(c.header) }

// about lists the fields of a client's request that are of that request alone, and
// not of whom it comes from.
var about = []string{
	"Accept", "Accept-Encoding", "Content-Encoding", "Content-Length", "Content-Type", "Expect",
	"If-Match", "If-Modified-Since", "If-None-Match", "If-Range", "If-Unmodified-Since", "Last-Event-Id",
	"Mcp-Method", "Mcp-Name", "Mcp-Protocol-Version", sessionHeader, "Range", "Te", "Trailer", "Transfer-Encoding",
}

// derive returns a request of its own on behalf of a detached one.
func derive(ctx context.Context, detached *http.Request, method string, body []byte) *http.Request {
	r := detached.Clone(ctx)
	r.Method = method
	for _, name := range about {
		delete(r.Header, name)
	}
	for name := range r.Header {
		if strings.HasPrefix(name, "Mcp-Param-") {
			delete(r.Header, name)
		}
	}
	r.Header["Accept-Encoding"] = []string{"identity"}
	r.Body, r.GetBody, r.ContentLength, r.TransferEncoding, r.Trailer = http.NoBody, nil, 0, nil, nil
	if body != nil {
		r.Header["Content-Type"] = []string{"application/json"}
		r.ContentLength = int64(len(body))
		r.Body = io.NopCloser(bytes.NewReader(body))
	}
	return r
}

// bind returns the context of a call on behalf of a detached request: its values, and
// the end of the conversation's context.
func bind(conversation context.Context, detached *http.Request) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(detached.Context())
	stop := context.AfterFunc(conversation, cancel)
	return ctx, func() {
		stop()
		cancel()
	}
}

// link has cancel called when the client's request ends, until the returned function
// is called.
func link(from *http.Request, cancel context.CancelFunc) (unlink func() bool) {
	if from == nil {
		return func() bool { return true }
	}
	return context.AfterFunc(from.Context(), cancel)
}

// pingFrame is a request that a server of any handshake revision answers; whoever
// reads the answer knows no such id and drops it.
func pingFrame() []byte {
	return []byte(`{"jsonrpc":"2.0","id":"` + newID() + `","method":"ping"}`)
}

// checker is a peer that can tell whether it still takes a client's requests.
type checker interface {
	// Check asks the server. The error is what Send's is.
	Check(from *http.Request) error
}

// lostAnswer is the answer to a request whose answer got lost.
func lostAnswer(m message.Message, text string) []byte {
	return message.Error(m.RawID, message.CodeInternal, text)
}

// lostEdge is how much is looked at, in bytes, of either end of a frame that is no
// message.
const lostEdge = 1 << 10

// lostIn returns the error that answers a request whose answer is a frame that is no
// message (too deep, or with a member twice), if it can be told which that is.
func lostIn(frame []byte) []message.Message {
	id := message.Lost(frame[:min(len(frame), lostEdge)], frame[max(0, len(frame)-lostEdge):])
	if id == nil {
		return nil
	}
	m, err := message.Parse(message.Error(id, message.CodeInternal, "the server's answer is no message of JSON-RPC"))
	if err != nil {
		return nil
	}
	return []message.Message{m}
}
