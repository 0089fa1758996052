package observe_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/mcptest"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/testcaddy"
)

// Rule F2: an endpoint whose program ends needs attention, and one whose program is not
// started for a while because of that is failing. The status says why, what helps, and what
// the program wrote.
func TestHealthOfPrograms(t *testing.T) {
	port, admin := testcaddy.FreePort(t), testcaddy.Addr(testcaddy.FreePort(t))
	testcaddy.Run(t, fmt.Sprintf("{\n\tauto_https off\n\tadmin %s\n}\nhttp://127.0.0.1:%d {\n\tbind 127.0.0.1\n\tmcp_auth_bridge {\n\t\tstdio /bin/sh -c \"echo no such module >&2; exit 3\"\n\t}\n}", admin, port))
	c := mcptest.NewClient(t)
	if s, body := askAdmin(t, c, admin); s.Endpoints[0].State != "ok" || len(s.Endpoints[0].Problems) != 0 {
		t.Errorf("before the first start: got %s", body)
	}
	for n, want := range []struct{ state, text string }{
		{"attention", "the stdio server ended (crashed, exit status 3)"},
		{"attention", "the stdio server ended (crashed, exit status 3)"},
		{"failing", "the stdio server ended soon after its start, 3 times in a row (crashed, exit status 3)"},
	} {
		mcptest.Do(t, c, mcptest.NewRequest(t, http.MethodPost, "http://"+testcaddy.Addr(port)+"/mcp", mcptest.Initialize))
		now, body := waitFor(t, c, admin, func(s statusNow) bool {
			return s.Endpoints[0].Program.Last.Count == n+1 && s.Endpoints[0].Program.Failed == n+1
		})
		e := now.Endpoints[0]
		if e.State != want.state || len(e.Problems) == 0 || e.Problems[0].State != want.state || e.Problems[0].Text != want.text || !strings.Contains(e.Problems[0].Advice, "run the command by hand") {
			t.Errorf("after start %d: got %s", n+1, body)
		}
	}
	out := testcaddy.RunStatus(t, admin)
	for _, want := range []string{"\nfailing ", "3 times in a row (crashed, exit status 3), and is started again ", "; run the command by hand", "\n    stderr  no such module\n"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not in\n%s", want, out)
		}
	}
}
