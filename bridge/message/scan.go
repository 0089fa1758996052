package message

import (
	"encoding/binary"
	"math/bits"
)

// maxLevels is how deep JSON may be nested at all; that of encoding/json.
const maxLevels = 10000

// IsContainer reports whether a text, which starts and ends with no white space, is one
// JSON object or array. It is json.Valid, several times faster: strings are
// crossed eight bytes at a time. It does not look for invalid UTF-8.
func IsContainer(b []byte) bool {
	if len(b) == 0 || b[0] != '{' && b[0] != '[' {
		return false
	}
	var flat [4]uint64 // deep enough for most
	s := scanner{b: b, levels: maxLevels, objects: flat[:0]}
	return s.values() && s.i == len(b)
}

// scanner is a place in a JSON text.
type scanner struct {
	b []byte
	i int

	depth   int
	levels  int      // how deep the text may be
	deep    bool     // it is deeper
	objects []uint64 // a bit for each level: is it an object?
}

// next crosses white space and returns the byte behind it, 0 at the end.
func (s *scanner) next() byte {
	for s.i < len(s.b) {
		switch c := s.b[s.i]; c {
		case ' ', '\t', '\r', '\n':
			s.i++
		default:
			return c
		}
	}
	return 0
}

// values crosses the value that is next and all in it.
func (s *scanner) values() bool {
	floor := s.depth
	for {
		ok, entered := s.value()
		if !ok {
			return false
		}
		if entered {
			continue
		}
		for more := false; !more; {
			if s.depth == floor {
				return true
			}
			if more, ok = s.after(); !ok {
				return false
			}
		}
	}
}

// value crosses a scalar or an empty container, or enters a container up to
// its first value.
func (s *scanner) value() (ok, entered bool) {
	switch c := s.next(); c {
	case '{', '[':
		s.i++
		if !s.push(c == '{') {
			return false, false
		}
		if s.next() == c+2 { // '}' is '{'+2, and ']' is '['+2
			s.i++
			s.depth--
			return true, false
		}
		return c == '[' || s.key(), true
	case '"':
		return s.str(), false
	case 't':
		return s.word("true"), false
	case 'f':
		return s.word("false"), false
	case 'n':
		return s.word("null"), false
	default:
		return s.numeral(), false
	}
}

// after moves over the text behind a value in a container: the comma (and key) in front of the
// next value, or the end of the container.
func (s *scanner) after() (more, ok bool) {
	object := s.inObject()
	switch c := s.next(); {
	case c == ',':
		s.i++
		return true, !object || s.key()
	case c == '}' && object, c == ']' && !object:
		s.i++
		s.depth--
		return false, true
	default:
		return false, false
	}
}

// push enters a container.
func (s *scanner) push(object bool) bool {
	if s.depth == s.levels {
		s.deep = true
		return false
	}
	if s.depth/64 == len(s.objects) {
		s.objects = append(s.objects, 0)
	}
	bit := uint64(1) << (s.depth % 64)
	if object {
		s.objects[s.depth/64] |= bit
	} else {
		s.objects[s.depth/64] &^= bit
	}
	s.depth++
	return true
}

// inObject says whether the innermost container is an object.
func (s *scanner) inObject() bool {
	return s.objects[(s.depth-1)/64]>>((s.depth-1)%64)&1 == 1
}

// key crosses the name of a member and its colon.
func (s *scanner) key() bool {
	if s.next() != '"' || !s.str() || s.next() != ':' {
		return false
	}
	s.i++
	return true
}

// word crosses a literal.
func (s *scanner) word(w string) bool {
	if len(s.b)-s.i < len(w) || string(s.b[s.i:s.i+len(w)]) != w {
		return false
	}
	s.i += len(w)
	return true
}

// numeral crosses a number.
func (s *scanner) numeral() bool {
	if s.at() == '-' {
		s.i++
	}
	if s.at() == '0' {
		s.i++
	} else if !s.digits() {
		return false
	}
	if s.at() == '.' {
		s.i++
		if !s.digits() {
			return false
		}
	}
	if s.at()|0x20 == 'e' {
		s.i++
		if c := s.at(); c == '+' || c == '-' {
			s.i++
		}
		return s.digits()
	}
	return true
}

// at returns the byte at this place, 0 at the end.
func (s *scanner) at() byte {
	if s.i < len(s.b) {
		return s.b[s.i]
	}
	return 0
}

// digits crosses one digit or more.
func (s *scanner) digits() bool {
	from := s.i
	for s.i < len(s.b) && s.b[s.i]-'0' <= 9 {
		s.i++
	}
	return s.i > from
}

// str crosses a string.
func (s *scanner) str() bool {
	for i := s.i + 1; ; {
		i = plain(s.b, i)
		if i >= len(s.b) {
			return false
		}
		switch s.b[i] {
		case '"':
			s.i = i + 1
			return true
		case '\\':
			n := escape(s.b[i+1:])
			if n == 0 {
				return false
			}
			i += 1 + n
		default: // a control character
			return false
		}
	}
}

// plain returns the place, from i on, of the first byte that has a meaning in
// a string: a quote, a backslash or a control character.
func plain(b []byte, i int) int {
	const ones, tops = 0x0101010101010101, 0x8080808080808080
	for ; len(b)-i >= 8; i += 8 {
		// The lowest top bit that is set marks the first such byte; above
		// it a borrow may set others.
		x := binary.LittleEndian.Uint64(b[i:])
		quote, slash := x^ones*'"', x^ones*'\\'
		found := (x - ones*' ') | (quote - ones) | (slash - ones)
		if found &= ^x & tops; found != 0 {
			return i + bits.TrailingZeros64(found)/8
		}
	}
	for i < len(b) && b[i] >= ' ' && b[i] != '"' && b[i] != '\\' {
		i++
	}
	return i
}

// escape returns the length of the escape sequence behind a backslash. It is 0 if there is none.
func escape(b []byte) int {
	if len(b) == 0 {
		return 0
	}
	switch b[0] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return 1
	case 'u':
		if len(b) < 5 {
			return 0
		}
		for _, c := range b[1:5] {
			if c-'0' > 9 && c|0x20-'a' > 5 {
				return 0
			}
		}
		return 5
	default:
		return 0
	}
}
