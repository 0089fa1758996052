package doctor

import (
	"context"
	"net/http"
	"strings"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/doctor/probe"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/doctor/report"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/doctor/rules"
)

// sessionTries is how many messages check whether a session is kept. Each has its own
// connection, so that a load balancer may send it to another replica.
const sessionTries = 4

// sessions is the stage that uses the server: without a token if it needs none, and with the
// token at the end.
type sessions struct {
	*endpoint
	reach    *reach
	resource *resourceStage
	login    *loginStage
	call     string // the tool to call, or ""
}

// useWithoutToken uses the server if it answered without a login.
func (u *sessions) useWithoutToken(ctx context.Context, s *report.Step) {
	if !u.opened || u.initialize == nil {
		s.Skip("login is required")
		return
	}
	u.use(ctx, s, http.Header{})
	u.judgeOpen(s, u.reach.header)
}

// use uses the server in a session, or without one if the server is stateless.
func (u *sessions) use(ctx context.Context, s *report.Step, credentials http.Header) {
	if r, ok := u.initialize.Reply(); u.initialize.OK() && ok && r.Error == nil {
		u.useSession(ctx, s, credentials, u.session)
		return
	}
	if !u.stateless {
		s.Skip("not supported for HTTP+SSE")
		return
	}
	u.useStateless(ctx, s, credentials)
}

// useStateless sends one message as a stateless client.
func (u *sessions) useStateless(ctx context.Context, s *report.Step, credentials http.Header) {
	u.Report.Proven.Revision = probe.StatelessRevision
	with := func(method, body, id string) probe.Request {
		r := u.statelessPost(method, method, body, id)
		add(r.Header, credentials)
		return r
	}
	list := func() probe.Request { return with("tools/list", probe.StatelessListMessage, probe.ListID) }
	if !u.judgeList(s, u.sendSteppingUp(ctx, s, credentials, list)) {
		return
	}
	u.callTool(ctx, s, credentials, func() probe.Request {
		r := with("tools/call", probe.CallMessage(true, u.call), probe.CallID)
		r.Header.Set("Mcp-Name", u.call)
		return r
	})
}

func add(h, more http.Header) {
	for name, values := range more {
		h[name] = values
	}
}

// useSession sends messages in a session, and ends it. session is empty if the server has
// no sessions.
func (u *sessions) useSession(ctx context.Context, s *report.Step, credentials http.Header, session string) {
	u.session = ""
	u.Report.Proven.Revision = u.revision
	with := func(name, body, id string) probe.Request {
		r := u.post(name, body, id)
		add(r.Header, credentials)
		r.Header.Set("MCP-Protocol-Version", u.revision)
		if session != "" {
			r.Header.Set("Mcp-Session-Id", session)
		}
		return r
	}
	notified := u.sendSteppingUp(ctx, s, credentials, func() probe.Request { return with("initialized", probe.InitializedMessage, "") })
	if !notified.OK() && !u.judgeSession(s, notified, session) {
		return
	}
	listed := u.sendSteppingUp(ctx, s, credentials, func() probe.Request { return with("tools/list", probe.ListMessage, probe.ListID) })
	if !u.judgeSession(s, listed, session) || !u.judgeList(s, listed) {
		return
	}
	u.callTool(ctx, s, credentials, func() probe.Request { return with("tools/call", probe.CallMessage(false, u.call), probe.CallID) })
	if session == "" {
		u.Pass(s, "session.kept", "the server has no sessions")
		return
	}
	if u.kept(ctx, s, with("ping", probe.PingMessage, probe.PingID)) {
		u.Pass(s, "session.kept", "the session is kept over %d connections", sessionTries)
	}
	if u.reach.noDelete && u.Page != "" {
		u.Warn(u.Steps[stepPreflight], "preflight.methods", "pages may not send DELETE, which ends a session")
	}
	end := with("end of the session", "", "")
	end.Method = http.MethodDelete
	end.Header.Del("Content-Type")
	u.Send(ctx, s, end)
}

// kept sends the messages that check whether a session is kept.
func (u *sessions) kept(ctx context.Context, s *report.Step, r probe.Request) bool {
	for range sessionTries {
		u.Prober.Fresh()
		a := u.Prober.Do(ctx, r)
		if a.Status == http.StatusNotFound || a.Status == http.StatusBadRequest {
			s.Exchanges = append(s.Exchanges, a.Exchange)
			u.Fail(s, "session.kept", "the session is lost (%d) on another connection; perhaps replicas do not share sessions", a.Status)
			return false
		}
	}
	return true
}

// judgeSession checks an answer in a session, and reports whether the session works.
func (u *sessions) judgeSession(s *report.Step, a *probe.Answer, session string) bool {
	switch {
	case a.Err != nil:
		u.Fail(s, "endpoint.answer", "a message after initialize gets no response: %s", a.Error)
	case u.Obstructed(s, report.Fail, "a message after initialize", a), u.unserved(s, "a message after initialize", a):
	case u.tokenRefused(s, a):
	case a.Status == http.StatusUnauthorized:
		u.refused, u.opened = a, false
		u.Pass(s, "endpoint.status", "401: login is required after initialize")
		u.readable(s, a)
	case a.Status == http.StatusNotFound && session != "":
		u.Fail(s, "session.kept", "the session is lost (404) right after initialize")
	case a.Status == http.StatusBadRequest && session == "" && strings.Contains(strings.ToLower(string(a.Body)), "session"):
		u.Fail(s, "session.crosses", "the server requires a session id (400), but its response to initialize had none")
	case !a.OK():
		seen := report.Facts{}
		if _, ok := a.Reply(); !ok {
			seen[rules.Wordless] = "yes"
		}
		u.NoteWith(s, report.Fail, "endpoint.answer", seen, "a message after initialize gets %d: %s", a.Status, report.OrWord(a.Excerpt, "no body"))
	default:
		return true
	}
	return false
}

// unserved reports whether a proxy, or the server, has answered that it serves no requests
// now, and records that.
func (u *sessions) unserved(s *report.Step, what string, a *probe.Answer) bool {
	switch a.Status {
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
	default:
		return false
	}
	r, _ := a.Reply()
	u.Fail(s, "endpoint.upstream", "%s gets %s: %s", what, report.StatusText(a.Status), report.OrWord(u.excerpt(a, r), "no body"))
	return true
}

// judgeList checks the answer to tools/list, and reports whether the server answers.
func (u *sessions) judgeList(s *report.Step, a *probe.Answer) bool {
	r, ok := a.Reply()
	switch {
	case u.Obstructed(s, report.Fail, "tools/list", a):
	case u.unserved(s, "tools/list", a):
	case u.tokenRefused(s, a):
	case a.Status == http.StatusUnauthorized:
		u.refused, u.opened = a, false
		u.Pass(s, "endpoint.status", "401: login is required after server/discover")
	case ok && r.Error == nil:
		p := &u.Report.Proven
		p.Session = true
		if n, more, ok := r.Tools(); ok {
			p.Tools, p.More = &n, more
		}
		u.Pass(s, "endpoint.answer", "tools/list is answered")
		return true
	case ok && probe.WantsLogin(r.Error.Message):
		u.Fail(s, "endpoint.status", "the server says that login is required in a response with status %d, but clients log in only after a 401: %s", a.Status, u.excerpt(a, r))
	case ok: // the server has no tools
		u.Report.Proven.Session = true
		u.Pass(s, "endpoint.answer", "tools/list is answered with an error: %s", u.excerpt(a, r))
		return true
	case a.IsStream() && a.Slow:
		u.Fail(s, "endpoint.stream", "the event stream begins, but no event arrives in time: something buffers it")
	default:
		u.Fail(s, "endpoint.answer", "tools/list gets no JSON-RPC response: %d with %s", a.Status, u.form(a))
	}
	return false
}
