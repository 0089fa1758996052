package stdio_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/mcptest"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/testcaddy"
)

// answering is a script that answers initialize and then reads on.
const answering = `read -r line; echo '{"jsonrpc":"2.0","id":"i","result":{"protocolVersion":"2025-11-25","capabilities":{},"serverInfo":{"name":"s","version":"1"}}}'; while read -r line; do :; done`

// scriptSite is a site whose program is a script of the shell.
func scriptSite(t *testing.T, script, block, more string) (caddyfile, url, admin string) {
	t.Helper()
	port, adminPort := testcaddy.FreePort(t), testcaddy.FreePort(t)
	admin = testcaddy.Addr(adminPort)
	return fmt.Sprintf("{\n\tadmin %s\n\tauto_https off\n}\nhttp://127.0.0.1:%d {\n\tbind 127.0.0.1\n\tmcp_auth_bridge {\n\t\tstdio /bin/sh -c %q {\n\t\t\t%s\n\t\t}\n\t\t%s\n\t}\n}",
		admin, port, script, block, more), "http://" + testcaddy.Addr(port) + "/mcp", admin
}

// programStatus is what the admin API says of the programs of the only endpoint.
type programStatus struct {
	State  string     `json:"state"`
	Retry  *time.Time `json:"retry_at"`
	Failed int        `json:"failed_starts"`
	Last   struct {
		Cause, Status, Advice string
		Count                 int
		Stderr                []string
	} `json:"last_end"`
}

func statusOfPrograms(t *testing.T, admin string) programStatus {
	t.Helper()
	var answer struct {
		Endpoints []struct{ Program programStatus }
	}
	got := mcptest.Do(t, mcptest.NewClient(t), mcptest.NewRequest(t, http.MethodGet, "http://"+admin+"/mcp_auth_bridge/", ""))
	if err := json.Unmarshal([]byte(got.Body), &answer); err != nil || len(answer.Endpoints) != 1 {
		t.Fatalf("got %s (%v)", got.Body, err)
	}
	return answer.Endpoints[0].Program
}

// awaitEnd waits for the line of the log that says how a program has ended.
func awaitEnd(t *testing.T, message, cause, status string) (line string) {
	t.Helper()
	testcaddy.AwaitLog(t, func(l string) bool {
		line = l
		return strings.Contains(l, `"msg":"`+message+`"`) && strings.Contains(l, `"cause":"`+cause+`"`) && strings.Contains(l, `"status":"`+status+`"`)
	})
	return line
}

// The log says of each death of a program, also of the first, how it has ended, why, and what
// it said last; its client gets the reason that is safe to show, and the status has it. After
// some deaths clients are told to come back, and when. No secret of the program is shown.
func TestDeathsOfAProgramAreTold(t *testing.T) {
	t.Setenv("STDIO_SECRET", "hush-hush-42")
	caddyfile, url, admin := scriptSite(t, `echo "bad key $KEY for $PLAIN" >&2; exit 3`, "env KEY={env.STDIO_SECRET} PLAIN=words", "")
	testcaddy.Run(t, caddyfile)
	c := mcptest.NewClient(t)
	begin := func() mcptest.Answer {
		return mcptest.Do(t, c, mcptest.NewRequest(t, http.MethodPost, url, mcptest.Initialize))
	}
	if got := statusOfPrograms(t, admin); got.State != "ready" || got.Last.Count != 0 {
		t.Errorf("before the first: got %+v", got)
	}
	for n := range 3 {
		if got := begin(); got.Status != http.StatusBadGateway || !strings.Contains(got.Body, "the server has ended: exit status 3") || strings.Contains(got.Body, "key") {
			t.Errorf("start %d: got %d %s", n+1, got.Status, got.Body)
		}
		line := awaitEnd(t, "program has ended by itself", "crashed", "exit status 3")
		if !strings.Contains(line, `"stderr":["bad key [redacted] for words"]`) || !strings.Contains(line, `"advice":"run the command by hand`) {
			t.Errorf("start %d: got %s", n+1, line)
		}
		testcaddy.ForgetLogs()
	}
	got := begin()
	if got.Status != http.StatusServiceUnavailable || got.Header.Get("Retry-After") == "" ||
		!strings.Contains(got.Body, "the server ended soon after its start (exit status 3), 3 times in a row; it is started again in") {
		t.Errorf("after three: got %d %v %s", got.Status, got.Header, got.Body)
	}
	state := statusOfPrograms(t, admin)
	if state.State != "backoff" || state.Retry == nil || state.Failed != 3 || state.Last.Cause != "crashed" || state.Last.Count != 3 ||
		state.Last.Status != "exit status 3" || strings.Join(state.Last.Stderr, "") != "bad key [redacted] for words" || state.Last.Advice == "" {
		t.Errorf("got %+v", state)
	}
	if testcaddy.Logged("hush-hush") {
		t.Error("the secret is in the log")
	}
}

// The cause tells what ended a program: itself, something else, its answer, or its session.
func TestCauseOfTheEndOfAProgram(t *testing.T) {
	for name, tc := range map[string]struct {
		script, more           string
		deletes                bool
		message, cause, status string
	}{
		"it exits":               {script: "read -r line; exit 0", message: "program has ended by itself", cause: "exited", status: "exit status 0"},
		"it is killed":           {script: "read -r line; kill -9 $$", message: "program has ended by itself", cause: "killed", status: "signal: killed"},
		"it crashes":             {script: "read -r line; kill -SEGV $$", message: "program has ended by itself", cause: "crashed", status: "signal: segmentation fault"},
		"its child is killed":    {script: "read -r line; exit 137", message: "program has ended by itself", cause: "killed", status: "exit status 137"},
		"it refuses initialize":  {script: `read -r line; echo '{"jsonrpc":"2.0","id":"i","error":{"code":-32602,"message":"no"}}'; while read -r line; do :; done`, message: "program was ended", cause: "rejected", status: "exit status 0"},
		"its client ends it":     {script: answering, deletes: true, message: "program has ended", cause: "client", status: "exit status 0"},
		"its session is idle":    {script: answering, more: "sessions {\n\t\t\tidle_timeout 10ms\n\t\t}", message: "program has ended", cause: "idle", status: "exit status 0"},
		"its session is too old": {script: answering, more: "sessions {\n\t\t\tmax_lifetime 10ms\n\t\t}", message: "program has ended", cause: "lifetime", status: "exit status 0"},
	} {
		t.Run(name, func(t *testing.T) {
			caddyfile, url, _ := scriptSite(t, tc.script, "", tc.more)
			testcaddy.Run(t, caddyfile)
			c := mcptest.NewClient(t)
			got := mcptest.Do(t, c, mcptest.NewRequest(t, http.MethodPost, url, strings.Replace(mcptest.Initialize, `"id":1`, `"id":"i"`, 1)))
			if id := got.Header.Get("Mcp-Session-Id"); tc.deletes {
				mcptest.Do(t, c, mcptest.NewRequest(t, http.MethodDelete, url, "", "Mcp-Session-Id", id))
			}
			line := awaitEnd(t, tc.message, tc.cause, tc.status)
			if trouble := tc.message != "program has ended"; trouble != strings.Contains(line, `"level":"warn"`) || trouble != strings.Contains(line, `"advice":"`) {
				t.Errorf("got %s", line)
			}
		})
	}
}
