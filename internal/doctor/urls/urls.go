// Package urls compares URLs as clients do. It resolves no names: it judges the text of
// a URL.
package urls

import (
	"net/url"
	"regexp"
	"strings"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/origin"
)

// withScheme matches a URL with a scheme.
var withScheme = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9+.-]*://`)

// HasScheme reports whether a text begins with a scheme and two slashes. The scheme of
// localhost:8080 is not localhost.
func HasScheme(raw string) bool { return withScheme.MatchString(raw) }

// Loopback reports whether the host of a URL is the machine of the client.
func Loopback(u *url.URL) bool { return origin.IsLoopback(u.Hostname()) }

// Private reports whether the host of a URL is local: a client elsewhere does not reach
// it, or reaches another machine.
func Private(u *url.URL) bool {
	host, err := origin.ParseHost(u.Host, 0)
	return err == nil && host.Local()
}

// bareHost returns the host in lower case, without port and final dot.
func bareHost(u *url.URL) string {
	return strings.ToLower(strings.TrimSuffix(u.Hostname(), "."))
}

// Origin returns the origin of a URL as browsers write it: in lower case, without the
// default port.
func Origin(u *url.URL) string {
	host := strings.ToLower(u.Host)
	if port := u.Port(); port == "80" && u.Scheme == "http" || port == "443" && u.Scheme == "https" || port == "" {
		host = strings.TrimSuffix(host, ":"+port)
	}
	return u.Scheme + "://" + host
}

// Misplaced returns why a client at one URL should not go to another that a server names,
// or "". A public server that names a private host would send its clients into their own
// networks.
func Misplaced(from, to *url.URL) string {
	switch {
	case to.Scheme != "http" && to.Scheme != "https" || to.Host == "":
		return "is not an http or https URL"
	case Private(to) && !Private(from):
		return "clients cannot reach (private address)"
	case Loopback(to) && !Loopback(from):
		return "is on the client's own machine (loopback)"
	}
	return ""
}

// WellKnown returns the well-known URL for u: the path of u is inserted behind the suffix,
// and its query is kept (RFC 8414 section 3.1, RFC 9728 section 3.1).
func WellKnown(u *url.URL, suffix string) *url.URL {
	path := strings.TrimSuffix(u.EscapedPath(), "/")
	at := &url.URL{Scheme: u.Scheme, Host: u.Host}
	if parsed, err := at.Parse("/.well-known/" + suffix + path); err == nil {
		at = parsed
	}
	at.RawQuery = u.RawQuery
	return at
}

// WithoutQuery returns a URL that may be shown: without user and fragment, and with "?..."
// in place of its query.
func WithoutQuery(u *url.URL) string {
	bare := *u
	bare.User, bare.Fragment, bare.RawFragment = nil, "", ""
	bare.RawQuery, bare.ForceQuery = "", false
	if u.RawQuery != "" {
		return bare.String() + "?..."
	}
	return bare.String()
}

// Follows reports whether clients built with the TypeScript SDK follow a redirect: only
// within an origin, or from http to https of the same host at the default ports.
func Follows(from, to *url.URL) bool {
	upgraded := from.Scheme == "http" && to.Scheme == "https" && from.Port() == "" && to.Port() == "" && bareHost(from) == bareHost(to)
	return Origin(from) == Origin(to) || upgraded
}

// Absolute reports whether a text is a URL with a scheme.
func Absolute(raw string) bool {
	u, err := url.Parse(raw)
	return err == nil && u.Scheme != "" && (u.Host != "" || u.Opaque != "")
}
