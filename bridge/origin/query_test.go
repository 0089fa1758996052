package origin

import (
	"net/url"
	"slices"
	"strings"
	"testing"
)

func TestOwnQuery(t *testing.T) {
	for _, tc := range []struct {
		query, rest string
		values      []string
	}{
		{"", "", nil},
		{"sessionId=a", "", []string{"a"}},
		{"api_key=k&sessionId=a", "api_key=k", []string{"a"}},
		{"sessionId=a&api_key=k%20", "api_key=k%20", []string{"a"}},
		{"session%49d=a%2Fb", "", []string{"a/b"}},
		{"sessionId=a&sessionId=b", "", []string{"a", "b"}},
		{"sessionId", "", []string{""}},
		{"a;sessionId=b", "a;sessionId=b", nil},
		{"%zz=1&&x", "%zz=1&&x", nil},
	} {
		rest, values := WithoutParam(tc.query, "sessionId")
		if rest != tc.rest || !slices.Equal(values, tc.values) {
			t.Errorf("%q: got %q %q, want %q %q", tc.query, rest, values, tc.rest, tc.values)
		}
	}
	for _, tc := range []struct{ query, other, want string }{
		{"", "", ""},
		{"s=1", "", "s=1"},
		{"", "key=k", "key=k"},
		{"s=1", "key=k&key=l", "s=1&key=k&key=l"},
		{"s=1", "s=2&key=k&%73=3", "s=1&key=k"},
		{"s=1&", "&key=k", "s=1&&key=k"},
	} {
		if got := AddMissing(tc.query, tc.other); got != tc.want {
			t.Errorf("%q and %q: got %q, want %q", tc.query, tc.other, got, tc.want)
		}
	}
}

func FuzzOwnQuery(f *testing.F) {
	f.Add("a=1&sessionId=2", "b=1")
	f.Fuzz(func(t *testing.T, query, other string) {
		rest, _ := WithoutParam(query, "sessionId")
		if values, _ := url.ParseQuery(rest); values.Has("sessionId") {
			t.Errorf("%q is left of %q", rest, query)
		}
		both := AddMissing(query, other)
		if !strings.HasPrefix(both, query) {
			t.Errorf("%q and %q: got %q", query, other, both)
		}
		for pair := range strings.SplitSeq(query, "&") {
			if _, values := WithoutParam(query, paramName(pair)); pair != "" {
				if _, now := WithoutParam(both, paramName(pair)); !slices.Equal(values, now) {
					t.Errorf("%q and %q: %q has %q in %q", query, other, pair, now, both)
				}
			}
		}
	})
}
