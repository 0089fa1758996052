package doctor

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/sse"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/doctor/probe"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/doctor/report"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/doctor/urls"
)

// useEventStream sends the first message of a client of HTTP+SSE (MCP 2024-11-05). There
// an event stream names the URL for messages, and has the answers to them. It returns
// false if there is no such stream.
func (e *endpoint) useEventStream(ctx context.Context, s *report.Step) bool {
	var announced string
	var posted *probe.Answer
	r := e.listen("event stream")
	r.StreamTimeout = e.streamTimeout()
	r.Event = func(event sse.Event) bool {
		if event.Name != "endpoint" {
			return posted != nil && probe.Responds(probe.InitializeID)(event)
		}
		announced = string(event.Data)
		posted = e.sendMessage(ctx, s, announced)
		return posted == nil || !posted.OK()
	}
	a := e.Send(ctx, s, r)
	switch {
	case a.Status == http.StatusUnauthorized:
		e.refused, e.httpSSE = a, true
		e.Pass(s, "endpoint.status", "401 to GET: an HTTP+SSE server (2024-11-05) requires login")
		e.judgeRelayedSSE(s, a)
		return true
	case !a.OK() || !a.IsStream():
		return false
	}
	e.httpSSE = true
	switch {
	case announced == "":
		e.Unusable = true
		e.Fail(s, "endpoint.stream", "the event stream begins, but no event arrives in time: something buffers it")
		return true
	case posted == nil: // sendMessage has recorded why
		e.Unusable = true
	case posted.Status == http.StatusUnauthorized:
		e.refused = posted
		e.Pass(s, "endpoint.status", "401 to the first message: an HTTP+SSE server (2024-11-05) requires login")
	case e.Caddy && a.Header.Get("Via") != "" && !a.Found && !strings.HasPrefix(announced, e.Target.Path) && posted.Status/100 != 5:
		e.Unusable = true
		e.Fail(s, "endpoint.sse", "the server speaks HTTP+SSE (2024-11-05), and Caddy does not pass its messages on: clients send them to %s", e.Secrets.Link(announced))
	case !posted.OK():
		e.Unusable = true
		e.Fail(s, "endpoint.answer", "HTTP+SSE: the first message, to %s, gets %s", e.Secrets.Link(announced), posted.Outcome())
	case !a.Found:
		e.Unusable = true
		e.Fail(s, "endpoint.stream", "HTTP+SSE: the first message is accepted, but no response arrives on the event stream in time")
	default:
		e.opened = true
		e.judgeRelayedSSE(s, a)
		p := &e.Report.Proven
		p.Session, p.Revision = true, "2024-11-05"
		if r, ok := a.Reply(); ok {
			p.Server = e.Secrets.Text(r.ServerName())
		}
		e.Pass(s, "endpoint.answer", "an HTTP+SSE server (2024-11-05) answers without login")
	}
	return true
}

// judgeRelayedSSE warns if Caddy passes HTTP+SSE on, instead of bridging it: newer clients
// speak only Streamable HTTP. What mcp_auth_bridge sends itself has no Via.
func (e *endpoint) judgeRelayedSSE(s *report.Step, a *probe.Answer) {
	if e.Caddy && a.Header.Get("Via") != "" {
		e.Warn(s, "endpoint.sse", "the server speaks only HTTP+SSE (2024-11-05), which newer clients do not support")
	}
}

// sessionLength is a length in bytes. A segment of a path that is at least as long may be
// the id of a session.
const sessionLength = 16

// maxAnnounced is how many bytes the URL for messages may have. The limit keeps the number
// of secrets small, since each segment may be one.
const maxAnnounced = 8 << 10

var errTooLong = errors.New("too long")

// sendMessage sends the first message to the URL that the stream announced. It returns nil
// if clients would not send it there.
func (e *endpoint) sendMessage(ctx context.Context, s *report.Step, announced string) *probe.Answer {
	to, err := e.Target.Parse(announced)
	if len(announced) > maxAnnounced {
		err = errTooLong
	}
	if err != nil || urls.Origin(to) != urls.Origin(e.Target) {
		e.Fail(s, "get.answer", "HTTP+SSE: the server wants messages at another host, %s; clients do not send them there", e.Secrets.Link(announced))
		return nil
	}
	for segment := range strings.SplitSeq(to.Path, "/") {
		if len(segment) >= sessionLength {
			e.Secrets.Add(segment)
		}
	}
	r := e.post("message", probe.InitializeMessage, probe.InitializeID)
	r.URL = to
	return e.Send(ctx, s, r)
}
