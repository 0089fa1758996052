package sse

import (
	"bytes"
	"errors"
	"strconv"
)

// Event is one event of a stream (HTML Living Standard, "Server-sent events").
type Event struct {
	// Name is the event's type; empty stands for "message".
	Name string
	// ID is the last event id of the stream once this event was read.
	ID string
	// Data is the event's data, which the receiver may keep.
	Data []byte
}

// ErrDataTooLarge says that one event of a stream exceeds the bound.
var ErrDataTooLarge = errors.New("event exceeds the limit")

// Feed reads events from a stream that is written to it. Lines end with LF, CR or
// CRLF; a byte order mark, comments and unknown fields are skipped; what follows the
// last blank line is no event.
type Feed struct {
	// Limit bounds one event, in bytes; 0: no bound.
	Limit int
	// Each is called for each event that has data. Its error ends the stream.
	Each func(Event) error
	// Retry is the last reconnection time that the stream gave, in milliseconds; 0:
	// none.
	Retry int

	line    []byte // begun, not yet ended
	data    []byte
	name    string
	id      string // the last that was read
	lastID  string // the last whose event was complete
	hasData bool
	afterCR bool // an LF now belongs to the CR before it
	begun   bool
	err     error
}

// keepLine is the largest buffer, in bytes, that a quiet stream holds on to.
const keepLine = 4 << 10

// LastID is the id of the last event that was complete.
func (f *Feed) LastID() string { return f.lastID }

// Write implements io.Writer. Once it has failed it keeps on failing.
func (f *Feed) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0 && f.err == nil; {
		if f.afterCR {
			f.afterCR = false
			if rest[0] == '\n' {
				rest = rest[1:]
				continue
			}
		}
		i := bytes.IndexAny(rest, "\r\n")
		if i < 0 {
			f.line = append(f.line, rest...)
			f.check()
			break
		}
		line := rest[:i]
		if len(f.line) > 0 {
			f.line = append(f.line, line...)
			line = f.line
		}
		f.afterCR = rest[i] == '\r'
		rest = rest[i+1:]
		f.end(line)
		if f.line = f.line[:0]; cap(f.line) > keepLine {
			f.line = nil
		}
	}
	if f.err != nil {
		return 0, f.err
	}
	return len(p), nil
}

func (f *Feed) check() {
	if f.err == nil && f.Limit > 0 && len(f.line)+len(f.data) > f.Limit {
		f.err = ErrDataTooLarge
	}
}

// end takes one line.
func (f *Feed) end(line []byte) {
	if !f.begun {
		f.begun = true
		line = bytes.TrimPrefix(line, []byte("\xef\xbb\xbf"))
	}
	if len(line) == 0 {
		f.dispatch()
		return
	}
	name, value, _ := bytes.Cut(line, []byte(":"))
	value = bytes.TrimPrefix(value, []byte(" "))
	switch string(name) {
	case "data":
		if f.hasData {
			f.data = append(f.data, '\n')
		}
		f.data = append(f.data, value...)
		f.hasData = true
		if f.Limit > 0 && len(f.data) > f.Limit {
			f.err = ErrDataTooLarge
		}
	case "event":
		f.name = string(value)
	case "id":
		if bytes.IndexByte(value, 0) < 0 {
			f.id = string(value)
		}
	case "retry":
		if ms, err := strconv.Atoi(string(value)); err == nil && ms >= 0 && value[0] != '+' {
			f.Retry = ms
		}
	}
}

func (f *Feed) dispatch() {
	name, data, has := f.name, f.data, f.hasData
	f.name, f.data, f.hasData, f.lastID = "", nil, false, f.id
	if has {
		f.err = f.Each(Event{Name: name, ID: f.lastID, Data: data})
	}
}
