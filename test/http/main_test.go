// Package http_test has the tests of what crosses between a client and an HTTP upstream
// through a running Caddy: answers, bodies, redirects, CORS and the check of the Host, on
// every version of HTTP, and what hostile clients try. What depends on a login belongs in
// test/auth, what has a session of its own in test/sessions.
package http_test

import (
	"testing"

	_ "github.com/mcp-auth-bridge/caddy-mcp-auth-bridge" // the handler
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/mcptest"
)

func TestMain(m *testing.M) { mcptest.Main(m, nil) }
