package safetext

import (
	"strings"
	"unicode/utf8"
)

// redacted replaces a secret.
const redacted = "[redacted]"

// MaxLine bounds a line or a text that is shown, in bytes.
const MaxLine = 1 << 10

// leastToken is the number of bytes from which a word may be a token.
const leastToken = 20

// Cut returns at most limit bytes of a text, and "..." if it was longer.
func Cut(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	for limit > 0 && !utf8.RuneStart(text[limit]) {
		limit--
	}
	return text[:limit] + "..."
}

// separators end a word of a text.
const separators = " \t\r\n,;\"'()<>[]{}="

// Masked returns a text from an untrusted source with each word replaced that looks like a
// secret, and with URLs as [URL] returns them.
func Masked(s string) string { return maskWords(s, maskWord) }

// maskWords returns a text with mask applied to each word.
func maskWords(s string, mask func(w string) string) string {
	var b strings.Builder
	for len(s) > 0 {
		end := strings.IndexAny(s, separators)
		if at := strings.Index(s, "://"); at >= 0 && (end < 0 || at < end) {
			// The query of a URL may contain separators.
			end = strings.IndexAny(s, " \t\r\n\"<>")
		}
		switch {
		case end < 0:
			end = len(s)
		case end == 0:
			b.WriteByte(s[0])
			s = s[1:]
			continue
		}
		b.WriteString(mask(s[:end]))
		s = s[end:]
	}
	return b.String()
}

func maskWord(w string) string {
	if strings.Contains(w, "://") {
		w = URL(w)
		if scheme, rest, ok := strings.Cut(w, "://"); ok {
			host, _, _ := strings.Cut(rest, "/")
			return scheme + "://" + host + maskPath(rest[len(host):])
		}
	}
	if strings.HasPrefix(w, "eyJ") || len(w) >= leastToken && strings.ContainsAny(w, "0123456789") && strings.ContainsAny(strings.ToLower(w), "abcdefghijklmnopqrstuvwxyz") {
		return redacted
	}
	return w
}
