package cors

import (
	"errors"
	"net/http"
	"slices"
	"strings"
)

// The headers that pages may always send and read. "*" would not replace the lists:
// it does not include Authorization (Fetch standard, "CORS non-wildcard
// request-header name"), and old browsers do not support it.
var (
	builtinRequest = []string{
		"Authorization", "Content-Type", "Accept", "DPoP", "Last-Event-ID",
		"MCP-Protocol-Version", "Mcp-Session-Id", "Mcp-Method", "Mcp-Name",
	}
	builtinExposed = []string{
		"WWW-Authenticate", "Mcp-Session-Id", "MCP-Protocol-Version", "DPoP-Nonce", "Retry-After",
	}
)

// PageMaySet reports whether browsers let a page set a request header.
func PageMaySet(name string) bool { return checkRequestName(name) == nil }

// IsPolicys reports whether a [Policy] wrote the header of an answer to a page. It
// recognizes the order of the names.
func IsPolicys(h http.Header) bool {
	return strings.HasPrefix(h.Get(exposeHeaders), strings.Join(builtinExposed, ", "))
}

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
	errNameEmpty      = errors.New("is empty")
	errNameWildcard   = errors.New("names must be listed one by one")
	errNameToken      = errors.New("is not a header name")
	errNameForbidden  = errors.New("browsers let no page set this header")
	errNameUnreadable = errors.New("browsers let no page read this header")
)

// checkRequestName returns why a page cannot be allowed to send a header, or nil.
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

// checkExposedName returns why a page cannot be allowed to read a header, or nil.
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
		return errNameEmpty
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
		if l := c | 0x20; 'a' <= l && l <= 'z' || '0' <= c && c <= '9' {
			continue
		}
		if strings.IndexByte("!#$%&'*+-.^_`|~", c) < 0 {
			return false
		}
	}
	return s != ""
}

// mergeNames appends to the first list the names of the second that it does not have yet, in
// any case.
func mergeNames(builtin, more []string) string {
	names := slices.Clone(builtin)
	for _, name := range more {
		if !slices.ContainsFunc(names, func(n string) bool { return strings.EqualFold(n, name) }) {
			names = append(names, name)
		}
	}
	return strings.Join(names, ", ")
}

// lowerNames returns the set of the names of both lists, in lower case.
func lowerNames(builtin, more []string) map[string]bool {
	names := make(map[string]bool, len(builtin)+len(more))
	for _, list := range [][]string{builtin, more} {
		for _, name := range list {
			names[strings.ToLower(name)] = true
		}
	}
	return names
}
