package message

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
)

// walk crosses a text member by member and element by element, and returns the values that are
// no container, with the names that lead to them.
func walk(c *Cursor, path string, all map[string]string) {
	switch c.Next() {
	case '{':
		c.Enter()
		for name, ok := c.Member(); ok; name, ok = c.Member() {
			walk(c, path+"."+string(name), all)
		}
	case '[':
		c.Enter()
		for c.Element() {
			walk(c, path+"[]", all)
		}
	default:
		all[path] = string(c.Skip())
	}
}

// FuzzCursor compares a cursor with the check that all other parsers begin with, whether it
// crosses a text at once or value by value.
func FuzzCursor(f *testing.F) {
	for _, text := range []string{
		`{"a":[1,{"b":null}],"c\u0064":"\u00e9"}`, ` [ ] `, `{}`, `{"a":1,}`, `[1,]`, `[,1]`, `{,}`, `{"a"}`, `{"a":}`, `[1 2]`, `{"a":1 "b":2}`, `[1}`, `{"a":1]`, `1`, `"x"`, `1 2`, `{}{}`, "\x00", "",
		"[\"\xff\"]", strings.Repeat("[", 600) + strings.Repeat("]", 600), strings.Repeat(`{"a":`, 600) + "1" + strings.Repeat("}", 600),
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		want := check([]byte(text))
		whole := NewCursor([]byte(text))
		whole.Skip()
		if err := whole.End(); (err == nil) != (want == nil) {
			t.Fatalf("%q at once: got %v, want %v", text, err, want)
		}
		parts, all := NewCursor([]byte(text)), make(map[string]string)
		walk(parts, "", all)
		if err := parts.End(); (err == nil) != (want == nil) {
			t.Fatalf("%q in parts: got %v, want %v", text, err, want)
		}
		if want != nil {
			return
		}
		for path, value := range all {
			if !json.Valid([]byte(value)) {
				t.Fatalf("%q: %s is %q", text, path, value)
			}
		}
	})
}

// What cannot be entered, or has been left, is an error, and nothing is crossed behind an error.
func TestCursorStops(t *testing.T) {
	c := NewCursor([]byte(`{"a":1,"b":2}`))
	c.Enter()
	if name, ok := c.Member(); !ok || string(name) != "a" {
		t.Fatalf("got %q", name)
	}
	if c.Enter(); !errors.Is(c.Err(), ErrShape) {
		t.Errorf("a number was entered: %v", c.Err())
	}
	if _, ok := c.Member(); ok || c.Element() || c.Skip() != nil || c.Next() != 0 || c.End() == nil {
		t.Error("the cursor goes on behind an error")
	}
}

// A short cut for plain names finds what the rule for all names does.
func TestLooksLikeOfPlainNames(t *testing.T) {
	for _, name := range []string{"name", "Name", "NAME", "nam", "names", "", "title", "n4me", "na\x00", "na\x7fe", "K"} {
		for _, known := range [][]string{{"name"}, {"a", "name"}, {"k"}, nil} {
			got, ok := LooksLike([]byte(name), known...)
			want, wantOK := looksLike([]byte(name), known)
			if got != want || ok != wantOK {
				t.Errorf("%q, %q: got %q, %t; want %q, %t", name, known, got, ok, want, wantOK)
			}
		}
	}
}
