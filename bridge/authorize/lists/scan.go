package lists

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/jsontext"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
)

const (
	// maxItems bounds the items of one list.
	maxItems = 100_000
	// maxLikely bounds the items that room is made for when the first one was read.
	maxLikely = 2000
)

// scan is the result of one pass over a message of the server.
type scan struct {
	raw    []byte
	id     []byte
	failed bool // the answer is an error
	// similar is set if the name of a member of the message differs from a known one only in case.
	// similarResult is the same for the members that the result of every list may have.
	similar, similarResult bool
	// result is where the result starts, if it is an object. scope is the value of its
	// cacheScope; scopeDone is set once it is edited. ttl is set if it has a ttlMs.
	result    int
	scope     jsontext.Span
	scopeDone bool
	ttl       bool
	lists     [len(lists)]found
	err       error // of the result
	// task is the task that the answer gives, if it does.
	task task
}

// found is one list in the result of a message.
type found struct {
	isArray bool
	similar bool          // a member of the result equals that of the list but for case
	at      jsontext.Span // of the array
	items   []item
	names   []byte // of all items, decoded
	err     error  // of the first item that cannot be read
}

// item is one item of a list.
type item struct {
	at   jsontext.Span
	name jsontext.Span // in names
}

// message reads a message. It returns false if it is no response. Lists that cannot be read
// are no error yet, because they may not be lists.
func (s *scan) message(raw []byte) (response bool, err error) {
	s.raw = raw
	c := message.NewCursor(raw)
	if c.Next() != '{' {
		_, err := message.Parse(raw)
		return false, err
	}
	var version []byte
	var names message.Names
	hasMethod, hasResult := false, false
	c.Enter()
	for name, ok := c.Member(); ok; name, ok = c.Member() {
		if err := names.Add(name); err != nil {
			return false, err
		}
		switch string(name) {
		case "jsonrpc":
			version = c.Skip()
		case "id":
			s.id = c.Skip()
		case "method":
			hasMethod = true
			c.Skip()
		case "result":
			hasResult = true
			s.readResult(c)
		case "error":
			s.failed = true
			c.Skip()
		default:
			s.similar = s.similar || message.SimilarMember(name)
			c.Skip()
		}
	}
	switch err := c.End(); {
	case err != nil:
		return false, err
	case hasMethod:
		_, err := message.Parse(raw)
		return false, err
	case string(version) != `"2.0"` || s.id == nil || hasResult == s.failed:
		return false, message.ErrShape
	case message.KeyOf(s.id) == "" && string(s.id) != "null":
		return false, message.ErrID
	}
	return true, nil
}

// readResult reads the value of the member `result`.
func (s *scan) readResult(c *message.Cursor) {
	if c.Next() != '{' {
		c.Skip()
		return
	}
	s.result = c.At()
	var names message.Names
	c.Enter()
	for name, ok := c.Member(); ok; name, ok = c.Member() {
		if err := names.Add(name); err != nil && s.err == nil {
			s.err = fmt.Errorf("%w: the result %w", ErrList, err)
		}
		switch string(name) {
		case "cacheScope":
			s.scope.Start = c.At()
			c.Skip()
			s.scope.End = c.At()
		case "ttlMs":
			s.ttl = true
			c.Skip()
		case "resultType", "taskId", "task":
			s.task.read(c, name)
		default:
			s.readMember(c, name)
		}
	}
}

// readMember reads a member of the result that may be a list.
func (s *scan) readMember(c *message.Cursor, name []byte) {
	for i := range lists {
		l, f := &lists[i], &s.lists[i]
		if string(name) == l.items {
			if c.Next() == '[' {
				readList(c, s.raw, l, f)
			} else {
				c.Skip()
			}
			return
		}
		if _, similar := message.LooksLike(name, l.items); similar {
			f.similar = true
		}
	}
	if _, similar := message.LooksLike(name, "cacheScope", "ttlMs"); similar {
		s.similarResult = true
	}
	c.Skip()
}

// readList reads the items of a list.
func readList(c *message.Cursor, text []byte, l *list, f *found) {
	f.isArray, f.at.Start = true, c.At()
	c.Enter()
	for c.Element() {
		it := item{}
		it.at.Start = c.At()
		quoted, err := readItem(c, l)
		it.at.End = c.At()
		switch {
		case f.err != nil:
			continue
		case err != nil:
			f.err = err
			continue
		case len(f.items) == maxItems:
			f.err = fmt.Errorf("%w: it has more than %d items", ErrList, maxItems)
			continue
		}
		it.name.Start = len(f.names)
		if len(quoted) >= 2 && quoted[0] == '"' && bytes.IndexByte(quoted, '\\') < 0 {
			f.names = append(f.names, quoted[1:len(quoted)-1]...)
		} else if text, ok := decode(quoted); ok {
			f.names = append(f.names, text...)
		} else {
			f.err = fmt.Errorf("%w: an item has no %s", ErrList, l.name)
			continue
		}
		it.name.End = len(f.names)
		if f.items == nil { // the others may be as long as the first
			likely := min((len(text)-it.at.Start)/(it.at.End-it.at.Start+1)+1, maxLikely)
			f.items, f.names = make([]item, 0, likely), slices.Grow(f.names, likely*(it.name.End+1))
		}
		f.items = append(f.items, it)
	}
	f.at.End = c.At()
}

// readItem reads an item, and returns its name as it is written.
func readItem(c *message.Cursor, l *list) (quoted []byte, err error) {
	if c.Next() != '{' {
		c.Skip()
		return nil, fmt.Errorf("%w: an item is not an object", ErrList)
	}
	var names message.Names
	c.Enter()
	for name, ok := c.Member(); ok; name, ok = c.Member() {
		if e := names.Add(name); e != nil && err == nil {
			err = fmt.Errorf("%w: an item %w", ErrList, e)
		}
		if string(name) == l.name {
			quoted = c.Skip()
			continue
		}
		if _, similar := message.LooksLike(name, l.name); similar && err == nil {
			err = fmt.Errorf("%w: a member of an item equals %q but for case", ErrList, l.name)
		}
		c.Skip()
	}
	return quoted, err
}
