package sse

import (
	"bytes"
	"errors"
	"strconv"
)

// Event is one event of a stream (HTML Living Standard, "Server-sent events").
type Event struct {
	// Name is the event's type. Empty means "message".
	Name string
	// ID is the last event id of the stream once this event was read.
	ID string
	// Data is the event's data, which the receiver may keep.
	Data []byte
}

// ErrDataTooLarge says that one event of a stream exceeds the bound.
var ErrDataTooLarge = errors.New("event exceeds the limit")

// Parser reads events from a stream that is written to it. Lines end with LF, CR or CRLF. A
// byte order mark, comments and unknown fields are skipped. Text after the last blank line
// is not an event.
type Parser struct {
	// Limit bounds one event, in bytes. 0 means no bound.
	Limit int
	// Each is called for each event that has data. Its error ends the stream.
	Each func(Event) error
	// Retry is the last reconnection time in the stream, in milliseconds, or 0.
	Retry int

	line    []byte // the current line, not yet complete
	data    []byte
	name    string
	id      string // the last that was read
	lastID  string // the last whose event was complete
	hasData bool
	afterCR bool // the last byte was a CR; an LF now belongs to it
	begun   bool
	err     error
}

// keepLine is the largest buffer, in bytes, that is kept between two lines.
const keepLine = 4 << 10

// LastID returns the id of the last complete event.
func (p *Parser) LastID() string { return p.lastID }

// Write implements io.Writer. After an error it always returns that error.
func (p *Parser) Write(b []byte) (int, error) {
	for rest := b; len(rest) > 0 && p.err == nil; {
		if p.afterCR {
			p.afterCR = false
			if rest[0] == '\n' {
				rest = rest[1:]
				continue
			}
		}
		end, next, ok := lineEnd(rest, 0)
		if !ok {
			p.line = append(p.line, rest...)
			p.check()
			break
		}
		line := rest[:end]
		if len(p.line) > 0 {
			p.line = append(p.line, line...)
			line = p.line
		}
		p.afterCR = rest[next-1] == '\r'
		rest = rest[next:]
		p.end(line)
		if p.line = p.line[:0]; cap(p.line) > keepLine {
			p.line = nil
		}
	}
	if p.err != nil {
		return 0, p.err
	}
	return len(b), nil
}

// lineEnd returns where the line that begins at from ends, and where the next one begins:
// after LF, CR or CRLF. ok is false if the text ends before. If the text ends with CR, an LF
// that comes later belongs to it.
func lineEnd(text []byte, from int) (end, next int, ok bool) {
	i := bytes.IndexAny(text[from:], "\r\n")
	if i < 0 {
		return len(text), len(text), false
	}
	end = from + i
	next = end + 1
	if text[end] == '\r' && next < len(text) && text[next] == '\n' {
		next++
	}
	return end, next, true
}

func (p *Parser) check() {
	if p.err == nil && p.Limit > 0 && len(p.line)+len(p.data) > p.Limit {
		p.err = ErrDataTooLarge
	}
}

// end processes a complete line.
func (p *Parser) end(line []byte) {
	if !p.begun {
		p.begun = true
		line = bytes.TrimPrefix(line, []byte("\xef\xbb\xbf"))
	}
	if len(line) == 0 {
		p.dispatch()
		return
	}
	name, value, _ := bytes.Cut(line, []byte(":"))
	value = bytes.TrimPrefix(value, []byte(" "))
	switch string(name) {
	case "data":
		if p.hasData {
			p.data = append(p.data, '\n')
		}
		p.data = append(p.data, value...)
		p.hasData = true
		if p.Limit > 0 && len(p.data) > p.Limit {
			p.err = ErrDataTooLarge
		}
	case "event":
		p.name = string(value)
	case "id":
		if bytes.IndexByte(value, 0) < 0 {
			p.id = string(value)
		}
	case "retry":
		if ms, err := strconv.Atoi(string(value)); err == nil && ms >= 0 && value[0] != '+' {
			p.Retry = ms
		}
	}
}

func (p *Parser) dispatch() {
	name, data, has := p.name, p.data, p.hasData
	p.name, p.data, p.hasData, p.lastID = "", nil, false, p.id
	if has {
		p.err = p.Each(Event{Name: name, ID: p.lastID, Data: data})
	}
}
