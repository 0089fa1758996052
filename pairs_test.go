package mcpauthbridge_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/talk"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/testcaddy"
)

// talkServer has the test binary be the conversation's server.
const talkServer = "MCP_AUTH_BRIDGE_TEST_TALK"

// pairUpstreams start the conversation's server and return what the directive says of
// it.
var pairUpstreams = map[string]func(*testing.T) string{
	"http": func(t *testing.T) string {
		return "to " + serveTalk(t, mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return talk.NewServer() }, nil)) + "/mcp"
	},
	"sse": func(t *testing.T) string {
		return "to sse+" + serveTalk(t, mcp.NewSSEHandler(func(*http.Request) *mcp.Server { return talk.NewServer() }, nil)) + "/sse"
	},
	"stdio": func(t *testing.T) string {
		self, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf("stdio %q -test.run=^$ {\n\tenv %s=1\n}", self, talkServer)
	},
}

// serveTalk serves a handler of the SDK's.
func serveTalk(t *testing.T, h http.Handler) string {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.Start()
	t.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
	})
	return s.URL
}

// pairSite is a Caddyfile with an endpoint for every downstream.
func pairSite(port int, upstream string) string {
	return fmt.Sprintf(`{
	auto_https off
}
http://127.0.0.1:%d {
	bind 127.0.0.1
	mcp_auth_bridge {
		%s
		legacy_sse
	}
}`, port, upstream)
}

// client returns an HTTP client whose connections end with the test.
func client(t *testing.T) *http.Client {
	t.Helper()
	tr := &http.Transport{}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

// pairDownstreams are the transports that clients use.
var pairDownstreams = map[string]func(*testing.T, string) (mcp.Transport, string){
	"sessions": func(t *testing.T, base string) (mcp.Transport, string) {
		return &mcp.StreamableClientTransport{Endpoint: base + "/mcp", HTTPClient: client(t)}, "2025-11-25"
	},
	"stateless": func(t *testing.T, base string) (mcp.Transport, string) {
		return &mcp.StreamableClientTransport{Endpoint: base + "/mcp", HTTPClient: client(t)}, "2026-07-28"
	},
	"sse": func(t *testing.T, base string) (mcp.Transport, string) {
		return &mcp.SSEClientTransport{Endpoint: base + "/mcp/sse", HTTPClient: client(t)}, "2025-11-25"
	},
}

// direct returns the transcript of the conversation without anything between.
func direct(t *testing.T, version string) []string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self, "-test.run=^$") //nolint:gosec // the test binary
	cmd.Env = []string{talkServer + "=1"}
	lines, err := talk.Converse(t.Context(), &mcp.CommandTransport{Command: cmd}, version)
	if err != nil {
		t.Fatalf("without a bridge: %v\n%s", err, strings.Join(lines, "\n"))
	}
	return lines
}

// differ returns the lines that one transcript has and the other has not.
func differ(got, want []string) string {
	var b strings.Builder
	for _, line := range want {
		if !slices.Contains(got, line) {
			fmt.Fprintf(&b, "- %s\n", line)
		}
	}
	for _, line := range got {
		if !slices.Contains(want, line) {
			fmt.Fprintf(&b, "+ %s\n", line)
		}
	}
	return b.String()
}

// wantStateless is the transcript of the SDK's client of 2026-07-28. A server that is
// stateless itself is spoken to as one. One that is not is shown as one, and can still
// do what it does for others. The SDK's HTTP server is not, without being told: there
// the client begins with a handshake after all.
func wantStateless(up string, handshake, stateless []string) []string {
	if up == "stdio" {
		return stateless
	}
	return handshake
}

// Rule D3: one conversation, with everything that either side may say, is the same
// over every pair of transports.
func TestPairs(t *testing.T) {
	handshake, stateless := direct(t, "2025-11-25"), direct(t, "2026-07-28")
	if len(handshake) < 1000 {
		t.Fatalf("transcript of %d lines", len(handshake))
	}
	for up, start := range pairUpstreams {
		t.Run(up, func(t *testing.T) {
			port := testcaddy.FreePort(t)
			testcaddy.Run(t, pairSite(port, start(t)))
			for down, connect := range pairDownstreams {
				t.Run(down, func(t *testing.T) {
					over, version := connect(t, "http://"+testcaddy.Addr(port))
					want := handshake
					if down == "stateless" {
						want = wantStateless(up, handshake, stateless)
					}
					got, err := talk.Converse(t.Context(), over, version)
					if err != nil {
						t.Fatalf("%v\n%s", err, differ(got, want))
					}
					if !slices.Equal(got, want) {
						t.Errorf("differs from the conversation without a bridge:\n%s", differ(got, want))
					}
				})
			}
		})
	}
}

// Rule D3: clients that begin with a handshake have the same conversation with a server
// that knows nothing of it, and asks in its answers what others ask in requests.
func TestPairsStatelessServer(t *testing.T) {
	all := direct(t, "2025-11-25")
	unsubscribed := slices.DeleteFunc(slices.Clone(all), func(line string) bool {
		return strings.HasPrefix(line, "updated ") || strings.HasPrefix(line, "touch:")
	})
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for up, start := range map[string]func(t *testing.T) string{
		"http": func(t *testing.T) string {
			s := talk.NewStatelessServer(false)
			return "to " + serveTalk(t, mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return s }, &mcp.StreamableHTTPOptions{Stateless: true, PropagateRequestCancellation: true})) + "/mcp"
		},
		"stdio": func(*testing.T) string {
			return fmt.Sprintf("stdio %q -test.run=^$ {\n\tenv %s=stateless\n}", self, talkServer)
		},
	} {
		t.Run(up, func(t *testing.T) {
			port := testcaddy.FreePort(t)
			testcaddy.Run(t, pairSite(port, start(t)))
			want := all
			if up == "stdio" {
				want = unsubscribed
			}
			for _, down := range []string{"sessions", "sse"} {
				if up == "http" && down == "sessions" {
					continue // it crosses byte for byte
				}
				t.Run(down, func(t *testing.T) {
					over, version := pairDownstreams[down](t, "http://"+testcaddy.Addr(port))
					got, err := talk.Converse(t.Context(), over, version)
					if err != nil {
						t.Fatalf("%v\n%s", err, differ(got, want))
					}
					if !slices.Equal(got, want) {
						t.Errorf("differs from the conversation without a bridge:\n%s", differ(got, want))
					}
				})
			}
		})
	}
}
