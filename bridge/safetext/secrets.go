package safetext

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	// leastSecret is the number of bytes from which a text that a client has sent is looked
	// for. Shorter ones are part of too many words.
	leastSecret = 6
	// maxSecrets bounds the secrets of one request that are looked for.
	maxSecrets = 256
)

// secretFields are the header fields of a request that may carry secrets of the client.
var secretFields = []string{
	"Authorization", "Proxy-Authorization", "Dpop", "Cookie", "Mcp-Session-Id", "X-Api-Key", "Api-Key", "X-Auth-Token", "X-Access-Token",
}

// Secrets are texts that must not be shown. Servers may quote them, so that they are removed
// from what is shown of an answer. The zero value has none; it is for secrets that the user
// of a program gives, where even a single letter counts. [SecretsOf] is for those that any
// client sends.
type Secrets struct {
	values []secret // the longest first
	// client is set if the secrets are of a request of a client, which are bounded.
	client bool
}

// secret is one of them.
type secret struct {
	text string
	// whole is true if the secret is hidden only where it is a whole word.
	whole bool
}

// shortSecret is a number of characters. A secret with fewer is hidden only as a whole
// word: it is part of many words, and without all of these a text would be useless.
const shortSecret = 8

// SecretsOf returns the secrets of a request: of header fields that carry credentials, of
// cookies, and of the query. r may be nil.
func SecretsOf(r *http.Request) *Secrets {
	s := &Secrets{client: true}
	if r == nil {
		return s
	}
	for _, name := range secretFields {
		for _, value := range r.Header[name] {
			s.AddField(value)
		}
	}
	if r.URL != nil && r.URL.RawQuery != "" {
		s.Add(r.URL.RawQuery)
		s.AddQuery(r.URL.RawQuery)
	}
	return s
}

// tooMany reports whether there are more secrets than are looked for.
func (s *Secrets) tooMany() bool { return s.client && len(s.values) > maxSecrets }

// Add adds a secret, also in the encodings in which servers send it back.
func (s *Secrets) Add(value string) {
	if s.client {
		value = strings.TrimSpace(value)
	}
	if value == "" || s.client && len(value) < leastSecret || s.tooMany() {
		return
	}
	short := !s.client && utf8.RuneCountInString(value) < shortSecret
	for _, form := range []string{value, url.QueryEscape(value), url.PathEscape(value), quoted(value)} {
		one := secret{form, short}
		if slices.Contains(s.values, one) {
			continue
		}
		at, _ := slices.BinarySearchFunc(s.values, one, func(a, b secret) int { return len(b.text) - len(a.text) })
		s.values = slices.Insert(s.values, at, one)
	}
}

// quoted returns a text as it is in a string of JSON.
func quoted(s string) string {
	if !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' || strings.ContainsRune(`"\<>&`, r) }) {
		return s
	}
	text, _ := json.Marshal(s) // it does not fail
	return string(text[1 : len(text)-1])
}

// AddField adds the value of a header field and its parts: the credentials behind a
// scheme, the name and password of Basic, and the values of cookies.
func (s *Secrets) AddField(value string) {
	s.Add(value)
	scheme, credentials, ok := strings.Cut(value, " ")
	if ok {
		s.Add(credentials)
	}
	if raw, err := base64.StdEncoding.DecodeString(credentials); err == nil && strings.EqualFold(scheme, "Basic") {
		_, password, _ := strings.Cut(string(raw), ":")
		s.Add(string(raw))
		s.Add(password)
	}
	for pair := range strings.SplitSeq(value, ";") {
		if _, part, ok := strings.Cut(pair, "="); ok {
			s.Add(strings.Trim(part, " \t\""))
		}
	}
}

// shortestName is the length in bytes from which the name of a query parameter is hidden
// too: it may be a secret in the wrong place.
const shortestName = 6

// AddQuery adds the values of a query and its long names, both encoded and decoded.
func (s *Secrets) AddQuery(raw string) {
	for pair := range strings.FieldsFuncSeq(raw, func(r rune) bool { return r == '&' || r == ';' }) {
		name, value, _ := strings.Cut(pair, "=")
		if value == "" || len(name) >= shortestName {
			s.addEscaped(name)
		}
		s.addEscaped(value)
	}
}

func (s *Secrets) addEscaped(raw string) {
	s.Add(raw)
	if meant, err := url.QueryUnescape(raw); err == nil {
		s.Add(meant)
	}
}

// Hide returns the beginning of a text, with mark in place of the secrets in it. It stops
// after limit bytes, so that a long text costs no more time than a short one. A secret that
// crosses the limit is hidden completely. What stands for a secret is not looked at again.
func (s *Secrets) Hide(text string, limit int, mark string) string {
	if s.tooMany() {
		return mark
	}
	if len(s.values) == 0 {
		return Cut(text, limit)
	}
	var b strings.Builder
	for i := 0; i < len(text); {
		if b.Len() >= limit {
			return Cut(b.String()+text[i:i+1], limit)
		}
		end := s.match(text, i)
		if end == 0 {
			_, size := utf8.DecodeRuneInString(text[i:])
			b.WriteString(text[i : i+size])
			i += size
			continue
		}
		for j := i + 1; j < end; j++ { // another secret begins inside this one
			end = max(end, s.match(text, j))
		}
		b.WriteString(mark)
		i = end
	}
	return Cut(b.String(), limit)
}

// match returns the end of the secret that begins at i, or 0 if none begins there.
func (s *Secrets) match(text string, i int) int {
	for _, one := range s.values {
		if strings.HasPrefix(text[i:], one.text) && (!one.whole || wholeWord(text, i, i+len(one.text))) {
			return i + len(one.text)
		}
	}
	return 0
}

// wholeWord reports whether text[from:to] has no letter, digit or underscore before or
// after it. The end of an escape before it does not count as a letter.
func wholeWord(text string, from, to int) bool {
	word := func(r rune, size int) bool {
		return size > 0 && (unicode.IsLetter(r) || unicode.IsDigit(r) || r == '_')
	}
	if word(utf8.DecodeRuneInString(text[to:])) {
		return false
	}
	return !word(utf8.DecodeLastRuneInString(text[:from])) || escape.MatchString(text[max(0, from-longestEscape):from])
}

// escape matches an escape of JSON or of a URL at the end of a text.
var escape = regexp.MustCompile(`(\\(u[0-9a-fA-F]{4}|[bfnrt])|%[0-9a-fA-F]{2})$`)

// longestEscape is the length of the longest match of escape.
const longestEscape = len(`\u003c`)

// Text returns a text that is not a header field, such as that of an error, in a form that
// can be shown: at most about [MaxLine] bytes, without the secrets and without what looks
// like a secret. If a request has more secrets than are looked for, the text is replaced as
// a whole.
func (s *Secrets) Text(text string) string {
	return Masked(s.Hide(text, MaxLine, redacted))
}
