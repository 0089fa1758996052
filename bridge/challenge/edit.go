package challenge

import (
	"slices"
	"strings"
)

// parameter is the name of the parameter that an edit is about (RFC 9728
// section 5.1).
const parameter = "resource_metadata"

// Quote returns s as a quoted-string (RFC 9110 section 5.6.4). It escapes the
// quote and the backslash, and nothing else, as senders should. Control
// characters other than the tab, which a quoted-string cannot hold, it leaves
// out: no text ends the line.
func Quote(s string) string {
	var b strings.Builder
	b.Grow(len(s) + 2)
	b.WriteByte('"')
	for i := range len(s) {
		c := s[i]
		if isControl(c) {
			continue
		}
		if c == '"' || c == '\\' {
			b.WriteByte('\\')
		}
		b.WriteByte(c)
	}
	b.WriteByte('"')
	return b.String()
}

// Edit says what to do to the challenges of a response. The zero value changes
// nothing.
type Edit struct {
	// Map is given the value of each resource_metadata parameter of the lines
	// that parse, whatever its scheme and its place, and returns what is to
	// stand in its place, or false for it to stay. Default: nil, all stay.
	Map func(string) (string, bool)
	// Metadata is the URL that the first Bearer or DPoP challenge without a
	// token68 gains as its resource_metadata parameter, if no challenge of the
	// response has one. Default: empty, nothing is added or inserted.
	Metadata string
	// Insert says that, if there is no Bearer or DPoP challenge to gain
	// Metadata, a Bearer challenge of its own with it goes before all lines:
	// there are clients that read a header only if it begins with Bearer.
	// Default: false.
	Insert bool
	// Realm is the realm of the inserted challenge. Default: empty, none.
	Realm string
	// Scope are the scopes of the inserted challenge (RFC 6750 section 3).
	// Default: empty, none.
	Scope []string
}

// Report says what Apply did and saw.
type Report struct {
	// Rewritten counts the values that Map replaced.
	Rewritten int
	// Added tells that a challenge gained the parameter, and Inserted that a
	// challenge was inserted. They exclude each other and Rewritten.
	Added, Inserted bool
	// HasMetadata tells that the lines as given name the parameter: a challenge
	// has it, or a line that is not understood may have it.
	HasMetadata bool
	// HasBearer tells that the lines as given that parse hold a Bearer or DPoP
	// challenge.
	HasBearer bool
	// Unparsed holds the error of each line that did not parse, in order.
	Unparsed []error
}

// Apply edits the WWW-Authenticate field lines of one response, in their order.
// It returns lines itself where nothing changes, and else a copy; it never
// changes lines.
//
// Lines are neither joined nor split, and of a line only the value of
// resource_metadata changes, which always comes out as a quoted-string: no URL
// is a token. A line that does not parse stays as it is. If it names the
// parameter, nothing is added or inserted, for a client may find it there and
// there must not be two.
func (e Edit) Apply(lines []string) ([]string, Report) {
	var (
		r      Report
		copied bool
	)
	out := lines
	parsed := make([]Line, len(lines))
	for i, text := range lines {
		l := Parse(text)
		parsed[i] = l
		if l.err != nil {
			r.Unparsed = append(r.Unparsed, l.err)
			r.HasMetadata = r.HasMetadata || names(text)
			continue
		}
		s, ok := e.mapLine(l, &r)
		if !ok {
			continue
		}
		if !copied {
			out, copied = slices.Clone(lines), true
		}
		out[i] = s
	}
	if e.Metadata == "" || r.HasMetadata {
		return out, r
	}
	for i, l := range parsed {
		if s, ok := e.addTo(l); ok {
			out = slices.Clone(lines)
			out[i] = s
			r.Added = true
			return out, r
		}
	}
	if e.Insert && !r.HasBearer {
		out = append([]string{e.challenge()}, lines...)
		r.Inserted = true
	}
	return out, r
}

// mapLine returns the line with its values mapped, and whether there are any.
func (e Edit) mapLine(l Line, r *Report) (string, bool) {
	var b strings.Builder
	pos := 0
	for _, c := range l.challenges {
		r.HasBearer = r.HasBearer || c.gains()
		for _, p := range c.Params {
			if !strings.EqualFold(p.Name, parameter) {
				r.HasMetadata = r.HasMetadata || l.swallowed(p)
				continue
			}
			r.HasMetadata = true
			if e.Map == nil {
				continue
			}
			to, ok := e.Map(p.Value)
			if !ok {
				continue
			}
			b.WriteString(l.text[pos:p.start])
			b.WriteString(Quote(to))
			pos = p.end
			r.Rewritten++
		}
	}
	if pos == 0 {
		return "", false
	}
	b.WriteString(l.text[pos:])
	return b.String(), true
}

// addTo returns the line with the parameter added to its first Bearer or DPoP
// challenge without a token68, and whether there is one.
func (e Edit) addTo(l Line) (string, bool) {
	if l.err != nil {
		return "", false
	}
	for _, c := range l.challenges {
		if !c.gains() || c.Token68 != "" {
			continue
		}
		p := parameter + "=" + Quote(e.Metadata)
		rest := strings.TrimLeft(l.text[c.end:], ows)
		switch {
		case rest != "" && rest[0] != ',':
			// Without a comma, what follows may as well be more words of the
			// last value, so that only the place before all others is safe.
			return l.text[:c.schemeEnd] + " " + p + "," + l.text[c.schemeEnd:], true
		case len(c.Params) == 0:
			p = " " + p
		default:
			p = ", " + p
		}
		return l.text[:c.end] + p + l.text[c.end:], true
	}
	return "", false
}

// challenge returns the challenge to insert.
func (e Edit) challenge() string {
	line := "Bearer "
	if e.Realm != "" {
		line += "realm=" + Quote(e.Realm) + ", "
	}
	if len(e.Scope) > 0 {
		line += "scope=" + Quote(strings.Join(e.Scope, " ")) + ", "
	}
	return line + parameter + "=" + Quote(e.Metadata)
}

// gains reports whether the challenge is of a scheme that metadata is added to.
func (c Challenge) gains() bool { return c.Is("Bearer") || c.Is("DPoP") }

// swallowed reports whether a value holds a quote which is not escaped, so that
// its end was guessed, and names the parameter.
func (l Line) swallowed(p Param) bool {
	if !p.Quoted {
		return false
	}
	text := l.text[p.start+1 : p.end-1]
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '\\':
			i++
		case '"':
			return names(text)
		}
	}
	return false
}

// names reports whether a text names the parameter.
func names(text string) bool {
	return strings.Contains(strings.ToLower(text), parameter)
}
