package integration_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	_ "github.com/mcp-auth-bridge/caddy-mcp-auth-bridge"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/demo"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/testcaddy"
)

const (
	publicHost = "mcp.example.com"
	patience   = time.Minute // of a test that waits for something to happen
)

// front is what stands before the MCP server.
type front struct {
	public    string // URL of the endpoint
	addr      string // where it listens
	caddyfile string // UPSTREAM and OPTIONS stand for those of mcp_auth_bridge
}

// plainFront is one site without TLS, on loopback.
func plainFront(t *testing.T) front {
	t.Helper()
	addr := testcaddy.Addr(testcaddy.FreePort(t))
	return front{"http://" + addr + "/mcp", addr, `{
	auto_https off
}
http://` + addr + ` {
	mcp_auth_bridge UPSTREAM {
		OPTIONS
	}
}`}
}

// prefixFront is the endpoint below a prefix that the site strips.
func prefixFront(t *testing.T) front {
	t.Helper()
	addr := testcaddy.Addr(testcaddy.FreePort(t))
	return front{"http://" + addr + "/tools/mcp", addr, `{
	auto_https off
}
http://` + addr + ` {
	handle_path /tools/* {
		mcp_auth_bridge UPSTREAM {
			OPTIONS
		}
	}
	handle /.well-known/oauth-protected-resource/* {
		mcp_auth_bridge metadata
	}
}`}
}

// tlsFront is one site with TLS and HTTP/2, on a host that only the client's
// dialer knows.
func tlsFront(t *testing.T) front {
	t.Helper()
	port := testcaddy.FreePort(t)
	return front{"https://" + publicHost + "/mcp", testcaddy.Addr(port), fmt.Sprintf(`{
	https_port %d
	auto_https disable_redirects
	skip_install_trust
}
https://%s {
	tls internal
	mcp_auth_bridge UPSTREAM {
		OPTIONS
	}
}`, port, publicHost)}
}

// proxyFront is a site behind another one that ends TLS.
func proxyFront(t *testing.T) front {
	t.Helper()
	port, inner := testcaddy.FreePort(t), testcaddy.FreePort(t)
	return front{"https://" + publicHost + "/mcp", testcaddy.Addr(port), fmt.Sprintf(`{
	https_port %d
	auto_https disable_redirects
	skip_install_trust
	servers :%d {
		trusted_proxies static 127.0.0.0/8
	}
}
https://%s {
	tls internal
	reverse_proxy 127.0.0.1:%[2]d
}
http://:%[2]d {
	mcp_auth_bridge UPSTREAM {
		OPTIONS
	}
}`, port, inner, publicHost)}
}

func (f front) secure() bool { return strings.HasPrefix(f.public, "https:") }

// wellKnown is the well-known URL of the endpoint.
func (f front) wellKnown() string {
	u, err := url.Parse(f.public)
	if err != nil {
		return ""
	}
	u.Path = "/.well-known/oauth-protected-resource" + strings.TrimSuffix(u.Path, "/")
	return u.String()
}

// transport is how a client reaches the server.
type transport string

const (
	streamable transport = "Streamable HTTP"
	legacySSE  transport = "HTTP+SSE"
)

var transports = []transport{streamable, legacySSE}

// run starts a demo that knows only its private address, its authorization
// server on another origin, and the front before it. Tokens have to be made
// out to the endpoint's public URL.
func run(t *testing.T, f front, kind transport, opts demo.Options, options string) *demo.Demo {
	t.Helper()
	opts.Public = []string{f.public}
	opts.AnyHost = f.secure() // the upstream gets the public host in the Host field
	return startDemo(t, f, kind, opts, options)
}

// startDemo starts a demo, and a front before it with options of mcp_auth_bridge.
func startDemo(t *testing.T, f front, kind transport, opts demo.Options, options string) *demo.Demo {
	t.Helper()
	d, err := demo.Start(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	upstream := d.MCPURL()
	if kind == legacySSE {
		upstream = "sse+" + d.SSEURL()
	}
	testcaddy.Run(t, strings.NewReplacer("UPSTREAM", upstream, "OPTIONS", options).Replace(f.caddyfile))
	return d
}

// httpTransport returns a transport that finds the front and trusts it. It
// is for after run.
func (f front) httpTransport(t *testing.T) *http.Transport {
	t.Helper()
	var dialer net.Dialer
	tr := &http.Transport{
		ForceAttemptHTTP2: true,
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			if addr == publicHost+":443" {
				addr = f.addr
			}
			return dialer.DialContext(ctx, network, addr)
		},
	}
	if f.secure() {
		tr.TLSClientConfig = f.trust(t)
	}
	t.Cleanup(tr.CloseIdleConnections)
	return tr
}

// trust trusts the authority of the running Caddy, and waits until the site
// has its certificate.
func (f front) trust(t *testing.T) *tls.Config {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	root, err := caddy.ActiveContext().Storage().Load(ctx, "pki/authorities/local/root.crt")
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(root) {
		t.Fatal("the authority has no root certificate")
	}
	dialer := tls.Dialer{Config: &tls.Config{RootCAs: pool, ServerName: publicHost}}
	for {
		conn, err := dialer.DialContext(ctx, "tcp", f.addr)
		if err == nil {
			_ = conn.Close()
			return &tls.Config{RootCAs: pool}
		}
		if ctx.Err() != nil {
			t.Fatalf("the site got no certificate: %v", err)
		}
	}
}

// exchange is a request of the client and its answer.
type exchange struct {
	url       *url.URL
	method    string
	token     string // of the Authorization field
	proto     int    // major version of HTTP
	status    int
	challenge []string
}

// observer is a round tripper that remembers what went through it.
type observer struct {
	base http.RoundTripper

	mu   sync.Mutex
	seen []exchange
}

// RoundTrip implements http.RoundTripper.
func (o *observer) RoundTrip(req *http.Request) (*http.Response, error) {
	res, err := o.base.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	_, token, _ := strings.Cut(req.Header.Get("Authorization"), " ")
	o.mu.Lock()
	defer o.mu.Unlock()
	o.seen = append(o.seen, exchange{req.URL, req.Method, token, res.ProtoMajor, res.StatusCode, res.Header["Www-Authenticate"]})
	return res, nil
}

// with returns the exchanges with a status whose challenge has all texts.
func (o *observer) with(status int, texts ...string) []exchange {
	o.mu.Lock()
	defer o.mu.Unlock()
	var found []exchange
	for _, e := range o.seen {
		lines := strings.Join(e.challenge, "\n")
		if e.status == status && !slices.ContainsFunc(texts, func(text string) bool { return !strings.Contains(lines, text) }) {
			found = append(found, e)
		}
	}
	return found
}

// check asserts what holds of every login through a front: the client went to
// public addresses only, every challenge named the public metadata, and every
// token was made out to the public URL.
func (o *observer) check(t *testing.T, f front, d *demo.Demo) {
	t.Helper()
	o.mu.Lock()
	defer o.mu.Unlock()
	public, err := url.Parse(f.public)
	if err != nil {
		t.Fatal(err)
	}
	issuer, err := url.Parse(d.Issuer())
	if err != nil {
		t.Fatal(err)
	}
	var challenged, authorized bool
	for _, e := range o.seen {
		if e.url.Host != public.Host && e.url.Host != issuer.Host {
			t.Errorf("the client was sent to %s", e.url)
		}
		if e.url.Host != public.Host {
			continue
		}
		if f.secure() && e.proto != 2 {
			t.Errorf("%s %s went over HTTP/%d", e.method, e.url, e.proto)
		}
		if lines := strings.Join(e.challenge, "\n"); lines != "" {
			challenged = true
			if strings.Count(lines, "resource_metadata=") != 1 || !strings.Contains(lines, fmt.Sprintf("resource_metadata=%q", f.wellKnown())) {
				t.Errorf("%s %s was challenged %d\n%s\nwhich does not name %s", e.method, e.url, e.status, lines, f.wellKnown())
			}
		}
		if e.token != "" {
			authorized = true
			if got := audience(t, e.token); !slices.Equal(got, []string{f.public}) {
				t.Errorf("the token is for %q, want %s", got, f.public)
			}
		}
	}
	if !challenged || !authorized {
		t.Errorf("challenged: %t, authorized: %t", challenged, authorized)
	}
}

// audience returns the audience of a JWT.
func audience(t *testing.T, token string) []string {
	t.Helper()
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Errorf("a token is no JWT: %q", token)
		return nil
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Error(err)
		return nil
	}
	var many struct {
		Audience []string `json:"aud"`
	}
	if json.Unmarshal(payload, &many) == nil {
		return many.Audience
	}
	var one struct {
		Audience string `json:"aud"`
	}
	if err := json.Unmarshal(payload, &one); err != nil {
		t.Error(err)
	}
	return []string{one.Audience}
}
