package mcpauthbridge

import (
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/testcaddy"
)

// An event of Caddy's asks the module that it is of for its name. That must not read the
// fields of a module that is still being provisioned, as a copy of it does: a health check
// of Caddy's proxy emits its first event as soon as it can.
func TestModulesAreAskedForTheirNameWithoutACopy(t *testing.T) {
	for _, value := range []any{Handler{}, App{}} {
		if _, ok := value.(caddy.Module); ok {
			t.Errorf("%T is a module by value", value)
		}
	}
	for _, module := range []any{new(Handler), new(App)} {
		if _, ok := module.(caddy.Module); !ok {
			t.Errorf("%T is no module", module)
		}
	}
	// Under the race detector this is the fault itself.
	for range 20 {
		if err := testcaddy.Validate(t, "http://127.0.0.1:0 {\n\tmcp_auth_bridge 127.0.0.1:1 {\n\t\thealth_uri /\n\t\thealth_interval 1ms\n\t}\n}"); err != nil {
			t.Fatal(err)
		}
	}
}
