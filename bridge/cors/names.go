package cors

import (
	"errors"
	"slices"
	"strings"
)

// Built-in names. "*" would not do in their place: it covers no Authorization
// (Fetch standard, "CORS non-wildcard request-header name"), and old browsers
// do not know it.
var (
	builtinRequest = []string{
		"Authorization", "Content-Type", "Accept", "DPoP", "Last-Event-ID",
		"MCP-Protocol-Version", "Mcp-Session-Id", "Mcp-Method", "Mcp-Name",
	}
	builtinExposed = []string{
		"WWW-Authenticate", "Mcp-Session-Id", "MCP-Protocol-Version", "DPoP-Nonce", "Retry-After",
	}
)

// forbiddenRequest are the names that no page can set (Fetch standard,
// "forbidden request-header"), in lower case. Names that start with "proxy-"
// and "sec-" are forbidden too.
var forbiddenRequest = []string{
	"accept-charset", "accept-encoding", "access-control-request-headers",
	"access-control-request-method", "access-control-request-private-network",
	"connection", "content-length", "cookie", "cookie2", "date", "dnt", "expect",
	"host", "keep-alive", "origin", "referer", "set-cookie", "te", "trailer",
	"transfer-encoding", "upgrade", "via",
}

// forbiddenExposed are the names that no page can read (Fetch standard,
// "forbidden response-header name"), in lower case.
var forbiddenExposed = []string{"set-cookie", "set-cookie2"}

var (
	errNameWildcard   = errors.New("names must be listed one by one")
	errNameToken      = errors.New("is no header name")
	errNameForbidden  = errors.New("browsers let no page set this header")
	errNameUnreadable = errors.New("browsers let no page read this header")
)

// checkRequestName tells why a page cannot be allowed to send a header.
func checkRequestName(name string) error {
	if err := checkName(name); err != nil {
		return err
	}
	lower := strings.ToLower(name)
	if strings.HasPrefix(lower, "proxy-") || strings.HasPrefix(lower, "sec-") || slices.Contains(forbiddenRequest, lower) {
		return errNameForbidden
	}
	return nil
}

// checkExposedName tells why a page cannot be allowed to read a header.
func checkExposedName(name string) error {
	if err := checkName(name); err != nil {
		return err
	}
	if slices.Contains(forbiddenExposed, strings.ToLower(name)) {
		return errNameUnreadable
	}
	return nil
}

func checkName(name string) error {
	switch {
	case name == "":
		return errEmpty
	case name == "*":
		return errNameWildcard
	case !isToken(name):
		return errNameToken
	}
	return nil
}

// isToken reports whether s is a token (RFC 9110 section 5.6.2).
func isToken(s string) bool {
	for i := range len(s) {
		c := s[i]
		if l := c | 0x20; 'a' <= l && l <= 'z' || isDigit(c) {
			continue
		}
		if strings.IndexByte("!#$%&'*+-.^_`|~", c) < 0 {
			return false
		}
	}
	return s != ""
}

// mergeNames joins both lists without names that stand there already, in
// another case or not.
func mergeNames(builtin, more []string) string {
	names := slices.Clone(builtin)
	for _, name := range more {
		if !slices.ContainsFunc(names, func(n string) bool { return strings.EqualFold(n, name) }) {
			names = append(names, name)
		}
	}
	return strings.Join(names, ", ")
}
