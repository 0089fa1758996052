package stdio_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/mcptest"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/testcaddy"
)

// hostileSite has two endpoints of programs, the first with HTTP+SSE beside it.
func hostileSite(t *testing.T, port int) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	endpoint := func(path, more string) string {
		return fmt.Sprintf("\tmcp_auth_bridge %s {\n\t\tstdio %q -test.run=^$ {\n\t\t\tenv %s=1\n\t\t}\n\t\tlimits {\n\t\t\tmax_message 12MiB\n\t\t\tmax_request_body 13MiB\n\t\t}\n\t\t%s\n\t}\n", path, self, faultyServer, more)
	}
	return fmt.Sprintf("{\n\tauto_https off\n}\nhttp://127.0.0.1:%d {\n\tbind 127.0.0.1\n%s%s}\n", port, endpoint("/mcp", "legacy_sse"), endpoint("/other", ""))
}

// wire sends bytes, and where that is half of it the end, and returns the answer, which
// ends with the connection.
func wire(t *testing.T, addr, request string, half bool) (status int, header http.Header, body string) {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	go func() {
		_, _ = io.WriteString(conn, request)
		if half {
			_ = conn.(*net.TCPConn).CloseWrite()
		}
	}()
	method, _, _ := strings.Cut(request, " ")
	res, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	if err != nil {
		t.Fatalf("%.100q: %v", request, err)
	}
	defer res.Body.Close()
	got, _ := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	return res.StatusCode, res.Header, string(got)
}

// Rules A7, D5, D6, G: what no client sends is refused with a clear and small error,
// starts no program, and harms nobody.
func TestHostileClientsStartNoProgram(t *testing.T) {
	port := testcaddy.FreePort(t)
	testcaddy.Run(t, hostileSite(t, port))
	addr := testcaddy.Addr(port)
	base := "http://" + addr
	c := mcptest.NewClient(t)
	bystander, other := mcptest.BeginAs(t, c, base+"/mcp", "bystander"), mcptest.BeginAs(t, c, base+"/other", "other")
	bystander.Call("echo", 0)
	c.CloseIdleConnections()
	before := mcptest.Held(t)
	marker := filepath.Join(t.TempDir(), "started")

	head := func(method, target, proto string, lines ...string) string {
		return method + " " + target + " " + proto + "\r\nHost: " + addr + "\r\nConnection: close\r\n" + strings.Join(append(lines, ""), "\r\n")
	}
	post := func(target, body string, lines ...string) string {
		return head("POST", target, "HTTP/1.1", append([]string{"Content-Type: application/json", fmt.Sprintf("Content-Length: %d", len(body))}, lines...)...) + "\r\n" + body
	}
	own, note, ping := "Mcp-Session-Id: "+bystander.ID, `{"jsonrpc":"2.0","method":"x"}`, `{"jsonrpc":"2.0","id":1,"method":"ping"}`
	line := func(n int) string { return `{"jsonrpc":"2.0","method":"x","params":"` + strings.Repeat("x", n) + `"}` }
	for _, tc := range []struct {
		name, request string
		status        int
		silent        bool // the body is Caddy's or none
	}{
		{"a guessed session", post("/mcp", ping, "Mcp-Session-Id: AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"), 404, false},
		{"a session of another endpoint", post("/mcp", ping, "Mcp-Session-Id: "+other.ID), 404, false},
		{"the same, to delete it", head("DELETE", "/mcp", "HTTP/1.1", "Mcp-Session-Id: "+other.ID) + "\r\n", 404, false},
		{"the same, to read it", head("GET", "/mcp", "HTTP/1.1", "Accept: text/event-stream", "Mcp-Session-Id: "+other.ID) + "\r\n", 404, false},
		{"the same, as HTTP+SSE", post("/mcp/sse/message?sessionId="+bystander.ID, ping), 404, false},
		{"a session that ends in NUL", post("/mcp", ping, own+"\x00"), 400, true},
		{"a session that is not ASCII", post("/mcp", ping, "Mcp-Session-Id: \xff\xfe\u00e9"), 404, false},
		{"a huge session", post("/mcp", ping, "Mcp-Session-Id: "+strings.Repeat("A", 8<<10)), 404, false},
		{"too huge a session", post("/mcp", ping, "Mcp-Session-Id: "+strings.Repeat("A", 1<<20)), 431, true},
		{"two sessions", post("/mcp", ping, own, "Mcp-Session-Id: "+other.ID), 400, false},
		{"no session", post("/mcp", ping), 400, false},
		{"a header in the session of a query", post("/mcp/sse/message?sessionId=x%0d%0aX-Evil:%201", ping), 404, false},
		{"two sessions of a query", post("/mcp/sse/message?sessionId=x&sessionId=y", ping), 400, false},
		{"a command in the query", post("/mcp?command=touch%20"+marker, ping, "X-Command: touch "+marker), 400, false},
		{"a command in the body", post("/mcp", `{"jsonrpc":"2.0","id":1,"method":"ping","command":"touch `+marker+`","env":{"PATH":"/"}}`, "Command: touch "+marker), 400, false},
		{"a form", head("POST", "/mcp", "HTTP/1.1", "Content-Type: application/x-www-form-urlencoded", fmt.Sprintf("Content-Length: %d", len(note)), own) + "\r\n" + note, 415, false},
		{"plain text", head("POST", "/mcp", "HTTP/1.1", "Content-Type: text/plain", fmt.Sprintf("Content-Length: %d", len(note)), own) + "\r\n" + note, 415, false},
		{"plain text that mentions JSON", head("POST", "/mcp", "HTTP/1.1", "Content-Type: text/plain; x=application/json", fmt.Sprintf("Content-Length: %d", len(note)), own) + "\r\n" + note, 415, false},
		{"plain text, then JSON", head("POST", "/mcp", "HTTP/1.1", "Content-Type: text/plain, application/json", fmt.Sprintf("Content-Length: %d", len(note)), own) + "\r\n" + note, 415, false},
		{"parts", head("POST", "/mcp", "HTTP/1.1", "Content-Type: multipart/form-data; boundary=x", fmt.Sprintf("Content-Length: %d", len(note)), own) + "\r\n" + note, 415, false},
		{"no media type", head("POST", "/mcp", "HTTP/1.1", fmt.Sprintf("Content-Length: %d", len(note)), own) + "\r\n" + note, 415, false},
		{"a message over the limit", post("/mcp", line(12<<20), own), 413, false},
		{"a body over the limit", post("/mcp", line(14<<20), own), 413, false},
		{"half a body", strings.Replace(post("/mcp", note, own), "Content-Length: 3", "Content-Length: 13", 1), 400, false},
		{"a broken chunk", head("POST", "/mcp", "HTTP/1.1", "Content-Type: application/json", "Transfer-Encoding: chunked", own) + "\r\n1e\r\n" + note + "\r\nzz\r\n", 400, false},
		{"two lengths", post("/mcp", note, own, "Content-Length: 1"), 400, true},
		{"deep JSON", post("/mcp", `{"jsonrpc":"2.0","method":"x","params":`+strings.Repeat("[", 100_000)+strings.Repeat("]", 100_000)+"}", own), 400, false},
		{"a member twice", post("/mcp", `{"jsonrpc":"2.0","id":1,"method":"ping","method":"tools/call"}`, own), 400, false},
		{"a member twice, escaped", post("/mcp", `{"jsonrpc":"2.0","id":1,"method":"ping","m\u0065thod":"tools/call"}`, own), 400, false},
		{"a huge batch", post("/mcp", "["+strings.Repeat(note+",", 100_000)+note+"]", own), 400, false},
		{"a batch where there is none", post("/mcp", "["+note+"]", own), 400, false},
		{"an id that is true", post("/mcp", `{"jsonrpc":"2.0","id":true,"method":"ping"}`, own), 400, false},
		{"an id that is an object", post("/mcp", `{"jsonrpc":"2.0","id":{},"method":"ping"}`, own), 400, false},
		{"an id that is an array", post("/mcp", `{"jsonrpc":"2.0","id":[1],"method":"ping"}`, own), 400, false},
		{"an id that is null", post("/mcp", `{"jsonrpc":"2.0","id":null,"method":"ping"}`, own), 400, false},
		{"an event id that was not given", head("GET", "/mcp", "HTTP/1.1", "Accept: text/event-stream", own, "Last-Event-ID: 7-7") + "\r\n", 400, false},
		{"GET without a session", head("GET", "/mcp", "HTTP/1.1") + "\r\n", 400, false},
		{"GET for HTML", head("GET", "/mcp", "HTTP/1.1", "Accept: text/html", own) + "\r\n", 406, false},
		{"GET of HTTP+SSE for HTML", head("GET", "/mcp/sse", "HTTP/1.1", "Accept: text/html") + "\r\n", 406, false},
		{"HEAD", head("HEAD", "/mcp", "HTTP/1.1", own) + "\r\n", 405, true},
		{"HEAD of HTTP+SSE", head("HEAD", "/mcp/sse", "HTTP/1.1") + "\r\n", 405, true},
		{"PUT", head("PUT", "/mcp", "HTTP/1.1", own) + "\r\n", 405, false},
		{"PATCH", head("PATCH", "/mcp", "HTTP/1.1", own) + "\r\n", 405, false},
		{"TRACE", head("TRACE", "/mcp", "HTTP/1.1", own, "X-Secret: s3cret") + "\r\n", 405, false},
		{"a made-up method", head("BREW", "/mcp", "HTTP/1.1", own) + "\r\n", 405, false},
		{"GET of a message path", head("GET", "/mcp/sse/message?sessionId=x", "HTTP/1.1") + "\r\n", 405, false},
		{"POST to the stream of HTTP+SSE", post("/mcp/sse", note), 405, false},
		{"HTTP/1.0 without a session", head("POST", "/mcp", "HTTP/1.0", "Content-Type: application/json", fmt.Sprintf("Content-Length: %d", len(ping))) + "\r\n" + ping, 400, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			status, header, body := wire(t, addr, tc.request, strings.HasPrefix(tc.name, "half"))
			if status != tc.status {
				t.Errorf("got %d %.300s, want %d", status, body, tc.status)
			}
			if !tc.silent && (!strings.HasPrefix(body, `{"jsonrpc":"2.0","id":`) || !strings.Contains(body, `"error":{"code":-`)) {
				t.Errorf("got no error of JSON-RPC: %.300s", body)
			}
			if len(body) > 1000 || header.Get("X-Evil") != "" || header.Get("Mcp-Session-Id") != "" || strings.Contains(body, "s3cret") {
				t.Errorf("got %v %.300s", header, body)
			}
			if text, failed := bystander.Text(bystander.Call("echo", 0)); failed || text != "echo" {
				t.Fatalf("an unharmed session got %q, failed %t", text, failed)
			}
		})
	}
	if _, err := os.Stat(marker); err == nil {
		t.Error("a command of a request was run")
	}
	if text, failed := other.Text(other.Call("echo", 0)); failed || text != "echo" {
		t.Errorf("the other endpoint's session got %q, failed %t", text, failed)
	}
	// A line of 10 MB is none too many, and HTTP/1.0 is served.
	if status, _, body := wire(t, addr, post("/mcp", line(10_000_000), own), false); status != 202 {
		t.Errorf("10 MB: %d %.300s", status, body)
	}
	call := `{"jsonrpc":"2.0","id":"c","method":"tools/call","params":{"name":"do","arguments":{"do":"echo"}}}`
	if status, _, body := wire(t, addr, head("POST", "/mcp", "HTTP/1.0", "Content-Type: application/json", fmt.Sprintf("Content-Length: %d", len(call)), own)+"\r\n"+call, false); status != 200 || !strings.Contains(body, `"text":"echo"`) {
		t.Errorf("HTTP/1.0: %d %.300s", status, body)
	}
	c.CloseIdleConnections()
	mcptest.WantHeld(t, before)
}

// Rule G: bodies that come slowly, or not at all, hold no session and start nothing.
func TestSlowPostsHoldNoSession(t *testing.T) {
	port := testcaddy.FreePort(t)
	testcaddy.Run(t, hostileSite(t, port))
	addr := testcaddy.Addr(port)
	c := mcptest.NewClient(t)
	bystander := mcptest.BeginAs(t, c, "http://"+addr+"/mcp", "bystander")
	bystander.Call("echo", 0)
	c.CloseIdleConnections()
	before := mcptest.Held(t)
	var conns []net.Conn
	for range 200 {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, conn)
		if _, err := fmt.Fprintf(conn, "POST /mcp HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n%s", addr, mcptest.Initialize[:20]); err != nil {
			t.Fatal(err)
		}
	}
	for range 5 {
		s := mcptest.BeginAs(t, c, "http://"+addr+"/mcp", "x")
		if text, failed := s.Text(s.Call("echo", 0)); failed || text != "echo" {
			t.Errorf("got %q, failed %t", text, failed)
		}
		s.End()
	}
	mcptest.WantChildren(t, 20*time.Second, before.Children)
	for _, conn := range conns {
		_ = conn.Close()
	}
	c.CloseIdleConnections()
	mcptest.WantHeld(t, before)
}
