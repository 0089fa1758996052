package mcpauthbridge

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/metadata"
)

// capture records the answer to a request of the bridge itself.
type capture struct {
	limit int64
	got   metadata.FetchResponse
	err   error
}

// roundTrip reads what is wanted of the body, bounded, and hands the proxy an
// answer without one.
func (c *capture) roundTrip(req *http.Request, rt http.RoundTripper) (*http.Response, error) {
	c.got, c.err = metadata.FetchResponse{SentHost: req.Host}, nil
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

// fetch asks the upstream itself for something, through the proxy and so
// through load balancing, health checks, header operations and the transport
// that traffic goes through; or a listed origin, through the same transport.
// No credentials of a client are sent.
func (h *Handler) fetch(ctx context.Context, fr metadata.FetchRequest) (metadata.FetchResponse, error) {
	if fr.Origin != "" {
		return h.fetchListed(ctx, fr)
	}
	r, err := h.newRequest(ctx, fr)
	if err != nil {
		return metadata.FetchResponse{}, err
	}
	c := &capture{limit: fr.MaxBody}
	err = func() error {
		return h.ReverseProxy.ServeHTTP(discardWriter{}, withRecord(r, c), caddyhttp.HandlerFunc(func(http.ResponseWriter, *http.Request) error { return nil }))
	}()
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

// newRequest makes a request that the proxy takes for one of a client that
// came through a trusted proxy at the public URL.
func (h *Handler) newRequest(ctx context.Context, fr metadata.FetchRequest) (*http.Request, error) {
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
	server := h.placed().server
	if server == nil {
		server = &caddyhttp.Server{}
	}
	r = caddyhttp.PrepareRequest(r, caddy.NewReplacer(), discardWriter{}, server)
	caddyhttp.SetVar(r.Context(), caddyhttp.TrustedProxyVarKey, true)
	caddyhttp.SetVar(r.Context(), caddyhttp.ClientIPVarKey, "127.0.0.1")
	return r, nil
}

// fetchListed asks an origin that the operator lists.
func (h *Handler) fetchListed(ctx context.Context, fr metadata.FetchRequest) (metadata.FetchResponse, error) {
	if h.transport == nil || h.transport.http == nil {
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
	c := &capture{limit: fr.MaxBody}
	if _, err := c.roundTrip(r, h.transport.http); err != nil {
		return metadata.FetchResponse{}, err
	}
	return c.got, c.err
}

// valueless is a context with the end of another and none of its values.
type valueless struct{ context.Context }

func (valueless) Value(any) any { return nil }

func withoutValues(ctx context.Context) context.Context { return valueless{ctx} }

// discardWriter is where the proxy writes an answer that was captured.
type discardWriter struct{}

func (discardWriter) Header() http.Header         { return make(http.Header) }
func (discardWriter) Write(p []byte) (int, error) { return len(p), nil }
func (discardWriter) WriteHeader(int)             {}
