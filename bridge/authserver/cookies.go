package authserver

import (
	"net/http"
	"strings"
)

// cookieMark is the prefix of the names of the authorization server's cookies in the browser.
// The server gets only cookies with it, under their own names: no cookies of the whole domain
// or of other applications on the host.
const cookieMark = "mcp_as."

// cookiePrefixes change how a browser treats a cookie (RFC 6265bis section 4.1.3), so they must
// stay at the start of the name. A longer prefix stands before the shorter one that it begins
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

// unmarkName returns the name that the server gave a cookie. It returns false for a cookie that
// the server has not set. That includes a name with nothing or a space behind the mark: a server
// reads ` __Host-a` as a name with a prefix, although the browser did not apply the rules of that
// prefix.
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

// requestCookies removes the cookies that the server has not set, and gives the others the
// names that the server gave them.
func requestCookies(h http.Header) {
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

// responseCookies marks the names of the cookies that the server sets, and restricts them to
// the public host, whatever domain the server names. A cookie without a name is removed, since
// it cannot be marked.
func responseCookies(h http.Header) {
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
