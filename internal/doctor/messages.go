package doctor

import (
	"context"
	"fmt"
	"net/http"
	"strings"
)

// sendInitialize sends the first message of a client, without a token.
func (w *walk) sendInitialize(ctx context.Context, s *Step) {
	a := w.send(ctx, s, w.post("initialize", initializeMessage, initializeID))
	a = w.withoutPage(ctx, s, a)
	a = w.followed(ctx, s, a)
	w.initialize = a
	w.judgeFirst(ctx, s, a)
	w.readable(s, a)
}

// withoutPage asks again as a client that is no page does, where a page is
// refused: the rest of the way is then walked so.
func (w *walk) withoutPage(ctx context.Context, s *Step, a *answer) *answer {
	if a.Status != http.StatusForbidden || w.page == "" || a.header.Get("WWW-Authenticate") != "" {
		return a
	}
	page := w.page
	w.page = ""
	again := w.send(ctx, s, w.post("initialize, not as a page", initializeMessage, initializeID))
	if again.err != nil || again.Status == http.StatusForbidden {
		w.page = page
		return a
	}
	w.note(s, w.pageLevel(), "endpoint.origin", "requests of pages at %s are refused (403), others are not", page)
	return again
}

// followed follows one redirect of the first message, as clients do, if it
// stays at the origin.
func (w *walk) followed(ctx context.Context, s *Step, a *answer) *answer {
	if !a.redirect() {
		return a
	}
	to, err := w.target.Parse(a.header.Get("Location"))
	where := w.secrets.link(a.header.Get("Location"))
	switch {
	case err != nil || originOf(to) != originOf(w.target):
		w.fail(s, "endpoint.redirect", "the first message is redirected (%d) to another origin, %s", a.Status, where)
		w.unusable = true
		return a
	case a.Status != http.StatusTemporaryRedirect && a.Status != http.StatusPermanentRedirect:
		w.fail(s, "endpoint.redirect", "the first message is redirected with %d to %s, which turns a POST into a GET", a.Status, where)
		w.unusable = true
		return a
	}
	w.warn(s, "endpoint.redirect", "the first message is redirected (%d) to %s", a.Status, where)
	w.sendTo = to
	return w.send(ctx, s, w.post("initialize, redirected", initializeMessage, initializeID))
}

// judgeFirst tells what kind of thing answered the first message.
func (w *walk) judgeFirst(ctx context.Context, s *Step, a *answer) {
	switch {
	case len(s.Findings) > 0 && w.unusable:
	case a.err != nil:
		w.lost = !a.slow
		rule, text := unreached(a.err)
		w.fail(s, rule, "%s: %s", text, a.Error)
	case a.Status == http.StatusUnauthorized:
		w.refused = a
		w.pass(s, "endpoint.status", "401: it asks for a login")
	case a.ok():
		w.judgeWelcome(s, a)
	case a.Status == http.StatusNotFound || a.Status == http.StatusMethodNotAllowed:
		w.judgeAbsent(ctx, s, a)
	default:
		w.judgeError(s, a)
	}
}

// judgeWelcome looks at a message that is answered without a login.
func (w *walk) judgeWelcome(s *Step, a *answer) {
	r, ok := a.reply()
	switch {
	case ok && r.Error == nil:
		w.opened = true
		w.session, w.revision = a.header.Get("Mcp-Session-Id"), r.revision()
		w.pass(s, "endpoint.answer", "%s answers, without a login", orWord(w.secrets.text(r.serverName()), "a server"))
	case a.isStream() && a.slow:
		w.unusable = true
		w.fail(s, "endpoint.stream", "the answer's event stream begins, but no event comes in time: something holds it back")
	case ok && refuses(r.Error.Message), !ok && a.isJSON() && refuses(string(a.body)):
		w.unusable = true
		w.fail(s, "endpoint.status", "a login is asked for inside an answer with status %d, where no client looks for it: %s", a.Status, w.excerpt(a, r))
	case ok:
		w.warn(s, "endpoint.answer", "initialize is refused: %s", w.excerpt(a, r))
	default:
		w.unusable = true
		w.fail(s, "endpoint.mcp", "what answers is no MCP server: %d with %s", a.Status, orWord(w.secrets.text(a.mediaType()), "no Content-Type"))
	}
}

// excerpt is what an answer says, to be shown.
func (w *walk) excerpt(a *answer, r reply) string {
	if a.err != nil {
		return a.Error
	}
	if r.Error != nil {
		return w.secrets.text(r.Error.Message)
	}
	return plain(cut(w.secrets.hide(string(a.body)), excerptSize))
}

// judgeAbsent looks for a server of the transport of 2024-11-05, which knows
// no POST here, before it says that the path is wrong.
func (w *walk) judgeAbsent(ctx context.Context, s *Step, a *answer) {
	if _, ok := a.reply(); ok {
		return // a server that has no such method; server/discover tells
	}
	if w.talkOverStream(ctx, s) {
		return
	}
	w.unusable = true
	if a.Status == http.StatusMethodNotAllowed {
		w.fail(s, "endpoint.path", "POST is not allowed at %s (405), and GET is no event stream: the MCP endpoint is elsewhere", w.report.URL)
		return
	}
	w.fail(s, "endpoint.path", "there is nothing at %s (404): the MCP endpoint is elsewhere", w.report.URL)
}

// judgeError looks at any other status.
func (w *walk) judgeError(s *Step, a *answer) {
	r, isReply := a.reply()
	said := strings.ToLower(string(a.body))
	switch {
	case a.header.Get("WWW-Authenticate") != "":
		w.refused = a
		w.fail(s, "endpoint.status", "a challenge comes with status %d instead of 401, so clients do not look at it", a.Status)
	case (a.Status == http.StatusForbidden || a.Status == http.StatusMisdirectedRequest) && strings.Contains(said, "host"):
		w.unusable = true
		w.fail(s, "endpoint.host", "the server refuses the host that it is called by (%d): %s", a.Status, w.excerpt(a, r))
	case a.Status == http.StatusForbidden:
		w.unusable = true
		w.fail(s, "endpoint.status", "a request without a token is answered with 403 instead of 401: clients do not log in")
	case a.Status >= 500 && refuses(said):
		w.unusable = true
		w.fail(s, "endpoint.status", "a login is asked for with status %d instead of 401: %s", a.Status, w.excerpt(a, r))
	case a.Status == http.StatusBadGateway || a.Status == http.StatusServiceUnavailable || a.Status == http.StatusGatewayTimeout:
		w.unusable = true
		w.fail(s, "endpoint.upstream", "a proxy answers, but the server behind it does not (%d)", a.Status)
	case a.Status >= 500:
		w.unusable = true
		w.fail(s, "endpoint.upstream", "the server fails (%d), with or without wanting a login; 401 is what starts one: %s", a.Status, w.excerpt(a, r))
	case isReply && r.Error != nil:
		w.warn(s, "endpoint.answer", "initialize is refused with %d: %s", a.Status, w.excerpt(a, r))
	case a.redirect():
	default:
		w.unusable = true
		w.fail(s, "endpoint.answer", "initialize is refused with %d: %s", a.Status, w.excerpt(a, r))
	}
}

// readable judges what a page reads of an answer that matters to it.
func (w *walk) readable(s *Step, a *answer) {
	b := a.Browser
	if b == nil || a.err != nil || w.unusable {
		return
	}
	switch {
	case !b.Allowed:
		w.note(s, w.pageLevel(), "browser.answer", "a page at %s cannot read the answer (%d): %s", w.page, a.Status, b.Why)
	case b.hides("WWW-Authenticate"):
		w.note(s, w.pageLevel(), "browser.exposed", "a page cannot read the challenge: Access-Control-Expose-Headers does not name WWW-Authenticate")
	case b.hides("Mcp-Session-Id"):
		w.note(s, w.pageLevel(), "browser.exposed", "a page cannot read its session: Access-Control-Expose-Headers does not name Mcp-Session-Id")
	default:
		w.pass(s, "browser.answer", "a page reads the answer")
	}
}

// sendDiscover sends the first message of a client of 2026-07-28.
func (w *walk) sendDiscover(ctx context.Context, s *Step) {
	a := w.send(ctx, s, w.modernPost("server/discover", "server/discover", discoverMessage, discoverID))
	r, ok := a.reply()
	switch {
	case a.err != nil && (w.opened || w.refused != nil):
		w.warn(s, "discover.agrees", "no answer to server/discover: %s", a.Error)
	case a.Status == http.StatusUnauthorized:
		if w.refused == nil {
			w.refused = a
		}
		if w.opened {
			w.warn(s, "discover.agrees", "server/discover asks for a login (401), initialize does not")
			return
		}
		w.pass(s, "discover.agrees", "401: it asks for a login")
	case a.ok() && ok && r.Error == nil:
		w.modern = true
		if w.refused != nil {
			w.pass(s, "discover.agrees", "it is answered without a login, which comes later")
			return
		}
		w.opened = true
		w.pass(s, "discover.agrees", "%s answers", orWord(w.secrets.text(r.serverName()), "a server"))
	case a.Status >= 500 && (w.opened || w.refused != nil):
		w.warn(s, "discover.agrees", "server/discover is answered with %d; clients expect 400 or 404 of a server that does not know it", a.Status)
	case w.opened || w.refused != nil:
		w.pass(s, "discover.agrees", "%d: a server of before 2026-07-28, clients fall back to initialize", a.Status)
	default:
		w.unusable = true
		w.fail(s, "endpoint.answer", "neither initialize nor server/discover is answered: %s %s", statusText(a.Status), w.excerpt(a, r))
	}
}

// listen is the request for an event stream.
func (w *walk) listen(name string) request {
	h := http.Header{}
	h.Set("Accept", "text/event-stream")
	if w.session != "" {
		h.Set("Mcp-Session-Id", w.session)
		h.Set("MCP-Protocol-Version", w.revision)
	}
	return request{
		name: name, method: http.MethodGet, url: w.sendTo, header: h, origin: w.page, private: true,
	}
}

// get asks for an event stream. Servers of before 2026-07-28 may have one.
func (w *walk) get(ctx context.Context, s *Step) {
	if w.overStream {
		s.skip("HTTP+SSE: its stream was opened above")
		return
	}
	r := w.listen("get")
	r.headerOnly = true
	a := w.send(ctx, s, r)
	switch {
	case a.slow:
		w.warn(s, "endpoint.stream", "GET has no answer in time; where it is an event stream, its header is held back")
	case a.err != nil:
		w.warn(s, "get.answer", "GET has no answer: %s", a.Error)
	case a.Status == http.StatusUnauthorized && w.refused != nil:
		w.pass(s, "get.answer", "401, as POST")
	case a.Status == http.StatusUnauthorized:
		w.refused = a
		w.pass(s, "get.answer", "401: it asks for a login")
	case a.ok() && a.isStream():
		w.pass(s, "get.answer", "an event stream")
	case a.Status/100 == 4:
		w.pass(s, "get.answer", "%d: no event stream, which clients accept", a.Status)
	case a.ok():
		w.pass(s, "get.answer", "%d with %s, which MCP clients do not ask for", a.Status, orWord(w.secrets.text(a.mediaType()), "no Content-Type"))
	default:
		w.warn(s, "get.answer", "GET is answered with %d; clients expect an event stream or 405", a.Status)
	}
}

// orWord is a text, or another where it is empty.
func orWord(text, other string) string {
	if text == "" {
		return other
	}
	return fmt.Sprintf("%.100s", text)
}
