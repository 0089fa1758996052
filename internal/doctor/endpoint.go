package doctor

import (
	"context"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/safetext"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/doctor/probe"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/doctor/record"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/doctor/report"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/doctor/rules"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/doctor/urls"
)

// endpoint is the stage of the first messages of a client, without a token. Later stages
// use what it finds.
type endpoint struct {
	*record.Recorder
	timeout time.Duration

	sendTo     *url.URL      // the URL of the server, or where it redirects to at the same origin
	withToken  bool          // the messages now have a token
	initialize *probe.Answer // answer to the first message
	refused    *probe.Answer // the first 401, or an answer that has the challenge of one; nil if there was none
	opened     bool          // the server answered without a token
	stateless  bool          // the server answered server/discover
	httpSSE    bool          // the server is one of HTTP+SSE
	session    string        // id of the session that initialize began
	revision   string        // of the session
}

// sendInitialize sends the first message of a client, without a token.
func (e *endpoint) sendInitialize(ctx context.Context, s *report.Step) {
	a := e.Send(ctx, s, e.post("initialize", probe.InitializeMessage, probe.InitializeID))
	a = e.withoutPage(ctx, s, a)
	a = e.followed(ctx, s, a)
	e.initialize = a
	e.judgeFirst(ctx, s, a)
	e.readable(s, a)
}

// withoutPage sends initialize again without an Origin field if the first one was answered
// with 403. If that helps, no later request has the field.
func (e *endpoint) withoutPage(ctx context.Context, s *report.Step, a *probe.Answer) *probe.Answer {
	if a.Status != http.StatusForbidden || e.Page == "" || a.Header.Get("WWW-Authenticate") != "" {
		return a
	}
	page := e.Page
	e.Page = ""
	again := e.Send(ctx, s, e.post("initialize, not as a page", probe.InitializeMessage, probe.InitializeID))
	if again.Err != nil || again.Status == http.StatusForbidden {
		e.Page = page
		return a
	}
	e.Note(s, e.PageLevel(), "endpoint.origin", "requests from pages at %s get 403, others do not", page)
	return again
}

// followed follows one redirect of the first message, as clients do, if it stays at the
// same origin.
func (e *endpoint) followed(ctx context.Context, s *report.Step, a *probe.Answer) *probe.Answer {
	if !a.Redirect() {
		return a
	}
	to, err := e.Target.Parse(a.Header.Get("Location"))
	where := e.Secrets.Link(a.Header.Get("Location"))
	switch {
	case asksByRedirect(a, to):
		e.judgeGate(s, a, where)
		return a
	case err != nil || urls.Origin(to) != urls.Origin(e.Target):
		e.Fail(s, "endpoint.redirect", "the first message is redirected (%d) to another host, %s", a.Status, where)
		e.Unusable = true
		return a
	}
	seen := report.Facts{}
	if strings.TrimSuffix(to.Path, "/") == strings.TrimSuffix(e.Target.Path, "/") && to.RawQuery == e.Target.RawQuery {
		seen = report.Facts{rules.Slash: "yes", rules.Other: safetext.Printable(to.EscapedPath())}
	}
	if a.Status != http.StatusTemporaryRedirect && a.Status != http.StatusPermanentRedirect {
		e.NoteWith(s, report.Fail, "endpoint.redirect", seen, "the first message is redirected with %d to %s, which turns a POST into a GET", a.Status, where)
		e.Unusable = true
		return a
	}
	e.NoteWith(s, report.Warn, "endpoint.redirect", seen, "the first message is redirected (%d) to %s", a.Status, where)
	e.sendTo = to
	return e.Send(ctx, s, e.post("initialize, redirected", probe.InitializeMessage, probe.InitializeID))
}

// loginPage matches URLs of login pages.
var loginPage = regexp.MustCompile(`(?i)(^|[./_-])(log[-_]?in|sign[-_]?in|sso|saml2?|oauth2?|authorize|auth|cas)([./_-]|$)`)

// asksByRedirect reports whether a redirect leads to a login, as proxies that log browsers
// in send it: it has a challenge, or the URL of a login page.
func asksByRedirect(a *probe.Answer, to *url.URL) bool {
	if len(a.Header.Values("WWW-Authenticate")) > 0 {
		return true
	}
	get := a.Status == http.StatusFound || a.Status == http.StatusSeeOther
	return get && to != nil && loginPage.MatchString(to.Hostname()+to.Path)
}

// judgeGate records a redirect to a login.
func (e *endpoint) judgeGate(s *report.Step, a *probe.Answer, where string) {
	e.Unusable = true
	c := parseChallenge(a.Header)
	how := ""
	switch {
	case len(c.bearer) > 0 || c.dpop:
		how = "; clients read its challenge only with a 401"
	case len(c.others) > 0:
		how = "; its challenge has the scheme " + e.Secrets.Text(strings.Join(c.others, ", ")) + ", which clients do not know"
	case len(c.lines) > 0:
		how = "; its challenge has a syntax error"
	}
	e.Fail(s, "endpoint.login", "the server redirects (%d) to a login page, %s, instead of answering 401%s", a.Status, where, how)
}

// judgeFirst checks what answered the first message.
func (e *endpoint) judgeFirst(ctx context.Context, s *report.Step, a *probe.Answer) {
	switch {
	case len(s.Findings) > 0 && e.Unusable:
	case a.Err != nil:
		e.Lost = !a.Slow
		rule, text, seen := unreached(a.Err)
		e.NoteWith(s, report.Fail, rule, seen, "%s: %s", text, a.Error)
	case a.Status == http.StatusUnauthorized:
		e.refused = a
		e.Pass(s, "endpoint.status", "401: login is required")
	case a.OK():
		e.judgeWelcome(s, a)
	case a.Status == http.StatusNotFound, a.Status == http.StatusMethodNotAllowed, a.Status == http.StatusGone:
		e.judgeAbsent(ctx, s, a)
	default:
		e.judgeError(ctx, s, a)
	}
}

// judgeWelcome checks a successful answer to the first message.
func (e *endpoint) judgeWelcome(s *report.Step, a *probe.Answer) {
	r, ok := a.Reply()
	switch {
	case ok && r.Error == nil:
		e.opened = true
		e.session, e.revision = a.Header.Get("Mcp-Session-Id"), r.Revision()
		e.Report.Proven.Server = e.Secrets.Text(r.ServerName())
		e.Pass(s, "endpoint.answer", "%s answers without login", report.OrWord(e.Secrets.Text(r.ServerName()), "a server"))
	case a.IsStream() && a.Slow:
		e.Unusable = true
		e.Fail(s, "endpoint.stream", "the event stream begins, but no event arrives in time: something buffers it")
	case ok && probe.WantsLogin(r.Error.Message), !ok && a.IsJSON() && probe.WantsLogin(string(a.Body)):
		e.Unusable = true
		e.Fail(s, "endpoint.status", "the server says that login is required in a response with status %d, but clients log in only after a 401: %s", a.Status, e.excerpt(a, r))
	case ok:
		e.Warn(s, "endpoint.answer", "initialize is refused: %s", e.excerpt(a, r))
	case a.IsHTML():
		e.Unusable = true
		e.NoteWith(s, report.Fail, "endpoint.mcp", report.Facts{rules.Website: "yes"}, "a website answers at this URL: %d with %s", a.Status, e.form(a))
	default:
		e.Unusable = true
		e.Fail(s, "endpoint.mcp", "the response is not from an MCP server: %d with %s", a.Status, e.form(a))
	}
}

// hostRefusal matches the texts of servers that refuse the Host field.
var hostRefusal = regexp.MustCompile(`(?i)\bhosts?\b`)

// form describes the form of an answer: its media type, and whether it is empty.
func (e *endpoint) form(a *probe.Answer) string {
	form := report.OrWord(e.Secrets.Text(a.MediaType()), "no Content-Type")
	switch {
	case a.Undecodable() != "":
		form += ", which " + e.Secrets.Text(a.Undecodable())
	case a.Whole && len(a.Body) == 0 && !a.IsStream():
		form += ", and nothing in it"
	}
	return form
}

// excerpt returns the error of an answer, or the beginning of its body, as it may be shown.
func (e *endpoint) excerpt(a *probe.Answer, r probe.Reply) string {
	if a.Err != nil {
		return a.Error
	}
	if r.Error != nil {
		return e.Secrets.Text(r.Error.Message)
	}
	return e.Secrets.Show(strings.TrimSpace(string(a.Body)), probe.ExcerptSize)
}

// judgeAbsent handles 404, 405 and 410. A server of HTTP+SSE accepts no POST here, so it tries
// that transport before it reports that the path is wrong.
func (e *endpoint) judgeAbsent(ctx context.Context, s *report.Step, a *probe.Answer) {
	_, reply := a.Reply()
	if reply && a.Status == http.StatusNotFound {
		return // the server does not have the method; server/discover shows more
	}
	if e.useEventStream(ctx, s) || reply {
		return
	}
	e.Unusable = true
	if a.Status == http.StatusMethodNotAllowed {
		e.Fail(s, "endpoint.path", "there is no MCP endpoint at this path: POST gets 405, and GET is not an event stream")
		return
	}
	e.Fail(s, "endpoint.path", "there is no MCP endpoint at this path (%d)", a.Status)
}

// judgeError checks an answer with any other status.
func (e *endpoint) judgeError(ctx context.Context, s *report.Step, a *probe.Answer) {
	r, isReply := a.Reply()
	said := strings.ToLower(string(a.Body))
	switch {
	case a.Header.Get("WWW-Authenticate") != "":
		e.refused = a
		e.Fail(s, "endpoint.status", "WWW-Authenticate comes with status %d instead of 401, so clients ignore it", a.Status)
	case e.Obstructed(s, report.Fail, "initialize", a):
		e.Unusable = true
	case a.Status == http.StatusMisdirectedRequest, a.Status == http.StatusForbidden && !a.IsHTML() && hostRefusal.MatchString(said):
		e.Unusable = true
		e.Fail(s, "endpoint.host", "the server refuses the host name (%d): %s", a.Status, e.excerpt(a, r))
	case a.Status == http.StatusForbidden:
		e.Unusable = true
		e.Fail(s, "endpoint.status", "a request without a token gets 403, but clients log in only after a 401: %s", report.OrWord(e.excerpt(a, r), "no body"))
	case a.Status == http.StatusBadRequest && plainToTLS.MatchString(said):
		e.Unusable = true
		e.judgePlainToTLS(s, a)
	case a.Status == http.StatusBadGateway, a.Status == http.StatusGatewayTimeout, a.Status == http.StatusServiceUnavailable && isReply && r.Error != nil && e.Bridged:
		e.Unusable = true
		e.judgeGateway(s, a, r)
	case a.Status >= 500 && !a.IsHTML() && probe.WantsLogin(said):
		e.Unusable = true
		e.Fail(s, "endpoint.status", "the server says that login is required with status %d instead of 401: %s", a.Status, e.excerpt(a, r))
	case a.Status == http.StatusServiceUnavailable:
		e.Unusable = true
		e.Fail(s, "endpoint.upstream", "the server or a proxy answers 503 (unavailable): %s", report.OrWord(e.excerpt(a, r), "no body"))
	case a.Status >= 500:
		e.Unusable = true
		e.Fail(s, "endpoint.upstream", "the server answers %d: %s", a.Status, report.OrWord(e.excerpt(a, r), "no body"))
	case isReply && r.Error != nil:
		e.Warn(s, "endpoint.answer", "initialize is refused with %d: %s", a.Status, e.excerpt(a, r))
	case a.Redirect():
	case a.Status == http.StatusBadRequest && e.useEventStream(ctx, s):
	default:
		e.Unusable = true
		seen := report.Facts{}
		if !isReply {
			seen[rules.Wordless] = "yes"
		}
		e.NoteWith(s, report.Fail, "endpoint.answer", seen, "initialize is refused with %d: %s", a.Status, report.OrWord(e.excerpt(a, r), "no body"))
	}
}

// sendDiscover sends the first message of a stateless client (2026-07-28).
func (e *endpoint) sendDiscover(ctx context.Context, s *report.Step) {
	a := e.Send(ctx, s, e.statelessPost("server/discover", "server/discover", probe.DiscoverMessage, probe.DiscoverID))
	r, ok := a.Reply()
	switch {
	case a.Err != nil && (e.opened || e.refused != nil):
		e.Warn(s, "discover.agrees", "server/discover gets no response: %s", a.Error)
	case (e.opened || e.refused != nil) && e.Obstructed(s, report.Warn, "server/discover", a):
	case e.Obstructed(s, report.Fail, "server/discover", a):
		e.Unusable = true
	case a.Status == http.StatusUnauthorized:
		if e.refused == nil {
			e.refused = a
		}
		if e.opened {
			e.Warn(s, "discover.agrees", "server/discover requires login (401), initialize does not")
			return
		}
		e.Pass(s, "discover.agrees", "401: login is required")
	case a.OK() && ok && r.Error == nil:
		e.stateless = true
		if e.refused != nil {
			e.Pass(s, "discover.agrees", "answered without login")
			return
		}
		e.opened = true
		e.Report.Proven.Server = report.OrWord(e.Report.Proven.Server, e.Secrets.Text(r.ServerName()))
		e.Pass(s, "discover.agrees", "%s answers", report.OrWord(e.Secrets.Text(r.ServerName()), "a server"))
	case a.Status >= 500 && (e.opened || e.refused != nil):
		e.Warn(s, "discover.agrees", "server/discover gets %d; clients expect 400 or 404 if a server does not support it", a.Status)
	case e.opened || e.refused != nil:
		e.Pass(s, "discover.agrees", "%d: not supported; clients fall back to initialize", a.Status)
	default:
		e.Unusable = true
		e.Fail(s, "endpoint.answer", "the server answers neither initialize nor server/discover: %s %s", report.StatusText(a.Status), e.excerpt(a, r))
	}
}
