package rules

import (
	"slices"
	"strings"

	"github.com/nlnwa/whatwg-url/url"
)

// readings are the ways in which servers may read a URI.
type readings struct {
	// forms are the URIs that a server may see in its place. Each has to pass.
	forms []string
	// decoded are its parts, once for each way to take it apart, without percent-encoding.
	decoded []parts
}

const (
	// maxParts bounds the ways to take a URI apart, and maxForms its forms. An ordinary URI has at
	// most 3 of each. More come from percent-encoding that hides slashes, dots or other
	// percent-encoding.
	maxParts = 8
	maxForms = 32
)

// readURI returns the readings of a URI. Readers differ in how often they decode
// percent-encoding, in whether they decode before they take the URI apart or after, in where
// the path ends, in whether a backslash is a slash, and in whether several slashes are one.
// Some follow RFC 3986 (section 6.2.2), others the URL standard of browsers and Node. It
// returns false for a URI that is encoded too often, that has too many readings, or that has
// control characters, which some readers take for its end.
func readURI(sent string) (r readings, ok bool) {
	text := sent
	for range maxDecodes + 1 {
		if strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			return r, false
		}
		var all []parts
		for _, p := range r.decoded {
			addNew(&all, p.decode())
		}
		for _, p := range takenApart(text) {
			addNew(&all, p)
		}
		r.decoded = all
		for _, p := range all {
			for _, how := range []reading{standard, merged, joined} {
				addNew(&r.forms, p.print(how))
			}
			if len(all) > maxParts || len(r.forms) > maxForms {
				return r, false
			}
		}
		decoded := percentDecode(text)
		if decoded == text {
			return r, true
		}
		text = decoded
	}
	return r, false
}

// equal returns other URIs that some servers find the same resource by. A fragment, for example,
// is not sent to a server (RFC 3986 section 3.5).
func (r readings) equal() []string {
	var all []string
	for _, p := range r.decoded {
		addBare(&all, p)
		if i := strings.IndexByte(p.tail, '#'); i >= 0 {
			p.tail = p.tail[:i]
			addBare(&all, p)
		}
	}
	return all
}

// addBare adds the bare URI.
func addBare(all *[]string, p parts) {
	p = p.bare()
	addNew(all, p.print(standard))
	addNew(all, p.print(merged))
}

// bare returns the URI without the name of a user, and without a port, a query or a fragment that
// is empty. An empty path after a host becomes a slash (RFC 3986 section 6.2.3).
func (p parts) bare() parts {
	if p.authority != "" {
		host := p.authority[2:]
		p.authority = "//" + strings.TrimSuffix(host[strings.LastIndexByte(host, '@')+1:], ":")
		if p.path == "" && p.drive == "" {
			p.path = "/"
		}
	}
	p.tail = strings.TrimSuffix(p.tail, "#")
	if p.tail == "?" {
		p.tail = ""
	}
	return p
}

// files returns what file systems may find for a URI of the scheme file, also without the
// host, which readers of the path do not see.
func (r readings) files() []string {
	var all []string
	for _, p := range r.decoded {
		if p.isFile() {
			addFile(&all, p)
			p.authority = "//"
			addFile(&all, p)
		}
	}
	return all
}

// addFile adds the URI of a file without the query, and with the colon of a drive; also without
// the dots and spaces at the end of a segment, which Windows does not see, and without the slash
// at its end.
func addFile(all *[]string, p parts) {
	p.path, p.tail = strings.ReplaceAll(p.path, "|", ":"), ""
	for _, path := range []string{p.path, trimSegments(p.path)} {
		p.path = path
		addBare(all, p)
		p.path = strings.TrimSuffix(readPath(path, merged), "/")
		addBare(all, p)
	}
}

// isFile reports whether a URI has the path of a file.
func (p parts) isFile() bool {
	return p.scheme == "file:" && p.authority != ""
}

// trimSegments removes the dots and spaces at the end of each segment of a path.
func trimSegments(path string) string {
	if !strings.ContainsAny(path, ". ") {
		return path
	}
	segments := strings.Split(path, "/")
	for i, segment := range segments {
		if trimmed := strings.TrimRight(segment, ". "); trimmed != "" {
			segments[i] = trimmed
		}
	}
	return strings.Join(segments, "/")
}

// addNew adds what is not there yet.
func addNew[T comparable](all *[]T, one T) {
	if !slices.Contains(*all, one) {
		*all = append(*all, one)
	}
}

// uriPattern returns the patterns that stand for a pattern of URIs: forms for the forms of a URI
// and the URIs that are equal to it, and alike for its folded files.
func uriPattern(text string) (forms, alike []string) {
	r, _ := readURI(text)
	files := append(slices.Clone(r.forms), text)
	for _, p := range r.decoded {
		addBare(&r.forms, p)
		if p.isFile() {
			addFile(&files, p)
		}
	}
	for _, file := range files {
		addNew(&alike, foldPattern(file))
	}
	return r.forms, alike
}

// parts are a URI that is taken apart.
type parts struct {
	scheme    string // in lower case, with its colon
	authority string // with its slashes
	drive     string // of a file, with a slash before it; dot segments do not remove it
	path      string
	tail      string // query and fragment
}

// takenApart returns the ways to take a text apart.
func takenApart(text string) []parts {
	var variants []string
	addNew(&variants, text)
	text = strings.Trim(text, " ")
	addNew(&variants, text)
	addNew(&variants, strings.ReplaceAll(text, `\`, "/"))
	var all []parts
	for _, v := range variants {
		for end := pathEnd(v); ; end = len(v) {
			addNew(&all, splitStandard(v[:end], v[end:]))
			if p, ok := splitWeb(v[:end], v[end:]); ok {
				addNew(&all, p)
			}
			if end == len(v) {
				break
			}
		}
	}
	for _, p := range all {
		p.path = strings.ReplaceAll(p.path, `\`, "/")
		addNew(&all, p)
	}
	for _, p := range all {
		if strings.Contains(p.path, "%") {
			path := p.path
			p.path = removeDots(path, false)
			addNew(&all, p)
			p.path = removeEncodedDots(path)
			addNew(&all, p)
		}
	}
	return all
}

// removeEncodedDots removes dot segments as the URL standard does: also those whose dots are
// encoded, but before anything else is decoded, so that an encoded slash ends no segment.
func removeEncodedDots(path string) string {
	segments := strings.Split(path, "/")
	for i, segment := range segments {
		switch dots := strings.ReplaceAll(strings.ReplaceAll(segment, "%2e", "."), "%2E", "."); dots {
		case ".", "..":
			segments[i] = dots
		}
	}
	return removeDots(strings.Join(segments, "/"), false)
}

// pathEnd returns where the path of a URI ends.
func pathEnd(uri string) int {
	if i := strings.IndexAny(uri, "?#"); i >= 0 {
		return i
	}
	return len(uri)
}

// splitStandard takes a URI without its tail apart as RFC 3986 does (section 3).
func splitStandard(uri, tail string) parts {
	scheme, rest := cutScheme(uri)
	p := parts{scheme: scheme, path: rest, tail: tail}
	if after, ok := strings.CutPrefix(rest, "//"); ok && scheme != "" {
		p.authority, p.path = cutSegment(after)
		p.authority = "//" + p.authority
	}
	return p.cleaned()
}

// splitWeb takes a URI without its tail apart as the URL standard does, which browsers, Node
// and the SDKs of MCP follow. It returns false for a scheme that has no rules there, and for a
// host that has part of the tail in it, since there the tail ends a host.
func splitWeb(uri, tail string) (parts, bool) {
	scheme, rest := cutScheme(uri)
	p := parts{scheme: scheme, tail: tail}
	var authority string
	switch {
	case isWeb(scheme):
		authority, p.path = cutSegment(strings.TrimLeft(rest, "/"))
	case scheme == "file:":
		after, ok := strings.CutPrefix(rest, "//")
		if ok {
			authority, p.path = cutSegment(after)
		} else {
			p.path = "/" + strings.TrimPrefix(rest, "/")
		}
		if isDrive(authority) {
			authority, p.path = "", "/"+after
		}
		if first, path := cutSegment(strings.TrimPrefix(p.path, "/")); isDrive(first) {
			p.drive, p.path = "/"+first[:1]+":", path
		}
	default:
		return p, false
	}
	p.authority = "//" + webHost(scheme, authority)
	return p.cleaned(), pathEnd(authority) == len(authority)
}

// webParser reads hosts: names in every script, and addresses in every notation. It also reads
// what cannot be a host, because a server may compare it as a text.
var webParser = url.NewParser(url.WithLaxHostParsing())

// webHost returns the host of an authority as the URL standard has it, with the port unless it
// is that of the scheme. It removes the dot at the end of a name.
func webHost(scheme, authority string) string {
	if authority == "" {
		return ""
	}
	if scheme == "file:" {
		scheme = "http:"
	}
	u, err := webParser.Parse(scheme + "//" + authority)
	if err != nil {
		return authority
	}
	host := strings.TrimSuffix(u.Hostname(), ".")
	if port := u.Port(); port != "" {
		host += ":" + port
	}
	return host
}

// isWeb reports whether a scheme has a host whatever the number of slashes (URL standard,
// "special scheme").
func isWeb(scheme string) bool {
	switch scheme {
	case "http:", "https:", "ws:", "wss:", "ftp:":
		return true
	}
	return false
}

// isDrive reports whether a text is the letter of a drive.
func isDrive(text string) bool {
	return len(text) == 2 && (text[1] == ':' || text[1] == '|') && ('a' <= text[0]|0x20 && text[0]|0x20 <= 'z')
}

// cutSegment cuts a text before its first slash.
func cutSegment(text string) (before, rest string) {
	i := strings.IndexByte(text, '/')
	if i < 0 {
		i = len(text)
	}
	return text[:i], text[i:]
}

// decode returns the parts with percent-encoding decoded once.
func (p parts) decode() parts {
	p.authority, p.path, p.tail = percentDecode(p.authority), percentDecode(p.path), percentDecode(p.tail)
	return p.cleaned()
}

// cleaned returns the parts with the host in lower case, and without one that a file need not
// have (RFC 8089 section 2).
func (p parts) cleaned() parts {
	p.authority = strings.ToLower(p.authority)
	if p.scheme == "file:" && (p.authority == "//localhost" || p.authority == "" && strings.HasPrefix(p.path, "/")) {
		p.authority = "//"
	}
	return p
}

// reading is a way to read dot segments.
type reading int

const (
	standard reading = iota // RFC 3986 section 5.2.4
	merged                  // `//` is one slash, as in file systems
	joined                  // and the host is the first segment, as in servers that cut off the scheme
)

// print returns the URI without dot segments.
func (p parts) print(how reading) string {
	if how == joined && p.authority != "" {
		return p.scheme + "//" + readPath(p.authority[2:]+p.drive+p.path, how) + p.tail
	}
	return p.scheme + p.authority + p.drive + readPath(p.path, how) + p.tail
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
