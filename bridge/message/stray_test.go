package message

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"
)

const answer1 = `{"jsonrpc":"2.0","id":1,"result":{"a":"}{"}}`

var recoverCases = []struct {
	name, in string
	want     []string
	odd      Oddity
}{
	{"a byte order mark", "\ufeff" + answer1, []string{answer1}, OddMark},
	{"a byte order mark and white space", " \ufeff \t" + answer1 + "\r", []string{answer1}, OddMark},
	{"two marks", "\ufeff\ufeff" + answer1, []string{answer1}, OddTerminal},
	{"a batch behind a mark", "\ufeff[" + answer1 + "]", []string{"[" + answer1 + "]"}, OddMark},
	{"what a spinner leaves", "\x1b[?25l- resolving\r\x1b[K" + answer1, []string{answer1}, OddTerminal},
	{"text that is taken back", "50 % {1/2}\r" + answer1, []string{answer1}, OddTerminal},
	{"colours behind", answer1 + " \x1b[0m", []string{answer1}, OddTerminal},
	{"colours round", "\x1b[32m" + answer1 + "\x1b[0m\r", []string{answer1}, OddTerminal},
	{"a title and a link", "\x1b]0;npm\x07\x1b]8;;\x1b\\" + answer1, []string{answer1}, OddTerminal},
	{"a character set", "\x1b(B\x1b=" + answer1, []string{answer1}, OddTerminal},
	{"a bell and backspaces", "\a\b\b" + answer1, []string{answer1}, OddTerminal},
	{"text that is no UTF-8, taken back", "\xe9t\xe9\r" + answer1, []string{answer1}, OddTerminal},
	{"two messages", answer1 + `{"jsonrpc":"2.0","method":"x"}`, []string{answer1, `{"jsonrpc":"2.0","method":"x"}`}, OddSeveral},
	{"two messages and a colour", answer1 + "\x1b[0m " + answer1, []string{answer1, answer1}, OddSeveral},
	{"a message alone", answer1, []string{answer1}, OddTerminal},
	// A log may quote a message: it is none.
	{"text before", "sent: " + answer1, nil, ""},
	{"text before, a line of Windows", "sent: " + answer1 + "\r", nil, ""},
	{"a coloured log", "\x1b[34mDEBUG\x1b[0m " + answer1, nil, ""},
	{"text behind", answer1 + " ok", nil, ""},
	{"text between", answer1 + "," + answer1, nil, ""},
	{"a spinner that is not taken back", "- resolving" + answer1, nil, ""},
	{"other JSON before", `{"status":200}` + answer1, nil, ""},
	{"a message in a string", `"` + answer1 + `"`, nil, ""},
	{"half a message", answer1[:20], nil, ""},
	{"half a message and one", answer1[:20] + answer1, nil, ""},
	{"an escape sequence in a message", `{"jsonrpc":"2.0","id":1,"result":"` + "\x1b[0m" + `"}`, nil, ""},
	{"nothing", "", nil, ""},
	{"an escape sequence that does not end", "\x1b[", nil, ""},
	{"an escape at the end", "\x1b", nil, ""},
	{"a title that does not end", "\x1b]" + answer1, nil, ""},
}

func texts(found []Recovered) (all [][]byte) {
	for _, one := range found {
		all = append(all, one.Text)
	}
	return all
}

// Rule D5c: a line has its messages, and nothing that may be anything else.
func TestMessagesAmongInvisibleTextAreFound(t *testing.T) {
	for _, tc := range recoverCases {
		t.Run(tc.name, func(t *testing.T) {
			got, odd := Recover([]byte(tc.in))
			if fmt.Sprintf("%s", texts(got)) != fmt.Sprintf("%s", tc.want) || odd != tc.odd {
				t.Errorf("got %s, %q, want %s, %q", texts(got), odd, tc.want, tc.odd)
			}
		})
	}
	// What a hostile server sends costs no more than a few looks at it.
	for _, in := range []string{strings.Repeat("{\r", 1<<20), strings.Repeat("\x1b[", 1<<20), strings.Repeat(`{"`, 1<<20), strings.Repeat("[{}\r", 1<<19)} {
		if got, _ := Recover([]byte(in)); got != nil {
			t.Errorf("%.20q...: got %d messages", in, len(got))
		}
	}
}

func FuzzRecover(f *testing.F) {
	for _, tc := range recoverCases {
		f.Add([]byte(tc.in))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		found, odd := Recover(line)
		rest := line
		for _, one := range found {
			frame := one.Text
			if all, err := ParseAll(frame, MaxBatch); err != nil || len(all) != len(one.Messages) || !json.Valid(frame) || odd == "" {
				t.Fatalf("%q: got %q, %q", line, frame, odd)
			}
			i := bytes.Index(rest, frame) // it is a part of the line, in its order
			if i < 0 {
				t.Fatalf("%q: got %q, which it has not", line, frame)
			}
			rest = rest[i+len(frame):]
		}
		s := StrayOf(line[:min(len(line), 1024)], line[max(0, len(line)-1024):])
		if s.ID != nil && (KeyOf(s.ID) == "" || !s.Answer) {
			t.Fatalf("%q: got %+v", line, s)
		}
		if id := Echo(line); id != nil && KeyOf(id) == "" {
			t.Fatalf("%q: got id %q", line, id)
		}
		shape := Shape(line)
		if len(shape) > maxShape+3+4 || strings.ContainsAny(shape, "\n\r\x1b\x00") || !utf8.ValidString(shape) {
			t.Fatalf("%q: got shape %q", line, shape)
		}
	})
}

func TestATextThatIsNoMessageIsDescribed(t *testing.T) {
	utf16 := func(s string) string {
		var b strings.Builder
		for i := range len(s) {
			b.WriteByte(s[i])
			b.WriteByte(0)
		}
		return b.String()
	}
	for name, tc := range map[string]struct {
		in   string
		want Stray
		id   string
	}{
		"a banner":                         {"Server running on stdio", Stray{Odd: OddText}, ""},
		"other JSON":                       {`{"status":200}`, Stray{Odd: OddText}, ""},
		"a part of other JSON":             {`  "status": 200,`, Stray{Odd: OddText}, ""},
		"a value that is no JSON":          {`{"jsonrpc":"2.0","id":7,"result":NaN}`, Stray{Odd: OddShape, Answer: true}, "7"},
		"every member that there is":       {`{"jsonrpc":"2.0","id":7,"method":null,"params":null,"result":{},"error":null}`, Stray{Odd: OddShape, Answer: true}, "7"},
		"a method behind a result":         {`{"jsonrpc":"2.0","id":7,"result":{},"method":"x"}`, Stray{Odd: OddText}, ""},
		"text behind":                      {answer1 + " ok", Stray{Odd: OddShape, Answer: true}, "1"},
		"a log that quotes an answer":      {"DEBUG sent " + answer1, Stray{Odd: OddGlued, Answer: true, Quoted: true}, "1"},
		"a spinner before an answer":       {"- resolving" + answer1, Stray{Odd: OddGlued, Answer: true, Quoted: true}, "1"},
		"a log that quotes a request":      {`DEBUG got {"jsonrpc":"2.0","id":1,"method":"x"}`, Stray{Odd: OddText}, ""},
		"a log with braces and an answer":  {"a{b}c " + answer1, Stray{Odd: OddGlued, Answer: true, Quoted: true}, "1"},
		"an answer over lines":             {`  "jsonrpc": "2.0",`, Stray{Odd: OddLines, Answer: true, Quoted: true}, ""},
		"an answer that has no id":         {`{"jsonrpc":"2.0","result":{}}`, Stray{Odd: OddShape, Answer: true}, ""},
		"an answer with two ids":           {`{"jsonrpc":"2.0","id":1,"id":2,"result":{}}`, Stray{Odd: OddShape, Answer: true}, ""},
		"an answer whose id is an object":  {`{"jsonrpc":"2.0","id":{},"result":{}}`, Stray{Odd: OddShape, Answer: true}, ""},
		"a request that is no message":     {`{"jsonrpc":"2.0","id":{},"method":"x"}`, Stray{Odd: OddText}, ""},
		"two threads":                      {`{"jsonrpc":"2.0",` + answer1 + `"id":2}`, Stray{Odd: OddShape, Answer: true}, ""},
		"UTF-16":                           {"\xff\xfe" + utf16(answer1), Stray{Odd: OddUTF16, Answer: true}, "1"},
		"the second line of UTF-16":        {"\x00" + utf16(answer1), Stray{Odd: OddUTF16, Answer: true}, "1"},
		"a banner in UTF-16":               {utf16("ready"), Stray{Odd: OddUTF16}, ""},
		"a field of another protocol":      {"Content-Length: 12", Stray{Odd: OddText}, ""},
		"a message framed":                 {"Content-Length: 44\r\n\r\n" + answer1, Stray{Odd: OddLength, Answer: true}, ""},
		"a message framed with two fields": {"content-length:44\r\nContent-Type: x\r\n\r\n" + answer1, Stray{Odd: OddLength, Answer: true}, ""},
		"something else framed":            {"Content-Length: 14\r\n\r\n{\"status\":200}", Stray{Odd: OddText}, ""},
		"nothing":                          {"", Stray{Odd: OddText}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			if tc.id != "" {
				tc.want.ID = []byte(tc.id)
			}
			begin, end := tc.in[:min(len(tc.in), 1024)], tc.in[max(0, len(tc.in)-1024):]
			if got := StrayOf([]byte(begin), []byte(end)); fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", tc.want) {
				t.Errorf("got %+v, want %+v", got, tc.want)
			}
		})
	}
}

// Rule F1: whatever a server sends, the log has no secret of it.
// Rule D5c: an answer that still has the method of its request is an answer.
func TestAnAnswerInItsRequestIsFound(t *testing.T) {
	for in, want := range map[string]string{
		`{"jsonrpc":"2.0","id":7,"method":"x","params":{"a":1},"result":{}}`:     "7",
		`{"method":"x","error":{"code":1},"result":null,"id":"a","jsonrpc":"2"}`: `"a"`,
		`{"jsonrpc":"2.0","id":7,"method":"x","params":{"result":1}}`:            "",
		`{"jsonrpc":"2.0","id":7,"method":"x","result":null,"error":null}`:       "",
		`{"jsonrpc":"2.0","id":null,"method":"x","result":{}}`:                   "",
		`{"jsonrpc":"2.0","id":7,"id":8,"method":"x","result":{}}`:               "",
		`{"jsonrpc":"2.0","method":"x","result":{}}`:                             "",
		`{"jsonrpc":"2.0","id":7,"method":null,"result":{}}`:                     "",
		`{"jsonrpc":"2.0","id":7,"method":"x","result":NaN}`:                     "",
		`[{"jsonrpc":"2.0","id":7,"method":"x","result":{}}]`:                    "",
		answer1: "",
		"":      "",
	} {
		if got := string(Echo([]byte(in))); got != want {
			t.Errorf("%s: got %q, want %q", in, got, want)
		}
	}
}

func TestAShapeShowsNoSecret(t *testing.T) {
	for in, want := range map[string]string{
		`{"jsonrpc":"2.0","id":1,"result":{"token":"s3cr3t-abc"}}`:         `{"jsonrpc":"2.0","id":1,"result":{"****":"****-***"}}`,
		"\x1b[?25l- resolving\r\x1b[K{\"id\":42,\"error\":{\"code\":-32}}": `\e[?***- ****\r\e[*{"id":42,"error":{"code":-32}}`,
		"Content-Length: 123\r\n\r\n{}":                                    `Content-Length: ***\r\n\r\n{}`,
		"this is no message":                                               `**** ** ** message`,
		"é\xff\x00":                                                        `***.`,
		"Bearer eyJhbGciOiJIUzI1NiJ9.e30.x":                                "**** ****.***.*",
	} {
		if got := Shape([]byte(in)); got != want {
			t.Errorf("%q: got %s, want %s", in, got, want)
		}
	}
	if got := Shape(bytes.Repeat([]byte("a "), 4096)); len(got) > maxShape+3 || !strings.HasSuffix(got, "...") {
		t.Errorf("got %d bytes", len(got))
	}
}

func TestContentLengthFieldsAreRecognized(t *testing.T) {
	for in, want := range map[string]int{
		"Content-Length: 12": 12, "content-length:12\r": 12, "CONTENT-LENGTH:\t0": 0,
		"Content-Length:": -1, "Content-Length: x": -1, "Content-Length: 1x": -1, "Content-Length: -1": -1,
		"Content-Length: 9999999999": -1, "X-Content-Length: 1": -1, "": -1,
	} {
		if got, ok := ContentLength([]byte(in)); ok != (want >= 0) || ok && got != want {
			t.Errorf("%q: got %d, %t", in, got, ok)
		}
	}
}
