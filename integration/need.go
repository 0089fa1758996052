// Package integration has the tests that log real clients in at a real MCP
// server through a real Caddy.
package integration

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/need"
)

// NeedNode returns the folder of the Node drivers. The test is skipped where
// Node or what the drivers import is missing.
func NeedNode(t testing.TB) string {
	t.Helper()
	folder := filepath.Join(here(), "node")
	need.Program(t, "node", "install Node.js 20 or later, then run `npm ci` in integration/node")
	if info, err := os.Stat(filepath.Join(folder, "node_modules")); err != nil || !info.IsDir() {
		need.Missing(t, "integration/node/node_modules is missing: run `npm ci` in integration/node")
	}
	return folder
}

// NeedChromium returns the path of Chromium. The test is skipped where it is
// missing.
func NeedChromium(t testing.TB) string {
	t.Helper()
	return need.Program(t, "chromium", "install it, on Debian with `apt-get install --no-install-recommends chromium`")
}

// here is the folder of this file.
func here() string {
	_, file, _, ok := runtime.Caller(0)
	if !ok || !filepath.IsAbs(file) { // built with -trimpath
		return "."
	}
	return filepath.Dir(file)
}
