package origin

import (
	"net/http"
	"net/url"
	"strings"
)

// WithoutParam returns a query without one of its parameters, and the values that this
// has. Every other byte stays.
func WithoutParam(query, name string) (rest string, values []string) {
	if query == "" {
		return "", nil
	}
	var kept []string
	for pair := range strings.SplitSeq(query, "&") {
		if _, value, _ := strings.Cut(pair, "="); paramName(pair) == name {
			if unescaped, err := url.QueryUnescape(value); err == nil {
				value = unescaped
			}
			values = append(values, value)
			continue
		}
		kept = append(kept, pair)
	}
	return strings.Join(kept, "&"), values
}

// WithQuery returns a copy of a request with another query, in RequestURI, too.
func WithQuery(r *http.Request, query string) *http.Request {
	other, u := *r, *r.URL
	u.RawQuery = query
	other.URL, other.RequestURI = &u, u.RequestURI()
	return &other
}

// AddMissing returns a query with those parameters of another one that it does not name.
func AddMissing(query, other string) string {
	named := make(map[string]bool)
	for pair := range strings.SplitSeq(query, "&") {
		named[paramName(pair)] = true
	}
	all := make([]string, 0, 2)
	if query != "" {
		all = append(all, query)
	}
	for pair := range strings.SplitSeq(other, "&") {
		if pair != "" && !named[paramName(pair)] {
			all = append(all, pair)
		}
	}
	return strings.Join(all, "&")
}

// paramName is the name of a parameter, unescaped where it can be.
func paramName(pair string) string {
	key, _, _ := strings.Cut(pair, "=")
	if name, err := url.QueryUnescape(key); err == nil {
		return name
	}
	return key
}
