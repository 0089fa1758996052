package doctor

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/doctor/probe"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/doctor/report"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/doctor/rules"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/doctor/urls"
)

// useToken uses the server with a token.
func (u *sessions) useToken(ctx context.Context, s *report.Step) {
	if u.login.token == "" {
		s.Skip("no token; use --login or --token")
		return
	}
	u.withToken = true
	if !u.login.loggedIn {
		defer u.explain(s)
	}
	credentials := http.Header{"Authorization": {"Bearer " + u.login.token}}
	a := u.sendSteppingUp(ctx, s, credentials, func() probe.Request {
		r := u.post("initialize", probe.InitializeMessage, probe.InitializeID)
		add(r.Header, credentials)
		return r
	})
	reply, ok := a.Reply()
	switch {
	case u.Obstructed(s, report.Fail, "initialize with the token", a), u.unserved(s, "initialize with the token", a):
		return
	case u.tokenRefused(s, a):
		return
	case a.Err != nil:
		u.Fail(s, "endpoint.answer", "initialize with the token gets no response: %s", a.Error)
		return
	case a.Redirect():
		u.judgeRedirectWithToken(s, a)
		return
	case a.OK() && ok && reply.Error == nil:
		u.Pass(s, "token.accepted", "the token is accepted")
		u.revision = reply.Revision()
		u.Report.Proven.Server = u.Secrets.Text(reply.ServerName())
		u.useSession(ctx, s, credentials, a.Header.Get("Mcp-Session-Id"))
	default:
		u.useStateless(ctx, s, credentials)
	}
}

// judgeRedirectWithToken records a redirect of a message with a token. The doctor does not
// follow it. Clients follow it if it keeps the message and the origin.
func (u *sessions) judgeRedirectWithToken(s *report.Step, a *probe.Answer) {
	where := u.Secrets.Link(a.Header.Get("Location"))
	to, err := u.Target.Parse(a.Header.Get("Location"))
	keeps := a.Status == http.StatusTemporaryRedirect || a.Status == http.StatusPermanentRedirect
	if err == nil && keeps && urls.Follows(u.Target, to) {
		u.Warn(s, "endpoint.redirect", "the message with the token is redirected (%d) to %s; the doctor does not follow redirects with a token", a.Status, where)
		return
	}
	u.Fail(s, "endpoint.redirect", "the message with the token is redirected (%d) to %s, where clients do not follow", a.Status, where)
}

// tokenRefused reports whether the token was refused, and records why.
func (u *sessions) tokenRefused(s *report.Step, a *probe.Answer) bool {
	if !u.withToken || a.Status != http.StatusUnauthorized && a.Status != http.StatusForbidden {
		return false
	}
	code, description, scope := "", "", ""
	if one, ok := parseChallenge(a.Header).first(); ok {
		code, _ = one.Param("error")
		description, _ = one.Param("error_description")
		scope, _ = one.Param("scope")
	}
	said := ""
	if description != "" {
		said = ": " + u.Secrets.Text(description)
	}
	if a.Status == http.StatusForbidden && code != "insufficient_scope" && scope == "" {
		u.Fail(s, "token.accepted", "the request with the token gets %s%s", strings.TrimSpace("403 "+u.Secrets.Text(code)), said)
		return true
	}
	if a.Status == http.StatusForbidden {
		u.NoteWith(s, report.Fail, "token.scope", u.couldStepUp(scope), "the token has too few scopes (%s); required: %s%s", strings.TrimSpace("403 "+u.Secrets.Text(code)), report.OrWord(u.Secrets.Text(scope), "not said"), said)
		return true
	}
	c, isJWT := readClaims(u.login.token)
	resource := report.OrWord(u.resource.doc.resource, u.Report.URL)
	switch {
	case isJWT && c.outside(time.Now()) != "":
		u.Fail(s, "token.time", "the server refuses the token (401); it %s%s", c.outside(time.Now()), said)
	case isJWT && len(c.Audience) > 0 && !slices.Contains(c.Audience, resource):
		u.NoteWith(s, report.Fail, "token.audience", report.Facts{rules.Misdirected: "yes"}, "the server refuses the token (401); it was issued for %s, not for %s%s", u.Secrets.Text(strings.Join(c.Audience, ", ")), u.Secrets.Link(resource), said)
	case isJWT && len(c.Audience) > 0 && u.login.loggedIn:
		u.Fail(s, "token.audience", "the server refuses the token (401) right after the login, although it was issued for %s: the server may expect another audience%s", u.Secrets.Text(strings.Join(c.Audience, ", ")), said)
	case strings.Contains(strings.ToLower(description), "audience"):
		u.Fail(s, "token.audience", "the server refuses the token (401)%s", said)
	default:
		u.Fail(s, "token.accepted", "the server refuses the token (%s)%s", strings.TrimSpace("401 "+u.Secrets.Text(code)), said)
	}
	return true
}

// scopesNeeded returns the scopes that the challenge of a 403 asks for (RFC 6750 section 3.1;
// MCP 2026-07-28 Authorization, Scope Challenge Handling).
func scopesNeeded(a *probe.Answer) (scopes string, insufficient bool) {
	one, ok := parseChallenge(a.Header).first()
	if a.Status != http.StatusForbidden || !ok {
		return "", false
	}
	code, _ := one.Param("error")
	scopes, _ = one.Param("scope")
	return scopes, code == "insufficient_scope" || scopes != ""
}

// sendSteppingUp sends a request. If it needs more scopes, and the caller wants that, it logs
// in once for these and sends the request again in the same session, as clients do.
func (u *sessions) sendSteppingUp(ctx context.Context, s *report.Step, credentials http.Header, request func() probe.Request) *probe.Answer {
	r := request()
	a := u.Send(ctx, s, r)
	needed, insufficient := scopesNeeded(a)
	if !insufficient || needed == "" || !u.login.opts.StepUp || !u.login.loggedIn || u.login.steppedUp {
		return a
	}
	if !u.login.stepUp(ctx, s, needed) {
		return a
	}
	credentials.Set("Authorization", "Bearer "+u.login.token)
	again := request()
	again.Name += ", with more scopes"
	a = u.Send(ctx, s, again)
	if _, insufficient := scopesNeeded(a); !insufficient && a.Err == nil && a.Status != http.StatusUnauthorized {
		u.Report.Proven.SteppedUp = strings.Fields(u.Secrets.Text(needed))
		u.Pass(s, "token.stepup", "%s needed more scopes (%s), and is answered after a second login", r.Name, u.Secrets.Text(needed))
	}
	return a
}

// couldStepUp are the facts about a refusal for too little scope.
func (u *sessions) couldStepUp(needed string) report.Facts {
	if u.login.loggedIn && !u.login.steppedUp && needed != "" {
		return report.Facts{rules.StepUp: "yes"}
	}
	return report.Facts{}
}

// callTool calls the tool that the caller has named.
func (u *sessions) callTool(ctx context.Context, s *report.Step, credentials http.Header, request func() probe.Request) {
	if u.call == "" {
		return
	}
	a := u.sendSteppingUp(ctx, s, credentials, request)
	tool := u.Secrets.Text(u.call)
	r, isReply := a.Reply()
	needed, insufficient := scopesNeeded(a)
	switch {
	case u.Obstructed(s, report.Fail, "the call of tool "+tool, a), u.unserved(s, "the call of tool "+tool, a):
	case insufficient && needed == "":
		u.Fail(s, "token.stepup", "tool %s needs more scopes (403), but the challenge does not say which: clients cannot log in for them", tool)
	case insufficient && u.login.steppedUp:
		u.Fail(s, "token.stepup", "tool %s still needs more scopes after the second login: %s", tool, u.Secrets.Text(needed))
	case insufficient:
		u.NoteWith(s, report.Warn, "token.stepup", u.couldStepUp(needed), "tool %s needs more scopes: %s; clients log in a second time for them, or fail if they cannot", tool, u.Secrets.Text(needed))
	case a.Status == http.StatusForbidden:
		u.Warn(s, "token.stepup", "tool %s is refused (403), and no challenge says that more scopes would help", tool)
	case u.tokenRefused(s, a):
	case a.Err != nil:
		u.Fail(s, "endpoint.answer", "the call of tool %s gets no response: %s", tool, a.Error)
	case isReply && r.Error != nil:
		u.Pass(s, "endpoint.answer", "the call of tool %s is answered with an error: %s", tool, u.excerpt(a, r))
	case isReply:
		u.Report.Proven.Called = tool
		u.Pass(s, "endpoint.answer", "tool %s is called", tool)
	default:
		u.Fail(s, "endpoint.answer", "the call of tool %s gets no JSON-RPC response: %d with %s", tool, a.Status, u.form(a))
	}
}
