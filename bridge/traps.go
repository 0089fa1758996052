package bridge

import (
	"bytes"
	"cmp"
	"io"
	"net/http"
	"strings"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/content"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/mcp"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/origin"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/sse"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/stats"
)

// reportUntrustedProxy reports a peer that claims that its client has used https, and that is not
// trusted. The public URL then begins with http, and clients refuse the metadata.
func (x *ClientRequest) reportUntrustedProxy() {
	if !x.client.ClaimsHTTPS || x.endpoint.cfg.Site.Origin != "" {
		return
	}
	n := stats.Notice{
		Message: "X-Forwarded-Proto of an untrusted peer is ignored", Subject: "a public address",
		Advice: "if it is your proxy, trust its address (trusted_proxies in the global options), or set public_url",
	}
	if peer, err := origin.ParseHost(x.client.Peer, 0); err == nil && peer.Local() {
		n.Subject, n.Advice = x.client.Peer, "it seems to be your proxy: trust it (trusted_proxies, in the global options or with the line in add), or set public_url"
		if cfg := &x.endpoint.cfg; cfg.Kind != KindStdio && cfg.UpstreamPath != "" { // the option is the proxy's
			n.Add = "trusted_proxies private_ranges"
		}
	}
	x.endpoint.notices.Report(n)
}

// firstEvent bounds what is read of an event stream to see its first event, in bytes.
const firstEvent = 4 << 10

// watchTransport looks for an HTTP+SSE server that is configured as one of Streamable HTTP: it
// refuses a POST to the endpoint, and the first event of the stream that a GET opens names
// where to post.
func (x *ClientRequest) watchTransport(res *http.Response) {
	e := x.endpoint
	if e.cfg.Kind != KindHTTP || x.target != TargetEndpoint || x.Dial == "" {
		return
	}
	switch x.request.Method {
	case http.MethodPost:
		switch {
		case res.StatusCode == http.StatusNotFound, res.StatusCode == http.StatusMethodNotAllowed:
			e.refusesPosts.Store(true)
		case res.StatusCode/100 == 2:
			e.refusesPosts.Store(false)
		}
	case http.MethodGet:
		if !e.refusesPosts.Load() || res.StatusCode != http.StatusOK || !mcp.IsEventStream(res.Header) {
			return
		}
		url := "sse+" + x.Scheme + "://" + x.Dial + cmp.Or(x.Path, x.request.URL.Path)
		body := &watchedStream{ReadCloser: res.Body}
		body.parser = &sse.Parser{Limit: firstEvent, Each: func(event sse.Event) error {
			if body.parser = nil; event.Name == "endpoint" {
				e.notices.Report(stats.Notice{
					Message: "MCP server speaks HTTP+SSE", Subject: url,
					Advice: "it is configured as one of Streamable HTTP; write the upstream with sse+, as in add",
					Add:    stats.CaddyfileLine("mcp_auth_bridge "+e.cfg.Path, url),
				})
			}
			return io.EOF
		}}
		res.Body = body
	}
}

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
			e.serves("")
		case res.StatusCode == http.StatusOK, isMissing(res.StatusCode):
			reportNoMCP(x, res, noStreamHere, true)
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
	case res.StatusCode == http.StatusUnauthorized, res.StatusCode == http.StatusOK && mcp.IsEventStream(res.Header):
		x.endpoint.serves("")
	case res.StatusCode/100 == 2:
		watchMessage(x, res, noServer)
	}
}

// isFirstMessage reports whether a body has the message that a client begins with, to which an MCP
// server always answers with a message.
func isFirstMessage(held []byte) bool {
	return bytes.Contains(held, []byte(`"initialize"`)) || bytes.Contains(held, []byte(`"server/discover"`))
}

// watchMessage looks for a JSON-RPC message in the body of an answer. If there is none, it reports
// that the upstream is no MCP server. A body with a content coding is not looked at.
func watchMessage(x *Exchange, res *http.Response, otherwise string) {
	if len(content.Codings(res.Header)) > 0 {
		return
	}
	judge := func(found bool) {
		if found {
			x.endpoint.serves("")
			return
		}
		reportNoMCP(x, res, otherwise, true)
	}
	if res.ContentLength == 0 || res.Body == nil || res.Body == http.NoBody {
		judge(false)
		return
	}
	res.Body = &watchedMessage{ReadCloser: res.Body, judge: judge}
}

// reportNoMCP reports an answer that no MCP server gives. first is true if clients cannot begin.
func reportNoMCP(x *Exchange, res *http.Response, message string, first bool) {
	n := stats.Notice{Message: message, Subject: cmp.Or(x.Path, x.request.URL.Path), Advice: noMCPAdvice[message]}
	if mediaType(res.Header) == "text/html" {
		n.Advice += "; if a login page or another proxy answers, have it let the path through, or answer 401"
	}
	x.endpoint.notices.Report(n)
	if first {
		x.endpoint.serves(message)
	}
}

// serves reports whether the upstream is an MCP server; why is empty if it is.
func (e *Endpoint) serves(why string) {
	if e.cfg.Serves != nil {
		e.cfg.Serves(why)
	}
}

// mediaType is the media type of a content, without parameters.
func mediaType(h http.Header) string {
	name, _, _ := strings.Cut(h.Get("Content-Type"), ";")
	return strings.ToLower(strings.TrimSpace(name))
}

// watchedStream is an event stream that passes unchanged while its first event is looked at.
type watchedStream struct {
	io.ReadCloser
	parser *sse.Parser // nil once that was seen
}

// Read implements io.Reader.
func (s *watchedStream) Read(p []byte) (int, error) {
	n, err := s.ReadCloser.Read(p)
	if parser := s.parser; parser != nil && n > 0 {
		if _, failed := parser.Write(p[:n]); failed != nil {
			s.parser = nil
		}
	}
	return n, err
}

// member is a member that each JSON-RPC message has.
var member = []byte(`"jsonrpc"`)

// watchedMessage is a body that passes unchanged while it is searched for a JSON-RPC message.
type watchedMessage struct {
	io.ReadCloser
	judge func(found bool) // nil once that is known
	tail  []byte           // the last bytes, which may have the beginning of the member
}

// Read implements io.Reader.
func (m *watchedMessage) Read(p []byte) (int, error) {
	n, err := m.ReadCloser.Read(p)
	if m.judge == nil {
		return n, err
	}
	seen := append(m.tail, p[:n]...)
	m.tail = append([]byte(nil), seen[max(0, len(seen)-len(member)+1):]...)
	if found := bytes.Contains(seen, member); found || err == io.EOF {
		m.judge(found)
		m.judge, m.tail = nil, nil
	}
	return n, err
}
