package bridge

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/challenge"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/cors"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/metadata"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/record"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/sse"
)

// Exchange is one request to an endpoint and what became of it. It belongs
// to that request alone.
type Exchange struct {
	record.Record
	endpoint *Endpoint
	request  *http.Request // that the exchange belongs to
	ctx      context.Context
	source   PublicSource
	target   Target
	answer   answer
	// Outcome is what became of the challenges of the answer. Nil: it has none, or has
	// not come.
	Outcome *Outcome
	// Announced takes the message path that an HTTP+SSE upstream announces, in place
	// of mapping it.
	Announced func(path, query string)
	// Opener is given the event stream that the answer is. Nil: it passes.
	Opener Opener
}

// PublicSource computes the public URL of the endpoint for one request. It
// is asked only where the URL is needed. It returns false where the request
// names no usable host.
type PublicSource interface {
	Public() (metadata.Public, bool)
}

// Begin prepares x for a request that Match called the endpoint's; path is
// what Match said to ask the upstream for.
func (e *Endpoint) Begin(x *Exchange, r *http.Request, target Target, path string, source PublicSource) {
	x.endpoint, x.request, x.ctx, x.source, x.target = e, r, r.Context(), source, target
	if path != "" {
		x.Path = path
		if target == TargetMessage {
			x.Path, x.RawPath = splitEscaped(path)
		}
	}
	x.Hooks = x
	x.Identity = e.cfg.Kind == KindSSE && target == TargetEndpoint && r.Method == http.MethodGet
}

// Request returns the request that the exchange belongs to.
func (x *Exchange) Request() *http.Request { return x.request }

// splitEscaped returns the unescaped and the escaped form of an escaped path.
func splitEscaped(escaped string) (path, raw string) {
	path, err := url.PathUnescape(escaped)
	if err != nil {
		return escaped, ""
	}
	return path, escaped
}

// Hold reads a small request body into memory and bounds a large one.
func (x *Exchange) Hold(r *http.Request) error { return x.endpoint.holdBody(&x.Record, r) }

func (e *Endpoint) holdBody(rec *record.Record, r *http.Request) error {
	return rec.Hold(r, e.cfg.HeldBody, max(0, e.cfg.RequestBody))
}

// Redo follows, once, a 307 or 308 of the upstream to itself that changes
// nothing but the final slash of the path.
func (x *Exchange) Redo(rec *record.Record, res *http.Response) bool {
	if !x.slashRedirect(rec, res) {
		return false
	}
	rec.Path = toggleSlash(rec.Path)
	rec.RawPath = ""
	if x.target == TargetEndpoint {
		x.endpoint.slash.Store(rec.Path != x.endpoint.cfg.UpstreamPath)
	}
	return true
}

func (x *Exchange) slashRedirect(rec *record.Record, res *http.Response) bool {
	if res.StatusCode != http.StatusTemporaryRedirect && res.StatusCode != http.StatusPermanentRedirect {
		return false
	}
	if x.target != TargetEndpoint && x.target != TargetMessage || rec.Path == "" {
		return false
	}
	to, err := x.resolve(rec, res.Header.Get("Location"))
	if err != nil || !x.isUpstream(to, rec) {
		return false
	}
	return to.Path != rec.Path && strings.TrimSuffix(to.Path, "/") == strings.TrimSuffix(rec.Path, "/") &&
		to.RawPath == "" && to.RawQuery == requestQuery(res)
}

func requestQuery(res *http.Response) string {
	if res.Request == nil || res.Request.URL == nil {
		return ""
	}
	return res.Request.URL.RawQuery
}

// resolve parses a reference that the upstream sent against the URL that
// was asked for.
func (x *Exchange) resolve(rec *record.Record, ref string) (*url.URL, error) {
	if ref == "" {
		return nil, errors.New("empty reference")
	}
	u, err := url.Parse(ref)
	if err != nil {
		return nil, err
	}
	base := &url.URL{Scheme: rec.Scheme, Host: rec.Host, Path: rec.Path, RawPath: rec.RawPath}
	return base.ResolveReference(u), nil
}

// isUpstream reports whether a resolved URL names the upstream: the address
// that was dialled, or the Host that was sent.
func (x *Exchange) isUpstream(u *url.URL, rec *record.Record) bool {
	if u.User != nil || u.Scheme != "http" && u.Scheme != "https" {
		return false
	}
	host := strings.ToLower(u.Host)
	if host == strings.ToLower(rec.Host) || host == strings.ToLower(rec.Dial) {
		return true
	}
	if u.Port() == "" {
		host += map[string]string{"http": ":80", "https": ":443"}[u.Scheme]
	}
	return host == strings.ToLower(rec.Dial) || x.endpoint.upstream[host] || sameLoopback(host, rec.Dial)
}

// sameLoopback reports whether two addresses are loopback under different
// names, with the same port.
func sameLoopback(a, b string) bool {
	hostA, portA, errA := net.SplitHostPort(a)
	hostB, portB, errB := net.SplitHostPort(b)
	return errA == nil && errB == nil && portA == portB && cors.Loopback(hostA) && cors.Loopback(hostB)
}

// Edit is called with the upstream's answer before it goes downstream.
func (x *Exchange) Edit(rec *record.Record, res *http.Response) {
	e := x.endpoint
	h := res.Header
	if e.cfg.CORS != nil {
		cors.Drop(h)
	}
	if len(h["Www-Authenticate"]) > 0 || res.StatusCode == http.StatusUnauthorized || len(h["X-Amzn-Remapped-Www-Authenticate"]) > 0 {
		if status := e.editChallenge(x.ctx, res.StatusCode, h, x); status != res.StatusCode {
			discard(res, status)
		}
	}
	x.doubt(rec, res)
	x.watchAudience(rec, res)
	x.mapReference(rec, h, "Location")
	x.mapReference(rec, h, "Content-Location")
	if e.cfg.Kind == KindSSE && x.target == TargetEndpoint && res.StatusCode == http.StatusOK && isEventStream(h) &&
		res.Request != nil && res.Request.Method == http.MethodGet {
		x.mapEndpointEvent(rec, res)
	}
	if x.Opener != nil && res.StatusCode == http.StatusOK && isEventStream(h) {
		res.Body = x.Opener.Opened(res.Body)
	}
}

// doubt has the metadata asked for again after a token was refused: the client looks
// there for where to get another.
func (x *Exchange) doubt(rec *record.Record, res *http.Response) {
	if rec.Status != http.StatusUnauthorized || x.endpoint.cfg.Metadata == nil || res.Request == nil || len(res.Request.Header["Authorization"]) == 0 {
		return
	}
	if public, ok := x.source.Public(); ok {
		x.endpoint.cfg.Metadata.Doubt(public)
	}
}

// watchAudience says, once, what is likely wrong where the upstream refuses a
// token as invalid and has never accepted one: clients have their tokens made
// out to the public URL, and the upstream insists on its private one.
func (x *Exchange) watchAudience(rec *record.Record, res *http.Response) {
	e := x.endpoint
	if e.accepted.Load() || e.cfg.Mode != ModeRewrite || res.Request == nil || len(res.Request.Header["Authorization"]) == 0 {
		return
	}
	switch {
	case rec.Status < http.StatusBadRequest:
		e.accepted.Store(true)
	case rec.Status == http.StatusUnauthorized && invalidToken(rec.Challenge):
		public, ok := x.source.Public()
		if !ok {
			return
		}
		audience := public.URL()
		if e.cfg.Server != nil && !e.publicResource.Load() {
			if own, ok := e.cfg.Metadata.ServerNow(public).UpstreamResource(audience, public); ok {
				audience = own
			}
		}
		e.warn("upstream answers 401 invalid_token and has accepted no token yet; if this follows right after a login, "+
			"set the audience that it expects to the URL in `detail`, which tokens are made out to", "audience", audience)
	}
}

// invalidToken reports whether a challenge calls the token invalid (RFC 6750
// section 3.1).
func invalidToken(lines []string) bool {
	for _, line := range lines {
		for _, c := range challenge.Parse(line).Challenges() {
			if code, ok := c.Param("error"); ok && code == "invalid_token" {
				return true
			}
		}
	}
	return false
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

func isEventStream(h http.Header) bool {
	mediaType, _, _ := strings.Cut(h.Get("Content-Type"), ";")
	return strings.EqualFold(strings.TrimSpace(mediaType), "text/event-stream")
}

// firstLine returns the first line of a field that has one value (RFC 9110
// section 5.3), and takes further ones away: nobody maps them, and clients differ
// in which they follow.
func firstLine(h http.Header, name string) (string, bool) {
	lines := h[name]
	if len(lines) == 0 {
		return "", false
	}
	if len(lines) > 1 {
		h[name] = lines[:1:1]
	}
	return lines[0], true
}

// mapReference maps a Location or Content-Location that names the upstream to the
// public URL; what is foreign stays.
func (x *Exchange) mapReference(rec *record.Record, h http.Header, name string) {
	ref, ok := firstLine(h, name)
	if !ok || x.target != TargetEndpoint && x.target != TargetMessage || rec.Path == "" {
		return
	}
	to, err := x.resolve(rec, ref)
	if err != nil || !x.isUpstream(to, rec) {
		return
	}
	public, ok := x.source.Public()
	if !ok {
		return
	}
	mapped := public.Origin
	switch base := strings.TrimSuffix(x.endpoint.cfg.UpstreamPath, "/"); {
	case to.Path == base:
		mapped = public.URL()
	case to.Path == base+"/":
		mapped = strings.TrimSuffix(public.URL(), "/") + "/"
	default:
		mapped += to.EscapedPath()
	}
	if to.RawQuery != "" {
		mapped += "?" + to.RawQuery
	}
	if to.Fragment != "" {
		mapped += "#" + to.EscapedFragment()
	}
	h[name] = []string{mapped}
}

// errForeignEndpoint says that an HTTP+SSE upstream announced a message
// endpoint on another origin; the specification has clients refuse it.
var errForeignEndpoint = errors.New("upstream announced a message endpoint on a foreign origin")

// mapEndpointEvent maps the message path that the stream announces.
func (x *Exchange) mapEndpointEvent(rec *record.Record, res *http.Response) {
	e := x.endpoint
	public, ok := x.source.Public()
	if !ok && x.Announced == nil {
		return
	}
	at := *rec
	res.Header.Del("Content-Length")
	res.ContentLength = -1
	res.Body = sse.NewEndpointReader(res.Body, e.cfg.MaxEvent, func(data string) (string, error) {
		to, err := x.resolve(&at, strings.TrimSpace(data))
		if err != nil {
			return "", errForeignEndpoint
		}
		if !x.isUpstream(to, &at) {
			e.warn("upstream announces a message endpoint on another origin; the stream is ended", "foreign", to.Hostname())
			return "", errForeignEndpoint
		}
		if x.Announced != nil {
			x.Announced(to.EscapedPath(), to.RawQuery)
			return data, nil
		}
		mapped := strings.TrimSuffix(public.Path, "/") + messageSegment
		if e.cfg.MessagePath == "" {
			sealer, err := e.cfg.Sealer()
			if err != nil {
				return "", err
			}
			mapped += "/" + sealer.Seal(to.EscapedPath(), e.scope())
		}
		if to.RawQuery != "" {
			mapped += "?" + to.RawQuery
		}
		return mapped, nil
	})
}
