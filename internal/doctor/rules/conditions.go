package rules

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/doctor/report"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/doctor/urls"
)

// The names of facts. The values of the first two also fill {other} and {fields}. The
// others are conditions.
const (
	Other       = "other"       // origin or path that a server names instead of its public one
	Fields      = "fields"      // request header fields that a page may not send
	Slash       = "slash"       // a redirect adds or removes the final slash
	Basic       = "basic"       // there is a Basic challenge
	Own         = "own"         // mcp_auth_bridge wrote the answer
	BadRedirect = "redirect"    // the redirect URI was refused
	Misdirected = "misdirected" // the token is for another audience
	StepUp      = "stepup"      // a second login may help, and was not tried
	Untrusted   = "untrusted"   // the certificate is signed by an unknown CA
	Expired     = "expired"     // the certificate is not valid now
	Misnamed    = "misnamed"    // the certificate is for other names
	Unchecked   = "unchecked"   // the certificate was not checked
	Plain       = "plain"       // plain HTTP is spoken at an https URL
	Website     = "website"     // the answer is an HTML page
	Gateway     = "gateway"     // a proxy answers in place of the server
	Relayed     = "relayed"     // Caddy passed the answer of the server on
	Empty       = "empty"       // the answer has no body
	Wordless    = "wordless"    // the answer has no JSON-RPC message
	Program     = "program"     // a stdio server does not run
	Starting    = "starting"    // a stdio server is starting
	Full        = "full"        // there are too many sessions
)

// condition reports whether a fix helps.
type condition func(*Situation, report.Facts) bool

func always(*Situation, report.Facts) bool { return true }

// bridged and bare report whether mcp_auth_bridge is in front of the server.
func bridged(s *Situation, _ report.Facts) bool { return s.Bridged }
func bare(s *Situation, _ report.Facts) bool    { return !s.Bridged }

func is(fact string) condition {
	return func(_ *Situation, f report.Facts) bool { return f[fact] != "" }
}

func both(a, b condition) condition {
	return func(s *Situation, f report.Facts) bool { return a(s, f) && b(s, f) }
}

func either(a, b condition) condition {
	return func(s *Situation, f report.Facts) bool { return a(s, f) || b(s, f) }
}

func not(a condition) condition {
	return func(s *Situation, f report.Facts) bool { return !a(s, f) }
}

var (
	elsewhere       = is(Other)
	needsFields     = is(Fields)
	bySlash         = is(Slash)
	byBasic         = is(Basic)
	ownMetadata     = is(Own)
	redirectRefused = is(BadRedirect)
	misdirected     = is(Misdirected)
	stepUp          = is(StepUp)
	isUntrusted     = is(Untrusted)
	isExpired       = is(Expired)
	misnamed        = is(Misnamed)
	isUnchecked     = is(Unchecked)
	isPlain         = is(Plain)
	isRelayed       = is(Relayed)
	isEmpty         = is(Empty)
	isWordless      = is(Wordless)
	isCircle        = is(Circle)
	isWebsite       = is(Website)
	isGateway       = is(Gateway)
	isProgram       = is(Program)
	isStarting      = is(Starting)
	isFull          = is(Full)
)

// otherTLS reports whether TLS does not work for a reason that has no fact.
func otherTLS(_ *Situation, f report.Facts) bool {
	return f[Untrusted]+f[Expired]+f[Misnamed]+f[Unchecked]+f[Plain] == ""
}

// searched reports whether the usual paths were tried in vain.
func searched(s *Situation, _ report.Facts) bool { return s.Searched }

// behindCaddy reports whether a Caddy is in front of the server.
func behindCaddy(s *Situation, _ report.Facts) bool { return s.Caddy }

// askedPage reports whether the caller named the origin of a page.
func askedPage(s *Situation, _ report.Facts) bool { return s.Page != "" }

// isPrivate reports whether the server has a private address.
func isPrivate(s *Situation, _ report.Facts) bool { return urls.Private(s.Target) }

// upstreamHTTPS reports whether the upstream that the caller gave is dialled with TLS.
func upstreamHTTPS(s *Situation, _ report.Facts) bool {
	return strings.HasPrefix(s.Upstream, "https://")
}

// unlisted reports whether the server names itself by another address than that of the
// upstream, or whether the upstream is unknown.
func unlisted(s *Situation, f report.Facts) bool {
	u, err := url.Parse(s.dials())
	return f[Other] != "" && (err != nil || u.Host == "" || urls.Origin(u) != f[Other])
}

// hasQuery reports whether the URL of the server has a query.
func hasQuery(s *Situation, _ report.Facts) bool { return s.Target.RawQuery != "" }

// guarded reports whether the preflight was refused because it had no credentials.
func guarded(s *Situation, _ report.Facts) bool {
	return slices.Contains([]int{http.StatusUnauthorized, http.StatusForbidden, http.StatusProxyAuthRequired}, s.Preflight)
}

// usualPath reports whether the URL already has the path /mcp, as most servers do.
func usualPath(s *Situation, _ report.Facts) bool {
	return strings.TrimSuffix(s.Target.Path, "/") == "/mcp"
}

// ownRefusal reports whether mcp_auth_bridge refused the origin of the page.
func ownRefusal(s *Situation, _ report.Facts) bool { return s.RefusedOrigin }

// ownIssuer reports whether the MCP server may be its own authorization server, which is
// not bridged. It has then the origin of the MCP server. Behind mcp_auth_bridge that is
// the origin of the upstream, or a private one if the upstream is unknown.
func ownIssuer(s *Situation, f report.Facts) bool {
	issuer := s.Issuer
	if !s.Bridged {
		return issuer == urls.Origin(s.Target)
	}
	if u, err := url.Parse(s.Upstream); err == nil && u.Host != "" {
		return issuer == urls.Origin(u)
	}
	u, err := url.Parse(issuer)
	return err == nil && u.Host != "" && urls.Private(u) && !bridgedIssuer(s, f)
}

// bridgedIssuer reports whether mcp_auth_bridge bridges the authorization server.
func bridgedIssuer(s *Situation, _ report.Facts) bool {
	return s.Bridged && s.Issuer == urls.Origin(s.Target)
}
