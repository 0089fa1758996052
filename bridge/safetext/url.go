package safetext

import "strings"

// maxOrigin bounds an origin or a host that is shown, in bytes.
const maxOrigin = 256

// URL returns a URL without userinfo, query and fragment, in any form in which a client may
// take a text for a URL.
func URL(s string) string {
	if i := strings.IndexAny(s, "?#"); i >= 0 {
		s = s[:i]
	}
	if start := authorityStart(s); start >= 0 {
		s = withoutUser(s, start, `/\`)
	}
	if i := strings.Index(s, "://"); i >= 0 {
		s = withoutUser(s, i+len("://"), "/")
	}
	return s
}

// Name returns the name of a tool or prompt, which may be a URL, as [URL] shows one.
func Name(s string) string {
	if strings.ContainsAny(s, ":/") {
		return URL(s)
	}
	return s
}

// withoutUser removes the userinfo of an authority that begins at start.
func withoutUser(s string, start int, ends string) string {
	authority := s[start:]
	if i := strings.IndexAny(authority, ends); i >= 0 {
		authority = authority[:i]
	}
	if i := strings.LastIndexByte(authority, '@'); i >= 0 {
		s = s[:start] + s[start+i+1:]
	}
	return s
}

// authorityStart returns the index where some client may see an authority begin: after a
// scheme and any number of slashes, or after two slashes. It returns -1 if there is none.
func authorityStart(s string) int {
	scheme, rest, ok := strings.Cut(s, ":")
	if !ok || strings.ContainsAny(scheme, `/\`) {
		rest = s
	}
	start := len(s) - len(strings.TrimLeft(rest, `/\`))
	if len(rest) == len(s) && start < 2 {
		return -1
	}
	return start
}

// Origin returns an origin or a host that a client has sent in a form that can be shown:
// without userinfo, path, query and fragment, and of at most about 256 bytes.
func Origin(s string) string {
	if scheme, rest, ok := strings.Cut(s, "://"); ok {
		rest, _, _ = strings.Cut(rest, "/")
		s = scheme + "://" + rest
	}
	s, _, _ = strings.Cut(s, "?")
	s, _, _ = strings.Cut(s, "#")
	if i := strings.LastIndexByte(s, '@'); i >= 0 {
		s = s[i+1:]
	}
	return Cut(strings.ToValidUTF8(s, "\uFFFD"), maxOrigin)
}

// maskPath replaces the segments of a path that look like tokens.
func maskPath(path string) string {
	var b strings.Builder
	for segment := range strings.SplitAfterSeq(path, "/") {
		name := strings.TrimSuffix(segment, "/")
		if strings.HasPrefix(name, "eyJ") || len(name) >= 2*leastToken && strings.ContainsAny(name, "0123456789") {
			segment = redacted + segment[len(name):]
		}
		b.WriteString(segment)
	}
	return b.String()
}
