package command

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// A quoted word is one token of a Caddyfile, with the same text.
func FuzzQuote(f *testing.F) {
	for _, word := range []string{"plain", "", "a b", `"`, "`", "`\"", `\"`, `end\`, "`\\", "{", "#", "<<EOF", "a\nb", "\r", "é\u2028"} {
		f.Add(word)
	}
	f.Fuzz(func(t *testing.T, word string) {
		if !utf8.ValidString(word) || strings.ContainsRune(word, 0) || unquotable(word) {
			return // it is refused
		}
		tokens, err := caddyfile.Tokenize([]byte("before "+Quote(word)+" after\n"), "Caddyfile")
		if err != nil || len(tokens) != 3 || tokens[1].Text != word {
			t.Errorf("%q is written as %s: got %v, %v", word, Quote(word), tokens, err)
		}
	})
}
