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
	words  []string    // without which a text is not read; nil if each text is
}

// maxAhead bounds, in bytes, the room that is made for an answer before it arrives.
const maxAhead = 1 << 20

func (c *changer) open(to http.ResponseWriter, status int, h http.Header) body {
	kind, err := kindOf(status, h)
	if err == ErrKind && c.words != nil {
		kind, err = inDocument, nil
	}
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
	if c.words == nil {
		private(h)
	}
	if kind == inEvents {
		content.DropFields(h) // its length, above all
		return &changedEvents{changer: c, to: &client{Writer: to}, header: to}
	}
	return &changedDocument{changer: c, to: to, status: status, held: make([]byte, 0, max(0, min(length, c.limit, maxAhead)))}
}

// private makes the header one of an answer for this client alone, which differs from that of the
// server.
func private(h http.Header) {
	content.DropFields(h)
	h.Del("Last-Modified")
	h.Set("Cache-Control", "no-store")
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
	rest   *rest // of a document that is not held any more
	some   bool  // the body has bytes
	err    error // why the client gets an error
}

func (b *changedDocument) begin(int) {}

func (b *changedDocument) write(p []byte) (int, error) {
	if b.rest != nil {
		n, err := b.rest.write(p)
		b.err = err
		return n, err
	}
	b.some = b.some || len(p) > 0
	switch {
	case b.err != nil: // the rest is read and dropped
		return len(p), nil
	case len(b.held)+len(p) <= b.limit:
		b.held = append(b.held, p...)
		return len(p), nil
	}
	held := append(b.held, p...)
	b.held = nil
	if b.suspects(held) {
		b.err = ErrTooLarge
		return len(p), nil
	}
	b.to.WriteHeader(b.status)
	b.rest = &rest{changer: b.changer, to: &client{Writer: b.to}}
	if _, err := b.rest.write(held); err != nil {
		return 0, err
	}
	return len(p), nil
}

func (b *changedDocument) mayFlush() bool { return b.rest != nil }

func (b *changedDocument) close() error {
	if b.rest != nil {
		return b.rest.to.fault(b.err)
	}
	if !b.some && b.status != http.StatusOK { // such as a 202, which needs no body
		b.to.WriteHeader(b.status)
		return nil
	}
	changed := b.held
	if b.err == nil && b.suspects(b.held) {
		if changed, b.err = b.document(b.held); !bytes.Equal(changed, b.held) {
			private(b.to.Header())
		}
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
	header   http.ResponseWriter
	to       *client
	splitter splitter
	rest     *rest // of a stream with an event that is not held any more
	err      error
}

func (b *changedEvents) begin(status int) { b.header.WriteHeader(status) }

func (b *changedEvents) write(p []byte) (int, error) {
	switch {
	case b.err != nil:
	case b.rest != nil:
		_, b.err = b.rest.write(p)
	default:
		b.err = b.splitter.send(b.to, p, b.limit, b.event)
		if held := b.splitter.held; b.err == ErrTooLarge && !b.suspects(held) {
			b.rest, b.splitter.held = &rest{changer: b.changer, to: b.to}, nil
			_, b.err = b.rest.write(held)
		}
	}
	if b.err != nil {
		return 0, b.err
	}
	return len(p), nil
}

// event returns the bytes of an event with its message changed.
func (b *changedEvents) event(e event) ([]byte, error) {
	if !b.suspects(e.raw) {
		return e.raw, nil
	}
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

// close drops text after the last blank line, which is no event (HTML, "Server-sent events"), if it
// has to be read.
func (b *changedEvents) close() error {
	if held := b.splitter.held; b.err == nil && !b.suspects(held) {
		_, b.err = b.to.Write(held)
	}
	b.splitter.held = nil
	return b.to.fault(b.err)
}
