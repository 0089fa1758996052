package bridge

import (
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/metadata"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/origin"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/record"
)

// turn is where a redirect of the upstream leads.
type turn uint8

const (
	// turnAway leads to another URL.
	turnAway turn = iota
	// turnSlash only adds or removes the final slash. The bridge follows it itself.
	turnSlash
	// turnBack leads to the URL that the client has requested.
	turnBack
)

// Redo implements [record.Hooks]. It follows, once, a redirect of the upstream to itself that changes nothing but the
// final slash of the path (contract A10). It is called only if the request can be sent
// again.
func (x *Exchange) Redo(_ *record.Record, res *http.Response) bool {
	if x.turn(res) != turnSlash {
		return false
	}
	x.takeSlash()
	x.followed = true
	return true
}

// FollowsSlash is Redo for a middleware. It reports whether the handlers that follow have to
// be called once more, with the other slash form of the path.
func (x *Exchange) FollowsSlash(status int, h http.Header) bool {
	if !x.Repeatable() || x.turn(&http.Response{StatusCode: status, Header: h, Request: x.request}) != turnSlash {
		return false
	}
	x.followed = true
	return true
}

// takeSlash sends the request, and further ones, to the other slash form of the path.
func (x *Exchange) takeSlash() {
	before := escapedPath(x.asked())
	x.Path, x.RawPath = ToggleSlash(x.Path), ToggleSlash(x.RawPath)
	if x.target == TargetEndpoint {
		x.endpoint.slash.learn(x.request.Method, x.Path != x.endpoint.cfg.UpstreamPath)
		return
	}
	x.endpoint.slash.learnMessage(before)
}

// turn returns where a redirect leads. 303 has the client go on with GET (RFC 9110 section
// 15.4.4), so for any other method it is an answer.
func (x *Exchange) turn(res *http.Response) turn {
	again := x.request.Method == http.MethodGet || x.request.Method == http.MethodHead
	if !isRedirect(res.StatusCode) && (res.StatusCode != http.StatusSeeOther || !again) {
		return turnAway
	}
	lines := res.Header["Location"]
	if len(lines) == 0 || !x.target.goesUpstream() {
		return turnAway
	}
	to, err := x.resolve(lines[0])
	if err != nil {
		return turnAway
	}
	// The name of a user changes nothing about where a client is led. The bridge does not follow
	// such a redirect itself.
	named := to.User != nil
	if to.User = nil; !x.owns(to, origin.Challenge) {
		return turnAway
	}
	here, there := escapedPath(x.asked()), escapedPath(to)
	same := to.RawQuery == requestQuery(res) && sameButSlash(here, there)
	switch public, ok := x.public(); {
	case same && here != there && !x.followed && !named:
		return turnSlash
	case !x.owns(to, origin.Reference):
		return turnAway
	case same:
		return turnBack
	case !ok || to.RawQuery != x.request.URL.RawQuery || !sameButSlash(pathOf(x.publicURL(to, public)), public.Path):
		return turnAway
	case !x.followed && !named && x.meansOwnPath(to, public):
		return turnSlash
	}
	return turnBack
}

// meansOwnPath reports whether a redirect to the public URL means the server's own path: a
// server that knows its public prefix redirects to the other slash form of the public path.
func (x *Exchange) meansOwnPath(to *url.URL, public metadata.Public) bool {
	at, here := x.asked(), escapedPath(to)
	u, err := origin.Parse(to.String())
	own, ownErr := origin.Parse(public.Origin)
	return err == nil && ownErr == nil && u.SameOrigin(own) && sameButSlash(here, public.Path) &&
		strings.HasSuffix(here, "/") != strings.HasSuffix(escapedPath(at), "/") &&
		strings.HasSuffix(public.Path, strings.TrimSuffix(escapedPath(at), "/"))
}

// asked returns the URL that the upstream was asked for, as far as it is known. In middleware mode
// neither the address nor the path of the later handlers is known.
func (x *Exchange) asked() *url.URL {
	at := &url.URL{Scheme: x.Scheme, Host: x.Host, Path: x.Path, RawPath: x.RawPath}
	if at.Path == "" {
		at.Path, at.RawPath = x.request.URL.Path, x.request.URL.RawPath
	}
	return at
}

// resolve parses a reference that the upstream sent against the URL that was asked for.
func (x *Exchange) resolve(ref string) (*url.URL, error) {
	if ref == "" {
		return nil, errors.New("empty reference")
	}
	u, err := url.Parse(ref)
	if err != nil {
		// Clients take a percent sign that begins no escape as it is.
		if u, err = url.Parse(escapePercent(ref)); err != nil {
			return nil, err
		}
	}
	to := x.asked().ResolveReference(u)
	if _, secret := to.User.Password(); to.User.Username() == "" && !secret {
		to.User = nil // as clients read `https://@host`
	}
	return to, nil
}

// escapePercent escapes percent signs that begin no escape.
func escapePercent(s string) string {
	var out strings.Builder
	for i := range len(s) {
		out.WriteByte(s[i])
		if s[i] == '%' && (i+2 >= len(s) || !isHex(s[i+1]) || !isHex(s[i+2])) {
			out.WriteString("25")
		}
	}
	return out.String()
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

// owns reports whether a resolved URL is the upstream's own, for one use.
func (x *Exchange) owns(u *url.URL, use origin.Use) bool {
	if u.Scheme == "" && u.Host == x.Host && u.User == nil {
		return true // relative, in a middleware
	}
	to, err := origin.Parse(u.String())
	if err != nil {
		return false
	}
	seen := origin.Seen{Sent: x.Host, Dial: x.Dial, HTTPS: x.Scheme == "https"}
	if x.mayBePublic(to.Name) {
		if public, ok := x.public(); ok {
			seen.Public, _ = origin.Parse(public.Origin)
		}
	}
	return x.endpoint.cfg.Names.Own(to, seen, use)
}

// requestQuery is the query that the upstream was asked with.
func requestQuery(res *http.Response) string {
	if res.Request == nil || res.Request.URL == nil {
		return ""
	}
	return res.Request.URL.RawQuery
}

// escapedPath is the escaped path of a URL; an empty one is the root.
func escapedPath(u *url.URL) string {
	if p := u.EscapedPath(); p != "" {
		return p
	}
	return "/"
}

// pathOf is the escaped path of an absolute URL.
func pathOf(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return ""
	}
	return escapedPath(u)
}

// sameButSlash reports whether two paths differ in nothing, or in one final slash.
func sameButSlash(a, b string) bool { return strings.TrimSuffix(a, "/") == strings.TrimSuffix(b, "/") }

// originOf returns the origin of a URL in the form of the option origins. It is empty if the URL
// has no origin that could be listed.
func originOf(u *url.URL) string {
	to, err := origin.Parse(u.String())
	if err != nil {
		return ""
	}
	return to.Origin()
}
