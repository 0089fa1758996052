package command_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/mcptest"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/testcaddy"
)

// Rule F2: `caddy mcp sessions` lists the sessions, and `caddy mcp end` ends one by the id
// that the list has. Rule F1: the id of the session itself is nowhere.
func TestSessionsAndEnd(t *testing.T) {
	port, admin := testcaddy.FreePort(t), testcaddy.Addr(testcaddy.FreePort(t))
	testcaddy.Run(t, strings.Replace(mcptest.SiteOfProgram(t, port, "", ""), "auto_https off", "auto_https off\n\tadmin "+admin, 1))
	ask := func(args ...string) string {
		t.Helper()
		stdout, stderr, code := run(t, command(t, append(args, "--address", admin)...))
		if code != 0 || stderr != "" {
			t.Errorf("%q: exit code %d\n%s%s", args, code, stdout, stderr)
		}
		return stdout
	}
	if got := ask("sessions"); got != "No session is open.\n" {
		t.Errorf("got %s", got)
	}
	s := mcptest.Connect(t, "http://"+testcaddy.Addr(port)+"/mcp")
	var list struct {
		Sessions []struct{ ID, Endpoint string }
	}
	if raw := ask("sessions", "--json"); json.Unmarshal([]byte(raw), &list) != nil || len(list.Sessions) != 1 {
		t.Fatalf("got %s", raw)
	}
	one := list.Sessions[0]
	got := ask("sessions", "--endpoint", one.Endpoint)
	if !strings.HasPrefix(got, "ID ") || !strings.Contains(got, "\n"+one.ID+"  "+one.Endpoint) || strings.Contains(got, s.ID()) {
		t.Errorf("got\n%s", got)
	}
	wantRefusal(t, `there is no session "0000"; `+"`caddy mcp sessions` lists the ids", "end", one.ID, "0000", "--address", admin)
	if got := ask("end", one.ID); got != "ended session "+one.ID+"\n" {
		t.Errorf("got %s", got)
	}
	mcptest.Poll(t, 20*time.Second, func() string { return strings.TrimPrefix(ask("sessions"), "No session is open.\n") })
}
