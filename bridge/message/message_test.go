package message

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"
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

func TestParse(t *testing.T) {
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

// ids have on each line the ways to write one id; those of two lines differ.
var ids = [][]string{
	{`1`, `1.0`, `10e-1`, `1e0`, `1E+0`, `0.1e1`, `1e-0`, `1.000000`, `0.00001e5`, `1e0000000000000000000000`},
	{`-1`, `-1.0`, `-10E-1`},
	{`0`, `-0`, `0.0`, `-0.0`, `0e5`, `-0e-5`, `0E400`},
	{`10`, `1e1`, `100e-1`},
	{`1.5`, `15e-1`, `0.15E1`, `1.50`},
	{`-1.5`},
	{`0.1`, `1e-1`},
	{`0.3333333333333333`},
	{`0.33333333333333331`},
	{`9007199254740992`, `9007199254740992.0`},
	{`9007199254740993`, `9007199254740993.0`, `9007199254740993e0`},
	{`18446744073709551617`},
	{`1` + strings.Repeat("0", 400), `1e400`, `1E+400`, `10e399`},
	{`1e-400`, `0.1e-399`},
	{`1` + strings.Repeat("0", 401), `10e400`},
	// Beyond reason: as they are written.
	{`1e401`},
	{`1E401`}, // 1e401
	{`0e401`}, // 0
	{`1e-401`},
	{`1e99999`},
	{`1e9223372036854775808`},
	{`-1e99999999999999999999999`},
	{`1e-99999999999999999999999`},
	{`1.` + strings.Repeat("0", 399)},
	{`"1"`, `"\u0031"`},
	{`"1.0"`},
	{`"n1"`},
	{`"s1"`},
	{`""`},
	{`"a"`, `"\u0061"`},
	{`"A"`, `"\u0041"`},
	{`" a"`},
	{`"é"`, `"\u00e9"`, `"\u00E9"`},
	{`"e` + "\u0301" + `"`, `"e\u0301"`}, // another way to write é, and another string
	{`"😀"`, `"\ud83d\ude00"`, `"\uD83D\uDE00"`},
	{`"\""`, `"\u0022"`},
	{`"\\"`, `"\u005c"`},
	{`"\\u0061"`},
	{`"/"`, `"\/"`},
	{`"\n"`, `"\u000a"`},
	{`"\\n"`},
	{`"\u0000"`},
	{`"null"`},
	{`"<&>"`, `"\u003c\u0026\u003e"`},
	// A half of a surrogate pair alone is no character, and JSON has no way to
	// write one but its escape (RFC 8259 section 8.2). encoding/json reads each as
	// U+FFFD, so that these ids are one. That refuses a client two such requests
	// at a time as one id twice, and mixes nothing up: they stay as written.
	{`"\ufffd"`, "\"\uFFFD\"", `"\ud800"`, `"\ud801"`, `"\udc00"`, `"\uDFFF"`},
	{`"\udc00\ud800"`, `"\ufffd\ufffd"`},
	{`"\ud800a"`, `"\ufffda"`},
}

func TestKeys(t *testing.T) {
	key := func(t *testing.T, id string) Key {
		t.Helper()
		m, err := Parse([]byte(`{"jsonrpc":"2.0","id":` + id + `,"result":{}}`))
		if err != nil || m.ID == "" || string(m.RawID) != id {
			t.Fatalf("%.60s: got %.60q, written %.60s, error %v", id, m.ID, m.RawID, err)
		}
		// A token and a cancelled request are compared with the same keys.
		for _, in := range []string{
			`{"jsonrpc":"2.0","id":1,"method":"x","params":{"_meta":{"progressToken":` + id + `}}}`,
			`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":` + id + `}}`,
			`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":` + id + ` }}`,
		} {
			other, err := Parse([]byte(in))
			if err != nil || other.Progress+other.Cancels != m.ID {
				t.Fatalf("%.100s: got %.60q%.60q, error %v, want %.60q", in, other.Progress, other.Cancels, err, m.ID)
			}
		}
		return m.ID
	}
	seen := make(map[Key]string)
	for _, same := range ids {
		want := key(t, same[0])
		if other, twice := seen[want]; twice {
			t.Errorf("%.60s and %.60s have one key", same[0], other)
		}
		seen[want] = same[0]
		for _, id := range same[1:] {
			if got := key(t, id); got != want {
				t.Errorf("%.60s: got %.60q, want %.60q as of %.60s", id, got, want, same[0])
			}
		}
	}
}

// To make a fraction of a number takes the square of its length: an id of one
// megabyte took more than a second, and one of these took 100.
func TestLongNumber(t *testing.T) {
	digits := strings.Repeat("123456789", 1<<20)
	for _, id := range []string{"0." + digits, digits + "e-1", digits + ".0E+400"} {
		begin := time.Now()
		m, err := Parse([]byte(`{"jsonrpc":"2.0","id":` + id + `,"method":"x"}`))
		if err != nil || string(m.ID) != "n"+id {
			t.Errorf("%.20s...: got %.20q..., error %v", id, m.ID, err)
		}
		if took := time.Since(begin); took > 10*time.Second {
			t.Errorf("%.20s...: took %s", id, took)
		}
	}
}

// A name with a half of a surrogate pair is U+FFFD too, and so twice there.
func TestSurrogateNames(t *testing.T) {
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

func TestAliasing(t *testing.T) {
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
	all, err := Batch(raw)
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

var batchCases = []struct {
	name string
	in   string
	want []string
	err  error
}{
	{"empty", `[]`, nil, ErrEmpty},
	{"empty with white space", " [\r\n\t ] ", nil, ErrEmpty},
	{"one", `[{"a":1}]`, []string{`{"a":1}`}, nil},
	{"several", `[{"a":1},{"b":2},{}]`, []string{`{"a":1}`, `{"b":2}`, `{}`}, nil},
	{"white space", " [\n{ \"a\" : 1 }\t,\r\n{}\n , [ ] ] \n", []string{`{ "a" : 1 }`, `{}`, `[ ]`}, nil},
	{"scalars", `[1,-2.5e3 ,"x",true,false ,null]`, []string{`1`, `-2.5e3`, `"x"`, `true`, `false`, `null`}, nil},
	{"scalars and line ends", "[1\n,2\r,3\t]", []string{`1`, `2`, `3`}, nil},
	{"nested", `[[],[1,[2]],[[]],{"a":[{"b":[]}]}]`, []string{`[]`, `[1,[2]]`, `[[]]`, `{"a":[{"b":[]}]}`}, nil},
	{"brackets in strings", `["]","[",{"}]":"{,"},"\"]","\\"]`, []string{`"]"`, `"["`, `{"}]":"{,"}`, `"\"]"`, `"\\"`}, nil},
	{"512 levels", strings.Repeat("[", 512) + strings.Repeat("]", 512), []string{strings.Repeat("[", 511) + strings.Repeat("]", 511)}, nil},
	{"513 levels", strings.Repeat("[", 513) + strings.Repeat("]", 513), nil, ErrDepth},
	{"object", `{"a":1}`, nil, ErrShape},
	{"empty object", `{}`, nil, ErrShape},
	{"string", ` "[]"`, nil, ErrShape},
	{"number", `1`, nil, ErrShape},
	{"null", `null`, nil, ErrShape},
	{"nothing", ``, nil, ErrSyntax},
	{"cut off", `[1,`, nil, ErrSyntax},
	{"a comma too many", `[1,]`, nil, ErrSyntax},
	{"two", `[][]`, nil, ErrSyntax},
	{"garbage behind", `[1]x`, nil, ErrSyntax},
	{"invalid UTF-8", "[\"\x80\"]", nil, ErrSyntax},
	{"byte order mark", "\uFEFF[1]", nil, ErrSyntax},
}

func TestBatch(t *testing.T) {
	for _, tc := range batchCases {
		t.Run(tc.name, func(t *testing.T) {
			all, err := Batch([]byte(tc.in))
			if !errors.Is(err, tc.err) || (err == nil) != (tc.err == nil) {
				t.Fatalf("%.200s: got error %v, want %v", tc.in, err, tc.err)
			}
			if got, want := fmt.Sprintf("%q", all), fmt.Sprintf("%q", tc.want); got != want {
				t.Errorf("%.200s: got %.500s, want %.500s", tc.in, got, want)
			}
		})
	}
}

func TestIsBatch(t *testing.T) {
	for in, want := range map[string]bool{
		`[]`:          true,
		" \t\r\n[{}]": true,
		`[`:           true, // looks like one
		`{}`:          false,
		` {"a":[]}`:   false,
		`"["`:         false,
		``:            false,
		" \n":         false,
		"\uFEFF[]":    false,
		"\v[]":        false, // no white space of JSON
		"\u00A0[]":    false,
	} {
		if got := IsBatch([]byte(in)); got != want {
			t.Errorf("%q: got %t, want %t", in, got, want)
		}
	}
}

var lineCases = []struct{ in, want string }{
	{``, ``},
	{`{"a":1}`, `{"a":1}`},
	{" {\t\"a\" : 1 } ", " {\t\"a\" : 1 } "},
	{"{\n\t\"a\": 1,\r\n\t\"b\": [\r]\n}\n", "{ \t\"a\": 1,  \t\"b\": [ ] } "},
	{"{\"a\":\n\"\\n\\r\\u000a\"}", "{\"a\": \"\\n\\r\\u000a\"}"},
	{"\n", " "},
	// These end no line of a transport.
	{"\"\u2028\u2029\u0085\"", "\"\u2028\u2029\u0085\""},
}

func TestLine(t *testing.T) {
	for _, tc := range lineCases {
		raw := []byte(tc.in)
		line := Line(raw)
		if string(line) != tc.want {
			t.Errorf("%q: got %q, want %q", tc.in, line, tc.want)
		}
		if string(raw) != tc.in {
			t.Errorf("%q: was written to: %q", tc.in, raw)
		}
		if tc.in == tc.want && len(raw) > 0 && &line[0] != &raw[0] {
			t.Errorf("%q: is a copy", tc.in)
		}
		if json.Valid(raw) && compact(t, line) != compact(t, raw) {
			t.Errorf("%q: is another value: %q", tc.in, line)
		}
	}
	raw := []byte(`{"a":1}`)
	if got := testing.AllocsPerRun(10, func() { Line(raw) }); got != 0 {
		t.Errorf("got %v allocations with nothing to do", got)
	}
}

// compact returns a JSON text without the white space between its tokens.
func compact(t *testing.T, raw []byte) string {
	t.Helper()
	var b bytes.Buffer
	if err := json.Compact(&b, raw); err != nil {
		t.Fatalf("%q: %v", raw, err)
	}
	return b.String()
}

func TestError(t *testing.T) {
	for _, tc := range []struct {
		name, id, text string
		code           int
		want           string
	}{
		{"a number", `1`, "no", CodeInternal, `{"jsonrpc":"2.0","id":1,"error":{"code":-32603,"message":"no"}}`},
		{"an id as written", `10e-1`, "no", CodeServer, `{"jsonrpc":"2.0","id":10e-1,"error":{"code":-32000,"message":"no"}}`},
		{"an escaped id", `"\u0061\/<"`, "", CodeInvalidRequest, `{"jsonrpc":"2.0","id":"\u0061\/<","error":{"code":-32600,"message":""}}`},
		{"a big id", `9007199254740993`, "no", 0, `{"jsonrpc":"2.0","id":9007199254740993,"error":{"code":0,"message":"no"}}`},
		{"no id", ``, "no", CodeParse, `{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"no"}}`},
		{"the id null", `null`, "no", CodeParse, `{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"no"}}`},
		{"quotes", `1`, "a \"b\" \\ {}", 1, `{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"a \"b\" \\ {}"}}`},
		{"line ends", `1`, "a\r\nb\x00", 1, `{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"a\r\nb\u0000"}}`},
		{"invalid UTF-8", `1`, "a\xffb", 1, `{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"a\ufffdb"}}`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			id := []byte(tc.id)
			got := Error(id, tc.code, tc.text)
			if string(got) != tc.want {
				t.Errorf("got  %s\nwant %s", got, tc.want)
			}
			m, err := Parse(got)
			if err != nil || m.Kind != Response || !m.Failed || string(id) != tc.id {
				t.Fatalf("got %s, error %v", show(m), err)
			}
			if tc.id == "" {
				id = []byte("null")
			}
			if !bytes.Equal(m.RawID, id) {
				t.Errorf("got id %s, want %s", m.RawID, id)
			}
			var decoded struct{ Error struct{ Message string } }
			if err := json.Unmarshal(got, &decoded); err != nil {
				t.Fatal(err)
			}
			if want := strings.ToValidUTF8(tc.text, "\uFFFD"); decoded.Error.Message != want {
				t.Errorf("got text %q, want %q", decoded.Error.Message, want)
			}
			if !bytes.Equal(Line(got), got) {
				t.Error("is more than one line")
			}
		})
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

// BenchmarkBatch walks long scalars, and ids that take the most to compare.
func BenchmarkBatch(b *testing.B) {
	for name, one := range map[string]string{
		"number": "1" + strings.Repeat("234567890", 30),
		"id":     `{"jsonrpc":"2.0","id":` + strings.Repeat("7", 395) + `e-400,"method":"x"}`,
	} {
		raw := []byte("[" + strings.Repeat(one+",", 200) + one + "]")
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(raw)))
			for b.Loop() {
				all, err := Batch(raw)
				if err != nil {
					b.Fatal(err)
				}
				for _, one := range all {
					_, _ = Parse(one)
				}
			}
		})
	}
}
