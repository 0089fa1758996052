// Package challenge parses, edits and prints WWW-Authenticate field lines
// without losing a byte of what it does not change.
package challenge

import (
	"errors"
	"strings"
)

// Bounds of what is looked at; longer lines cross as they are.
const (
	// MaxLine bounds the length of a line, in bytes.
	MaxLine = 64 << 10
	// MaxChallenges bounds the challenges of a line.
	MaxChallenges = 256
)

// The causes for which a line is not understood.
var (
	ErrControlCharacter  = errors.New("control character")
	ErrUnterminatedQuote = errors.New("quoted string without an end")
	ErrTooLong           = errors.New("line too long")
	ErrTooManyChallenges = errors.New("too many challenges")
	ErrNoScheme          = errors.New("parameter without a scheme")
	ErrSyntax            = errors.New("unexpected character")
)

// Line is one field line.
type Line struct {
	text       string
	challenges []Challenge
	err        error
}

// String returns the line as it was.
func (l Line) String() string { return l.text }

// Err returns why the line was not understood, or nil.
func (l Line) Err() error { return l.err }

// Challenges returns the challenges of the line, as far as it was understood.
func (l Line) Challenges() []Challenge { return l.challenges }

// Challenge is one challenge.
type Challenge struct {
	Scheme  string
	Token68 string
	Params  []Param
	end     int
}

// Param is one parameter.
type Param struct {
	Name, Value string
	Quoted      bool
	start, end  int
}

// Is reports whether the challenge has the scheme.
func (c Challenge) Is(scheme string) bool { return strings.EqualFold(c.Scheme, scheme) }

// Param returns a parameter's value.
func (c Challenge) Param(name string) (string, bool) {
	for _, p := range c.Params {
		if strings.EqualFold(p.Name, name) {
			return p.Value, true
		}
	}
	return "", false
}

func isToken(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0
}

func isToken68(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-._~+/", c) >= 0
}

func skip(s string, i int, set string) int {
	for i < len(s) && strings.IndexByte(set, s[i]) >= 0 {
		i++
	}
	return i
}

func span(s string, i int, is func(byte) bool) int {
	for i < len(s) && is(s[i]) {
		i++
	}
	return i
}

const ows = " \t"

// Parse parses a line.
func Parse(s string) Line {
	l := Line{text: s}
	if len(s) > MaxLine {
		l.err = ErrTooLong
		return l
	}
	for i := range len(s) {
		if c := s[i]; c < ' ' && c != '\t' || c == 0x7f {
			l.err = ErrControlCharacter
			return l
		}
	}
	l.err = l.parse()
	return l
}

func (l *Line) parse() error {
	s := l.text
	for i := skip(s, 0, " \t,"); i < len(s); i = skip(s, i, " \t,") {
		end := span(s, i, isToken)
		if end == i {
			return ErrSyntax
		}
		if eq := skip(s, end, ows); eq < len(s) && s[eq] == '=' && len(l.challenges) > 0 {
			p, next, err := param(s, i, end, eq)
			if err != nil {
				return err
			}
			c := &l.challenges[len(l.challenges)-1]
			c.Params = append(c.Params, p)
			c.end = next
			i = next
			continue
		} else if eq < len(s) && s[eq] == '=' {
			return ErrNoScheme
		}
		if len(l.challenges) == MaxChallenges {
			return ErrTooManyChallenges
		}
		c := Challenge{Scheme: s[i:end], end: end}
		i = end
		if t, next := token68(s, skip(s, end, ows)); next > 0 && skip(s, end, ows) > end {
			c.Token68, c.end, i = t, next, next
		}
		l.challenges = append(l.challenges, c)
	}
	return nil
}

func token68(s string, i int) (string, int) {
	end := skip(s, span(s, i, isToken68), "=")
	if end == i {
		return "", 0
	}
	if next := skip(s, end, ows); next < len(s) && s[next] != ',' {
		return "", 0
	}
	return s[i:end], end
}

func param(s string, name, nameEnd, eq int) (Param, int, error) {
	p := Param{Name: s[name:nameEnd]}
	i := skip(s, eq+1, ows)
	p.start = i
	if i >= len(s) || s[i] != '"' {
		for i < len(s) && s[i] != ',' && s[i] != ' ' && s[i] != '\t' {
			i++
		}
		p.end, p.Value = i, s[p.start:i]
		return p, i, nil
	}
	p.Quoted = true
	for i++; i < len(s); i++ {
		if s[i] == '\\' {
			i++
			continue
		}
		if s[i] == '"' && plausible(s, i+1) {
			p.end, p.Value = i+1, unescape(s[p.start+1:i])
			return p, i + 1, nil
		}
	}
	return p, 0, ErrUnterminatedQuote
}

// plausible reports whether what follows a quote can follow a quoted string.
func plausible(s string, i int) bool {
	start := i
	i = skip(s, i, ows)
	if i == len(s) {
		return true
	}
	comma := s[i] == ','
	if !comma && i == start {
		return false
	}
	i = skip(s, i, " \t,")
	if i == len(s) {
		return true
	}
	end := span(s, i, isToken)
	if end == i {
		return false
	}
	next := skip(s, end, ows)
	if next < len(s) && s[next] == '=' {
		return true
	}
	if !comma {
		return false
	}
	if next == len(s) || s[next] == ',' {
		return true
	}
	if next == end {
		return false
	}
	if _, n := token68(s, next); n > 0 {
		return true
	}
	end = span(s, next, isToken)
	eq := skip(s, end, ows)
	return end > next && eq < len(s) && s[eq] == '='
}

func unescape(s string) string {
	if strings.IndexByte(s, '\\') < 0 {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// Quote returns s as a quoted-string.
func Quote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for i := range len(s) {
		c := s[i]
		if c < ' ' && c != '\t' || c == 0x7f {
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

// Edit says what to do to the challenges of a response.
type Edit struct {
	Map      func(string) (string, bool)
	Metadata string
	Insert   bool
	Realm    string
	Scope    []string
}

// Report says what Apply did.
type Report struct {
	Rewritten              int
	Added, Inserted        bool
	HasMetadata, HasBearer bool
	Unparsed               []error
}

const parameter = "resource_metadata"

// Apply edits lines.
func (e Edit) Apply(lines []string) ([]string, Report) {
	var r Report
	out := lines
	set := func(i int, s string) {
		if &out[0] == &lines[0] {
			out = append([]string(nil), lines...)
		}
		out[i] = s
	}
	parsed := make([]Line, len(lines))
	for i, text := range lines {
		l := Parse(text)
		parsed[i] = l
		if l.err != nil {
			r.Unparsed = append(r.Unparsed, l.err)
			if strings.Contains(strings.ToLower(text), parameter) {
				r.HasMetadata = true
			}
			continue
		}
		if s, ok := e.mapLine(l, &r); ok {
			set(i, s)
		}
	}
	if e.Metadata == "" || r.HasMetadata {
		return out, r
	}
	for i, l := range parsed {
		for _, c := range l.challenges {
			if l.err == nil && c.Token68 == "" && (c.Is("Bearer") || c.Is("DPoP")) {
				sep := " "
				if len(c.Params) > 0 {
					sep = ", "
				}
				set(i, l.text[:c.end]+sep+parameter+"="+Quote(e.Metadata)+l.text[c.end:])
				r.Added = true
				return out, r
			}
		}
	}
	if e.Insert && !r.HasBearer {
		line := "Bearer "
		if e.Realm != "" {
			line += "realm=" + Quote(e.Realm) + ", "
		}
		if len(e.Scope) > 0 {
			line += "scope=" + Quote(strings.Join(e.Scope, " ")) + ", "
		}
		out = append([]string{line + parameter + "=" + Quote(e.Metadata)}, lines...)
		r.Inserted = true
	}
	return out, r
}

func (e Edit) mapLine(l Line, r *Report) (string, bool) {
	var b strings.Builder
	pos := 0
	for _, c := range l.challenges {
		r.HasBearer = r.HasBearer || c.Is("Bearer") || c.Is("DPoP")
		for _, p := range c.Params {
			if !strings.EqualFold(p.Name, parameter) {
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
