package mcpauthbridge_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/talk"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/testcaddy"
)

// stdioServer has the test binary be an MCP server on its standard input and
// output.
const stdioServer = "MCP_AUTH_BRIDGE_TEST_SERVER"

func TestMain(m *testing.M) {
	switch {
	case os.Getenv(statusProgram) != "":
		caddycmd.Main() // ends the process where it fails
		os.Exit(0)
	case os.Getenv(stdioServer) != "":
		serveStdio()
		os.Exit(0)
	case os.Getenv(faultyServer) != "":
		serveFaulty()
		os.Exit(0)
	case os.Getenv(talkServer) == "stateless":
		_ = talk.NewStatelessServer(true).Run(context.Background(), &mcp.StdioTransport{})
		os.Exit(0)
	case os.Getenv(talkServer) != "":
		_ = talk.NewServer().Run(context.Background(), &mcp.StdioTransport{})
		os.Exit(0)
	case os.Getenv(leakyProgram) != "":
		serveLeaky()
		os.Exit(0)
	case os.Getenv(echoMeta) != "":
		serveMeta()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// serveStdio is a server of the SDK's that tells about its process, and can be
// made to misbehave.
func serveStdio() {
	s := mcp.NewServer(&mcp.Implementation{Name: "child", Version: "1"}, nil)
	type input struct {
		Do string `json:"do"`
		N  int    `json:"n"`
	}
	mcp.AddTool(s, &mcp.Tool{Name: "do"}, func(ctx context.Context, req *mcp.CallToolRequest, in input) (*mcp.CallToolResult, any, error) {
		text := ""
		switch in.Do {
		case "pid":
			text = strconv.Itoa(os.Getpid())
		case "env":
			text = strings.Join(os.Environ(), "\n")
		case "dir":
			text, _ = os.Getwd()
		case "uid":
			text = strconv.Itoa(os.Getuid())
		case "exit":
			os.Exit(3)
		case "big":
			text = strings.Repeat("x", in.N)
		case "noise":
			_, _ = fmt.Fprint(os.Stdout, "this is no message\n")
			_, _ = fmt.Fprint(os.Stderr, "this is for the log\n")
		case "steps":
			for i := range in.N {
				_ = req.Session.NotifyProgress(ctx, &mcp.ProgressNotificationParams{ProgressToken: req.Params.GetProgressToken(), Progress: float64(i + 1)})
			}
		}
		return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: text}}}, nil, nil
	})
	_ = s.Run(context.Background(), &mcp.StdioTransport{})
}

// stdioSite is a Caddyfile with an endpoint whose server is the test binary.
func stdioSite(t *testing.T, port int, block, more string) string {
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
}`, port, self, stdioServer, block, more)
}

func connectTo(t *testing.T, url string) *mcp.ClientSession {
	t.Helper()
	tr := &http.Transport{}
	t.Cleanup(tr.CloseIdleConnections)
	s, err := mcp.NewClient(&mcp.Implementation{Name: "test", Version: "1"}, nil).
		Connect(t.Context(), &mcp.StreamableClientTransport{Endpoint: url, HTTPClient: &http.Client{Transport: tr}}, &mcp.ClientSessionOptions{ProtocolVersion: "2025-11-25"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// justReloaded has something done until it succeeds: right after a reload the listener
// of the old configuration may take a connection, and close it.
func justReloaded(t *testing.T, f func() error) {
	t.Helper()
	var err error
	for range 5 {
		if err = f(); err == nil {
			return
		}
	}
	t.Fatal(err)
}

func doIn(t *testing.T, s *mcp.ClientSession, what string, n int) string {
	t.Helper()
	res, err := s.CallTool(t.Context(), &mcp.CallToolParams{Name: "do", Arguments: map[string]any{"do": what, "n": n}})
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	return res.Content[0].(*mcp.TextContent).Text
}

// alive reports whether a process exists.
func alive(pid int) bool { return syscall.Kill(pid, 0) == nil }

// wantGone waits until a process is gone.
func wantGone(t *testing.T, pid int) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); alive(pid); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("process %d is left", pid)
		}
	}
}

// Rules D5, D6: each session has a process of its own, with the environment that
// is listed, in the folder and as the user that is named; it ends with the
// session, and its stderr is in the log.
func TestStdio(t *testing.T) {
	port := testcaddy.FreePort(t)
	dir := t.TempDir()
	as, want := "", os.Getuid()
	if want == 0 {
		as, want = "user nobody", 65534
		for at := dir; at != "/"; at = filepath.Dir(at) {
			_ = os.Chmod(at, 0o755) //nolint:gosec // for nobody to enter
		}
		self, _ := os.Executable()
		for at := self; at != "/"; at = filepath.Dir(at) {
			if info, err := os.Stat(at); err == nil {
				_ = os.Chmod(at, info.Mode()|0o055) //nolint:gosec // the same
			}
		}
	}
	t.Setenv("STDIO_HANDED_ON", "yes")
	testcaddy.Run(t, stdioSite(t, port, "env STDIO_HANDED_ON LISTED=a=b\n\t\t\tdir "+dir+"\n\t\t\t"+as, ""))
	url := "http://" + testcaddy.Addr(port) + "/mcp"
	one, two := connectTo(t, url), connectTo(t, url)
	pids := make([]int, 2)
	for i, s := range []*mcp.ClientSession{one, two} {
		pids[i], _ = strconv.Atoi(doIn(t, s, "pid", 0))
	}
	if pids[0] == pids[1] || !alive(pids[0]) || !alive(pids[1]) {
		t.Errorf("two sessions have processes %v", pids)
	}
	if got := doIn(t, one, "env", 0); got != stdioServer+"=1\nSTDIO_HANDED_ON=yes\nLISTED=a=b" {
		t.Errorf("got environment %q", got)
	}
	if got := doIn(t, one, "dir", 0); got != dir {
		t.Errorf("got folder %s, want %s", got, dir)
	}
	if got := doIn(t, one, "uid", 0); got != strconv.Itoa(want) {
		t.Errorf("got user %s, want %d", got, want)
	}
	if got := doIn(t, one, "big", 4<<20); len(got) != 4<<20 {
		t.Errorf("got %d bytes", len(got))
	}
	doIn(t, one, "noise", 0)
	doIn(t, one, "pid", 0)
	if !testcaddy.Logged("this is for the log") || !testcaddy.Logged("no message") || testcaddy.Logged("this is no message") {
		t.Errorf("got log %q", testcaddy.Logs())
	}
	if err := one.Close(); err != nil {
		t.Error(err)
	}
	wantGone(t, pids[0])
	if !alive(pids[1]) {
		t.Error("the other session's process has ended")
	}
	if _, err := two.CallTool(t.Context(), &mcp.CallToolParams{Name: "do", Arguments: map[string]any{"do": "exit", "n": 0}}); err == nil {
		t.Error("a process that exits answers")
	}
	wantGone(t, pids[1])
	three := connectTo(t, url)
	doIn(t, three, "pid", 0)
}

// Rule D7: a reload drops no session, process or stream that the new
// configuration still has; one that drops the endpoint ends its processes.
func TestStdioReload(t *testing.T) {
	port := testcaddy.FreePort(t)
	site := stdioSite(t, port, "", "")
	in := testcaddy.Run(t, site)
	s := connectTo(t, "http://"+testcaddy.Addr(port)+"/mcp")
	pid, _ := strconv.Atoi(doIn(t, s, "pid", 0))
	in.Load(strings.Replace(site, "mcp_auth_bridge {", "header X-Again 1\n\tmcp_auth_bridge {", 1))
	again := ""
	justReloaded(t, func() error {
		res, err := s.CallTool(t.Context(), &mcp.CallToolParams{Name: "do", Arguments: map[string]any{"do": "pid", "n": 0}})
		if err == nil {
			again = res.Content[0].(*mcp.TextContent).Text
		}
		return err
	})
	if again != strconv.Itoa(pid) {
		t.Errorf("after a reload the process is %q, want %d", again, pid)
	}
	in.Load(fmt.Sprintf("{\n\tauto_https off\n}\nhttp://127.0.0.1:%d {\n}", port))
	wantGone(t, pid)
}

// Rule D5: nothing is started before a client initializes, and a server that
// anyone could reach is refused unless the operator says that something guards it.
func TestStdioUnguarded(t *testing.T) {
	marker := filepath.Join(t.TempDir(), "started")
	port := testcaddy.FreePort(t)
	in := testcaddy.Run(t, fmt.Sprintf("{\n\tauto_https off\n}\nhttp://127.0.0.1:%d {\n\tbind 127.0.0.1\n\tmcp_auth_bridge {\n\t\tstdio /bin/sh -c \"touch %s; cat\"\n\t}\n}", port, marker))
	c := newClient(t)
	base := "http://" + testcaddy.Addr(port)
	for _, method := range []string{"GET", "DELETE", "OPTIONS"} {
		do(t, c, newRequest(t, method, base+"/mcp", ""))
	}
	do(t, c, newRequest(t, "POST", base+"/mcp?command=touch+"+marker, `{"jsonrpc":"2.0","id":1,"method":"ping"}`))
	do(t, c, newRequest(t, "POST", base+"/mcp", initReq, "Origin", "https://evil.example"))
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
func TestStdioOrigins(t *testing.T) {
	port := testcaddy.FreePort(t)
	testcaddy.Run(t, stdioSite(t, port, "", allowApp))
	c := newClient(t)
	url := "http://" + testcaddy.Addr(port) + "/mcp"
	got := do(t, c, newRequest(t, "POST", url, initReq, "Origin", origin))
	if got.status != 200 || got.header.Get("Access-Control-Allow-Origin") != origin || got.header.Get("Mcp-Session-Id") == "" ||
		!strings.Contains(got.header.Get("Access-Control-Expose-Headers"), "Mcp-Session-Id") {
		t.Errorf("got %d, header %v", got.status, got.header)
	}
	if got := do(t, c, newRequest(t, "POST", url, initReq, "Origin", "https://evil.example")); got.status != 403 {
		t.Errorf("another origin: %d", got.status)
	}
	if got := do(t, c, newRequest(t, "OPTIONS", url, "", "Origin", origin, "Access-Control-Request-Method", "POST")); got.status != 204 {
		t.Errorf("preflight: %d", got.status)
	}
	if got := do(t, c, newRequest(t, "POST", url, `{"jsonrpc":"2.0","id":1,"method":"ping"}`, "Origin", origin, "Mcp-Session-Id", "x")); got.status != 404 || got.header.Get("Access-Control-Allow-Origin") != origin {
		t.Errorf("an unknown session: %d, header %v", got.status, got.header)
	}
}

// Rules D6, G: the bound on sessions holds, and many sessions leave nothing.
func TestStdioManySessions(t *testing.T) {
	port := testcaddy.FreePort(t)
	testcaddy.Run(t, stdioSite(t, port, "", "sessions {\n\t\t\tmax 3\n\t\t}"))
	url := "http://" + testcaddy.Addr(port) + "/mcp"
	c := newClient(t)
	begin := func() answer { return do(t, c, newRequest(t, "POST", url, initReq)) }
	rounds := 20
	if testing.Short() {
		rounds = 3
	}
	for range rounds {
		var ids []string
		for range 3 {
			got := begin()
			if got.status != 200 {
				t.Fatalf("got %d %s", got.status, got.body)
			}
			ids = append(ids, got.header.Get("Mcp-Session-Id"))
		}
		if got := begin(); got.status != 503 || got.header.Get("Retry-After") == "" {
			t.Fatalf("a fourth session: %d, header %v", got.status, got.header)
		}
		for _, id := range ids {
			if got := do(t, c, newRequest(t, "DELETE", url, "", "Mcp-Session-Id", id)); got.status != 204 {
				t.Fatalf("DELETE: %d", got.status)
			}
		}
	}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		left := children(t)
		if len(left) == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("processes %v are left", left)
		}
	}
}

// children lists the processes that this one has started.
func children(t *testing.T) []string {
	t.Helper()
	var found []string
	tasks, err := filepath.Glob("/proc/self/task/*/children")
	if err != nil || len(tasks) == 0 {
		t.Skip("the system does not tell which processes were started")
	}
	for _, task := range tasks {
		if raw, err := os.ReadFile(task); err == nil {
			found = append(found, strings.Fields(string(raw))...)
		}
	}
	return found
}

// A command that cannot be run is told to the client without its name, and to the
// operator with it.
func TestStdioCannotStart(t *testing.T) {
	port := testcaddy.FreePort(t)
	testcaddy.Run(t, fmt.Sprintf("{\n\tauto_https off\n}\nhttp://127.0.0.1:%d {\n\tbind 127.0.0.1\n\tmcp_auth_bridge {\n\t\tstdio /no/such/program\n\t}\n}", port))
	got := do(t, newClient(t), newRequest(t, "POST", "http://"+testcaddy.Addr(port)+"/mcp", initReq))
	if got.status != 502 || strings.Contains(got.body, "/no/such") || !testcaddy.Logged("could not be started", "/no/such/program") {
		t.Errorf("got %d %s, log %q", got.status, got.body, testcaddy.Logs())
	}
	var e struct{ Error struct{ Code int } }
	if err := json.Unmarshal([]byte(got.body), &e); err != nil || e.Error.Code == 0 {
		t.Errorf("got %s", got.body)
	}
}

// Rule G: a process that dies at once is not started in a loop.
func TestStdioBackoff(t *testing.T) {
	port := testcaddy.FreePort(t)
	testcaddy.Run(t, fmt.Sprintf("{\n\tauto_https off\n}\nhttp://127.0.0.1:%d {\n\tbind 127.0.0.1\n\tmcp_auth_bridge {\n\t\tstdio /bin/false\n\t}\n}", port))
	c := newClient(t)
	var statuses []int
	for range 6 {
		got := do(t, c, newRequest(t, "POST", "http://"+testcaddy.Addr(port)+"/mcp", initReq))
		statuses = append(statuses, got.status)
		if got.status == 503 && got.header.Get("Retry-After") == "" {
			t.Error("no Retry-After")
		}
	}
	if statuses[0] != 502 || statuses[len(statuses)-1] != 503 {
		t.Errorf("got %v, want 502 and then 503", statuses)
	}
}
