// Package doctortest has what the tests of several packages of the doctor need.
package doctortest

import (
	"testing"
	"unicode"
	"unicode/utf8"
)

// HostileText turns the screen of a terminal over, its title, its clipboard, and
// the direction of writing.
const HostileText = "\x1b[2J\x1b]0;owned\x07\x1b]52;c;ZXZpbA==\x07\u009b31m\u202e\u2066\u200b\xff\xfe\x00\x7f"

// CheckPlain fails a test if a text can do something to a terminal.
func CheckPlain(t testing.TB, text string) {
	t.Helper()
	if !utf8.ValidString(text) {
		t.Fatalf("no UTF-8: %q", text)
	}
	for i, r := range text {
		if r != '\n' && !unicode.IsPrint(r) {
			t.Fatalf("%q at %d in\n%q", r, i, text)
		}
	}
}
