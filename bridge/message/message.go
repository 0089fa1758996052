// Package message parses JSON-RPC messages as far as a bridge needs it: whether a message is
// a request, a notification or a response, its id in a form that can be compared, and what
// it refers to. It does not change the bytes: unknown members and methods, large numbers and
// the order of members stay as they are.
package message

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"math/big"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/jsontext"
)

// Kind says what a message is (JSON-RPC 2.0 sections 4 and 5).
type Kind uint8

// The kinds of messages.
const (
	Request Kind = iota + 1
	Notification
	Response
)

// Key is an id or a progress token in a form that can be compared: equal values have equal
// keys, however they are written. The empty key means that there is no id.
type Key string

// Message is what is known of one message.
type Message struct {
	// Raw is the message as it came.
	Raw    []byte
	Kind   Kind
	Method string
	// ID is that of a request or response. It is empty for null, which is the id of a
	// response to a message that could not be parsed.
	ID Key
	// RawID is ID as it is written, a part of Raw.
	RawID []byte
	// Progress is the progress token of a request or of a notifications/progress.
	Progress Key
	// RawProgress is Progress as it is written.
	RawProgress []byte
	// Cancels is the id of the request that a notifications/cancelled cancels.
	Cancels Key
	// Version is the protocolVersion of an initialize request, or of its result.
	Version string
	// Failed is set if a response is an error.
	Failed bool
	// InPlace is set if the bridge has written a response because that of the server could
	// not be handed on.
	InPlace bool
	// Lookalike is the first member whose name differs from a known one only in case, or nil.
	Lookalike *Lookalike
}

// Reasons why a text is not a message.
var (
	ErrSyntax    = errors.New("is not JSON")
	ErrDuplicate = errors.New("has a member twice")
	ErrShape     = errors.New("is not a JSON-RPC 2.0 message")
	ErrID        = errors.New("has an id that is neither a string nor a number")
	ErrDepth     = errors.New("is nested too deeply")
	ErrEmpty     = errors.New("is an empty batch")
	ErrLong      = errors.New("is a batch of too many messages")
	ErrMembers   = errors.New("has too many members in one object")
)

const (
	// maxDepth bounds the nesting of a message.
	maxDepth = 512
	// maxMembers bounds the members of a message, of its params and of its _meta.
	maxMembers = 512
)

// IsBatch reports whether raw looks like a batch (MCP specification 2025-03-26).
func IsBatch(raw []byte) bool {
	i := jsontext.SkipSpace(raw, 0)
	return i < len(raw) && raw[i] == '['
}

// Elements returns the elements of a JSON array, which may have at most that many.
func Elements(raw []byte, most int) ([][]byte, error) {
	if err := check(raw); err != nil {
		return nil, err
	}
	return elements(raw, most)
}

// elements is [Elements] for a text that check has accepted.
func elements(raw []byte, most int) ([][]byte, error) {
	if !IsBatch(raw) {
		return nil, ErrShape
	}
	i := jsontext.SkipSpace(raw, jsontext.SkipSpace(raw, 0)+1)
	if raw[i] == ']' {
		return nil, ErrEmpty
	}
	var all [][]byte
	for {
		if len(all) == most {
			return nil, ErrLong
		}
		end := jsontext.SkipValue(raw, i)
		all = append(all, raw[i:end:end])
		if i = jsontext.SkipSpace(raw, end); raw[i] == ']' {
			return all, nil
		}
		i = jsontext.SkipSpace(raw, i+1)
	}
}

// ParseAll parses one message, or a batch of at most that many (MCP specification
// 2025-03-26). If one element of a batch is not a message, the whole batch is an error. Raw
// of each message has no line ends, so that it can be sent as a line or as an event.
func ParseAll(text []byte, most int) ([]Message, error) {
	if !IsBatch(text) {
		m, err := Parse(text)
		if err != nil {
			return nil, err
		}
		m.Raw = Line(m.Raw)
		return []Message{m}, nil
	}
	if err := check(text); err != nil {
		return nil, err
	}
	raws, err := elements(text, most)
	if err != nil {
		return nil, err
	}
	all := make([]Message, 0, len(raws))
	for _, raw := range raws {
		m, err := parse(raw)
		if err != nil {
			return nil, err
		}
		m.Raw = Line(m.Raw)
		all = append(all, m)
	}
	return all, nil
}

// Parse parses one message. Names of members are case-sensitive. A name that occurs twice is
// an error, because two readers could take different ones. Raw is not copied.
func Parse(raw []byte) (Message, error) {
	if err := check(raw); err != nil {
		return Message{}, err
	}
	return parse(raw)
}

// OnParse is called with the text of each message that is parsed. Only tests set it, to check
// that a message is parsed once, where it enters the bridge.
var OnParse func(raw []byte)

// parse is [Parse] for a text that check has accepted.
func parse(raw []byte) (Message, error) {
	if OnParse != nil {
		OnParse(raw)
	}
	m := Message{Raw: raw}
	var version, method, params, result []byte
	hasID := false
	err := members(raw, func(name, value []byte) error {
		m.Lookalike = cmp.Or(m.Lookalike, lookalike(inMessage, name))
		switch string(name) {
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
		if method[0] == '"' {
			m.Method = jsontext.Decode(method)
		}
		if method[0] != '"' || result != nil || m.Failed {
			return Message{}, ErrShape
		}
		m.Kind = Notification
		if hasID {
			m.Kind = Request
			if m.ID == "" {
				return Message{}, ErrID // null: an answer with it would not name its request
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

// readParams reads what params refer to. It ignores members whose types are not those of MCP;
// the receiver refuses them.
func (m *Message) readParams(params []byte) error {
	if len(params) == 0 || params[0] != '{' {
		return nil
	}
	if m.Method == "initialize" {
		m.Version = versionOf(params)
	}
	return members(params, func(name, value []byte) error {
		m.Lookalike = cmp.Or(m.Lookalike, lookalike(inParams, name))
		switch {
		case string(name) == "progressToken" && m.Method == "notifications/progress":
			m.readProgress(value)
		case string(name) == "requestId" && m.Method == "notifications/cancelled":
			_ = m.Cancels.read(value)
		case string(name) == "_meta" && value[0] == '{':
			return m.readMeta(value)
		}
		return nil
	})
}

// readMeta reads params._meta.
func (m *Message) readMeta(meta []byte) error {
	return members(meta, func(name, value []byte) error {
		m.Lookalike = cmp.Or(m.Lookalike, lookalike(inMeta, name))
		if m.Kind == Request && string(name) == "progressToken" {
			m.readProgress(value)
		}
		return nil
	})
}

// readProgress reads a progress token. It ignores a value that is neither a string nor a
// number.
func (m *Message) readProgress(value []byte) {
	if m.Progress, m.RawProgress = KeyOf(value), value; m.Progress == "" {
		m.RawProgress = nil
	}
}

// versionOf returns the member protocolVersion of an object, if it is a string.
func versionOf(object []byte) string {
	if len(object) == 0 || object[0] != '{' {
		return ""
	}
	return Text(object, "protocolVersion")
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

// number returns the normal form of a JSON number: 1, 1.0 and 10e-1 are the same id. A number
// that is very long, or has a very large exponent, is returned as it is written.
func number(text string) string {
	if !strings.ContainsAny(text, ".eE") {
		if text == "-0" {
			return "0"
		}
		return text
	}
	if len(text) > maxExponent {
		return text // SetString takes time with the square of the length
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

// check returns an error if raw is not valid JSON, or is nested too deeply.
func check(raw []byte) error {
	if !utf8.Valid(raw) || !isJSON(bytes.Trim(raw, " \t\r\n")) {
		return ErrSyntax
	}
	if bytes.Count(raw, []byte("{"))+bytes.Count(raw, []byte("[")) <= maxDepth {
		return nil
	}
	if jsontext.Depth(raw) > maxDepth {
		return ErrDepth
	}
	return nil
}

// isJSON reports whether a text without leading and trailing white space is JSON.
func isJSON(raw []byte) bool {
	if len(raw) > 0 && (raw[0] == '{' || raw[0] == '[') {
		return IsContainer(raw)
	}
	return json.Valid(raw)
}

// Line returns raw with spaces in place of line ends, which JSON allows only between tokens.
// The stdio transport and event streams need a message on one line.
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

// KeyOf returns the key of an id or token as it is written. It is empty if the value is
// neither a string nor a number.
func KeyOf(value []byte) Key {
	var k Key
	if len(value) == 0 || k.read(value) != nil {
		return ""
	}
	return k
}

// Error returns the text of an error response (JSON-RPC 2.0 section 5.1). id is as it was
// written; an empty id becomes null.
func Error(id []byte, code int, text string) []byte { return ErrorData(id, code, text, nil) }

// ErrorData is [Error] with the member data, which is JSON. If data is nil the member is left
// out.
func ErrorData(id []byte, code int, text string, data []byte) []byte {
	if len(id) == 0 {
		id = []byte("null")
	}
	quoted := quote(text)
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

// quote returns a string as JSON.
func quote(text string) []byte {
	quoted, _ := json.Marshal(text) // a string does not fail
	return quoted
}

// Result returns the text of a response with a result (JSON-RPC 2.0 section 5), which is
// JSON.
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
	// CodeResourceNotFound is used up to 2025-11-25; later revisions use CodeInvalidParams.
	CodeResourceNotFound = -32002
	// CodeElicitationRequired is used in 2025-11-25 only.
	CodeElicitationRequired = -32042
)
