package authserver

import (
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/identity"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/metadata"
)

// learn adds the target of a redirect to the server's own origin to the server's paths. ref is
// relative to the path of the request.
func (x *Request) learn(ref string) {
	u, err := url.Parse(ref)
	if err != nil || u.Host != "" || u.Scheme != "" {
		return
	}
	u = (&url.URL{Path: x.route.Path}).ResolveReference(u)
	path, ok := PlainPath(u)
	if x.server.cfg.OnlyListed || x.route.Kind != metadata.RouteAuthorize && x.route.Kind != metadata.RoutePage {
		return
	}
	if !ok || !x.mayOpen(path) || x.route.Server.Route(path) != metadata.RouteNone || x.server.listed(path) {
		return
	}
	if x.named(path) {
		x.note("authorization server redirects to a path that the request named, which is not served; "+
			"if it is a page of the login, list it in `paths`", path)
		return
	}
	x.open(path, "authorization server redirects to one of its paths, which is served from now on; "+
		"list it in `paths` if there are replicas of Caddy, or if a login may outlast a restart")
}

// mayOpen reports whether a path can become one of the server's pages. It cannot if it is the
// endpoint's or of the metadata, or if only the operator may list it.
func (x *Request) mayOpen(path string) bool {
	if x.server.cfg.Endpoint.Metadata.Reserved(path) || x.route.Server.Closed(path) {
		return false
	}
	return !x.server.cfg.Endpoint.Taken(path)
}

// open adds a path to the server's pages, and logs note if the path is new.
func (x *Request) open(path, note string) {
	if x.server.learned.pages.add(path) {
		x.note(note, path)
	}
}

func (x *Request) note(msg, path string) {
	if info := x.server.cfg.Info; info != nil {
		info(msg, path)
	}
}

// named reports whether the request names the path that the server redirects to, or its last
// segments. A client that can choose the target of a redirect could open any path of the
// upstream to everyone.
func (x *Request) named(path string) bool {
	if x.Held() == nil && !x.Repeatable() {
		return true // the body is passed on without being read
	}
	path = withoutParameters(path)
	if x.route.Kind == metadata.RoutePage && x.route.Path != path && strings.HasSuffix(x.route.Path, path) {
		return true
	}
	says := func(value string) bool { return strings.Contains(value, path) || endsWith(path, value) }
	if fieldsName(x.fields, path) {
		return true
	}
	for _, line := range x.cookies { // a client can send cookies that the server has not set
		for pair := range strings.SplitSeq(line, "; ") {
			_, value, _ := strings.Cut(pair, "=")
			if anyUnescaped(strings.Trim(value, `"`), says) {
				return true
			}
		}
	}
	for _, pairs := range []string{x.client.query, x.client.form} {
		for pair := range strings.SplitSeq(pairs, "&") {
			name, value, _ := strings.Cut(pair, "=")
			if name == "prompt" && oidcPrompts[value] {
				continue
			}
			if anyUnescaped(value, says) {
				return true
			}
		}
	}
	return false
}

// fieldsName reports whether a header field of a client's request names a path, or a prefix of
// it. Cookies are checked in [Request.named].
func fieldsName(h http.Header, path string) bool {
	says := func(value string) bool {
		return strings.Contains(value, path) || len(value) > 1 && value[0] == '/' && strings.HasPrefix(path, value)
	}
	for name, lines := range h {
		switch {
		case name == "Cookie", name == "User-Agent", !identity.Carried(name), strings.HasPrefix(name, "Accept"), strings.HasPrefix(name, "Sec-"):
			continue // their values have other meanings, with words that are also in paths
		}
		if slices.ContainsFunc(lines, func(line string) bool { return anyUnescaped(line, says) }) {
			return true
		}
	}
	return false
}

// oidcPrompts are the standard values of the parameter prompt (OpenID Connect Core 1.0 section
// 3.1.2.1). Servers may have pages of the same names.
var oidcPrompts = map[string]bool{"none": true, "login": true, "consent": true, "select_account": true}

// anyUnescaped reports whether is returns true for a value, or for the value unescaped once or
// several times.
func anyUnescaped(value string, is func(string) bool) bool {
	for range 3 {
		if is(value) {
			return true
		}
		unescaped, err := url.QueryUnescape(value)
		if err != nil || unescaped == value {
			return false
		}
		value = unescaped
	}
	return is(value)
}

// endsWith reports whether the last segments of a path are those of ref, a
// relative reference.
func endsWith(target, ref string) bool {
	if i := strings.IndexAny(ref, "?#;"); i >= 0 {
		ref = ref[:i]
	}
	if len(ref) > 2*len(target) {
		return false // too long to be worth cleaning
	}
	ref = path.Clean("/" + ref)
	return ref != "/" && strings.HasSuffix(strings.TrimSuffix(target, "/"), ref)
}

// learnClient adds the URL at which a client manages its registration to the server's paths.
func (x *Request) learnClient(ref string) {
	u, err := url.Parse(ref)
	if err != nil {
		return
	}
	path, ok := PlainPath(u)
	if ok && !x.server.cfg.Endpoint.Metadata.Reserved(path) && !x.route.Server.Closed(path) && x.route.Server.Route(path) == metadata.RouteNone {
		x.server.learned.clients.add(path)
	}
}
