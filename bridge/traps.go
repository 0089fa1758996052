package bridge

import (
	"cmp"
	"io"
	"net/http"

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
