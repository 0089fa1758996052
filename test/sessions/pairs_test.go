package sessions_test

import (
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/mcptest"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/testcaddy"
)

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
func TestConversationIsTheSameOverEveryPair(t *testing.T) {
	handshake, stateless := mcptest.Direct(t, "2025-11-25"), mcptest.Direct(t, "2026-07-28")
	if len(handshake) < 1000 {
		t.Fatalf("transcript of %d lines", len(handshake))
	}
	for up, start := range mcptest.PairUpstreams {
		t.Run(up, func(t *testing.T) {
			port := testcaddy.FreePort(t)
			testcaddy.Run(t, mcptest.SiteForAllClients(port, start(t)))
			for down, connect := range mcptest.PairDownstreams {
				t.Run(down, func(t *testing.T) {
					over, version := connect(t, "http://"+testcaddy.Addr(port))
					want := handshake
					if down == "stateless" {
						want = wantStateless(up, handshake, stateless)
					}
					got, err := mcptest.Converse(t.Context(), over, version)
					if err != nil {
						t.Fatalf("%v\n%s", err, mcptest.Differ(got, want))
					}
					if !slices.Equal(got, want) {
						t.Errorf("differs from the conversation without a bridge:\n%s", mcptest.Differ(got, want))
					}
				})
			}
		})
	}
}

// Rule D3: clients that begin with a handshake have the same conversation with a server
// that knows nothing of it, and asks in its answers what others ask in requests.
func TestConversationWithAStatelessServerIsTheSame(t *testing.T) {
	all := mcptest.Direct(t, "2025-11-25")
	unsubscribed := slices.DeleteFunc(slices.Clone(all), func(line string) bool {
		return strings.HasPrefix(line, "updated ") || strings.HasPrefix(line, "touch:")
	})
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for up, start := range map[string]func(t *testing.T) string{
		"http": func(t *testing.T) string {
			s := mcptest.NewStatelessServer(false)
			return "to " + mcptest.Serve(t, mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return s }, &mcp.StreamableHTTPOptions{Stateless: true, PropagateRequestCancellation: true})) + "/mcp"
		},
		"stdio": func(*testing.T) string {
			return fmt.Sprintf("stdio %q -test.run=^$ {\n\tenv %s=stateless\n}", self, mcptest.TalkServer)
		},
	} {
		t.Run(up, func(t *testing.T) {
			port := testcaddy.FreePort(t)
			testcaddy.Run(t, mcptest.SiteForAllClients(port, start(t)))
			want := all
			if up == "stdio" {
				want = unsubscribed
			}
			for _, down := range []string{"sessions", "sse"} {
				if up == "http" && down == "sessions" {
					continue // it crosses byte for byte
				}
				t.Run(down, func(t *testing.T) {
					over, version := mcptest.PairDownstreams[down](t, "http://"+testcaddy.Addr(port))
					got, err := mcptest.Converse(t.Context(), over, version)
					if err != nil {
						t.Fatalf("%v\n%s", err, mcptest.Differ(got, want))
					}
					if !slices.Equal(got, want) {
						t.Errorf("differs from the conversation without a bridge:\n%s", mcptest.Differ(got, want))
					}
				})
			}
		})
	}
}
