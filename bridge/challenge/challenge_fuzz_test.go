package challenge

import (
	"regexp"
	"slices"
	"strings"
	"testing"
)

// What RFC 9110 section 11 allows at the begin of what is left of a line: an
// element of the list with the comma behind it. The parts are those of the
// specification, and nothing of the parser's.
var (
	strictToken  = "[!#$%&'*+\\-.^_`|~0-9A-Za-z]+"
	strictQuoted = `"(?:[^"\\\x00-\x08\x0a-\x1f\x7f]|\\[^\x00-\x08\x0a-\x1f\x7f])*"`
	strictEmpty  = regexp.MustCompile(`^[ \t]*(?:,|$)`)
	strictScheme = regexp.MustCompile(`^[ \t]*(` + strictToken + `)[ \t]*(?:,|$)`)
	strictData   = regexp.MustCompile(`^[ \t]*(` + strictToken + `) +([-._~+/0-9A-Za-z]+=*)[ \t]*(?:,|$)`)
	strictParam  = regexp.MustCompile(`^[ \t]*(?:(` + strictToken + `) +)?(` + strictToken + `)[ \t]*=[ \t]*(` + strictToken + `|` + strictQuoted + `)[ \t]*(?:,|$)`)
	strictPair   = regexp.MustCompile(`(?s)\\(.)`)
	emptyParam   = regexp.MustCompile(`^(` + strictToken + `)=$`)
	paramSchemes = regexp.MustCompile(`^(?i:bearer|dpop|basic|digest)$`)
)

// strict reads a line by the grammar of RFC 9110 alone, and reports whether it
// follows it.
func strict(s string) ([]Challenge, bool) {
	var out []Challenge
	for s != "" {
		var m []string
		if m = strictEmpty.FindStringSubmatch(s); m != nil {
			s = s[len(m[0]):]
		} else if m = strictScheme.FindStringSubmatch(s); m != nil {
			s = s[len(m[0]):]
			out = append(out, Challenge{Scheme: m[1]})
		} else if m = strictParam.FindStringSubmatch(s); m != nil {
			s = s[len(m[0]):]
			if m[1] != "" {
				out = append(out, Challenge{Scheme: m[1]})
			}
			if len(out) == 0 || out[len(out)-1].Token68 != "" {
				return nil, false
			}
			p := Param{Name: m[2], Value: m[3], Quoted: m[3][0] == '"'}
			if p.Quoted {
				p.Value = strictPair.ReplaceAllString(m[3][1:len(m[3])-1], "$1")
			}
			out[len(out)-1].Params = append(out[len(out)-1].Params, p)
		} else if m = strictData.FindStringSubmatch(s); m != nil {
			s = s[len(m[0]):]
			c := Challenge{Scheme: m[1], Token68: m[2]}
			if e := emptyParam.FindStringSubmatch(m[2]); e != nil && paramSchemes.MatchString(m[1]) {
				c = Challenge{Scheme: m[1], Params: []Param{{Name: e[1]}}}
			}
			out = append(out, c)
		} else {
			return nil, false
		}
	}
	return out, true
}

func TestStrict(t *testing.T) {
	for _, tc := range parseCases {
		got, ok := strict(tc.in)
		switch {
		case strings.HasPrefix(tc.name, "rfc") && !ok:
			t.Errorf("strict(%s): got nothing, want a reading", short(tc.in))
		case ok && tc.err == nil && show(got) != show(Parse(tc.in).Challenges()):
			t.Errorf("strict(%s): got %s, want %s", short(tc.in), short(show(got)), short(show(Parse(tc.in).Challenges())))
		}
	}
}

// seeds returns the lines of the tables, but for those at the bounds.
func seeds() []string {
	var out []string
	for _, tc := range parseCases {
		out = append(out, tc.in)
	}
	for _, tc := range editCases {
		out = append(out, lines(tc.in)...)
	}
	return slices.DeleteFunc(out, func(s string) bool { return len(s) > 500 })
}

// A line reads the same as by the grammar, where it follows that; every span
// lies in the line, in order, and holds what it is said to hold.
func FuzzParse(f *testing.F) {
	for _, s := range seeds() {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		l, work := parse(s)
		if got := l.String(); got != s {
			t.Fatalf("got %q, want %q", got, s)
		}
		if most := looks * (len(s) + 1); work > most {
			t.Errorf("%q: got %d bytes looked at, want at most %d", s, work, most)
		}
		pos := 0
		for _, c := range l.Challenges() {
			if c.Scheme == "" || c.schemeEnd < pos+len(c.Scheme) || c.end < c.schemeEnd || c.end > len(s) {
				t.Fatalf("%q: got challenge %q in %d to %d, after %d", s, c.Scheme, c.schemeEnd, c.end, pos)
			}
			if got := s[c.schemeEnd-len(c.Scheme) : c.schemeEnd]; got != c.Scheme {
				t.Errorf("%q: got scheme %q, want %q", s, c.Scheme, got)
			}
			pos = c.schemeEnd
			for _, p := range c.Params {
				if p.Name == "" || p.start < pos+len(p.Name) || p.end < p.start || p.end > c.end {
					t.Fatalf("%q: got parameter %q in %d to %d, after %d, of a challenge that ends at %d", s, p.Name, p.start, p.end, pos, c.end)
				}
				if got := strings.TrimRight(s[pos:p.start], ows); !strings.HasSuffix(strings.TrimRight(got[:max(0, len(got)-1)], ows), p.Name) || !strings.HasSuffix(got, "=") {
					t.Errorf("%q: got %q before a value, want it to end in %q and an equals sign", s, got, p.Name)
				}
				got := s[p.start:p.end]
				if p.Quoted {
					got = strictPair.ReplaceAllString(got[1:len(got)-1], "$1")
				}
				if got != p.Value {
					t.Errorf("%q: got value %q, want %q", s, p.Value, got)
				}
				pos = p.end
			}
			pos = c.end
		}
		if want, ok := strict(s); ok && !bounded(l) {
			if got, want := show(l.Challenges()), show(want); got != want || l.Err() != nil {
				t.Errorf("%q follows the grammar: got %s, %v, want %s", s, got, l.Err(), want)
			}
		}
	})
}

// bounded reports whether a line exceeds a bound.
func bounded(l Line) bool {
	return slices.Contains([]error{ErrTooLong, ErrTooManyChallenges, ErrTooManyParams}, l.Err())
}

// mapped returns the challenges of a line with each metadata URL in quotes and
// equal to url, and without the last parameter added to the challenge at index
// added.
func mapped(l Line, url string) string {
	challenges := slices.Clone(l.Challenges())
	for i, c := range challenges {
		challenges[i].Params = slices.Clone(c.Params)
		for j, p := range c.Params {
			if strings.EqualFold(p.Name, "resource_metadata") {
				challenges[i].Params[j].Value, challenges[i].Params[j].Quoted = url, true
			}
		}
	}
	return show(challenges)
}

// without returns a line without its metadata URLs.
func without(l Line) string {
	var b strings.Builder
	pos := 0
	for _, c := range l.Challenges() {
		for _, p := range c.Params {
			if strings.EqualFold(p.Name, "resource_metadata") {
				b.WriteString(l.String()[pos:p.start])
				pos = p.end
			}
		}
	}
	return b.String() + l.String()[pos:]
}

// controls returns the control characters of lines in order, but for the tabs,
// of which a value that is replaced may have some.
func controls(lines []string) string {
	return strings.Map(func(c rune) rune {
		if c < ' ' && c != '\t' || c == 0x7f {
			return c
		}
		return -1
	}, strings.Join(lines, ""))
}

// Rule A3: whatever a line holds, of it only the values change, and a reader
// finds in what comes out what was in what went in.
func FuzzEdit(f *testing.F) {
	all := seeds()
	for i, s := range all {
		f.Add(s, all[len(all)-1-i])
		f.Add(s, "Negotiate")
		f.Add("Bearer", s)
	}
	const url = `https://mcp.example.com/.well-known/oauth-protected-resource/"m\cp"?a=b,c`
	edit := Edit{
		Map:      func(string) (string, bool) { return url + "\r\n\x00", true },
		Metadata: url + "\r\n\x00", Insert: true, Realm: "r\r\n\x00", Scope: []string{"a\r\n\x00", "b"},
	}
	f.Fuzz(func(t *testing.T, first, second string) {
		in := []string{first, second}
		out, r := apply(edit, in)
		if !slices.Equal(in, []string{first, second}) {
			t.Fatalf("got lines changed to %q", in)
		}
		if got, want := controls(out), controls(in); got != want {
			t.Errorf("%q: got control characters %q, want %q", out, got, want)
		}
		if again, _ := apply(edit, out); !slices.Equal(again, out) {
			t.Errorf("%q edited twice: got %q, want %q", in, again, out)
		}
		if r.Inserted {
			if got, want := out[0], `Bearer realm="r", scope="a b", resource_metadata=`+Quote(url); got != want {
				t.Errorf("got %q inserted, want %q", got, want)
			}
			out = out[1:]
		}
		if len(out) != len(in) {
			t.Fatalf("got %q, want as many lines as in %q", out, in)
		}
		for i, text := range in {
			before, after := Parse(text), Parse(out[i])
			if before.Err() != nil || out[i] == text {
				if out[i] != text {
					t.Errorf("got %q, want it untouched: %q", out[i], text)
				}
				continue
			}
			if bounded(after) {
				continue
			}
			if after.Err() != nil {
				t.Errorf("%q became %q: got error %v, want none", text, out[i], after.Err())
				continue
			}
			if r.Added {
				checkAdded(t, before, after, url)
				continue
			}
			if got, want := without(after), without(before); got != want {
				t.Errorf("%q became %q: got %q without the URLs, want %q", text, out[i], got, want)
			}
			if got, want := show(after.Challenges()), mapped(before, url); got != want {
				t.Errorf("%q became %q: got %s, want %s", text, out[i], got, want)
			}
		}
	})
}

// checkAdded checks that after is before with one parameter more in its first
// Bearer or DPoP challenge without a token68, and not a byte less.
func checkAdded(t *testing.T, before, after Line, url string) {
	t.Helper()
	want, got := slices.Clone(before.Challenges()), slices.Clone(after.Challenges())
	at := slices.IndexFunc(want, func(c Challenge) bool {
		scheme := strings.ToLower(c.Scheme)
		return c.Token68 == "" && (scheme == "bearer" || scheme == "dpop")
	})
	if at < 0 || len(got) != len(want) {
		t.Fatalf("%q became %q, want one parameter more", before, after)
	}
	params := got[at].Params
	j := slices.IndexFunc(params, func(p Param) bool { return p.Name == "resource_metadata" && p.Value == url })
	if j != 0 && j != len(params)-1 {
		t.Fatalf("%q became %q: got the parameter at %d, want it first or last", before, after, j)
	}
	got[at].Params = slices.Delete(slices.Clone(params), j, j+1)
	if show(got) != show(want) {
		t.Errorf("%q became %q: got %s but for the parameter, want %s", before, after, show(got), show(want))
	}
	head, tail, ok := strings.Cut(after.String(), `resource_metadata=`+Quote(url))
	text, head0, head1 := before.String(), strings.TrimSuffix(head, " "), strings.TrimSuffix(head, ", ")
	if !ok || text != head0+tail && text != head1+tail && text != head0+strings.TrimPrefix(tail, ",") {
		t.Errorf("%q became %q: got other bytes changed", before, after)
	}
}
