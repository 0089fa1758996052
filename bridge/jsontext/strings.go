// Package jsontext reads and changes JSON texts in place: every byte that is not changed
// stays as it is.
//
// The walker (walk.go) is our own because encoding/json can only decode and encode again,
// which changes bytes, and decodes a whole message to reach one member. encoding/json/v2 has
// a walker over tokens and values, encoding/json/jsontext: Decoder.ReadToken, SkipValue and
// InputOffset do what the functions of walk.go do, with the bound of the nesting and the
// check for duplicate names that [ParseObject] makes. It takes the place of walk.go, and of
// the loops in [ParseObject] and [EditStrings], once it is in Go without GOEXPERIMENT=jsonv2.
package jsontext

import (
	"bytes"
	"encoding/json"
	"slices"
	"unicode/utf8"
)

// MaxDepth bounds the nesting of a text that [EditStrings] and [ParseObject] accept.
const MaxDepth = 64

// Action says what to do with a string.
type Action uint8

// The actions.
const (
	Keep Action = iota
	Replace
	// Drop removes the innermost member that the string belongs to. A string in no member is
	// replaced.
	Drop
)

// At says where a string is.
type At struct {
	Top    string // the name of the outermost object's member; "" outside of one
	Member string // the name of the innermost object's member
	Name   bool   // the string is that name; it can be kept or dropped with its member, not replaced
}

// EditStrings calls edit with each string of a JSON text, decoded, and edit returns the new
// string and what to do. It returns raw itself if nothing changes, and false if raw is not
// JSON, not UTF-8, or nested too deeply.
func EditStrings(raw []byte, edit func(at At, value string) (string, Action)) (out []byte, ok bool) {
	if !utf8.Valid(raw) || Depth(raw) > MaxDepth || !json.Valid(raw) {
		return raw, false
	}
	e := editor{raw: raw, edit: edit, out: make([]byte, 0, len(raw))}
	e.space()
	e.value(At{})
	e.space()
	if !e.changed {
		return raw, true
	}
	return e.out, true
}

// editor copies a valid text.
type editor struct {
	raw     []byte
	pos     int
	out     []byte
	edit    func(at At, value string) (string, Action)
	changed bool
}

// space copies white space.
func (e *editor) space() {
	start := e.pos
	for e.pos < len(e.raw) {
		if c := e.raw[e.pos]; c != ' ' && c != '\t' && c != '\r' && c != '\n' {
			break
		}
		e.pos++
	}
	e.out = append(e.out, e.raw[start:e.pos]...)
}

// value copies a value. It returns false if its member is to be dropped.
func (e *editor) value(at At) bool {
	switch e.raw[e.pos] {
	case '{':
		e.object(at)
		return true
	case '[':
		return e.array(at)
	case '"':
		return e.text(at)
	}
	start := e.pos
	for e.pos < len(e.raw) && bytes.IndexByte([]byte(",]} \t\r\n"), e.raw[e.pos]) < 0 {
		e.pos++
	}
	e.out = append(e.out, e.raw[start:e.pos]...)
	return true
}

// object copies an object without the members that are dropped. Each member is copied with
// the white space before and after it.
func (e *editor) object(at At) {
	e.one() // {
	kept, outermost := false, at.Member == ""
	for {
		mark := len(e.out)
		if kept {
			e.out = append(e.out, ',')
		}
		e.space()
		if e.raw[e.pos] == '}' { // it is empty
			break
		}
		start := e.pos
		e.skipString()
		name := decode(e.raw[start:e.pos])
		e.out = append(e.out, e.raw[start:e.pos]...)
		in := At{Top: at.Top, Member: name}
		if outermost {
			in.Top = name
		}
		_, action := e.edit(At{Top: in.Top, Member: name, Name: true}, name)
		stays := action != Drop
		e.space()
		e.one() // :
		e.space()
		if !e.value(in) {
			stays = false
		}
		after := len(e.out)
		e.space()
		if !stays {
			space := e.raw[e.pos-(len(e.out)-after) : e.pos]
			e.out, e.changed = e.out[:mark], true
			if e.raw[e.pos] == '}' {
				e.out = append(e.out, space...)
			}
		}
		kept = kept || stays
		if e.raw[e.pos] == '}' {
			break
		}
		e.pos++ // the comma; it is written before the next member that is kept
	}
	e.one()
}

// array copies an array.
func (e *editor) array(at At) bool {
	stays := true
	e.one() // [
	e.space()
	for e.raw[e.pos] != ']' {
		if !e.value(at) {
			stays = false
		}
		e.space()
		if e.raw[e.pos] == ',' {
			e.one()
			e.space()
		}
	}
	e.one()
	return stays
}

// text copies a string.
func (e *editor) text(at At) bool {
	start := e.pos
	e.skipString()
	old := e.raw[start:e.pos]
	value := decode(old)
	to, action := e.edit(at, value)
	switch {
	case action == Drop && at.Member != "":
		return false
	case action == Keep || to == value:
		e.out = append(e.out, old...)
	default:
		e.out, e.changed = append(e.out, Quote(to)...), true
	}
	return true
}

// one copies one byte.
func (e *editor) one() {
	e.out = append(e.out, e.raw[e.pos])
	e.pos++
}

func (e *editor) skipString() { e.pos = SkipString(e.raw, e.pos) }

// Decode returns the value of a quoted string of a valid text.
func Decode(quoted []byte) string { return decode(quoted) }

func decode(quoted []byte) string {
	if bytes.IndexByte(quoted, '\\') < 0 {
		return string(quoted[1 : len(quoted)-1])
	}
	var s string
	_ = json.Unmarshal(quoted, &s)
	return s
}

// Quote returns s as a JSON string that keeps & and < readable.
func Quote(s string) []byte { return Marshal(s) }

// Marshal is json.Marshal without escapes for HTML, for values that always marshal.
func Marshal(v any) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return []byte("null")
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// Valid reports whether raw is one JSON value in UTF-8.
func Valid(raw []byte) bool { return utf8.Valid(raw) && json.Valid(raw) }

// Apply returns the range within of raw, with the edits that are inside it applied. Edits
// must not overlap.
func Apply(raw []byte, within Span, edits []Edit) []byte {
	inOrder := func(a, b Edit) int {
		if a.Start != b.Start {
			return a.Start - b.Start
		}
		return a.End - b.End
	}
	if !slices.IsSortedFunc(edits, inOrder) {
		slices.SortStableFunc(edits, inOrder)
	}
	size := within.End - within.Start
	for _, e := range edits {
		size += len(e.Text)
	}
	out := make([]byte, 0, size)
	pos := within.Start
	for _, e := range edits {
		if e.Start < within.Start || e.End > within.End {
			continue
		}
		out = append(out, raw[pos:e.Start]...)
		out = append(out, e.Text...)
		pos = e.End
	}
	return append(out, raw[pos:within.End]...)
}
