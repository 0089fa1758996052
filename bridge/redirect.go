package bridge

import (
	"bytes"
	"cmp"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/metadata"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/origin"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/record"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/stats"
)

// editRedirect maps Location and Content-Location. A redirect that leads the client back to
// the URL that it has requested is answered with an error instead.
func (x *Exchange) editRedirect(res *http.Response) {
	if len(res.Header["Location"]) == 0 && len(res.Header["Content-Location"]) == 0 || !x.target.goesUpstream() {
		return
	}
	switch turn := x.turn(res); {
	case turn == turnAway:
	case turn == turnBack, x.Path != "":
		to, err := x.resolve(res.Header["Location"][0])
		if err != nil {
			return
		}
		x.refuseTurn(res, to)
		if turn == turnSlash {
			// The body was too large to be held, and is gone. The next request takes
			// the other slash form at once.
			x.takeSlash()
		}
	}
	x.mapReference(res, "Location")
	x.mapReference(res, "Content-Location")
}

// refuseTurn replaces a redirect that leads the client back to the URL that it has requested.
func (x *Exchange) refuseTurn(res *http.Response, to *url.URL) {
	here, there := x.asked(), escapedPath(to)
	status, text := http.StatusBadGateway, "the server redirects to the URL that it was asked for; its operator has to correct that"
	n := stats.Notice{Message: "MCP server redirects to the requested URL", Subject: there}
	switch same := there == escapedPath(here); {
	case !x.Repeatable() && !x.followed && !same:
		n.Message, n.Add = "redirect of the MCP server not followed: large request body", stats.CaddyfileLine("upstream_path", there)
		n.Advice = "give the path that it serves; or raise `limits max_held_body`, up to which bodies can be sent again"
		if x.target == TargetMessage {
			n.Add = stats.CaddyfileLine("message_path", there)
		}
		status, text = http.StatusServiceUnavailable, "the server has moved the request, which is too large to be sent again at once; send it again"
	case same && to.Scheme == "https" && here.Scheme == "http":
		n.Advice = "it insists on https: dial it with https://, or have it trust X-Forwarded-Proto"
	case same || x.followed:
		n.Subject = x.endpoint.cfg.UpstreamPath
		n.Advice = "it redirects in a circle: correct the server, or the proxy in front of it"
	default:
		n.Advice, n.Add = "that is another path to the server than the one asked for: give the one that it serves", stats.CaddyfileLine("upstream_path", there)
	}
	x.endpoint.notices.Report(n)
	discard(res, status)
	body := message.Error(nil, message.CodeInternal, text)
	res.Body, res.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	h := res.Header
	h["Content-Length"], h["Content-Type"], h["Cache-Control"] = []string{strconv.Itoa(len(body))}, []string{"application/json"}, []string{"no-store"}
	if delete(h, "Retry-After"); status == http.StatusServiceUnavailable {
		h["Retry-After"] = []string{"1"}
	}
}

// mapReference maps a Location or Content-Location that names the upstream to the public
// URL. A foreign one stays; a redirect to one is reported.
func (x *Exchange) mapReference(res *http.Response, name string) {
	ref, ok := record.FirstLine(res.Header, name)
	if !ok {
		return
	}
	to, err := x.resolve(ref)
	if err != nil {
		return
	}
	if !x.owns(to, origin.Reference) {
		x.noticeForeign(to, res, name)
		return
	}
	public, ok := x.public()
	if !ok { // the request names no usable host
		delete(res.Header, name)
		return
	}
	mapped := x.publicURL(to, public)
	res.Header[name] = []string{mapped}
	if own := strings.TrimSuffix(public.URL(), "/"); name == "Location" && isRedirect(res.StatusCode) && !sameButSlash(withoutQuery(mapped), withoutQuery(own)) {
		n := stats.Notice{
			Message: "MCP server redirects to another of its paths", Subject: escapedPath(to),
			Advice: "clients are led to that path of the site: if the MCP server is there, give its path; else have the site serve it",
		}
		if x.endpoint.cfg.UpstreamPath != "" { // it is empty for a middleware
			n.Add = stats.CaddyfileLine("upstream_path", n.Subject)
		}
		x.endpoint.notices.Report(n)
	}
}

// isRedirect reports whether a status has clients send the same request elsewhere.
func isRedirect(status int) bool {
	switch status {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		return true
	}
	return false
}

// withoutQuery is a URL without its query and fragment.
func withoutQuery(raw string) string {
	return raw[:min(len(raw), strings.IndexAny(raw+"?", "?#"))]
}

// publicURL maps a URL of the upstream to the one that clients reach. The endpoint's own path
// is mapped; any other path stays, at the public origin.
func (x *Exchange) publicURL(to *url.URL, public metadata.Public) string {
	mapped := public.Origin
	base := x.endpoint.cfg.UpstreamPath
	if base == "" {
		base = x.endpoint.cfg.Path
	}
	switch base = strings.TrimSuffix(base, "/"); to.Path {
	case base:
		mapped = public.URL()
	case base + "/":
		mapped = strings.TrimSuffix(public.URL(), "/") + "/"
	default:
		mapped += to.EscapedPath()
	}
	if to.RawQuery != "" {
		mapped += "?" + to.RawQuery
	}
	if to.Fragment != "" {
		mapped += "#" + to.EscapedFragment()
	}
	return mapped
}

// noticeForeign reports a redirect to another origin. Either clients are meant to go there, or
// the origin is a name of the server that is not configured.
func (x *Exchange) noticeForeign(to *url.URL, res *http.Response, name string) {
	if name != "Location" || res.StatusCode/100 != 3 || to.Host == "" {
		return
	}
	at := originOf(to)
	n := stats.Notice{
		Message: "MCP server redirects to another origin", Subject: cmp.Or(at, to.Scheme+"://"+to.Host),
		Advice: "clients of MCP do not follow to a login: have the server, or the gate before it, answer 401",
	}
	if here := escapedPath(to); sameButSlash(here, escapedPath(x.asked())) || sameButSlash(here, x.endpoint.cfg.Path) {
		n.Advice, n.Add = "if the origin is the server's own, list it in the block challenge", stats.CaddyfileLine("origins", at)
	}
	x.endpoint.notices.Report(n)
}
