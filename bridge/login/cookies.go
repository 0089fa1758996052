package login

import (
	"net/http"
	"strings"
)

// cookieMark begins the names of the authorization server's cookies in the
// browser, so that it gets back those that it set and no other: cookies of the
// whole domain, and of whatever else is on the host, are not its business.
const cookieMark = "mcp_as."

// cookiePrefixes change what a browser does with a cookie (RFC 6265bis section
// 4.1.3), so that they stay in front. The longer stands before what it begins
// with.
var cookiePrefixes = []string{"__Host-Http-", "__Host-", "__Secure-", "__Http-"}

// markName returns the name of a server's cookie in the browser.
func markName(name string) string {
	for _, prefix := range cookiePrefixes {
		if len(name) >= len(prefix) && strings.EqualFold(name[:len(prefix)], prefix) {
			return name[:len(prefix)] + cookieMark + name[len(prefix):]
		}
	}
	return cookieMark + name
}

// unmarkName returns the name that the server gave a cookie, if it is one of
// the server's. It is none if a space or nothing at all follows the mark: the
// server gives no such names, and reads ` __Host-a` as a name with a prefix,
// which the browser did not see.
func unmarkName(name string) (string, bool) {
	prefix := ""
	for _, p := range cookiePrefixes {
		if len(name) >= len(p) && strings.EqualFold(name[:len(p)], p) {
			prefix = name[:len(p)]
			break
		}
	}
	rest, ok := strings.CutPrefix(name[len(prefix):], cookieMark)
	own := prefix + rest
	if !ok || own == "" || strings.TrimSpace(own) != own || markName(own) != name {
		return "", false
	}
	return own, true
}

// RequestCookies leaves of a request's cookies those that the server set, under
// the names that it gave them.
func RequestCookies(h http.Header) {
	lines, ok := h["Cookie"]
	if !ok {
		return
	}
	var own []string
	for _, line := range lines {
		for pair := range strings.SplitSeq(line, ";") {
			name, value, ok := strings.Cut(strings.Trim(pair, " \t"), "=")
			if !ok {
				continue
			}
			if name, ok := unmarkName(name); ok {
				own = append(own, name+"="+value)
			}
		}
	}
	delete(h, "Cookie")
	if len(own) > 0 {
		h["Cookie"] = []string{strings.Join(own, "; ")}
	}
}

// ResponseCookies gives the cookies that the server sets to the browser: each
// under a name of its own, and for the public host alone, whatever domain the
// server thinks it has. One without a name cannot be told from others, and goes.
func ResponseCookies(h http.Header) {
	lines, ok := h["Set-Cookie"]
	if !ok {
		return
	}
	var kept []string
	for _, line := range lines {
		pair, rest, more := strings.Cut(line, ";")
		name, value, ok := strings.Cut(pair, "=")
		if name = strings.Trim(name, " \t"); !ok || name == "" {
			continue
		}
		var out strings.Builder
		out.WriteString(markName(name) + "=" + strings.Trim(value, " \t"))
		for more {
			var attribute string
			attribute, rest, more = strings.Cut(rest, ";")
			key, _, _ := strings.Cut(attribute, "=")
			if !strings.EqualFold(strings.TrimSpace(key), "Domain") {
				out.WriteString(";" + attribute)
			}
		}
		kept = append(kept, out.String())
	}
	delete(h, "Set-Cookie")
	if len(kept) > 0 {
		h["Set-Cookie"] = kept
	}
}
