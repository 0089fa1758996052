package mcptest

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httputil"
)

// Front returns a proxy that stands in front of Caddy, as one that adds credentials or ends TLS
// does. It reads each request whole before it passes it on: httputil's proxy by itself breaks the
// answer off if that comes before the transport has seen the end of the body.
func Front(rewrite func(r *httputil.ProxyRequest)) http.Handler {
	proxy := &httputil.ReverseProxy{FlushInterval: -1, Rewrite: rewrite}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return // the client has left
		}
		r.Body, r.ContentLength, r.TransferEncoding = io.NopCloser(bytes.NewReader(body)), int64(len(body)), nil
		if len(body) == 0 {
			r.Body = http.NoBody
		}
		proxy.ServeHTTP(w, r)
	})
}
