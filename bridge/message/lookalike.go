package message

import (
	"bytes"
	"strings"
	"unicode"
	"unicode/utf8"
)

// A Lookalike is a member whose name differs from a known one only in case. Names are
// case-sensitive in JSON-RPC, but some readers ignore case (Go's encoding/json, .NET, Jackson
// if it is configured so) and would take this member for the known one.
type Lookalike struct {
	// Where is the object with the member: "the message", "params" or "params._meta".
	Where string
	// Known is the known name.
	Known string
}

// String says where the member is and which name it looks like.
func (l *Lookalike) String() string {
	return "a member of " + l.Where + " that equals " + `"` + l.Known + `"` + " but for case"
}

// place is an object whose members the bridge reads.
type place int

const (
	inMessage place = iota
	inParams
	inMeta
	places
)

// placeNames are the names of the places in errors.
var placeNames = [places]string{"the message", "params", "params._meta"}

// knownNames are the members that decide, at each place, what a message is, whom it is
// about and what its request may do (JSON-RPC 2.0; MCP specification 2024-11-05 to
// 2026-07-28; OpenTelemetry trace context).
var knownNames = [places][]string{
	inMessage: {"jsonrpc", "id", "method", "params", "result", "error"},
	inParams: {
		"_meta", "progressToken", "requestId",
		"name", "uri", "arguments", "ref", "argument", "context", "cursor", "level", "task", "taskId",
		"notifications", "inputResponses", "requestState", "subscriptionId",
		"protocolVersion", "capabilities", "clientInfo",
	},
	inMeta: {
		"progressToken", "traceparent", "tracestate", "baggage",
		"io.modelcontextprotocol/protocolVersion", "io.modelcontextprotocol/clientInfo",
		"io.modelcontextprotocol/clientCapabilities", "io.modelcontextprotocol/logLevel",
		"io.modelcontextprotocol/serverInfo", "io.modelcontextprotocol/subscriptionId",
		"io.modelcontextprotocol/related-task",
	},
}

// lookalikes has the members of knownNames by their folded names.
var lookalikes = func() (all [places]map[string]*Lookalike) {
	for where, names := range knownNames {
		all[where] = make(map[string]*Lookalike)
		for _, name := range names {
			all[where][strings.ToLower(name)] = &Lookalike{placeNames[where], name}
		}
	}
	return all
}()

// maxKnown is at least the length of each known name, in bytes.
const maxKnown = 64

// lookalike returns the known name that a decoded name differs from only in case, at a place.
// It returns nil if there is none, or if the name is itself the known one.
func lookalike(where place, name []byte) *Lookalike {
	end := bytes.IndexByte(name, 0)
	if end >= 0 {
		name = name[:end] // a reader in C may stop at the NUL
	}
	var buf [maxKnown]byte
	folded, ok := fold(buf[:0], name)
	if !ok {
		return nil
	}
	l := lookalikes[where][string(folded)]
	if l == nil || end < 0 && l.Known == string(name) {
		return nil
	}
	return l
}

// SimilarMember reports whether the decoded name of a message's member equals one that
// JSON-RPC knows but for case.
func SimilarMember(name []byte) bool { return lookalike(inMessage, name) != nil }

// LooksLike returns the known name that a decoded name equals for some reader that ignores case.
// It returns false if there is none, or if the name is itself the known one. The known names are
// ASCII in any case, of at most 64 bytes.
func LooksLike(name []byte, known ...string) (string, bool) {
	if isPlain(name) {
		for _, one := range known {
			if len(one) == len(name) && strings.EqualFold(string(name), one) {
				return one, string(name) != one
			}
		}
		return "", false
	}
	return looksLike(name, known)
}

// looksLike is [LooksLike] for all names.
func looksLike(name []byte, known []string) (string, bool) {
	whole := len(name)
	if end := bytes.IndexByte(name, 0); end >= 0 {
		name = name[:end] // a reader in C may see no more
	}
	var buf [maxKnown]byte
	folded, ok := fold(buf[:0], name)
	if !ok {
		return "", false
	}
	for _, one := range known {
		if strings.EqualFold(string(folded), one) {
			return one, len(name) < whole || string(name) != one
		}
	}
	return "", false
}

// isPlain reports whether a name has only characters of ASCII, and no NUL.
func isPlain(name []byte) bool {
	for _, c := range name {
		if c-1 >= utf8.RuneSelf-1 {
			return false
		}
	}
	return true
}

// FoldName returns a decoded name in a form that is equal for two names if some reader may take
// one for the other: because the reader ignores case, or everything after a zero byte.
func FoldName(name []byte) string {
	if end := bytes.IndexByte(name, 0); end >= 0 {
		name = name[:end]
	}
	var b strings.Builder
	for _, r := range string(name) {
		switch ascii := foldRune(r); {
		case r < utf8.RuneSelf:
			b.WriteRune(unicode.ToLower(r))
		case ascii != "":
			b.WriteString(ascii)
		default:
			least := unicode.ToLower(unicode.ToUpper(r))
			for other := unicode.SimpleFold(least); other != least; other = unicode.SimpleFold(other) {
				if other < least {
					least = other
					break
				}
			}
			b.WriteRune(least)
		}
	}
	return b.String()
}

// fold appends the lower-case ASCII form of a name, as a reader that ignores case may see it.
// It returns false if there is no such form, or if it does not fit.
func fold(folded, name []byte) ([]byte, bool) {
	for i := 0; i < len(name); {
		if len(folded) == cap(folded) {
			return nil, false
		}
		if c := name[i]; c < utf8.RuneSelf {
			if 'A' <= c && c <= 'Z' {
				c += 'a' - 'A'
			}
			folded = append(folded, c)
			i++
			continue
		}
		r, size := utf8.DecodeRune(name[i:])
		ascii := foldRune(r)
		if ascii == "" || len(folded)+len(ascii) > cap(folded) {
			return nil, false
		}
		folded = append(folded, ascii...)
		i += size
	}
	return folded, true
}

// expansions are the characters outside of ASCII whose full case folding, or upper case,
// is more than one letter of ASCII (Unicode CaseFolding.txt, status F; SpecialCasing.txt).
var expansions = map[rune]string{
	'ß': "ss", 'ẞ': "ss",
	'ﬀ': "ff", 'ﬁ': "fi", 'ﬂ': "fl", 'ﬃ': "ffi", 'ﬄ': "ffl", 'ﬅ': "st", 'ﬆ': "st",
}

// foldRune returns the lower-case ASCII letters that a character outside ASCII equals if case
// is ignored, or "" if there are none. It covers all ways in which readers compare: simple
// folding, as in encoding/json (ſ and the Kelvin sign), full folding, and upper and lower case
// (Java compares both, so that ı and İ equal i).
func foldRune(r rune) string {
	if s, ok := expansions[r]; ok {
		return s
	}
	for other := unicode.SimpleFold(r); other != r; other = unicode.SimpleFold(other) {
		if other < utf8.RuneSelf {
			return strings.ToLower(string(other))
		}
	}
	for _, other := range []rune{unicode.ToLower(r), unicode.ToUpper(r)} {
		if other < utf8.RuneSelf {
			return strings.ToLower(string(other))
		}
	}
	return ""
}
