package mcptest

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"testing"

	"github.com/quic-go/quic-go/http3"
)

// TrustAnyone is for servers of the test, which make certificates of their own.
var TrustAnyone = &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12}

// WithTransport returns a client that does not follow redirects.
func WithTransport(rt http.RoundTripper) *http.Client {
	return &http.Client{Transport: rt, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// Fronts are the ways to the bridge: the global options and the site that
// clients see, and a client; %s is the directive's site body.
var Fronts = map[string]struct {
	Config func(port, inner int) string
	Client func(t *testing.T) *http.Client
	Scheme string
	Major  int
}{
	"http1": {
		Config: func(port, _ int) string { return fmt.Sprintf("http://127.0.0.1:%d {\n%%s\n}", port) },
		Client: NewClient, Scheme: "http", Major: 1,
	},
	"http2": {
		Config: func(port, _ int) string {
			return fmt.Sprintf("https://127.0.0.1:%d {\ntls CERTIFICATE\n%%s\n}", port)
		},
		Client: func(t *testing.T) *http.Client {
			tr := &http.Transport{TLSClientConfig: TrustAnyone.Clone(), ForceAttemptHTTP2: true, DisableCompression: true}
			t.Cleanup(tr.CloseIdleConnections)
			return WithTransport(tr)
		},
		Scheme: "https", Major: 2,
	},
	"http3": {
		Config: func(port, _ int) string {
			return fmt.Sprintf("https://127.0.0.1:%d {\ntls CERTIFICATE\n%%s\n}", port)
		},
		Client: func(t *testing.T) *http.Client {
			tr := &http3.Transport{TLSClientConfig: TrustAnyone.Clone(), DisableCompression: true}
			t.Cleanup(func() { _ = tr.Close() })
			return WithTransport(tr)
		},
		Scheme: "https", Major: 3,
	},
	// Another Caddy ends TLS and is trusted.
	"behind a proxy": {
		Config: func(port, inner int) string {
			return fmt.Sprintf("https://127.0.0.1:%d {\ntls CERTIFICATE\nreverse_proxy 127.0.0.1:%d\n}\nhttp://:%[2]d {\nbind 127.0.0.1\n%%s\n}", port, inner)
		},
		Client: func(t *testing.T) *http.Client {
			tr := &http.Transport{TLSClientConfig: TrustAnyone.Clone(), ForceAttemptHTTP2: true, DisableCompression: true}
			t.Cleanup(tr.CloseIdleConnections)
			return WithTransport(tr)
		},
		Scheme: "https", Major: 2,
	},
}
