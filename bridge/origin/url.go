// Package origin parses URLs, origins and hosts. It decides whether a host is local
// ([Host.Local]) and whether a URL is the MCP server's own ([Names.Own]). It looks only at
// the text and never asks DNS.
package origin

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Errors of Parse and ParseOrigin.
var (
	errScheme    = errors.New("must start with http:// or https://")
	errByte      = errors.New("has a control character, a space or a backslash")
	errUserinfo  = errors.New("must not have a user name or password")
	errHost      = errors.New("has no valid host name")
	errNumeric   = errors.New("has a numeric host that is not a dotted-decimal IPv4 address")
	errPercent   = errors.New("has a percent-encoded host or an IPv6 zone")
	errNonASCII  = errors.New("has a host that is not ASCII, write it in its xn-- form")
	errPort      = errors.New("has no valid port")
	errNotOrigin = errors.New("must be an origin, without path, query or fragment")
)

// URL is an absolute http or https URL, split into parts. The zero value matches no URL.
type URL struct {
	Host

	HTTPS    bool
	Path     string // as written, "" or from the first slash
	Query    string // as written, with its question mark
	Fragment bool   // it has a fragment
}

// Parse splits raw. It is stricter than browsers are, so that no client can see another host
// than the one that is seen here. A URL with userinfo is an error.
func Parse(raw string) (URL, error) {
	var u URL
	rest, ok := cutPrefixFold(raw, "https://")
	if ok {
		u.HTTPS = true
	} else if rest, ok = cutPrefixFold(raw, "http://"); !ok {
		return u, errScheme
	}
	if !CleanText(rest) {
		return u, errByte
	}
	authority := rest
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		authority, rest = rest[:i], rest[i:]
	} else {
		rest = ""
	}
	var err error
	if u.Host, err = ParseHost(authority, defaultPort(u.HTTPS)); err != nil {
		return u, err
	}
	rest, _, u.Fragment = strings.Cut(rest, "#")
	u.Path = rest
	if i := strings.IndexByte(rest, '?'); i >= 0 {
		u.Path, u.Query = rest[:i], rest[i:]
	}
	return u, nil
}

// ParseOrigin parses an origin that an operator has written. A final slash is allowed.
func ParseOrigin(s string) (URL, error) {
	u, err := Parse(s)
	if err == nil && ((u.Path != "" && u.Path != "/") || u.Query != "" || u.Fragment) {
		err = errNotOrigin
	}
	if err != nil {
		return URL{}, fmt.Errorf("origin %q: %w", s, err)
	}
	u.Path = ""
	return u, nil
}

// SameOrigin reports whether scheme, host and port are the same.
func (u URL) SameOrigin(o URL) bool { return u.HTTPS == o.HTTPS && u.Host == o.Host }

// onDefaultPort reports whether the port is the one of the URL's scheme.
func (u URL) onDefaultPort() bool { return u.Port == defaultPort(u.HTTPS) }

// Origin returns the serialized origin (RFC 6454 section 6.2): lower case, without the
// scheme's default port, a trailing dot or a slash.
func (u URL) Origin() string {
	host := u.Name
	if u.Addr.Is6() {
		host = "[" + host + "]"
	}
	if !u.onDefaultPort() {
		host += ":" + strconv.Itoa(int(u.Port))
	}
	if u.HTTPS {
		return "https://" + host
	}
	return "http://" + host
}

// defaultPort returns the default port of a scheme.
func defaultPort(https bool) uint16 {
	if https {
		return 443
	}
	return 80
}

// IsPathAbsolute reports whether raw is a path-absolute reference (RFC 3986 section 4.2).
func IsPathAbsolute(raw string) bool {
	return strings.HasPrefix(raw, "/") && !strings.HasPrefix(raw, "//") && CleanText(raw)
}

// AfterAuthority returns the part of an absolute URL after scheme and authority.
func AfterAuthority(raw string) string {
	_, rest, _ := strings.Cut(raw, "://")
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		return rest[i:]
	}
	return ""
}

// CleanText reports whether a text has only characters that all clients read the same way.
// It has no control characters, spaces or backslashes.
func CleanText(s string) bool {
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c == 0x7f || c == '\\' {
			return false
		}
	}
	return true
}

func cutPrefixFold(s, prefix string) (string, bool) {
	if len(s) < len(prefix) || !strings.EqualFold(s[:len(prefix)], prefix) {
		return s, false
	}
	return s[len(prefix):], true
}
