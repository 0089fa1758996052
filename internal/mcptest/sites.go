package mcptest

import (
	"fmt"
	"os"
	"testing"
)

// BridgeTo is a Caddyfile with one endpoint before an upstream.
func BridgeTo(port int, upstream, options string) string {
	return fmt.Sprintf(`{
	http_port %d
	auto_https off
}
http://127.0.0.1:%[1]d {
	mcp_auth_bridge %s {
		%s
	}
}`, port, upstream, options)
}

// AllowApp allows [AppOrigin].
const AllowApp = "cors {\n\t\t\tallow_origins " + AppOrigin + "\n\t\t}"

// SiteForAllClients is a Caddyfile with an endpoint for clients of every transport.
func SiteForAllClients(port int, upstream string) string {
	return fmt.Sprintf(`{
	auto_https off
}
http://127.0.0.1:%d {
	bind 127.0.0.1
	mcp_auth_bridge {
		%s
		legacy_sse
	}
}`, port, upstream)
}

// PageOrigin is the origin of a page that uses [Caller].
const PageOrigin = "https://app.example"

// SiteForPage is a Caddyfile with an endpoint for clients of every transport, and for pages
// of [PageOrigin].
func SiteForPage(port int, upstream string) string {
	return fmt.Sprintf(`{
	auto_https off
}
http://127.0.0.1:%d {
	bind 127.0.0.1
	mcp_auth_bridge {
		to %s
		legacy_sse
		cors {
			allow_origins %s
		}
	}
}`, port, upstream, PageOrigin)
}

// SiteOfProgram is a Caddyfile with an endpoint whose server is the test binary.
func SiteOfProgram(t *testing.T, port int, block, more string) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf(`{
	auto_https off
}
http://127.0.0.1:%d {
	bind 127.0.0.1
	mcp_auth_bridge {
		stdio %q -test.run=^$ {
			env %s=1
			%s
		}
		%s
	}
}`, port, self, ChildServer, block, more)
}

// Bcrypted is the hash of a password.
const Bcrypted = "$2a$04$Zn2jbdwi9zuuPch8z2u0ueL3ho9Rar0tApogGOr6umY9IrRpKzXfC"
