package stdio_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/mcptest"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/testcaddy"
)

// Rules D5, A7: a program that ends at any step of a conversation fails what is
// pending with an error, and its session is over; what it has said before arrives.
// Nobody else notices, and nothing is left of it.
func TestProgramThatDiesFailsWhatIsPendingAndNothingElse(t *testing.T) {
	port := testcaddy.FreePort(t)
	testcaddy.Run(t, faultySite(t, port, ""))
	url := "http://" + testcaddy.Addr(port) + "/mcp"
	c := mcptest.NewClient(t)
	bystander := mcptest.BeginAs(t, c, url, "bystander")
	wantEcho := func(s *mcptest.Session) {
		t.Helper()
		if text, failed := s.Text(s.Call("echo", 0)); failed || text != "echo" {
			t.Errorf("an unharmed session got %q, failed %t", text, failed)
		}
	}
	wantEcho(bystander)
	c.CloseIdleConnections()
	before := mcptest.Held(t)

	for _, step := range []string{"at initialize", "in its answer"} {
		got := mcptest.Do(t, c, mcptest.NewRequest(t, "POST", url, mcptest.InitializeAs(step)))
		// Of an answer that is half there either half or the end is told first.
		if got.Status != 502 && (got.Status != 200 || step == "at initialize") || got.Header.Get("Mcp-Session-Id") != "" || !strings.Contains(got.Body, `"id":"i","error"`) {
			t.Errorf("%s: %d %s", step, got.Status, got.Body)
		}
		wantEcho(bystander)
		mcptest.BeginAs(t, c, url, "between").End() // or the next ones would have to wait
	}
	for _, step := range []string{"after its answer", "at initialized"} {
		// The answer has arrived; whether there was a session at that time depends.
		got := mcptest.Do(t, c, mcptest.NewRequest(t, "POST", url, mcptest.InitializeAs(step)))
		if id := got.Header.Get("Mcp-Session-Id"); id != "" {
			mcptest.Do(t, c, mcptest.NewRequest(t, "POST", url, `{"jsonrpc":"2.0","method":"notifications/initialized"}`, "Mcp-Session-Id", id))
			mcptest.Poll(t, 20*time.Second, func() string {
				if mcptest.Do(t, c, mcptest.NewRequest(t, "POST", url, `{"jsonrpc":"2.0","method":"x"}`, "Mcp-Session-Id", id)).Status == 404 {
					return ""
				}
				return step + ": the session is still there"
			})
		} else if got.Status != 502 {
			t.Errorf("%s: %d %s", step, got.Status, got.Body)
		}
		wantEcho(bystander)
	}
	for step, answers := range map[string]bool{
		"die": false, "die in progress": false, "die in the answer": false, "die after the answer": true,
		"exit after the answer": true, "exit after many": true, "exit without a line end": true,
	} {
		for range 5 {
			s := mcptest.BeginAs(t, c, url, "x")
			got := s.Call(step, 1000)
			if text, failed := s.Text(got); failed == answers || answers && text != "x" {
				t.Errorf("%s: got %q, failed %t: %.300s", step, text, failed, got.Body)
			}
			if step == "die in progress" && !strings.Contains(got.Body, `"progress":1`) {
				t.Errorf("%s: the progress is lost: %s", step, got.Body)
			}
			s.End()
		}
		wantEcho(bystander)
	}
	dieInAQuestion(t, c, url)
	wantEcho(bystander)
	c.CloseIdleConnections()
	mcptest.WantHeld(t, before)
}

// dieInAQuestion has a program end that waits for the client's answer.
func dieInAQuestion(t *testing.T, c *http.Client, url string) {
	t.Helper()
	s := mcptest.BeginAs(t, c, url, "x")
	res, err := c.Do(mcptest.NewRequest(t, "POST", url, `{"jsonrpc":"2.0","id":"c1","method":"tools/call","params":{"name":"do","arguments":{"do":"die in a question"}}}`, "Mcp-Session-Id", s.ID))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	lines := bufio.NewReader(res.Body)
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			t.Fatalf("no question: %v", err)
		}
		if strings.Contains(line, "sampling/createMessage") {
			break
		}
	}
	mcptest.Do(t, c, mcptest.NewRequest(t, "POST", url, `{"jsonrpc":"2.0","id":1,"result":{}}`, "Mcp-Session-Id", s.ID))
	rest, err := io.ReadAll(lines)
	if err != nil || !strings.Contains(string(rest), `"id":"c1","error"`) {
		t.Errorf("got %q, %v", rest, err)
	}
}

// Rules D5, G: whatever a program writes, its next call is answered; an answer that
// cannot be passed on is an error, and what is kept and logged is bounded.
func TestWhateverAProgramWritesItsNextCallIsAnswered(t *testing.T) {
	url, c, bystander, before := runWithBystander(t, "")
	for _, tc := range []struct {
		what   string
		n      int
		failed bool
	}{
		{"flood stdout", 100_000, false},
		{"flood stdout without lines", 300, false},
		{"flood stderr", 20_000, false},
		{"noise", 100_000, false},
		{"NULs", 0, false},
		{"a mark", 0, false},
		{"CRLF", 0, false},
		{"two in a line", 0, true},
		{"half a frame", 0, true},
		{"invalid UTF-8", 0, true},
		{"too long", 1 << 20, true},
		{"too long", 5 << 20, true},
		{"too long, id last", 1 << 20, true},
		{"too long, id last", 5 << 20, true},
	} {
		t.Run(fmt.Sprintf("%s/%d", tc.what, tc.n), func(t *testing.T) {
			testcaddy.ForgetLogs()
			s := mcptest.BeginAs(t, c, url, "x")
			s.T = t
			got := s.Call(tc.what, tc.n)
			if text, failed := s.Text(got); failed != tc.failed || !failed && text != tc.what {
				t.Errorf("got %q, failed %t", text, failed)
			}
			if text, failed := s.Text(s.Call("echo", 0)); failed || text != "echo" {
				t.Errorf("after it: %q, failed %t", text, failed)
			}
			if text, failed := bystander.Text(bystander.Call("echo", 0)); failed || text != "echo" {
				t.Errorf("an unharmed session got %q, failed %t", text, failed)
			}
			s.End()
			lines := 0
			for _, line := range testcaddy.Logs() {
				if strings.Contains(line, "no message to its stdout") || strings.Contains(line, "says on stderr") {
					lines++
				}
			}
			if lines > 300 {
				t.Errorf("%d lines in the log", lines)
			}
		})
	}
	c.CloseIdleConnections()
	mcptest.WantHeld(t, before)
}

// runWithBystander runs a faulty program behind Caddy, and begins a session that the faults of
// other sessions must not harm. before is what is held then.
func runWithBystander(t *testing.T, options string) (url string, c *http.Client, bystander *mcptest.Session, before mcptest.Holds) {
	t.Helper()
	port := testcaddy.FreePort(t)
	testcaddy.Run(t, faultySite(t, port, options))
	url, c = "http://"+testcaddy.Addr(port)+"/mcp", mcptest.NewClient(t)
	bystander = mcptest.BeginAs(t, c, url, "bystander")
	bystander.Call("echo", 0)
	c.CloseIdleConnections()
	return url, c, bystander, mcptest.Held(t)
}

// Rules D5, G: a program that does not read holds up its own session alone, which is
// told so once its queue is full.
func TestProgramThatNeverReadsDelaysOnlyItsOwnSession(t *testing.T) {
	url, c, bystander, before := runWithBystander(t, "")
	s := mcptest.BeginAs(t, c, url, "x")
	s.Call("deaf", 0)
	body := `{"jsonrpc":"2.0","method":"x","params":"` + strings.Repeat("x", 1<<20-100) + `"}`
	accepted := 0
	for {
		got := mcptest.Do(t, c, mcptest.NewRequest(t, "POST", url, body, "Mcp-Session-Id", s.ID))
		if got.Status != 202 {
			if got.Status != 503 || !strings.Contains(got.Body, `"error"`) {
				t.Errorf("got %d %s", got.Status, got.Body)
			}
			break
		}
		if accepted++; accepted > 17 {
			t.Fatalf("%d MiB were accepted", accepted)
		}
	}
	if got := mcptest.Do(t, c, mcptest.NewRequest(t, "POST", url, strings.Replace(body, "xxx", strings.Repeat("y", 200), 1), "Mcp-Session-Id", s.ID)); got.Status != 413 {
		t.Errorf("a message that is too long: %d %.200s", got.Status, got.Body)
	}
	if text, failed := bystander.Text(bystander.Call("echo", 0)); failed || text != "echo" {
		t.Errorf("an unharmed session got %q, failed %t", text, failed)
	}
	s.End()
	c.CloseIdleConnections()
	mcptest.WantHeld(t, before)
}

// Rule D5: what a program starts ends with it, whether it holds the pipes or not. What
// has left the process group is out of reach, and nothing waits for it.
func TestWhatAProgramStartsEndsWithIt(t *testing.T) {
	port := testcaddy.FreePort(t)
	testcaddy.Run(t, faultySite(t, port, ""))
	url := "http://" + testcaddy.Addr(port) + "/mcp"
	c := mcptest.NewClient(t)
	mcptest.BeginAs(t, c, url, "warm").End()
	c.CloseIdleConnections()
	mcptest.WantChildren(t, 30*time.Second, 0)
	before := mcptest.Held(t)
	for _, what := range []string{"fork", "fork and leave", "daemon"} {
		s := mcptest.BeginAs(t, c, url, "x")
		text, failed := s.Text(s.Call(what, 0))
		pid, err := strconv.Atoi(text)
		if err != nil || failed {
			t.Fatalf("%s: got %q, failed %t", what, text, failed)
		}
		s.End()
		c.CloseIdleConnections()
		if what == "daemon" {
			mcptest.WantHeld(t, before)
			if dead(pid) {
				t.Error("a process that left the group has ended: the README says otherwise")
			}
			_ = syscall.Kill(pid, syscall.SIGKILL)
			continue
		}
		mcptest.Poll(t, 20*time.Second, func() string {
			if dead(pid) {
				return ""
			}
			return fmt.Sprintf("%s: process %d is left", what, pid)
		})
		mcptest.WantHeld(t, before)
	}
}

// dead says whether a process is no more, or dead and for its parent to reap.
func dead(pid int) bool {
	stat, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	return err != nil || bytes.Contains(stat, []byte(") Z "))
}

// Rules D5, D7: a reload that drops the endpoint does not wait for a program that does
// not want to end, and the program ends all the same. Pending requests fail at once.
func TestReloadDoesNotWaitForAStubbornProgram(t *testing.T) {
	for _, what := range []string{"stubborn", "close stdout"} {
		t.Run(what, func(t *testing.T) {
			port := testcaddy.FreePort(t)
			in := testcaddy.Run(t, faultySite(t, port, ""))
			c := mcptest.NewClient(t)
			s := mcptest.BeginAs(t, c, "http://"+testcaddy.Addr(port)+"/mcp", "x")
			if what == "stubborn" {
				s.Call(what, 0)
			}
			pids := mcptest.Children(t)
			if len(pids) != 1 {
				t.Fatalf("children %v", pids)
			}
			failed := make(chan bool, 1)
			if what == "close stdout" { // the other one reads nothing any more
				go func() {
					defer close(failed)             // the call ends it where it gets no answer at all
					_, f := s.Text(s.Call(what, 0)) // which nobody answers
					failed <- f
				}()
			}
			// The call is under way when the program has done it.
			mcptest.Poll(t, 20*time.Second, func() string {
				if what == "close stdout" && !closedStdout(pids[0]) {
					return "its stdout is still open"
				}
				return ""
			})
			pid, _ := strconv.Atoi(pids[0])
			in.Load(fmt.Sprintf("{\n\tauto_https off\n}\nhttp://127.0.0.1:%d {\n}", port))
			if !mcptest.Alive(pid) { // which takes five seconds at least
				t.Error("the reload has waited for the end of the program")
			}
			if what == "close stdout" && !<-failed {
				t.Error("the pending call was answered")
			}
			mcptest.WantGone(t, pid)
		})
	}
}

// Rule G: clients that vanish, on each kind of stream and at each time, leave nothing:
// no program of a stream that is the session, none of a handshake that nobody waits for.
func TestVanishedClientsLeaveNoProgram(t *testing.T) {
	url, c, bystander, before := runWithBystander(t, "legacy_sse")
	s := mcptest.BeginAs(t, c, url, "x")
	for name, request := range map[string]func(n int) *http.Request{
		"HTTP+SSE":   func(int) *http.Request { return mcptest.NewRequest(t, "GET", url+"/sse", "") },
		"GET":        func(int) *http.Request { return mcptest.NewRequest(t, "GET", url, "", "Mcp-Session-Id", s.ID) },
		"initialize": func(int) *http.Request { return mcptest.NewRequest(t, "POST", url, mcptest.InitializeAs("in silence")) },
		"call": func(n int) *http.Request {
			return mcptest.NewRequest(t, "POST", url, fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":"nothing/answers"}`, n), "Mcp-Session-Id", s.ID)
		},
	} {
		var clients sync.WaitGroup
		for n := range 20 {
			clients.Go(func() {
				ctx, cancel := context.WithCancel(t.Context())
				if name == "initialize" || name == "call" || n%2 == 0 { // before there is a header
					time.AfterFunc(time.Duration(n)*5*time.Millisecond, cancel)
				}
				res, err := c.Do(request(n).WithContext(ctx))
				if err == nil {
					_, _ = res.Body.Read(make([]byte, 1))
					_ = res.Body.Close()
				}
				cancel()
			})
		}
		clients.Wait()
		mcptest.WantChildren(t, 20*time.Second, before.Children+1)
		for _, one := range []*mcptest.Session{bystander, s} {
			if text, failed := one.Text(one.Call("echo", 0)); failed || text != "echo" {
				t.Errorf("%s: an unharmed session got %q, failed %t", name, text, failed)
			}
		}
	}
	s.End()
	c.CloseIdleConnections()
	mcptest.WantHeld(t, before)
}

// Rules D5, D7: a configuration that cannot be loaded, in whatever step, changes nothing
// of the sessions that there are; one that is only validated starts nothing.
func TestFailedLoadsChangeNoSession(t *testing.T) {
	port := testcaddy.FreePort(t)
	site := faultySite(t, port, "")
	in := testcaddy.Run(t, site)
	c := mcptest.NewClient(t)
	s := mcptest.BeginAs(t, c, "http://"+testcaddy.Addr(port)+"/mcp", "x")
	pids := mcptest.Children(t)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	marker := filepath.Join(t.TempDir(), "started")
	starts := fmt.Sprintf("\n\tmcp_auth_bridge /started {\n\t\tstdio /bin/sh -c \"touch %s; cat\"\n\t}\n", marker)
	more := strings.Replace(site, "bind 127.0.0.1\n", "bind 127.0.0.1\n"+starts, 1)
	c.CloseIdleConnections()
	mcptest.WantChildren(t, 30*time.Second, 1)
	before := mcptest.Held(t)
	for range 20 {
		for name, broken := range map[string]string{
			"address already in use": more + "\nhttp://" + taken.Addr().String() + " {\n\tbind 127.0.0.1\n}\n",
			"missing closing )":      more + fmt.Sprintf("\nhttp://127.0.0.1:%d {\n\tbind 127.0.0.1\n\t@bad path_regexp (\n\trespond @bad 200\n}\n", testcaddy.FreePort(t)),
			"no user":                strings.Replace(more, "env "+faultyServer, "user no-such-user\n\t\t\tenv "+faultyServer, 1),
			"must be a duration":     strings.Replace(more, "max_buffer 1MiB", "max_buffer 1MiB\n\t\t\tidle_timeout -1s", 1),
		} {
			if err := in.TryLoad(broken); err == nil || !strings.Contains(err.Error(), name) {
				t.Fatalf("want an error with %q, got %v", name, err)
			}
		}
		if err := testcaddy.Validate(t, more); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat(marker); err == nil {
		t.Error("a program was started")
	}
	if text, failed := s.Text(s.Call("echo", 0)); failed || text != "echo" || !slices.Equal(mcptest.Children(t), pids) {
		t.Errorf("got %q, failed %t, children %v, want %v", text, failed, mcptest.Children(t), pids)
	}
	c.CloseIdleConnections()
	mcptest.WantHeld(t, before)
	in.Load(fmt.Sprintf("{\n\tauto_https off\n}\nhttp://127.0.0.1:%d {\n}", port))
	pid, _ := strconv.Atoi(pids[0])
	mcptest.WantGone(t, pid)
}

// closedStdout says whether a process has no stdout.
func closedStdout(pid string) bool {
	_, err := os.Readlink("/proc/" + pid + "/fd/1")
	return err != nil
}
