package mcptest_test

import (
	"net/http/httptest"
	"testing"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/mcptest"
)

// The conversation of requests that stand for themselves needs no bridge.
func TestLoneConversation(t *testing.T) {
	server := httptest.NewServer(mcptest.NewLoneServer(false))
	defer server.Close()
	if err := (&mcptest.LoneClient{URL: server.URL + "/mcp"}).Converse(t.Context()); err != nil {
		t.Error(err)
	}
}
