package process

import (
	"bytes"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
)

// framing recognizes the framing of the Language Server Protocol: header fields, of which one
// is Content-Length, an empty line, and a message without a line end. It stops looking when
// the program has written a message on a line.
type framing struct {
	off    bool
	length int  // the number in the field, or 0 before it was read
	body   bool // the empty line after the fields was read
	field  []byte
}

// maxFramed bounds what is reported of a framed message, in bytes.
const maxFramed = 512

// wants returns the length of the framed message that comes next, or 0.
func (f *framing) wants() int {
	if f.off || !f.body {
		return 0
	}
	return f.length
}

// line takes a line without leading and trailing white space. isJSON says whether it is JSON.
func (f *framing) line(line []byte, isJSON bool) {
	if f.off {
		return
	}
	switch n, ok := message.ContentLength(line); {
	case ok:
		f.length, f.body, f.field = n, false, bytes.Clone(line)
	case len(line) == 0:
		f.body = f.length > 0
	case line[0] == '{':
		f.length, f.body = 0, false
		f.off = isJSON
	case f.body || bytes.IndexByte(line, ':') < 0:
		f.length, f.body = 0, false
	}
}

// message returns the field and the start of the framed message at the start of a text. It returns
// nil if there is none, and on every call after the first message.
func (f *framing) message(text []byte) []byte {
	_, err := message.ParseAll(text[:f.length], message.MaxBatch)
	text = text[:min(f.length, maxFramed)]
	field := f.field
	f.length, f.body, f.field = 0, false, nil
	if err != nil {
		return nil
	}
	f.off = true
	return bytes.Join([][]byte{field, nil, text}, []byte("\r\n"))
}
