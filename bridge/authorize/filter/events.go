package filter

import (
	"bytes"
	"io"
)

// splitter cuts the text of an event stream into events. Each event has the bytes that it came
// with, up to the end of its blank line.
type splitter struct {
	held []byte // text that follows the last event
	// line is where the line of held starts in which scanning stopped, and scanned is up to
	// where it has no end: a slow stream is scanned once, however it is divided.
	line, scanned int
	// later is set after the first event. Only the first can have a byte order mark.
	later bool
	// afterCR is set if the last event ended with a CR, to which an LF may still belong.
	afterCR bool
}

// send takes more text of the stream, and sends each event that is complete with it as text
// returns it. limit bounds an event, in bytes.
func (s *splitter) send(to io.Writer, p []byte, limit int, text func(event) ([]byte, error)) error {
	if lf := s.add(p); lf != nil {
		if _, err := to.Write(lf); err != nil {
			return err
		}
	}
	for {
		e, ok := s.next()
		if !ok {
			break
		}
		changed, err := text(e)
		if err != nil {
			return err
		}
		if _, err := to.Write(changed); err != nil {
			return err
		}
	}
	if len(s.held) > limit {
		return ErrTooLarge
	}
	return nil
}

// add takes more text of the stream. It returns the LF at the start of the text if that is the
// second half of the last event's blank line.
func (s *splitter) add(p []byte) (lf []byte) {
	if len(p) == 0 {
		return nil
	}
	if s.afterCR && p[0] == '\n' {
		lf, p = p[:1], p[1:]
	}
	s.afterCR = false
	s.held = append(s.held, p...)
	return lf
}

// next removes the first event from the text and returns it, or false if the text has no complete
// event.
func (s *splitter) next() (event, bool) {
	end, ok := s.endOfEvent()
	if !ok {
		return event{}, false
	}
	e := event{raw: s.held[:end:end], first: !s.later}
	s.later = true
	s.afterCR = s.held[end-1] == '\r' && end == len(s.held)
	if s.held = s.held[end:]; len(s.held) == 0 {
		s.held = nil
	}
	return e, true
}

// endOfEvent returns where the first event of the text ends, behind its blank line. Lines end
// with LF, CR or CRLF. A CR at the very end of the text ends its line; an LF that follows belongs
// to it.
func (s *splitter) endOfEvent() (end int, ok bool) {
	for {
		i := endOfLine(s.held[s.scanned:])
		if i < 0 {
			s.scanned = len(s.held)
			return 0, false
		}
		i += s.scanned
		next := i + 1
		if s.held[i] == '\r' {
			if next == len(s.held) && i > s.line {
				// The end of a line with text: it is not known yet whether an LF follows.
				s.scanned = i
				return 0, false
			}
			if next < len(s.held) && s.held[next] == '\n' {
				next++
			}
		}
		if i == s.line {
			s.line, s.scanned = 0, 0
			return next, true
		}
		s.line, s.scanned = next, next
	}
}

// endOfLine returns the place of the first CR or LF, or -1.
func endOfLine(text []byte) int {
	const window = 512 // so that the search for CR does not go far beyond an LF, nor the other way round
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

// event is one event of a stream.
type event struct {
	raw   []byte // its lines, with the blank line at the end
	first bool   // of the stream
}

// read returns the data of the event if that is JSON, and its other lines, each with an LF.
// Otherwise, for a comment or the address of HTTP+SSE, data is nil.
func (e event) read() (data, others []byte) {
	hasData := false
	for from := 0; from < len(e.raw); {
		i := endOfLine(e.raw[from:])
		line := e.raw[from : from+i]
		next := from + i + 1
		if e.raw[from+i] == '\r' && next < len(e.raw) && e.raw[next] == '\n' {
			next++
		}
		if from == 0 && e.first {
			line = bytes.TrimPrefix(line, []byte("\xef\xbb\xbf"))
		}
		switch value, ok := dataOf(line); {
		case ok && !hasData: // copied only if another line of data follows
			data, hasData = value[:len(value):len(value)], true
		case ok:
			data = append(append(data, '\n'), value...)
		case len(line) > 0:
			others = append(append(others, line...), '\n')
		}
		from = next
	}
	if text := bytes.TrimSpace(data); len(text) == 0 || text[0] != '{' && text[0] != '[' {
		return nil, others
	}
	return data, others
}

// dataOf returns the value of a line of data.
func dataOf(line []byte) ([]byte, bool) {
	name, value, _ := bytes.Cut(line, []byte(":"))
	if string(name) != "data" {
		return nil, false
	}
	return bytes.TrimPrefix(value, []byte(" ")), true
}
