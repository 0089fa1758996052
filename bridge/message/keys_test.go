package message

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/cputime"
)

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

func TestEqualIDsHaveEqualKeys(t *testing.T) {
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
func TestALongNumberIsComparedAsWritten(t *testing.T) {
	digits := strings.Repeat("123456789", 1<<18)
	for _, id := range []string{"0." + digits, digits + "e-1", digits + ".0E+400"} {
		text := []byte(`{"jsonrpc":"2.0","id":` + id + `,"method":"x"}`)
		m, err := Parse(text)
		if err != nil || string(m.ID) != "n"+id {
			t.Errorf("%.20s...: got %.20q..., error %v", id, m.ID, err)
		}
		if got := cputime.Ratio(20, func() { _ = json.Valid(text) }, func() { _, _ = Parse(text) }); got > 20 {
			t.Errorf("%.20s...: it takes %.1f times as long as json.Valid", id, got)
		}
	}
}
