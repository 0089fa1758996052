package testcaddy

import (
	"os"
	"os/exec"
	"testing"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
)

// RunStatus runs `caddy mcp status`.
func RunStatus(t *testing.T, admin string, args ...string) string {
	t.Helper()
	out, err := TryStatus(admin, args...)
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return out
}

// CommandProgram has the test binary be Caddy's command.
const CommandProgram = "MCP_AUTH_BRIDGE_TEST_COMMAND"

// TryStatus is RunStatus for a command that may fail.
func TryStatus(admin string, args ...string) (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	cmd := exec.Command(self, append([]string{"mcp", "status", "--address", admin}, args...)...)
	cmd.Env = append(os.Environ(), CommandProgram+"=1")
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// RunCommand is the program that [CommandProgram] names.
func RunCommand(string) { caddycmd.Main() }
