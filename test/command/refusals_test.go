package command_test

import (
	"strings"
	"testing"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/testcaddy"
)

// A wrong command or argument is one line of text with the cure, and exit code 1.
func TestCommandRefusals(t *testing.T) {
	nothing := testcaddy.Addr(testcaddy.FreePort(t))
	for _, tt := range []struct{ args, want string }{
		{"check", "did you mean `caddy mcp doctor`?"},
		{"docter http://localhost/mcp", "did you mean `caddy mcp doctor`?"},
		{"session", "did you mean `caddy mcp sessions`?"},
		{"frobnicate", "there are doctor, end, serve, sessions, status, tools"},
		{"status --frob", "unknown flag: --frob; `caddy mcp status --help` lists the flags"},
		{"status https://mcp.example.com/mcp", "it shows all endpoints"},
		{"status --watch --every 0s", "must be positive, such as 2s"},
		{"status --address " + nothing, "Caddy must run with this module"},
		{"status --config /nonexistent/Caddyfile", "give it with --address"},
		{"sessions x", "use --endpoint"},
		{"end", "`caddy mcp sessions` lists them"},
		{"tools", "needs the URL of an MCP server, as in `caddy mcp tools https://mcp.example.com/mcp`"},
		{"tools ftp://mcp.example.com", "must begin with https:// or http://"},
		{"tools http://user:hush@localhost/mcp", "use --header"},
		{"tools http://localhost/mcp --timeout 0s", "must be positive, such as 30s"},
		{"tools http://localhost/mcp -H x", `is not of the form "Name: value"`},
		{"tools http://" + nothing + "/mcp", "`caddy mcp doctor http://" + nothing + "/mcp` says more"},
		{"serve", "give a program"},
		{"serve --listen :8080 -- npx", "add `--listen localhost:8080`"},
		{"serve --frob -- npx", "unknown flag: --frob; `caddy mcp serve --help` lists the flags"},
	} {
		wantRefusal(t, tt.want, strings.Fields(tt.args)...)
	}
}

// Without a command, and with --help, the help is printed, and the exit code is 0.
func TestCommandHelp(t *testing.T) {
	for _, args := range [][]string{nil, {"serve", "--help"}, {"status", "--help"}, {"sessions", "--help"}, {"end", "--help"}, {"tools", "--help"}} {
		stdout, stderr, code := run(t, command(t, args...))
		if code != 0 || stderr != "" || !strings.Contains(stdout, "Usage:") || !strings.Contains(stdout, "Examples:") {
			t.Errorf("%q: exit code %d\n%s%s", args, code, stdout, stderr)
		}
		for line := range strings.Lines(strings.Split(stdout, "Usage:")[0]) {
			if len(line) > 82 {
				t.Errorf("%q: a line does not fit a terminal: %s", args, line)
			}
		}
	}
}
