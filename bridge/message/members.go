package message

import (
	"bytes"
	"encoding/json"
	"hash/maphash"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/jsontext"
)

// members calls each for the members of a JSON object that check accepted. The name is decoded. It
// returns an error if a name stands twice, or if there are more than maxMembers.
func members(raw []byte, each func(name, value []byte) error) error {
	i := jsontext.SkipSpace(raw, 0)
	if raw[i] != '{' {
		return ErrShape
	}
	var seen nameSet
	for i = jsontext.SkipSpace(raw, i+1); raw[i] != '}'; i = jsontext.SkipSpace(raw, i) {
		if raw[i] == ',' {
			i = jsontext.SkipSpace(raw, i+1)
		}
		end := jsontext.SkipString(raw, i)
		name := raw[i+1 : end-1]
		if bytes.IndexByte(name, '\\') >= 0 {
			var decoded string
			if err := json.Unmarshal(raw[i:end], &decoded); err != nil {
				return ErrSyntax
			}
			name = []byte(decoded)
		}
		if seen.n == maxMembers {
			return ErrMembers
		}
		if !seen.add(name) {
			return ErrDuplicate
		}
		start := jsontext.SkipSpace(raw, jsontext.SkipSpace(raw, end)+1)
		i = jsontext.SkipValue(raw, start)
		if err := each(name, raw[start:i:i]); err != nil {
			return err
		}
	}
	return nil
}

// Members calls each for the members of a JSON object, which must be the text of a message
// that [Parse] accepted or a value in one. The name is decoded. It returns an error if raw is
// no object, if a name stands twice, if there are too many members, or the first error of
// each.
func Members(raw []byte, each func(name, value []byte) error) error { return members(raw, each) }

// nameSet is a set of at most maxMembers names, which it refers to and does not copy.
// Few names need no memory of their own.
type nameSet struct {
	n    int
	few  [16][]byte
	many *nameTable // that all are in, if there are more than few has room for
}

// nameTable is a hash table with open addressing.
type nameTable struct {
	seed  maphash.Seed // the names are a client's, who must not know which collide
	names [maxMembers][]byte
	// slots has the places in names, counted from 1; 0 is a free slot. At least half of them are
	// free.
	slots [2 * maxMembers]uint16
}

// add adds a name. It returns false where the name is in the set already.
func (s *nameSet) add(name []byte) bool {
	if s.n < len(s.few) {
		for _, other := range s.few[:s.n] {
			if bytes.Equal(other, name) {
				return false
			}
		}
		s.few[s.n] = name
		s.n++
		return true
	}
	if s.many == nil {
		s.many = &nameTable{seed: maphash.MakeSeed()}
		for i, other := range s.few {
			s.many.add(i, other)
		}
	}
	if !s.many.add(s.n, name) {
		return false
	}
	s.n++
	return true
}

// add adds the name that has i before it.
func (t *nameTable) add(i int, name []byte) bool {
	at := maphash.Bytes(t.seed, name) % uint64(len(t.slots))
	for ; t.slots[at] != 0; at = (at + 1) % uint64(len(t.slots)) {
		if bytes.Equal(t.names[t.slots[at]-1], name) {
			return false
		}
	}
	t.names[i] = name
	t.slots[at] = uint16(i + 1)
	return true
}
