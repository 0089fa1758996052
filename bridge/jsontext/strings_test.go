package jsontext

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
)

// shout is an edit: strings with an x go, those with an a get an upper-case one.
func shout(_ At, s string) (string, Action) {
	switch {
	case strings.Contains(s, "x"):
		return strings.NewReplacer("x", "X", "a", "A").Replace(s), Drop
	case strings.Contains(s, "a"):
		return strings.ReplaceAll(s, "a", "A"), Replace
	}
	return s, Keep
}

var editCases = []struct {
	in, want string
	bad      bool
}{
	{in: `{}`, want: `{}`},
	{in: ` { } `, want: ` { } `},
	{in: `"b"`, want: `"b"`},
	{in: `"a"`, want: `"A"`},
	{in: `"x"`, want: `"X"`}, // in no member
	{in: `["x", "a"]`, want: `["X", "A"]`},
	{in: `12`, want: `12`},
	{in: ` null `, want: ` null `},
	{in: `{"b":"a"}`, want: `{"b":"A"}`},
	{in: `{"a":"b"}`, want: `{"a":"b"}`}, // a name only stays or goes
	{in: `{"b":"x"}`, want: `{}`},
	{in: `{"x":1}`, want: `{}`},
	{in: `{"b":"x","c":1}`, want: `{"c":1}`},
	{in: `{"c":1,"b":"x"}`, want: `{"c":1}`},
	{in: `{"c":1,"b":"x","d":2}`, want: `{"c":1,"d":2}`},
	{in: "{\n  \"b\": \"x\",\n  \"c\": 1,\n  \"d\": \"x\"\n}", want: "{\n  \"c\": 1\n}"},
	{in: `{"b":"x","c":"x","d":"x"}`, want: `{}`},
	{in: `{"b":["c","x"],"d":1}`, want: `{"d":1}`},
	{in: `{"b":{"c":"x","d":"a"},"e":[{"f":"x"},{"g":"a"}]}`, want: `{"b":{"d":"A"},"e":[{},{"g":"A"}]}`},
	{in: `{"b":[[["x"]]]}`, want: `{}`},
	{in: `{"b":1.50,"c":-0e1,"d":true}`, want: `{"b":1.50,"c":-0e1,"d":true}`},
	{in: `{"b":"\u0061\/<&>"}`, want: `{"b":"A/<&>"}`},
	{in: `{"b":"\u0062\/"}`, want: `{"b":"\u0062\/"}`},
	{in: `{"b":"a","b":"x","b":"c"}`, want: `{"b":"A","b":"c"}`},
	{in: `{"\u0078":1,"b":2}`, want: `{"b":2}`},
	{in: `{"b":"\"]}"}`, want: `{"b":"\"]}"}`},
	{in: `{"b":"a"`, bad: true},
	{in: ``, bad: true},
	{in: `{"b":"a"} c`, bad: true},
	{in: "\xef\xbb\xbf{}", bad: true},
	{in: "{\"b\":\"\xff\"}", bad: true},
	{in: strings.Repeat("[", MaxDepth+1) + strings.Repeat("]", MaxDepth+1), bad: true},
	{in: strings.Repeat("[", MaxDepth) + strings.Repeat("]", MaxDepth), want: strings.Repeat("[", MaxDepth) + strings.Repeat("]", MaxDepth)},
}

func TestEditStrings(t *testing.T) {
	for _, tc := range editCases {
		got, ok := EditStrings([]byte(tc.in), shout)
		want := tc.want
		if tc.bad {
			want = tc.in
		}
		if string(got) != want || ok == tc.bad {
			t.Errorf("EditStrings(%s) = %s, %v; want %s", tc.in, got, ok, want)
		}
	}
}

// Where a string stands is said by the names of the outermost and the innermost member.
func TestEditStringsAt(t *testing.T) {
	var all []At
	EditStrings([]byte(`{"a":"1","b":{"c":["2",{"d":"3"}]}}`), func(at At, _ string) (string, Action) {
		if !at.Name {
			all = append(all, at)
		}
		return "", Keep
	})
	want := []At{{"a", "a", false}, {"b", "c", false}, {"b", "d", false}}
	if len(all) != len(want) {
		t.Fatalf("got %v, want %v", all, want)
	}
	for i := range want {
		if all[i] != want[i] {
			t.Errorf("got %v, want %v", all, want)
		}
	}
}

// What is edited is JSON again, in which nothing that was to go or to change is left, and a
// text that nothing is done to stays byte for byte.
func FuzzEditStrings(f *testing.F) {
	for _, tc := range editCases {
		f.Add([]byte(tc.in))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		same, ok := EditStrings(raw, func(_ At, s string) (string, Action) { return s, Keep })
		if !bytes.Equal(same, raw) {
			t.Fatalf("%q became %q", raw, same)
		}
		if !ok {
			return
		}
		got, ok := EditStrings(raw, shout)
		if !ok || !json.Valid(got) {
			t.Fatalf("%q became %q", raw, got)
		}
		again, _ := EditStrings(got, func(at At, s string) (string, Action) {
			if strings.Contains(s, "x") || !at.Name && strings.Contains(s, "a") {
				t.Fatalf("%q became %q, with %q", raw, got, s)
			}
			return s, Keep
		})
		if !bytes.Equal(again, got) {
			t.Fatalf("%q became %q", got, again)
		}
	})
}
