package filter

import (
	"bytes"
	"maps"
	"net/http"
	"slices"
	"strconv"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/content"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/mcp"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
)

// Message changes one message. If it returns an error nothing of the message is sent.
type Message func(raw []byte) (changed []byte, err error)

// New returns a writer to w that changes the messages of the answer, which is not to be cached
// then. The answer of the server must not have a header yet. If the answer cannot be read the
// client gets 502, or the end of its stream. limit bounds one message, in bytes. header, which may
// be nil, is called before the header is sent. id is that of the request, as it is written, for
// an error in place of the answer; it may be nil.
func New(w http.ResponseWriter, limit int, change Message, header func(http.Header), id []byte) *Writer {
	return &Writer{to: w, header: header, mode: &changer{change: change, limit: limit, id: id, own: w.Header().Clone()}}
}

// changer is the mode of a writer that changes messages.
type changer struct {
	change Message
	limit  int         // of a message, in bytes
	id     []byte      // of the request, as it is written, or nil
	own    http.Header // the header before the answer of the server
}

// maxAhead bounds, in bytes, the room that is made for an answer before it arrives.
const maxAhead = 1 << 20

func (c *changer) open(to http.ResponseWriter, status int, h http.Header) body {
	kind, err := kindOf(status, h)
	if err != nil {
		return &changedDocument{changer: c, to: to, status: status, err: err}
	}
	if kind == noMessages {
		return passed{to}
	}
	length, err := strconv.Atoi(h.Get("Content-Length"))
	if err != nil {
		length = 0
	}
	content.DropFields(h)
	h.Del("Last-Modified")
	h.Set("Cache-Control", "no-store")
	if kind == inEvents {
		return &changedEvents{changer: c, to: to}
	}
	return &changedDocument{changer: c, to: to, status: status, held: make([]byte, 0, max(0, min(length, c.limit, maxAhead)))}
}

// document changes the messages of a JSON document. If no message of a batch changes it returns
// the document itself.
func (c *changer) document(text []byte) ([]byte, error) {
	if !message.IsBatch(text) {
		return c.change(text)
	}
	all, err := message.Elements(text, message.MaxBatch)
	if err != nil {
		return nil, err
	}
	out := []byte{'['}
	same := true
	for i, one := range all {
		changed, err := c.change(one)
		if err != nil {
			return nil, err
		}
		if i > 0 {
			out = append(out, ',')
		}
		same = same && bytes.Equal(changed, one)
		out = append(out, changed...)
	}
	if same {
		return text, nil
	}
	return append(out, ']'), nil
}

// changedDocument is a JSON document that is changed when all of it was read. Until then the
// client does not get the header either, since an error may take the place of the answer.
type changedDocument struct {
	*changer
	to     http.ResponseWriter
	status int
	held   []byte
	some   bool  // the body has bytes
	err    error // why the client gets an error
}

func (b *changedDocument) begin(int) { b.to.Header().Del("Content-Length") }

func (b *changedDocument) write(p []byte) (int, error) {
	b.some = b.some || len(p) > 0
	switch {
	case b.err != nil: // the rest is read and dropped
	case len(b.held)+len(p) > b.limit:
		b.err, b.held = ErrTooLarge, nil
	default:
		b.held = append(b.held, p...)
	}
	return len(p), nil
}

func (b *changedDocument) mayFlush() bool { return false }

func (b *changedDocument) close() error {
	if !b.some && b.status != http.StatusOK { // such as a 202, which needs no body
		b.to.WriteHeader(b.status)
		return nil
	}
	var changed []byte
	if b.err == nil {
		changed, b.err = b.document(b.held)
	}
	b.held = nil
	if b.err != nil {
		b.fail()
		return b.err
	}
	b.to.WriteHeader(b.status)
	_, _ = b.to.Write(changed)
	return nil
}

// fail answers in place of the server. Nothing of the server's header fits that answer.
func (b *changedDocument) fail() {
	h := b.to.Header()
	clear(h)
	maps.Copy(h, b.own)
	h.Set("Cache-Control", "no-store")
	mcp.Refuse(b.to, http.StatusBadGateway, b.id, message.CodeInternal, "the answer of the server could not be read")
}

// changedEvents is an event stream each event of which is changed when it is complete. At an
// error the stream ends.
type changedEvents struct {
	*changer
	to       http.ResponseWriter
	splitter splitter
	err      error
}

func (b *changedEvents) begin(status int) { b.to.WriteHeader(status) }

func (b *changedEvents) write(p []byte) (int, error) {
	if b.err == nil {
		b.err = b.splitter.send(b.to, p, b.limit, b.event)
	}
	if b.err != nil {
		return 0, b.err
	}
	return len(p), nil
}

// event returns the bytes of an event with its message changed.
func (b *changedEvents) event(e event) ([]byte, error) {
	data, text := e.read()
	if data == nil {
		return e.raw, nil
	}
	changed, err := b.document(data)
	if err != nil {
		return nil, err
	}
	if bytes.Equal(changed, data) {
		return e.raw, nil
	}
	text = slices.Grow(text, len(changed)+len("data: \n\n"))
	for line := range bytes.SplitSeq(changed, []byte("\n")) {
		text = append(append(append(text, "data: "...), bytes.TrimSuffix(line, []byte("\r"))...), '\n')
	}
	return append(text, '\n'), nil
}

func (b *changedEvents) mayFlush() bool { return true }

// close drops text after the last blank line, which is no event (HTML, "Server-sent events").
func (b *changedEvents) close() error {
	b.splitter.held = nil
	return b.err
}
