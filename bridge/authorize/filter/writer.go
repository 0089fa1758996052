// Package filter changes the JSON-RPC messages of an answer on their way to the client, in
// JSON and in event streams. All other bytes stay as they are.
package filter

import (
	"bytes"
	"errors"
	"io"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/mcp"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
)

// Message changes one message. If it returns an error nothing of the message is sent.
type Message func(raw []byte) (changed []byte, err error)

// Writer is a response writer whose messages are changed. Its answer is not to be cached.
// Close has to follow when the answer is complete.
type Writer struct {
	to     http.ResponseWriter
	change Message
	limit  int // bytes of a message
	header func(http.Header)

	begun bool
	mode  mode
	held  []byte
	// line is where the line of held starts in which scanning stopped, and scanned is up to
	// where it has no end: a slow stream is scanned once, however it is divided.
	line, scanned int
	// later is set after the first event. Only the first can have a byte order mark.
	later bool
	// afterCR is set if the last event that was sent ended with a CR, to which an LF may
	// still belong.
	afterCR bool
	err     error
}

type mode uint8

const (
	pass   mode = iota // no messages, such as an empty answer
	whole              // one JSON document
	events             // an event stream
	refuse             // an answer that cannot be read
)

// maxAhead bounds, in bytes, the room that is made for an answer before it arrives.
const maxAhead = 1 << 20

// Errors of an answer that cannot be read. The client gets 502 in its place, or the end of
// its stream.
var (
	ErrTooLarge = errors.New("message of the server is too large to be filtered")
	ErrEncoded  = errors.New("answer of the server has a content coding, though none was accepted")
	ErrKind     = errors.New("answer of the server is neither JSON nor an event stream")
)

// New returns a writer to w. limit bounds one message, in bytes. change may be nil: then no
// message is read. header, which may be nil, is called before the header is sent.
func New(w http.ResponseWriter, limit int, change Message, header func(http.Header)) *Writer {
	return &Writer{to: w, change: change, limit: limit, header: header}
}

// Header implements http.ResponseWriter.
func (w *Writer) Header() http.Header { return w.to.Header() }

// WriteHeader implements http.ResponseWriter.
func (w *Writer) WriteHeader(status int) {
	if w.begun || status < http.StatusOK {
		if !w.begun {
			w.to.WriteHeader(status)
		}
		return
	}
	w.begun = true
	h := w.to.Header()
	if w.mode = w.modeOf(status, h); w.mode != pass {
		if n, err := strconv.Atoi(h.Get("Content-Length")); err == nil && w.mode == whole {
			w.held = make([]byte, 0, max(0, min(n, w.limit, maxAhead)))
		}
		h.Set("Cache-Control", "no-store")
		h.Del("Etag")
		h.Del("Last-Modified")
		h.Del("Content-Length")
	}
	if w.header != nil {
		w.header(h)
	}
	switch w.mode {
	case whole, refuse: // the header follows with the body
		h.Del("Content-Length")
	default:
		w.to.WriteHeader(status)
	}
}

// modeOf says how an answer is read. An answer that is no success has no list, and one
// without a body has nothing.
func (w *Writer) modeOf(status int, h http.Header) mode {
	if w.change == nil || status != http.StatusOK {
		return pass
	}
	if coding := h.Get("Content-Encoding"); coding != "" && !strings.EqualFold(coding, "identity") {
		w.err = ErrEncoded
		return refuse
	}
	if mcp.IsEventStream(h) {
		return events
	}
	media, _, err := mime.ParseMediaType(h.Get("Content-Type"))
	switch {
	case err == nil && (media == "application/json" || strings.HasSuffix(media, "+json")):
		return whole
	case h.Get("Content-Type") == "" && h.Get("Content-Length") == "0":
		return pass
	}
	w.err = ErrKind
	return refuse
}

// Write implements http.ResponseWriter.
func (w *Writer) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	switch w.mode {
	case pass:
		return w.to.Write(p)
	case refuse:
		return len(p), nil
	case whole:
		if len(w.held)+len(p) > w.limit {
			w.mode, w.err, w.held = refuse, ErrTooLarge, nil
			return len(p), nil
		}
		w.held = append(w.held, p...)
		return len(p), nil
	}
	if w.err != nil {
		return 0, w.err
	}
	text := p
	if w.afterCR && len(text) > 0 && text[0] == '\n' {
		// The second half of the blank line of the last event.
		if _, w.err = w.to.Write(text[:1]); w.err != nil {
			return 0, w.err
		}
		text = text[1:]
	}
	w.afterCR = w.afterCR && len(p) == 0
	w.held = append(w.held, text...)
	if w.err = w.events(); w.err != nil {
		return 0, w.err
	}
	return len(p), nil
}

// ReadFrom implements io.ReaderFrom.
func (w *Writer) ReadFrom(r io.Reader) (int64, error) {
	w.WriteHeader(http.StatusOK)
	if w.mode == pass {
		return io.Copy(w.to, r)
	}
	return io.Copy(struct{ io.Writer }{w}, r)
}

// FlushError sends what can be sent.
func (w *Writer) FlushError() error {
	w.WriteHeader(http.StatusOK)
	if w.mode == whole || w.mode == refuse {
		return nil // nothing of it may be sent before all of it was read
	}
	return http.NewResponseController(w.to).Flush()
}

// Unwrap lets http.ResponseController find what else the writer can do.
func (w *Writer) Unwrap() http.ResponseWriter { return w.to }

// Close ends the answer. It returns why the answer of the server was not passed on, if it was
// not.
func (w *Writer) Close() error {
	switch w.mode {
	case whole:
		changed, err := w.all(w.held)
		if err != nil {
			w.err = err
			w.fail()
			return err
		}
		w.held = nil
		w.to.WriteHeader(http.StatusOK)
		_, _ = w.to.Write(changed)
	case refuse:
		w.fail()
	case events:
		// Text after the last blank line is no event (HTML, "Server-sent events").
		w.held = nil
	}
	return w.err
}

func (w *Writer) fail() {
	w.to.Header().Del("Content-Encoding")
	mcp.Refuse(w.to, http.StatusBadGateway, nil, message.CodeInternal, "the answer of the server could not be read")
}

// all changes the messages of a JSON answer, one or a batch. If no message of a batch changes
// it returns the body itself.
func (w *Writer) all(body []byte) ([]byte, error) {
	if !message.IsBatch(body) {
		return w.change(body)
	}
	elements, err := message.Elements(body, message.MaxBatch)
	if err != nil {
		return nil, err
	}
	out := []byte{'['}
	same := true
	for i, one := range elements {
		changed, err := w.change(one)
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
		return body, nil
	}
	return append(out, ']'), nil
}

// events sends the complete events of what is held.
func (w *Writer) events() error {
	for {
		end, ok := w.endOfEvent()
		if !ok {
			if len(w.held) > w.limit {
				return ErrTooLarge
			}
			return nil
		}
		event, err := w.event(w.held[:end])
		if err != nil {
			return err
		}
		if _, err := w.to.Write(event); err != nil {
			return err
		}
		w.later = true
		w.afterCR = w.held[end-1] == '\r' && end == len(w.held)
		if w.held = w.held[end:]; len(w.held) == 0 {
			w.held = nil
		}
	}
}

// endOfEvent returns where the first event of what is held ends, behind its blank line. Lines
// end with LF, CR or CRLF. A CR at the very end of the text ends its line; an LF that follows
// belongs to it.
func (w *Writer) endOfEvent() (end int, ok bool) {
	for {
		i := endOfLine(w.held[w.scanned:])
		if i < 0 {
			w.scanned = len(w.held)
			return 0, false
		}
		i += w.scanned
		next := i + 1
		if w.held[i] == '\r' {
			if next == len(w.held) && i > w.line {
				// The end of a line with text: it is not known yet whether an LF follows.
				w.scanned = i
				return 0, false
			}
			if next < len(w.held) && w.held[next] == '\n' {
				next++
			}
		}
		if i == w.line {
			w.line, w.scanned = 0, 0
			return next, true
		}
		w.line, w.scanned = next, next
	}
}

// endOfLine returns the place of the first CR or LF, or -1.
func endOfLine(text []byte) int {
	const window = 512 // so that one of the two is not looked for far behind the other
	for from := 0; from < len(text); from += window {
		part := text[from:min(from+window, len(text))]
		lf := bytes.IndexByte(part, '\n')
		if lf >= 0 {
			part = part[:lf]
		}
		if cr := bytes.IndexByte(part, '\r'); cr >= 0 {
			return from + cr
		}
		if lf >= 0 {
			return from + lf
		}
	}
	return -1
}

// event changes the message of one event.
func (w *Writer) event(raw []byte) ([]byte, error) {
	var data, rest []byte
	hasData := false
	for from := 0; from < len(raw); {
		i := endOfLine(raw[from:])
		line := raw[from : from+i]
		next := from + i + 1
		if raw[from+i] == '\r' && next < len(raw) && raw[next] == '\n' {
			next++
		}
		if from == 0 && !w.later {
			line = bytes.TrimPrefix(line, []byte("\xef\xbb\xbf"))
		}
		switch value, ok := dataOf(line); {
		case ok && !hasData: // it is copied only if another follows
			data, hasData = value[:len(value):len(value)], true
		case ok:
			data = append(append(data, '\n'), value...)
		case len(line) > 0:
			rest = append(append(rest, line...), '\n')
		}
		from = next
	}
	if !hasData || len(bytes.TrimSpace(data)) == 0 || bytes.TrimSpace(data)[0] != '{' && bytes.TrimSpace(data)[0] != '[' {
		return raw, nil // a comment, or the address of HTTP+SSE
	}
	changed, err := w.all(data)
	if err != nil {
		return nil, err
	}
	if bytes.Equal(changed, data) {
		return raw, nil
	}
	rest = slices.Grow(rest, len(changed)+len("data: \n\n"))
	for line := range bytes.SplitSeq(changed, []byte("\n")) {
		rest = append(append(append(rest, "data: "...), bytes.TrimSuffix(line, []byte("\r"))...), '\n')
	}
	return append(rest, '\n'), nil
}

// dataOf returns the value of a line that is one of data.
func dataOf(line []byte) ([]byte, bool) {
	name, value, _ := bytes.Cut(line, []byte(":"))
	if string(name) != "data" {
		return nil, false
	}
	return bytes.TrimPrefix(value, []byte(" ")), true
}
