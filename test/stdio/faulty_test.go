package stdio_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/mcptest"
)

// faultyServer has the test binary be a server that fails on demand: the name of the
// client says at which step of the handshake, the argument `do` of a call how.
const faultyServer = "MCP_AUTH_BRIDGE_TEST_FAULTY"

// faulty is such a server.
type faulty struct {
	in  *bufio.Reader
	out *os.File
}

func (f *faulty) write(text string) { _, _ = f.out.WriteString(text) }

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
		f.write(answer[:40])
		die()
	case step("after its answer"):
		f.write(answer)
		die()
	case step("in silence"):
		f.read("no such method")
	}
	f.write(answer)
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
		f.write(`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"t","progress":1}}` + "\n")
		die()
	case "die in a question":
		f.write(`{"jsonrpc":"2.0","id":1,"method":"sampling/createMessage","params":{}}` + "\n")
		f.read("")
		die()
	case "die in the answer":
		f.write(answer("x")[:20])
		die()
	case "die after the answer":
		f.write(answer("x") + "\n")
		die()
	case "exit after the answer":
		f.write(answer("x") + "\n")
		os.Exit(0)
	case "exit after many": // of which the answer is the last
		f.write(strings.Repeat(note, n) + answer("x") + "\n")
		os.Exit(0)
	case "exit without a line end":
		f.write(answer("x"))
		os.Exit(0)
	case "flood stdout":
		f.write(strings.Repeat(note, n))
	case "flood stdout without lines":
		for range n {
			f.write(strings.Repeat("x", 1<<16))
		}
		f.write("\n")
	case "flood stderr":
		for range n {
			_, _ = os.Stderr.WriteString(strings.Repeat("this is for the log ", 50) + "\n")
		}
	case "noise":
		f.write(strings.Repeat("this is no message\n", n))
	case "NULs":
		f.write("\x00\x00{}\x00\n")
	case "a mark":
		f.write("\ufeff" + note)
	case "CRLF":
		f.write(answer("CRLF") + "\r\n")
		return
	case "two in a line":
		f.write(answer("x") + note)
		return
	case "half a frame":
		f.write(answer("x")[:60] + "\n")
		return
	case "invalid UTF-8":
		f.write(strings.Replace(answer("x"), `"x"`, "\"\xff\"", 1) + "\n")
		return
	case "too long":
		f.write(answer(strings.Repeat("x", n)) + "\n")
		return
	case "too long, id last":
		f.write(`{"result":{"content":[{"type":"text","text":"` + strings.Repeat("x", n) + `"}]},"jsonrpc":"2.0","id":` + id + "}\n")
		return
	case "deaf":
		f.write(answer("deaf") + "\n")
		select {}
	case "close stdout":
		_ = f.out.Close()
		select {}
	case "stubborn":
		signal.Ignore(syscall.SIGTERM)
		f.write(answer(strconv.Itoa(os.Getpid())) + "\n")
		select {}
	case "fork", "fork and leave", "daemon":
		cmd := exec.CommandContext(context.Background(), os.Args[0], "-test.run=^$")
		cmd.Env = []string{faultyServer + "=hold"}
		cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
		if do == "daemon" {
			cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		}
		if err := cmd.Start(); err != nil {
			os.Exit(98)
		}
		f.write(answer(strconv.Itoa(cmd.Process.Pid)) + "\n")
		if do != "fork" {
			os.Exit(0)
		}
		return
	}
	f.write(answer(do) + "\n")
}

// faultySite is a Caddyfile with an endpoint whose server is such a one.
func faultySite(t *testing.T, port int, more string) string {
	t.Helper()
	return strings.Replace(mcptest.SiteOfProgram(t, port, "", "limits {\n\t\t\tmax_message 1MiB\n\t\t}\n\t\tsessions {\n\t\t\tmax_buffer 1MiB\n\t\t}\n\t\t"+more), mcptest.ChildServer, faultyServer, 1)
}
