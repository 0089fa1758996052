package bridge

import (
	"cmp"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/content"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/cors"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/mcp"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/metadata"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/origin"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/record"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/sse"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/stats"
)

// Exchange is a request of an endpoint to its upstream, and what came of it. It belongs to one
// request alone: to a [ClientRequest] or to a [BridgeRequest].
type Exchange struct {
	record.Record
	endpoint *Endpoint
	request  *http.Request // as it came to the endpoint
	client   Client
	origin   clientOrigin
	target   Target
	followed bool   // a redirect was followed
	named    string // the first metadata URL of the challenges

	// Outcome is what became of the challenges of the answer. It is nil until an answer
	// with a challenge, or a 401, has come.
	Outcome *stats.Outcome
	// Health is set if the last round trip has shown that an address of the upstream has
	// begun or ceased to fail.
	Health *HealthChange
}

// begin prepares x for a request that Match called the endpoint's. path is the path that
// Match said to ask the upstream for.
func (x *Exchange) begin(e *Endpoint, r *http.Request, client Client, target Target, path string) {
	x.endpoint, x.request, x.client, x.target = e, r, client, target
	if path != "" {
		switch x.Path = path; target {
		case TargetEndpoint:
			x.Path = e.slash.apply(r.Method, path)
		case TargetMessage:
			x.Path, x.RawPath = splitEscaped(e.slash.messageTo(path))
		}
	}
	x.Identity = e.cfg.Kind == KindSSE && target == TargetEndpoint && r.Method == http.MethodGet
}

// Request returns the request that the exchange belongs to, as it came to the endpoint.
func (x *Exchange) Request() *http.Request { return x.request }

// public returns the public URL of the endpoint for the client of the request.
func (x *Exchange) public() (metadata.Public, bool) { return x.endpoint.public(&x.client, &x.origin) }

// mayBePublic reports whether a host, in lower case and without port, may be that of the
// public URL. It costs less than public, and the answer does not depend on it.
func (x *Exchange) mayBePublic(host string) bool {
	if x.endpoint.cfg.Site.Origin != "" || strings.Contains(strings.ToLower(x.request.Host), host) {
		return true
	}
	return strings.Contains(strings.ToLower(strings.Join(x.request.Header["X-Forwarded-Host"], ",")), host)
}

// VaryByForwarded adds to Vary the fields of a trusted proxy that the public URL was taken
// from.
func (x *Exchange) VaryByForwarded(header http.Header) {
	if x.origin.known && x.client.Trusted {
		header["Vary"] = append(header["Vary"], "X-Forwarded-Host, X-Forwarded-Proto")
	}
}

// splitEscaped returns the unescaped and the escaped form of an escaped path.
func splitEscaped(escaped string) (path, raw string) {
	path, err := url.PathUnescape(escaped)
	if err != nil {
		return escaped, ""
	}
	return path, escaped
}

// Hold reads a small request body into memory and bounds a large one.
// The answer will be written to w, which may be nil.
func (x *Exchange) Hold(w http.ResponseWriter, r *http.Request) error {
	return x.Record.Hold(w, r, x.endpoint.cfg.HeldBody, max(0, x.endpoint.cfg.RequestBody))
}

// roundTrip sends req to the upstream, as [record.Record.RoundTrip] does. It notes whether the
// upstream answers at all, and what the answer depends on.
func (x *Exchange) roundTrip(req *http.Request, rt record.RoundTripFunc, hooks record.Hooks) (*http.Response, error) {
	x.Outcome, x.Health = nil, nil
	res, err := x.Record.RoundTrip(req, rt, hooks)
	health := &x.endpoint.health
	switch {
	case err == nil:
		if health.down.Load() != 0 {
			x.Health = health.back(x.Dial)
		}
		x.VaryByForwarded(res.Header)
	case req.Context().Err() == nil && !x.ClientFailed():
		x.Health = health.failed(x.Dial, failureOf(err))
	}
	return res, err
}

// editAnswer does to an answer of the upstream what does not depend on who reads it.
func (x *Exchange) editAnswer(res *http.Response) {
	h := res.Header
	if x.endpoint.cfg.CORS != nil {
		cors.Drop(h)
	}
	if len(h["Www-Authenticate"]) > 0 || res.StatusCode == http.StatusUnauthorized || len(h[metadata.RemappedChallenge]) > 0 {
		if status := x.editChallenge(res.StatusCode, h); status != res.StatusCode {
			discard(res, status)
		}
	}
	if x.Status == http.StatusUnauthorized && hasToken(res) {
		x.refetchMetadata()
	}
	x.watchAudience(res)
	x.editRedirect(res)
}

// announces reports whether an answer is the event stream of an HTTP+SSE upstream, whose first
// event announces the message path.
func (x *Exchange) announces(res *http.Response) bool {
	return x.endpoint.cfg.Kind == KindSSE && x.target == TargetEndpoint && res.StatusCode == http.StatusOK && mcp.IsEventStream(res.Header) &&
		res.Request != nil && res.Request.Method == http.MethodGet
}

// errForeignEndpoint means that an HTTP+SSE upstream announced a message path on another origin.
// The specification requires clients to refuse it.
var errForeignEndpoint = errors.New("upstream announced a message endpoint on a foreign origin")

// readEndpointEvent has use called with the message URL that the event stream announces, once
// that is known to be the upstream's own, and with the text of it. use returns the text that
// replaces it.
func (x *Exchange) readEndpointEvent(res *http.Response, use func(to *url.URL, text string) (string, error)) {
	e := x.endpoint
	res.Header.Del("Content-Length")
	res.ContentLength = -1
	res.Body = sse.NewEndpointReader(res.Body, e.cfg.MaxEvent, func(text string) (string, error) {
		to, err := x.resolve(strings.TrimSpace(text))
		if err != nil {
			return "", errForeignEndpoint
		}
		if !x.owns(to, origin.Reference) {
			e.notices.Report(stats.Notice{
				Message: "MCP server announces a message path on another origin", Subject: cmp.Or(originOf(to), to.Host),
				Advice: "the stream is ended; if the origin is the server's own, list it in the block challenge", Add: stats.CaddyfileLine("origins", originOf(to)),
			})
			return "", errForeignEndpoint
		}
		return use(to, text)
	})
}

// decode takes the content coding from an answer that the bridge itself reads. The bridge
// asks for identity, and some servers and networks do not heed that (RFC 9110 section
// 12.5.3). If the coding is not known, the answer becomes a fault of the gateway.
func (x *Exchange) decode(res *http.Response) {
	if err := content.Undo(res); err != nil {
		x.endpoint.warn("upstream's answer cannot be read", err.Error(), "have the server, or what is in front of it, heed `Accept-Encoding: identity`")
		discard(res, http.StatusBadGateway)
	}
}

// discard makes res an empty answer of the gateway itself.
func discard(res *http.Response, status int) {
	_ = res.Body.Close()
	res.Body = http.NoBody
	res.StatusCode, res.Status = status, http.StatusText(status)
	res.ContentLength = 0
	for name := range res.Header {
		switch name {
		case "Date", "Retry-After":
		default:
			delete(res.Header, name)
		}
	}
	res.Header["Content-Length"] = []string{"0"}
}
