package observe_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/mcptest"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/testcaddy"
)

// accessSite is a Caddyfile whose access log has every placeholder.
func accessSite(port int, directive string) string {
	var log strings.Builder
	for _, name := range placeholderNames {
		fmt.Fprintf(&log, "\tlog_append %s {http.mcp_auth_bridge.%s}\n", name, name)
	}
	return fmt.Sprintf(`{
	auto_https off
}
http://127.0.0.1:%d {
	bind 127.0.0.1
	log
%s	%s
}`, port, log.String(), directive)
}

// placeholderNames are the documented placeholders.
var placeholderNames = []string{
	"endpoint", "target", "method", "name", "session", "era", "upstream_status",
	"challenge.action", "challenge.reason", "challenge.scheme", "challenge.error",
}

// accessLog returns the last line of the access log.
func accessLog(t *testing.T) map[string]any {
	t.Helper()
	var last map[string]any
	testcaddy.AwaitLog(t, func(line string) bool {
		var entry map[string]any
		if json.Unmarshal([]byte(line), &entry) != nil || !strings.HasPrefix(fmt.Sprint(entry["logger"]), "http.log.access") {
			return false
		}
		last = entry
		return true
	})
	return last
}

// logged sends a request and returns what the access log says of it.
func logged(t *testing.T, method, url, body string, fields map[string]string) map[string]any {
	t.Helper()
	testcaddy.ForgetLogs()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range fields {
		req.Header.Set(name, value)
	}
	res, err := mcptest.HTTPClient(t).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, res.Body)
	_ = res.Body.Close()
	return accessLog(t)
}

// F1: an access log says of each request what it is to the endpoint, without its body
// being read, and without the id of its session.
func TestPlaceholders(t *testing.T) {
	up := mcptest.NewAnswers(t)
	port := testcaddy.FreePort(t)
	testcaddy.Run(t, accessSite(port, "mcp_auth_bridge "+up.URL))
	base := "http://" + testcaddy.Addr(port)
	for name, c := range map[string]struct {
		method, path string
		fields       map[string]string
		want         map[string]any
	}{
		"stateless": {
			"POST", "/mcp?answer=403",
			map[string]string{"Mcp-Protocol-Version": "2026-07-28", "Mcp-Method": "tools/call", "Mcp-Name": "=?base64?YWRkIMOp?="},
			map[string]any{
				"endpoint": "/mcp", "target": "endpoint", "method": "tools/call", "name": "add é", "era": "stateless", "session": "", "upstream_status": 403.0,
				"challenge.action": "rewritten", "challenge.reason": "", "challenge.scheme": "bearer", "challenge.error": "insufficient_scope",
			},
		},
		"foreign challenge": {
			"POST", "/mcp?answer=401-foreign", nil,
			map[string]any{
				"upstream_status": 401.0, "challenge.action": "relayed", "challenge.reason": "foreign", "challenge.scheme": "bearer", "challenge.error": "none",
			},
		},
		"handshake": {
			"POST", "/mcp/?answer=202",
			map[string]string{"Mcp-Protocol-Version": "2025-11-25"},
			map[string]any{"target": "endpoint", "method": "", "name": "", "era": "handshake", "session": "", "upstream_status": 202.0},
		},
		"foreign origin": {
			"POST", "/mcp",
			map[string]string{"Origin": "https://evil.example"},
			map[string]any{"target": "endpoint", "upstream_status": nil, "challenge.action": "", "challenge.scheme": ""},
		},
		"metadata": {
			"GET", "/.well-known/oauth-protected-resource/mcp", nil,
			map[string]any{"endpoint": "/mcp", "target": "metadata", "era": "", "upstream_status": nil},
		},
	} {
		t.Run(name, func(t *testing.T) {
			entry := logged(t, c.method, base+c.path, mcptest.Initialize, c.fields)
			for name, want := range c.want {
				if got, ok := entry[name]; !ok || got != want {
					t.Errorf("%s is %#v, want %#v", name, got, want)
				}
			}
		})
	}

	t.Run("session", func(t *testing.T) {
		first := logged(t, "POST", base+"/mcp", mcptest.Initialize, nil) // which answers with the session s1
		second := logged(t, "POST", base+"/mcp", mcptest.Initialized, map[string]string{"Mcp-Session-Id": "s1"})
		other := logged(t, "POST", base+"/mcp", mcptest.Initialized, map[string]string{"Mcp-Session-Id": "s2"})
		if s, _ := first["session"].(string); len(s) != 16 || second["session"] != s || other["session"] == s {
			t.Errorf("sessions of initialize, of the same, and of another: %v, %v, %v", first["session"], second["session"], other["session"])
		}
	})
	t.Run("another handler's", func(t *testing.T) {
		if entry := logged(t, "GET", base+"/elsewhere", "", nil); entry["endpoint"] != nil {
			t.Errorf("a request that is no endpoint's has the endpoint %v", entry["endpoint"])
		}
	})
}

// F1: where messages are carried over to another transport, they are read anyway, and
// the access log has their method and tool.
func TestPlaceholdersOfMessages(t *testing.T) {
	port := testcaddy.FreePort(t)
	testcaddy.Run(t, accessSite(port, "mcp_auth_bridge {\n"+mcptest.PairUpstreams["stdio"](t)+"\nlegacy_sse\n}"))
	base := "http://" + testcaddy.Addr(port)
	json := map[string]string{"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
	begun := logged(t, "POST", base+"/mcp", mcptest.Initialize, json)
	if begun["method"] != "initialize" || begun["era"] != "handshake" || len(fmt.Sprint(begun["session"])) != 16 {
		t.Errorf("initialize is logged as %v", begun)
	}
	call := `{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"no {tool}","arguments":{"password":"hunter2"},"_meta":{` +
		`"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}}}`
	json["Mcp-Protocol-Version"], json["Mcp-Method"], json["Mcp-Name"] = "2026-07-28", "tools/call", "no {tool}"
	got := logged(t, "POST", base+"/mcp", call, json)
	if got["method"] != "tools/call" || got["name"] != "no ?tool?" || got["era"] != "stateless" {
		t.Errorf("tools/call is logged as %v", got)
	}
}

// F1: behind authorize the placeholders are what the body says, whatever a client of any
// revision writes into its fields. So a limit or a matcher can rely on them.
func TestPlaceholdersBehindAuthorize(t *testing.T) {
	t.Setenv("OBSERVE_TEST_KEY", "0123456789abcdef")
	up := mcptest.NewAnswers(t)
	port := testcaddy.FreePort(t)
	testcaddy.Run(t, accessSite(port, "mcp_auth_bridge "+up.URL+" {\nauthorize {\nkey one {env.OBSERVE_TEST_KEY}\n}\n}"))
	call := func(name string) string {
		return `{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"` + name + `"}}`
	}
	for name, c := range map[string]struct{ verb, body, method, name string }{
		"a call":                 {"POST", call("costly"), "tools/call", "costly"},
		"a resource":             {"POST", `{"jsonrpc":"2.0","id":2,"method":"resources/read","params":{"uri":"file:///a"}}`, "resources/read", ""},
		"an answer":              {"POST", `{"jsonrpc":"2.0","id":2,"result":{}}`, "", ""},
		"several messages":       {"POST", "[" + mcptest.Initialized + "," + call("costly") + "]", "batch", ""},
		"one message in a batch": {"POST", "[" + call("costly") + "]", "tools/call", "costly"},
		"no message":             {"GET", "", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			entry := logged(t, c.verb, "http://"+testcaddy.Addr(port)+"/mcp", c.body, map[string]string{
				"Authorization": "Bearer 0123456789abcdef", "Content-Type": "application/json",
				"Mcp-Protocol-Version": "2025-06-18", "Mcp-Method": "tools/call", "Mcp-Name": "cheap",
			})
			if entry["method"] != c.method || entry["name"] != c.name || entry["upstream_status"] == nil {
				t.Errorf("method %q, name %q, upstream_status %v; want %q, %q", entry["method"], entry["name"], entry["upstream_status"], c.method, c.name)
			}
		})
	}
}
