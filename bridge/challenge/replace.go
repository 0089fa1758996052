package challenge

import "strings"

// Replace returns the line with values replaced, for display. value is called with each
// parameter and returns the new value, which is quoted, or false to keep the old one. token
// is called with each token68. A line that does not parse is returned as it is; the caller
// has to handle it.
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
