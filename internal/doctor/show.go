package doctor

import (
	"encoding/base64"
	"encoding/json"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// hidden stands for a secret.
const hidden = "(hidden)"

// shownText bounds what is shown of a text that a server chose, in bytes.
const shownText = 300

// secrets are texts that are never shown.
type secrets struct{ values []string }

// add adds a secret, and the forms in which servers send one back.
func (s *secrets) add(value string) {
	if value == "" {
		return
	}
	quoted, _ := json.Marshal(value)
	for _, form := range []string{value, url.QueryEscape(value), url.PathEscape(value), strings.Trim(string(quoted), `"`)} {
		if !slices.Contains(s.values, form) {
			s.values = append(s.values, form)
		}
	}
	slices.SortFunc(s.values, func(a, b string) int { return len(b) - len(a) }) // none may hide a part of a longer one
}

// shortestSecret is that of a part of something that holds secrets, in bytes:
// what is shorter stands in many texts, and is none.
const shortestSecret = 6

// addPart adds what may be a secret, if it is long enough.
func (s *secrets) addPart(value string) {
	if len(value) >= shortestSecret {
		s.add(value)
	}
}

// addField adds the value of a header field and its parts: credentials behind a
// scheme, what those of Basic decode to, and the values of cookies.
func (s *secrets) addField(value string) {
	s.addPart(value)
	scheme, credentials, ok := strings.Cut(value, " ")
	if ok {
		s.addPart(credentials)
	}
	if raw, err := base64.StdEncoding.DecodeString(credentials); err == nil && strings.EqualFold(scheme, "Basic") {
		_, password, _ := strings.Cut(string(raw), ":")
		s.addPart(string(raw))
		s.addPart(password)
	}
	for pair := range strings.SplitSeq(value, ";") {
		if _, part, ok := strings.Cut(pair, "="); ok {
			s.addPart(strings.Trim(part, " \t\""))
		}
	}
}

// hide replaces all secrets in a text.
func (s *secrets) hide(text string) string {
	for _, value := range s.values {
		text = strings.ReplaceAll(text, value, hidden)
	}
	return text
}

// text makes a text of a server fit to be shown: without secrets, bounded, and
// plain.
func (s *secrets) text(text string) string {
	return plain(cut(s.hide(text), shownText))
}

// link is text for a URL, whose query is left out along with the user.
func (s *secrets) link(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		before, _, _ := strings.Cut(raw, "?")
		return s.text(before)
	}
	return s.text(linkOf(u))
}

func linkOf(u *url.URL) string {
	bare := *u
	bare.User, bare.Fragment, bare.RawFragment = nil, "", ""
	bare.RawQuery, bare.ForceQuery = "", false
	if u.RawQuery != "" {
		return bare.String() + "?..."
	}
	return bare.String()
}

// cut bounds a text, in bytes.
func cut(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	for limit > 0 && !utf8.RuneStart(text[limit]) {
		limit--
	}
	return text[:limit] + "..."
}

// Printable is a text of somebody else's for a line of a terminal: what a terminal could
// act on or not show is written out.
func Printable(text string) string { return plain(text) }

// plain writes out what a terminal could act on or not show: control
// characters, formatting characters such as those that turn the direction of
// writing, and bytes that are no UTF-8.
func plain(text string) string {
	var b strings.Builder
	for i := 0; i < len(text); {
		r, size := utf8.DecodeRuneInString(text[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			b.WriteString(`\x`)
			b.WriteString(strconv.FormatUint(uint64(text[i])|0x100, 16)[1:])
		case unicode.IsPrint(r):
			b.WriteRune(r)
		default:
			b.WriteString(strings.Trim(strconv.QuoteRuneToASCII(r), "'"))
		}
		i += size
	}
	return b.String()
}
