package authserver

import (
	"errors"
	"net/url"
	"path"
	"strings"
	"unicode/utf8"
)

// Glob is a pattern of paths. `*` stands for any text within a segment, and as
// the last segment for everything below; case counts.
type Glob struct{ segments []string }

// Reasons why a text is not a glob.
var (
	errGlobSlash = errors.New("must start with a slash, such as /consent")
	errGlobText  = errors.New("must be a plain path, with `*` as a wildcard (no query, escape, placeholder, empty or dot segment)")
)

// ParseGlob parses a pattern of paths, which are unescaped.
func ParseGlob(s string) (Glob, error) {
	if !strings.HasPrefix(s, "/") {
		return Glob{}, errGlobSlash
	}
	if strings.ContainsAny(s, "?#%\\{}[] \t\r\n") || strings.Contains(s, "**") || !plain(s) {
		return Glob{}, errGlobText
	}
	return Glob{strings.Split(s[1:], "/")}, nil
}

// Match reports whether the glob stands for a path.
func (g Glob) Match(p string) bool {
	if len(g.segments) == 0 || !strings.HasPrefix(p, "/") || !plain(p) {
		return false
	}
	rest := p[1:]
	for i, want := range g.segments {
		if want == "*" && i == len(g.segments)-1 {
			return rest != ""
		}
		segment, after, more := strings.Cut(rest, "/")
		if ok, err := path.Match(want, segment); err != nil || !ok || more != (i < len(g.segments)-1) {
			return false
		}
		rest = after
	}
	return true
}

// plain reports whether every server reads a path that starts with a slash in the same way. The
// path must have no empty segment but the last, no dot segment, not even with parameters
// (`..;` is one for Java's servers), no backslash, no control character, only UTF-8, and no
// percent sign that another server could unescape again.
func plain(p string) bool {
	for i := range len(p) {
		if p[i] < ' ' || p[i] == 0x7f || p[i] == '\\' || p[i] == '%' {
			return false
		}
	}
	for rest, more := p[1:], true; more; {
		var segment string
		segment, rest, more = strings.Cut(rest, "/")
		name, _, params := strings.Cut(segment, ";")
		if name == "." || name == ".." || name == "" && (more || params) {
			return false
		}
	}
	return utf8.ValidString(p)
}

// PlainPath returns the path of a request, unescaped. It returns false if other servers may read
// the path otherwise: if it is not plain, or has an escaped slash, backslash or dot.
func PlainPath(u *url.URL) (string, bool) {
	if u.RawPath != "" {
		raw := strings.ToLower(u.RawPath)
		if strings.Contains(raw, "%2f") || strings.Contains(raw, "%5c") || strings.Contains(raw, "%2e") {
			return "", false
		}
	}
	return u.Path, strings.HasPrefix(u.Path, "/") && plain(u.Path)
}
