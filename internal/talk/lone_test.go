package talk_test

import (
	"net/http/httptest"
	"testing"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/talk"
)

// The conversation of requests that stand for themselves needs no bridge.
func TestLoneConversation(t *testing.T) {
	server := httptest.NewServer(talk.NewLoneServer(false))
	defer server.Close()
	if err := (&talk.LoneClient{URL: server.URL + "/mcp"}).Converse(t.Context()); err != nil {
		t.Error(err)
	}
}
