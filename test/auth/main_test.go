// Package auth_test has the tests of authorization through a running Caddy: resource
// metadata and how it is found, the bridged authorization server, what is answered where
// nothing else of the site answers, and guards in front of an endpoint.
package auth_test

import (
	"testing"

	_ "github.com/mcp-auth-bridge/caddy-mcp-auth-bridge" // the handler
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/mcptest"
)

func TestMain(m *testing.M) { mcptest.Main(m, nil) }
