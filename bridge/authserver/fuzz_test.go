package authserver

import (
	"net/http"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// pair is a parameter, or a cookie.
type pair struct{ name, value string }

// parsePairs reads a query or a form with the standard library, one part between
// ampersands at a time; a part without a pair has an empty list. A semicolon
// does not separate: the standard library takes it for an error, browsers and
// most servers for a part of a value.
func parsePairs(s string) [][]pair {
	var list [][]pair
	for _, part := range strings.Split(s, "&") {
		values, _ := url.ParseQuery(strings.ReplaceAll(part, ";", "%3B"))
		var pairs []pair
		for name, value := range values {
			pairs = append(pairs, pair{name, value[0]})
		}
		list = append(list, pairs)
	}
	return list
}

// Rule C5: resource and iss are mapped on exact equality, and nothing else of a
// query or a form changes.
func FuzzEdit(f *testing.F) {
	for _, tc := range editCases {
		f.Add(tc.in, "resource", publicMCP, upstreamMCP)
	}
	for _, tc := range unedited {
		f.Add(tc.in, "resource", publicMCP, upstreamMCP)
	}
	f.Add("iss=a&iss=b&iss", "iss", "", "c;d&e=f#+ \x00\xff")
	f.Add("a+b=c+d&a%20b=c%20d", "a b", "c d", "c d")
	f.Add("resource&&resource", "resource", "", "x")
	f.Fuzz(func(t *testing.T, in, name, from, to string) {
		if name == "" {
			return // names are ours
		}
		want := parsePairs(in)
		edits, first := 0, pair{}
		for _, pairs := range want {
			for i, p := range pairs {
				if p.name == name && first.name == "" {
					first = p
				}
				if p == (pair{name, from}) {
					pairs[i].value = to
					edits++
				}
			}
		}
		if got, ok := param(in, name); got != first.value || ok != (first.name != "") {
			t.Fatalf("param(%q, %q) = %q, %t; want %q", in, name, got, ok, first.value)
		}
		out, changed := editParam(in, name, replace(from, to))
		if changed != (edits > 0) {
			t.Fatalf("editParam(%q, %q) = %q, %t; want %d edits", in, name, out, changed, edits)
		}
		if !changed && out != in {
			t.Fatalf("editParam(%q, %q) = %q, but says that it changed nothing", in, name, out)
		}
		got := parsePairs(out)
		if !slices.EqualFunc(got, want, slices.Equal) {
			t.Fatalf("editParam(%q, %q) = %q, which is %q; want %q", in, name, out, got, want)
		}
		if !strings.Contains(in, ";") && strings.Count(in, "&") < 1000 {
			before, errBefore := url.ParseQuery(in)
			after, errAfter := url.ParseQuery(out)
			for i, value := range before[name] {
				if value == from {
					before[name][i] = to
				}
			}
			if before.Encode() != after.Encode() || (errBefore == nil) != (errAfter == nil) {
				t.Fatalf("editParam(%q, %q) = %q, which is %v, %v; want %v, %v", in, name, out, after, errAfter, before, errBefore)
			}
		}

		// Every byte but those of the values stays.
		partsIn, partsOut := strings.Split(in, "&"), strings.Split(out, "&")
		for i, part := range partsIn {
			if pairs := parsePairs(part)[0]; len(pairs) == 1 && pairs[0] == (pair{name, from}) {
				key, _, _ := strings.Cut(part, "=")
				part = key + "=" + url.QueryEscape(to)
			}
			if partsOut[i] != part {
				t.Fatalf("editParam(%q, %q) = %q; part %d must be %q", in, name, out, i, part)
			}
		}
		if again, changed := editParam(out, name, replace(from, to)); from != to && (changed || again != out) {
			t.Fatalf("editParam(%q, %q) = %q a second time", out, name, again)
		}
	})
}

// Query takes a reference apart as net/url does, and no byte gets lost.
func FuzzQuery(f *testing.F) {
	for _, tc := range queryCases {
		f.Add(tc.in)
	}
	f.Fuzz(func(t *testing.T, ref string) {
		before, query, after := splitQuery(ref)
		if before+query+after != ref {
			t.Fatalf("splitQuery(%q) = %q, %q, %q", ref, before, query, after)
		}
		if strings.Contains(before+query, "#") || strings.Contains(strings.TrimSuffix(before, "?"), "?") || query != "" && !strings.HasSuffix(before, "?") || after != "" && after[0] != '#' {
			t.Fatalf("splitQuery(%q) = %q, %q, %q", ref, before, query, after)
		}
		if u, err := url.Parse(ref); err == nil && u.RawQuery != query {
			t.Fatalf("splitQuery(%q) has %q; net/url has %q", ref, query, u.RawQuery)
		}
	})
}

// lower is ASCII's alone, as a browser compares bytes.
func lower(s string) string {
	b := []byte(s)
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] += 'a' - 'A'
		}
	}
	return string(b)
}

// prefixOf returns the prefix by which a browser guards a name.
func prefixOf(name string) string {
	longest := 0
	for _, p := range []string{"__host-", "__secure-", "__http-", "__host-http-"} {
		if strings.HasPrefix(lower(name), p) {
			longest = max(longest, len(p))
		}
	}
	return name[:longest]
}

// serversName returns the name that the server gave to what is called name in
// the browser: the mark begins it, but for a prefix, without which the server
// does not see one either.
func serversName(name string) (string, bool) {
	prefix := prefixOf(name)
	rest := name[len(prefix):]
	if !strings.HasPrefix(rest, "mcp_as.") {
		return "", false
	}
	own := prefix + rest[len("mcp_as."):]
	return own, own != "" && own == strings.TrimSpace(own) && prefixOf(own) == prefix
}

// white is what a browser trims.
const white = " \t"

// parseSetCookie does what RFC 6265bis section 5.6 says, but for the values of
// attributes and for limits.
func parseSetCookie(line string) (cookie pair, attributes []string, ignored bool) {
	ignored = strings.ContainsFunc(line, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f })
	parts := strings.Split(line, ";")
	if i := strings.Index(parts[0], "="); i >= 0 {
		cookie = pair{strings.Trim(parts[0][:i], white), strings.Trim(parts[0][i+1:], white)}
	} else {
		cookie = pair{"", strings.Trim(parts[0], white)}
	}
	return cookie, parts[1:], ignored
}

// attributeName is that of an attribute as a client sees it that trims more
// than a browser does.
func attributeName(attribute string) string {
	return lower(strings.TrimSpace(strings.Split(attribute, "=")[0]))
}

// parseCookies reads the lines as a server does that is lenient.
func parseCookies(lines []string) []pair {
	var list []pair
	for _, part := range strings.Split(strings.Join(lines, ";"), ";") {
		if name, value, ok := strings.Cut(part, "="); ok {
			list = append(list, pair{strings.TrimSpace(name), strings.Trim(value, white)})
		}
	}
	return list
}

// Rule C5: only cookies that the server set go to it, and a cookie that it sets
// is the public host's alone. Each line of request and response is one field
// line.
func FuzzCookies(f *testing.F) {
	for _, tc := range requestCases {
		f.Add(strings.Join(tc.in, "\n"), "")
	}
	for _, tc := range foreignCookies {
		f.Add("mcp_as.x=1; "+tc.in+"\n"+tc.in, tc.in+"; Domain=a")
	}
	for _, tc := range responseCases {
		f.Add("", strings.Join(tc.in, "\n"))
	}
	for _, tc := range nameCases {
		f.Add(tc.browser+"=1;"+tc.server+"=2", tc.server+"=1; \tdomain\t=a")
	}
	f.Fuzz(func(t *testing.T, request, response string) {
		checkRequest(t, strings.Split(request, "\n"))
		checkResponse(t, strings.Split(response, "\n"))
	})
}

func checkRequest(t *testing.T, lines []string) {
	t.Helper()
	h := http.Header{"Cookie": slices.Clone(lines)}
	requestCookies(h)
	var want []pair
	for _, line := range lines {
		for _, part := range strings.Split(line, ";") {
			name, value, ok := strings.Cut(strings.Trim(part, white), "=")
			if own, isOwn := serversName(name); ok && isOwn {
				want = append(want, pair{own, strings.Trim(value, white)})
			}
		}
	}
	if got := parseCookies(h["Cookie"]); !slices.Equal(got, want) {
		t.Fatalf("%q became %q; want %q", lines, h["Cookie"], want)
	}
	if len(h) != min(len(want), 1) || len(h["Cookie"]) > 1 {
		t.Fatalf("%q became %q; want one line", lines, h)
	}
}

func checkResponse(t *testing.T, lines []string) {
	t.Helper()
	h := http.Header{"Set-Cookie": slices.Clone(lines)}
	responseCookies(h)
	out := h["Set-Cookie"]
	if len(h) != min(len(out), 1) {
		t.Fatalf("%q became %q", lines, h)
	}
	var sent []string
	var returned []pair
	next := 0
	for _, line := range lines {
		was, attributes, _ := parseSetCookie(line)
		if was.name == "" {
			continue
		}
		if next == len(out) {
			t.Fatalf("%q became %q; %q is missing", lines, out, line)
		}
		is, left, ignored := parseSetCookie(out[next])
		next++
		if prefix := prefixOf(was.name); is.name != prefix+"mcp_as."+was.name[len(prefix):] || is.value != was.value {
			t.Fatalf("%q became %q", line, is)
		}
		attributes = slices.DeleteFunc(attributes, func(a string) bool { return attributeName(a) == "domain" })
		if !slices.Equal(left, attributes) {
			t.Fatalf("%q has attributes %q; want %q", line, left, attributes)
		}
		if cookies := (&http.Response{Header: http.Header{"Set-Cookie": {out[next-1]}}}).Cookies(); len(cookies) > 0 && cookies[0].Domain != "" {
			t.Fatalf("%q has domain %q", out[next-1], cookies[0].Domain)
		}
		// A name with other white space at an end is one that requestCookies
		// cannot tell from an attack, and no server's.
		if !ignored && strings.TrimSpace(was.name) == was.name {
			sent, returned = append(sent, is.name+"="+is.value), append(returned, was)
		}
	}
	if next != len(out) {
		t.Fatalf("%q became %q; want %d lines", lines, out, next)
	}

	// The browser sends back what it got, among other cookies.
	h = http.Header{"Cookie": {strings.Join(append(sent, "mcp_as=x", "sid=y"), "; ")}}
	requestCookies(h)
	if got := parseCookies(h["Cookie"]); !slices.Equal(got, returned) {
		t.Fatalf("after %q the server gets %q; want %q", out, got, returned)
	}
}

// A plain path by its grammar: segments that neither are nor become, without
// what follows a semicolon, empty or dots.
var plainGrammar = func() *regexp.Regexp {
	const (
		other = `[^/\\%\x00-\x1f\x7f]`
		text  = `[^;/\\%\x00-\x1f\x7f]`
		rest  = `[^.;/\\%\x00-\x1f\x7f]`
		name  = `(?:` + rest + text + `*|\.` + rest + text + `*|\.\.` + text + `+)`
	)
	return regexp.MustCompile(`^(?:/|(?:/` + name + `(?:;` + other + `*)?)+/?)$`)
}()

// isPlain is plain's oracle.
func isPlain(p string) bool { return plainGrammar.MatchString(p) && utf8.ValidString(p) }

// params are what Java's servers cut off a segment.
var params = regexp.MustCompile(`;[^/]*`)

// unescapeAll unescapes until nothing is left to.
func unescapeAll(s string) string {
	for {
		u, err := url.PathUnescape(s)
		if err != nil || u == s {
			return s
		}
		s = u
	}
}

// views are what one server or another makes of a path.
func views(p string) []string {
	var list []string
	for _, s := range []string{p, unescapeAll(p)} {
		for _, s := range []string{s, strings.ReplaceAll(s, `\`, "/")} {
			before, _, _ := strings.Cut(s, "\x00")
			list = append(list, s, before, params.ReplaceAllString(s, ""), strings.ToValidUTF8(s, "."), strings.ToValidUTF8(s, "/"))
		}
	}
	return list
}

// checkPlain fails if a path is one that some server cleans.
func checkPlain(t *testing.T, p string) {
	t.Helper()
	for _, v := range views(p) {
		if clean := path.Clean(v); v != clean && v != clean+"/" {
			t.Fatalf("%q passes as plain; %q is %q to some server", p, v, clean)
		}
		if segments := strings.Count(v, "/"); segments != strings.Count(p, "/") {
			t.Fatalf("%q passes as plain; it has %d segments as %q", p, segments, v)
		}
	}
}

// Rule C5: a path is compared with the routes only if every server understands
// the same of it. The second text is a raw path as some middleware may leave it.
func FuzzPlainPath(f *testing.F) {
	for _, target := range hostilePaths {
		f.Add(target, "/a")
		f.Add("/%61"+target, target)
	}
	for _, tc := range plainTargets {
		f.Add(tc.target, "/a%2fb")
		f.Add(tc.want, tc.target)
	}
	f.Fuzz(func(t *testing.T, target, raw string) {
		urls := []*url.URL{{Path: target}, {Path: target, RawPath: raw}}
		if u, err := url.ParseRequestURI(target); err == nil {
			urls = append(urls, u)
		}
		for _, u := range urls {
			escaped := lower(u.RawPath)
			want := isPlain(u.Path) && !strings.Contains(escaped, "%2f") && !strings.Contains(escaped, "%5c") && !strings.Contains(escaped, "%2e")
			got, ok := PlainPath(u)
			if ok != want {
				t.Fatalf("PlainPath(%+v) = %q, %t; want %t", u, got, ok, want)
			}
			if !ok {
				continue
			}
			checkPlain(t, got)
			// What goes over the wire is that path, before and after it is
			// unescaped.
			wire := u.EscapedPath()
			if sent, err := url.PathUnescape(wire); err != nil || sent != got || got != u.Path {
				t.Fatalf("PlainPath(%+v) = %q; %q is sent", u, got, wire)
			}
			checkPlain(t, wire)
		}
	})
}

// globPattern is a glob as a regular expression.
func globPattern(glob string) *regexp.Regexp {
	segments := strings.Split(glob, "/")
	for i, s := range segments {
		if s == "*" && i == len(segments)-1 {
			segments[i] = `.+`
			continue
		}
		texts := strings.Split(s, "*")
		for j, text := range texts {
			texts[j] = regexp.QuoteMeta(text)
		}
		segments[i] = strings.Join(texts, `[^/]*`)
	}
	return regexp.MustCompile(`(?s)^` + strings.Join(segments, "/") + `$`)
}

// Rule C5: `paths` opens what it names and nothing else.
func FuzzGlob(f *testing.F) {
	for _, tc := range globCases {
		for _, p := range slices.Concat(tc.yes, tc.none) {
			f.Add(tc.glob, p)
		}
	}
	for _, tc := range badGlobs {
		f.Add(tc.in, tc.in)
	}
	for _, target := range hostilePaths {
		f.Add("/static/*", unescapeAll(target))
		f.Add(target, target)
	}
	f.Fuzz(func(t *testing.T, glob, p string) {
		g, err := ParseGlob(glob)
		if want := isPlain(glob) && !strings.ContainsAny(glob, "?#{}[] ") && !strings.Contains(glob, "**"); (err == nil) != want {
			t.Fatalf("ParseGlob(%q): %v", glob, err)
		}
		got := g.Match(p)
		if err != nil {
			if got {
				t.Fatalf("the glob of %q, which is none, matches %q", glob, p)
			}
			return
		}
		if want := isPlain(p) && globPattern(glob).MatchString(p); got != want {
			t.Fatalf("match of %q and %q is %t; want %t", glob, p, got, want)
		}
		if got {
			checkPlain(t, p)
		}
		if !strings.Contains(glob, "*") && got != (p == glob) {
			t.Fatalf("match of %q and %q is %t", glob, p, got)
		}
		if !g.Match(glob) {
			t.Fatalf("%q does not match itself", glob)
		}
	})
}
