package identity

import (
	"net/http"
	"slices"
)

// Fields are hashes of the query and of those fields of a request that tell users apart,
// without Authorization and cookies. They are kept only to report which of them differ in
// another request.
type Fields map[string]sum

// Query is the name of the query among the names that [Differ] returns.
const Query = "the query"

// FieldsOf returns the fields of a request.
func FieldsOf(r *http.Request) Fields {
	all := make(Fields)
	for name, lines := range r.Header {
		if name != "Authorization" && name != "Cookie" && Counts(name) && !guards[name] {
			all[name] = texts(nil).add(lines...).sum()
		}
	}
	if r.URL.RawQuery != "" {
		all[Query] = texts(nil).add(r.URL.RawQuery).sum()
	}
	return all
}

// Differ returns, sorted, the names of the fields that only one of two requests has, or that
// have other values.
func (f Fields) Differ(other Fields) (names []string) {
	for name, value := range f {
		if has, ok := other[name]; !ok || has != value {
			names = append(names, name)
		}
	}
	for name := range other {
		if _, ok := f[name]; !ok {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// OwnsButForFields reports whether other could use a session that o began if their header fields
// did not differ.
func (o Owner) OwnsButForFields(other Owner, judged bool) bool {
	if o.Owns(other, judged) {
		return false
	}
	other.rest = o.rest
	return o.Owns(other, judged)
}
