package observe_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/mcptest"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/testcaddy"
)

// entry waits for a line of the log with a message, and returns it.
func entry(t *testing.T, message string, method ...string) map[string]any {
	t.Helper()
	var found map[string]any
	testcaddy.AwaitLog(t, func(line string) bool {
		var e map[string]any
		if json.Unmarshal([]byte(line), &e) != nil || e["msg"] != message || len(method) > 0 && e["method"] != method[0] || !strings.HasPrefix(e["logger"].(string), "http.handlers.mcp_auth_bridge") {
			return false
		}
		found = e
		return true
	})
	return found
}

// The debug log has the whole story of a request in one line.
func TestRequestLog(t *testing.T) {
	up := mcptest.NewAnswers(t)
	port := testcaddy.FreePort(t)
	testcaddy.Run(t, mcptest.BridgeTo(port, up.URL, ""))
	base := "http://" + testcaddy.Addr(port) + "/mcp"
	for name, c := range map[string]struct {
		query  string
		fields map[string]string
		want   map[string]any
	}{
		"challenge": {
			"?answer=401", nil,
			map[string]any{
				"level": "debug", "endpoint": "/mcp", "target": "endpoint", "verb": "POST", "era": "handshake", "origin": "none",
				"upstream": up.Listener.Addr().String(), "upstream_status": 401.0, "status": 401.0, "stream": false,
				"challenge_action": "rewritten", "public_url": base,
				"challenge_got":   []string{`Bearer resource_metadata="` + up.URL + `/.well-known/oauth-protected-resource/mcp"`},
				"challenge_given": []string{`Bearer resource_metadata="http://` + testcaddy.Addr(port) + `/.well-known/oauth-protected-resource/mcp"`},
			},
		},
		"stream": {"?answer=sse", nil, map[string]any{"stream": true, "status": 200.0, "challenge_action": nil}},
		"session": {
			"?answer=202",
			map[string]string{"Mcp-Session-Id": "s1", "Mcp-Method": "tools/call", "Mcp-Name": "add", "Origin": "http://" + testcaddy.Addr(port)},
			map[string]any{"method": "tools/call", "name": "add", "origin": "allowed", "status": 202.0},
		},
		"refused origin": {
			"",
			map[string]string{"Origin": "https://evil.example"},
			map[string]any{"origin": "refused", "status": 403.0, "upstream": nil, "upstream_status": nil},
		},
	} {
		t.Run(name, func(t *testing.T) {
			testcaddy.ForgetLogs()
			ask(t, base+c.query, mcptest.Initialize, c.fields)
			got := entry(t, "request is over")
			for key, want := range c.want {
				if fmt.Sprint(got[key]) != fmt.Sprint(want) {
					t.Errorf("%s is %#v, want %#v", key, got[key], want)
				}
			}
			if id, sent := got["session"].(string); c.fields["Mcp-Session-Id"] != "" && (!sent || len(id) != 16) {
				t.Errorf("the session is %v", got["session"])
			}
		})
	}
}

// The debug log says between which transports a message was carried over, and what the
// upstream was asked for.
func TestRequestLogOfMessageBridge(t *testing.T) {
	g := mcptest.NewGate(t)
	port := testcaddy.FreePort(t)
	testcaddy.Run(t, mcptest.BridgeTo(port, "sse+"+g.URL+"/sse", ""))
	g.Refuse(func(a mcptest.Arrival) *mcptest.Verdict {
		if a.Is(`"tools/list"`) {
			return g.Refusal(http.StatusUnauthorized, `error="invalid_token"`, "no")
		}
		return nil
	})
	fields := map[string]string{"Content-Type": "application/json"}
	res, _ := ask(t, "http://"+testcaddy.Addr(port)+"/mcp", mcptest.Initialize, fields)
	begins := entry(t, "session begins")
	fields["Mcp-Session-Id"] = res.Header.Get("Mcp-Session-Id")
	testcaddy.ForgetLogs()
	ask(t, "http://"+testcaddy.Addr(port)+"/mcp", `{"jsonrpc":"2.0","id":2,"method":"tools/list"}`, fields)
	call, over := entry(t, "message bridge has asked the upstream", "tools/list"), entry(t, "request is over", "tools/list")
	if call["upstream_status"] != 401.0 {
		t.Errorf("the call is %v", call)
	}
	if over["translation"] != "handshake to sse" || over["upstream_status"] != 401.0 ||
		over["status"] != 401.0 || over["challenge_action"] != "rewritten" || over["session"] != begins["session"] {
		t.Errorf("the request is %v, of the session %v", over, begins)
	}
}

// An upstream that is down is said once, with what to do, and that it is back.
func TestLogOfUpstream(t *testing.T) {
	up := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	address := up.Listener.Addr().String()
	up.Close()
	port := testcaddy.FreePort(t)
	testcaddy.Run(t, mcptest.BridgeTo(port, "http://"+address, ""))
	for range 3 {
		ask(t, "http://"+testcaddy.Addr(port)+"/mcp", mcptest.Initialize, nil)
	}
	if e := entry(t, "request is over"); e["status"] != 502.0 || !strings.Contains(fmt.Sprint(e["error"]), "refused") {
		t.Errorf("the request is %v", e)
	}
	if e := entry(t, "upstream gives no answer"); e["level"] != "warn" || e["upstream"] != address || e["why"] != "refused" || e["advice"] == "" {
		t.Errorf("got %v", e)
	}
	if n := len(slices.DeleteFunc(testcaddy.Logs(), func(line string) bool { return !strings.Contains(line, "upstream gives no answer") })); n != 1 {
		t.Errorf("it is said %d times", n)
	}
}

// What a client says of its origin is bounded in the log, and has neither query nor
// user name.
func TestLogOfOrigin(t *testing.T) {
	up := mcptest.NewAnswers(t)
	port := testcaddy.FreePort(t)
	testcaddy.Run(t, mcptest.BridgeTo(port, up.URL, ""))
	for _, origin := range []string{"https://user:s3cret@evil.example", "https://evil.example/?token=s3cret", "s3cret@evil", "https://" + strings.Repeat("long", 200)} {
		ask(t, "http://"+testcaddy.Addr(port)+"/mcp", mcptest.Initialize, map[string]string{"Origin": origin})
	}
	n := 0
	for _, line := range testcaddy.Logs() {
		if !strings.Contains(line, `"logger":"http.handlers.mcp_auth_bridge"`) {
			continue
		}
		if strings.Contains(line, "s3cret") || len(line) > 1200 {
			t.Errorf("the log has %s", line)
		}
		if strings.Contains(line, `"level":"warn"`) {
			n++
		}
	}
	if n != 4 {
		t.Errorf("%d origins are in the log, want 4", n)
	}
}
