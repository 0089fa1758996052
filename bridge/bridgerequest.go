package bridge

import (
	"net/http"
	"net/url"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/mcp"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/record"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/upstream"
)

// BridgeRequest is one request that the bridge itself makes to the upstream on behalf of a
// client, and what came of it. The bridge reads the answer.
type BridgeRequest struct {
	Exchange
	announced func(path, query string)
	opener    upstream.Opener
}

// Begin prepares x for a request to the upstream on behalf of a client. message is the
// escaped path of the upstream that r is posted to; empty for the endpoint itself. announced is
// called with the escaped path and the query that an HTTP+SSE upstream announces for messages;
// it may be nil. An event stream is given to opener, if that is not nil.
func (x *BridgeRequest) Begin(e *Endpoint, r *http.Request, client Client, message string, announced func(path, query string), opener upstream.Opener) {
	target, path := TargetEndpoint, e.cfg.UpstreamPath
	if message != "" {
		target, path = TargetMessage, message
	}
	x.begin(e, r, client, target, path)
	x.announced, x.opener = announced, opener
}

// RoundTrip sends req to the upstream and edits the answer for the bridge. What came of it is
// in Outcome and Health when it returns.
func (x *BridgeRequest) RoundTrip(req *http.Request, rt record.RoundTripFunc) (*http.Response, error) {
	return x.roundTrip(req, rt, x)
}

// Inform implements [record.Hooks]. No client gets informational answers to the bridge.
func (x *BridgeRequest) Inform(http.Header) {}

// Edit implements [record.Hooks]. It is called with the upstream's answer before the bridge
// reads it.
func (x *BridgeRequest) Edit(_ *record.Record, res *http.Response) {
	watchServer(&x.Exchange, res)
	x.editAnswer(res)
	announces := x.announces(res)
	x.decode(res)
	if res.StatusCode != http.StatusOK {
		return
	}
	if announces && x.announced != nil {
		x.readEndpointEvent(res, func(to *url.URL, text string) (string, error) {
			x.announced(to.EscapedPath(), to.RawQuery)
			return text, nil
		})
	}
	if x.opener != nil && mcp.IsEventStream(res.Header) {
		res.Body = x.opener.Opened(res.Body)
	}
}
