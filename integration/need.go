// Package integration has the tests that log real clients in at a real MCP
// server through a real Caddy.
package integration

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
)

// requireAll is the environment variable that, if not empty, makes a test fail
// for want of something that it otherwise skips for.
const requireAll = "MCP_AUTH_BRIDGE_REQUIRE_ALL"

// NeedNode returns the folder of the Node drivers. The test is skipped where
// Node or what the drivers import is missing.
func NeedNode(t testing.TB) string {
	t.Helper()
	folder := filepath.Join(here(), "node")
	if _, err := exec.LookPath("node"); err != nil {
		missing(t, "node is not in PATH: install Node.js 20 or later, then run `npm ci` in integration/node")
	}
	if info, err := os.Stat(filepath.Join(folder, "node_modules")); err != nil || !info.IsDir() {
		missing(t, "integration/node/node_modules is missing: run `npm ci` in integration/node")
	}
	return folder
}

// NeedChromium returns the path of Chromium. The test is skipped where it is
// missing.
func NeedChromium(t testing.TB) string {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		missing(t, "chromium is not in PATH: install it, on Debian with `apt-get install --no-install-recommends chromium`")
	}
	return path
}

func missing(t testing.TB, what string) {
	t.Helper()
	if os.Getenv(requireAll) != "" {
		t.Fatalf("%s (%s is set)", what, requireAll)
	}
	t.Skip(what)
}

// here is the folder of this file.
func here() string {
	_, file, _, ok := runtime.Caller(0)
	if !ok || !filepath.IsAbs(file) { // built with -trimpath
		return "."
	}
	return filepath.Dir(file)
}
