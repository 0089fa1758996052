package mcpauthbridge

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/metadata"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/sse"
)

// capture records the answer to a request of the bridge itself.
type capture struct {
	limit int64  // of the body of the answer, in bytes
	body  []byte // of the request
	got   metadata.FetchResponse
	err   error
}

// roundTrip implements exchange. It reads the body, up to the limit, and gives the proxy an
// answer without one.
func (c *capture) roundTrip(req *http.Request, rt http.RoundTripper) (*http.Response, error) {
	c.got, c.err = metadata.FetchResponse{SentHost: req.Host}, nil
	// Each attempt sends the whole body. The proxy's own reader of it counts what was read
	// without a lock, and HTTP/2 closes a body while it is read.
	if len(c.body) > 0 {
		req.Body, req.ContentLength = io.NopCloser(bytes.NewReader(c.body)), int64(len(c.body))
		req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(c.body)), nil }
	}
	res, err := rt.RoundTrip(req)
	if err != nil {
		c.err = err
		return nil, err
	}
	c.err = c.read(res)
	res.Body, res.ContentLength = http.NoBody, 0
	res.Header.Del("Content-Length")
	return res, nil
}

func (c *capture) read(res *http.Response) error {
	defer res.Body.Close()
	c.got.Status, c.got.Header = res.StatusCode, res.Header.Clone()
	if c.limit <= 0 {
		return nil
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, c.limit+1))
	if err != nil {
		return err
	}
	if int64(len(body)) > c.limit {
		c.got.TooLarge = true
		return nil
	}
	c.got.Body = body
	return nil
}

// fetcher makes requests for metadata on the bridge's own behalf. It sends no credentials of a
// client.
type fetcher struct {
	proxy     *reverseproxy.Handler // nil for a middleware
	transport *scopedTransport      // nil for a middleware
	follows   *atomic.Pointer[caddyhttp.Handler]
	// server returns the server that the endpoint stands on; nil if that is not known.
	server func() *caddyhttp.Server
}

// fetch sends a request to the upstream, through the proxy and so through load balancing,
// health checks, header operations and the transport that the traffic of clients uses; or to a
// listed origin, through the same transport.
func (f *fetcher) fetch(ctx context.Context, fr metadata.FetchRequest) (metadata.FetchResponse, error) {
	if fr.Origin != "" {
		return f.fetchListed(ctx, fr)
	}
	r, err := f.newRequest(ctx, fr)
	if err != nil {
		return metadata.FetchResponse{}, err
	}
	c := &capture{limit: fr.MaxBody, body: fr.Body}
	err = f.proxy.ServeHTTP(discardWriter{}, withExchange(r, c), noNext)
	switch {
	case ctx.Err() != nil:
		return metadata.FetchResponse{}, ctx.Err()
	case c.err != nil:
		return metadata.FetchResponse{}, c.err
	case err != nil:
		return metadata.FetchResponse{}, err
	case c.got.Status == 0:
		return metadata.FetchResponse{}, errors.New("upstream was not asked")
	}
	return c.got, nil
}

// newRequest returns a request that looks to the proxy like one of a client that came through
// a trusted proxy to the public URL.
func (f *fetcher) newRequest(ctx context.Context, fr metadata.FetchRequest) (*http.Request, error) {
	scheme, host, _ := strings.Cut(fr.Public.Origin, "://")
	path, err := url.ParseRequestURI(fr.Path)
	if err != nil {
		return nil, err
	}
	// Nothing of the request that asked first may leak into this one.
	ctx = withoutValues(ctx)
	r, err := http.NewRequestWithContext(ctx, fr.Method, "/", bytes.NewReader(fr.Body))
	if err != nil {
		return nil, err
	}
	if len(fr.Body) == 0 {
		r.Body, r.ContentLength = http.NoBody, 0
	}
	r.URL = &url.URL{Path: path.Path, RawPath: path.RawPath, RawQuery: path.RawQuery}
	r.RequestURI = r.URL.RequestURI()
	r.Host, r.RemoteAddr = host, "@"
	if fr.Header != nil {
		r.Header = fr.Header.Clone()
	}
	r.Header.Set("Accept-Encoding", "identity")
	r.Header.Set("X-Forwarded-Proto", scheme)
	r.Header.Set("X-Forwarded-Host", host)
	server := f.server()
	if server == nil {
		server = &caddyhttp.Server{}
	}
	r = caddyhttp.PrepareRequest(r, caddy.NewReplacer(), discardWriter{}, server)
	caddyhttp.SetVar(r.Context(), caddyhttp.TrustedProxyVarKey, true)
	caddyhttp.SetVar(r.Context(), caddyhttp.ClientIPVarKey, "127.0.0.1")
	return r, nil
}

// fetchListed sends a request to an origin that the operator lists.
func (f *fetcher) fetchListed(ctx context.Context, fr metadata.FetchRequest) (metadata.FetchResponse, error) {
	if f.transport == nil || f.transport.http == nil {
		return metadata.FetchResponse{}, errors.New("transport cannot reach a listed origin")
	}
	r, err := http.NewRequestWithContext(withoutValues(ctx), fr.Method, fr.Origin+fr.Path, bytes.NewReader(fr.Body))
	if err != nil {
		return metadata.FetchResponse{}, err
	}
	if fr.Header != nil {
		r.Header = fr.Header.Clone()
	}
	r.Header.Set("Accept-Encoding", "identity")
	c := &capture{limit: fr.MaxBody, body: fr.Body}
	if _, err := c.roundTrip(r, f.transport.http); err != nil {
		return metadata.FetchResponse{}, err
	}
	return c.got, c.err
}

// valueless is a context that ends with another context, but has none of its values.
type valueless struct{ context.Context }

func (valueless) Value(any) any { return nil }

func withoutValues(ctx context.Context) context.Context { return valueless{ctx} }

// discardWriter discards an answer that was captured before.
type discardWriter struct{}

func (discardWriter) Header() http.Header         { return make(http.Header) }
func (discardWriter) Write(p []byte) (int, error) { return len(p), nil }
func (discardWriter) WriteHeader(int)             {}

// documentScope begins the scope of sealed documents. No message path has such a scope.
const documentScope = "metadata "

// sealOfDocuments returns the seal of the documents that challenges name. scope returns what
// binds a token to the endpoint.
func sealOfDocuments(sealer func() (*sse.Sealer, error), scope func() string) metadata.Seal {
	return metadata.Seal{
		Seal: func(text string) (token string, ok bool) {
			s, err := sealer()
			if err != nil {
				return "", false
			}
			return s.Seal(text, documentScope+scope()), true
		},
		Open: func(token string) (text string, ok bool) {
			s, err := sealer()
			if err != nil {
				return "", false
			}
			return s.Open(token, documentScope+scope())
		},
	}
}

// fetchFollowing is fetch for a middleware: the handlers after it in the route answer. If the
// routes do not say which handlers these are, they are known once a client has sent a request.
func (f *fetcher) fetchFollowing(ctx context.Context, fr metadata.FetchRequest) (metadata.FetchResponse, error) {
	if fr.Origin != "" { // a middleware has no transport
		return metadata.FetchResponse{Status: http.StatusNotFound}, nil
	}
	next := f.follows.Load()
	if next == nil {
		return metadata.FetchResponse{}, errors.New("no request came by yet")
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r, err := f.newRequest(ctx, fr)
	if err != nil {
		return metadata.FetchResponse{}, err
	}
	w := &answerWriter{header: make(http.Header), limit: fr.MaxBody, enough: cancel}
	err = serveFollowing(*next, w, r)
	got := w.answer(r.Host)
	switch {
	case got.Status != 0:
		return got, nil
	case err != nil && errorStatus(err) < http.StatusInternalServerError:
		return metadata.FetchResponse{Status: errorStatus(err), Header: w.header, SentHost: r.Host}, nil
	case err != nil:
		return metadata.FetchResponse{}, err
	}
	return metadata.FetchResponse{Status: http.StatusNotFound, SentHost: r.Host}, nil // no handler has answered
}

// serveFollowing serves a request. It recovers from the panic with which a proxy cuts off an
// answer.
func serveFollowing(next caddyhttp.Handler, w http.ResponseWriter, r *http.Request) (err error) {
	defer func() {
		if p := recover(); p != nil {
			if p != http.ErrAbortHandler { // a panic's value
				panic(p)
			}
			err = http.ErrAbortHandler
		}
	}()
	return next.ServeHTTP(w, r)
}

// errEnough ends an answer that exceeds the limit.
var errEnough = errors.New("no more is wanted")

// answerWriter keeps an answer, with a body of at most limit bytes.
type answerWriter struct {
	header http.Header
	limit  int64
	enough func()

	mu  sync.Mutex
	got metadata.FetchResponse
}

// Header implements http.ResponseWriter.
func (w *answerWriter) Header() http.Header { return w.header }

// WriteHeader implements http.ResponseWriter.
func (w *answerWriter) WriteHeader(status int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.got.Status != 0 || status < 200 {
		return
	}
	w.got.Status, w.got.Header = status, w.header.Clone()
	if w.limit <= 0 {
		w.enough()
	}
}

// Write implements http.ResponseWriter.
func (w *answerWriter) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.limit <= 0 {
		return 0, errEnough
	}
	if int64(len(w.got.Body)+len(p)) > w.limit {
		w.got.TooLarge, w.got.Body = true, nil
		w.limit = 0
		w.enough()
		return 0, errEnough
	}
	w.got.Body = append(w.got.Body, p...)
	return len(p), nil
}

// answer returns the answer to a request for host.
func (w *answerWriter) answer(host string) metadata.FetchResponse {
	w.mu.Lock()
	defer w.mu.Unlock()
	got := w.got
	got.SentHost = host
	return got
}
