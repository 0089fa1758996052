package doctor

import (
	"context"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/sse"
)

// The bounds of what is read of an answer.
const (
	maxHeader   = 256 << 10 // bytes of a header
	maxBody     = 256 << 10 // bytes of a body
	maxEvents   = 64        // events of a stream
	maxShown    = 12        // header fields shown
	excerptSize = 160       // bytes shown of a body
)

// request is what a client sends.
type request struct {
	name   string // of the exchange
	method string
	url    *url.URL
	header http.Header
	body   string
	// origin is that of the page that sends it; empty: no page does.
	origin string
	// private has the caller's own header fields sent with it.
	private bool
	// event ends the reading of an event stream. Default: the first event.
	event func(sse.Event) bool
	// patience bounds the wait for the end of an event stream's reading.
	// Default: the prober's timeout.
	patience time.Duration
	// headerOnly leaves the body unread.
	headerOnly bool
	// secret has nothing of the answer's body shown.
	secret bool
}

// answer is what came back.
type answer struct {
	*Exchange
	header http.Header
	body   []byte
	events []sse.Event
	// found says that the event that was waited for came.
	found bool
	// slow says that the time was over before the end of what is read.
	slow bool
	err  error
}

// mediaType is that of the answer, without parameters and in lower case.
func (a *answer) mediaType() string {
	t, _, err := mime.ParseMediaType(a.header.Get("Content-Type"))
	if err != nil {
		t, _, _ = strings.Cut(a.header.Get("Content-Type"), ";")
	}
	return strings.ToLower(strings.TrimSpace(t))
}

func (a *answer) isJSON() bool {
	t := a.mediaType()
	return t == "application/json" || strings.HasSuffix(t, "+json")
}

func (a *answer) isStream() bool { return a.mediaType() == "text/event-stream" }
func (a *answer) ok() bool       { return a.Status/100 == 2 }
func (a *answer) redirect() bool { return a.Status/100 == 3 && a.header.Get("Location") != "" }

// prober sends requests one after the other.
type prober struct {
	client  *http.Client
	timeout time.Duration
	secrets *secrets
	// own are the caller's header fields, for the server's origin alone.
	own    http.Header
	origin string
}

func newProber(opts Options, origin string, s *secrets) *prober {
	transport := opts.Transport
	if transport == nil {
		transport = http.DefaultTransport.(*http.Transport)
	}
	transport = transport.Clone()
	transport.MaxResponseHeaderBytes = maxHeader
	transport.TLSHandshakeTimeout = opts.Timeout
	return &prober{
		client: &http.Client{
			Transport:     transport,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		timeout: opts.Timeout,
		secrets: s,
		own:     opts.Header,
		origin:  origin,
	}
}

// fresh has the next request open a connection of its own.
func (p *prober) fresh() { p.client.CloseIdleConnections() }

// do sends a request and reads its answer within the bounds. Where there is no
// answer its err is set.
func (p *prober) do(ctx context.Context, r request) *answer {
	a := &answer{Exchange: &Exchange{Name: r.name, Method: r.method, URL: p.secrets.text(linkOf(r.url))}, header: http.Header{}}
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, r.method, r.url.String(), strings.NewReader(r.body))
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
	a.Status, a.header = res.StatusCode, res.Header
	p.secrets.addPart(res.Header.Get("Mcp-Session-Id"))
	a.Seen = p.seen(res.Header)
	if !r.headerOnly {
		timer := time.AfterFunc(cmpOr(r.patience, p.timeout), cancel)
		a.read(res.Body, r)
		// A server that ends its answer because the connection closes may still
		// be heard, so that an error does not tell.
		a.slow = ctx.Err() != nil && !a.found
		a.Whole = a.Whole && !a.slow
		timer.Stop()
	}
	a.TookMS = time.Since(start).Milliseconds()
	if r.origin != "" {
		a.Browser = reading(r.origin, res.Header)
	}
	if !r.secret && (!a.ok() || !a.isJSON() && !a.isStream()) {
		a.Excerpt = plain(cut(p.secrets.hide(string(a.body)), excerptSize))
	}
	return a
}

func cmpOr(a, b time.Duration) time.Duration {
	if a > 0 {
		return a
	}
	return b
}

// fill sets the header.
func (p *prober) fill(req *http.Request, r request) {
	req.Header = r.header.Clone()
	if req.Header == nil {
		req.Header = http.Header{}
	}
	req.Header.Set("User-Agent", "caddy-mcp-doctor")
	if r.origin != "" {
		req.Header.Set("Origin", r.origin)
	}
	if r.private && originOf(r.url) == p.origin {
		for name, values := range p.own {
			if http.CanonicalHeaderKey(name) == "Host" {
				req.Host = values[0]
				continue
			}
			req.Header[http.CanonicalHeaderKey(name)] = values
		}
	}
}

// sent returns what is shown of a request's header.
func (p *prober) sent(req *http.Request, r request) []Field {
	var fields []Field
	for _, name := range []string{
		"Origin", "Accept", "MCP-Protocol-Version", "Mcp-Method",
		"Access-Control-Request-Method", "Access-Control-Request-Headers",
	} {
		for _, value := range req.Header.Values(name) {
			fields = append(fields, Field{name, p.secrets.text(value)})
		}
	}
	for _, name := range []string{"Authorization", "DPoP", "Mcp-Session-Id"} {
		if req.Header.Get(name) != "" {
			fields = append(fields, Field{name, hidden})
		}
	}
	if r.private {
		for name := range p.own {
			if name = http.CanonicalHeaderKey(name); !slices.ContainsFunc(fields, func(f Field) bool { return f.Name == name }) {
				fields = append(fields, Field{p.secrets.text(name), hidden})
			}
		}
	}
	return fields
}

// shownFields are those of an answer that matter to a client.
var shownFields = []string{
	"Content-Type", "WWW-Authenticate", "Location", "Allow", "Retry-After", "Via", "Server",
	"Access-Control-Allow-Origin", "Access-Control-Allow-Credentials", "Access-Control-Expose-Headers",
	"Access-Control-Allow-Methods", "Access-Control-Allow-Headers",
}

// seen returns what is shown of an answer's header.
func (p *prober) seen(h http.Header) []Field {
	var fields []Field
	for _, name := range shownFields {
		for _, value := range h.Values(name) {
			if len(fields) == maxShown {
				return fields
			}
			if name == "Location" {
				value = p.secrets.link(value)
			} else {
				value = p.secrets.text(value)
			}
			fields = append(fields, Field{name, value})
		}
	}
	for _, name := range []string{"Mcp-Session-Id", "DPoP-Nonce"} {
		if h.Get(name) != "" {
			fields = append(fields, Field{name, hidden})
		}
	}
	return fields
}

// read reads the body: an event stream to the event that is waited for, any
// other whole.
func (a *answer) read(body io.Reader, r request) {
	if a.isStream() {
		a.readEvents(body, r)
		return
	}
	raw, err := io.ReadAll(io.LimitReader(body, maxBody+1))
	a.Whole = err == nil && len(raw) <= maxBody
	a.body = raw[:min(len(raw), maxBody)]
	a.Size = len(a.body)
}

// errEnough ends the reading of a stream.
var errEnough = errors.New("enough")

func (a *answer) readEvents(body io.Reader, r request) {
	feed := &sse.Feed{Limit: maxBody, Each: func(e sse.Event) error {
		a.events = append(a.events, e)
		if a.found = r.event == nil || r.event(e); a.found || len(a.events) == maxEvents {
			return errEnough
		}
		return nil
	}}
	n, err := io.Copy(feed, io.LimitReader(body, maxBody))
	for _, e := range a.events {
		n = max(n, int64(len(e.Data)))
	}
	a.Size, a.Whole = int(n), err == nil
}

// fail records that no answer came.
func (a *answer) fail(p *prober, err error) {
	var wrapped *url.Error
	if errors.As(err, &wrapped) { // it has the URL with its query in it
		a.slow = wrapped.Timeout()
		err = wrapped.Err
	}
	a.err = err
	a.Error = p.secrets.text(err.Error())
	if a.slow {
		a.Error = "no answer in time"
	}
}
