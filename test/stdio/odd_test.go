package stdio_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/mcptest"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/testcaddy"
)

// oddProgram has the test binary be a program that does not write messages as MCP wants
// them; its value says how.
const oddProgram = "MCP_AUTH_BRIDGE_TEST_ODD"

func serveOdd(how string) {
	time.AfterFunc(2*time.Minute, func() { os.Exit(99) }) // whatever happens to the test
	if how == "waits for Content-Length" {
		_, _ = io.Copy(io.Discard, os.Stdin)
		return
	}
	write := func(text string) { _, _ = os.Stdout.WriteString(text) }
	if how == "banners" {
		write("\x1b[33m[INFO] starting with secret-of-stdout\x1b[0m\n\n   \nserver mode: stdio\n")
	}
	in := bufio.NewReader(os.Stdin)
	for first := true; ; {
		line, err := in.ReadBytes('\n')
		if err != nil {
			return
		}
		var m struct {
			ID     json.RawMessage `json:"id"`
			Method string          `json:"method"`
		}
		if json.Unmarshal(line, &m) != nil || m.ID == nil {
			continue
		}
		result := `{"tools":[]}`
		switch m.Method {
		case "initialize":
			result = `{"protocolVersion":"2025-06-18","capabilities":{"tools":{}},"serverInfo":{"name":"odd","version":"1"}}`
		case "die":
			_, _ = fmt.Fprintln(os.Stderr, "panic: no more disk")
			os.Exit(3)
		}
		id := string(m.ID)
		switch {
		case how == "text to number" && bytes.HasPrefix(m.ID, []byte(`"`)):
			if n, err := strconv.Atoi(strings.Trim(id, `"`)); err == nil {
				id = strconv.Itoa(n)
			}
		case how == "number to text" && !bytes.HasPrefix(m.ID, []byte(`"`)):
			id = `"` + id + `"`
		case how == "number to 0" && !bytes.HasPrefix(m.ID, []byte(`"`)):
			id = "0"
		}
		answer := `{"jsonrpc":"2.0","id":` + id + `,"result":` + result + `}`
		switch how {
		case "a mark before the first":
			if first {
				answer = "\ufeff" + answer
			}
			write(answer + "\r\n")
		case "a mark before each":
			write("\ufeff" + answer + "\r\n")
		case "banners":
			write(answer + "\n{\n  \"status\": 200,\n  \"message\": \"Success\"\n}\n")
		case "a spinner before each":
			write("\x1b[?25l- resolving\r\x1b[K" + answer + "\n")
		case "colours behind each":
			write(answer + " \x1b[0m\n")
		case "framed by Content-Length":
			write(fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(answer), answer))
		default:
			write(answer + "\n")
		}
		first = false
	}
}

func oddSite(t *testing.T, port int, how, more string) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("{\n\tauto_https off\n}\nhttp://127.0.0.1:%d {\n\tbind 127.0.0.1\n\tmcp_auth_bridge {\n\t\tstdio %s -test.run=^$ {\n\t\t\tenv \"%s=%s\"\n\t\t}\n\t\t%s\n\t}\n}", port, self, oddProgram, how, more)
}

// Rule D5c: what a program writes round its messages is taken away where nothing else can
// be meant, and what it does to ids is put right where there is no doubt; else the request
// gets an error. The log says why, and has nothing of what the program says.
func TestOddProgramsAreUnderstoodWhereNothingElseCanBeMeant(t *testing.T) {
	for _, tc := range []struct {
		how    string
		ids    []string
		result []bool   // of those
		log    []string // one line has all
	}{
		{"a mark before the first", []string{"1", "2", `"a"`}, []bool{true, true, true}, []string{"byte_order_mark", "repaired", "without a byte order mark"}},
		{"a mark before each", []string{"1", "2", `"a"`}, []bool{true, true, true}, []string{"byte_order_mark", "repaired"}},
		{"banners", []string{"1", "2", `"a"`}, []bool{true, true, true}, []string{"not an MCP message", "text", "stderr"}},
		{"a spinner before each", []string{"1", "2", `"a"`}, []bool{true, true, true}, []string{"terminal_output", "repaired", "NO_COLOR=1"}},
		{"colours behind each", []string{"1", "2", `"a"`}, []bool{true, true, true}, []string{"terminal_output", "repaired"}},
		{"text to number", []string{`"1"`, `"req-abc"`, `"2"`, "42", "0", `"3"`, `"42"`}, []bool{true, true, true, true, true, true, false}, []string{"answers with an unknown id", "unknown_id", "answered", `"id":"1"`}},
		{"number to text", []string{"1", `"req-abc"`, `"2"`, "42", "2"}, []bool{true, true, true, true, false}, []string{"answers with an unknown id", "section 5"}},
		{"number to 0", []string{"42", `"req-abc"`, "43", "0"}, []bool{true, true, false, false}, []string{"answers with an unknown id", `"id":"0"`}},
	} {
		t.Run(tc.how, func(t *testing.T) {
			port := testcaddy.FreePort(t)
			testcaddy.Run(t, oddSite(t, port, tc.how, "sessions {\n\t\t\tunmatched_timeout 5s\n\t\t}"))
			c := mcptest.NewSession(t, mcptest.NewClient(t), "http://"+testcaddy.Addr(port)+"/mcp")
			began := time.Now()
			for i, id := range tc.ids {
				method := "tools/list"
				if i == 0 {
					method = "initialize"
				}
				if got := c.Ask(id, method); got != tc.result[i] {
					t.Errorf("%s: got a result %t, want %t", id, got, tc.result[i])
				}
				if i == 0 {
					c.Post(`{"jsonrpc":"2.0","method":"notifications/initialized"}`)
				}
			}
			if took := time.Since(began); took > 30*time.Second {
				t.Errorf("it took %s", took)
			}
			if !testcaddy.Logged(append([]string{`"warn"`, `"advice":`, `"came":`}, tc.log...)...) || testcaddy.Logged("secret-of-stdout") {
				t.Errorf("got log %q, want a line with %q", testcaddy.Logs(), tc.log)
			}
		})
	}
}

// Rule D5c: two requests at one time of a program that changes ids get an answer each, and
// none that of the other.
func TestProgramThatChangesIDsAnswersEachRequest(t *testing.T) {
	port := testcaddy.FreePort(t)
	testcaddy.Run(t, oddSite(t, port, "number to text", ""))
	c := mcptest.NewSession(t, mcptest.NewClient(t), "http://"+testcaddy.Addr(port)+"/mcp")
	c.Ask("1", "initialize")
	c.Post(`{"jsonrpc":"2.0","method":"notifications/initialized"}`)
	var wg sync.WaitGroup
	for n := range 5 {
		wg.Go(func() { c.Ask(strconv.Itoa(n+2), "tools/list") })
	}
	wg.Wait()
}

// Rule D5c: a program that frames its messages by Content-Length is told at once, ended,
// and not started in a loop.
func TestProgramThatFramesByContentLengthIsEnded(t *testing.T) {
	port := testcaddy.FreePort(t)
	testcaddy.Run(t, oddSite(t, port, "framed by Content-Length", ""))
	c := mcptest.NewSession(t, mcptest.NewClient(t), "http://"+testcaddy.Addr(port)+"/mcp")
	var statuses []int
	for range 5 {
		got := c.Post(mcptest.Initialize)
		statuses = append(statuses, got.Status)
		if got.Header.Get("Mcp-Session-Id") != "" || !strings.Contains(got.Body, `"id":1,"error"`) || got.Status == 502 && !strings.Contains(got.Body, "Content-Length") {
			t.Errorf("got %d %s", got.Status, got.Body)
		}
	}
	if statuses[0] != 502 || statuses[4] != 503 {
		t.Errorf("got %v, want 502 and then 503", statuses)
	}
	if !testcaddy.Logged(`"warn"`, "content_length", "Content-Length: ", "Language Server Protocol") {
		t.Errorf("got log %q", testcaddy.Logs())
	}
	awaitEnd(t, "program was ended", "not_mcp", "exit status 0")
	mcptest.WantChildren(t, 20*time.Second, 0)
}

// The log says how each program has ended, with the last lines of its stderr, and so does
// the status.
func TestLogHasHowEachProgramEnded(t *testing.T) {
	port, admin := testcaddy.FreePort(t), testcaddy.FreePort(t)
	site := strings.Replace(oddSite(t, port, "dies", ""), "{\n", "{\n\tadmin "+testcaddy.Addr(admin)+"\n", 1)
	testcaddy.Run(t, site)
	c := mcptest.NewSession(t, mcptest.NewClient(t), "http://"+testcaddy.Addr(port)+"/mcp")
	c.Ask("1", "initialize")
	c.Ask("2", "die")
	testcaddy.AwaitLog(t, func(line string) bool {
		return strings.Contains(line, "program has ended by itself") && strings.Contains(line, `"status":"exit status 3"`) &&
			strings.Contains(line, `"stderr":["panic: no more disk"]`) && strings.Contains(line, `"advice":`)
	})
	out, err := testcaddy.TryStatus(testcaddy.Addr(admin))
	if err != nil || !strings.Contains(out, "program has ended by itself") || !strings.Contains(out, "exit status 3") {
		t.Errorf("caddy mcp status: %v\n%s", err, out)
	}
}
