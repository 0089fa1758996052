package message

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

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

func TestABatchIsCutIntoItsElements(t *testing.T) {
	for _, tc := range batchCases {
		t.Run(tc.name, func(t *testing.T) {
			all, err := Elements([]byte(tc.in), 1<<20)
			if !errors.Is(err, tc.err) || (err == nil) != (tc.err == nil) {
				t.Fatalf("%.200s: got error %v, want %v", tc.in, err, tc.err)
			}
			if got, want := fmt.Sprintf("%q", all), fmt.Sprintf("%q", tc.want); got != want {
				t.Errorf("%.200s: got %.500s, want %.500s", tc.in, got, want)
			}
		})
	}
}

func TestAnArrayIsABatch(t *testing.T) {
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

// BenchmarkBatch walks long scalars, and ids that take the most to compare.
func BenchmarkElements(b *testing.B) {
	for name, one := range map[string]string{
		"number": "1" + strings.Repeat("234567890", 30),
		"id":     `{"jsonrpc":"2.0","id":` + strings.Repeat("7", 395) + `e-400,"method":"x"}`,
	} {
		raw := []byte("[" + strings.Repeat(one+",", 200) + one + "]")
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(raw)))
			for b.Loop() {
				all, err := Elements(raw, 1<<20)
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
