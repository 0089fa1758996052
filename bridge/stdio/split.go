package stdio

import (
	"bytes"
	"sync"
	"unicode/utf8"
)

// pieceIn is the size, in bytes, of the pieces in which a line is held whose
// end has not been read.
const pieceIn = 64 << 10

var pieces = sync.Pool{New: func() any { return new([pieceIn]byte) }}

// splitter finds the messages in a stream, however it is cut into chunks. It
// holds at most one line of max bytes.
type splitter struct {
	max     int
	frame   func([]byte) // gets each message, and owns it
	invalid func(string) // gets the reason for each line that is none
	// lost gets begin and end of each such line, when its end was read; may be nil.
	lost  func(begin, end []byte)
	parts [][]byte // a line whose end has not been read
	size  int      // bytes in parts
	skip  bool     // the rest of this line is too much
	edges edges    // of a line that is too long
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
			}
		}
		if whole {
			s.unskip()
		}
	}
}

// unskip tells about a line that was skipped, if the one that ends is one.
func (s *splitter) unskip() {
	if !s.skip {
		return
	}
	s.skip = false
	s.tell(s.edges.begin, s.edges.end)
	s.edges.reset()
}

func (s *splitter) tell(begin, end []byte) {
	if s.lost != nil {
		s.lost(begin, end)
	}
}

var newline = []byte{'\n'}

// end says that the stream has ended.
func (s *splitter) end() {
	if s.size > 0 {
		s.emit(s.join(), true)
	}
	s.unskip()
}

// emit hands on a line if it is a message; owned says that nobody else has
// its bytes.
func (s *splitter) emit(line []byte, owned bool) {
	line = bytes.Trim(line, " \t\r")
	switch {
	case len(line) == 0:
	case !utf8.Valid(line):
		s.invalid(InvalidUTF8)
		s.tell(edgesOf(line))
	case !isMessage(line):
		s.invalid(InvalidJSON)
		s.tell(edgesOf(line))
	case owned:
		s.frame(line)
	default:
		s.frame(bytes.Clone(line))
	}
}

// hold keeps the part of a line.
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

// forget gives back the pieces of the line that is held.
func (s *splitter) forget() {
	for i, part := range s.parts {
		pieces.Put((*[pieceIn]byte)(part[:pieceIn]))
		s.parts[i] = nil
	}
	s.parts, s.size = s.parts[:0], 0
}
