package jsontext

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
)

var uniqueCases = []struct {
	text string
	want error
}{
	{`{}`, nil},
	{`[]`, nil},
	{` "a" `, nil},
	{`1`, nil},
	{`{"a":1,"b":{"a":1},"c":[{"a":1},{"a":2}]}`, nil},
	{`{"a":1,"A":2}`, nil},
	{`{"a":1,"b":2,"a":3}`, ErrDuplicate},
	{`{"a":1,"\u0061":2}`, ErrDuplicate},
	{`{"x":{"y":[1,{"a":{"b":1 , "b":2}}]}}`, ErrDuplicate},
	{`[{"a":1},{"b":1,"b":1}]`, ErrDuplicate},
	{`{"a":"{\"b\":1,\"b\":2}"}`, nil},
	{`{"1":0,"2":0,"3":0,"4":0,"5":0,"6":0,"7":0,"8":0,"9":0,"1":0}`, ErrDuplicate},
	{`{"1":0,"2":0,"3":0,"4":0,"5":0,"6":0,"7":0,"8":0,"9":0,"9":0}`, ErrDuplicate},
	{`{"1":0,"2":0,"3":0,"4":0,"5":0,"6":0,"7":0,"8":{"1":0,"9":0},"9":0}`, nil},
}

func TestUnique(t *testing.T) {
	for _, tc := range uniqueCases {
		if err := Unique([]byte(tc.text)); !errors.Is(err, tc.want) {
			t.Errorf("%s: got %v, want %v", tc.text, err, tc.want)
		}
	}
	var b strings.Builder
	for i := range MaxOpenMembers {
		fmt.Fprintf(&b, `"%d":0,`, i)
	}
	for _, tc := range []struct {
		text string
		want error
	}{
		{`{` + strings.TrimSuffix(b.String(), ",") + `}`, nil},
		{`{` + b.String() + `"x":0}`, ErrTooMany},
		{`{"x":{` + strings.TrimSuffix(b.String(), ",") + `}}`, ErrTooMany},
	} {
		if err := Unique([]byte(tc.text)); !errors.Is(err, tc.want) {
			t.Errorf("%.20s: got %v, want %v", tc.text, err, tc.want)
		}
	}
}

// hasDuplicate is a second way to find out, by the tokens of encoding/json.
func hasDuplicate(dec *json.Decoder) (bool, error) {
	token, err := dec.Token()
	if err != nil {
		return false, err
	}
	delim, ok := token.(json.Delim)
	if !ok {
		return false, nil
	}
	seen := make(map[string]bool)
	found := false
	for dec.More() {
		if delim == '{' {
			name, err := dec.Token()
			if err != nil {
				return false, err
			}
			found = found || seen[name.(string)]
			seen[name.(string)] = true
		}
		inner, err := hasDuplicate(dec)
		if err != nil {
			return false, err
		}
		found = found || inner
	}
	_, err = dec.Token()
	return found, err
}

// Unique finds what the tokens of encoding/json have twice, and nothing else.
func FuzzUnique(f *testing.F) {
	for _, tc := range uniqueCases {
		f.Add(tc.text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if !Valid([]byte(text)) || Depth([]byte(text)) > MaxDepth {
			return
		}
		want, err := hasDuplicate(json.NewDecoder(strings.NewReader(text)))
		if err != nil && !errors.Is(err, io.EOF) {
			return
		}
		if got := Unique([]byte(text)); errors.Is(got, ErrDuplicate) != want && !errors.Is(got, ErrTooMany) {
			t.Errorf("%q: got %v, want duplicate %v", text, got, want)
		}
	})
}
