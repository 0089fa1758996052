package doctor

import (
	"context"
	"net/http"
	"strings"
)

// sessionTries are the messages that show whether a session is kept, each over
// a connection of its own, so that a load balancer may send each elsewhere.
const sessionTries = 4

// anonymousSession goes on after a message that was answered without a login.
func (w *walk) anonymousSession(ctx context.Context, s *Step) {
	if !w.opened || w.initialize == nil {
		s.skip("it asks for a login")
		return
	}
	w.talk(ctx, s, http.Header{})
}

// talk has a conversation without credentials: in a session, or without one
// where the server knows only revisions since 2026-07-28.
func (w *walk) talk(ctx context.Context, s *Step, credentials http.Header) {
	if r, ok := w.initialize.reply(); w.initialize.ok() && ok && r.Error == nil {
		w.talkInSession(ctx, s, credentials, w.session)
		return
	}
	if !w.modern {
		s.skip("an HTTP+SSE server: its messages need its stream")
		return
	}
	w.talkModern(ctx, s, credentials)
}

// talkModern sends a message of the revisions since 2026-07-28.
func (w *walk) talkModern(ctx context.Context, s *Step, credentials http.Header) {
	r := w.modernPost("tools/list", "tools/list", modernListMessage, listID)
	add(r.header, credentials)
	w.judgeList(s, w.send(ctx, s, r))
}

func add(h, more http.Header) {
	for name, values := range more {
		h[name] = values
	}
}

// talkInSession uses a session and ends it.
func (w *walk) talkInSession(ctx context.Context, s *Step, credentials http.Header, session string) {
	w.session = ""
	with := func(name, body, id string) request {
		r := w.post(name, body, id)
		add(r.header, credentials)
		r.header.Set("MCP-Protocol-Version", w.revision)
		if session != "" {
			r.header.Set("Mcp-Session-Id", session)
		}
		return r
	}
	notified := w.send(ctx, s, with("initialized", initializedMessage, ""))
	if !notified.ok() && !w.judgeSession(s, notified, session) {
		return
	}
	listed := w.send(ctx, s, with("tools/list", listMessage, listID))
	if !w.judgeSession(s, listed, session) || !w.judgeList(s, listed) {
		return
	}
	if session == "" {
		w.pass(s, "session.kept", "there are no sessions to be kept")
		return
	}
	if w.kept(ctx, s, with("ping", pingMessage, pingID)) {
		w.pass(s, "session.kept", "the session is kept over %d connections", sessionTries)
	}
	if w.noDelete && w.page != "" {
		w.warn(w.steps[stepPreflight], "preflight.methods", "pages may not send DELETE, which ends a session")
	}
	end := with("end of the session", "", "")
	end.method = http.MethodDelete
	end.header.Del("Content-Type")
	w.send(ctx, s, end)
}

// kept sends messages of a session over connections of their own.
func (w *walk) kept(ctx context.Context, s *Step, r request) bool {
	for range sessionTries {
		w.prober.fresh()
		a := w.prober.do(ctx, r)
		if a.Status == http.StatusNotFound || a.Status == http.StatusBadRequest {
			s.Exchanges = append(s.Exchanges, a.Exchange)
			w.fail(s, "session.kept", "the session is lost (%d) on another connection: replicas do not know each other's sessions", a.Status)
			return false
		}
	}
	return true
}

// judgeSession looks at an answer within a session.
func (w *walk) judgeSession(s *Step, a *answer, session string) bool {
	switch {
	case a.err != nil:
		w.fail(s, "endpoint.answer", "a message after initialize has no answer: %s", a.Error)
	case w.tokenRefused(s, a):
	case a.Status == http.StatusUnauthorized:
		w.refused, w.opened = a, false
		w.pass(s, "endpoint.status", "401: it asks for a login after initialize")
		w.readable(s, a)
	case a.Status == http.StatusNotFound && session != "":
		w.fail(s, "session.kept", "the session is lost (404) right after initialize")
	case a.Status == http.StatusBadRequest && session == "" && strings.Contains(strings.ToLower(string(a.body)), "session"):
		w.fail(s, "session.crosses", "the server wants a session id (400), but none arrived with initialize")
	case !a.ok():
		w.fail(s, "endpoint.answer", "a message after initialize is answered with %d: %s", a.Status, a.Excerpt)
	default:
		return true
	}
	return false
}

// judgeList looks at the answer to tools/list.
func (w *walk) judgeList(s *Step, a *answer) bool {
	r, ok := a.reply()
	switch {
	case w.tokenRefused(s, a):
	case a.Status == http.StatusUnauthorized:
		w.refused, w.opened = a, false
		w.pass(s, "endpoint.status", "401: it asks for a login after server/discover")
	case ok && r.Error == nil:
		w.pass(s, "endpoint.answer", "tools/list is answered")
		return true
	case ok && refuses(r.Error.Message):
		w.fail(s, "endpoint.status", "a login is asked for inside an answer with status %d, where no client looks for it: %s", a.Status, w.excerpt(a, r))
	case ok: // a server without tools
		w.pass(s, "endpoint.answer", "tools/list is answered with an error: %s", w.excerpt(a, r))
		return true
	case a.isStream() && a.slow:
		w.fail(s, "endpoint.stream", "the answer's event stream begins, but no event comes in time: something holds it back")
	default:
		w.fail(s, "endpoint.answer", "tools/list has no JSON-RPC response: %d with %s", a.Status, orWord(w.secrets.text(a.mediaType()), "no Content-Type"))
	}
	return false
}
