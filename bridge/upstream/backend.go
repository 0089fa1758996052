package upstream

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/identity"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/mcp"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/stats"
)

// Backend sends requests of the bridge to the upstream of an endpoint, on behalf of a
// client's request. The endpoint edits the answer as if it was the client's: the challenge
// that the response writer gets is the one for that client.
type Backend interface {
	// Detach returns a copy of a client's request that can be used after the client's
	// request is over.
	Detach(from *http.Request) *http.Request
	// Call sends one request to the upstream and writes the answer to w, which may be an
	// [Opener]. It returns when the answer is complete. The error is a [*Refusal] without
	// a header if something failed before the answer began.
	Call(w http.ResponseWriter, c Call) error
}

// Call is one request to the upstream.
type Call struct {
	// Request has all but the path.
	Request *http.Request
	// Message is what the body of Request has, if that is a message.
	Message message.Message
	// Path is the escaped path that messages of an HTTP+SSE upstream are posted to. Without
	// it the request is for the endpoint itself.
	Path string
	// Announced is called with the escaped path and the query that an HTTP+SSE
	// upstream announces for messages, once that is known to be on its own origin.
	Announced func(path, query string)
}

const (
	// maxRefusal bounds, in bytes, the body of an answer that is no success.
	maxRefusal = 1 << 20
	// RefusalWithin bounds how long that body may take. After that the client is refused
	// with the part that has arrived.
	RefusalWithin = 2 * time.Second
)

// errTooLong ends an answer that is longer than its bound.
var errTooLong = errors.New("answer exceeds the limit")

// capture is the answer to a call.
type capture struct {
	header http.Header
	status int
	// ready is closed when the header has arrived.
	ready chan struct{}
	// stream returns where the body of a success goes. If it is nil, or returns nil, the
	// body is kept.
	stream func(status int, h http.Header) io.Writer
	// cut ends the call when the body of a refusal takes too long. It may be nil.
	cut   func()
	limit int // of what is kept, in bytes
	body  bytes.Buffer
	to    io.Writer
	from  *streamBody // of an event stream; nil: it is written
	slow  *time.Timer
	once  sync.Once
	// outcome is what became of the answer's challenge. The caller's goroutine has it
	// when the call is over.
	outcome *stats.Outcome
}

func newCapture(limit int, stream func(int, http.Header) io.Writer) *capture {
	return &capture{header: make(http.Header), ready: make(chan struct{}), stream: stream, limit: limit}
}

func (c *capture) Header() http.Header { return c.header }

// Opened implements [Opener].
func (c *capture) Opened(body io.ReadCloser) io.ReadCloser {
	c.from = &streamBody{ReadCloser: body}
	return c.from
}

// TakeOutcome implements [OutcomeTaker].
func (c *capture) TakeOutcome(o *stats.Outcome) { c.outcome = o }

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
				c.slow = time.AfterFunc(RefusalWithin, c.cut)
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
func (c *capture) isStream() bool { return c.status == http.StatusOK && mcp.IsEventStream(c.header) }

// derive returns a request of its own on behalf of a detached one.
func derive(ctx context.Context, detached *http.Request, method string, body []byte) *http.Request {
	r := detached.Clone(ctx)
	r.Method = method
	identity.Carry(r.Header)
	r.Header["Accept-Encoding"] = []string{"identity"}
	r.Body, r.GetBody, r.ContentLength, r.TransferEncoding, r.Trailer = http.NoBody, nil, 0, nil, nil
	if body != nil {
		r.Header["Content-Type"] = []string{"application/json"}
		r.ContentLength = int64(len(body))
		r.Body = io.NopCloser(bytes.NewReader(body))
	}
	return r
}

// bind returns the context of a call on behalf of a detached request. It has the values of
// that request, and ends with the conversation's context.
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

// newPing returns a request that a server of any handshake revision answers. No request of
// a client has its id, so that the answer is dropped.
func newPing() message.Message { return message.NewRequest([]byte(`"`+mcp.NewID()+`"`), "ping", nil) }

// LostAnswer returns the error that answers a request whose answer was lost.
func LostAnswer(m message.Message, text string) message.Message {
	return message.NewError(m.RawID, message.CodeInternal, text)
}

// lostEdge is how much is looked at, in bytes, of either end of a text that is not a
// message.
const lostEdge = 1 << 10

// edgesOf returns the first and the last bytes of a text that is not a message.
func edgesOf(text []byte) (begin, end []byte) {
	return text[:min(len(text), lostEdge)], text[max(0, len(text)-lostEdge):]
}

// lostIn returns the error that answers a request whose answer is a text that is not a
// message (too deep, or with a member twice). It returns false if the request is not known.
func lostIn(text []byte) (m message.Message, ok bool) {
	id := message.Lost(edgesOf(text))
	if id == nil {
		return m, false
	}
	return message.NewError(id, message.CodeInternal, "the server's answer is not a JSON-RPC message"), true
}
