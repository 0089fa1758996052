package jsontext

import (
	"bytes"
	"encoding/json"
	"errors"
)

// MaxOpenMembers bounds the members of the objects that are open at one place of a text that
// [Unique] reads, because their names are in memory meanwhile.
const MaxOpenMembers = 1 << 16

// ErrTooMany is an error of [Unique]. Its text continues a sentence.
var ErrTooMany = errors.New("has too many members")

// Unique returns [ErrDuplicate] if an object of a valid JSON text has a member twice, at any
// depth. Names are compared decoded.
func Unique(raw []byte) error {
	var open [16][]byte // enough for most
	u := unique{raw: raw, names: open[:0]}
	_, err := u.value(SkipSpace(raw, 0))
	return err
}

// few is how many names of an object are compared one by one.
const few = 8

// unique is a walk over a text. Its names are those of the objects that are open, decoded.
type unique struct {
	raw   []byte
	names [][]byte
}

// value returns the index after the value at i.
func (u *unique) value(i int) (int, error) {
	switch u.raw[i] {
	case '{':
		return u.object(i)
	case '[':
		var err error
		for i = SkipSpace(u.raw, i+1); u.raw[i] != ']'; i = SkipSpace(u.raw, i) {
			if u.raw[i] == ',' {
				i = SkipSpace(u.raw, i+1)
			}
			if i, err = u.value(i); err != nil {
				return i, err
			}
		}
		return i + 1, nil
	}
	return SkipValue(u.raw, i), nil
}

func (u *unique) object(i int) (int, error) {
	first := len(u.names)
	defer func() { u.names = u.names[:first] }()
	var many map[string]struct{}
	for i = SkipSpace(u.raw, i+1); u.raw[i] != '}'; i = SkipSpace(u.raw, i) {
		if u.raw[i] == ',' {
			i = SkipSpace(u.raw, i+1)
		}
		end := SkipString(u.raw, i)
		name, err := text(u.raw[i:end])
		if err != nil {
			return i, err
		}
		if len(u.names) == MaxOpenMembers {
			return i, ErrTooMany
		}
		if many == nil && len(u.names)-first == few {
			many = make(map[string]struct{})
			for _, other := range u.names[first:] {
				many[string(other)] = struct{}{}
			}
		}
		if many == nil {
			for _, other := range u.names[first:] {
				if bytes.Equal(other, name) {
					return i, ErrDuplicate
				}
			}
		} else {
			if _, twice := many[string(name)]; twice {
				return i, ErrDuplicate
			}
			many[string(name)] = struct{}{}
		}
		u.names = append(u.names, name)
		if i, err = u.value(SkipSpace(u.raw, SkipSpace(u.raw, end)+1)); err != nil {
			return i, err
		}
	}
	return i + 1, nil
}

// text decodes a quoted string. It is copied only if it has escapes.
func text(quoted []byte) ([]byte, error) {
	if bytes.IndexByte(quoted, '\\') < 0 {
		return quoted[1 : len(quoted)-1], nil
	}
	var s string
	if err := json.Unmarshal(quoted, &s); err != nil {
		return nil, ErrNotJSON
	}
	return []byte(s), nil
}
