package doctor

import (
	"net/http"
	"regexp"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/doctor/probe"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/doctor/report"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/doctor/rules"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/doctor/urls"
)

// plainToTLS matches the texts of servers that get plain HTTP at a port for TLS: those of
// Go, of nginx and of Apache.
var plainToTLS = regexp.MustCompile(`(?i)http request to an https server|plain http request was sent to https port|speaking plain http to an ssl-enabled server port`)

// judgePlainToTLS records that plain HTTP is spoken to a port for TLS: by the doctor, if the
// URL begins with http and no proxy is in between, or else by a proxy.
func (e *endpoint) judgePlainToTLS(s *report.Step, a *probe.Answer) {
	if e.Target.Scheme == "http" && !e.Caddy && a.Header.Get("Via") == "" {
		e.Fail(s, "connect.scheme", "the URL begins with http://, but the port speaks TLS (%d)", a.Status)
		return
	}
	who := "a proxy"
	if e.Caddy {
		who = "Caddy"
	}
	e.Fail(s, "endpoint.tls", "%s reaches the MCP server, but speaks plain HTTP to a TLS port; the server says: %d %q", who, a.Status, e.excerpt(a, probe.Reply{}))
}

// The texts of mcp_auth_bridge for a stdio server that does not run or is starting, and for
// too many sessions, and for a server that redirects in a circle.
var (
	programEnded    = regexp.MustCompile(`^the server could not be started|ended soon after its start|^the server has ended`)
	programStarts   = regexp.MustCompile(`^the server is still starting`)
	redirects       = regexp.MustCompile(`^the server redirects to the URL that it was asked for`)
	tooManySessions = regexp.MustCompile(`^too many sessions`)
)

// judgeGateway records that a proxy answers in place of the server.
func (e *endpoint) judgeGateway(s *report.Step, a *probe.Answer, r probe.Reply) {
	said, known := "", r.Error != nil && e.Bridged
	if r.Error != nil {
		said = ": " + e.excerpt(a, r)
	}
	seen := report.Facts{}
	switch {
	case known && programEnded.MatchString(r.Error.Message):
		seen[rules.Program] = "yes"
		e.NoteWith(s, report.Fail, "endpoint.upstream", seen, "Caddy cannot run the stdio server, or it ended (%d)%s", a.Status, said)
		return
	case known && programStarts.MatchString(r.Error.Message):
		seen[rules.Starting] = "yes"
		e.NoteWith(s, report.Fail, "endpoint.upstream", seen, "the stdio server does not answer yet (%d)%s", a.Status, said)
		return
	case known && tooManySessions.MatchString(r.Error.Message):
		seen[rules.Full] = "yes"
	case known && redirects.MatchString(r.Error.Message):
		seen[rules.Circle] = "yes"
		e.NoteWith(s, report.Fail, "endpoint.upstream", seen, "the server redirects in a circle (%d)%s", a.Status, said)
		return
	case a.Header.Get("Via") != "": // a proxy passed it on
		if seen[rules.Relayed] = "yes"; a.Whole && len(a.Body) == 0 {
			seen[rules.Empty] = "yes"
		}
		e.NoteWith(s, report.Fail, "endpoint.upstream", seen, "the server behind the proxy answers %d%s", a.Status, said)
		return
	default:
		seen[rules.Gateway] = "yes"
	}
	e.NoteWith(s, report.Fail, "endpoint.upstream", seen, "a proxy answers, but the MCP server behind it does not (%d)%s", a.Status, said)
}

// judgeOpen warns if a server at a public address requires no login. Credentials of the
// caller may be what opened it.
func (e *endpoint) judgeOpen(s *report.Step, header http.Header) {
	if !e.opened || urls.Private(e.Target) || header.Get("Authorization") != "" || header.Get("Cookie") != "" {
		return
	}
	e.Warn(s, "endpoint.open", "anyone who can reach this address can use the server: it requires no login")
}
