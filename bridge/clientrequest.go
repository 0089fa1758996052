package bridge

import (
	"cmp"
	"net/http"
	"net/url"
	"strings"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/cors"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/metadata"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/origin"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/record"
)

// ClientRequest is one request of a client to an endpoint, and what came of it.
type ClientRequest struct {
	Exchange
	answer answer

	// Origin is the result of the origin policy for the request.
	Origin OriginCheck
	// owner is the owner of the message paths that the event stream of the request announces.
	owner string
}

// Begin prepares x for a request that [Endpoint.Match] called the endpoint's. path is the path that
// Match said to ask the upstream for.
func (x *ClientRequest) Begin(e *Endpoint, r *http.Request, client Client, target Target, path string) {
	x.begin(e, r, client, target, path)
	x.reportUntrustedProxy()
}

// Client returns what the web server knows of the client.
func (x *ClientRequest) Client() Client { return x.client }

// RoundTrip sends req to the upstream and edits the answer for the client. What came of it is
// in Outcome and Health when it returns.
func (x *ClientRequest) RoundTrip(req *http.Request, rt record.RoundTripFunc) (*http.Response, error) {
	return x.roundTrip(req, rt, x)
}

// Edit implements [record.Hooks]. It is called with the upstream's answer before it goes to
// the client.
func (x *ClientRequest) Edit(_ *record.Record, res *http.Response) {
	watchServer(&x.Exchange, res)
	x.editAnswer(res)
	x.watchTransport(res)
	if !x.announces(res) {
		return
	}
	if x.decode(res); res.StatusCode == http.StatusOK {
		x.mapEndpointEvent(res)
	}
}

// Inform implements [record.Hooks]. Clients go by the CORS fields and the challenges of the answer
// itself.
func (x *ClientRequest) Inform(h http.Header) {
	cfg := &x.endpoint.cfg
	if cfg.CORS != nil {
		cors.Drop(h)
	}
	if cfg.Mode != ModeRelay {
		delete(h, "Www-Authenticate")
		delete(h, metadata.RemappedChallenge)
	}
}

// mapEndpointEvent maps the message path that the event stream announces to a path below the
// endpoint.
func (x *ClientRequest) mapEndpointEvent(res *http.Response) {
	public, ok := x.public()
	if !ok {
		return
	}
	x.readEndpointEvent(res, func(to *url.URL, _ string) (string, error) {
		cfg := &x.endpoint.cfg
		path := strings.TrimSuffix(public.Path, "/") + messageSegment
		if !cfg.sealsMessages() {
			return origin.PathReference(path, to.RawQuery), nil
		}
		sealer, err := cfg.Sealer()
		if err != nil {
			return "", err
		}
		if cfg.OwnedMessages {
			sealed := cmp.Or(cfg.MessagePath, to.EscapedPath()) + "?" + to.RawQuery
			return origin.PathReference(path+"/"+sealer.Seal(sealed, x.ownerScope()), ""), nil
		}
		return origin.PathReference(path+"/"+sealer.Seal(to.EscapedPath(), cfg.SealScope()), to.RawQuery), nil
	})
}

// SetOwner says whose request it is, with [Config.OwnedMessages]. For a message it returns the
// query that the upstream has announced, and takes the path from the same announcement. It
// returns false if the message path is that of another owner, or was made up.
func (x *ClientRequest) SetOwner(owner string) (query string, ok bool) {
	x.owner = owner
	cfg := &x.endpoint.cfg
	if x.target != TargetMessage {
		return "", true
	}
	sealer, err := cfg.Sealer()
	if err != nil {
		return "", false
	}
	sealed, ok := sealer.Open(strings.TrimPrefix(x.request.URL.Path, cfg.messages()+"/"), x.ownerScope())
	if !ok {
		return "", false
	}
	path, query, _ := strings.Cut(sealed, "?")
	x.Path, x.RawPath = splitEscaped(x.endpoint.slash.messageTo(path))
	return query, true
}

// ownerScope binds a message path to the endpoint and to the owner.
func (x *ClientRequest) ownerScope() string {
	return "message\x00" + x.endpoint.cfg.SealScope() + "\x00" + x.owner
}
