package mcpauthbridge

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/headers"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/record"
)

// recordKey is the key of the context value that leads a request's scoped
// transport to what it records. It is no variable of Caddy's: a dial may
// outlive its request and reads the variables without a lock.
type recordKey struct{}

// recorder is what a request leaves for the transport.
type recorder interface {
	roundTrip(req *http.Request, rt http.RoundTripper) (*http.Response, error)
}

// roundTrip hands a request of the proxy to its record, or, where it has
// none (health checks), straight to the transport.
func roundTrip(req *http.Request, rt http.RoundTripper) (*http.Response, error) {
	if rec, ok := req.Context().Value(recordKey{}).(recorder); ok && rec != nil {
		return rec.roundTrip(req, rt)
	}
	return rt.RoundTrip(req)
}

// httpTransport is Caddy's HTTP transport, scoped. It embeds the transport,
// so its optional interfaces stay in sight of the proxy.
type httpTransport struct {
	*reverseproxy.HTTPTransport
}

// RoundTrip implements http.RoundTripper.
func (t *httpTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	return roundTrip(req, t.HTTPTransport)
}

// otherTransport is a transport of another plugin, scoped. The optional
// interfaces that it lacks behave as if they were absent.
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

// provisionProxy gives the proxy its scoped transport and provisions it. The
// transport has to be there first: health checks capture it.
func (h *Handler) provisionProxy(ctx caddy.Context) error {
	p := h.ReverseProxy
	if p == nil {
		return nil
	}
	if len(p.Upstreams) == 0 && p.DynamicUpstreamsRaw == nil {
		return fmt.Errorf("upstream: endpoint %q names none; give an address (`to`, `dynamic`), or leave reverse_proxy out for a middleware", h.Endpoint)
	}
	if err := checkDials(p.Upstreams); err != nil {
		return err
	}
	for _, s := range p.TrustedProxies {
		prefix, err := parsePrefix(s)
		if err != nil {
			return fmt.Errorf("trusted_proxies: %q is neither an IP address nor a CIDR range", s)
		}
		h.trustedProxies = append(h.trustedProxies, prefix)
	}
	t, err := h.loadTransport(ctx)
	if err != nil {
		return err
	}
	p.Transport = t.RoundTripper
	h.transport = t
	if err := p.Provision(ctx); err != nil {
		return fmt.Errorf("provisioning reverse_proxy: %w", err)
	}
	return nil
}

// checkDials refuses addresses that are none, which only JSON can have.
func checkDials(upstreams reverseproxy.UpstreamPool) error {
	for i, up := range upstreams {
		if up == nil || up.Dial == "" {
			return fmt.Errorf("upstream %d: names no address (dial)", i)
		}
		if strings.Contains(up.Dial, "://") {
			return fmt.Errorf("upstream %q: dial is host:port, without a scheme", up.Dial)
		}
		network, _, found := strings.Cut(up.Dial, "/")
		if found && !strings.Contains(up.Dial, "{") && !knownNetwork(network) {
			return fmt.Errorf("upstream %q: dial is host:port, without a path; that is `path` of the upstream kind", up.Dial)
		}
	}
	return nil
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
func (h *Handler) loadTransport(ctx caddy.Context) (*scopedTransport, error) {
	p := h.ReverseProxy
	if p.TransportRaw == nil {
		inner := &reverseproxy.HTTPTransport{}
		h.limitTransport(inner)
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
		h.limitTransport(inner)
		if inner.Transport != nil { // it was made when the module was loaded
			inner.Transport.ResponseHeaderTimeout = time.Duration(inner.ResponseHeaderTimeout)
			inner.Transport.MaxResponseHeaderBytes = inner.MaxResponseHeaderSize
			guardAnswers(inner.Transport)
		}
		return &scopedTransport{RoundTripper: &httpTransport{inner}, http: inner}, nil
	}
	rt, ok := mod.(http.RoundTripper)
	if !ok {
		return nil, fmt.Errorf("transport: module %T is no transport", mod)
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

// limitTransport sets the limits of the response header where the operator
// has set none on the transport itself.
func (h *Handler) limitTransport(t *reverseproxy.HTTPTransport) {
	if t.ResponseHeaderTimeout == 0 && h.Limits.ResponseHeader >= 0 {
		t.ResponseHeaderTimeout = h.Limits.ResponseHeader
		if t.ResponseHeaderTimeout == 0 {
			t.ResponseHeaderTimeout = caddy.Duration(DefaultResponseHeader)
		}
	}
	if t.MaxResponseHeaderSize == 0 {
		t.MaxResponseHeaderSize = h.Limits.ResponseHeaderSize
		if t.MaxResponseHeaderSize == 0 {
			t.MaxResponseHeaderSize = DefaultResponseHeaderSize
		}
	}
}

// withRecord makes rec the record of a request.
func withRecord(r *http.Request, rec recorder) *http.Request {
	return r.WithContext(context.WithValue(r.Context(), recordKey{}, rec))
}
