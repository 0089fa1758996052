package jsontext

import (
	"encoding/json"
	"errors"
	"unicode/utf8"
)

// Errors of [ParseObject]. Their texts continue a sentence that begins with the document.
var (
	ErrNotUTF8   = errors.New("is not UTF-8")
	ErrNotJSON   = errors.New("is not JSON")
	ErrNotObject = errors.New("is not a JSON object")
	ErrTooDeep   = errors.New("is nested too deeply")
	ErrDuplicate = errors.New("has a member twice")
)

// Span is a range of bytes.
type Span struct{ Start, End int }

// Edit replaces a range of a text.
type Edit struct {
	Span

	Text []byte
}

// Member is a member of an object, by its place in the text.
type Member struct {
	Name  string // decoded
	Start int    // where the quoted name starts
	Value Span
	// ColonSpaced says that there is white space between the colon and the value.
	ColonSpaced bool
}

// Object is a JSON object and the text that it was parsed from.
type Object struct {
	Raw     []byte
	Members []Member
	Indent  Span // the white space before the first name
}

// ParseObject finds the members of the object that raw is. It returns an error for what
// clients may read in different ways: duplicate names, a byte order mark, invalid UTF-8,
// text after the object, and nesting deeper than [MaxDepth].
func ParseObject(raw []byte) (*Object, error) {
	if !utf8.Valid(raw) {
		return nil, ErrNotUTF8
	}
	if Depth(raw) > MaxDepth {
		return nil, ErrTooDeep
	}
	if !json.Valid(raw) {
		return nil, ErrNotJSON
	}
	o := &Object{Raw: raw}
	i := SkipSpace(raw, 0)
	if raw[i] != '{' {
		return nil, ErrNotObject
	}
	o.Indent = Span{i + 1, SkipSpace(raw, i+1)}
	seen := make(map[string]struct{})
	for i = o.Indent.End; raw[i] != '}'; i = SkipSpace(raw, i) {
		if raw[i] == ',' {
			i = SkipSpace(raw, i+1)
		}
		m := Member{Start: i}
		end := SkipValue(raw, i)
		if err := json.Unmarshal(raw[i:end], &m.Name); err != nil {
			return nil, ErrNotJSON
		}
		if _, twice := seen[m.Name]; twice {
			return nil, ErrDuplicate
		}
		seen[m.Name] = struct{}{}
		colon := SkipSpace(raw, end)
		m.Value.Start = SkipSpace(raw, colon+1)
		m.ColonSpaced = m.Value.Start > colon+1
		m.Value.End = SkipValue(raw, m.Value.Start)
		o.Members = append(o.Members, m)
		i = m.Value.End
	}
	return o, nil
}

// Find returns the index of the member with a name, or -1.
func (o *Object) Find(name string) int {
	for i := range o.Members {
		if o.Members[i].Name == name {
			return i
		}
	}
	return -1
}

// Value returns the text of the value of member i.
func (o *Object) Value(i int) []byte {
	return o.Raw[o.Members[i].Value.Start:o.Members[i].Value.End]
}

// Text returns the value of member i if it is a string. i may be -1.
func (o *Object) Text(i int) (string, bool) {
	var s string
	if i < 0 || o.Value(i)[0] != '"' || json.Unmarshal(o.Value(i), &s) != nil {
		return "", false
	}
	return s, true
}

// Without returns the range of member i with one of the commas around it. The object must
// have another member.
func (o *Object) Without(i int) Span {
	if i+1 < len(o.Members) {
		return Span{o.Members[i].Start, o.Members[i+1].Start}
	}
	return Span{o.Members[i-1].Value.End, o.Members[i].Value.End}
}

// Drop returns the edits that remove members, each with a comma. gone is sorted. The object
// must have another member.
func (o *Object) Drop(gone []int) []Edit {
	edits := make([]Edit, 0, len(gone))
	for len(gone) > 0 {
		n := 1
		for n < len(gone) && gone[n] == gone[0]+n {
			n++
		}
		first, last := gone[0], gone[n-1]
		at := Span{o.Members[first].Start, 0}
		if last+1 < len(o.Members) {
			at.End = o.Members[last+1].Start
		} else {
			at = Span{o.Members[first-1].Value.End, o.Members[last].Value.End}
		}
		edits = append(edits, Edit{Span: at})
		gone = gone[n:]
	}
	return edits
}
