package message

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
)

// nested returns a request whose arrays are nested so deep that with params and
// the message there are depth levels.
func nested(depth int) string {
	return `{"jsonrpc":"2.0","id":1,"method":"m","params":{"a":` +
		strings.Repeat("[", depth-2) + strings.Repeat("]", depth-2) + `}}`
}

// parseCases have in want what is expected of the fields but Raw, which is in.
var parseCases = []struct {
	name string
	in   string
	want Message
	err  error
}{
	// Kinds.
	{"request", `{"jsonrpc":"2.0","id":1,"method":"ping"}`, Message{Kind: Request, Method: "ping", ID: "n1", RawID: []byte("1")}, nil},
	{"request with a string id", `{"jsonrpc":"2.0","id":"a","method":"ping"}`, Message{Kind: Request, Method: "ping", ID: "sa", RawID: []byte(`"a"`)}, nil},
	{"request with an empty id", `{"jsonrpc":"2.0","id":"","method":"ping"}`, Message{Kind: Request, Method: "ping", ID: "s", RawID: []byte(`""`)}, nil},
	{"request with an escaped id", `{"jsonrpc":"2.0","id":"\u0061\/","method":"ping"}`, Message{Kind: Request, Method: "ping", ID: "sa/", RawID: []byte(`"\u0061\/"`)}, nil},
	{"request with a big id", `{"jsonrpc":"2.0","id":9007199254740993,"method":"ping"}`, Message{Kind: Request, Method: "ping", ID: "n9007199254740993", RawID: []byte("9007199254740993")}, nil},
	{"request with a broken id", `{"jsonrpc":"2.0","id":1.5,"method":"ping"}`, Message{Kind: Request, Method: "ping", ID: "n3/2", RawID: []byte("1.5")}, nil},
	{"notification", `{"jsonrpc":"2.0","method":"notifications/initialized"}`, Message{Kind: Notification, Method: "notifications/initialized"}, nil},
	{"response", `{"jsonrpc":"2.0","id":1,"result":{}}`, Message{Kind: Response, ID: "n1", RawID: []byte("1")}, nil},
	{"response with the result null", `{"jsonrpc":"2.0","id":1,"result":null}`, Message{Kind: Response, ID: "n1", RawID: []byte("1")}, nil},
	{"error", `{"jsonrpc":"2.0","id":1,"error":{"code":-1,"message":"no"}}`, Message{Kind: Response, ID: "n1", RawID: []byte("1"), Failed: true}, nil},
	{"error with the id null", `{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"no"}}`, Message{Kind: Response, RawID: []byte("null"), Failed: true}, nil},
	{"members in another order", `{"result":{},"id":"x","jsonrpc":"2.0"}`, Message{Kind: Response, ID: "sx", RawID: []byte(`"x"`)}, nil},
	{"white space", " \t\r\n{ \"jsonrpc\" :\t\"2.0\" ,\n\"id\"\r: 1 , \"method\" : \"ping\" , \"params\" : { } } \n", Message{Kind: Request, Method: "ping", ID: "n1", RawID: []byte("1")}, nil},
	{"escaped names", `{"\u006asonrpc":"2.0","\u0069d":1,"m\u0065thod":"p\u0069ng"}`, Message{Kind: Request, Method: "ping", ID: "n1", RawID: []byte("1")}, nil},
	{"an empty method", `{"jsonrpc":"2.0","id":1,"method":""}`, Message{Kind: Request, ID: "n1", RawID: []byte("1")}, nil},

	// What is not known stays.
	{"unknown members", `{"jsonrpc":"2.0","x":{"id":2,"method":1},"id":1,"méthode":[1e999],"method":"x/y","":null}`, Message{Kind: Request, Method: "x/y", ID: "n1", RawID: []byte("1")}, nil},
	{"params of another shape", `{"jsonrpc":"2.0","id":1,"method":"initialize","params":[{"protocolVersion":"x"}]}`, Message{Kind: Request, Method: "initialize", ID: "n1", RawID: []byte("1")}, nil},
	{"params null", `{"jsonrpc":"2.0","id":1,"method":"initialize","params":null}`, Message{Kind: Request, Method: "initialize", ID: "n1", RawID: []byte("1")}, nil},
	{"params a string", `{"jsonrpc":"2.0","method":"x","params":"{}"}`, Message{Kind: Notification, Method: "x"}, nil},
	{"an error of another shape", `{"jsonrpc":"2.0","id":1,"error":null}`, Message{Kind: Response, ID: "n1", RawID: []byte("1"), Failed: true}, nil},
	{"more members than are compared one by one", `{"jsonrpc":"2.0","a":1,"b":2,"c":3,"d":4,"e":5,"f":6,"g":7,"h":8,"i":9,"id":1,"method":"x"}`, Message{Kind: Request, Method: "x", ID: "n1", RawID: []byte("1")}, nil},

	// Names count with their case (encoding/json does not look at it).
	{"Id", `{"jsonrpc":"2.0","Id":1,"method":"x"}`, Message{Kind: Notification, Method: "x"}, nil},
	{"Id and id", `{"jsonrpc":"2.0","Id":1,"id":2,"ID":[],"method":"x","Method":"y"}`, Message{Kind: Request, Method: "x", ID: "n2", RawID: []byte("2")}, nil},
	{"JSONRPC", `{"JSONRPC":"2.0","id":1,"method":"x"}`, Message{}, ErrShape},
	{"Method", `{"jsonrpc":"2.0","id":1,"Method":"x"}`, Message{}, ErrShape},
	{"Result", `{"jsonrpc":"2.0","id":1,"Result":1,"error":{}}`, Message{Kind: Response, ID: "n1", RawID: []byte("1"), Failed: true}, nil},
	{"Params", `{"jsonrpc":"2.0","id":1,"method":"initialize","Params":{"protocolVersion":"x"}}`, Message{Kind: Request, Method: "initialize", ID: "n1", RawID: []byte("1")}, nil},
	{"ProtocolVersion", `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"ProtocolVersion":"x"}}`, Message{Kind: Request, Method: "initialize", ID: "n1", RawID: []byte("1")}, nil},

	// Shapes that are none.
	{"no version", `{"id":1,"method":"x"}`, Message{}, ErrShape},
	{"version 1.0", `{"jsonrpc":"1.0","id":1,"method":"x"}`, Message{}, ErrShape},
	{"version a number", `{"jsonrpc":2.0,"id":1,"method":"x"}`, Message{}, ErrShape},
	{"version with an escape, which nobody writes", `{"jsonrpc":"\u0032.0","id":1,"method":"x"}`, Message{}, ErrShape},
	{"neither result nor error", `{"jsonrpc":"2.0","id":1}`, Message{}, ErrShape},
	{"result and error", `{"jsonrpc":"2.0","id":1,"result":{},"error":{}}`, Message{}, ErrShape},
	{"result and error null", `{"jsonrpc":"2.0","id":1,"result":{},"error":null}`, Message{}, ErrShape},
	{"result null and error", `{"jsonrpc":"2.0","id":1,"result":null,"error":{}}`, Message{}, ErrShape},
	{"method and result", `{"jsonrpc":"2.0","id":1,"method":"x","result":{}}`, Message{}, ErrShape},
	{"method and error", `{"jsonrpc":"2.0","id":1,"method":"x","error":{}}`, Message{}, ErrShape},
	{"method a number", `{"jsonrpc":"2.0","id":1,"method":1}`, Message{}, ErrShape},
	{"method null", `{"jsonrpc":"2.0","id":1,"method":null}`, Message{}, ErrShape},
	{"method null and result", `{"jsonrpc":"2.0","id":1,"method":null,"result":{}}`, Message{}, ErrShape},
	{"method an array", `{"jsonrpc":"2.0","id":1,"method":["x"]}`, Message{}, ErrShape},
	{"response without an id", `{"jsonrpc":"2.0","result":{}}`, Message{}, ErrShape},
	{"error without an id", `{"jsonrpc":"2.0","error":{}}`, Message{}, ErrShape},
	{"empty object", `{}`, Message{}, ErrShape},
	{"array", `[{"jsonrpc":"2.0","id":1,"method":"x"}]`, Message{}, ErrShape},
	{"string", `"{}"`, Message{}, ErrShape},
	{"number", ` 1 `, Message{}, ErrShape},
	{"null", `null`, Message{}, ErrShape},

	// Ids that are none.
	{"request with the id null", `{"jsonrpc":"2.0","id":null,"method":"x"}`, Message{}, ErrID},
	{"id true", `{"jsonrpc":"2.0","id":true,"method":"x"}`, Message{}, ErrID},
	{"id false", `{"jsonrpc":"2.0","id":false,"result":{}}`, Message{}, ErrID},
	{"id an object", `{"jsonrpc":"2.0","id":{},"method":"x"}`, Message{}, ErrID},
	{"id an array", `{"jsonrpc":"2.0","id":[1],"error":{}}`, Message{}, ErrID},

	// A member twice.
	{"id twice", `{"jsonrpc":"2.0","id":1,"id":2,"method":"x"}`, Message{}, ErrDuplicate},
	{"id twice and the same", `{"jsonrpc":"2.0","id":1,"id":1,"method":"x"}`, Message{}, ErrDuplicate},
	{"id twice, once escaped", `{"jsonrpc":"2.0","id":1,"\u0069d":2,"method":"x"}`, Message{}, ErrDuplicate},
	{"id twice, escaped first", `{"jsonrpc":"2.0","\u0069\u0064":1,"id":2,"method":"x"}`, Message{}, ErrDuplicate},
	{"id twice, escaped twice", `{"jsonrpc":"2.0","\u0069d":1,"i\u0064":2,"method":"x"}`, Message{}, ErrDuplicate},
	{"method twice", `{"jsonrpc":"2.0","id":1,"method":"x","method":"y"}`, Message{}, ErrDuplicate},
	{"jsonrpc twice", `{"jsonrpc":"2.0","id":1,"method":"x","jsonrpc":"2.0"}`, Message{}, ErrDuplicate},
	{"result twice", `{"jsonrpc":"2.0","id":1,"result":1,"result":2}`, Message{}, ErrDuplicate},
	{"error twice", `{"jsonrpc":"2.0","id":1,"error":1,"error":2}`, Message{}, ErrDuplicate},
	{"params twice", `{"jsonrpc":"2.0","id":1,"method":"x","params":{},"params":{}}`, Message{}, ErrDuplicate},
	{"an unknown one twice", `{"jsonrpc":"2.0","id":1,"method":"x","é":1,"\u00E9":1}`, Message{}, ErrDuplicate},
	{"the empty name twice", `{"":1,"jsonrpc":"2.0","id":1,"method":"x","":2}`, Message{}, ErrDuplicate},
	{"the ninth twice", `{"jsonrpc":"2.0","b":2,"c":3,"d":4,"e":5,"f":6,"g":7,"h":8,"id":1,"method":"x","i\u0064":1}`, Message{}, ErrDuplicate},
	{"the first again after many", `{"id":1,"b":2,"c":3,"d":4,"e":5,"f":6,"g":7,"h":8,"i":9,"jsonrpc":"2.0","method":"x","id":1}`, Message{}, ErrDuplicate},
	{"twice in params", `{"jsonrpc":"2.0","id":1,"method":"x","params":{"a":1,"\u0061":2}}`, Message{}, ErrDuplicate},
	{"twice in params of a notification", `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1,"request\u0049d":2}}`, Message{}, ErrDuplicate},
	{"version twice in params", `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"a","protocolVersion":"b"}}`, Message{}, ErrDuplicate},
	{"twice in _meta", `{"jsonrpc":"2.0","id":1,"method":"x","params":{"_meta":{"progressToken":1,"progressTok\u0065n":2}}}`, Message{}, ErrDuplicate},
	{"_meta twice", `{"jsonrpc":"2.0","id":1,"method":"x","params":{"_meta":{"progressToken":1},"\u005fmeta":{}}}`, Message{}, ErrDuplicate},

	// Deeper than that is the receiver's business, as is all of a result.
	{"twice in arguments", `{"jsonrpc":"2.0","id":1,"method":"x","params":{"arguments":{"a":1,"a":2}}}`, Message{Kind: Request, Method: "x", ID: "n1", RawID: []byte("1")}, nil},
	{"twice in a result", `{"jsonrpc":"2.0","id":1,"result":{"a":1,"a":2}}`, Message{Kind: Response, ID: "n1", RawID: []byte("1")}, nil},
	{"version twice in a result: the first", `{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":"a","protocolVersion":"b"}}`, Message{Kind: Response, ID: "n1", RawID: []byte("1"), Version: "a"}, nil},
	{"the same name on another level", `{"jsonrpc":"2.0","id":1,"method":"x","params":{"id":2,"method":3,"_meta":{"id":4}}}`, Message{Kind: Request, Method: "x", ID: "n1", RawID: []byte("1")}, nil},

	// Progress.
	{"progress asked for", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","_meta":{"x":[],"progressToken":"t"}}}`, Message{Kind: Request, Method: "tools/call", ID: "n1", RawID: []byte("1"), Progress: "st"}, nil},
	{"progress asked for with a number", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"_meta":{"progressToken":70e-1}}}`, Message{Kind: Request, Method: "tools/call", ID: "n1", RawID: []byte("1"), Progress: "n7"}, nil},
	{"progress asked for with null", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"_meta":{"progressToken":null}}}`, Message{Kind: Request, Method: "tools/call", ID: "n1", RawID: []byte("1")}, nil},
	{"progress asked for with an object", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"_meta":{"progressToken":{}}}}`, Message{Kind: Request, Method: "tools/call", ID: "n1", RawID: []byte("1")}, nil},
	{"_meta of another shape", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"_meta":["progressToken"]}}`, Message{Kind: Request, Method: "tools/call", ID: "n1", RawID: []byte("1")}, nil},
	{"a request's token outside _meta", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"progressToken":1}}`, Message{Kind: Request, Method: "tools/call", ID: "n1", RawID: []byte("1")}, nil},
	{"_meta of a notification", `{"jsonrpc":"2.0","method":"x","params":{"_meta":{"progressToken":1}}}`, Message{Kind: Notification, Method: "x"}, nil},
	{"progress", `{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"\u0074","progress":1}}`, Message{Kind: Notification, Method: "notifications/progress", Progress: "st"}, nil},
	{"progress of a number", `{"jsonrpc":"2.0","method":"notifications/progress","params":{"progress":1,"progressToken":7}}`, Message{Kind: Notification, Method: "notifications/progress", Progress: "n7"}, nil},
	{"progress with a bool", `{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":true}}`, Message{Kind: Notification, Method: "notifications/progress"}, nil},
	{"progress without params", `{"jsonrpc":"2.0","method":"notifications/progress"}`, Message{Kind: Notification, Method: "notifications/progress"}, nil},
	{"a token of another notification", `{"jsonrpc":"2.0","method":"notifications/message","params":{"progressToken":7,"requestId":8}}`, Message{Kind: Notification, Method: "notifications/message"}, nil},

	// Cancelled.
	{"cancelled", `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"a","reason":"r"}}`, Message{Kind: Notification, Method: "notifications/cancelled", Cancels: "sa"}, nil},
	{"cancelled with a number", `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1.0}}`, Message{Kind: Notification, Method: "notifications/cancelled", Cancels: "n1"}, nil},
	{"cancelled with null", `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":null}}`, Message{Kind: Notification, Method: "notifications/cancelled"}, nil},
	{"cancelled with an array", `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":[1]}}`, Message{Kind: Notification, Method: "notifications/cancelled"}, nil},
	{"cancelled without a request", `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{}}`, Message{Kind: Notification, Method: "notifications/cancelled"}, nil},

	// Versions.
	{"initialize", `{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"capabilities":{"protocolVersion":"x"},"protocolVersion":"2025-06-18","_meta":{"progressToken":1}}}`, Message{Kind: Request, Method: "initialize", ID: "n0", RawID: []byte("0"), Version: "2025-06-18", Progress: "n1"}, nil},
	{"initialize with an escaped version", `{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocol\u0056ersion":"2025\u002d06-18"}}`, Message{Kind: Request, Method: "initialize", ID: "n0", RawID: []byte("0"), Version: "2025-06-18"}, nil},
	{"initialize with the version a number", `{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":1}}`, Message{Kind: Request, Method: "initialize", ID: "n0", RawID: []byte("0")}, nil},
	{"initialize without params", `{"jsonrpc":"2.0","id":0,"method":"initialize"}`, Message{Kind: Request, Method: "initialize", ID: "n0", RawID: []byte("0")}, nil},
	{"a version of another method", `{"jsonrpc":"2.0","id":0,"method":"initialise","params":{"protocolVersion":"x"}}`, Message{Kind: Request, Method: "initialise", ID: "n0", RawID: []byte("0")}, nil},
	{"initialize result", `{"jsonrpc":"2.0","id":0,"result":{"serverInfo":{},"protocolVersion":"2025-03-26"}}`, Message{Kind: Response, ID: "n0", RawID: []byte("0"), Version: "2025-03-26"}, nil},
	{"result with the version null", `{"jsonrpc":"2.0","id":0,"result":{"protocolVersion":null}}`, Message{Kind: Response, ID: "n0", RawID: []byte("0")}, nil},
	{"result an array", `{"jsonrpc":"2.0","id":0,"result":["protocolVersion"]}`, Message{Kind: Response, ID: "n0", RawID: []byte("0")}, nil},
	{"a version in an error", `{"jsonrpc":"2.0","id":0,"error":{"protocolVersion":"x"}}`, Message{Kind: Response, ID: "n0", RawID: []byte("0"), Failed: true}, nil},

	// Depth. Brackets in strings are none.
	{"512 levels", nested(512), Message{Kind: Request, Method: "m", ID: "n1", RawID: []byte("1")}, nil},
	{"513 levels", nested(513), Message{}, ErrDepth},
	{"513 levels of objects", strings.Repeat(`{"a":`, 513) + "1" + strings.Repeat("}", 513), Message{}, ErrDepth},
	{"more levels than encoding/json reads", nested(10_001), Message{}, ErrSyntax},
	{"levels one after the other", `{"jsonrpc":"2.0","id":1,"method":"m","params":[` + strings.Repeat(`[[]],{},`, 600) + `1]}`, Message{Kind: Request, Method: "m", ID: "n1", RawID: []byte("1")}, nil},
	{"levels in a string", `{"jsonrpc":"2.0","id":1,"method":"` + strings.Repeat(`[{\"`, 600) + `"}`, Message{Kind: Request, Method: strings.Repeat(`[{"`, 600), ID: "n1", RawID: []byte("1")}, nil},

	// No JSON.
	{"nothing", ``, Message{}, ErrSyntax},
	{"white space only", " \r\n", Message{}, ErrSyntax},
	{"invalid UTF-8 in a string", "{\"jsonrpc\":\"2.0\",\"id\":\"\xff\",\"method\":\"x\"}", Message{}, ErrSyntax},
	{"invalid UTF-8 in a name", "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"x\",\"\xc3\":1}", Message{}, ErrSyntax},
	{"a surrogate in UTF-8", "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"\xed\xa0\x80\"}", Message{}, ErrSyntax},
	{"byte order mark", "\uFEFF" + `{"jsonrpc":"2.0","id":1,"method":"x"}`, Message{}, ErrSyntax},
	{"UTF-16", "{\x00}\x00", Message{}, ErrSyntax},
	{"garbage behind", `{"jsonrpc":"2.0","id":1,"method":"x"}x`, Message{}, ErrSyntax},
	{"a bracket behind", `{"jsonrpc":"2.0","id":1,"method":"x"}}`, Message{}, ErrSyntax},
	{"another message behind", `{"jsonrpc":"2.0","id":1,"method":"x"} {"jsonrpc":"2.0","id":2,"method":"x"}`, Message{}, ErrSyntax},
	{"NUL behind", `{"jsonrpc":"2.0","id":1,"method":"x"}` + "\x00", Message{}, ErrSyntax},
	{"cut off", `{"jsonrpc":"2.0","id":1,"method":"x"`, Message{}, ErrSyntax},
	{"a comma too many", `{"jsonrpc":"2.0","id":1,"method":"x",}`, Message{}, ErrSyntax},
	{"a comment", `{"jsonrpc":"2.0",/**/"id":1,"method":"x"}`, Message{}, ErrSyntax},
	{"a raw line end in a string", "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"x\ny\"}", Message{}, ErrSyntax},
	{"id 01", `{"jsonrpc":"2.0","id":01,"method":"x"}`, Message{}, ErrSyntax},
	{"id NaN", `{"jsonrpc":"2.0","id":NaN,"method":"x"}`, Message{}, ErrSyntax},
}

func TestAMessageIsParsed(t *testing.T) {
	for _, tc := range parseCases {
		t.Run(tc.name, func(t *testing.T) {
			raw := []byte(tc.in)
			m, err := Parse(raw)
			if !errors.Is(err, tc.err) || (err == nil) != (tc.err == nil) {
				t.Fatalf("%.200s: got error %v, want %v", tc.in, err, tc.err)
			}
			if string(raw) != tc.in {
				t.Fatalf("%.200s: the text was written to: %.200s", tc.in, raw)
			}
			want := tc.want
			if err == nil {
				want.Raw = []byte(tc.in)
			}
			equal(t, m, want)
			if err == nil && &m.Raw[0] != &raw[0] {
				t.Error("Raw is a copy")
			}
		})
	}
}

func equal(t *testing.T, got, want Message) {
	t.Helper()
	if g, w := show(got), show(want); g != w {
		t.Errorf("got  %.500s\nwant %.500s", g, w)
	}
}

func show(m Message) string {
	return fmt.Sprintf("kind %d, method %q, id %q, written %q, progress %q, cancels %q, version %q, failed %t, raw %q",
		m.Kind, m.Method, m.ID, m.RawID, m.Progress, m.Cancels, m.Version, m.Failed, m.Raw)
}

// Each name with half of a surrogate pair is read as U+FFFD, so that two of them are duplicates.
func TestNamesWithSurrogatesAreCompared(t *testing.T) {
	for in, want := range map[string]error{
		`{"jsonrpc":"2.0","method":"x","\ud800":1,"\udfff":2}`:       ErrDuplicate,
		`{"jsonrpc":"2.0","method":"x","\ud800":1,"\ufffd":2}`:       ErrDuplicate,
		`{"jsonrpc":"2.0","method":"x","\ud83d\ude00":1,"\ud83d":2}`: nil,
		`{"jsonrpc":"2.0","method":"x","\ud83d\ude00":1,"😀":2}`:      ErrDuplicate,
	} {
		if _, err := Parse([]byte(in)); !errors.Is(err, want) {
			t.Errorf("%s: got error %v, want %v", in, err, want)
		}
	}
}

func TestAppendingToAPartKeepsTheMessage(t *testing.T) {
	const in = `{"jsonrpc":"2.0","id":12,"method":"ping"}`
	raw := []byte(in)
	m, err := Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	_ = append(m.RawID, "overwritten"...)
	if string(raw) != in {
		t.Errorf("appending to RawID made %s", raw)
	}
	clear(raw)
	if m.Method != "ping" || m.ID != "n12" {
		t.Errorf("got method %q and id %q of a buffer that is used again", m.Method, m.ID)
	}

	const batch = `[1, {"a":2},"3"]`
	raw = []byte(batch)
	all, err := Elements(raw, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	for i, one := range all {
		_ = append(one, "overwritten"...)
		if string(raw) != batch {
			t.Fatalf("appending to message %d made %s", i, raw)
		}
		if cap(one) != len(one) {
			t.Errorf("message %d has a capacity of %d, want %d", i, cap(one), len(one))
		}
	}
}

// benchMessage returns a request of about that many bytes.
func benchMessage(size int) []byte {
	text := `{"jsonrpc":"2.0","id":123,"method":"tools/call","params":{"name":"search","_meta":{"progressToken":"p1"},"arguments":{"list":[`
	for len(text) < size-100 {
		text += `{"text":"some words and a quote: \"é\"","n":12345,"ok":true},`
	}
	return []byte(text + strconv.Itoa(size) + `],"limit":10,"deep":false}}}`)
}

func BenchmarkParse(b *testing.B) {
	for _, size := range []int{300, 64 << 10} {
		raw := benchMessage(size)
		b.Run(strconv.Itoa(size), func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(raw)))
			for b.Loop() {
				if _, err := Parse(raw); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
