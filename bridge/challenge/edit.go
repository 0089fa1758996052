package challenge

import (
	"slices"
	"strings"
)

// parameter is the name of the parameter that is edited (RFC 9728 section 5.1).
const parameter = "resource_metadata"

// Quote returns s as a quoted-string (RFC 9110 section 5.6.4). It escapes only the quote and
// the backslash, as senders should. It drops control characters other than the tab, which a
// quoted-string cannot contain, so that no text can end the line.
func Quote(s string) string {
	var b strings.Builder
	b.Grow(len(s) + 2)
	quote(&b, s)
	return b.String()
}

// quote writes s as a quoted-string.
func quote(b *strings.Builder, s string) {
	b.WriteByte('"')
	if strings.IndexByte(s, '"') < 0 && strings.IndexByte(s, '\\') < 0 && !hasControl(s) {
		b.WriteString(s)
	} else {
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
	}
	b.WriteByte('"')
}

// Edit says what to do to the challenges of a response. The zero value changes
// nothing.
type Edit struct {
	// Map is called with the value of each resource_metadata parameter in the lines that
	// parse, for any scheme and place. It returns the new value, or false to keep the old
	// one. Default: nil, all stay.
	Map func(string) (string, bool)
	// Metadata is the URL that is added as resource_metadata to the first Bearer or DPoP
	// challenge without a token68, if no challenge of the response has the parameter.
	// Default: empty, nothing is added or inserted.
	Metadata string
	// Insert says that, if there is no Bearer or DPoP challenge to add Metadata to, a Bearer
	// challenge with it is inserted before all lines. Some clients read a header only if it
	// begins with Bearer. Default: false.
	Insert bool
	// Realm is the realm of the inserted challenge. Default: empty, none.
	Realm string
	// Scope are the scopes of the inserted challenge (RFC 6750 section 3).
	// Default: empty, none.
	Scope []string
}

// Report says what Apply did and found.
type Report struct {
	// Rewritten counts the values that Map replaced.
	Rewritten int
	// Added tells that a challenge gained the parameter, and Inserted that a
	// challenge was inserted. They exclude each other and Rewritten.
	Added, Inserted bool
	// HasMetadata is true if a challenge of the given lines has the parameter, or a line
	// that does not parse may have it.
	HasMetadata bool
	// HasBearer is true if the given lines that parse have a Bearer or DPoP challenge.
	HasBearer bool
	// Unparsed holds the error of each line that did not parse, in order.
	Unparsed []error
}

// Apply edits the WWW-Authenticate field lines of one response, in their order. parsed is what
// [ParseAll] returns for them. It returns lines itself if nothing changes, and else a copy; it
// never changes lines.
//
// Lines are neither joined nor split. Only the value of resource_metadata changes, and it is
// always written as a quoted-string, because a URL is not a token. A line that does not
// parse stays as it is. If it contains the name of the parameter, nothing is added or
// inserted: a client may find the parameter there, and there must not be two.
func (e *Edit) Apply(lines []string, parsed []Line) ([]string, Report) {
	var (
		r      Report
		copied bool
	)
	out := lines
	for i := range parsed {
		l := &parsed[i]
		if l.err != nil {
			r.Unparsed = append(r.Unparsed, l.err)
			r.HasMetadata = r.HasMetadata || names(l.text)
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
	for i := range parsed {
		if s, ok := e.addTo(&parsed[i]); ok {
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

// mapLine returns the line with its values mapped, and whether it has any.
func (e *Edit) mapLine(l *Line, r *Report) (string, bool) {
	var b strings.Builder
	pos := 0
	for i := range l.challenges {
		c := &l.challenges[i]
		r.HasBearer = r.HasBearer || c.gains()
		for j := range c.Params {
			p := &c.Params[j]
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
			if pos == 0 {
				b.Grow(len(l.text) + len(to) + 2)
			}
			b.WriteString(l.text[pos:p.start])
			quote(&b, to)
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
func (e *Edit) addTo(l *Line) (string, bool) {
	if l.err != nil {
		return "", false
	}
	for i := range l.challenges {
		c := &l.challenges[i]
		if !c.gains() || c.Token68 != "" {
			continue
		}
		p := parameter + "=" + Quote(e.Metadata)
		rest := strings.TrimLeft(l.text[c.end:], ows)
		switch {
		case rest != "" && rest[0] != ',':
			// Without a comma the rest of the line may be more words of the
			// last value, so the parameter is added before all others.
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
func (e *Edit) challenge() string {
	line := "Bearer "
	if e.Realm != "" {
		line += "realm=" + Quote(e.Realm) + ", "
	}
	if len(e.Scope) > 0 {
		line += "scope=" + Quote(strings.Join(e.Scope, " ")) + ", "
	}
	return line + parameter + "=" + Quote(e.Metadata)
}

// gains reports whether metadata is added to challenges of this scheme.
func (c *Challenge) gains() bool { return c.Is("Bearer") || c.Is("DPoP") }

// swallowed reports whether a value contains the name of the parameter and a quote that is
// not escaped, so that the end of the value was guessed.
func (l *Line) swallowed(p *Param) bool {
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

// names reports whether a text contains the name of the parameter.
func names(text string) bool {
	return strings.Contains(strings.ToLower(text), parameter)
}
