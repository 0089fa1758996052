package mcp

import "testing"

// A name for Mcp-Name or Mcp-Param-* reads as what it was written from.
func FuzzField(f *testing.F) {
	for _, s := range []string{"", "a", " a", "a\t", "grüße", "=?base64?x?=", "=?base64?=", "\x00", "a\nb"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		field := EncodeField(s)
		for i := range len(field) {
			if c := field[i]; c != '\t' && (c < ' ' || c > '~') {
				t.Fatalf("%q is written as %q", s, field)
			}
		}
		if got, ok := DecodeField(field); !ok || got != s {
			t.Errorf("%q reads as %q", field, got)
		}
		_, _ = DecodeField(s)
	})
}
