package mcpauthbridge

import (
	"slices"
	"testing"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/authorize/principal"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/stats"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/edge"
)

// Rule E9: each way to refuse a request has a word of its own that it is counted by.
func TestKindsOfDenials(t *testing.T) {
	var got []stats.DenialKind
	for _, code := range []principal.Code{
		principal.Missing, principal.InvalidRequest, principal.InvalidToken, principal.InvalidProof, principal.UseNonce, principal.Unavailable, principal.IssuerFault,
	} {
		got = append(got, denialKind(edge.Denial{Check: edge.CheckCredentials, Code: code}))
	}
	got = append(got, denialKind(edge.Denial{Check: edge.CheckMessage}), denialKind(edge.Denial{Check: edge.CheckRules, Fixable: true}),
		denialKind(edge.Denial{Check: edge.CheckRules}), denialKind(edge.Denial{Check: edge.CheckSession}), denialKind(edge.Denial{Check: edge.CheckTask}))
	if !slices.Equal(got, stats.DenialKinds) {
		t.Errorf("got %q, want %q", got, stats.DenialKinds)
	}
}
