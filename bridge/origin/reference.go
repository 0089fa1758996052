package origin

import (
	"net/url"
	"strings"
)

// PathReference returns a path-absolute reference (RFC 3986 section 4.2) to an unescaped
// path and a query: one that no client takes for a host, however many slashes the path
// begins with.
func PathReference(path, query string) string {
	u := url.URL{Path: "/" + strings.TrimLeft(path, `/\`)}
	if query == "" {
		return u.EscapedPath()
	}
	return u.EscapedPath() + "?" + query
}
