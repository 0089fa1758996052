package observe_test

import (
	"strings"
	"testing"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/testcaddy"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/status"
)

// Rule F2: the lines that the status offers load when they are pasted into the directive.
func TestStatusSnippetsLoad(t *testing.T) {
	for _, line := range []string{
		"allow_origins https://app.example.com", "allow_headers X-Tenant", "private_network",
		"origins https://mcp.internal", "paths /consent/*", "hosts mcp.example.com",
	} {
		text := "https://mcp.example.com {\n\ttls internal\n\tmcp_auth_bridge localhost:3000 {\n" + status.Snippet(line) + "\n}\n}\n"
		if err := testcaddy.Validate(t, text); err != nil || !strings.Contains(text, line) {
			t.Errorf("%v\n%s", err, text)
		}
	}
	if got := status.Snippet(""); got != "" {
		t.Errorf("got %q", got)
	}
}
