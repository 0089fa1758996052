package message

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
)

func TestAnErrorResponseIsWritten(t *testing.T) {
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
