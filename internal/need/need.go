// Package need is for tests that need something of the machine, such as Node or the rights of
// root. Without it a test is skipped, and the gate, which sets [RequireAll], fails.
package need

import (
	"os"
	"os/exec"
	"testing"
)

// RequireAll is the environment variable that, if not empty, makes tests fail that would be
// skipped.
const RequireAll = "MCP_AUTH_BRIDGE_REQUIRE_ALL"

// Missing ends a test that cannot run on this machine. what is a sentence with the name of the
// missing thing and with the way to install it.
func Missing(t testing.TB, what string) {
	t.Helper()
	if os.Getenv(RequireAll) != "" {
		t.Fatalf("%s (%s is set)", what, RequireAll)
	}
	t.Skip(what)
}

// Program returns the path of a program. how is a sentence about how to install it.
func Program(t testing.TB, name, how string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		Missing(t, name+" is not in PATH: "+how)
	}
	return path
}

// Root ends a test unless it runs as root. what is the reason, such as "change the owner of a file".
func Root(t testing.TB, what string) {
	t.Helper()
	if os.Geteuid() != 0 {
		Missing(t, "only root can "+what)
	}
}
