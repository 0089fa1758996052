package stdio_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/mcptest"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/testcaddy"
)

// Rules D5, D6: each session has a process of its own, with the environment that
// is listed, in the folder and as the user that is named; it ends with the
// session, and its stderr is in the log.
func TestEachSessionHasAProgramOfItsOwn(t *testing.T) {
	port := testcaddy.FreePort(t)
	dir := t.TempDir()
	as, want := "", os.Getuid()
	if want == 0 {
		as, want = "user nobody", 65534
		for at := dir; at != "/"; at = filepath.Dir(at) {
			_ = os.Chmod(at, 0o755)
		}
		self, _ := os.Executable()
		for at := self; at != "/"; at = filepath.Dir(at) {
			if info, err := os.Stat(at); err == nil {
				_ = os.Chmod(at, info.Mode()|0o055)
			}
		}
	}
	t.Setenv("STDIO_HANDED_ON", "yes")
	t.Setenv("STDIO_KEPT", "no")
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("{env.STDIO_HANDED_ON} of a file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	testcaddy.Run(t, mcptest.SiteOfProgram(t, port, "env STDIO_HANDED_ON LISTED=a=b SECRET={file."+secret+"}\n\t\t\tdir "+dir+"\n\t\t\t"+as, ""))
	url := "http://" + testcaddy.Addr(port) + "/mcp"
	one, two := mcptest.Connect(t, url), mcptest.Connect(t, url)
	pids := make([]int, 2)
	for i, s := range []*mcp.ClientSession{one, two} {
		pids[i], _ = strconv.Atoi(mcptest.DoIn(t, s, "pid", 0))
	}
	if pids[0] == pids[1] || !mcptest.Alive(pids[0]) || !mcptest.Alive(pids[1]) {
		t.Errorf("two sessions have processes %v", pids)
	}
	wantEnv := []string{mcptest.ChildServer + "=1", "STDIO_HANDED_ON=yes", "LISTED=a=b", "SECRET={env.STDIO_HANDED_ON} of a file"}
	for _, name := range []string{"HOME", "LOGNAME", "PATH", "SHELL", "TERM", "USER"} {
		if value, ok := os.LookupEnv(name); ok && (as == "" || name == "PATH" || name == "TERM") {
			wantEnv = append(wantEnv, name+"="+value)
		}
	}
	if as != "" {
		wantEnv = append(wantEnv, "HOME=/nonexistent", "LOGNAME=nobody", "SHELL="+shellOfNobody(t), "USER=nobody")
	}
	gotEnv := strings.Split(mcptest.DoIn(t, one, "env", 0), "\n")
	slices.Sort(gotEnv)
	slices.Sort(wantEnv)
	if !slices.Equal(gotEnv, wantEnv) {
		t.Errorf("got environment %q, want %q", gotEnv, wantEnv)
	}
	if got := mcptest.DoIn(t, one, "dir", 0); got != dir {
		t.Errorf("got folder %s, want %s", got, dir)
	}
	if got := mcptest.DoIn(t, one, "uid", 0); got != strconv.Itoa(want) {
		t.Errorf("got user %s, want %d", got, want)
	}
	if got := mcptest.DoIn(t, one, "big", 4<<20); len(got) != 4<<20 {
		t.Errorf("got %d bytes", len(got))
	}
	mcptest.DoIn(t, one, "noise", 0)
	mcptest.DoIn(t, one, "pid", 0)
	if !testcaddy.Logged("this is for the log") || !testcaddy.Logged("not an MCP message") || testcaddy.Logged("this is no message") {
		t.Errorf("got log %q", testcaddy.Logs())
	}
	if err := one.Close(); err != nil {
		t.Error(err)
	}
	mcptest.WantGone(t, pids[0])
	if !mcptest.Alive(pids[1]) {
		t.Error("the other session's process has ended")
	}
	if _, err := two.CallTool(t.Context(), &mcp.CallToolParams{Name: "do", Arguments: map[string]any{"do": "exit", "n": 0}}); err == nil {
		t.Error("a process that exits answers")
	}
	mcptest.WantGone(t, pids[1])
	three := mcptest.Connect(t, url)
	mcptest.DoIn(t, three, "pid", 0)
}

// shellOfNobody is the login shell of the user nobody.
func shellOfNobody(t *testing.T) string {
	t.Helper()
	users, err := os.ReadFile("/etc/passwd")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(users)) {
		if fields := strings.Split(strings.TrimSpace(line), ":"); fields[0] == "nobody" {
			return fields[len(fields)-1]
		}
	}
	t.Fatal("there is no user nobody")
	return ""
}

// Rule D7: a reload drops no session, process or stream that the new
// configuration still has; one that drops the endpoint ends its processes.
func TestReloadKeepsSessionsOfUnchangedEndpoints(t *testing.T) {
	port := testcaddy.FreePort(t)
	site := mcptest.SiteOfProgram(t, port, "", "")
	in := testcaddy.Run(t, site)
	s := mcptest.Connect(t, "http://"+testcaddy.Addr(port)+"/mcp")
	pid, _ := strconv.Atoi(mcptest.DoIn(t, s, "pid", 0))
	in.Load(strings.Replace(site, "mcp_auth_bridge {", "header X-Again 1\n\tmcp_auth_bridge {", 1))
	again := ""
	mcptest.AfterReload(t, func() error {
		res, err := s.CallTool(t.Context(), &mcp.CallToolParams{Name: "do", Arguments: map[string]any{"do": "pid", "n": 0}})
		if err == nil {
			again = res.Content[0].(*mcp.TextContent).Text
		}
		return err
	})
	if again != strconv.Itoa(pid) {
		t.Errorf("after a reload the process is %q, want %d", again, pid)
	}
	// Other bounds end nothing, and hold for what begins.
	in.Load(mcptest.SiteOfProgram(t, port, "allow_unauthenticated", "sessions {\nmax 1\nidle_timeout 1h\n}\nlimits {\nmax_message 1MiB\n}\ncors {\nallow_origins https://x.example\n}\nlegacy_sse"))
	mcptest.AfterReload(t, func() error {
		res, err := s.CallTool(t.Context(), &mcp.CallToolParams{Name: "do", Arguments: map[string]any{"do": "pid", "n": 0}})
		if err == nil {
			again = res.Content[0].(*mcp.TextContent).Text
		}
		return err
	})
	if again != strconv.Itoa(pid) {
		t.Errorf("after a reload with other bounds the process is %q, want %d", again, pid)
	}
	if got := mcptest.Do(t, mcptest.NewClient(t), mcptest.NewRequest(t, http.MethodPost, "http://"+testcaddy.Addr(port)+"/mcp", mcptest.Initialize)); got.Status != http.StatusServiceUnavailable {
		t.Errorf("one session more than there may be: got %d", got.Status)
	}
	in.Load(fmt.Sprintf("{\n\tauto_https off\n}\nhttp://127.0.0.1:%d {\n}", port))
	mcptest.WantGone(t, pid)
}

// Rule D5: nothing is started before a client initializes, and a server that
// anyone could reach is refused unless the operator says that something guards it.
func TestProgramThatAnyoneCouldReachIsRefused(t *testing.T) {
	marker := filepath.Join(t.TempDir(), "started")
	port := testcaddy.FreePort(t)
	in := testcaddy.Run(t, fmt.Sprintf("{\n\tauto_https off\n}\nhttp://127.0.0.1:%d {\n\tbind 127.0.0.1\n\tmcp_auth_bridge {\n\t\tstdio /bin/sh -c \"touch %s; cat\"\n\t}\n}", port, marker))
	c := mcptest.NewClient(t)
	base := "http://" + testcaddy.Addr(port)
	for _, method := range []string{"GET", "DELETE", "OPTIONS"} {
		mcptest.Do(t, c, mcptest.NewRequest(t, method, base+"/mcp", ""))
	}
	mcptest.Do(t, c, mcptest.NewRequest(t, "POST", base+"/mcp?command=touch+"+marker, `{"jsonrpc":"2.0","id":1,"method":"ping"}`))
	mcptest.Do(t, c, mcptest.NewRequest(t, "POST", base+"/mcp", mcptest.Initialize, "Origin", "https://evil.example"))
	if _, err := os.Stat(marker); err == nil {
		t.Error("a process was started although nobody initialized")
	}
	site := func(address, block string) string {
		return fmt.Sprintf("{\n\tauto_https off\n}\n%s {\n\tmcp_auth_bridge {\n\t\tstdio cat {\n\t\t\t%s\n\t\t}\n\t}\n}", address, block)
	}
	for address, refused := range map[string]bool{
		fmt.Sprintf(":%d", port): true, fmt.Sprintf("http://mcp.example.com:%d", port): true,
		fmt.Sprintf("http://127.0.0.1:%d", port): true, fmt.Sprintf("http://localhost:%d", port): true, // a host is no listener
		"http:// {\n\tbind 127.0.0.1": false, "http:// {\n\tbind [::1] 127.0.0.1": false, "http:// {\n\tbind 127.0.0.1 0.0.0.0": true,
		"http:// {\n\tbind unix/" + filepath.Join(t.TempDir(), "s"): false,
	} {
		load := func(block string) error {
			caddyfile := strings.Replace(site("ADDRESS", block), "{\n\tauto_https off", fmt.Sprintf("{\n\thttp_port %d\n\tauto_https off", port), 1)
			if strings.Contains(address, "{") {
				return in.TryLoad(strings.Replace(caddyfile, "ADDRESS {", address, 1))
			}
			return in.TryLoad(strings.Replace(caddyfile, "ADDRESS", address, 1))
		}
		err := load("")
		if (err != nil) != refused || err != nil && (!strings.Contains(err.Error(), "stdio: endpoint") || !strings.Contains(err.Error(), "allow_unauthenticated")) {
			t.Errorf("%s: %v", address, err)
		}
		if err := load("allow_unauthenticated"); err != nil {
			t.Errorf("%s, guarded: %v", address, err)
		}
	}
}

// Rules B1, B2, A7: the origin policy holds for a process as for any server.
func TestOriginPolicyHoldsForPrograms(t *testing.T) {
	port := testcaddy.FreePort(t)
	testcaddy.Run(t, mcptest.SiteOfProgram(t, port, "", mcptest.AllowApp))
	c := mcptest.NewClient(t)
	url := "http://" + testcaddy.Addr(port) + "/mcp"
	got := mcptest.Do(t, c, mcptest.NewRequest(t, "POST", url, mcptest.Initialize, "Origin", mcptest.AppOrigin))
	if got.Status != 200 || got.Header.Get("Access-Control-Allow-Origin") != mcptest.AppOrigin || got.Header.Get("Mcp-Session-Id") == "" ||
		!strings.Contains(got.Header.Get("Access-Control-Expose-Headers"), "Mcp-Session-Id") {
		t.Errorf("got %d, header %v", got.Status, got.Header)
	}
	if got := mcptest.Do(t, c, mcptest.NewRequest(t, "POST", url, mcptest.Initialize, "Origin", "https://evil.example")); got.Status != 403 {
		t.Errorf("another origin: %d", got.Status)
	}
	if got := mcptest.Do(t, c, mcptest.NewRequest(t, "OPTIONS", url, "", "Origin", mcptest.AppOrigin, "Access-Control-Request-Method", "POST")); got.Status != 204 {
		t.Errorf("preflight: %d", got.Status)
	}
	if got := mcptest.Do(t, c, mcptest.NewRequest(t, "POST", url, `{"jsonrpc":"2.0","id":1,"method":"ping"}`, "Origin", mcptest.AppOrigin, "Mcp-Session-Id", "x")); got.Status != 404 || got.Header.Get("Access-Control-Allow-Origin") != mcptest.AppOrigin {
		t.Errorf("an unknown session: %d, header %v", got.Status, got.Header)
	}
}

// Rules D6, G: the bound on sessions holds, and many sessions leave nothing.
func TestManySessionsOfProgramsLeaveNothing(t *testing.T) {
	port := testcaddy.FreePort(t)
	testcaddy.Run(t, mcptest.SiteOfProgram(t, port, "", "sessions {\n\t\t\tmax 3\n\t\t}"))
	url := "http://" + testcaddy.Addr(port) + "/mcp"
	c := mcptest.NewClient(t)
	begin := func() mcptest.Answer { return mcptest.Do(t, c, mcptest.NewRequest(t, "POST", url, mcptest.Initialize)) }
	rounds := 20
	for range rounds {
		var ids []string
		for range 3 {
			got := begin()
			if got.Status != 200 {
				t.Fatalf("got %d %s", got.Status, got.Body)
			}
			ids = append(ids, got.Header.Get("Mcp-Session-Id"))
		}
		if got := begin(); got.Status != 503 || got.Header.Get("Retry-After") == "" {
			t.Fatalf("a fourth session: %d, header %v", got.Status, got.Header)
		}
		for _, id := range ids {
			if got := mcptest.Do(t, c, mcptest.NewRequest(t, "DELETE", url, "", "Mcp-Session-Id", id)); got.Status != 204 {
				t.Fatalf("DELETE: %d", got.Status)
			}
		}
	}
	mcptest.WantChildren(t, 20*time.Second, 0)
}

// A program that is removed after the configuration was loaded is told to the client without
// its name, and to the operator with it.
func TestCommandThatCannotRunIsNamedInTheLogAlone(t *testing.T) {
	port := testcaddy.FreePort(t)
	dir, _ := programFiles(t)
	testcaddy.Run(t, fmt.Sprintf("{\n\tauto_https off\n}\nhttp://127.0.0.1:%d {\n\tbind 127.0.0.1\n\tmcp_auth_bridge {\n\t\tstdio %s/program\n\t}\n}", port, dir))
	if err := os.Remove(dir + "/program"); err != nil {
		t.Fatal(err)
	}
	got := mcptest.Do(t, mcptest.NewClient(t), mcptest.NewRequest(t, "POST", "http://"+testcaddy.Addr(port)+"/mcp", mcptest.Initialize))
	if got.Status != 502 || strings.Contains(got.Body, dir) || !testcaddy.Logged("could not be started", dir+"/program") {
		t.Errorf("got %d %s, log %q", got.Status, got.Body, testcaddy.Logs())
	}
	var e struct{ Error struct{ Code int } }
	if err := json.Unmarshal([]byte(got.Body), &e); err != nil || e.Error.Code == 0 {
		t.Errorf("got %s", got.Body)
	}
}

// Rule G: a process that dies at once is not started in a loop.
func TestProgramThatDiesAtOnceIsNotRestartedInALoop(t *testing.T) {
	port := testcaddy.FreePort(t)
	testcaddy.Run(t, fmt.Sprintf("{\n\tauto_https off\n}\nhttp://127.0.0.1:%d {\n\tbind 127.0.0.1\n\tmcp_auth_bridge {\n\t\tstdio /bin/false\n\t}\n}", port))
	c := mcptest.NewClient(t)
	var statuses []int
	for range 6 {
		got := mcptest.Do(t, c, mcptest.NewRequest(t, "POST", "http://"+testcaddy.Addr(port)+"/mcp", mcptest.Initialize))
		statuses = append(statuses, got.Status)
		if got.Status == 503 && got.Header.Get("Retry-After") == "" {
			t.Error("no Retry-After")
		}
	}
	if statuses[0] != 502 || statuses[len(statuses)-1] != 503 {
		t.Errorf("got %v, want 502 and then 503", statuses)
	}
}

// Rule G: `limits max_message` above what is queued for a program by default reaches it, and
// so do its answers; what is longer is 413.
func TestLongMessagesReachAProgram(t *testing.T) {
	port := testcaddy.FreePort(t)
	testcaddy.Run(t, mcptest.SiteOfProgram(t, port, "", "limits {\n\t\t\tmax_message 20MiB\n\t\t}"))
	s := mcptest.Connect(t, "http://"+testcaddy.Addr(port)+"/mcp")
	if got := mcptest.DoIn(t, s, "big", 18<<20); len(got) != 18<<20 {
		t.Errorf("got an answer of %d bytes", len(got))
	}
	in := testcaddy.FreePort(t)
	testcaddy.Run(t, oddSite(t, in, "in no odd way", "limits {\n\t\t\tmax_message 20MiB\n\t\t}"))
	url, c := "http://"+testcaddy.Addr(in)+"/mcp", mcptest.NewClient(t)
	session := mcptest.Do(t, c, mcptest.NewRequest(t, http.MethodPost, url, mcptest.Initialize)).Header.Get("Mcp-Session-Id")
	for _, tc := range []struct{ size, want int }{{18 << 20, 200}, {21 << 20, 413}, {1 << 10, 200}} {
		body := `{"jsonrpc":"2.0","id":2,"method":"ping","params":{"x":"` + strings.Repeat("x", tc.size) + `"}}`
		got := mcptest.Do(t, c, mcptest.NewRequest(t, http.MethodPost, url, body, "Mcp-Session-Id", session))
		if got.Status != tc.want || tc.want == 200 && !strings.Contains(got.Body, `"result"`) {
			t.Errorf("a message of %d bytes: got %d %.200s, want %d", tc.size, got.Status, got.Body, tc.want)
		}
	}
}
