package rules

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
)

// maxDecodes bounds how often a text may be percent-encoded. One that is encoded more often
// is refused.
const maxDecodes = 4

// lookalikes are letters that look like one of ASCII, by the ASCII letters that they look
// like (Unicode Technical Standard 39, confusables.txt; a part for Greek and Cyrillic). What
// compatibility decomposition maps to ASCII, such as full-width letters, is not listed.
var lookalikes = func() map[rune]rune {
	all := make(map[rune]rune)
	for ascii, others := range map[rune]string{
		'a': "аα", 'b': "вβьЬ", 'c': "сϲ", 'd': "ԁ", 'e': "еєҽε", 'g': "ɡց", 'h': "һнΗη", 'i': "іιΙɩ", 'j': "јϳ",
		'k': "кκ", 'l': "ӏ", 'm': "мΜ", 'n': "ոпΝ", 'o': "оοσօ", 'p': "рρ", 'q': "ԛ", 'r': "гᴦ", 's': "ѕ",
		't': "тτ", 'u': "υս", 'v': "νѵ", 'w': "ԝωѡ", 'x': "хχ", 'y': "уγүΥ", 'z': "ζᴢ",
		'-': "‐‑‒–—―−", '_': "＿‗", '/': "∕⁄", '.': "․", ':': "։∶",
	} {
		for _, r := range others {
			all[r] = ascii
		}
	}
	return all
}()

// fold returns a name in the form in which names are equal that a reader may take for each
// other: percent-decoded, in lower case, without accents, spaces and characters that are not
// seen, with letters of ASCII for those that look like them.
func fold(name string) string {
	name = decodeAll(name)
	if plain(name) {
		return name
	}
	if ascii, ok := foldASCII(name); ok {
		return ascii
	}
	return foldAny(name)
}

// foldASCII is [foldAny] for a name that has only characters of ASCII. It returns false for
// others.
func foldASCII(name string) (string, bool) {
	b := make([]byte, 0, len(name))
	for i := range len(name) {
		switch c := name[i]; {
		case c >= utf8.RuneSelf:
			return "", false
		case c <= ' ' || c == 0x7f:
		case 'A' <= c && c <= 'Z':
			b = append(b, c+'a'-'A')
		default:
			b = append(b, c)
		}
	}
	return string(b), true
}

// foldAny is [fold] for a decoded name.
func foldAny(name string) string {
	// What looks like a letter is mapped before it is taken apart, too: the parts of U+2017,
	// which looks like a low line, are a space and an accent.
	name = strings.Map(func(r rune) rune {
		if ascii, ok := lookalikes[r]; ok {
			return ascii
		}
		return r
	}, strings.ToValidUTF8(name, "\ufffd"))
	var b strings.Builder
	for _, r := range norm.NFKD.String(name) {
		switch {
		case r < utf8.RuneSelf:
			if ' ' < r && r < 0x7f {
				b.WriteByte(byte(unicode.ToLower(r)))
			}
			continue
		case unicode.In(r, unicode.Mn, unicode.Me, unicode.Cf, unicode.Cc, unicode.Z, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector):
			continue
		}
		if ascii, ok := lookalikes[r]; ok { // before its lower case, which may look like another
			b.WriteRune(ascii)
			continue
		}
		for _, lower := range message.FoldName([]byte(string(r))) {
			if ascii, ok := lookalikes[lower]; ok {
				lower = ascii
			}
			b.WriteRune(lower)
		}
	}
	return b.String()
}

// plain reports whether [fold] leaves a decoded name as it is.
func plain(name string) bool {
	for i := range len(name) {
		if c := name[i]; c <= ' ' || c >= 0x7f || 'A' <= c && c <= 'Z' {
			return false
		}
	}
	return true
}

// foldPattern folds a pattern between its wildcards.
func foldPattern(text string) string {
	parts := strings.Split(text, wildcard)
	for i, part := range parts {
		parts[i] = fold(part)
	}
	return strings.Join(parts, wildcard)
}

// decodeAll decodes percent-encoding until nothing of it is left, at most maxDecodes times.
func decodeAll(text string) string {
	for range maxDecodes {
		decoded := percentDecode(text)
		if decoded == text {
			break
		}
		text = decoded
	}
	return text
}

// percentDecode decodes each percent-encoded byte once. What is no such encoding stays.
func percentDecode(s string) string {
	i := strings.IndexByte(s, '%')
	if i < 0 {
		return s
	}
	var b strings.Builder
	b.WriteString(s[:i])
	for ; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			high, low := hex(s[i+1]), hex(s[i+2])
			if high >= 0 && low >= 0 {
				b.WriteByte(byte(high<<4 | low))
				i += 2
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// hex returns the value of a hexadecimal digit, or -1.
func hex(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c && c <= 'f':
		return int(c-'a') + 10
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}
