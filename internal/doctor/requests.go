package doctor

import (
	"context"
	"net/http"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/doctor/probe"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/doctor/report"
)

// readable checks whether a page can read an answer that it needs.
func (e *endpoint) readable(s *report.Step, a *probe.Answer) {
	b := a.Browser
	if b == nil || a.Err != nil || e.Unusable {
		return
	}
	switch {
	case !b.Allowed:
		e.Note(s, e.PageLevel(), "browser.answer", "pages at %s cannot read the response (%d): %s", e.Page, a.Status, b.Why)
	case b.Hides("WWW-Authenticate"):
		e.Note(s, e.PageLevel(), "browser.exposed", "pages cannot read WWW-Authenticate: Access-Control-Expose-Headers does not list it")
	case b.Hides("Mcp-Session-Id"):
		e.Note(s, e.PageLevel(), "browser.exposed", "pages cannot read Mcp-Session-Id: Access-Control-Expose-Headers does not list it")
	default:
		e.Pass(s, "browser.answer", "pages can read it")
	}
}

// listen returns the request for an event stream.
func (e *endpoint) listen(name string) probe.Request {
	h := http.Header{}
	h.Set("Accept", "text/event-stream")
	if e.session != "" {
		h.Set("Mcp-Session-Id", e.session)
		h.Set("MCP-Protocol-Version", e.revision)
	}
	return probe.Request{
		Name: name, Method: http.MethodGet, URL: e.sendTo, Header: h, Origin: e.Page, Private: true,
	}
}

// get asks for an event stream. Servers with a handshake may have one.
func (e *endpoint) get(ctx context.Context, s *report.Step) {
	if e.httpSSE {
		s.Skip("the event stream of HTTP+SSE was tested above")
		return
	}
	r := e.listen("get")
	r.HeaderOnly = true
	a := e.Send(ctx, s, r)
	switch {
	case a.Slow:
		e.Warn(s, "endpoint.stream", "GET gets no response in time; if it is an event stream, something buffers it")
	case a.Err != nil:
		e.Warn(s, "get.answer", "GET gets no response: %s", a.Error)
	case a.Status != http.StatusNotAcceptable && e.Obstructed(s, report.Warn, "GET", a): // 406 is usual for GET
	case a.Status == http.StatusUnauthorized && e.refused != nil:
		e.Pass(s, "get.answer", "401, as POST")
	case a.Status == http.StatusUnauthorized:
		e.refused = a
		e.Pass(s, "get.answer", "401: login is required")
	case a.OK() && a.IsStream():
		e.Pass(s, "get.answer", "an event stream")
	case a.Status/100 == 4:
		e.Pass(s, "get.answer", "%d: no event stream, which is allowed", a.Status)
	case a.OK():
		e.Pass(s, "get.answer", "%d with %s; MCP clients do not use it", a.Status, report.OrWord(e.Secrets.Text(a.MediaType()), "no Content-Type"))
	default:
		e.Warn(s, "get.answer", "GET gets %d; clients expect an event stream or 405", a.Status)
	}
}

// post returns the request that sends a message. event is the id of the message, whose
// response is waited for in an event stream.
func (e *endpoint) post(name, body string, event string) probe.Request {
	h := http.Header{}
	h.Set("Content-Type", "application/json")
	h.Set("Accept", "application/json, text/event-stream")
	at := e.sendTo
	if e.withToken { // the doctor follows no redirect with a token
		at = e.Target
	}
	return probe.Request{Name: name, Method: http.MethodPost, URL: at, Header: h, Body: body, Origin: e.Page, Private: true, Event: probe.Responds(event)}
}

// statelessPost is post for a stateless client.
func (e *endpoint) statelessPost(name, method, body, event string) probe.Request {
	r := e.post(name, body, event)
	r.Header.Set("MCP-Protocol-Version", probe.StatelessRevision)
	r.Header.Set("Mcp-Method", method)
	return r
}

// streamTimeout is how long to wait for an event that may never come.
func (e *endpoint) streamTimeout() time.Duration { return min(e.timeout, 3*time.Second) }
