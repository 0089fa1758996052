package origin

import "strings"

// MapText replaces the origin of each URL in a text for which own returns true. Other text stays.
// The text may be a single URL, or prose with URLs in it.
func MapText(text, public string, own func(URL) bool) (string, bool) {
	var out strings.Builder
	changed := false
	rest := text
	for {
		at := strings.Index(rest, "://")
		if at < 0 {
			break
		}
		start := at - schemeLength(rest[:at])
		end := at + len("://")
		for end < len(rest) && !endsAuthority(rest[end]) {
			end++
		}
		authority := strings.TrimRight(rest[start:end], ".,:!")
		if u, err := Parse(authority); err == nil && own(u) {
			out.WriteString(rest[:start])
			out.WriteString(public)
			rest, changed = rest[start+len(authority):], true
			continue
		}
		out.WriteString(rest[:end])
		rest = rest[end:]
	}
	if !changed {
		return text, false
	}
	out.WriteString(rest)
	return out.String(), true
}

// schemeLength returns the length of http or https at the end of a text, or 0.
func schemeLength(s string) int {
	for _, scheme := range []string{"https", "http"} {
		if len(s) >= len(scheme) && strings.EqualFold(s[len(s)-len(scheme):], scheme) {
			return len(scheme)
		}
	}
	return 0
}

// endsAuthority reports whether a byte ends the authority of a URL, or the URL in prose.
func endsAuthority(c byte) bool {
	return c <= ' ' || c == 0x7f || strings.IndexByte("/?#\\\"'`<>(){}|^,;", c) >= 0
}
