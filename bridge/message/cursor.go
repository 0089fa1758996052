package message

import (
	"bytes"
	"encoding/json"
	"unicode/utf8"
)

// Cursor is a place in a JSON text. It checks the text that it moves over, so that one pass both
// checks a text and finds its members. After the first error it does not move any more.
type Cursor struct {
	s     scanner
	first []bool // for each level: the cursor is still at the start of the container
	err   error

	// The first memory of s.objects and of first. It is enough for most texts.
	level  [1]uint64
	firsts [8]bool
}

// NewCursor returns a cursor at the first value of a text.
func NewCursor(text []byte) *Cursor {
	c := &Cursor{s: scanner{b: text, levels: maxDepth}}
	c.s.objects, c.first = c.level[:0], c.firsts[:0]
	if !utf8.Valid(text) {
		c.err = ErrSyntax
	}
	c.s.next()
	return c
}

// Err returns the first error.
func (c *Cursor) Err() error { return c.err }

// At returns the place of the cursor, in bytes. If a value is next, that is the start of the
// value.
func (c *Cursor) At() int { return c.s.i }

// Next returns the first byte of the value that is next; 0 after an error.
func (c *Cursor) Next() byte {
	if c.err != nil {
		return 0
	}
	return c.s.at()
}

func (c *Cursor) fail(err error) {
	if c.err == nil {
		c.err = err
	}
}

// Enter enters the object or array that is next. It is an error if another value is.
func (c *Cursor) Enter() {
	kind := c.Next()
	switch {
	case c.err != nil:
		return
	case kind != '{' && kind != '[':
		c.fail(ErrShape)
		return
	case !c.s.push(kind == '{'):
		c.fail(ErrDepth)
		return
	}
	c.s.i++
	c.first = append(c.first, true)
}

// Member goes to the value of the next member of the object that was entered, and returns its
// decoded name. It returns false, and leaves the object, if there is none.
func (c *Cursor) Member() (name []byte, ok bool) {
	if !c.more() {
		return nil, false
	}
	from := c.s.i
	if c.s.at() != '"' || !c.s.str() {
		c.fail(ErrSyntax)
		return nil, false
	}
	quoted := c.s.b[from:c.s.i]
	if c.s.next() != ':' {
		c.fail(ErrSyntax)
		return nil, false
	}
	c.s.i++
	c.s.next()
	if name = quoted[1 : len(quoted)-1]; bytes.IndexByte(name, '\\') >= 0 {
		var decoded string
		if json.Unmarshal(quoted, &decoded) != nil {
			c.fail(ErrSyntax)
			return nil, false
		}
		name = []byte(decoded)
	}
	return name, true
}

// Element goes to the next value of the array that was entered. It returns false, and leaves
// the array, if there is none.
func (c *Cursor) Element() bool { return c.more() }

// more goes to the next part of a container. At the end it leaves the container and returns false.
func (c *Cursor) more() bool {
	if c.err != nil {
		return false
	}
	end := byte(']')
	if c.s.inObject() {
		end = '}'
	}
	top := len(c.first) - 1
	first := c.first[top]
	c.first[top] = false
	switch got := c.s.next(); {
	case got == end:
		c.s.i++
		c.s.depth--
		c.first = c.first[:top]
		return false
	case first:
		return true
	case got != ',':
		c.fail(ErrSyntax)
		return false
	}
	c.s.i++
	c.s.next()
	return true
}

// Skip crosses the value that is next, and returns its text.
func (c *Cursor) Skip() []byte {
	if c.err != nil {
		return nil
	}
	from := c.s.i
	switch {
	case c.s.values():
	case c.s.deep:
		c.fail(ErrDepth)
		return nil
	default:
		c.fail(ErrSyntax)
		return nil
	}
	return c.s.b[from:c.s.i:c.s.i]
}

// End returns the first error, or an error if there is more than one value.
func (c *Cursor) End() error {
	if c.err == nil && (c.s.next() != 0 || c.s.i < len(c.s.b)) {
		c.fail(ErrSyntax)
	}
	return c.err
}

// Names collects the names of an object's members, each of which may stand there once. It refers
// to the names, and does not copy them.
type Names struct{ set nameSet }

// Add returns [ErrDuplicate] for a name that was added before, and [ErrMembers] if there are
// too many.
func (n *Names) Add(name []byte) error {
	switch {
	case n.set.n == maxMembers:
		return ErrMembers
	case !n.set.add(name):
		return ErrDuplicate
	}
	return nil
}
