package message

import (
	"bytes"
	"strings"
)

// Oddity is what is wrong with a text that a server has sent and that is not exactly one message.
// The set is closed.
type Oddity string

// The oddities.
const (
	// OddMark: there is a byte order mark before a message.
	OddMark Oddity = "byte_order_mark"
	// OddTerminal: a message is surrounded by escape sequences, or by text that a carriage
	// return overwrites on a terminal.
	OddTerminal Oddity = "terminal_output"
	// OddSeveral: there are several messages on one line.
	OddSeveral Oddity = "several_messages"
	// OddGlued: there is other text before or after a message.
	OddGlued Oddity = "text_round_message"
	// OddLines: the text is a part of a message that is written over several lines.
	OddLines Oddity = "message_over_lines"
	// OddLength: the text frames a message with Content-Length.
	OddLength Oddity = "content_length"
	// OddUTF16: the text is UTF-16.
	OddUTF16 Oddity = "utf16"
	// OddShape: the text looks like an answer, but is not a message of JSON-RPC.
	OddShape Oddity = "no_json_rpc"
	// OddLong: the text is longer than a message may be.
	OddLong Oddity = "too_long"
	// OddText: the text is something else, such as a banner or a log.
	OddText Oddity = "text"
)

// maxTries bounds the places of a line where [Recover] looks for a message. Each costs a pass
// over the rest of the line.
const maxTries = 64

// MaxBatch bounds the messages of a batch: each may be a request to the server.
const MaxBatch = 1000

var mark = []byte("\xef\xbb\xbf")

// Recovered is a part of a line in which [Recover] has found messages.
type Recovered struct {
	Text []byte
	// Messages are those of Text: one, or those of a batch.
	Messages []Message
}

// Recover returns the messages of a line that consists of messages and of bytes that a terminal
// does not show: a byte order mark (RFC 8259 section 8.1), escape sequences, and text that a
// carriage return overwrites. If there is any other text, Recover returns no message, because the
// line may be a log that quotes one.
func Recover(line []byte) (found []Recovered, odd Oddity) {
	odd = OddTerminal
	if rest, marked := bytes.CutPrefix(bytes.Trim(line, " \t\r"), mark); marked {
		if all, err := ParseAll(rest, MaxBatch); err == nil {
			return []Recovered{{bytes.TrimLeft(rest, " \t\r"), all}}, OddMark
		}
	}
	for i, tries := 0, 0; ; {
		i += invisible(line[i:])
		if i == len(line) {
			break
		}
		if c := line[i]; (c == '{' || c == '[') && tries < maxTries {
			tries++
			if end := endOf(line[i:]); end > 0 {
				text := line[i : i+end : i+end]
				if all, err := ParseAll(text, MaxBatch); err == nil {
					found = append(found, Recovered{text, all})
					i += end
					continue
				}
			}
		}
		back := bytes.IndexByte(line[i:], '\r')
		if back < 0 {
			return nil, ""
		}
		i += back + 1
	}
	switch len(found) {
	case 0:
		return nil, ""
	case 1:
		return found, odd
	}
	return found, OddSeveral
}

// invisible returns the length of the beginning of a text that a terminal does not show: white
// space, control characters, byte order marks, escape sequences (ECMA-48).
func invisible(text []byte) int {
	i := 0
	for i < len(text) {
		switch c := text[i]; {
		case c == 0x1b:
			i += escapeLength(text[i:])
		case c <= ' ' || c == 0x7f:
			i++
		case bytes.HasPrefix(text[i:], mark):
			i += len(mark)
		default:
			return i
		}
	}
	return i
}

// escapeLength returns the length of the escape sequence that a text begins with.
func escapeLength(text []byte) int {
	if len(text) < 2 {
		return len(text)
	}
	i := 2
	switch c := text[1]; {
	case c == '[': // control sequence: parameters, then one final byte
		for i < len(text) && text[i] >= 0x20 && text[i] <= 0x3f {
			i++
		}
		if i < len(text) && text[i] >= 0x40 && text[i] <= 0x7e {
			i++
		}
	case c == ']' || c == 'P' || c == 'X' || c == '^' || c == '_': // up to BEL or ESC \
		for i < len(text) && text[i] != 0x07 && text[i] != 0x1b {
			i++
		}
		if i < len(text) && text[i] == 0x07 {
			i++
		} else if i+1 < len(text) && text[i+1] == '\\' {
			i += 2
		}
	case c >= 0x20 && c <= 0x2f:
		for i < len(text) && text[i] >= 0x20 && text[i] <= 0x2f {
			i++
		}
		if i < len(text) && text[i] >= 0x30 && text[i] <= 0x7e {
			i++
		}
	case c < 0x20:
		return 1
	}
	return i
}

// endOf returns the length of the object or array at the beginning of a text, or 0 if it does
// not end. It does not check that this is JSON.
func endOf(text []byte) int {
	open := 0
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '"':
			for i++; i < len(text) && text[i] != '"'; i++ {
				if text[i] == '\\' {
					i++
				}
			}
		case '{', '[':
			open++
		case '}', ']':
			if open--; open == 0 {
				return i + 1
			}
		}
	}
	return 0
}

// Stray is what is known of a text that is not a message.
type Stray struct {
	Odd Oddity
	// Answer is set if the text looks like an answer. No request waits for any other text.
	Answer bool
	// ID is the id of the answer, as written. It is nil if it is not known.
	ID []byte
	// Quoted is set if the text may be a log line that quotes an answer.
	Quoted bool
}

// cutOut replaces the middle of a long text. JSON cannot contain it.
var cutOut = []byte("\x00cut out\x00")

// Cut returns a text that stands for one that is too long to be kept. It has the first and the
// last bytes.
func Cut(begin, end []byte) []byte { return bytes.Join([][]byte{begin, end}, cutOut) }

// IsCut reports whether [Cut] has returned a text.
func IsCut(text []byte) bool { return bytes.Contains(text, cutOut) }

// maxBraces bounds the places of a text where [StrayOf] looks for a message.
const maxBraces = 8

var version = []byte(`"jsonrpc"`)

// StrayOf describes a text that is not a message. begin and end are its first and last bytes,
// or the whole text.
func StrayOf(begin, end []byte) Stray {
	if id := Lost(begin, end); id != nil {
		return Stray{Odd: oddOf(begin), Answer: true, ID: id}
	}
	if isFraming(begin) {
		return Stray{Odd: OddLength, Answer: true}
	}
	text := begin
	if wide := bytes.ReplaceAll(begin, []byte{0}, nil); len(begin)-len(wide) > len(begin)/3 {
		if bytes.Contains(wide, version) && !bytes.Contains(wide, []byte(`"method"`)) {
			return Stray{Odd: OddUTF16, Answer: true, ID: Lost(bytes.TrimPrefix(bytes.TrimPrefix(wide, []byte("\xff\xfe")), []byte("\xfe\xff")), wide)}
		}
		return Stray{Odd: OddUTF16}
	}
	for range maxBraces {
		i := bytes.IndexByte(text, '{')
		if i < 0 {
			break
		}
		text = text[i:]
		before := begin[:len(begin)-len(text)]
		if bytes.Contains(before, version) {
			break // two messages that were written at the same time: neither can be read
		}
		if len(before) > 0 && bytes.Contains(text, version) {
			if id := Lost(text, end); id != nil {
				return Stray{Odd: OddGlued, Answer: true, ID: id, Quoted: true}
			}
		}
		text = text[1:]
	}
	switch trimmed := bytes.TrimLeft(begin, " \t\r"); {
	case bytes.Contains(begin, []byte(`"method"`)) || bytes.Contains(end, []byte(`"method"`)):
		return Stray{Odd: OddText}
	case bytes.HasPrefix(trimmed, version):
		return Stray{Odd: OddLines, Answer: true, Quoted: true}
	case bytes.Contains(begin, version) || bytes.Contains(end, version):
		return Stray{Odd: oddOf(begin), Answer: true, Quoted: len(trimmed) == 0 || trimmed[0] != '{' && trimmed[0] != '['}
	}
	return Stray{Odd: OddText}
}

// Echo returns the id of an answer that is written into its request: the text has a method, and
// a result or an error, too. Such a text may also be a log entry about a request. It returns nil
// for any other text.
func Echo(text []byte) (id []byte) {
	if check(text) != nil {
		return nil
	}
	var key Key
	var method, answer bool
	err := members(text, func(name, value []byte) error {
		switch string(name) {
		case "id":
			id = value
			return key.read(value)
		case "method":
			method = value[0] == '"'
		case "result", "error":
			answer = answer || string(value) != "null" // some write every member
		}
		return nil
	})
	if err != nil || key == "" || !method || !answer {
		return nil
	}
	return id
}

// oddOf returns OddShape for a text that begins like JSON, else OddText.
func oddOf(begin []byte) Oddity {
	if trimmed := bytes.TrimLeft(begin, " \t\r"); len(trimmed) > 0 && (trimmed[0] == '{' || trimmed[0] == '[') {
		return OddShape
	}
	return OddText
}

const lengthField = "content-length:"

// ContentLength returns the number in a Content-Length field. ok is false if the line is not
// such a field.
func ContentLength(line []byte) (n int, ok bool) {
	line = bytes.TrimRight(line, " \t\r")
	if len(line) <= len(lengthField) || !bytes.EqualFold(line[:len(lengthField)], []byte(lengthField)) {
		return 0, false
	}
	digits := bytes.TrimLeft(line[len(lengthField):], " \t")
	if len(digits) == 0 || len(digits) > 9 {
		return 0, false
	}
	for _, c := range digits {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = 10*n + int(c-'0')
	}
	return n, true
}

// isFraming reports whether a text is a Content-Length field, an empty line, and a message
// after it.
func isFraming(text []byte) bool {
	field, rest, _ := bytes.Cut(text, []byte("\n"))
	if _, ok := ContentLength(field); !ok {
		return false
	}
	for len(rest) > 0 {
		line, more, _ := bytes.Cut(rest, []byte("\n"))
		if len(bytes.TrimRight(line, "\r")) == 0 {
			return bytes.HasPrefix(more, []byte("{")) && bytes.Contains(more, version)
		}
		rest = more
	}
	return false
}

// maxShape bounds what [Shape] returns, in bytes.
const maxShape = 200

// shown are the words that [Shape] shows: those of JSON-RPC, which cannot be secrets.
var shown = map[string]bool{
	"jsonrpc": true, "id": true, "result": true, "error": true, "method": true, "params": true, "code": true, "message": true,
	"null": true, "true": true, "false": true, "Content": true, "Length": true, "Type": true,
}

// Shape returns the beginning of a text that is not a message in a form that may be logged. It
// keeps punctuation and the words of JSON-RPC, and replaces other words with stars, because a
// program can write any secret.
func Shape(text []byte) string {
	var b bytes.Buffer
	for i := 0; i < len(text) && b.Len() < maxShape; {
		c := text[i]
		if !isWord(c) {
			switch {
			case c == 0x1b:
				b.WriteString(`\e`)
			case c == '\r':
				b.WriteString(`\r`)
			case c == '\n':
				b.WriteString(`\n`)
			case c < ' ' || c == 0x7f:
				b.WriteString(`.`)
			default:
				b.WriteByte(c)
			}
			i++
			continue
		}
		from := i
		for i < len(text) && isWord(text[i]) {
			i++
		}
		if word := string(text[from:i]); shown[word] || len(word) <= 2 && strings.Trim(word, "0123456789") == "" {
			b.WriteString(word)
		} else {
			b.WriteString("****"[:min(4, i-from)])
		}
	}
	if b.Len() >= maxShape {
		b.Truncate(maxShape)
		b.WriteString("...")
	}
	return b.String()
}

func isWord(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || c == '_' || c >= 0x80
}
