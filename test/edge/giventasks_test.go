package edge_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/issuertest"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/mcptest"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/testcaddy"
)

// taskClient is a client of an endpoint whose server makes tasks.
type taskClient struct {
	url, token, session string
	stateless           bool
}

// newTaskClient begins a session, unless the client is stateless.
func newTaskClient(t *testing.T, url, token string, stateless bool) *taskClient {
	t.Helper()
	c := &taskClient{url: url, token: token, stateless: stateless}
	if !stateless {
		got := post(t, url, initialize, "Authorization", "Bearer "+token)
		if c.session = got.Header.Get("Mcp-Session-Id"); c.session == "" {
			t.Fatalf("initialize: %d %s", got.Status, got.Body)
		}
	}
	return c
}

// meta are the members of `_meta` of each request.
func (c *taskClient) meta() string {
	if !c.stateless {
		return `"x":1`
	}
	return `"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"t","version":"1"},` +
		`"io.modelcontextprotocol/clientCapabilities":{"extensions":{"io.modelcontextprotocol/tasks":{}}}`
}

// ask sends a request. params are members of params, and meta members of its _meta.
func (c *taskClient) ask(t *testing.T, method, params, meta string) mcptest.Answer {
	t.Helper()
	if params != "" {
		params += ","
	}
	if meta != "" {
		meta = "," + meta
	}
	body := rpc(method, "{"+params+`"_meta":{`+c.meta()+meta+"}}")
	fields := []string{"Authorization", "Bearer " + c.token}
	if c.stateless {
		var m struct {
			Params struct{ Name, TaskID string }
		}
		if err := json.Unmarshal([]byte(body), &m); err != nil {
			t.Fatal(err)
		}
		fields = append(fields, "Mcp-Protocol-Version", "2026-07-28", "Mcp-Method", method)
		if name := m.Params.Name + m.Params.TaskID; name != "" && method != "tasks/result" {
			fields = append(fields, "Mcp-Name", strings.TrimSpace(name))
		}
	} else {
		fields = append(fields, "Mcp-Protocol-Version", "2025-11-25", "Mcp-Session-Id", c.session)
	}
	var got mcptest.Answer
	mcptest.AfterReload(t, func() (err error) {
		r := mcptest.NewRequest(t, http.MethodPost, c.url, body, fields...)
		tr := &http.Transport{}
		defer tr.CloseIdleConnections()
		res, err := (&http.Client{Transport: tr}).Do(r)
		if err != nil {
			return err
		}
		defer func() { _ = res.Body.Close() }()
		text, err := io.ReadAll(res.Body)
		got = mcptest.Answer{Status: res.StatusCode, Header: res.Header, Body: string(text)}
		return err
	})
	return got
}

// begin has the server make a task with this id.
func (c *taskClient) begin(t *testing.T, id string) {
	t.Helper()
	params := fmt.Sprintf(`"name":"begin","arguments":{"id":%q}`, id)
	if !c.stateless {
		params += `,"task":{"ttl":60000}`
	}
	if got := c.ask(t, "tools/call", params, ""); got.Status != http.StatusOK || !strings.Contains(got.Body, `"taskId":"`+id+`"`) {
		t.Fatalf("got %d %s", got.Status, got.Body)
	}
}

// noTask is what the specification has servers answer for a task that they do not have.
const noTask = `{"jsonrpc":"2.0","id":1,"error":{"code":-32602,"message":"Failed to retrieve task: Task not found"}}`

// E7: the tasks of an HTTP server belong to the principals that were given them. To others they
// do not exist, in whatever request and spelling they are named, and nothing reaches the server.
func TestTasksOfAnHTTPServerBelongToTheirPrincipal(t *testing.T) {
	issuer := issuertest.Start(t, issuertest.NewKey(t, jose.ES256, "one"))
	up := newPlain(t)
	for name, tc := range map[string]struct {
		upstream  string
		stateless bool
	}{
		"event streams, 2025": {up.URL + "/mcp", false}, "event streams, 2026": {up.URL + "/mcp", true},
		"JSON, 2025": {up.URL + "/json", false}, "JSON, 2026": {up.URL + "/json", true},
		"HTTP+SSE": {"sse+" + up.URL + "/sse", false},
	} {
		t.Run(name, func(t *testing.T) {
			port := testcaddy.FreePort(t)
			config := site(port, "/mcp "+tc.upstream, authorize(issuer))
			caddy := testcaddy.Run(t, config)
			url := fmt.Sprintf("http://127.0.0.1:%d/mcp", port)
			alice := newTaskClient(t, url, issuer.Token(url, nil), tc.stateless)
			bob := newTaskClient(t, url, issuer.Token(url, map[string]any{"sub": "bob"}), tc.stateless)
			reaches := func(got mcptest.Answer) bool {
				return got.Status == http.StatusOK && strings.Contains(got.Body, "sesame")
			}
			if got := bob.ask(t, "tasks/get", `"taskId":"task-A"`, ""); !reaches(got) {
				t.Fatalf("a task that nobody was given: got %d %s", got.Status, got.Body)
			}
			alice.begin(t, "task-A")
			alice.token = issuer.Token(url, map[string]any{"jti": "refreshed"})
			// A tool that repeats what it was called with gives nobody a task, and neither does
			// a task that is asked about.
			bob.ask(t, "tools/call", `"name":"echo","arguments":{"taskId":"task-A","resultType":"task","task":{"taskId":"task-A","status":"working"}},"task":{}`, "")
			check := func() {
				t.Helper()
				for what, got := range map[string]func(c *taskClient) mcptest.Answer{
					"get":     func(c *taskClient) mcptest.Answer { return c.ask(t, "tasks/get", `"taskId":"task-A"`, "") },
					"result":  func(c *taskClient) mcptest.Answer { return c.ask(t, "tasks/result", `"taskId":"task-A"`, "") },
					"cancel":  func(c *taskClient) mcptest.Answer { return c.ask(t, "tasks/cancel", `"taskId":"task-A"`, "") },
					"update":  func(c *taskClient) mcptest.Answer { return c.ask(t, "tasks/update", `"taskId":"task-A"`, "") },
					"escaped": func(c *taskClient) mcptest.Answer { return c.ask(t, "tasks/get", `"\u0074askId":"\u0074ask-A"`, "") },
					"in capitals": func(c *taskClient) mcptest.Answer {
						return c.ask(t, "tasks/get", `"taskId":"TASK-A"`, "")
					},
					"related": func(c *taskClient) mcptest.Answer {
						return c.ask(t, "tasks/get", `"taskId":"task-x"`, `"io.modelcontextprotocol/related-task":{"taskId":"task-A"}`)
					},
				} {
					before := up.reached(t)
					if got := got(bob); got.Status != http.StatusOK || got.Body != noTask || got.Header.Get("Content-Type") != "application/json" {
						t.Errorf("another's, %s: got %d %s", what, got.Status, got.Body)
					}
					if after := up.reached(t); after != before {
						t.Errorf("another's, %s: it has reached the server: %s", what, after[len(before):])
					}
					if got := got(alice); !reaches(got) {
						t.Errorf("the owner's, %s: got %d %s", what, got.Status, got.Body)
					}
				}
			}
			check()
			if !testcaddy.Logged("request is refused", `"reason":"unknown_task"`, `"check":"task"`, `"user":"bob"`, `"method":"tasks/cancel"`) {
				t.Error("the log has no refusal")
			}
			if tc.stateless {
				before := up.reached(t)
				if got := bob.ask(t, "subscriptions/listen", `"notifications":{"taskIds":["task-A"]}`, ""); got.Body != noTask || up.reached(t) != before {
					t.Errorf("a stream about another's task: got %d %s", got.Status, got.Body)
				}
			}
			caddy.Load(strings.Replace(config, "bind 127.0.0.1", "bind 127.0.0.1\n\theader X-Later 1", 1))
			check()

			// A server that counts its tasks for each session gives an id to several.
			bob.begin(t, "task-A")
			for _, c := range []*taskClient{alice, bob} {
				if got := c.ask(t, "tasks/get", `"taskId":"task-A"`, ""); !reaches(got) {
					t.Errorf("a task that both were given: got %d %s", got.Status, got.Body)
				}
			}
			carol := newTaskClient(t, url, issuer.Token(url, map[string]any{"sub": "carol"}), tc.stateless)
			if got := carol.ask(t, "tasks/get", `"taskId":"task-A"`, ""); got.Body != noTask {
				t.Errorf("a task that two others were given: got %d %s", got.Status, got.Body)
			}
		})
	}
}

// E7: the answers of HTTP+SSE are on the stream of a principal, so the tasks that are made there
// are its own. The refusal is the status of the message, which no answer on the stream follows.
func TestTasksOnAStreamBelongToTheirPrincipal(t *testing.T) {
	issuer := issuertest.Start(t, issuertest.NewKey(t, jose.ES256, "one"))
	up := newPlain(t)
	for name, upstream := range map[string]string{"HTTP+SSE": "sse+" + up.URL + "/sse", "Streamable HTTP": up.URL + "/mcp"} {
		t.Run(name, func(t *testing.T) {
			port := testcaddy.FreePort(t)
			testcaddy.Run(t, site(port, "/mcp "+upstream, authorize(issuer), "legacy_sse", "cors {\n\t\t\tallow_origins "+mcptest.PageOrigin+"\n\t\t}"))
			base := fmt.Sprintf("http://127.0.0.1:%d", port)
			begin := func(claims map[string]any) (*mcptest.Caller, string) {
				token := issuer.Token(base+"/mcp", claims)
				c := &mcptest.Caller{T: t, Client: mcptest.HTTPClient(t), Base: base, Legacy: true}
				c.Listen(token)
				if got := c.Ask(token, initialize); !strings.Contains(got, `"plain"`) {
					t.Fatalf("initialize: %s", got)
				}
				return c, token
			}
			alice, hers := begin(nil)
			bob, his := begin(map[string]any{"sub": "bob"})
			if got := alice.Ask(hers, rpc("tools/call", `{"name":"begin","arguments":{"id":"one"},"task":{}}`)); !strings.Contains(got, `"taskId":"one"`) {
				t.Fatalf("got %s", got)
			}
			before := up.reached(t)
			if res, got := bob.Send(http.MethodPost, bob.At, his, rpc("tasks/get", `{"taskId":"one"}`)); res.StatusCode != http.StatusBadRequest || got != noTask || up.reached(t) != before {
				t.Errorf("another's: got %d %s", res.StatusCode, got)
			}
			if got := alice.Ask(hers, rpc("tasks/get", `{"taskId":"one"}`)); !strings.Contains(got, "sesame") {
				t.Errorf("the owner's: got %s", got)
			}
		})
	}
}
