// Package sse reads and edits event streams.
//
// endpoint.go maps the one event of the HTTP+SSE transport that carries an address:
// the first event named "endpoint" (MCP specification 2024-11-05, "HTTP with SSE").
// All other bytes of the stream are unchanged. seal.go seals the address in the public
// path. parser.go reads the events of any stream.
package sse

import (
	"bytes"
	"errors"
	"io"
)

// DefaultMaxEvent bounds, in bytes, how much of a stream is held until its endpoint event is
// complete.
const DefaultMaxEvent = 64 << 10

// ErrEventTooLarge says that an event before or at the endpoint event
// exceeds the bound.
var ErrEventTooLarge = errors.New("event before the endpoint event exceeds the limit")

// EndpointReader passes an event stream on and replaces the data of its
// first endpoint event with what the map function returns for it. An error
// of the map function ends the stream with that error.
type EndpointReader struct {
	rc      io.ReadCloser
	mapData func(string) (string, error)
	limit   int
	raw     []byte // the beginning of an event that is not complete yet
	scan    int    // offset in raw up to which lines were parsed
	out     []byte // ready to be read
	buf     []byte // read buffer, while the endpoint event is awaited
	later   bool   // the first event was passed on
	found   bool
	err     error
}

// NewEndpointReader returns a reader of the event stream rc; limit is in
// bytes, 0 means DefaultMaxEvent.
func NewEndpointReader(rc io.ReadCloser, limit int, mapData func(string) (string, error)) *EndpointReader {
	if limit <= 0 {
		limit = DefaultMaxEvent
	}
	return &EndpointReader{rc: rc, mapData: mapData, limit: limit}
}

// Close closes the stream.
func (r *EndpointReader) Close() error { return r.rc.Close() }

// Read implements io.Reader. An event is returned as soon as it is complete.
func (r *EndpointReader) Read(p []byte) (int, error) {
	for {
		if len(r.out) > 0 {
			n := copy(p, r.out)
			r.out = r.out[n:]
			return n, nil
		}
		if r.err != nil {
			return 0, r.err
		}
		if r.found {
			return r.rc.Read(p)
		}
		r.fill()
	}
}

// fill reads once and passes complete events on.
func (r *EndpointReader) fill() {
	if r.buf == nil {
		r.buf = make([]byte, 4<<10)
	}
	n, err := r.rc.Read(r.buf)
	r.raw = append(r.raw, r.buf[:n]...)
	for !r.found && r.err == nil {
		event, ok := r.nextEvent(err != nil)
		if !ok {
			break
		}
		r.emit(event)
	}
	switch {
	case r.err != nil:
		return
	case r.found:
		r.out = append(r.out, r.raw...)
		r.raw, r.buf = nil, nil
	case err != nil:
		r.out = append(r.out, r.raw...)
		r.raw = nil
	case len(r.raw) > r.limit:
		r.err = ErrEventTooLarge
		return
	}
	r.err = err
}

// nextEvent returns the next complete event, with the blank line that ends it, and
// removes it from raw. A carriage return at the very end may be half of a CRLF, so it
// ends a line only at the end of the stream.
func (r *EndpointReader) nextEvent(eof bool) ([]byte, bool) {
	for {
		end, next, ok := lineEnd(r.raw, r.scan)
		if !ok || r.raw[next-1] == '\r' && next == len(r.raw) && !eof {
			return nil, false
		}
		blank := end == r.scan
		if r.scan = next; blank {
			event := r.raw[:next]
			r.raw, r.scan = r.raw[next:], 0
			return event, true
		}
	}
}

func (r *EndpointReader) emit(event []byte) {
	mark := 0 // length of the byte order mark, which is only at the beginning of the stream
	if !r.later && bytes.HasPrefix(event, byteOrderMark) {
		mark = len(byteOrderMark)
	}
	r.later = true
	r.out = append(r.out, event[:mark]...)
	out, isEndpoint, err := mapEvent(event[mark:], r.mapData)
	if err != nil {
		r.err = err
		return
	}
	r.out = append(r.out, out...)
	r.found = isEndpoint
}

var byteOrderMark = []byte("\xef\xbb\xbf")

// field is one line of an event, by offsets.
type field struct {
	name       string
	start, end int // of the value
	line, next int // of the line, and of what follows it
}

// fields lists the lines of an event that are fields.
func fields(event []byte) []field {
	var fs []field
	pos := 0
	for pos < len(event) {
		end, next, _ := lineEnd(event, pos)
		line := event[pos:end]
		f := field{line: pos, next: next, start: end, end: end, name: string(line)}
		if colon := bytes.IndexByte(line, ':'); colon >= 0 {
			f.name = string(line[:colon])
			f.start = pos + colon + 1
			if f.start < f.end && event[f.start] == ' ' {
				f.start++
			}
		}
		if len(line) > 0 {
			fs = append(fs, f)
		}
		pos = next
	}
	return fs
}

// mapEvent returns event with the data of an endpoint event mapped, and whether it is an
// endpoint event. Several data lines are joined as a client joins them, and the mapped data
// is written to the first of them.
func mapEvent(event []byte, mapData func(string) (string, error)) ([]byte, bool, error) {
	fs := fields(event)
	name, data, seen := "", "", false
	for _, f := range fs {
		switch f.name {
		case "event":
			name = string(event[f.start:f.end])
		case "data":
			if seen {
				data += "\n"
			}
			data += string(event[f.start:f.end])
			seen = true
		}
	}
	if name != "endpoint" || !seen {
		return event, false, nil
	}
	mapped, err := mapData(data)
	if err != nil {
		return nil, true, err
	}
	out := make([]byte, 0, len(event)+len(mapped))
	pos, first := 0, true
	for _, f := range fs {
		if f.name != "data" {
			continue
		}
		if first {
			out = append(out, event[pos:f.line]...)
			out = append(out, "data: "...)
			out = append(out, mapped...)
			out = append(out, event[f.end:f.next]...)
			first = false
		} else {
			out = append(out, event[pos:f.line]...)
		}
		pos = f.next
	}
	return append(out, event[pos:]...), true, nil
}
