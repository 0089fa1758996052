package bridge

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/content"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/mcp"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/stats"
)

// This file looks whether clients can begin with the upstream.

// The messages about an upstream that is no MCP server.
const (
	noStreamHere = "upstream has no HTTP+SSE server at this path"
	noServerHere = "upstream has no MCP server at this path"
	webPage      = "upstream answers with a web page"
	noServer     = "upstream is not an MCP server"
)

// noMCPAdvice has what helps for each message.
var noMCPAdvice = map[string]string{
	noStreamHere: "give the path of its event stream, as in `sse+http://localhost:3000/sse`; if it speaks Streamable HTTP, write its address with http://",
	noServerHere: "give the path of the server (upstream_path); if it speaks HTTP+SSE, write its address with sse+http://",
	webPage:      "give the address and the path of the server (upstream_path)",
	noServer:     "it answers the first message without a JSON-RPC message: give the address and the path of the server (upstream_path); if it requires a login, have it answer 401",
}

// watchServer looks whether the upstream is an MCP server. If it is not, clients only say that
// they cannot connect. The answer passes unchanged.
func watchServer(x *Exchange, res *http.Response) {
	e := x.endpoint
	if x.target != TargetEndpoint || x.Dial == "" {
		return
	}
	switch method := x.request.Method; {
	case e.cfg.Kind == KindSSE && method == http.MethodGet:
		switch {
		case res.StatusCode == http.StatusOK && mcp.IsEventStream(res.Header):
			e.serves(nil)
		case res.StatusCode == http.StatusOK, isMissing(res.StatusCode):
			reportNoMCP(x, res, noStreamHere, true)
		default:
			watchRefusal(x, res)
		}
	case e.cfg.Kind == KindHTTP && method == http.MethodPost:
		watchPost(x, res)
	}
}

// isMissing reports whether a status says that there is nothing for MCP at a path.
func isMissing(status int) bool {
	return status == http.StatusNotFound || status == http.StatusMethodNotAllowed || status == http.StatusGone
}

// watchPost looks at the answer to a message of Streamable HTTP.
func watchPost(x *Exchange, res *http.Response) {
	first := x.request.Header.Get(mcp.SessionHeader) == "" && isFirstMessage(x.Held())
	page, missing := mediaType(res.Header) == "text/html", isMissing(res.StatusCode)
	switch {
	case missing && x.request.Header.Get(mcp.SessionHeader) != "": // the session is over
	case missing && mediaType(res.Header) != "application/json":
		reportNoMCP(x, res, noServerHere, first)
	case missing && first: // perhaps the server does not have the method
		watchMessage(x, res, noServerHere)
	case page && (res.StatusCode == http.StatusOK || first && res.StatusCode/100 == 2):
		reportNoMCP(x, res, webPage, first)
	case !first:
	case res.StatusCode == http.StatusOK && mcp.IsEventStream(res.Header):
		x.endpoint.serves(nil)
	case res.StatusCode/100 == 2:
		watchMessage(x, res, noServer)
	default:
		watchRefusal(x, res)
	}
}

// The messages about an upstream that protects itself against DNS rebinding.
const (
	refusesHost   = "upstream refuses the header Host"
	refusesOrigin = "upstream refuses the header Origin"
)

// watchRefusal looks at an upstream that refuses the first message of a client. A login is no
// refusal, and what is wrong with a request concerns its client alone.
func watchRefusal(x *Exchange, res *http.Response) {
	switch status := res.StatusCode; {
	case status == http.StatusMisdirectedRequest: // as the Python SDK answers
		reportHost(x, status)
		return
	case status >= http.StatusInternalServerError:
		reportRefusal(x, status, "the server's own log says why, or that of a proxy in front of it; if it requires a login, have it answer 401")
		return
	case status == http.StatusForbidden && len(content.Codings(res.Header)) == 0: // as other SDKs do, and say so
		watchFor(res, []string{"invalid host:", "invalid host header"}, func() { reportHost(x, status) })
		if x.request.Header.Get("Origin") != "" {
			watchFor(res, []string{"invalid origin:", "invalid origin header"}, func() { reportOrigin(x) })
		}
	}
	if res.StatusCode == http.StatusUnauthorized || x.endpoint.refuses.Load() {
		x.endpoint.serves(nil)
	}
}

// watchFor calls found once the body of an answer has had one of the texts, in any case.
func watchFor(res *http.Response, texts []string, found func()) {
	res.Body = &watchedBody{ReadCloser: res.Body, texts: texts, fold: true, judge: func(is bool) {
		if is {
			found()
		}
	}}
}

// reportHost reports an upstream that refuses the field Host, as many do against DNS rebinding. A
// client may invent names. If the configuration names the endpoint's hosts, other names are not
// reported. If it names none, one notice without a name is for all.
func reportHost(x *Exchange, status int) {
	e, name := x.endpoint, "the name that clients use"
	switch e.find(&x.client, &x.origin); {
	case e.cfg.Site.has(x.origin.host):
		name = x.origin.host
	case e.cfg.Site.isNamed():
		return
	}
	n := stats.Notice{
		Message: refusesHost, Subject: name,
		Advice: "the server checks it against DNS rebinding: have it accept the names of the endpoint",
	}
	own := "{upstream_hostport}"
	if strings.HasPrefix(x.Dial, "/") { // a socket has no name that could be sent
		own = "localhost"
	}
	if x.Host != x.Dial && x.Host != own {
		n.Add = "header_up Host " + own
		n.Advice += ", or send it its own, with the line in add"
	}
	e.notices.Report(n)
	reportRefusal(x, status, "")
}

// reportOrigin reports an upstream that refuses the origin of a page.
func reportOrigin(x *Exchange) {
	n := stats.Notice{
		Message: refusesOrigin, Subject: "a page that the endpoint allows",
		Advice: "have the server accept the origins that may call the endpoint",
	}
	if x.endpoint.cfg.CORS != nil {
		n.Add = "header_up -Origin"
		n.Advice += ", or do not send it the origin, with the line in add: the endpoint still checks it (allow_origins)"
	}
	x.endpoint.notices.Report(n)
}

// reportRefusal reports that the upstream has refused the first message of a client.
func reportRefusal(x *Exchange, status int, advice string) {
	x.endpoint.serves(&stats.NoService{
		Text: fmt.Sprintf("upstream refuses the first message of a client (%d)", status), Advice: advice, Refused: true,
	})
}

// isFirstMessage reports whether a body is the message that a client begins with, to which an MCP
// server always answers with a message.
func isFirstMessage(held []byte) bool {
	if !bytes.Contains(held, []byte(`"initialize"`)) && !bytes.Contains(held, []byte(`"server/discover"`)) {
		return false // nearly every message, and this is quicker than to parse it
	}
	c := message.NewCursor(held)
	for c.Enter(); ; c.Skip() {
		switch name, ok := c.Member(); {
		case !ok:
			return false
		case string(name) == "method":
			method := c.Skip()
			return string(method) == `"initialize"` || string(method) == `"server/discover"`
		}
	}
}

// watchMessage looks for a JSON-RPC message in the body of an answer. If there is none, it reports
// that the upstream is no MCP server. A body with a content coding is not looked at.
func watchMessage(x *Exchange, res *http.Response, otherwise string) {
	if len(content.Codings(res.Header)) > 0 {
		return
	}
	judge := func(found bool) {
		if found {
			x.endpoint.serves(nil)
			return
		}
		reportNoMCP(x, res, otherwise, true)
	}
	if res.ContentLength == 0 || res.Body == nil || res.Body == http.NoBody {
		judge(false)
		return
	}
	res.Body = &watchedBody{ReadCloser: res.Body, texts: members, judge: judge}
}

// reportNoMCP reports an answer that no MCP server gives. first is true if clients cannot begin.
func reportNoMCP(x *Exchange, res *http.Response, message string, first bool) {
	n := stats.Notice{Message: message, Subject: cmp.Or(x.Path, x.request.URL.Path), Advice: noMCPAdvice[message]}
	if mediaType(res.Header) == "text/html" {
		n.Advice += "; if a login page or another proxy answers, have it let the path through, or answer 401"
	}
	x.endpoint.notices.Report(n)
	if first {
		x.endpoint.serves(&stats.NoService{Text: message})
	}
}

// serves reports whether clients can begin with the upstream; why is nil if they can.
func (e *Endpoint) serves(why *stats.NoService) {
	if refuses := why != nil && why.Refused; refuses != e.refuses.Load() {
		e.refuses.Store(refuses)
	}
	if e.cfg.Serves != nil {
		e.cfg.Serves(why)
	}
}

// mediaType is the media type of a content, without parameters.
func mediaType(h http.Header) string {
	name, _, _ := strings.Cut(h.Get("Content-Type"), ";")
	return strings.ToLower(strings.TrimSpace(name))
}

// members has the member that each JSON-RPC message has.
var members = []string{`"jsonrpc"`}

// watchedBody is a body that passes unchanged while it is searched for one of several texts.
type watchedBody struct {
	io.ReadCloser
	texts []string         // the last is the longest
	fold  bool             // the texts are in lower case, and match in any
	judge func(found bool) // nil once that is known
	tail  []byte           // the last bytes, which may have the beginning of a text
}

// Read implements io.Reader.
func (b *watchedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if b.judge == nil {
		return n, err
	}
	seen := append(b.tail, p[:n]...)
	if b.fold {
		seen = bytes.ToLower(seen)
	}
	longest := b.texts[len(b.texts)-1]
	b.tail = append([]byte(nil), seen[max(0, len(seen)-len(longest)+1):]...)
	found := slices.ContainsFunc(b.texts, func(text string) bool { return bytes.Contains(seen, []byte(text)) })
	if found || err == io.EOF {
		b.judge(found)
		b.judge, b.tail = nil, nil
	}
	return n, err
}
