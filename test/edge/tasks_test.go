package edge_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/issuertest"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/testcaddy"
)

// tasksServer is the environment variable that makes the test binary a server of tasks.
const tasksServer = "MCP_AUTH_BRIDGE_TEST_TASKS"

// serveTasks is a server on standard input and output whose tool makes a task. It is stateless
// if what says so.
func serveTasks(what string) {
	made := false
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		var m struct {
			ID     json.RawMessage
			Method string
		}
		if json.Unmarshal(lines.Bytes(), &m) != nil || m.ID == nil {
			continue
		}
		answer := `"error":{"code":-32601,"message":"unknown"}`
		switch {
		case m.Method == "server/discover" && what == "stateless":
			answer = `"result":{"resultType":"complete","supportedVersions":["2026-07-28"],"capabilities":{"tools":{}},"ttlMs":0,"cacheScope":"private"}`
		case m.Method == "initialize":
			answer = `"result":{"protocolVersion":"2025-11-25","capabilities":{"tools":{},"tasks":{}},"serverInfo":{"name":"tasks","version":"1"}}`
		case m.Method == "tools/call":
			made = true
			answer = `"result":{"resultType":"task","taskId":"one","status":"working"}`
		case strings.HasPrefix(m.Method, "tasks/") && made:
			answer = `"result":{"resultType":"complete","taskId":"one","secret":"sesame"}`
		case strings.HasPrefix(m.Method, "tasks/"):
			answer = `"error":{"code":-32602,"message":"no such task"}`
		}
		fmt.Printf("{\"jsonrpc\":\"2.0\",\"id\":%s,%s}\n", m.ID, answer)
	}
}

// E7, D5a: a program behind a login has no clients in common, also if it is stateless: the
// task of one principal can be read, cancelled and listed by no other.
func TestTasksBelongToTheirPrincipal(t *testing.T) {
	issuer := issuertest.Start(t, issuertest.NewKey(t, jose.ES256, "one"))
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, what := range []string{"stateless", "handshake"} {
		t.Run(what, func(t *testing.T) {
			port := testcaddy.FreePort(t)
			program := fmt.Sprintf("stdio %s -test.run=^$ {\n\t\t\tenv %s=%s\n\t\t}", self, tasksServer, what)
			testcaddy.Run(t, site(port, "/mcp", program, authorize(issuer)))
			url := fmt.Sprintf("http://127.0.0.1:%d/mcp", port)
			ask := func(token, method, name, params string) string {
				body := fmt.Sprintf(`{"jsonrpc":"2.0","id":1,"method":%q,"params":{%s"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"t","version":"1"},"io.modelcontextprotocol/clientCapabilities":{}}}}`, method, params)
				fields := []string{"Authorization", "Bearer " + token, "Mcp-Protocol-Version", "2026-07-28", "Mcp-Method", method}
				if name != "" {
					fields = append(fields, "Mcp-Name", name)
				}
				return post(t, url, body, fields...).Body
			}
			alice, bob := issuer.Token(url, nil), issuer.Token(url, map[string]any{"sub": "bob"})
			if got := ask(alice, "tools/call", "work", `"name":"work",`); !strings.Contains(got, `"taskId":"one"`) {
				t.Fatalf("got %s", got)
			}
			for _, method := range []string{"tasks/get", "tasks/cancel", "tasks/update", "tasks/list", "tasks/result"} {
				name := "one"
				if method == "tasks/list" || method == "tasks/result" {
					name = ""
				}
				if got := ask(bob, method, name, `"taskId":"one",`); !strings.Contains(got, `"error"`) || strings.Contains(got, "sesame") {
					t.Errorf("another's %s: got %s", method, got)
				}
			}
			if got := ask(issuer.Token(url, map[string]any{"jti": "next"}), "tasks/get", "one", `"taskId":"one",`); !strings.Contains(got, "sesame") {
				t.Errorf("the owner, with a refreshed token: got %s", got)
			}
		})
	}
}

// E7: a server over HTTP that is not told who asks would list the tasks of all. The list is
// denied, and nothing reaches the server, unless the operator has it told, or allows the method.
func TestTaskListsOfAServerThatAllShare(t *testing.T) {
	issuer := issuertest.Start(t, issuertest.NewKey(t, jose.ES256, "one"))
	up := newPlain(t)
	for options, want := range map[string]int{
		"":                                 http.StatusForbidden,
		"token strip":                      http.StatusForbidden,
		"default deny":                     http.StatusForbidden,
		"methods tasks/get":                http.StatusForbidden,
		"identity X-User id":               http.StatusOK,
		"token pass":                       http.StatusOK,
		"methods tasks/list":               http.StatusOK,
		"methods tasks/*":                  http.StatusOK,
		"methods tasks/* {\n\t\tdeny\n\t}": http.StatusForbidden,
	} {
		t.Run(options, func(t *testing.T) {
			port := testcaddy.FreePort(t)
			testcaddy.Run(t, site(port, "/mcp "+up.URL+"/mcp", authorize(issuer, options)))
			url := fmt.Sprintf("http://127.0.0.1:%d/mcp", port)
			ask := func(body string) (int, bool) {
				before := len(up.reached(t))
				got := post(t, url, body, "Authorization", "Bearer "+issuer.Token(url, nil))
				if got.Status == http.StatusForbidden && len(got.Header["Www-Authenticate"]) > 0 {
					t.Errorf("got the challenge %q, which no scope answers", got.Header["Www-Authenticate"])
				}
				return got.Status, len(up.reached(t)) > before
			}
			for _, body := range []string{rpc("tasks/list", `{}`), batch(rpc("ping", `{}`), rpc("tasks/list", `{}`))} {
				if got, reached := ask(body); got != want || reached != (want == http.StatusOK) {
					t.Errorf("%s: got %d, reached the server: %t; want %d", body, got, reached, want)
				}
			}
			if got, _ := ask(rpc("tasks/get", `{"taskId":"one"}`)); got != http.StatusOK && !strings.Contains(options, "deny\n") {
				t.Errorf("tasks/get: got %d", got)
			}
		})
	}
}
