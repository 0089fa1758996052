package rules

import (
	"slices"
	"strings"
)

// uriForms returns what readers may make of a URI: percent-encoding decoded once and more
// often, scheme and host in lower case, dot segments removed (RFC 3986 section 6.2.2). The
// forms differ only where readers do: in how often they decode, in where the path ends, in
// whether a backslash is a slash, and in whether several slashes are one. It returns
// false for a URI that is encoded too often, or that has control characters, which some
// readers take for its end.
func uriForms(sent string) (forms []string, ok bool) {
	add := func(form string) {
		if !slices.Contains(forms, form) {
			forms = append(forms, form)
		}
	}
	path := pathEnd(sent)
	head, tail := sent[:path], sent[path:]
	for range maxDecodes + 1 {
		text := head + tail
		if strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			return nil, false
		}
		variants := []string{text}
		if strings.Contains(text, `\`) {
			variants = append(variants, strings.ReplaceAll(text, `\`, "/"))
		}
		for _, v := range variants {
			for _, end := range []int{len(head), pathEnd(v), len(v)} {
				for _, how := range []reading{standard, merged, joined} {
					add(normalize(v[:end], how) + v[end:])
				}
			}
		}
		nextHead, nextTail := percentDecode(head), percentDecode(tail)
		if nextHead == head && nextTail == tail {
			return forms, true
		}
		head, tail = nextHead, nextTail
	}
	return nil, false
}

// normalizePattern returns the forms of a pattern that are compared with the forms of a URI.
func normalizePattern(text string) []string {
	text = decodeAll(text)
	end := pathEnd(text)
	forms := []string{normalize(text[:end], standard) + text[end:]}
	if one := normalize(text[:end], merged) + text[end:]; one != forms[0] {
		forms = append(forms, one)
	}
	return forms
}

// pathEnd returns where the path of a URI ends.
func pathEnd(uri string) int {
	if i := strings.IndexAny(uri, "?#"); i >= 0 {
		return i
	}
	return len(uri)
}

// reading is a way to read dot segments.
type reading int

const (
	standard reading = iota // RFC 3986 section 5.2.4
	merged                  // `//` is one slash, as in file systems
	joined                  // and the host is the first segment, as in servers that cut off the scheme
)

// normalize returns a URI without query and fragment, with its scheme and host in lower case
// and without dot segments.
func normalize(uri string, how reading) string {
	scheme, rest := cutScheme(uri)
	after, ok := strings.CutPrefix(rest, "//")
	if !ok || scheme == "" {
		if scheme == "file:" && strings.HasPrefix(rest, "/") { // RFC 8089 section 2
			scheme = "file://"
		}
		return scheme + readPath(rest, how)
	}
	i := strings.IndexByte(after, '/')
	if i < 0 {
		i = len(after)
	}
	host, path := strings.ToLower(after[:i]), after[i:]
	if scheme == "file:" && host == "localhost" { // the same section
		host = ""
	}
	if how == joined {
		return scheme + "//" + readPath(host+path, how)
	}
	return scheme + "//" + host + readPath(path, how)
}

// readPath returns a path without dot segments, and with one slash for several unless the
// reading is that of the standard.
func readPath(path string, how reading) string {
	path = removeDots(path, how != standard)
	for how != standard && strings.Contains(path, "//") {
		path = strings.ReplaceAll(path, "//", "/")
	}
	return path
}

// cutScheme returns the scheme in lower case, with its colon, and the rest.
func cutScheme(uri string) (scheme, rest string) {
	for i := range len(uri) {
		c := uri[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z':
		case i > 0 && ('0' <= c && c <= '9' || c == '+' || c == '-' || c == '.'):
		case i > 0 && c == ':':
			return strings.ToLower(uri[:i+1]), uri[i+1:]
		default:
			return "", uri
		}
	}
	return "", uri
}

// removeDots removes the segments `.` and `..` of a path (RFC 3986 section 5.2.4). A path
// that begins without a slash has no segment before its first.
func removeDots(path string, merge bool) string {
	if !strings.Contains(path, ".") {
		return path
	}
	segments := strings.Split(path, "/")
	if !slices.Contains(segments, ".") && !slices.Contains(segments, "..") {
		return path
	}
	rooted := segments[0] == ""
	out := make([]string, 0, len(segments))
	for i, segment := range segments {
		last := i == len(segments)-1
		switch segment {
		case ".":
		case "..":
			for merge && len(out) > 0 && out[len(out)-1] == "" && !(rooted && len(out) == 1) {
				out = out[:len(out)-1]
			}
			if n := len(out); n > 1 || n == 1 && !rooted {
				out = out[:n-1]
			}
		default:
			out = append(out, segment)
			continue
		}
		if last {
			out = append(out, "")
		}
	}
	return strings.Join(out, "/")
}
