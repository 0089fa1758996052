package main

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/mcptest"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/testcaddy"
)

// passedThrough is the documented Caddyfile in which caddy-l4 passes TLS on by its server
// name, and Caddy's HTTP server ends it.
func passedThrough(t *testing.T, port int, site string) string {
	certificate, key := testcaddy.Certificate(t)
	inner := fmt.Sprint(testcaddy.FreePort(t))
	return strings.NewReplacer(
		"\tlayer4 {\n\t\t:443 {", fmt.Sprintf("\tauto_https off\n\tlayer4 {\n\t\t127.0.0.1:%d {", port),
		"sni mcp.example.com", "sni localhost",
		"localhost:8443", "127.0.0.1:"+inner,
		":8443 {\n\t\tlistener_wrappers", "127.0.0.1:"+inner+" {\n\t\tlistener_wrappers",
		"mcp.example.com:8443 {", fmt.Sprintf("https://localhost:%s {\n\tbind 127.0.0.1\n\ttls %s %s", inner, certificate, key),
		"mcp_auth_bridge localhost:3000", site,
	).Replace(recipes(t, "caddy-l4")[0])
}

// ended is a Caddyfile in which caddy-l4 ends TLS in front of a site in plain HTTP. option is
// of mcp_auth_bridge.
func ended(t *testing.T, port int, site string) string {
	certificate, key := testcaddy.Certificate(t)
	inner, unused := testcaddy.FreePort(t), testcaddy.FreePort(t)
	return fmt.Sprintf(`{
	auto_https off
	layer4 {
		127.0.0.1:%d {
			route {
				tls {
					connection_policy {
						alpn http/1.1
					}
				}
				proxy {
					proxy_protocol v2
					upstream 127.0.0.1:%d
				}
			}
		}
	}
	servers 127.0.0.1:%[2]d {
		listener_wrappers {
			proxy_protocol {
				allow 127.0.0.1/32
			}
		}
		trusted_proxies static private_ranges 127.0.0.1/32
	}
}
http://:%[2]d {
	bind 127.0.0.1
	%[3]s
}
https://localhost:%[4]d {
	bind 127.0.0.1
	tls %[5]s %[6]s
}
`, port, inner, strings.ReplaceAll(site, "PUBLIC", fmt.Sprintf("public_url https://localhost:%d/mcp", port)), unused, certificate, key)
}

func TestLayer4(t *testing.T) {
	t.Run("passes TLS on", func(t *testing.T) {
		drive(t, front{whole: passedThrough, http: "mcp_auth_bridge UP", program: "mcp_auth_bridge {\n\t\tPROGRAM\n\t}"})
	})
	t.Run("ends TLS", func(t *testing.T) {
		drive(t, front{whole: ended, http: "mcp_auth_bridge UP {\n\t\tPUBLIC\n\t}", program: "mcp_auth_bridge {\n\t\tPUBLIC\n\t\tPROGRAM\n\t}"})
	})
}

// Behind caddy-l4 the server sees the address of the client, which the PROXY protocol says.
func TestLayer4KeepsTheAddressOfTheClient(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux has 127.0.0.2 without setting it up")
	}
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprint(w, r.Header.Get("X-Forwarded-For"))
	}))
	t.Cleanup(up.Close)
	for name, whole := range map[string]func(*testing.T, int, string) string{"passes TLS on": passedThrough, "ends TLS": ended} {
		t.Run(name, func(t *testing.T) {
			url := front{whole: whole, http: "mcp_auth_bridge UP"}.inFrontOf(t, testcaddy.FreePort(t), up.URL)
			from := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}
			tr := &http.Transport{TLSClientConfig: mcptest.TrustAnyone.Clone(), DialContext: from.DialContext}
			t.Cleanup(tr.CloseIdleConnections)
			got := mcptest.Do(t, &http.Client{Transport: tr}, mcptest.NewRequest(t, "GET", url, ""))
			if got.Status != 200 || got.Body != "127.0.0.2" {
				t.Errorf("the server sees %q (%d)", got.Body, got.Status)
			}
		})
	}
}

// Where caddy-l4 ends TLS, Caddy sees plain HTTP and no X-Forwarded-Proto: without public_url
// clients are sent to http. docs/recipes.md says so.
func TestLayer4EndsTLSWithoutPublicURL(t *testing.T) {
	up := mcptest.NewChallenging(t, 401, `Bearer resource_metadata="UP/.well-known/oauth-protected-resource/mcp"`)
	url := front{whole: ended, http: "mcp_auth_bridge UP"}.inFrontOf(t, testcaddy.FreePort(t), up.URL)
	got := mcptest.Do(t, newClient(t), mcptest.NewRequest(t, "POST", url, mcptest.Initialize))
	if line := got.Header.Get("WWW-Authenticate"); got.Status != 401 || !strings.Contains(line, `="http://localhost`) {
		t.Errorf("got %d %s", got.Status, line)
	}
}
