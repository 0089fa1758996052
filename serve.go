package mcpauthbridge

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/cors"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/metadata"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/record"
)

// ServeHTTP serves the endpoint and its metadata and calls next for all else.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	if h.ReverseProxy == nil && h.follows.Load() == nil {
		following := next // so that next itself stays off the heap
		h.follows.Store(&following)
	}
	if target, path := h.endpoint.Match(r.URL.Path); target != bridge.TargetNone {
		return h.serveEndpoint(w, r, next, target, path)
	}
	if suffix, ok := h.ownsMetadata(r.URL.Path); ok && strippedPrefix(r) == "" {
		return h.serveMetadata(w, r, suffix)
	}
	if h.bridgesServer() && strippedPrefix(r) == "" {
		if done, err := h.serveServer(w, r, next); done {
			return err
		}
	}
	return next.ServeHTTP(w, r)
}

// request is one request to the endpoint.
type request struct {
	bridge.Exchange
	visit
	story
	seen seenOrigin
}

// Public implements bridge.PublicSource.
func (q *request) Public() (metadata.Public, bool) { return q.h.publicFrom(q.r, q.origin) }

// seenOrigin is the origin that a request names, once it was asked for.
type seenOrigin struct {
	origin, host string
	ok, asked    bool
	forwarded    bool // a trusted proxy may have said so
}

// origin finds out once what several parts of the request path need.
func (q *request) origin() (origin, host string, ok bool) {
	if !q.seen.asked {
		origin, host, ok = q.h.requestOrigin(q.r)
		q.seen = seenOrigin{origin, host, ok, true, q.h.trusted(q.r)}
	}
	return q.seen.origin, q.seen.host, q.seen.ok
}

func (q *request) roundTrip(req *http.Request, rt http.RoundTripper) (*http.Response, error) {
	if isTraced(req) {
		return q.traced(req, rt)
	}
	return q.ask(req, rt)
}

// ask asks the upstream.
func (q *request) ask(req *http.Request, rt http.RoundTripper) (*http.Response, error) {
	res, err := q.RoundTrip(req, rt.RoundTrip)
	if err == nil {
		q.varyByForwarded(res.Header)
	}
	return res, err
}

// varyByForwarded says that an answer depends on what a trusted proxy forwards,
// where the public URL was taken from that.
func (q *request) varyByForwarded(header http.Header) {
	if q.seen.forwarded {
		header["Vary"] = append(header["Vary"], "X-Forwarded-Host, X-Forwarded-Proto")
	}
}

func (h *Handler) serveEndpoint(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler, target bridge.Target, path string) error {
	q := &request{visit: visit{h: h, r: r, w: w, target: targetNames[target]}}
	q.rec = &q.Exchange
	if observed {
		q.tell()
	}
	h.endpoint.Begin(&q.Exchange, r, target, path, q)
	if !observed {
		return q.serve(w, next, target)
	}
	q.begun = time.Now()
	status := http.StatusInternalServerError // that of a panic
	h.counts.Begin()
	defer func() {
		sent, bytes := q.Answered()
		if sent != 0 {
			status = sent
		}
		q.Done()
		h.counts.End(r.Method, status, time.Since(q.begun), q.Received(), bytes)
	}()
	err := q.serve(q.Watch(w), next, target)
	if status = http.StatusOK; err != nil {
		status = errorStatus(err)
	}
	q.over(err)
	return err
}

// over tells what became of the request.
func (q *request) over(err error) {
	q.annotate()
	q.tellStory(err)
}

// serve answers the request.
func (q *request) serve(w http.ResponseWriter, next caddyhttp.Handler, target bridge.Target) error {
	h, r := q.h, q.r
	q.story.origin = originPassed
	if h.policy != nil {
		if done := q.admit(w); done {
			return nil
		}
	}
	if target == bridge.TargetUnknownMessage {
		return caddyhttp.Error(http.StatusNotFound, errors.New("message path was not announced by the upstream"))
	}
	if h.hub != nil {
		cors.SetVary(w.Header())
	}
	if err := q.Hold(r); err != nil {
		if h.carriesOver(r, target) {
			bridge.RefuseBody(w, err)
			return nil
		}
		return bodyError(err)
	}
	if h.carriesOver(r, target) {
		q.carryOver(w, target)
		return nil
	}
	if h.ReverseProxy == nil {
		return h.serveMiddleware(w, r, next, q)
	}
	err := h.ReverseProxy.ServeHTTP(w, withRecord(r, q), next)
	if err != nil {
		return proxyError(err, &q.Record)
	}
	return nil
}

// carryOver answers a request whose transport is another than the upstream's.
func (q *request) carryOver(w http.ResponseWriter, target bridge.Target) {
	q.read = bridge.NotesOf(q.r)
	noted := q.r.WithContext(bridge.WithNotes(q.r.Context(), &q.read))
	if q.h.upstream.kind() == bridge.KindStdio && isTraced(noted) {
		q.traceProgram(func() { q.h.serveBridge(w, noted, target) })
		return
	}
	q.h.serveBridge(w, noted, target)
}

// admit applies the origin policy. It returns true where the request is
// answered: a preflight, or an origin that is not allowed.
func (q *request) admit(w http.ResponseWriter) (done bool) {
	h, r, header := q.h, q.r, w.Header()
	cors.SetVary(header)
	origins, hasOrigin := r.Header["Origin"]
	site := r.Header.Get("Sec-Fetch-Site")
	if !hasOrigin && site == "" {
		q.story.origin = originNone
		return false
	}
	decision := cors.Allow
	if len(origins) != 1 || !h.policy.Lists(origins[0]) {
		decision = h.policy.Decide(q.corsRequest(origins, site))
	}
	switch decision {
	case cors.Pass:
		q.story.origin = originPassed
		return false
	case cors.Allow:
		q.story.origin = originAllowed
		if cors.IsPreflight(r) {
			q.story.origin = originPreflight
			h.policy.Preflight(w, r)
			return true
		}
		h.policy.SetHeaders(header, origins[0])
		return false
	}
	q.story.origin = originRefused
	h.logRefused(origins, r.Host)
	if observed {
		observer{h}.originRefused(origins, r.Host)
	}
	cors.Refuse(w)
	return true
}

// corsRequest gathers what the origin policy depends on.
func (q *request) corsRequest(origins []string, site string) cors.Request {
	h, r := q.h, q.r
	c := cors.Request{SecFetchSite: site, TrustedProxy: h.trusted(r)}
	switch len(origins) {
	case 0:
	case 1:
		c.Origin = origins[0]
		if c.Origin == "" {
			c.Origin = "null" // present but empty names no origin
		}
	default:
		c.Origin = strings.Join(origins, " ")
	}
	// What is judged is the host that the request names, whatever public_url
	// says; public_url's own origin is always allowed.
	if origin, host, ok := q.origin(); ok {
		c.PublicOrigin, c.HostConfigured = origin, h.isConfiguredHost(host)
		c.OriginConfigured = h.placed().isSibling(c.Origin, origin, host)
		c.LoopbackHost, c.IPOrLocalhost = cors.Loopback(host), cors.IPOrLocalhost(host)
	}
	c.LoopbackLocal = arrivedAtLoopback(r)
	return c
}

// arrivedAtLoopback reports whether the connection arrived at a loopback address.
func arrivedAtLoopback(r *http.Request) bool {
	addr, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if !ok {
		return false
	}
	host, _, err := net.SplitHostPort(addr.String())
	return err == nil && cors.Loopback(host)
}

// bodyError is the answer to a body that could not be read.
func bodyError(err error) error {
	if bridge.BodyTooLarge(err) {
		return caddyhttp.Error(http.StatusRequestEntityTooLarge, err)
	}
	return caddyhttp.Error(http.StatusBadRequest, err)
}

// proxyError gives the proxy's error the status that the failure has: a
// timeout at any depth is 504, a body over the limit 413.
func proxyError(err error, rec *record.Record) error {
	if rec.TooLarge() {
		return caddyhttp.Error(http.StatusRequestEntityTooLarge, record.ErrBodyTooLarge)
	}
	var handlerErr caddyhttp.HandlerError
	if !errors.As(err, &handlerErr) || handlerErr.StatusCode != http.StatusBadGateway {
		return err
	}
	var netErr net.Error
	if errors.As(handlerErr.Err, &netErr) && netErr.Timeout() || errors.Is(handlerErr.Err, context.DeadlineExceeded) {
		handlerErr.StatusCode = http.StatusGatewayTimeout
		return handlerErr
	}
	return err
}

// ownsMetadata reports whether path is a well-known URL of the endpoint's
// metadata, and returns what follows the well-known path in it.
func (h *Handler) ownsMetadata(path string) (suffix string, ok bool) {
	suffix, ok = strings.CutPrefix(path, metadata.WellKnownPath)
	if !ok || h.metadataOff() {
		return "", false
	}
	return h.ownsSuffix(suffix)
}

// ownsSuffix reports whether suffix, as it follows the well-known path, names
// the endpoint; the root form stands for the site's only or default one. Old
// clients look for the metadata below the path of their event stream: it is the
// endpoint's, and names that.
func (h *Handler) ownsSuffix(suffix string) (string, bool) {
	own := h.ownSuffix()
	if suffix == own || suffix == own+"/" {
		return suffix, true
	}
	if h.LegacySSE != nil && suffix == h.legacyPath(h.placed().prefix) {
		return own, true
	}
	if suffix == "" || suffix == "/" {
		return "", h.RootMetadata || h.placed().only
	}
	return "", false
}

// ownSuffix is what follows the well-known path in the endpoint's metadata
// URL; nothing for an endpoint at the root.
func (h *Handler) ownSuffix() string {
	if path := h.staticPath(); path != "/" {
		return path
	}
	return ""
}

// serveMetadata answers a well-known URL.
func (h *Handler) serveMetadata(w http.ResponseWriter, r *http.Request, suffix string) error {
	(&visit{h: h, r: r, w: w, target: targetMetadata}).tell()
	if h.open(w, r) {
		return nil
	}
	public, ok := h.publicOf(r)
	if !ok {
		return caddyhttp.Error(http.StatusBadRequest, errors.New("request names no usable host"))
	}
	public.Path = h.staticPath()
	h.store.Serve(w, r, public, suffix)
	return nil
}
