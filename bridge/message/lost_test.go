package message

import (
	"bytes"
	"strings"
	"testing"
)

func TestTheIDOfABrokenResponseIsFound(t *testing.T) {
	long := strings.Repeat("x", 3000)
	for _, tt := range []struct{ name, text, want string }{
		{"id first", `{"jsonrpc":"2.0","id":5,"result":"` + long + `"}`, "5"},
		{"id last", `{"result":{"x":"` + long + `"},"jsonrpc":"2.0","id":5}`, "5"},
		{"id last, spaced", `{ "result" : "` + long + `" , "id" : "a\"b" } `, `"a\"b"`},
		{"id of the result", `{"jsonrpc":"2.0","result":{"x":"` + long + `","id":5}}`, ""},
		{"id in a text", `{"jsonrpc":"2.0","result":"` + long + `,\"id\":5}`, ""},
		{"an error", `{"jsonrpc":"2.0","id":"5","error":{"code":1,"message":"` + long + `"}}`, `"5"`},
		{"a request", `{"jsonrpc":"2.0","id":5,"method":"` + long + `"}`, ""},
		{"a request, id last", `{"method":"x","params":"` + long + `","id":5}`, ""},
		{"a request that ends so", `{"params":"` + long + `","method":"x","id":5}`, ""},
		{"a notification", `{"jsonrpc":"2.0","method":"x","params":{"id":5}}`, ""},
		{"half", `{"jsonrpc":"2.0","id":5,"result":{"a":[1,2`, "5"},
		{"half of an id", `{"jsonrpc":"2.0","result":1,"id":5`, ""},
		{"less than half", `{"jsonrpc":"2.0","id":5,"res`, ""},
		{"two in a line", `{"jsonrpc":"2.0","id":5,"result":1}{"jsonrpc":"2.0","id":6,"result":1}`, "5"},
		{"invalid UTF-8", "{\"jsonrpc\":\"2.0\",\"id\":5,\"result\":\"\xff\"}", "5"},
		{"a control character", "{\"jsonrpc\":\"2.0\",\"id\":5,\"result\":\"\x00\"}", "5"},
		{"null", `{"jsonrpc":"2.0","id":null,"result":"` + long + `"}`, ""},
		{"an object", `{"jsonrpc":"2.0","id":{},"result":"` + long + `"}`, ""},
		{"an id twice", `{"jsonrpc":"2.0","id":5,"id":6,"result":"` + long + `"}`, ""},
		{"no JSON", `hello "id":5}`, ""},
		{"a batch", `[{"jsonrpc":"2.0","id":5,"result":"` + long + `"}]`, ""},
		{"nothing", ``, ""},
		{"a number that is none", `{"result":"` + long + `","id":5-5}`, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			text := []byte(tt.text)
			begin, end := text[:min(1024, len(text))], text[max(0, len(text)-1024):]
			if got := string(Lost(begin, end)); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// FuzzLost has what is cut never told to be another response than the whole is, and
// the whole always.
func FuzzLost(f *testing.F) {
	f.Add([]byte(`{"jsonrpc":"2.0","id":5,"result":{"a":[1,2]}}`), 10, 20)
	f.Add([]byte(`{"result":"x","jsonrpc":"2.0","id":"5"}`), 12, 30)
	f.Add([]byte(`{"method":"x","jsonrpc":"2.0","id":"5"}`), 12, 30)
	f.Fuzz(func(t *testing.T, text []byte, a, b int) {
		m, err := Parse(text)
		if err != nil {
			Lost(text, text) // does not panic
			return
		}
		if m.Kind == Response && m.ID != "" && !bytes.Equal(Lost(append(bytes.Clone(text), ' '), text), m.RawID) {
			t.Errorf("%q: got %q, want %q", text, Lost(text, text), m.RawID)
		}
		n := len(text)
		got := Lost(text[:max(0, min(n, a))], text[max(0, min(n, b)):])
		if got != nil && (m.Kind != Response || !bytes.Equal(got, m.RawID)) {
			t.Errorf("%q cut at %d and %d: got %q, want %q", text, a, b, got, m.RawID)
		}
	})
}
