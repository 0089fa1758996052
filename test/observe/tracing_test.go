package observe_test

import (
	"bufio"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/mcptest"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/testcaddy"
)

// tracedSite is a Caddyfile with an endpoint that Caddy traces.
func tracedSite(port int, directive string) string {
	return fmt.Sprintf(`{
	auto_https off
}
http://127.0.0.1:%d {
	bind 127.0.0.1
	tracing {
		span mcp
	}
	%s
}`, port, directive)
}

const (
	callersTrace  = "0af7651916cd43dd8448eb211c80319c"
	callersParent = "00-" + callersTrace + "-b7ad6b7169203331-01"
)

// traceFields are the fields of a request that belongs to a trace.
func traceFields(more ...string) map[string]string {
	fields := map[string]string{
		"Traceparent": callersParent, "Tracestate": "vendor=1", "Baggage": "tenant=7",
		"Content-Type": "application/json", "Accept": "application/json, text/event-stream",
	}
	for i := 0; i < len(more); i += 2 {
		fields[more[i]] = more[i+1]
	}
	return fields
}

// ask sends a POST and reads the answer.
func ask(t *testing.T, url, body string, fields map[string]string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(body))
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
	raw, err := io.ReadAll(res.Body)
	_ = res.Body.Close()
	if err != nil {
		t.Fatal(err)
	}
	return res, string(raw)
}

// of reports whether a span belongs to the caller's trace.
func (e exportedSpan) of(trace string) bool { return hex.EncodeToString([]byte(e.trace)) == trace }

func checkAttributes(t *testing.T, e exportedSpan, want map[string]string) {
	t.Helper()
	for key, value := range want {
		if got := e.attributes[key]; got != value {
			t.Errorf("span %q has %s = %q, want %q", e.name, key, got, value)
		}
	}
}

// A trace goes on at the upstream, below a span of the request to it, and Caddy's own
// span says what the request was and what became of its challenge.
func TestTraces(t *testing.T) {
	seen := make(chan http.Header, 1)
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost || r.URL.Path != "/mcp" {
			http.NotFound(w, r)
			return
		}
		seen <- r.Header.Clone()
		w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer error="invalid_token", resource_metadata="http://%s/.well-known/oauth-protected-resource/mcp"`, r.Host))
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = io.WriteString(w, "no")
	}))
	t.Cleanup(up.Close)
	exported := collectSpans(t)
	port := testcaddy.FreePort(t)
	testcaddy.Run(t, tracedSite(port, "mcp_auth_bridge "+up.URL))

	ask(t, "http://"+testcaddy.Addr(port)+"/mcp", mcptest.Initialize, traceFields("Mcp-Protocol-Version", "2026-07-28", "Mcp-Method", "tools/call", "Mcp-Name", "add", "Mcp-Session-Id", "s1"))
	h := <-seen
	outer := exported.await(t, "Caddy", func(e exportedSpan) bool { return e.name == "mcp" })
	inner := exported.await(t, "the request to the upstream", func(e exportedSpan) bool { return e.client })

	if !outer.of(callersTrace) || !inner.of(callersTrace) || inner.parent != outer.id {
		t.Errorf("the spans are %+v and below it %+v", outer, inner)
	}
	if got, want := h.Get("Traceparent"), fmt.Sprintf("00-%s-%x-01", callersTrace, inner.id); got != want {
		t.Errorf("the upstream's parent is %q, want the span of the request to it, %q", got, want)
	}
	if h.Get("Tracestate") != "vendor=1" || h.Get("Baggage") != "tenant=7" {
		t.Errorf("the upstream gets tracestate %q, baggage %q", h.Get("Tracestate"), h.Get("Baggage"))
	}
	mcp := map[string]string{
		"mcp.method.name": "tools/call", "mcp.protocol.version": "2026-07-28", "gen_ai.tool.name": "add", "gen_ai.operation.name": "execute_tool",
	}
	checkAttributes(t, outer, mcp)
	checkAttributes(t, outer, map[string]string{
		"mcp_auth_bridge.endpoint": "/mcp", "mcp_auth_bridge.target": "endpoint", "mcp_auth_bridge.era": "stateless",
		"mcp_auth_bridge.challenge.action": "relayed", "mcp_auth_bridge.challenge.reason": "already_public",
		"mcp_auth_bridge.challenge.scheme": "bearer", "mcp_auth_bridge.challenge.error": "invalid_token",
	})
	checkAttributes(t, inner, mcp)
	checkAttributes(t, inner, map[string]string{
		"http.request.method": "POST", "http.response.status_code": "401", "error.type": "401", "server.address": "127.0.0.1", "network.transport": "tcp",
	})
	if inner.name != "tools/call add" || !inner.failed {
		t.Errorf("the request to the upstream is the span %+v", inner)
	}
	if id := outer.attributes["mcp.session.id"]; len(id) != 16 || id != inner.attributes["mcp.session.id"] {
		t.Errorf("the session is %q", id)
	}
}

// What is upgraded to another protocol is passed on as a connection also if it is traced. MCP has
// no such transport; some servers speak WebSocket beside it.
func TestTracedUpgrade(t *testing.T) {
	up := mcptest.ListenRaw(t, func(conn net.Conn) {
		r := bufio.NewReader(conn)
		if _, err := http.ReadRequest(r); err != nil {
			return
		}
		_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
		_, _ = io.Copy(conn, r)
	})
	exported := collectSpans(t)
	port := testcaddy.FreePort(t)
	testcaddy.Run(t, tracedSite(port, "mcp_auth_bridge "+up))
	conn, err := net.Dial("tcp", testcaddy.Addr(port))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	_, _ = io.WriteString(conn, "GET /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: echo\r\nTraceparent: "+callersParent+"\r\n\r\n")
	r := bufio.NewReader(conn)
	res, err := http.ReadResponse(r, nil)
	if err != nil || res.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("got %v, %v; want 101", res, err)
	}
	_, _ = io.WriteString(conn, "ping\n")
	if line, err := r.ReadString('\n'); line != "ping\n" {
		t.Errorf("got %q back, %v", line, err)
	}
	exported.await(t, "the request to the upstream", func(e exportedSpan) bool { return e.client && e.attributes["http.response.status_code"] == "101" })
}

// A message that is carried over belongs to the trace of the POST that brought it.
func TestTracesOfMessageBridge(t *testing.T) {
	g := mcptest.NewGate(t)
	exported := collectSpans(t)
	port := testcaddy.FreePort(t)
	testcaddy.Run(t, tracedSite(port, "mcp_auth_bridge sse+"+g.URL+"/sse"))
	base := "http://" + testcaddy.Addr(port) + "/mcp"
	res, body := ask(t, base, mcptest.Initialize, traceFields())
	if res.StatusCode != http.StatusOK {
		t.Fatalf("initialize: %s %s", res.Status, body)
	}
	outer := exported.await(t, "Caddy", func(e exportedSpan) bool { return e.name == "mcp" && e.attributes["mcp.method.name"] == "initialize" })
	inner := exported.await(t, "the POST to the upstream", func(e exportedSpan) bool { return e.client && e.name == "initialize" })
	if !inner.of(callersTrace) || inner.parent != outer.id {
		t.Errorf("the spans are %+v and below it %+v", outer, inner)
	}
	checkAttributes(t, inner, map[string]string{"http.request.method": "POST", "mcp.method.name": "initialize"})
}

// echoMeta has the test binary be a program that answers each request with what it
// has in _meta.
const echoMeta = "MCP_AUTH_BRIDGE_TEST_ECHO_META"

// serveMeta is such a program.
func serveMeta() {
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var m struct {
			ID     json.RawMessage `json:"id"`
			Params struct {
				Meta json.RawMessage `json:"_meta"`
			} `json:"params"`
		}
		if json.Unmarshal(lines.Bytes(), &m) == nil && m.ID != nil {
			fmt.Printf(`{"jsonrpc":"2.0","id":%s,"result":{"protocolVersion":"2025-11-25","capabilities":{},"serverInfo":{"name":"m","version":"1"},"_meta":%s}}`+"\n", m.ID, m.Params.Meta)
		}
	}
}

// A program has the trace in _meta, below a span of its own.
func TestTracesOfProgram(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	exported := collectSpans(t)
	port := testcaddy.FreePort(t)
	testcaddy.Run(t, tracedSite(port, fmt.Sprintf("mcp_auth_bridge {\n\tstdio %q -test.run=^$ {\n\t\tenv %s=1\n\t}\n}", self, echoMeta)))
	res, body := ask(t, "http://"+testcaddy.Addr(port)+"/mcp", mcptest.Initialize, traceFields())
	if res.StatusCode != http.StatusOK {
		t.Fatalf("initialize: %s %s", res.Status, body)
	}
	outer := exported.await(t, "Caddy", func(e exportedSpan) bool { return e.name == "mcp" })
	inner := exported.await(t, "the program", func(e exportedSpan) bool { return e.client })
	if !inner.of(callersTrace) || inner.parent != outer.id || inner.name != "initialize" || inner.failed {
		t.Errorf("the spans are %+v and below it %+v", outer, inner)
	}
	checkAttributes(t, inner, map[string]string{"network.transport": "pipe", "mcp.method.name": "initialize"})
	for _, want := range []string{fmt.Sprintf("00-%s-%x-01", callersTrace, inner.id), "vendor=1", "tenant=7"} {
		if !strings.Contains(body, want) {
			t.Errorf("the program knows not %s: %s", want, body)
		}
	}
}
