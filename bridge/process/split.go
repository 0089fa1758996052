package process

import (
	"bytes"
	"errors"
	"sync"
	"unicode/utf8"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
)

// pieceIn is the size, in bytes, of the pieces that hold a line whose end was not read yet.
const pieceIn = 64 << 10

var pieces = sync.Pool{New: func() any { return new([pieceIn]byte) }}

// splitter cuts a stream into lines. It holds at most one line of max bytes.
type splitter struct {
	max int
	// frame gets each line, and owns it. It returns an error if the line is not a message.
	frame   func([]byte) error
	invalid func(string) // called with the reason for each line that is not a message
	// lost is called with the beginning and the end of each such line. It may be nil.
	lost func(begin, end []byte)
	// stray is called instead of lost for each such line that is not too long, with the whole
	// line and the error of frame. It may be nil.
	stray func(line []byte, cause error)
	// framing looks for messages that are framed by Content-Length.
	framing framing
	parts   [][]byte // a line whose end was not read yet
	size    int      // bytes in parts
	skip    bool     // the current line is too long
	edges   edges    // of a line that is too long
}

// write takes the next bytes of the stream.
func (s *splitter) write(chunk []byte) {
	for len(chunk) > 0 {
		line, rest, whole := bytes.Cut(chunk, newline)
		chunk = rest
		switch {
		case s.skip:
			s.edges.write(line)
		case len(line) > s.max-s.size:
			for _, part := range s.parts {
				s.edges.write(part)
			}
			s.edges.write(line)
			s.forget()
			s.skip = true
			s.invalid(InvalidTooLong)
		case whole && s.size == 0:
			s.emit(line, false)
		default:
			s.hold(line)
			if whole {
				s.emit(s.join(), true)
			} else if n := s.framing.wants(); n > 0 && s.size >= n {
				s.framed(bytes.Join(s.parts, nil))
			}
		}
		if whole {
			s.unskip()
		}
	}
}

// unskip reports the current line if it was too long.
func (s *splitter) unskip() {
	if !s.skip {
		return
	}
	s.skip = false
	s.report(s.edges.begin, s.edges.end)
	s.edges.reset()
}

func (s *splitter) report(begin, end []byte) {
	if s.lost != nil {
		s.lost(begin, end)
	}
}

var newline = []byte{'\n'}

// end takes the end of the stream.
func (s *splitter) end() {
	if s.size > 0 {
		s.emit(s.join(), true)
	}
	s.unskip()
}

// emit passes a line on. owned is set if no other code uses its bytes.
func (s *splitter) emit(line []byte, owned bool) {
	line = bytes.Trim(line, " \t\r")
	if n := s.framing.wants(); n > 0 && len(line) >= n {
		s.framed(line)
	}
	if len(line) == 0 {
		s.framing.line(line, false)
		return
	}
	if !owned {
		line = bytes.Clone(line)
	}
	err := s.frame(line)
	s.framing.line(line, !errors.Is(err, message.ErrSyntax))
	switch {
	case err == nil:
		return
	case !utf8.Valid(line):
		s.invalid(InvalidUTF8)
	default:
		s.invalid(InvalidJSON)
	}
	if s.stray != nil {
		s.stray(line, err)
		return
	}
	s.report(edgesOf(line))
}

// framed reports a message that is framed by Content-Length, if the text is one.
func (s *splitter) framed(text []byte) {
	if found := s.framing.message(text); found != nil {
		s.invalid(InvalidFraming)
		if s.stray != nil {
			s.stray(found, message.ErrSyntax)
		}
	}
}

// hold keeps a part of a line.
func (s *splitter) hold(part []byte) {
	s.size += len(part)
	for len(part) > 0 {
		last := len(s.parts) - 1
		if last < 0 || len(s.parts[last]) == pieceIn {
			s.parts = append(s.parts, pieces.Get().(*[pieceIn]byte)[:0])
			last++
		}
		n := min(len(part), pieceIn-len(s.parts[last]))
		s.parts[last] = append(s.parts[last], part[:n]...)
		part = part[n:]
	}
}

// join returns the line that is held.
func (s *splitter) join() []byte {
	line := bytes.Join(s.parts, nil)
	s.forget()
	return line
}

// forget returns the pieces of the held line to their pool.
func (s *splitter) forget() {
	for i, part := range s.parts {
		pieces.Put((*[pieceIn]byte)(part[:pieceIn]))
		s.parts[i] = nil
	}
	s.parts, s.size = s.parts[:0], 0
}

// edge bounds the beginning and the end of a skipped line that are reported, in bytes.
const edge = 1 << 10

// edges are the beginning and the end of a line that is too long to be held.
type edges struct {
	begin, end []byte
}

// write takes the next bytes of the line.
func (e *edges) write(part []byte) {
	if n := min(len(part), edge-len(e.begin)); n > 0 {
		e.begin = append(e.begin, part[:n]...)
	}
	if len(part) >= edge {
		e.end = append(e.end[:0], part[len(part)-edge:]...)
		return
	}
	if over := len(e.end) + len(part) - edge; over > 0 {
		e.end = e.end[:copy(e.end, e.end[over:])]
	}
	e.end = append(e.end, part...)
}

// reset makes e ready for another line.
func (e *edges) reset() { e.begin, e.end = nil, nil }

// edgesOf returns the beginning and the end of a line that is held.
func edgesOf(line []byte) (begin, end []byte) {
	return line[:min(len(line), edge)], line[max(0, len(line)-edge):]
}
