package metadata

import (
	"bytes"
	"encoding/json"
	"errors"
	"unicode/utf8"
)

// maxDepth bounds the nesting of a document. RFC 9728 needs 2.
const maxDepth = 64

// Reasons why a document is invalid.
var (
	errNotUTF8     = errors.New("is not UTF-8")
	errNotJSON     = errors.New("is not JSON")
	errNotObject   = errors.New("is not a JSON object")
	errTooDeep     = errors.New("is nested too deeply")
	errDuplicate   = errors.New("has a member twice")
	errNoResource  = errors.New("has no resource that is a string")
	errTooLarge    = errors.New("is larger than max_size")
	errEncodedBody = errors.New("has a content encoding that was not asked for")
)

// span is a range of bytes.
type span struct{ start, end int }

// member is one member of the outermost object, by its place in the text.
type member struct {
	name        string // decoded
	name0       int    // where the quoted name starts
	value       span
	colonSpaced bool
}

// object is a JSON object whose text is kept.
type object struct {
	raw     []byte
	members []member
	indent  span // the white space before the first name
}

// parseObject finds the members of the object that raw is. It refuses what
// clients understand differently: duplicate names, a byte order mark, invalid
// UTF-8, anything after the object.
func parseObject(raw []byte) (*object, error) {
	if !utf8.Valid(raw) {
		return nil, errNotUTF8
	}
	if depth(raw) > maxDepth {
		return nil, errTooDeep
	}
	if !json.Valid(raw) {
		return nil, errNotJSON
	}
	o := &object{raw: raw}
	i := skipSpace(raw, 0)
	if raw[i] != '{' {
		return nil, errNotObject
	}
	o.indent = span{i + 1, skipSpace(raw, i+1)}
	seen := make(map[string]struct{})
	// From here on the text is known to be valid JSON.
	for i = o.indent.end; raw[i] != '}'; i = skipSpace(raw, i) {
		if raw[i] == ',' {
			i = skipSpace(raw, i+1)
		}
		m := member{name0: i}
		end := skipValue(raw, i)
		if err := json.Unmarshal(raw[i:end], &m.name); err != nil {
			return nil, errNotJSON
		}
		if _, twice := seen[m.name]; twice {
			return nil, errDuplicate
		}
		seen[m.name] = struct{}{}
		colon := skipSpace(raw, end)
		m.value.start = skipSpace(raw, colon+1)
		m.colonSpaced = m.value.start > colon+1
		m.value.end = skipValue(raw, m.value.start)
		o.members = append(o.members, m)
		i = m.value.end
	}
	return o, nil
}

// find returns the place of a member, or -1.
func (o *object) find(name string) int {
	for i := range o.members {
		if o.members[i].name == name {
			return i
		}
	}
	return -1
}

func (o *object) value(i int) []byte {
	return o.raw[o.members[i].value.start:o.members[i].value.end]
}

// depth returns the deepest nesting of text that looks like JSON.
func depth(raw []byte) int {
	deepest, now := 0, 0
	for i := 0; i < len(raw); i++ {
		switch raw[i] {
		case '"':
			i = skipString(raw, i) - 1
		case '{', '[':
			now++
			deepest = max(deepest, now)
		case '}', ']':
			now--
		}
	}
	return deepest
}

// skipString returns the end of the string that starts at i.
func skipString(raw []byte, i int) int {
	for i++; i < len(raw); i++ {
		switch raw[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return len(raw)
}

// skipValue returns the end of the value that starts at i, in valid JSON.
func skipValue(raw []byte, i int) int {
	switch raw[i] {
	case '"':
		return skipString(raw, i)
	case '{', '[':
		for open := 0; i < len(raw); i++ {
			switch raw[i] {
			case '"':
				i = skipString(raw, i) - 1
			case '{', '[':
				open++
			case '}', ']':
				if open--; open == 0 {
					return i + 1
				}
			}
		}
		return len(raw)
	default:
		if n := bytes.IndexAny(raw[i:], ",}] \t\r\n"); n >= 0 {
			return i + n
		}
		return len(raw)
	}
}

func skipSpace(raw []byte, i int) int {
	for i < len(raw) && (raw[i] == ' ' || raw[i] == '\t' || raw[i] == '\r' || raw[i] == '\n') {
		i++
	}
	return i
}

// validJSON reports whether raw is one JSON value in UTF-8.
func validJSON(raw []byte) bool { return utf8.Valid(raw) && json.Valid(raw) }

// quote returns s, which is UTF-8, as a JSON string that keeps & and < readable.
func quote(s string) []byte { return marshal(s) }

func marshal(v any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return []byte("null")
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}
