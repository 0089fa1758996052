package mcpauthbridge_test

import (
	"testing"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/mcptest"
)

func TestMain(m *testing.M) { mcptest.Main(m, nil) }
