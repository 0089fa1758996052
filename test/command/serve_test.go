package command_test

import (
	"bufio"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/mcptest"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/testcaddy"
)

// serving is a running `caddy mcp serve`.
type serving struct {
	url, caddyfile string
	stop           func() int          // interrupts it, and returns the exit code
	end            func(os.Signal) int // the same with a signal
}

// serve runs `caddy mcp serve`, at the latest until the test ends.
func serve(t *testing.T, args ...string) serving {
	t.Helper()
	cmd := command(t, append([]string{"serve"}, args...)...)
	cmd.Env = append(cmd.Env, "XDG_DATA_HOME="+t.TempDir(), "XDG_CONFIG_HOME="+t.TempDir())
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	log := new(strings.Builder)
	cmd.Stderr = log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stopped := false
	var s serving
	s.end = func(signal os.Signal) int {
		if !stopped {
			stopped = true
			_ = cmd.Process.Signal(signal)
			late := time.AfterFunc(time.Minute, func() { _ = cmd.Process.Kill() })
			_ = cmd.Wait() // its error is the exit code
			late.Stop()
		}
		return cmd.ProcessState.ExitCode()
	}
	s.stop = func() int { return s.end(os.Interrupt) }
	t.Cleanup(func() {
		s.stop()
		if t.Failed() {
			t.Log(log)
		}
	})
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		line := lines.Text()
		if url, ok := strings.CutPrefix(line, "# Endpoint for MCP clients: "); ok {
			s.url, _, _ = strings.Cut(url, " ")
			go func() { _, _ = io.Copy(io.Discard, out) }()
			return s
		}
		s.caddyfile += line + "\n"
	}
	t.Fatalf("caddy mcp serve ended: exit code %d\n%s", s.stop(), s.caddyfile)
	return s
}

// `caddy mcp serve -- program` serves a program on loopback; the Caddyfile that it prints
// does the same, and an interrupt ends it.
func TestServeProgram(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	listen := testcaddy.Addr(testcaddy.FreePort(t))
	s := serve(t, "--listen", listen, "--path", "/tools", "--", "/usr/bin/env", mcptest.ChildServer+"=1", self, "-test.run=^$")
	if _, port, _ := strings.Cut(listen, ":"); s.url != "http://localhost:"+port+"/tools" {
		t.Errorf("got URL %s", s.url)
	}
	at := "http://" + listen + "/tools"
	if mcptest.DoIn(t, mcptest.Connect(t, at), "pid", 0) == "" {
		t.Error("the program does not answer")
	}
	out, errs, code := run(t, command(t, "tools", s.url))
	if code != 0 || out != "child 1 has 1 tool.\n  do  \n" {
		t.Errorf("caddy mcp tools: exit code %d\n%s%s", code, out, errs)
	}
	if out, errs, code := run(t, command(t, "tools", s.url, "--json")); code != 0 || !strings.Contains(out, `"inputSchema"`) {
		t.Errorf("caddy mcp tools --json: exit code %d\n%s%s", code, out, errs)
	}
	if code := s.stop(); code != 0 {
		t.Errorf("after an interrupt: exit code %d", code)
	}
	testcaddy.Run(t, s.caddyfile)
	if mcptest.DoIn(t, mcptest.Connect(t, at), "pid", 0) == "" {
		t.Error("with the printed Caddyfile the program does not answer")
	}
}

// `caddy mcp serve --to` serves a server that speaks HTTP; a port that is taken is an error
// in a line of text.
func TestServeURL(t *testing.T) {
	up := mcptest.NewChallenging(t, 401, `Bearer realm="x"`)
	listen := testcaddy.Addr(testcaddy.FreePort(t))
	s := serve(t, "--listen", listen, "--to", up.URL)
	wantRefusal(t, s.url+" requires a login (401); give an access token with --token or MCP_TOKEN", "tools", s.url)
	wantRefusal(t, s.url+" refuses the credentials (401)", "tools", s.url, "--token", "hush")
	taken, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	_, stderr, code := run(t, command(t, "serve", "--listen", taken.Addr().String(), "--to", up.URL))
	lines := strings.Split(strings.TrimSpace(stderr), "\n")
	if last := lines[len(lines)-1]; code != 1 || !strings.HasPrefix(last, "Error: ") || !strings.Contains(last, "address already in use") {
		t.Errorf("on a port that is taken: exit code %d\n%s", code, stderr)
	}
	if code := s.stop(); code != 0 {
		t.Errorf("after an interrupt: exit code %d", code)
	}
}
