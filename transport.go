package mcpauthbridge

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/headers"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"golang.org/x/net/http/httpguts"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/notes"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/record"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/suggest"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/tracing"
)

// exchangeKey is the key of the context value that gives the scoped transport the exchange
// that a request belongs to. It is not one of Caddy's variables: a dial may outlive its
// request and reads the variables without a lock.
type exchangeKey struct{}

// exchange is the request of a client or of a message bridge, on whose behalf the proxy sends
// requests.
type exchange interface {
	// roundTrip sends a request of the proxy to the upstream.
	roundTrip(req *http.Request, rt http.RoundTripper) (*http.Response, error)
}

// roundTrip gives a request of the proxy to its exchange. A health check has none, and goes
// straight to the transport.
func roundTrip(req *http.Request, rt http.RoundTripper) (*http.Response, error) {
	withoutH2C(req)
	x, ok := req.Context().Value(exchangeKey{}).(exchange)
	if !ok {
		return rt.RoundTrip(req)
	}
	if q, ok := x.(*request); ok && q.forwarding.proxy != nil {
		return q.forwarding.roundTrip(x, req, rt)
	}
	return exchangeWith(x, req, rt)
}

// traced is an exchange that gets a span of its own in traces.
type traced interface {
	exchange
	// traceNotes returns what is known of a request that is sent to the upstream.
	traceNotes(req *http.Request) notes.Notes
	// upstreamStatus returns the status of the answer.
	upstreamStatus() int
}

// withoutH2C removes the wish to continue in HTTP/2 on the same connection, which RFC 9113 section
// 3.1 has made obsolete. A server that grants it would take requests for any of its paths from the
// client, and no part of Caddy would see them.
func withoutH2C(req *http.Request) {
	if httpguts.HeaderValuesContainsToken(req.Header["Upgrade"], "h2c") {
		delete(req.Header, "Upgrade")
		delete(req.Header, "Connection") // in which reverse_proxy has written no other wish
	}
}

// exchangeWith sends a request of the proxy as part of its exchange.
func exchangeWith(x exchange, req *http.Request, rt http.RoundTripper) (*http.Response, error) {
	if t, ok := x.(traced); ok && tracing.Sampled(req) {
		send := func() (*http.Response, error) { return t.roundTrip(req, rt) }
		return tracing.RoundTrip(req, t.traceNotes(req), send, t.upstreamStatus)
	}
	return x.roundTrip(req, rt)
}

// httpTransport is Caddy's HTTP transport, scoped. It embeds the transport, so that the proxy
// sees its optional interfaces.
type httpTransport struct {
	*reverseproxy.HTTPTransport
}

// RoundTrip implements http.RoundTripper.
func (t *httpTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	return roundTrip(req, t.HTTPTransport)
}

// otherTransport is a transport of another plugin, scoped. Optional interfaces that the
// transport lacks behave as if they were absent.
type otherTransport struct {
	http.RoundTripper
}

// RoundTrip implements http.RoundTripper.
func (t *otherTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	return roundTrip(req, t.RoundTripper)
}

// TLSEnabled implements reverseproxy.TLSTransport.
func (t *otherTransport) TLSEnabled() bool {
	inner, ok := t.RoundTripper.(reverseproxy.TLSTransport)
	return ok && inner.TLSEnabled()
}

// EnableTLS implements reverseproxy.TLSTransport.
func (t *otherTransport) EnableTLS(base *reverseproxy.TLSConfig) error {
	if inner, ok := t.RoundTripper.(reverseproxy.TLSTransport); ok {
		return inner.EnableTLS(base)
	}
	return fmt.Errorf("transport %T does not support TLS", t.RoundTripper)
}

// OverrideHealthCheckScheme implements
// reverseproxy.HealthCheckSchemeOverriderTransport; without it the proxy
// takes the scheme from TLSEnabled, and so does this.
func (t *otherTransport) OverrideHealthCheckScheme(base *url.URL, port string) {
	if inner, ok := t.RoundTripper.(reverseproxy.HealthCheckSchemeOverriderTransport); ok {
		inner.OverrideHealthCheckScheme(base, port)
	} else if t.TLSEnabled() {
		base.Scheme = "https"
	}
}

// RequestHeaderOps implements reverseproxy.RequestHeaderOpsTransport.
func (t *otherTransport) RequestHeaderOps() *headers.HeaderOps {
	if inner, ok := t.RoundTripper.(reverseproxy.RequestHeaderOpsTransport); ok {
		return inner.RequestHeaderOps()
	}
	return nil
}

// ProxyProtocolEnabled implements reverseproxy.ProxyProtocolTransport.
func (t *otherTransport) ProxyProtocolEnabled() bool {
	inner, ok := t.RoundTripper.(reverseproxy.ProxyProtocolTransport)
	return ok && inner.ProxyProtocolEnabled()
}

// RequiresContentLength implements reverseproxy.ContentLengthRequiredTransport.
func (t *otherTransport) RequiresContentLength() bool {
	inner, ok := t.RoundTripper.(reverseproxy.ContentLengthRequiredTransport)
	return ok && inner.RequiresContentLength()
}

// scopedTransport is the transport of one handler and what belongs to it.
type scopedTransport struct {
	http.RoundTripper
	http  *reverseproxy.HTTPTransport // nil for a transport of another plugin
	owned bool                        // made here, so cleaned up here
}

// tls reports whether the upstream is spoken to over TLS.
func (t *scopedTransport) tls() bool {
	if t == nil {
		return false
	}
	inner, ok := t.RoundTripper.(reverseproxy.TLSTransport)
	return ok && inner.TLSEnabled()
}

func (t *scopedTransport) cleanup() error {
	if t.owned {
		return t.http.Cleanup()
	}
	return nil
}

// provisionProxy gives a proxy its scoped transport and provisions it. The
// transport has to be there first: health checks capture it.
func provisionProxy(ctx caddy.Context, p *reverseproxy.Handler, limits *Limits) (*scopedTransport, error) {
	t, err := loadTransport(ctx, p, limits)
	if err != nil {
		return nil, err
	}
	p.Transport = t.RoundTripper
	if err := p.Provision(ctx); err != nil {
		return t, fmt.Errorf("provisioning reverse_proxy: %w", err)
	}
	return t, nil
}

// parseTrustedProxies parses the option trusted_proxies of a proxy.
func parseTrustedProxies(ranges []string) (t trustedProxies, err error) {
	for _, s := range ranges {
		prefix, err := parsePrefix(s)
		if err != nil {
			return nil, fmt.Errorf("trusted_proxies: %q is neither an IP address nor a CIDR range", s)
		}
		t = append(t, prefix)
	}
	return t, nil
}

// checkDials refuses invalid addresses, which only JSON can have.
func checkDials(upstreams reverseproxy.UpstreamPool) error {
	for i, up := range upstreams {
		if up == nil || up.Dial == "" {
			return fmt.Errorf("upstream %d: names no address (dial); write host:port, such as localhost:3000", i)
		}
		if strings.Contains(up.Dial, "://") {
			return fmt.Errorf("upstream %q: dial is host:port, without a scheme and a path; write localhost:3000, and give TLS and the path in `reverse_proxy.transport` and in `upstream`", up.Dial)
		}
		network, _, found := strings.Cut(up.Dial, "/")
		if found && !strings.Contains(up.Dial, "{") && !knownNetwork(network) {
			return fmt.Errorf("upstream %q: dial is host:port, without a path; that is `path` of the upstream kind", up.Dial)
		}
		if found {
			continue
		}
		if err := checkHostPort(up.Dial, up.Dial); err != nil {
			return err
		}
		if !strings.ContainsAny(up.Dial, "{:") {
			return fmt.Errorf("upstream %q: dial needs a port; write %s:3000", up.Dial, up.Dial)
		}
	}
	return nil
}

// checkProtocol refuses a kind of upstream that is not named, or that there is not. Only JSON can
// have one.
func checkProtocol(raw json.RawMessage) error {
	const namespace = "http.mcp_auth_bridge.upstreams"
	var names []string
	for _, m := range caddy.GetModules(namespace) {
		names = append(names, m.ID.Name())
	}
	slices.Sort(names)
	list := strings.Join(names, ", ")
	var members map[string]json.RawMessage
	if json.Unmarshal(raw, &members) != nil {
		return fmt.Errorf("upstream: must be an object with `protocol`, which is one of %s; an address stands in reverse_proxy", list)
	}
	var protocol string
	if members["protocol"] == nil || json.Unmarshal(members["protocol"], &protocol) != nil {
		return fmt.Errorf("upstream: needs `protocol`, which is one of %s, as a text in quotes", list)
	}
	if slices.Contains(names, protocol) {
		return nil
	}
	if near := suggest.Nearest(protocol, names); near != "" {
		return fmt.Errorf("upstream: unknown protocol %q; did you mean `%s`? There are %s", protocol, near, list)
	}
	return fmt.Errorf("upstream: unknown protocol %q; write one of %s", protocol, list)
}

func parsePrefix(s string) (netip.Prefix, error) {
	if strings.Contains(s, "/") {
		return netip.ParsePrefix(s)
	}
	ip, err := netip.ParseAddr(s)
	if err != nil {
		return netip.Prefix{}, err
	}
	return netip.PrefixFrom(ip, ip.BitLen()), nil
}

// loadTransport loads the operator's transport, or makes Caddy's own, and
// applies the limits that belong to it.
func loadTransport(ctx caddy.Context, p *reverseproxy.Handler, limits *Limits) (*scopedTransport, error) {
	if p.TransportRaw == nil {
		inner := &reverseproxy.HTTPTransport{}
		limits.apply(inner)
		if err := inner.Provision(ctx); err != nil {
			return nil, fmt.Errorf("provisioning transport: %w", err)
		}
		guardAnswers(inner.Transport)
		return &scopedTransport{RoundTripper: &httpTransport{inner}, http: inner, owned: true}, nil
	}
	mod, err := ctx.LoadModule(p, "TransportRaw")
	if err != nil {
		return nil, fmt.Errorf("loading transport: %w", err)
	}
	p.TransportRaw = nil
	if inner, ok := mod.(*reverseproxy.HTTPTransport); ok {
		limits.apply(inner)
		if inner.Transport != nil { // it was made when the module was loaded
			inner.Transport.ResponseHeaderTimeout = time.Duration(inner.ResponseHeaderTimeout)
			inner.Transport.MaxResponseHeaderBytes = inner.MaxResponseHeaderSize
			guardAnswers(inner.Transport)
		}
		return &scopedTransport{RoundTripper: &httpTransport{inner}, http: inner}, nil
	}
	rt, ok := mod.(http.RoundTripper)
	if !ok {
		return nil, fmt.Errorf("transport: module %T is not a transport", mod)
	}
	if bt, ok := rt.(reverseproxy.BufferedTransport); ok {
		request, response := bt.DefaultBufferSizes()
		if p.RequestBuffers == 0 {
			p.RequestBuffers = request
		}
		if p.ResponseBuffers == 0 {
			p.ResponseBuffers = response
		}
	}
	return &scopedTransport{RoundTripper: &otherTransport{rt}}, nil
}

// guardAnswers keeps the answer of an upstream that closes the connection
// before it has read a large body. HTTP/2 without TLS needs no such thing, and
// cannot be told apart on the connection.
func guardAnswers(t *http.Transport) {
	if t.Protocols != nil && t.Protocols.UnencryptedHTTP2() {
		return
	}
	t.DialContext = record.WrapDial(t.DialContext)
}

// apply sets the limits of the response header that the operator has not set on the transport
// itself.
func (l *Limits) apply(t *reverseproxy.HTTPTransport) {
	if t.ResponseHeaderTimeout == 0 && l.ResponseHeaderTimeout >= 0 {
		t.ResponseHeaderTimeout = l.ResponseHeaderTimeout
		if t.ResponseHeaderTimeout == 0 {
			t.ResponseHeaderTimeout = caddy.Duration(DefaultResponseHeaderTimeout)
		}
	}
	if t.MaxResponseHeaderSize == 0 {
		t.MaxResponseHeaderSize = l.MaxResponseHeader
		if t.MaxResponseHeaderSize == 0 {
			t.MaxResponseHeaderSize = DefaultMaxResponseHeader
		}
	}
}

// withExchange returns r as a request that belongs to x.
func withExchange(r *http.Request, x exchange) *http.Request {
	return r.WithContext(context.WithValue(r.Context(), exchangeKey{}, x))
}

// serveMiddleware calls the handlers that follow, and edits their answer as the transport edits
// that of an upstream.
func serveMiddleware(q *request, w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	mw := &middlewareWriter{
		ResponseWriterWrapper: &caddyhttp.ResponseWriterWrapper{ResponseWriter: w},
		q:                     q,
		own:                   w.Header().Clone(),
	}
	q.Host = r.Host
	path, rawPath, query := r.URL.Path, r.URL.RawPath, r.URL.RawQuery // the handlers that follow may rewrite them
	err := next.ServeHTTP(mw, r)
	if mw.turned {
		mw.turned = false
		again, to := *r, *r.URL
		to.Path, to.RawPath, to.RawQuery = bridge.ToggleSlash(path), bridge.ToggleSlash(rawPath), query
		again.URL, again.RequestURI, again.Body = &to, to.RequestURI(), q.Again()
		err = next.ServeHTTP(mw, &again)
	}
	if !mw.wroteHeader {
		if err == nil {
			mw.editHeader(http.StatusOK)
		} else if status := mw.editHeader(errorStatus(err)); mw.dropBody {
			w.Header().Del("Content-Length") // the site's error routes have a body
			// Wrapped, err would keep its status.
			return caddyhttp.Error(status, errors.New("refused by a handler that follows: "+err.Error()))
		}
	}
	return err
}

func errorStatus(err error) int {
	if handlerErr, ok := errors.AsType[caddyhttp.HandlerError](err); ok && handlerErr.StatusCode != 0 {
		return handlerErr.StatusCode
	}
	return http.StatusInternalServerError
}

// middlewareWriter edits the response header at the moment when it is
// written. It overrides every method that would write it.
type middlewareWriter struct {
	*caddyhttp.ResponseWriterWrapper
	q           *request
	own         http.Header // the header before the handlers that follow were called
	wroteHeader bool
	dropBody    bool      // the body of the handlers that follow is not sent
	instead     io.Reader // is sent in place of it; nil for no body
	turned      bool      // the answer is a redirect that is followed
}

// WriteHeader implements http.ResponseWriter.
func (w *middlewareWriter) WriteHeader(status int) {
	if w.wroteHeader || w.turned {
		return
	}
	if status/100 == 3 && w.q.FollowsSlash(status, w.Header()) {
		w.turned = true
		clear(w.Header())
		maps.Copy(w.Header(), w.own.Clone())
		return
	}
	if status >= 200 || status == http.StatusSwitchingProtocols {
		w.wroteHeader = true
		status = w.editHeader(status)
	}
	w.ResponseWriterWrapper.WriteHeader(status)
	if w.instead != nil {
		_, _ = io.Copy(w.ResponseWriter, w.instead)
		w.instead = nil
	}
}

// editHeader applies the endpoint's policy to the header and returns the
// status to send.
func (w *middlewareWriter) editHeader(status int) int {
	h := w.Header()
	res := &http.Response{StatusCode: status, Header: h, Body: http.NoBody, Request: w.q.r}
	w.q.Status, w.q.Challenge = status, h["Www-Authenticate"]
	w.q.Edit(&w.q.Record, res)
	w.q.h.answered(&w.q.Exchange)
	for _, name := range []string{"Access-Control-Allow-Origin", "Access-Control-Expose-Headers"} {
		if v := w.own[name]; v != nil {
			h[name] = v
		}
	}
	if w.own["Vary"] != nil && !hasVaryOrigin(h) {
		h["Vary"] = append(h["Vary"], "Origin")
	}
	w.q.VaryByForwarded(h)
	w.dropBody = res.StatusCode != status
	if w.dropBody { // with all fields, also those that were there before
		for name, values := range w.own {
			if _, ok := h[name]; !ok {
				h[name] = values
			}
		}
	}
	if w.dropBody && res.Body != http.NoBody {
		w.instead = res.Body
	}
	return res.StatusCode
}

func hasVaryOrigin(h http.Header) bool {
	for _, v := range h["Vary"] {
		if v == "Origin" {
			return true
		}
	}
	return false
}

// Write implements http.ResponseWriter.
func (w *middlewareWriter) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	if w.dropBody || w.turned {
		return len(p), nil
	}
	return w.ResponseWriterWrapper.Write(p)
}

// ReadFrom implements io.ReaderFrom; without it the wrapper's would write
// the header unedited.
func (w *middlewareWriter) ReadFrom(r io.Reader) (int64, error) {
	w.WriteHeader(http.StatusOK)
	if w.dropBody || w.turned {
		return io.Copy(io.Discard, r)
	}
	return w.ResponseWriterWrapper.ReadFrom(r)
}

// FlushError implements the interface of http.ResponseController, for the
// same reason.
func (w *middlewareWriter) FlushError() error {
	w.WriteHeader(http.StatusOK)
	if w.turned {
		return nil
	}
	return http.NewResponseController(w.ResponseWriter).Flush()
}
