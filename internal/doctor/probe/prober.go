// Package probe sends the requests of a client and reads their answers within bounds.
// It also says what a page could read of an answer, and has the messages that the
// doctor sends.
package probe

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/safetext"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/sse"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/doctor/report"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/doctor/urls"
)

// The limits for one answer.
const (
	maxHeader   = 256 << 10 // bytes of the header
	MaxBody     = 1 << 20   // bytes of the decoded body; clients built with the Go SDK read as many
	maxEvents   = 64        // events of an event stream
	maxShown    = 12        // header fields that are shown
	ExcerptSize = 160       // bytes of a body that are shown
)

// acceptedCodings are the content codings that every client accepts.
const acceptedCodings = "gzip"

// Request is one request of a client.
type Request struct {
	Name   string // of the exchange
	Method string
	URL    *url.URL
	Header http.Header
	Body   string
	// Origin is the origin of the page that sends it. Empty: it is not sent as by a
	// page.
	Origin string
	// Private adds the header fields of the caller, if the URL is at the server's
	// origin.
	Private bool
	// Event reports whether the event is the one that is waited for. Reading an event
	// stream ends with it. Default: the first event.
	Event func(sse.Event) bool
	// StreamTimeout limits the time for reading the body. Default: the timeout of the
	// prober.
	StreamTimeout time.Duration
	// HeaderOnly does not read the body.
	HeaderOnly bool
	// Secret keeps the body of the answer out of the report.
	Secret bool
}

// Prober sends requests to one server and to the servers that it names.
type Prober struct {
	client  *http.Client
	timeout time.Duration
	secrets *report.Secrets
	// own are the header fields of the caller. Only origin gets them.
	own    http.Header
	origin string
}

// New returns a prober. An *http.Transport is copied, and gets the limits of the doctor; any
// other RoundTripper has to have limits. own are the header fields of the caller, which are
// sent to origin only.
func New(transport http.RoundTripper, timeout time.Duration, own http.Header, origin string, s *report.Secrets) *Prober {
	if t, ok := transport.(*http.Transport); ok {
		t = t.Clone()
		t.MaxResponseHeaderBytes = maxHeader
		t.DisableCompression = true // content.NewReader decodes, so that the doctor sees Content-Encoding
		t.TLSHandshakeTimeout = timeout
		transport = t
	}
	return &Prober{
		client: &http.Client{
			Transport:     transport,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		timeout: timeout,
		secrets: s,
		own:     own,
		origin:  origin,
	}
}

// Fresh closes idle connections, so that the next request opens a new one.
func (p *Prober) Fresh() { p.client.CloseIdleConnections() }

// Do sends a request and reads its answer within the limits. If there is no answer, Err
// of the result is set.
func (p *Prober) Do(ctx context.Context, r Request) *Answer {
	a := &Answer{Exchange: &report.Exchange{Name: r.Name, Method: r.Method, URL: p.secrets.Text(urls.WithoutQuery(r.URL))}, Header: http.Header{}}
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, r.Method, r.URL.String(), strings.NewReader(r.Body))
	if err != nil {
		a.fail(p, err)
		return a
	}
	p.fill(req, r)
	a.Sent = p.sent(req, r)
	start := time.Now()
	res, err := p.client.Do(req)
	a.HeaderMS = time.Since(start).Milliseconds()
	a.TookMS = a.HeaderMS
	if err != nil {
		a.fail(p, err)
		return a
	}
	defer func() { _ = res.Body.Close() }()
	a.Status, a.Header = res.StatusCode, res.Header
	p.secrets.Add(res.Header.Get("Mcp-Session-Id"))
	a.Seen = p.seen(res.Header)
	if !r.HeaderOnly {
		timer := time.AfterFunc(cmpOr(r.StreamTimeout, p.timeout), cancel)
		a.read(res.Body, r)
		// When the time is over the connection closes, and some servers then end
		// their answer in order. So the absence of an error does not mean that the
		// answer came in time.
		a.Slow = ctx.Err() != nil && !a.Found
		a.Whole = a.Whole && !a.Slow
		timer.Stop()
	}
	a.TookMS = time.Since(start).Milliseconds()
	if r.Origin != "" {
		a.Browser = reading(r.Origin, res.Header)
	}
	if !r.Secret && (!a.OK() || !a.IsJSON() && !a.IsStream()) {
		a.Excerpt = p.secrets.Show(string(a.Body), ExcerptSize)
	}
	return a
}

func cmpOr(a, b time.Duration) time.Duration {
	if a > 0 {
		return a
	}
	return b
}

// fill sets the header of a request.
func (p *Prober) fill(req *http.Request, r Request) {
	req.Header = r.Header.Clone()
	if req.Header == nil {
		req.Header = http.Header{}
	}
	req.Header.Set("User-Agent", "caddy-mcp-doctor")
	req.Header.Set("Accept-Encoding", acceptedCodings)
	if r.Origin != "" {
		req.Header.Set("Origin", r.Origin)
	}
	if r.Private && urls.Origin(r.URL) == p.origin {
		for name, values := range p.own {
			if http.CanonicalHeaderKey(name) == "Host" {
				req.Host = values[0]
				continue
			}
			req.Header[http.CanonicalHeaderKey(name)] = values
		}
	}
}

// sent returns the header fields of a request that the report shows.
func (p *Prober) sent(req *http.Request, r Request) []report.Field {
	var fields []report.Field
	for _, name := range []string{
		"Origin", "Accept", "MCP-Protocol-Version", "Mcp-Method",
		"Access-Control-Request-Method", "Access-Control-Request-Headers",
	} {
		for _, value := range req.Header.Values(name) {
			fields = append(fields, report.Field{Name: name, Value: safetext.Printable(value)}) // the doctor wrote it, or it is an origin
		}
	}
	for _, name := range []string{"Authorization", "DPoP", "Mcp-Session-Id"} {
		if req.Header.Get(name) != "" {
			fields = append(fields, report.Field{Name: name, Value: report.Hidden})
		}
	}
	if r.Private {
		for name := range p.own {
			if name = http.CanonicalHeaderKey(name); !slices.ContainsFunc(fields, func(f report.Field) bool { return f.Name == name }) {
				fields = append(fields, report.Field{Name: p.secrets.Text(name), Value: report.Hidden})
			}
		}
	}
	return fields
}

// shownFields are the header fields of an answer that matter to clients.
var shownFields = []string{
	"Content-Type", "Content-Encoding", "WWW-Authenticate", "Location", "Allow", "Retry-After", "Via", "Server",
	"Access-Control-Allow-Origin", "Access-Control-Allow-Credentials", "Access-Control-Expose-Headers",
	"Access-Control-Allow-Methods", "Access-Control-Allow-Headers",
}

// seen returns the header fields of an answer that the report shows.
func (p *Prober) seen(h http.Header) []report.Field {
	var fields []report.Field
	for _, name := range shownFields {
		for _, value := range h.Values(name) {
			if len(fields) == maxShown {
				return fields
			}
			if name == "Location" {
				value = p.secrets.Link(value)
			} else {
				value = p.secrets.Text(value)
			}
			fields = append(fields, report.Field{Name: name, Value: value})
		}
	}
	for _, name := range []string{"Mcp-Session-Id", "DPoP-Nonce"} {
		if h.Get(name) != "" {
			fields = append(fields, report.Field{Name: name, Value: report.Hidden})
		}
	}
	return fields
}
