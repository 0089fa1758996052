package message

import (
	"bytes"
	"encoding/json"
	"testing"
)

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

func TestALineHasNoLineEnds(t *testing.T) {
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
