package mcpauthbridge_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/testcaddy"
)

// faultyServer has the test binary be a server that fails on demand: the name of the
// client says at which step of the handshake, the argument `do` of a call how.
const faultyServer = "MCP_AUTH_BRIDGE_TEST_FAULTY"

// faulty is such a server.
type faulty struct {
	in  *bufio.Reader
	out *os.File
}

func (f *faulty) say(text string) { _, _ = f.out.WriteString(text) }

// read returns the next message that is what is asked for; the process ends with its
// input.
func (f *faulty) read(what string) (id, raw string) {
	for {
		line, err := f.in.ReadBytes('\n')
		if err != nil {
			os.Exit(0)
		}
		var m struct {
			ID     json.RawMessage `json:"id"`
			Method string          `json:"method"`
		}
		if json.Unmarshal(line, &m) == nil && (what == "" || m.Method == what) {
			return string(m.ID), string(line)
		}
	}
}

// die ends the process with nothing said.
func die() { _ = syscall.Kill(os.Getpid(), syscall.SIGKILL); select {} }

func serveFaulty() {
	if os.Getenv(faultyServer) == "hold" { // what a server leaves behind
		signal.Ignore(syscall.SIGTERM, syscall.SIGHUP)
		select {}
	}
	time.AfterFunc(2*time.Minute, func() { os.Exit(99) }) // whatever happens to the test
	f := &faulty{in: bufio.NewReaderSize(os.Stdin, 1<<20), out: os.Stdout}
	id, raw := f.read("initialize")
	step := func(name string) bool { return strings.Contains(raw, `"`+name+`"`) }
	answer := `{"jsonrpc":"2.0","id":` + id + `,"result":{"protocolVersion":"2025-11-25","capabilities":{},"serverInfo":{"name":"f","version":"1"}}}` + "\n"
	switch {
	case step("at initialize"):
		die()
	case step("in its answer"):
		f.say(answer[:40])
		die()
	case step("after its answer"):
		f.say(answer)
		die()
	case step("in silence"):
		f.read("no such method")
	}
	f.say(answer)
	if step("at initialized") {
		f.read("notifications/initialized")
		die()
	}
	for {
		id, line := f.read("")
		var m struct {
			Method string
			Params struct {
				Meta      struct{ ProgressToken json.RawMessage } `json:"_meta"`
				Arguments struct {
					Do string
					N  int
				}
			}
		}
		_ = json.Unmarshal([]byte(line), &m)
		if m.Method == "tools/call" {
			f.call(id, m.Params.Arguments.Do, m.Params.Arguments.N)
		}
	}
}

// call does what a call asks for. Where it returns without an answer there is none.
func (f *faulty) call(id, do string, n int) {
	answer := func(text string) string {
		return fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"result":{"content":[{"type":"text","text":%q}]}}`, id, text)
	}
	note := `{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"` + strings.Repeat("x", 100) + `"}}` + "\n"
	switch do {
	case "echo":
	case "die":
		die()
	case "die in progress":
		f.say(`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"t","progress":1}}` + "\n")
		die()
	case "die in a question":
		f.say(`{"jsonrpc":"2.0","id":1,"method":"sampling/createMessage","params":{}}` + "\n")
		f.read("")
		die()
	case "die in the answer":
		f.say(answer("x")[:20])
		die()
	case "die after the answer":
		f.say(answer("x") + "\n")
		die()
	case "exit after the answer":
		f.say(answer("x") + "\n")
		os.Exit(0)
	case "exit after many": // of which the answer is the last
		f.say(strings.Repeat(note, n) + answer("x") + "\n")
		os.Exit(0)
	case "exit without a line end":
		f.say(answer("x"))
		os.Exit(0)
	case "flood stdout":
		f.say(strings.Repeat(note, n))
	case "flood stdout without lines":
		for range n {
			f.say(strings.Repeat("x", 1<<16))
		}
		f.say("\n")
	case "flood stderr":
		for range n {
			_, _ = os.Stderr.WriteString(strings.Repeat("this is for the log ", 50) + "\n")
		}
	case "noise":
		f.say(strings.Repeat("this is no message\n", n))
	case "NULs":
		f.say("\x00\x00{}\x00\n")
	case "a mark":
		f.say("\ufeff" + note)
	case "CRLF":
		f.say(answer("CRLF") + "\r\n")
		return
	case "two in a line":
		f.say(answer("x") + note)
		return
	case "half a frame":
		f.say(answer("x")[:60] + "\n")
		return
	case "invalid UTF-8":
		f.say(strings.Replace(answer("x"), `"x"`, "\"\xff\"", 1) + "\n")
		return
	case "too long":
		f.say(answer(strings.Repeat("x", n)) + "\n")
		return
	case "too long, id last":
		f.say(`{"result":{"content":[{"type":"text","text":"` + strings.Repeat("x", n) + `"}]},"jsonrpc":"2.0","id":` + id + "}\n")
		return
	case "deaf":
		f.say(answer("deaf") + "\n")
		select {}
	case "close stdout":
		_ = f.out.Close()
		select {}
	case "stubborn":
		signal.Ignore(syscall.SIGTERM)
		f.say(answer(strconv.Itoa(os.Getpid())) + "\n")
		select {}
	case "fork", "fork and leave", "daemon":
		cmd := exec.CommandContext(context.Background(), os.Args[0], "-test.run=^$") //nolint:gosec // the test binary
		cmd.Env = []string{faultyServer + "=hold"}
		cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
		if do == "daemon" {
			cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		}
		if err := cmd.Start(); err != nil {
			os.Exit(98)
		}
		f.say(answer(strconv.Itoa(cmd.Process.Pid)) + "\n")
		if do != "fork" {
			os.Exit(0)
		}
		return
	}
	f.say(answer(do) + "\n")
}

// faultySite is a Caddyfile with an endpoint whose server is such a one.
func faultySite(t *testing.T, port int, more string) string {
	t.Helper()
	return strings.Replace(stdioSite(t, port, "", "limits {\n\t\t\tmessage 1MiB\n\t\t}\n\t\tsessions {\n\t\t\tbuffer 1MiB\n\t\t}\n\t\t"+more), stdioServer, faultyServer, 1)
}

// session is a client's session over plain HTTP.
type session struct {
	t       *testing.T
	c       *http.Client
	url, id string
	n       int
}

func initializeAs(name string) string {
	return fmt.Sprintf(`{"jsonrpc":"2.0","id":"i","method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":%q,"version":"1"}}}`, name)
}

// beginAs begins a session of a client with a name. It fails the test where there is
// none.
func beginAs(t *testing.T, c *http.Client, url, name string) *session {
	t.Helper()
	got := do(t, c, newRequest(t, "POST", url, initializeAs(name)))
	id := got.header.Get("Mcp-Session-Id")
	if got.status != 200 || id == "" {
		t.Fatalf("initialize as %q: %d %s", name, got.status, got.body)
	}
	s := &session{t: t, c: c, url: url, id: id}
	do(t, c, newRequest(t, "POST", url, `{"jsonrpc":"2.0","method":"notifications/initialized"}`, "Mcp-Session-Id", id))
	return s
}

// call calls the tool; the answer has the id of the call, whatever it is.
func (s *session) call(what string, n int) answer {
	s.t.Helper()
	s.n++
	return do(s.t, s.c, newRequest(s.t, "POST", s.url, fmt.Sprintf(
		`{"jsonrpc":"2.0","id":"c%d","method":"tools/call","params":{"name":"do","_meta":{"progressToken":"t"},"arguments":{"do":%q,"n":%d}}}`, s.n, what, n),
		"Mcp-Session-Id", s.id))
}

// end deletes the session.
func (s *session) end() {
	s.t.Helper()
	if got := do(s.t, s.c, newRequest(s.t, "DELETE", s.url, "", "Mcp-Session-Id", s.id)); got.status != 204 && got.status != 404 {
		s.t.Errorf("DELETE: %d %s", got.status, got.body)
	}
}

// text returns the text of a call's result, and whether the call failed.
func (s *session) text(a answer) (text string, failed bool) {
	s.t.Helper()
	body := a.body
	if i := strings.LastIndex(body, `data: {"jsonrpc":"2.0","id":"c`); i >= 0 {
		body = body[i+len("data: "):]
	}
	var m struct {
		ID     string
		Result *struct{ Content []struct{ Text string } }
		Error  *struct{ Code int }
	}
	line, _, _ := strings.Cut(body, "\n")
	if err := json.Unmarshal([]byte(line), &m); err != nil || m.ID != fmt.Sprintf("c%d", s.n) || (m.Result == nil) == (m.Error == nil) {
		s.t.Fatalf("call %d got %d %.300s (%v)", s.n, a.status, a.body, err)
	}
	if m.Error != nil {
		return "", true
	}
	return m.Result.Content[0].Text, false
}

// holds is what this process holds that a child's end has to give back.
type holds struct{ goroutines, descriptors, children int }

func held(t *testing.T) holds {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip("the system does not tell which descriptors are open")
	}
	return holds{runtime.NumGoroutine(), len(entries), len(children(t))}
}

// wantHeld waits until no more is held than before.
func wantHeld(t *testing.T, before holds) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		now := held(t)
		if now.goroutines <= before.goroutines && now.descriptors <= before.descriptors && now.children <= before.children {
			return
		}
		if time.Now().After(deadline) {
			stacks := make([]byte, 1<<20)
			t.Fatalf("now %+v, before %+v\n%s", now, before, stacks[:runtime.Stack(stacks, true)])
		}
	}
}

// Rules D5, A7: a program that ends at any step of a conversation fails what is
// pending with an error, and its session is over; what it has said before arrives.
// Nobody else notices, and nothing is left of it.
func TestStdioDiesAtEveryStep(t *testing.T) {
	port := testcaddy.FreePort(t)
	testcaddy.Run(t, faultySite(t, port, ""))
	url := "http://" + testcaddy.Addr(port) + "/mcp"
	c := newClient(t)
	bystander := beginAs(t, c, url, "bystander")
	wantEcho := func(s *session) {
		t.Helper()
		if text, failed := s.text(s.call("echo", 0)); failed || text != "echo" {
			t.Errorf("an unharmed session got %q, failed %t", text, failed)
		}
	}
	wantEcho(bystander)
	c.CloseIdleConnections()
	before := held(t)

	for _, step := range []string{"at initialize", "in its answer"} {
		got := do(t, c, newRequest(t, "POST", url, initializeAs(step)))
		// Of an answer that is half there either half or the end is told first.
		if got.status != 502 && (got.status != 200 || step == "at initialize") || got.header.Get("Mcp-Session-Id") != "" || !strings.Contains(got.body, `"id":"i","error"`) {
			t.Errorf("%s: %d %s", step, got.status, got.body)
		}
		wantEcho(bystander)
		beginAs(t, c, url, "between").end() // or the next ones would have to wait
	}
	for _, step := range []string{"after its answer", "at initialized"} {
		// The answer has arrived; whether there was a session at that time depends.
		got := do(t, c, newRequest(t, "POST", url, initializeAs(step)))
		if id := got.header.Get("Mcp-Session-Id"); id != "" {
			do(t, c, newRequest(t, "POST", url, `{"jsonrpc":"2.0","method":"notifications/initialized"}`, "Mcp-Session-Id", id))
			for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
				if do(t, c, newRequest(t, "POST", url, `{"jsonrpc":"2.0","method":"x"}`, "Mcp-Session-Id", id)).status == 404 {
					break
				}
				if time.Now().After(deadline) {
					t.Fatalf("%s: the session is still there", step)
				}
			}
		} else if got.status != 502 {
			t.Errorf("%s: %d %s", step, got.status, got.body)
		}
		wantEcho(bystander)
	}
	for step, answers := range map[string]bool{
		"die": false, "die in progress": false, "die in the answer": false, "die after the answer": true,
		"exit after the answer": true, "exit after many": true, "exit without a line end": true,
	} {
		for range 5 {
			s := beginAs(t, c, url, "x")
			got := s.call(step, 1000)
			if text, failed := s.text(got); failed == answers || answers && text != "x" {
				t.Errorf("%s: got %q, failed %t: %.300s", step, text, failed, got.body)
			}
			if step == "die in progress" && !strings.Contains(got.body, `"progress":1`) {
				t.Errorf("%s: the progress is lost: %s", step, got.body)
			}
			s.end()
		}
		wantEcho(bystander)
	}
	dieInAQuestion(t, c, url)
	wantEcho(bystander)
	c.CloseIdleConnections()
	wantHeld(t, before)
}

// dieInAQuestion has a program end that waits for the client's answer.
func dieInAQuestion(t *testing.T, c *http.Client, url string) {
	t.Helper()
	s := beginAs(t, c, url, "x")
	res, err := c.Do(newRequest(t, "POST", url, `{"jsonrpc":"2.0","id":"c1","method":"tools/call","params":{"name":"do","arguments":{"do":"die in a question"}}}`, "Mcp-Session-Id", s.id))
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
	do(t, c, newRequest(t, "POST", url, `{"jsonrpc":"2.0","id":1,"result":{}}`, "Mcp-Session-Id", s.id))
	rest, err := io.ReadAll(lines)
	if err != nil || !strings.Contains(string(rest), `"id":"c1","error"`) {
		t.Errorf("got %q, %v", rest, err)
	}
}

// Rules D5, G: whatever a program writes, its next call is answered; an answer that
// cannot be passed on is an error, and what is kept and logged is bounded.
func TestStdioWritesAnything(t *testing.T) {
	port := testcaddy.FreePort(t)
	testcaddy.Run(t, faultySite(t, port, ""))
	url := "http://" + testcaddy.Addr(port) + "/mcp"
	c := newClient(t)
	bystander := beginAs(t, c, url, "bystander")
	bystander.call("echo", 0)
	c.CloseIdleConnections()
	before := held(t)
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
			s := beginAs(t, c, url, "x")
			s.t = t
			got := s.call(tc.what, tc.n)
			if text, failed := s.text(got); failed != tc.failed || !failed && text != tc.what {
				t.Errorf("got %q, failed %t", text, failed)
			}
			if text, failed := s.text(s.call("echo", 0)); failed || text != "echo" {
				t.Errorf("after it: %q, failed %t", text, failed)
			}
			if text, failed := bystander.text(bystander.call("echo", 0)); failed || text != "echo" {
				t.Errorf("an unharmed session got %q, failed %t", text, failed)
			}
			s.end()
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
	wantHeld(t, before)
}

// Rules D5, G: a program that does not read holds up its own session alone, which is
// told so once its queue is full.
func TestStdioNeverReads(t *testing.T) {
	port := testcaddy.FreePort(t)
	testcaddy.Run(t, faultySite(t, port, ""))
	url := "http://" + testcaddy.Addr(port) + "/mcp"
	c := newClient(t)
	bystander := beginAs(t, c, url, "bystander")
	bystander.call("echo", 0)
	c.CloseIdleConnections()
	before := held(t)
	s := beginAs(t, c, url, "x")
	s.call("deaf", 0)
	body := `{"jsonrpc":"2.0","method":"x","params":"` + strings.Repeat("x", 1<<20-100) + `"}`
	accepted := 0
	for {
		got := do(t, c, newRequest(t, "POST", url, body, "Mcp-Session-Id", s.id))
		if got.status != 202 {
			if got.status != 503 || !strings.Contains(got.body, `"error"`) {
				t.Errorf("got %d %s", got.status, got.body)
			}
			break
		}
		if accepted++; accepted > 17 {
			t.Fatalf("%d MiB were accepted", accepted)
		}
	}
	if got := do(t, c, newRequest(t, "POST", url, strings.Replace(body, "xxx", strings.Repeat("y", 200), 1), "Mcp-Session-Id", s.id)); got.status != 413 {
		t.Errorf("a message that is too long: %d %.200s", got.status, got.body)
	}
	if text, failed := bystander.text(bystander.call("echo", 0)); failed || text != "echo" {
		t.Errorf("an unharmed session got %q, failed %t", text, failed)
	}
	s.end()
	c.CloseIdleConnections()
	wantHeld(t, before)
}

// Rule D5: what a program starts ends with it, whether it holds the pipes or not. What
// has left the process group is out of reach, and nothing waits for it.
func TestStdioForks(t *testing.T) {
	port := testcaddy.FreePort(t)
	testcaddy.Run(t, faultySite(t, port, ""))
	url := "http://" + testcaddy.Addr(port) + "/mcp"
	c := newClient(t)
	beginAs(t, c, url, "warm").end()
	c.CloseIdleConnections()
	wantHeld(t, holds{1 << 20, 1 << 20, 0})
	before := held(t)
	for _, what := range []string{"fork", "fork and leave", "daemon"} {
		s := beginAs(t, c, url, "x")
		text, failed := s.text(s.call(what, 0))
		pid, err := strconv.Atoi(text)
		if err != nil || failed {
			t.Fatalf("%s: got %q, failed %t", what, text, failed)
		}
		s.end()
		c.CloseIdleConnections()
		if what == "daemon" {
			wantHeld(t, before)
			if dead(pid) {
				t.Error("a process that left the group has ended: the README says otherwise")
			}
			_ = syscall.Kill(pid, syscall.SIGKILL)
			continue
		}
		for deadline := time.Now().Add(20 * time.Second); !dead(pid); time.Sleep(5 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%s: process %d is left", what, pid)
			}
		}
		wantHeld(t, before)
	}
}

// dead says whether a process is no more, or dead and for its parent to reap.
func dead(pid int) bool {
	stat, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	return err != nil || bytes.Contains(stat, []byte(") Z "))
}

// Rules D5, D7: a reload that drops the endpoint does not wait for a program that does
// not want to end, and the program ends all the same. Pending requests fail at once.
func TestStdioStubborn(t *testing.T) {
	for _, what := range []string{"stubborn", "close stdout"} {
		t.Run(what, func(t *testing.T) {
			port := testcaddy.FreePort(t)
			in := testcaddy.Run(t, faultySite(t, port, ""))
			c := newClient(t)
			s := beginAs(t, c, "http://"+testcaddy.Addr(port)+"/mcp", "x")
			if what == "stubborn" {
				s.call(what, 0)
			}
			pids := children(t)
			if len(pids) != 1 {
				t.Fatalf("children %v", pids)
			}
			failed := make(chan bool, 1)
			if what == "close stdout" { // the other one reads nothing any more
				go func() {
					defer close(failed)             // the call ends it where it gets no answer at all
					_, f := s.text(s.call(what, 0)) // which nobody answers
					failed <- f
				}()
			}
			// The call is under way when the program has done it.
			for deadline := time.Now().Add(20 * time.Second); what == "close stdout" && !closedStdout(pids[0]); time.Sleep(5 * time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatal("its stdout is still open")
				}
			}
			began := time.Now()
			in.Load(fmt.Sprintf("{\n\tauto_https off\n}\nhttp://127.0.0.1:%d {\n}", port))
			if took := time.Since(began); took > 4*time.Second {
				t.Errorf("the reload took %s", took)
			}
			if what == "close stdout" && !<-failed {
				t.Error("the pending call was answered")
			}
			pid, _ := strconv.Atoi(pids[0])
			wantGone(t, pid)
		})
	}
}

// Rule G: clients that vanish, on each kind of stream and at each time, leave nothing:
// no program of a stream that is the session, none of a handshake that nobody waits for.
func TestStdioVanishedClients(t *testing.T) {
	port := testcaddy.FreePort(t)
	testcaddy.Run(t, faultySite(t, port, "legacy_sse"))
	url := "http://" + testcaddy.Addr(port) + "/mcp"
	c := newClient(t)
	bystander := beginAs(t, c, url, "bystander")
	bystander.call("echo", 0)
	c.CloseIdleConnections()
	before := held(t)
	s := beginAs(t, c, url, "x")
	for name, request := range map[string]func(n int) *http.Request{
		"HTTP+SSE":   func(int) *http.Request { return newRequest(t, "GET", url+"/sse", "") },
		"GET":        func(int) *http.Request { return newRequest(t, "GET", url, "", "Mcp-Session-Id", s.id) },
		"initialize": func(int) *http.Request { return newRequest(t, "POST", url, initializeAs("in silence")) },
		"call": func(n int) *http.Request {
			return newRequest(t, "POST", url, fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":"nothing/answers"}`, n), "Mcp-Session-Id", s.id)
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
		for deadline := time.Now().Add(20 * time.Second); len(children(t)) > before.children+1; time.Sleep(5 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%s: programs %v run", name, children(t))
			}
		}
		for _, one := range []*session{bystander, s} {
			if text, failed := one.text(one.call("echo", 0)); failed || text != "echo" {
				t.Errorf("%s: an unharmed session got %q, failed %t", name, text, failed)
			}
		}
	}
	s.end()
	c.CloseIdleConnections()
	wantHeld(t, before)
}

// Rules D5, D7: a configuration that cannot be loaded, in whatever step, changes nothing
// of the sessions that there are; one that is only validated starts nothing.
func TestStdioFailedLoads(t *testing.T) {
	port := testcaddy.FreePort(t)
	site := faultySite(t, port, "")
	in := testcaddy.Run(t, site)
	c := newClient(t)
	s := beginAs(t, c, "http://"+testcaddy.Addr(port)+"/mcp", "x")
	pids := children(t)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	marker := filepath.Join(t.TempDir(), "started")
	starts := fmt.Sprintf("\n\tmcp_auth_bridge /started {\n\t\tstdio /bin/sh -c \"touch %s; cat\"\n\t}\n", marker)
	more := strings.Replace(site, "bind 127.0.0.1\n", "bind 127.0.0.1\n"+starts, 1)
	c.CloseIdleConnections()
	wantHeld(t, holds{1 << 20, 1 << 20, 1})
	before := held(t)
	for range 20 {
		for name, broken := range map[string]string{
			"address already in use": more + "\nhttp://" + taken.Addr().String() + " {\n\tbind 127.0.0.1\n}\n",
			"missing closing )":      more + fmt.Sprintf("\nhttp://127.0.0.1:%d {\n\tbind 127.0.0.1\n\t@bad path_regexp (\n\trespond @bad 200\n}\n", testcaddy.FreePort(t)),
			"no user":                strings.Replace(more, "env "+faultyServer, "user no-such-user\n\t\t\tenv "+faultyServer, 1),
			"is no positive":         strings.Replace(more, "buffer 1MiB", "buffer 1MiB\n\t\t\tidle -1s", 1),
		} {
			if err := in.TryLoad(broken); err == nil || !strings.Contains(err.Error(), name) {
				t.Fatalf("want an error with %q, got %v", name, err)
			}
		}
		adapted, err := testcaddy.Adapt(more)
		if err != nil {
			t.Fatal(err)
		}
		var cfg caddy.Config
		if err := json.Unmarshal(adapted, &cfg); err != nil {
			t.Fatal(err)
		}
		if err := caddy.Validate(&cfg); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat(marker); err == nil {
		t.Error("a program was started")
	}
	if text, failed := s.text(s.call("echo", 0)); failed || text != "echo" || !slices.Equal(children(t), pids) {
		t.Errorf("got %q, failed %t, children %v, want %v", text, failed, children(t), pids)
	}
	c.CloseIdleConnections()
	wantHeld(t, before)
	in.Load(fmt.Sprintf("{\n\tauto_https off\n}\nhttp://127.0.0.1:%d {\n}", port))
	pid, _ := strconv.Atoi(pids[0])
	wantGone(t, pid)
}

// closedStdout says whether a process has no stdout.
func closedStdout(pid string) bool {
	_, err := os.Readlink("/proc/" + pid + "/fd/1")
	return err != nil
}
