package http_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/mcptest"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/testcaddy"
)

// upstreams are the ways to an upstream: what the directive says, and a
// client that asks it directly.
var upstreams = map[string]func(t *testing.T, a *mcptest.Answers) (directive string, direct *http.Client){
	"http1": func(t *testing.T, a *mcptest.Answers) (string, *http.Client) {
		a.Server = httptest.NewUnstartedServer(http.HandlerFunc(a.Serve))
		a.Start()
		t.Cleanup(a.Close)
		return a.URL, mcptest.NewClient(t)
	},
	"h2c": func(t *testing.T, a *mcptest.Answers) (string, *http.Client) {
		addr := h2cServer(t, http.HandlerFunc(a.Serve))
		a.Server = &httptest.Server{URL: "http://" + addr}
		c := h2cClient(t)
		return "h2c://" + addr, mcptest.WithTransport(c.Transport)
	},
	"http2 over tls": func(t *testing.T, a *mcptest.Answers) (string, *http.Client) {
		a.Server = httptest.NewUnstartedServer(http.HandlerFunc(a.Serve))
		a.EnableHTTP2 = true
		a.StartTLS()
		t.Cleanup(a.Close)
		tr := &http.Transport{TLSClientConfig: mcptest.TrustAnyone.Clone(), ForceAttemptHTTP2: true}
		t.Cleanup(tr.CloseIdleConnections)
		return a.URL + " {\n transport http {\n tls_insecure_skip_verify\n }", mcptest.WithTransport(tr)
	},
	"unix socket": func(t *testing.T, a *mcptest.Answers) (string, *http.Client) {
		socket := mcptest.ListenUnix(t, http.HandlerFunc(a.Serve))
		a.Server = &httptest.Server{URL: "http://localhost:1"}
		tr := &http.Transport{DisableCompression: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		}}
		t.Cleanup(tr.CloseIdleConnections)
		return "unix/" + socket, mcptest.WithTransport(tr)
	},
	"pair": func(t *testing.T, a *mcptest.Answers) (string, *http.Client) {
		a.Server = httptest.NewUnstartedServer(http.HandlerFunc(a.Serve))
		a.Start()
		t.Cleanup(a.Close)
		second := httptest.NewServer(http.HandlerFunc(a.Serve))
		t.Cleanup(second.Close)
		return a.URL + " " + second.URL + " {\n lb_policy round_robin", mcptest.NewClient(t)
	},
}

// Rules A1, A2, A4, A7, A10, B1 to B3, C1, C3, C6, D1: whatever protocol stands on
// either side, each answer arrives whole and names the public URL, as the metadata
// does, and pages are let in and kept out alike.
func TestAnswersCrossEveryProtocol(t *testing.T) {
	for front, f := range mcptest.Fronts {
		for upstream, start := range upstreams {
			t.Run(front+", "+upstream, func(t *testing.T) {
				a := new(mcptest.Answers)
				directive, direct := start(t, a)
				if !strings.Contains(directive, "{") {
					directive += " {"
				}
				port, inner := testcaddy.FreePort(t), testcaddy.FreePort(t)
				base := f.Scheme + "://" + testcaddy.Addr(port)
				own := a.URL
				if upstream == "unix socket" {
					own = base // it has no other address than the Host that it is asked with
				}
				a.Metadata = fmt.Sprintf(`{"resource":"%s/mcp","authorization_servers":["https://login.example.com"]}`, own)
				cert, key := testcaddy.Certificate(t)
				config := strings.ReplaceAll(f.Config(port, inner), "CERTIFICATE", cert+" "+key)
				testcaddy.Run(t, fmt.Sprintf("{\nauto_https off\nservers {\ntrusted_proxies static 127.0.0.0/8\n}\n}\n"+
					config, "mcp_auth_bridge "+directive+"\n"+mcptest.AllowApp+"\n}"))
				c := f.Client(t)
				warm, err := c.Do(mcptest.NewRequest(t, http.MethodGet, base+"/other", ""))
				if err != nil {
					t.Fatal(err)
				}
				_ = warm.Body.Close()
				if warm.ProtoMajor != f.Major {
					t.Fatalf("got %s, want HTTP/%d", warm.Proto, f.Major)
				}
				answersCross(t, direct, a, c, base, true)
				preflightAnswered(t, c, base)
				originRefused(t, c, base)
				metadataServed(t, c, base)
				breaksOff(t, c, base)
				if got := mcptest.Do(t, c, mcptest.NewRequest(t, "POST", base+"/mcp/?answer=200", mcptest.Initialize)); got.Status != http.StatusOK {
					t.Errorf("with a final slash: got %d", got.Status)
				}
			})
		}
	}
}
