package authserver

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/metadata"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/record"
)

// mapLocation maps a redirect to the server's own origin, and returns whether it changed
// anything. A redirect that takes the browser back to a client keeps its target; only an issuer
// in it is mapped (RFC 9207 section 2).
func (x *Request) mapLocation(h http.Header) (mapped bool) {
	ref, ok := record.FirstLine(h, "Location")
	if !ok {
		return false
	}
	if isRelative(ref) {
		x.learn(ref)
		return false
	}
	absolute := ref
	if strings.HasPrefix(ref, "//") {
		absolute = x.Scheme + ":" + ref
	}
	to, own := x.mapURL(absolute)
	before, query, after := splitQuery(ref)
	if own && !x.toClient(before, query, after) {
		x.learn(strings.TrimPrefix(to, x.route.Server.Public()))
		h["Location"] = []string{to}
		return to != ref
	}
	if !isAnswer(query) {
		return false
	}
	query, mapped = editParam(query, "iss", x.route.Server.MapIssuer)
	if mapped {
		h["Location"] = []string{before + query + after}
	}
	return mapped
}

// emptyRedirect removes the body of a redirect that was mapped: it names the private URL, for
// people to read.
func emptyRedirect(res *http.Response) {
	if res.StatusCode/100 != 3 {
		return
	}
	_ = res.Body.Close()
	res.Body, res.ContentLength = http.NoBody, 0
	delete(res.Header, "Content-Type")
	delete(res.Header, "Content-Encoding")
	res.Header["Content-Length"] = []string{"0"}
}

// isRelative reports whether a reference has neither scheme nor authority. A
// client's redirect URI has both (RFC 6749 section 3.1.2).
func isRelative(ref string) bool {
	if strings.HasPrefix(ref, "//") || strings.HasPrefix(ref, `/\`) || strings.HasPrefix(ref, `\`) {
		return false
	}
	colon, end := strings.IndexByte(ref, ':'), strings.IndexAny(ref, "/?#")
	return colon < 0 || end >= 0 && end < colon
}

// isAnswer reports whether a query is that of an authorization response (RFC
// 6749 sections 4.1.2 and 4.1.2.1).
func isAnswer(query string) bool {
	_, code := param(query, "code")
	_, fault := param(query, "error")
	return code || fault
}

// toClient reports whether a redirect to the server's own origin is one to a client. A client
// that runs on its user's machine may have the same loopback address there as the server has
// on its machine. The target of such a redirect does not become a path of the server.
func (x *Request) toClient(before, query, fragment string) bool {
	before = strings.TrimSuffix(before, "?")
	if x.redirectURI != "" {
		if want, _, _ := splitQuery(x.redirectURI); strings.TrimSuffix(want, "?") == before {
			return true
		}
	}
	if _, code := param(query, "code"); code {
		return true
	}
	fragment = strings.TrimPrefix(fragment, "#")
	if _, token := param(fragment, "access_token"); token || isAnswer(fragment) {
		return true
	}
	if _, fault := param(query, "error"); !fault {
		return false
	}
	u, err := url.Parse(before)
	return err != nil || !x.server.listed(u.Path) && x.route.Server.Route(u.Path) == metadata.RouteNone
}
