package authserver

import (
	"net/url"
	"strings"
)

// Edit replaces values of the parameters called name in s, a query or a form
// (application/x-www-form-urlencoded), where change returns true. All other
// bytes stay, those of other parameters with the same name included. A pair that
// does not decode is left alone.
func editParam(s, name string, change func(value string) (string, bool)) (string, bool) {
	var out strings.Builder
	changed := false
	for rest, more := s, true; more; {
		var pair string
		pair, rest, more = strings.Cut(rest, "&")
		key, raw, _ := strings.Cut(pair, "=")
		if value, ok := decoded(key, raw, name); ok {
			if to, ok := change(value); ok {
				pair, changed = key+"="+url.QueryEscape(to), true
			}
		}
		out.WriteString(pair)
		if more {
			out.WriteByte('&')
		}
	}
	if !changed {
		return s, false
	}
	return out.String(), true
}

// Param returns the first parameter called name in s, a query or a form.
func param(s, name string) (string, bool) {
	for rest, more := s, true; more; {
		var pair string
		pair, rest, more = strings.Cut(rest, "&")
		key, raw, _ := strings.Cut(pair, "=")
		if value, ok := decoded(key, raw, name); ok {
			return value, true
		}
	}
	return "", false
}

// decoded returns the value of a pair that is called name.
func decoded(key, raw, name string) (string, bool) {
	if unescaped, err := url.QueryUnescape(key); err != nil || unescaped != name {
		return "", false
	}
	value, err := url.QueryUnescape(raw)
	return value, err == nil
}

// Query splits a URL reference around its query, which is without its question
// mark.
func splitQuery(ref string) (before, query, after string) {
	hash := strings.IndexByte(ref, '#')
	if hash < 0 {
		hash = len(ref)
	}
	mark := strings.IndexByte(ref[:hash], '?')
	if mark < 0 {
		return ref[:hash], "", ref[hash:]
	}
	return ref[:mark+1], ref[mark+1 : hash], ref[hash:]
}
