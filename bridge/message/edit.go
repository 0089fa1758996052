package message

import (
	"bytes"
	"encoding/json"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/jsontext"
)

// find returns where the member name of the object that starts at i has its value.
func find(raw []byte, i int, name string) (start, end int, ok bool) {
	if i >= len(raw) || raw[i] != '{' {
		return 0, 0, false
	}
	for i = jsontext.SkipSpace(raw, i+1); raw[i] != '}'; i = jsontext.SkipSpace(raw, i) {
		if raw[i] == ',' {
			i = jsontext.SkipSpace(raw, i+1)
		}
		nameEnd := jsontext.SkipString(raw, i)
		start = jsontext.SkipSpace(raw, jsontext.SkipSpace(raw, nameEnd)+1)
		end = jsontext.SkipValue(raw, start)
		if named(raw[i:nameEnd], name) {
			return start, end, true
		}
		i = end
	}
	return 0, 0, false
}

// named reports whether a JSON string is name.
func named(quoted []byte, name string) bool {
	inner := quoted[1 : len(quoted)-1]
	if bytes.IndexByte(inner, '\\') < 0 {
		return string(inner) == name
	}
	var s string
	return json.Unmarshal(quoted, &s) == nil && s == name
}

// Get returns the value of the member at path, as it is written, in an object that [Parse]
// accepted. It returns nil if there is no such member.
func Get(raw []byte, path ...string) []byte {
	start, end := jsontext.SkipSpace(raw, 0), len(raw)
	for _, name := range path {
		var ok bool
		if start, end, ok = find(raw, start, name); !ok {
			return nil
		}
	}
	return raw[start:end:end]
}

// Text returns the string at path. It returns "" if there is none.
func Text(raw []byte, path ...string) string {
	s := ""
	_ = json.Unmarshal(Get(raw, path...), &s)
	return s
}

// Set returns raw with value as the member at path. Every other byte stays as it is. Objects that
// are missing on the way are added. If something on the way is not an object, Set returns raw.
func Set(raw, value []byte, path ...string) []byte {
	at := jsontext.SkipSpace(raw, 0)
	for i, name := range path {
		start, end, ok := find(raw, at, name)
		switch {
		case !ok && (at >= len(raw) || raw[at] != '{'):
			return raw
		case !ok:
			return insert(raw, at, value, path[i:])
		case i == len(path)-1:
			return splice(raw, start, end, value)
		}
		at = start
	}
	return raw
}

// Add is [Set] where the member is missing, and leaves one that is there.
func Add(raw, value []byte, path ...string) []byte {
	if Get(raw, path...) != nil {
		return raw
	}
	return Set(raw, value, path...)
}

// Replace is [Set] for a member that exists. It returns raw if the member is missing.
func Replace(raw, value []byte, path ...string) []byte {
	if Get(raw, path...) == nil {
		return raw
	}
	return Set(raw, value, path...)
}

// insert adds a member as the first of the object that starts at i.
func insert(raw []byte, i int, value []byte, path []string) []byte {
	var b bytes.Buffer
	for n, name := range path {
		quoted, _ := json.Marshal(name) // a string does not fail
		if n > 0 {
			b.WriteByte('{')
		}
		b.Write(quoted)
		b.WriteByte(':')
	}
	b.Write(value)
	for range path[1:] {
		b.WriteByte('}')
	}
	if raw[jsontext.SkipSpace(raw, i+1)] != '}' {
		b.WriteByte(',')
	}
	return splice(raw, i+1, i+1, b.Bytes())
}

func splice(raw []byte, start, end int, value []byte) []byte {
	out := make([]byte, 0, len(raw)-(end-start)+len(value))
	out = append(out, raw[:start]...)
	out = append(out, value...)
	return append(out, raw[end:]...)
}

// Remove returns raw without the member at path.
func Remove(raw []byte, path ...string) []byte {
	at := jsontext.SkipSpace(raw, 0)
	for _, name := range path[:len(path)-1] {
		start, _, ok := find(raw, at, name)
		if !ok {
			return raw
		}
		at = start
	}
	name := path[len(path)-1]
	if _, _, ok := find(raw, at, name); !ok {
		return raw
	}
	// The comma behind the member is removed too or, for the last member, the comma in front.
	comma := at + 1
	for i := jsontext.SkipSpace(raw, at+1); ; {
		nameEnd := jsontext.SkipString(raw, i)
		end := jsontext.SkipValue(raw, jsontext.SkipSpace(raw, jsontext.SkipSpace(raw, nameEnd)+1))
		next := jsontext.SkipSpace(raw, end)
		if named(raw[i:nameEnd], name) {
			if raw[next] == ',' {
				return splice(raw, i, jsontext.SkipSpace(raw, next+1), nil)
			}
			return splice(raw, comma, next, nil)
		}
		comma = next
		i = jsontext.SkipSpace(raw, next+1)
	}
}
