// Package message reads what a bridge has to know of JSON-RPC messages, and
// leaves their bytes alone: which of request, notification and response one is,
// its id in a form that can be compared, and what it refers to. Unknown members
// and methods, numbers of any size and the order of members stay as they are.
package message

import (
	"bytes"
	"encoding/json"
	"errors"
	"math/big"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Kind says what a message is (JSON-RPC 2.0 sections 4 and 5).
type Kind uint8

// The kinds of messages.
const (
	Request Kind = iota + 1
	Notification
	Response
)

// Key is an id or a progress token in a form that can be compared: equal values
// are equal keys, however they are written. The empty key is none.
type Key string

// Message is what is known of one message.
type Message struct {
	// Raw is the message as it came.
	Raw    []byte
	Kind   Kind
	Method string
	// ID of a request or response. Null, which a response to what could not be
	// read has, is none.
	ID Key
	// RawID is ID as it is written.
	RawID []byte
	// Progress is the token of the progress that a request asks for, or that a
	// notifications/progress has.
	Progress Key
	// Cancels is the id of the request that a notifications/cancelled is about.
	Cancels Key
	// Version is the protocolVersion of an initialize request, or of its result.
	Version string
	// Failed says that a response is an error.
	Failed bool
}

// Reasons why a text is no message.
var (
	ErrSyntax    = errors.New("is not JSON")
	ErrDuplicate = errors.New("has a member twice")
	ErrShape     = errors.New("is no JSON-RPC 2.0 message")
	ErrID        = errors.New("has an id that is neither a string nor a number")
	ErrDepth     = errors.New("is nested too deeply")
	ErrEmpty     = errors.New("is an empty batch")
)

// maxDepth bounds the nesting of a message.
const maxDepth = 512

// IsBatch reports whether raw looks like a batch (MCP specification 2025-03-26).
func IsBatch(raw []byte) bool {
	i := skipSpace(raw, 0)
	return i < len(raw) && raw[i] == '['
}

// Batch returns the messages of a batch.
func Batch(raw []byte) ([][]byte, error) {
	if err := check(raw); err != nil {
		return nil, err
	}
	if !IsBatch(raw) {
		return nil, ErrShape
	}
	i := skipSpace(raw, skipSpace(raw, 0)+1)
	if raw[i] == ']' {
		return nil, ErrEmpty
	}
	var all [][]byte
	for {
		end := skipValue(raw, i)
		all = append(all, raw[i:end:end])
		if i = skipSpace(raw, end); raw[i] == ']' {
			return all, nil
		}
		i = skipSpace(raw, i+1)
	}
}

// Parse reads one message. Names of members are compared with their case, and
// none may stand twice: another reader could see another one. Raw is not copied.
func Parse(raw []byte) (Message, error) {
	if err := check(raw); err != nil {
		return Message{}, err
	}
	m := Message{Raw: raw}
	var version, method, params, result []byte
	hasID := false
	err := members(raw, func(name string, value []byte) error {
		switch name {
		case "jsonrpc":
			version = value
		case "id":
			hasID = true
			m.RawID = value
			return m.ID.read(value)
		case "method":
			method = value
		case "params":
			params = value
		case "result":
			result = value
		case "error":
			m.Failed = true
		}
		return nil
	})
	switch {
	case err != nil:
		return Message{}, err
	case string(version) != `"2.0"`:
		return Message{}, ErrShape
	case method != nil:
		if method[0] != '"' || json.Unmarshal(method, &m.Method) != nil || result != nil || m.Failed {
			return Message{}, ErrShape
		}
		m.Kind = Notification
		if hasID {
			m.Kind = Request
			if m.ID == "" {
				return Message{}, ErrID // null, which no answer could be told by
			}
		}
		if err = m.readParams(params); err != nil {
			return Message{}, err
		}
		return m, nil
	case !hasID || (result != nil) == m.Failed:
		return Message{}, ErrShape
	}
	m.Kind = Response
	m.Version = versionOf(result)
	return m, nil
}

// readParams reads what params refer to. What has another shape than MCP gives
// it is the receiver's business.
func (m *Message) readParams(params []byte) error {
	if len(params) == 0 || params[0] != '{' {
		return nil
	}
	if m.Method == "initialize" {
		m.Version = versionOf(params)
	}
	return members(params, func(name string, value []byte) error {
		switch {
		case name == "progressToken" && m.Method == "notifications/progress":
			_ = m.Progress.read(value)
		case name == "requestId" && m.Method == "notifications/cancelled":
			_ = m.Cancels.read(value)
		case name == "_meta" && m.Kind == Request && value[0] == '{':
			return members(value, func(name string, value []byte) error {
				if name == "progressToken" {
					_ = m.Progress.read(value)
				}
				return nil
			})
		}
		return nil
	})
}

// versionOf returns the member protocolVersion of an object, if it is a string.
func versionOf(object []byte) string {
	version := ""
	if len(object) == 0 || object[0] != '{' {
		return ""
	}
	_ = members(object, func(name string, value []byte) error {
		if name == "protocolVersion" && value[0] == '"' {
			_ = json.Unmarshal(value, &version)
		}
		return nil
	})
	return version
}

// read reads an id or a token.
func (k *Key) read(value []byte) error {
	switch c := value[0]; {
	case c == '"':
		var s string
		if err := json.Unmarshal(value, &s); err != nil {
			return ErrSyntax
		}
		*k = Key("s" + s)
	case c == '-' || '0' <= c && c <= '9':
		*k = Key("n" + number(string(value)))
	case c == 'n':
		*k = ""
	default:
		return ErrID
	}
	return nil
}

// maxExponent bounds what is calculated to compare numbers.
const maxExponent = 400

// number returns the one way to write a JSON number's value: 1, 1.0 and 10e-1 are
// one id. A number with a fraction or an exponent that is beyond reason is compared
// as it is written.
func number(text string) string {
	if !strings.ContainsAny(text, ".eE") {
		if text == "-0" {
			return "0"
		}
		return text
	}
	if len(text) > maxExponent {
		return text // what follows takes the square of its length
	}
	if i := strings.IndexAny(text, "eE"); i >= 0 {
		if n, err := strconv.Atoi(text[i+1:]); err != nil || n > maxExponent || n < -maxExponent {
			return text
		}
	}
	if r, ok := new(big.Rat).SetString(text); ok {
		return r.RatString()
	}
	return text
}

// check reports whether raw is JSON that is sound to walk.
func check(raw []byte) error {
	if !utf8.Valid(raw) || !json.Valid(raw) {
		return ErrSyntax
	}
	depth := 0
	for i := 0; i < len(raw); i++ {
		switch raw[i] {
		case '"':
			i = skipString(raw, i) - 1
		case '{', '[':
			if depth++; depth > maxDepth {
				return ErrDepth
			}
		case '}', ']':
			depth--
		}
	}
	return nil
}

// members calls each for the members of a JSON object that check was happy with.
func members(raw []byte, each func(name string, value []byte) error) error {
	i := skipSpace(raw, 0)
	if raw[i] != '{' {
		return ErrShape
	}
	var seen map[string]struct{}
	var few [8]string
	n := 0
	for i = skipSpace(raw, i+1); raw[i] != '}'; i = skipSpace(raw, i) {
		if raw[i] == ',' {
			i = skipSpace(raw, i+1)
		}
		end := skipString(raw, i)
		name := string(raw[i+1 : end-1])
		if strings.IndexByte(name, '\\') >= 0 {
			if err := json.Unmarshal(raw[i:end], &name); err != nil {
				return ErrSyntax
			}
		}
		for _, other := range few[:min(n, len(few))] {
			if other == name {
				return ErrDuplicate
			}
		}
		if n < len(few) {
			few[n] = name
		} else {
			if seen == nil {
				seen = make(map[string]struct{})
			}
			if _, twice := seen[name]; twice {
				return ErrDuplicate
			}
			seen[name] = struct{}{}
		}
		n++
		start := skipSpace(raw, skipSpace(raw, end)+1)
		i = skipValue(raw, start)
		if err := each(name, raw[start:i:i]); err != nil {
			return err
		}
	}
	return nil
}

// skipString returns the end of the string that starts at i.
func skipString(raw []byte, i int) int {
	for i++; ; {
		n := bytes.IndexAny(raw[i:], `"\`)
		if i += n; raw[i] == '"' {
			return i + 1
		}
		i += 2
	}
}

// skipValue returns the end of the value that starts at i.
func skipValue(raw []byte, i int) int {
	switch raw[i] {
	case '"':
		return skipString(raw, i)
	case '{', '[':
		for open := 0; ; i++ {
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
	}
	for ; i < len(raw); i++ {
		switch raw[i] {
		case ',', '}', ']', ' ', '\t', '\r', '\n':
			return i
		}
	}
	return i
}

func skipSpace(raw []byte, i int) int {
	for i < len(raw) && (raw[i] == ' ' || raw[i] == '\t' || raw[i] == '\r' || raw[i] == '\n') {
		i++
	}
	return i
}

// Line returns raw without raw line ends, which JSON has only between tokens:
// one line, as the stdio transport and event streams want it.
func Line(raw []byte) []byte {
	if bytes.IndexByte(raw, '\n') < 0 && bytes.IndexByte(raw, '\r') < 0 {
		return raw
	}
	line := bytes.Clone(raw)
	for i, c := range line {
		if c == '\n' || c == '\r' {
			line[i] = ' '
		}
	}
	return line
}

// KeyOf returns the key of an id or token as it is written; none where it is neither
// a string nor a number.
func KeyOf(value []byte) Key {
	var k Key
	if len(value) == 0 || k.read(value) != nil {
		return ""
	}
	return k
}

// Error returns an error response (JSON-RPC 2.0 section 5.1). id is as it was
// written; empty: null.
func Error(id []byte, code int, text string) []byte { return ErrorData(id, code, text, nil) }

// ErrorData is [Error] with the member data, which is JSON; nil: without.
func ErrorData(id []byte, code int, text string, data []byte) []byte {
	if len(id) == 0 {
		id = []byte("null")
	}
	quoted, err := json.Marshal(text)
	if err != nil {
		quoted = []byte(`""`)
	}
	var b bytes.Buffer
	b.WriteString(`{"jsonrpc":"2.0","id":`)
	b.Write(id)
	b.WriteString(`,"error":{"code":` + strconv.Itoa(code) + `,"message":`)
	b.Write(quoted)
	if data != nil {
		b.WriteString(`,"data":`)
		b.Write(data)
	}
	b.WriteString(`}}`)
	return b.Bytes()
}

// Result returns a response with a result (JSON-RPC 2.0 section 5), which is JSON.
func Result(id, result []byte) []byte {
	return bytes.Join([][]byte{[]byte(`{"jsonrpc":"2.0","id":`), id, []byte(`,"result":`), result, []byte("}")}, nil)
}

// Codes of errors (JSON-RPC 2.0 section 5.1; MCP specification 2026-07-28, "Error
// Codes").
const (
	CodeParse              = -32700
	CodeInvalidRequest     = -32600
	CodeMethodNotFound     = -32601
	CodeInvalidParams      = -32602
	CodeInternal           = -32603
	CodeServer             = -32000
	CodeHeaderMismatch     = -32020
	CodeMissingCapability  = -32021
	CodeUnsupportedVersion = -32022
	// CodeResourceNotFound is of 2025-11-25 and before; CodeInvalidParams followed it.
	CodeResourceNotFound = -32002
	// CodeElicitationRequired is of 2025-11-25 alone.
	CodeElicitationRequired = -32042
)
