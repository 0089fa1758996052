package doctor

import (
	"fmt"
	"net/url"
	"strings"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/doctor/probe"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/doctor/report"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/doctor/rules"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/doctor/urls"
)

// judge completes the report when all steps are done.
func (w *walk) judge() {
	w.cure()
	p := &w.Report.Proven
	p.SignedIn = w.login.loggedIn
	if w.issuer.doc.Document != nil {
		p.AuthorizationServer = w.Secrets.Link(w.issuer.issuer)
		p.PKCE, p.Registration = w.issuer.supportsPKCE(), w.issuer.registration()
	}
	w.Report.Judge(w.Lost, w.works())
	if v := &w.Report.Verdict; v.State != report.Healthy {
		v.Effect = w.effect(v)
	}
}

// works says what works.
func (w *walk) works() string {
	p := w.Report.Proven
	switch {
	case p.SignedIn && p.Session && len(p.SteppedUp) > 0:
		return "Login works: signed in, " + w.opened() + ". Step-up works: a second login got " + strings.Join(p.SteppedUp, " ") + "."
	case p.SignedIn && p.Session:
		return "Login works: signed in, " + w.opened() + "."
	case p.SignedIn:
		return "Login works: signed in, and the server accepts the token."
	case w.login.token != "" && p.Session:
		return "The token works: " + w.opened() + "."
	case w.resource.noLogin:
		return "No login, by intention: clients need a key, or an account of the site. Test a key with `--token`."
	case w.endpoint.refused != nil:
		return "Clients can start the login."
	case p.Session:
		return "No login required: " + w.opened() + "."
	}
	return "No login required: the server answers."
}

// opened describes what the doctor could use.
func (w *walk) opened() string {
	p := w.Report.Proven
	name := "the server"
	if p.Server != "" {
		name = fmt.Sprintf("%q", p.Server)
	}
	text := "opened a session with " + name
	switch {
	case w.endpoint.httpSSE:
		text = name + " answers over HTTP+SSE"
	case p.Revision == probe.StatelessRevision:
		text = name + " answers without a session"
	}
	if p.Revision != "" {
		text += " (" + p.Revision + ")"
	}
	switch {
	case p.Tools == nil:
	case p.More:
		text = fmt.Sprintf("%s, %d tools and more", text, *p.Tools)
	case *p.Tools == 1:
		text += ", 1 tool"
	default:
		text = fmt.Sprintf("%s, %d tools", text, *p.Tools)
	}
	if p.Called != "" {
		text += ", called " + p.Called
	}
	return text
}

// effect says what clients do because of the first failure.
func (w *walk) effect(v *report.Verdict) string {
	switch {
	case w.Lost:
		return "Clients cannot connect"
	case v.Finding.AboutPages(), v.Step == stepPreflight:
		return "Browser clients stop"
	}
	switch v.Step {
	case stepInit, stepDiscover, stepGet, stepConnect:
		return "Clients cannot use this URL"
	case stepSession:
		return "Clients connect, but cannot use the server"
	case stepChallenge, stepResource, stepServer, stepEndpoints:
		return "Clients stop before login"
	case stepDPoP:
		return "Clients with DPoP are refused"
	case stepToken:
		switch {
		case w.login.steppedUp:
			return "Login works, but step-up does not"
		case w.login.loggedIn:
			return "Login works, but the token does not"
		}
		return "The token does not work"
	}
	return "Login fails"
}

// learned returns the private origin by which the server names itself, or "".
func (w *walk) learned() string {
	for _, s := range w.Report.Steps {
		for _, f := range s.Findings {
			group, _, _ := strings.Cut(f.Rule, ".")
			if group != "challenge" && group != "resource" && group != "metadata" {
				continue
			}
			if u, err := url.Parse(f.Facts[rules.Other]); err == nil && u.Host != "" && urls.Private(u) {
				return urls.Origin(u)
			}
		}
	}
	return ""
}
