// Package challenge parses, edits and prints WWW-Authenticate field lines
// without losing a byte of what it does not change. It has no policy: which
// challenges are edited, and with what, is decided in bridge/challenge.go.
//
// The grammar is that of RFC 9110 section 11: a comma-separated list of
// challenges, each a scheme alone, with a token68, or with parameters. A line
// that follows the grammar is parsed by it. Lines that break the grammar are
// parsed too if their meaning is clear: clients that look for one parameter
// accept them, and a proxy that does not would pass on an internal URL. The
// differences:
//
//   - a comma may be missing wherever white space stands in for it;
//   - a value without quotes may hold anything but white space, a comma or a
//     quote, so it may be a URL or empty; "Bearer realm=" has such a
//     parameter, although by the grammar it has a padded token68;
//   - a quoted string may contain quotes that are not escaped: it ends at the
//     first quote after which the rest of the line parses;
//   - bytes above 0x7f may stand in any value.
//
// Control characters other than the tab are always an error. A line with an
// error stays as it is.
package challenge

import (
	"errors"
	"strings"
)

// Bounds of a line, because the upstream chooses it. A line beyond one of them
// has an error, and an edit leaves it as it is.
const (
	// MaxLine bounds the length of a line, in bytes.
	MaxLine = 64 << 10
	// MaxChallenges bounds the challenges of a line.
	MaxChallenges = 256
	// MaxParams bounds the parameters of a line, over all its challenges, and
	// so by how much an edit can lengthen a line.
	MaxParams = 1024
)

// The errors of Line.Err. They are never wrapped, and their texts have nothing
// from the line.
var (
	// ErrControlCharacter means that the line holds a control character other
	// than the tab (RFC 9110 section 5.5). None of its challenges is read.
	ErrControlCharacter = errors.New("control character")
	// ErrUnterminatedQuote means that no quote ends a quoted string (RFC 9110
	// section 5.6.4), or that none is followed by white space, a comma or the
	// end of the line.
	ErrUnterminatedQuote = errors.New("quoted string without an end")
	// ErrTooLong means that the line exceeds MaxLine. None of its challenges
	// is read.
	ErrTooLong = errors.New("line too long")
	// ErrTooManyChallenges means that the line exceeds MaxChallenges.
	ErrTooManyChallenges = errors.New("too many challenges")
	// ErrTooManyParams means that the line exceeds MaxParams.
	ErrTooManyParams = errors.New("too many parameters")
	// ErrNoScheme means that the line begins with a parameter.
	ErrNoScheme = errors.New("parameter without a scheme")
	// ErrSyntax means that a character is not allowed where it stands.
	ErrSyntax = errors.New("unexpected character")
)

// Line is one WWW-Authenticate field line, as Parse read it. The zero value is
// the empty line.
type Line struct {
	text       string
	challenges []Challenge
	err        error
}

// String returns the line as it was given to Parse, byte for byte.
func (l Line) String() string { return l.text }

// Err returns why the line did not parse: one of this package's errors, or nil.
func (l Line) Err() error { return l.err }

// Challenges returns the challenges of the line in order. If Err is not nil, these are the
// challenges before the error, and the last of them may lack parameters. The caller must not
// change them.
func (l Line) Challenges() []Challenge { return l.challenges }

// Challenge is one challenge (RFC 9110 section 11.3).
type Challenge struct {
	// Scheme is the auth-scheme in the case in which it was sent; Is compares
	// it without regard to case.
	Scheme string
	// Token68 is the token68 with its padding, or empty where there is none.
	// The grammar has either it or parameters; a line that has both is read
	// with both.
	Token68 string
	// Params are the parameters in order, repeated ones included.
	Params []Param
	// schemeEnd and end are the offsets behind the scheme and behind the
	// challenge, without the comma or white space that follows.
	schemeEnd, end int
}

// Param is one parameter of a challenge (auth-param, RFC 9110 section 11.2).
type Param struct {
	// Name is the name in the case in which it was sent.
	Name string
	// Value is the value without its quotes and with its quoted pairs (RFC
	// 9110 section 5.6.4) resolved. It may be empty.
	Value string
	// Quoted is true if the value was in quotes.
	Quoted bool
	// start and end are the offsets of the value, its quotes included.
	start, end int
}

// Is reports whether the challenge has the scheme, without regard to case (RFC
// 9110 section 11.1).
func (c *Challenge) Is(scheme string) bool { return strings.EqualFold(c.Scheme, scheme) }

// Param returns the value of the first parameter of that name, without regard
// to case (RFC 9110 section 11.2), and whether there is one.
func (c *Challenge) Param(name string) (string, bool) {
	for _, p := range c.Params {
		if strings.EqualFold(p.Name, name) {
			return p.Value, true
		}
	}
	return "", false
}

// takesParams reports whether a scheme always has parameters by its specification, and never
// a token68. After such a scheme "realm=" is a parameter without a value; after any other it
// is a padded token68, as the grammar says.
func takesParams(scheme string) bool {
	for _, s := range [...]string{"Bearer", "DPoP", "Basic", "Digest"} {
		if strings.EqualFold(scheme, s) {
			return true
		}
	}
	return false
}

// ParseAll parses the lines of one field, in their order.
func ParseAll(lines []string) []Line {
	all := make([]Line, len(lines))
	for i, text := range lines {
		all[i] = Parse(text)
	}
	return all
}

// Parse parses a line, in time linear in its length. It accepts any string; see Line.Err for
// lines that do not parse.
func Parse(s string) Line {
	l, _ := parse(s)
	return l
}

// parse is Parse. It also returns the work that it took.
func parse(s string) (Line, int) {
	l := Line{text: s}
	if len(s) > MaxLine {
		l.err = ErrTooLong
		return l, 0
	}
	sc := scanner{s: s, work: len(s)}
	if hasControl(s) {
		l.err = ErrControlCharacter
		return l, sc.work
	}
	l.challenges, l.err = sc.challenges(sc.nearQuote)
	if l.err == nil || strings.IndexByte(s, '"') < 0 {
		return l, sc.work
	}
	// A quoted string may have ended too early. If the line does not parse with
	// other ends either, the error of the first attempt is returned.
	quotes := sc.farQuotes()
	challenges, err := sc.challenges(func(i int) int { return int(quotes[i]) })
	if err == nil {
		l.challenges, l.err = challenges, nil
	}
	return l, sc.work
}

// challenges reads the line. quote returns the offset of the quote that ends the
// quoted string whose text begins at its argument, or -1.
func (sc *scanner) challenges(quote func(int) int) ([]Challenge, error) {
	var (
		challenges []Challenge
		params     []Param // of all challenges, in one array
		first      int     // of the last challenge
	)
	for i := sc.skip(0, separator); i < len(sc.s); i = sc.skip(i, separator) {
		it, ok := sc.item(i)
		if !ok {
			return challenges, ErrSyntax
		}
		if it.param && len(challenges) == 0 {
			return challenges, ErrNoScheme
		}
		if it.quoted {
			end := quote(it.value + 1)
			if end < 0 {
				return challenges, ErrUnterminatedQuote
			}
			it.end = end + 1
		}
		if !sc.separated(it.end) {
			return challenges, ErrSyntax
		}
		if !it.param {
			if len(challenges) == MaxChallenges {
				return challenges, ErrTooManyChallenges
			}
			first = len(params)
			challenges = append(challenges, Challenge{Scheme: sc.s[i:it.word], Token68: sc.s[it.value:it.end], schemeEnd: it.word, end: it.end})
			i = it.end
			continue
		}
		if len(params) == MaxParams {
			return challenges, ErrTooManyParams
		}
		if params == nil {
			params = make([]Param, 0, min(strings.Count(sc.s[i:], "="), usualParams))
		}
		p := Param{Name: sc.s[i:it.word], Value: sc.s[it.value:it.end], Quoted: it.quoted, start: it.value, end: it.end}
		if p.Quoted {
			p.Value = unescape(p.Value[1 : len(p.Value)-1])
		}
		c := &challenges[len(challenges)-1]
		params = append(params, p)
		c.Params, c.end = params[first:len(params):len(params)], it.end
		i = it.end
	}
	return challenges, nil
}

// usualParams is how many parameters there is room for at first.
const usualParams = 8

// unescape resolves the quoted pairs of a quoted string's text.
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
