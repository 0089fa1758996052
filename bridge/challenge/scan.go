package challenge

import "strings"

const ows = " \t"

// class is a set of characters.
type class uint8

// The sets.
const (
	// space is optional white space.
	space class = 1 << iota
	// separator is white space or a comma.
	separator
	// token is a tchar (RFC 9110 section 5.6.2).
	token
	// token68 stands in a token68 before its padding (RFC 9110 section 11.2).
	token68
	// padding ends a token68.
	padding
	// value may be in a value without quotes. A quote may not, or the second half of a quoted
	// string that was cut in two would parse.
	value
	// control is any control character other than the tab.
	control
)

// classes are the sets that each character is in.
var classes = func() (all [256]class) {
	for i := range all {
		c := byte(i)
		alphanumeric := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		for of, is := range map[class]bool{
			space:     strings.IndexByte(ows, c) >= 0,
			separator: strings.IndexByte(ows+",", c) >= 0,
			token:     alphanumeric || strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0,
			token68:   alphanumeric || strings.IndexByte("-._~+/", c) >= 0,
			padding:   c == '=',
			value:     strings.IndexByte(ows+",\"", c) < 0,
			control:   isControl(c),
		} {
			if is {
				all[i] |= of
			}
		}
	}
	return all
}()

// is reports whether a character is in a set.
func (of class) is(c byte) bool { return classes[c]&of != 0 }

// isControl reports whether c is a control character other than the tab.
func isControl(c byte) bool {
	return c < ' ' && c != '\t' || c == 0x7f
}

// hasControl reports whether a text has a control character other than the tab.
func hasControl(s string) bool {
	for i := range len(s) {
		if control.is(s[i]) {
			return true
		}
	}
	return false
}

// scanner reads a line.
type scanner struct {
	s string
	// work counts the bytes that were looked at, including repeated looks.
	work int
}

// skip returns the offset of the first character from i on that is not in a set.
func (sc *scanner) skip(i int, of class) int {
	start := i
	for i < len(sc.s) && of.is(sc.s[i]) {
		i++
	}
	sc.work += i - start + 1
	return i
}

// separated reports whether an item can end at i.
func (sc *scanner) separated(i int) bool {
	return i == len(sc.s) || separator.is(sc.s[i])
}

// item is a scheme with its token68, or a parameter.
type item struct {
	// word is the offset after the scheme or the name.
	word int
	// param is true for a parameter, and false for a scheme.
	param bool
	// value is the offset of the token68 or the value, and end is the offset
	// after it. For a quoted value end is not set yet.
	value, end int
	quoted     bool
}

// item parses the item at i. It returns false if there is none.
func (sc *scanner) item(i int) (item, bool) {
	s := sc.s
	it := item{word: sc.skip(i, token)}
	if it.word == i {
		return it, false
	}
	next := sc.skip(it.word, space)
	if next < len(s) && s[next] == '=' {
		it.param = true
		it.value = sc.skip(next+1, space)
		it.quoted = it.value < len(s) && s[it.value] == '"'
		if !it.quoted {
			it.end = sc.skip(it.value, value)
		}
		return it, true
	}
	it.value, it.end = it.word, it.word
	if next == it.word {
		return it, true
	}
	end := sc.token68(next)
	if end == next || takesParams(s[i:it.word]) && isEmptyParam(s[next:end]) {
		return it, true
	}
	it.value, it.end = next, end
	return it, true
}

// token68 returns the offset after the token68 at i, or i if there is none. A token68 must
// be followed by a comma or the end of the line.
func (sc *scanner) token68(i int) int {
	end := sc.skip(sc.skip(i, token68), padding)
	if next := sc.skip(end, space); next < len(sc.s) && sc.s[next] != ',' {
		return i
	}
	return end
}

// isEmptyParam reports whether a token68 may be a parameter without a value.
func isEmptyParam(token68 string) bool {
	name, ok := strings.CutSuffix(token68, "=")
	return ok && !strings.ContainsAny(name, "=/")
}

// A quoted string that contains quotes which are not escaped ends at the first quote
// after which the whole rest of the line parses. That quote must not look like the
// beginning of another string, as in a="b" c=", except for the very first one, where a
// line that follows the grammar ends the string. Otherwise the text after the quote
// would decide what it is, and adding a parameter there would change how the
// parameters before it are read.

// nearQuote returns the offset of the quote that ends the quoted string whose text begins at
// i, or -1. It is the first quote before a separator or the end of the line. If the line
// parses this way, this is its only meaning.
func (sc *scanner) nearQuote(i int) int {
	start, first := i, true
	for ; i < len(sc.s); i++ {
		switch sc.s[i] {
		case '\\':
			i++
		case '"':
			if sc.separated(i+1) && (first || !sc.opens(i)) {
				sc.work += i - start + 1
				return i
			}
			first = false
		}
	}
	sc.work += len(sc.s) - start + 1
	return -1
}

// farQuotes returns, for each offset, the offset of the quote that ends the quoted string
// whose text begins there, or -1. It goes through the line from its end, so that each result
// depends only on known ones and each item is parsed once.
func (sc *scanner) farQuotes() []int32 {
	s := sc.s
	quotes := make([]int32, len(s)+1)
	quotes[len(s)] = -1
	// good is true for a separator, or the end of the line, if the rest of the
	// line parses after an item that ends there.
	good := make([]bool, len(s)+1)
	good[len(s)] = true
	// later is the nearest quote that can be an end without being the first.
	later := int32(-1)
	for i := len(s) - 1; i >= 0; i-- {
		sc.work++
		quotes[i] = quotes[i+1]
		if s[i] == '"' && !sc.escaped(i) {
			quotes[i] = later
			if good[i+1] {
				quotes[i] = int32(i)
				if !sc.opens(i) {
					later = int32(i)
				}
			}
		}
		if !sc.separated(i) {
			continue
		}
		if sc.separated(i + 1) {
			good[i] = good[i+1]
			continue
		}
		it, ok := sc.item(i + 1)
		if it.quoted {
			good[i] = quotes[it.value+1] >= 0
		} else {
			good[i] = ok && good[it.end]
		}
	}
	return quotes
}

// opens reports whether the quote at i looks like the beginning of a quoted string.
func (sc *scanner) opens(i int) bool {
	start := i
	for i > 0 && space.is(sc.s[i-1]) {
		i--
	}
	sc.work += start - i + 1
	return i > 0 && sc.s[i-1] == '='
}

// escaped reports whether a backslash escapes the quote at i. It is enough to
// count those right before it, for the string that they belong to begins with a
// quote.
func (sc *scanner) escaped(i int) bool {
	start := i
	for i > 0 && sc.s[i-1] == '\\' {
		i--
	}
	sc.work += start - i + 1
	return (start-i)%2 == 1
}
