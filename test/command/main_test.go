// Package command_test has the tests of the commands below `caddy mcp`: each runs as a
// process of its own, as a person runs it.
package command_test

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
	"testing"

	_ "github.com/mcp-auth-bridge/caddy-mcp-auth-bridge" // the handler and the commands
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/mcptest"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/testcaddy"
)

func TestMain(m *testing.M) {
	mcptest.Main(m, map[string]func(string){testcaddy.CommandProgram: testcaddy.RunCommand})
}

// command returns `caddy mcp` with arguments.
func command(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self, append([]string{"mcp"}, args...)...)
	cmd.Env = append(os.Environ(), testcaddy.CommandProgram+"=1", "MCP_TOKEN=")
	return cmd
}

// run returns what a command prints, and its exit code.
func run(t *testing.T, cmd *exec.Cmd) (stdout, stderr string, code int) {
	t.Helper()
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// wantRefusal runs a command that is refused: with exit code 1, nothing on standard output,
// and one line of text on standard error.
func wantRefusal(t *testing.T, want string, args ...string) {
	t.Helper()
	stdout, stderr, code := run(t, command(t, args...))
	if code != 1 || stdout != "" || !strings.HasPrefix(stderr, "Error: ") || strings.Count(stderr, "\n") != 1 || !strings.Contains(stderr, want) {
		t.Errorf("caddy mcp %s: exit code %d, want 1, with %q\n%s%s", strings.Join(args, " "), code, want, stdout, stderr)
	}
}
