package mcpauthbridge_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/quic-go/quic-go/http3"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/testcaddy"
)

// trustAnyone is for servers of the test, which make certificates of their own.
var trustAnyone = &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12} //nolint:gosec // loopback

// withTransport returns a client that does not follow redirects.
func withTransport(rt http.RoundTripper) *http.Client {
	return &http.Client{Transport: rt, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// upstreams are the ways to an upstream: what the directive says, and a
// client that asks it directly.
var upstreams = map[string]func(t *testing.T, a *answers) (directive string, direct *http.Client){
	"http1": func(t *testing.T, a *answers) (string, *http.Client) {
		a.Server = httptest.NewServer(http.HandlerFunc(a.serve))
		t.Cleanup(a.Close)
		return a.URL, newClient(t)
	},
	"h2c": func(t *testing.T, a *answers) (string, *http.Client) {
		addr := h2cServer(t, http.HandlerFunc(a.serve))
		a.Server = &httptest.Server{URL: "http://" + addr}
		c := h2cClient(t)
		return "h2c://" + addr, withTransport(c.Transport)
	},
	"http2 over tls": func(t *testing.T, a *answers) (string, *http.Client) {
		a.Server = httptest.NewUnstartedServer(http.HandlerFunc(a.serve))
		a.EnableHTTP2 = true
		a.StartTLS()
		t.Cleanup(a.Close)
		tr := &http.Transport{TLSClientConfig: trustAnyone.Clone(), ForceAttemptHTTP2: true}
		t.Cleanup(tr.CloseIdleConnections)
		return a.URL + " {\n transport http {\n tls_insecure_skip_verify\n }", withTransport(tr)
	},
	"unix socket": func(t *testing.T, a *answers) (string, *http.Client) {
		socket := listenUnix(t, http.HandlerFunc(a.serve))
		a.Server = &httptest.Server{URL: "http://localhost:1"}
		tr := &http.Transport{DisableCompression: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		}}
		t.Cleanup(tr.CloseIdleConnections)
		return "unix/" + socket, withTransport(tr)
	},
	"pair": func(t *testing.T, a *answers) (string, *http.Client) {
		a.Server = httptest.NewServer(http.HandlerFunc(a.serve))
		t.Cleanup(a.Close)
		second := httptest.NewServer(http.HandlerFunc(a.serve))
		t.Cleanup(second.Close)
		return a.URL + " " + second.URL + " {\n lb_policy round_robin", newClient(t)
	},
}

// fronts are the ways to the bridge: the global options and the site that
// clients see, and a client; %s is the directive's site body.
var fronts = map[string]struct {
	config func(port, inner int) string
	client func(t *testing.T) *http.Client
	scheme string
	major  int
}{
	"http1": {
		config: func(port, _ int) string { return fmt.Sprintf("http://127.0.0.1:%d {\n%%s\n}", port) },
		client: newClient, scheme: "http", major: 1,
	},
	"http2": {
		config: func(port, _ int) string {
			return fmt.Sprintf("https://127.0.0.1:%d {\ntls CERTIFICATE\n%%s\n}", port)
		},
		client: func(t *testing.T) *http.Client {
			tr := &http.Transport{TLSClientConfig: trustAnyone.Clone(), ForceAttemptHTTP2: true, DisableCompression: true}
			t.Cleanup(tr.CloseIdleConnections)
			return withTransport(tr)
		},
		scheme: "https", major: 2,
	},
	"http3": {
		config: func(port, _ int) string {
			return fmt.Sprintf("https://127.0.0.1:%d {\ntls CERTIFICATE\n%%s\n}", port)
		},
		client: func(t *testing.T) *http.Client {
			tr := &http3.Transport{TLSClientConfig: trustAnyone.Clone(), DisableCompression: true}
			t.Cleanup(func() { _ = tr.Close() })
			return withTransport(tr)
		},
		scheme: "https", major: 3,
	},
	// Another Caddy ends TLS and is trusted.
	"behind a proxy": {
		config: func(port, inner int) string {
			return fmt.Sprintf("https://127.0.0.1:%d {\ntls CERTIFICATE\nreverse_proxy 127.0.0.1:%d\n}\nhttp://:%[2]d {\nbind 127.0.0.1\n%%s\n}", port, inner)
		},
		client: func(t *testing.T) *http.Client {
			tr := &http.Transport{TLSClientConfig: trustAnyone.Clone(), ForceAttemptHTTP2: true, DisableCompression: true}
			t.Cleanup(tr.CloseIdleConnections)
			return withTransport(tr)
		},
		scheme: "https", major: 2,
	},
}

// Rules A1, A2, A4, A7, A10, B1 to B3, C1, C3, C6, D1: whatever protocol stands on
// either side, each answer arrives whole and names the public URL, as the metadata
// does, and pages are let in and kept out alike.
func TestAnswersCrossEveryProtocol(t *testing.T) {
	for front, f := range fronts {
		for upstream, start := range upstreams {
			t.Run(front+", "+upstream, func(t *testing.T) {
				a := new(answers)
				directive, direct := start(t, a)
				if !strings.Contains(directive, "{") {
					directive += " {"
				}
				port, inner := testcaddy.FreePort(t), testcaddy.FreePort(t)
				base := f.scheme + "://" + testcaddy.Addr(port)
				own := a.URL
				if upstream == "unix socket" {
					own = base // it has no other address than the Host that it is asked with
				}
				a.metadata = fmt.Sprintf(`{"resource":"%s/mcp","authorization_servers":["https://login.example.com"]}`, own)
				cert, key := testcaddy.Certificate(t)
				config := strings.ReplaceAll(f.config(port, inner), "CERTIFICATE", cert+" "+key)
				testcaddy.Run(t, fmt.Sprintf("{\nauto_https off\nservers {\ntrusted_proxies static 127.0.0.0/8\n}\n}\n"+
					config, "mcp_auth_bridge "+directive+"\n"+allowApp+"\n}"))
				c := f.client(t)
				warm, err := c.Do(newRequest(t, http.MethodGet, base+"/other", ""))
				if err != nil {
					t.Fatal(err)
				}
				_ = warm.Body.Close()
				if warm.ProtoMajor != f.major {
					t.Fatalf("got %s, want HTTP/%d", warm.Proto, f.major)
				}
				answersCross(t, direct, a, c, base, true)
				preflightAnswered(t, c, base)
				originRefused(t, c, base)
				metadataServed(t, c, base)
				breaksOff(t, c, base)
				if got := do(t, c, newRequest(t, "POST", base+"/mcp/?answer=200", initReq)); got.status != http.StatusOK {
					t.Errorf("with a final slash: got %d", got.status)
				}
			})
		}
	}
}
