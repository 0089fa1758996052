package doctor

import (
	"context"
	"net/http"
	"strings"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/sse"
)

// talkOverStream sends the first message of a client of HTTP+SSE (MCP
// 2024-11-05): the stream says where messages go, and has their answers. It
// reports whether there is such a stream.
func (w *walk) talkOverStream(ctx context.Context, s *Step) bool {
	var announced string
	var posted *answer
	r := w.listen("event stream")
	r.patience = w.patience()
	r.event = func(e sse.Event) bool {
		if e.Name != "endpoint" {
			return posted != nil && responds(initializeID)(e)
		}
		announced = string(e.Data)
		posted = w.message(ctx, s, announced)
		return posted == nil || !posted.ok()
	}
	a := w.send(ctx, s, r)
	switch {
	case a.Status == http.StatusUnauthorized:
		w.refused, w.overStream = a, true
		w.pass(s, "endpoint.status", "401 to GET: an HTTP+SSE server asks for a login")
		return true
	case !a.ok() || !a.isStream():
		return false
	}
	w.overStream = true
	switch {
	case announced == "":
		w.unusable = true
		w.fail(s, "endpoint.stream", "the event stream begins, but no event comes in time: something holds it back")
		return true
	case posted == nil: // which has been said
		w.unusable = true
	case posted.Status == http.StatusUnauthorized:
		w.refused = posted
		w.pass(s, "endpoint.status", "401 to the first message: an HTTP+SSE server asks for a login")
	case !posted.ok():
		w.unusable = true
		w.fail(s, "endpoint.answer", "HTTP+SSE: the first message, to %s, is answered with %s", w.secrets.link(announced), posted.outcome())
	case !a.found:
		w.unusable = true
		w.fail(s, "endpoint.stream", "HTTP+SSE: the first message is taken, but its answer does not come over the stream in time")
	default:
		w.opened = true
		w.pass(s, "endpoint.answer", "an HTTP+SSE server (2024-11-05) answers, without a login")
	}
	return true
}

// sessionLength is from where on a segment of a path may be a session's id, in
// bytes.
const sessionLength = 16

// message sends the first message to where the stream says that messages go.
func (w *walk) message(ctx context.Context, s *Step, announced string) *answer {
	to, err := w.target.Parse(announced)
	if err != nil || originOf(to) != originOf(w.target) {
		w.fail(s, "get.answer", "HTTP+SSE: messages are to go to another origin, %s, where clients send none", w.secrets.link(announced))
		return nil
	}
	for segment := range strings.SplitSeq(to.Path, "/") {
		if len(segment) >= sessionLength {
			w.secrets.add(segment)
		}
	}
	r := w.post("message", initializeMessage, initializeID)
	r.url = to
	return w.send(ctx, s, r)
}
