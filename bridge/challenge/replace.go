package challenge

import "strings"

// Replace returns the line with values replaced, for those who only look at it: value
// is given each parameter and returns what is to stand in its place, which is quoted,
// or false for it to stay; token is given each token68. A line that does not parse has
// no values that could be told apart: it is the caller's.
func (l Line) Replace(value func(p Param) (string, bool), token func(string) string) string {
	var b strings.Builder
	pos := 0
	put := func(start, end int, text string) {
		b.WriteString(l.text[pos:start])
		b.WriteString(text)
		pos = end
	}
	for _, c := range l.challenges {
		if c.Token68 != "" {
			if i := strings.Index(l.text[c.schemeEnd:c.end], c.Token68); i >= 0 && c.schemeEnd+i >= pos {
				put(c.schemeEnd+i, c.schemeEnd+i+len(c.Token68), token(c.Token68))
			}
		}
		for _, p := range c.Params {
			if to, ok := value(p); ok {
				put(p.start, p.end, Quote(to))
			}
		}
	}
	b.WriteString(l.text[pos:])
	return b.String()
}
