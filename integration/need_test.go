package integration_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/integration"
)

// outcome is how a test ended.
type outcome struct {
	failed bool
	text   string
}

// ending is a test that ends with a panic of its outcome.
type ending struct{ testing.TB }

func (ending) Helper()                        {}
func (ending) Skip(args ...any)               { panic(outcome{false, fmt.Sprint(args...)}) }
func (ending) Fatalf(format string, a ...any) { panic(outcome{true, fmt.Sprintf(format, a...)}) }

// What is missing skips a test by name, and fails it where all is required.
func TestNeed(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	for name, need := range map[string]func(testing.TB) string{"node": integration.NeedNode, "chromium": integration.NeedChromium} {
		for _, required := range []string{"", "1"} {
			t.Setenv("MCP_AUTH_BRIDGE_REQUIRE_ALL", required)
			got := func() (got outcome) {
				defer func() { got, _ = recover().(outcome) }()
				need(ending{t})
				return got
			}()
			if got.failed != (required != "") || !strings.HasPrefix(got.text, name+" is not in PATH: install") {
				t.Errorf("%s, required %q: got %+v", name, required, got)
			}
		}
	}
}
