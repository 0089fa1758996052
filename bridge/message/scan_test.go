package message

import (
	"encoding/json"
	"strings"
	"testing"
)

var containerSeeds = []string{
	`{}`, `[]`, `{"a":1}`, `[1,-0.5e+3,1E9,0,-0]`, `{"a":{"b":[{},[],"x",true,false,null]}}`,
	`{"a" : [ 1 , 2 ] , "b" : "" }`, `["\"\\\/\b\f\n\r\t\u00e9\uD83D"]`, `["12345678\"12345678\\1234567"]`,
	`["éééé√√√√😀😀\u1234"]`, `[[[[[[]]]]]]`, "[\n\r\t 1\n]",
	``, `{`, `[`, `]`, `}`, `[}`, `{]`, `{"a"}`, `{"a":}`, `{"a":1,}`, `[1,]`, `[,]`, `{,}`, `[1 2]`, `{a:1}`,
	`[01]`, `[-]`, `[1.]`, `[.5]`, `[1e]`, `[1e+]`, `[+1]`, `[0x1]`, `[tru]`, `[truex]`, `[nul`, `[t`, `[f]`,
	`["]`, `["\x"]`, `["\u12"]`, `["\u12g4"]`, `["\`, "[\"\x01\"]", "[\"1234567\x1f\"]", "[\"\x7f\"]", "[\"\n\"]",
	`{}{}`, `{} []`, `[]x`, `"a"`, `1`, `null`, `{"a":1 "b":2}`, `{"a":1,"b"}`, `{1:2}`, `[1:2]`, `{"a",1}`,
	"[\"aaaaaaa\x1faaaa\"]", "[\"!!!!!!!!!!!!!!!!\"]", "[\"\x80\xff\xa0\xa2\xdc!!!!\"]", "[\x00]", "{\"a\":\x00}",
}

func TestIsContainerAgreesWithJSONValid(t *testing.T) {
	seeds := containerSeeds
	for _, depth := range []int{64, 65, 9999, 10000, 10001} {
		seeds = append(seeds,
			strings.Repeat("[", depth)+strings.Repeat("]", depth),
			strings.Repeat(`{"a":`, depth)+"1"+strings.Repeat("}", depth),
			strings.Repeat(`[{"a":`, depth/2)+"1"+strings.Repeat("}]", depth/2))
	}
	for _, text := range seeds {
		if got, want := IsContainer([]byte(text)), containerOracle([]byte(text)); got != want {
			t.Errorf("%.60q: got %t, want %t", text, got, want)
		}
	}
	// A byte with a meaning is found at each place of the eight.
	for c := range 256 {
		for at := range 20 {
			text := []byte(`["` + strings.Repeat("a", at) + string([]byte{byte(c)}) + strings.Repeat("!", 20) + `"]`)
			if got, want := IsContainer(text), json.Valid(text); got != want {
				t.Errorf("%q: got %t, want %t", text, got, want)
			}
		}
	}
}

func FuzzIsContainer(f *testing.F) {
	for _, text := range containerSeeds {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		text = []byte(strings.Trim(string(text), " \t\r\n"))
		if got, want := IsContainer(text), containerOracle(text); got != want {
			t.Errorf("%q: got %t, want %t", text, got, want)
		}
	})
}

func containerOracle(text []byte) bool {
	return len(text) > 0 && (text[0] == '{' || text[0] == '[') && json.Valid(text)
}

func BenchmarkIsContainer(b *testing.B) {
	text := []byte(`{"jsonrpc":"2.0","id":1,"result":{"content":[` + strings.Repeat(`{"type":"text","text":"`+strings.Repeat(`some words and a quote: \"é\". `, 64)+`","n":1.5},`, 400) + `{}]}}`)
	for _, tt := range []struct {
		name  string
		valid func([]byte) bool
	}{{"here", IsContainer}, {"encoding/json", json.Valid}} {
		b.Run(tt.name, func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			for b.Loop() {
				if !tt.valid(text) {
					b.Fatal("not valid")
				}
			}
		})
	}
}
