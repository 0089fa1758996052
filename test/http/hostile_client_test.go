package http_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/mcptest"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/testcaddy"
)

// counter is an upstream that remembers the requests that reached it.
type counter struct {
	*httptest.Server

	mu   sync.Mutex
	seen []string // method, path, body
}

func newCounter(t *testing.T) *counter {
	t.Helper()
	c := &counter{}
	c.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if strings.HasPrefix(r.URL.Path, "/.well-known/") {
			w.Header().Set("Content-Type", "application/json")
			_, _ = fmt.Fprintf(w, `{"resource":"%s/mcp"}`, c.URL)
			return
		}
		c.mu.Lock()
		c.seen = append(c.seen, r.Method+" "+r.URL.EscapedPath()+" "+string(body))
		c.mu.Unlock()
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, "{}")
	}))
	c.Start()
	t.Cleanup(c.Close)
	return c
}

func (c *counter) take() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	seen := c.seen
	c.seen = nil
	return seen
}

// converse sends raw bytes on a connection of their own and returns the status codes
// of the answers. It keeps its side open as long as answers come (before that it
// would be taken for a client that left), and a while where the server waits for
// more.
func converse(t *testing.T, addr, raw string) []int {
	t.Helper()
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	enough := time.AfterFunc(2*time.Second, func() { _ = conn.(*net.TCPConn).CloseWrite() })
	defer enough.Stop()
	_ = conn.SetReadDeadline(time.Now().Add(30 * time.Second)) // a hang is a failure
	if _, err := io.WriteString(conn, raw); err != nil {
		return nil
	}
	var statuses []int
	answers := bufio.NewReader(conn)
	for {
		res, err := http.ReadResponse(answers, nil)
		if err != nil {
			if ne, ok := err.(net.Error); ok && ne.Timeout() {
				t.Errorf("no answer and no end: %q", raw)
			}
			return statuses
		}
		_, _ = io.Copy(io.Discard, res.Body)
		_ = res.Body.Close()
		if res.StatusCode != http.StatusContinue {
			statuses = append(statuses, res.StatusCode)
			enough.Reset(100 * time.Millisecond)
		}
	}
}

// Rules C1, G: whatever a request target looks like, the upstream is asked for
// its MCP path or for nothing.
func TestPathTricks(t *testing.T) {
	up := newCounter(t)
	port := testcaddy.FreePort(t)
	testcaddy.Run(t, mcptest.BridgeTo(port, up.URL, "limits {\n max_request_body 1KiB\n}"))
	addr := testcaddy.Addr(port)
	for target, served := range map[string]bool{
		"/mcp": true, "/mcp/": true, "/mcp?x=1": true, "/%6dcp": true, "http://" + addr + "/mcp": true, "/mcp?": true,
		"/MCP": false, "/Mcp": false, "/mcp%2f": true, "/mcp%2F": true, "/mcp//": false, "//mcp": false, "/./mcp": false, "/x/../mcp": false,
		"/mcp/.": false, "/mcp/..": false, "/mcp/../admin": false, "/mcp/%2e%2e/admin": false, "/mcp%2f..%2fadmin": false,
		"/mcp;x=1": false, "/mcp%00": false, "/mcp%20": false, "/mcp%0d%0aX-Injected:%20yes": false, "/mcp/x": false, "/mcp\\": false,
		"/mcp/message": false, "/mcp/message/AAAA": false, "/%2e/mcp": false, "/mcp%3fx": false, "/mcp%23": false,
		"*": false, "/admin": false,
		"/.well-known/oauth-protected-resource/MCP": false, "/.WELL-KNOWN/oauth-protected-resource/mcp": false,
		"/.well-known//oauth-protected-resource/mcp": false, "/.well-known/oauth-protected-resource/../../mcp": false,
		"/.well-known/oauth-protected-resource/mcp/..": false, "/.well-known/oauth-protected-resource%2fmcp": false,
		"/.well-known/oauth-protected-resource/mcp%00": false, "/.well-known/oauth-protected-resource/mcp/x": false,
		"/.well-known/openid-configuration": false,
	} {
		up.take()
		statuses := converse(t, addr, "POST "+target+" HTTP/1.1\r\nHost: "+addr+"\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")
		seen := up.take()
		switch {
		case served && (len(seen) != 1 || !strings.HasPrefix(seen[0], "POST /mcp ")):
			t.Errorf("%s: the upstream got %q, the client %v", target, seen, statuses)
		case !served && len(seen) > 0:
			t.Errorf("%s: the upstream got %q", target, seen)
		}
		for _, status := range statuses {
			if status >= 500 && status != 501 {
				t.Errorf("%s: answered %d", target, status)
			}
		}
	}
}

// Shapes of request smuggling: the upstream sees the requests that Caddy sees, one
// for each that the client gets an answer to, and none that only one of the two
// finds in the bytes.
func TestSmuggling(t *testing.T) {
	up := newCounter(t)
	port := testcaddy.FreePort(t)
	testcaddy.Run(t, mcptest.BridgeTo(port, up.URL, ""))
	addr := testcaddy.Addr(port)
	inner := "POST /mcp HTTP/1.1\r\nHost: " + addr + "\r\nContent-Length: 5\r\n\r\ninner"
	chunked := "0\r\n\r\n" + inner // as chunks: an empty body, and a second request
	for name, raw := range map[string]string{
		"length and chunks":            fmt.Sprintf("Content-Length: %d\r\nTransfer-Encoding: chunked\r\n\r\n%s", len(chunked), chunked),
		"two lengths":                  fmt.Sprintf("Content-Length: 0\r\nContent-Length: %d\r\n\r\n%s", len(inner), inner),
		"two lengths in a list":        fmt.Sprintf("Content-Length: 0, %d\r\n\r\n%s", len(inner), inner),
		"a length with a sign":         fmt.Sprintf("Content-Length: +%d\r\n\r\n%s", len(inner), inner),
		"a length in hexadecimal":      "Content-Length: 0x2\r\n\r\n{}" + inner,
		"a negative length":            "Content-Length: -1\r\n\r\n" + inner,
		"an unknown coding":            "Transfer-Encoding: xchunked\r\n\r\n" + chunked,
		"two codings":                  "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n" + chunked,
		"a coding in a list":           "Transfer-Encoding: identity, chunked\r\n\r\n" + chunked,
		"a space before the colon":     "Transfer-Encoding : chunked\r\n\r\n" + chunked,
		"a tab before the coding":      "Transfer-Encoding:\tchunked\r\nContent-Length: 4\r\n\r\n" + chunked,
		"a vertical tab in the coding": "Transfer-Encoding: \x0bchunked\r\nContent-Length: 0\r\n\r\n" + chunked,
		"a folded line":                "Transfer-Encoding:\r\n chunked\r\n\r\n" + chunked,
		"a bare line feed":             "X-A: b\nTransfer-Encoding: chunked\r\n\r\n" + chunked,
		"a bare carriage return":       "X-A: b\rContent-Length: 4\r\n\r\n" + inner,
		"an underscore":                "Transfer_Encoding: chunked\r\nContent-Length: 0\r\n\r\n",
		"a chunk size too large":       "Transfer-Encoding: chunked\r\n\r\nffffffffffffffff1\r\n{}\r\n0\r\n\r\n",
		"a chunk extension":            "Transfer-Encoding: chunked\r\n\r\n2;a=\"\r\n\"\r\n{}\r\n0\r\n\r\n",
		"a chunk that is too short":    "Transfer-Encoding: chunked\r\n\r\n1\r\n{}\r\n0\r\n\r\n",
		"a trailer":                    "Trailer: Content-Length\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nContent-Length: 99\r\nHost: evil\r\n\r\n",
		"two hosts":                    "Host: evil.example\r\nContent-Length: 0\r\n\r\n",
		"an upgrade":                   "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\nContent-Length: 0\r\n\r\n",
		"connection names a header":    "Connection: close, Mcp-Session-Id, Authorization, Origin\r\nContent-Length: 0\r\n\r\n",
		"an expectation":               "Expect: 100-continue\r\nContent-Length: 2\r\n\r\n{}",
		"an odd expectation":           "Expect: nonsense\r\nContent-Length: 2\r\n\r\n{}",
	} {
		t.Run(name, func(t *testing.T) {
			up.take()
			statuses := converse(t, addr, "POST /mcp HTTP/1.1\r\nHost: "+addr+"\r\n"+raw)
			seen := up.take()
			served := 0
			for _, status := range statuses {
				if status == http.StatusOK {
					served++
				}
			}
			if len(seen) != served {
				t.Errorf("the client was answered %v, the upstream got %q", statuses, seen)
			}
			// The connections to the upstream are in step.
			if got := converse(t, addr, "POST /mcp HTTP/1.1\r\nHost: "+addr+"\r\nConnection: close\r\nContent-Length: 5\r\n\r\nafter"); !slices.Equal(got, []int{200}) {
				t.Errorf("the next request was answered %v", got)
			}
			if seen := up.take(); !slices.Equal(seen, []string{"POST /mcp after"}) {
				t.Errorf("the next request reached the upstream as %q", seen)
			}
		})
	}
}

// Rule A10: a client cannot have the server continue in HTTP/2 on the same connection, where it
// could ask for any path. Other upgrades are the server's business.
func TestNoUpgradeToH2C(t *testing.T) {
	asked := make(chan string, 10)
	up := mcptest.ListenRaw(t, func(conn net.Conn) {
		r, err := http.ReadRequest(bufio.NewReader(conn))
		if err != nil {
			return
		}
		asked <- r.Header.Get("Upgrade") + r.Header.Get("Http2-Settings")
		if protocol := r.Header.Get("Upgrade"); protocol != "" {
			_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: "+protocol+"\r\n\r\n")
			return
		}
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
	})
	port := testcaddy.FreePort(t)
	testcaddy.Run(t, mcptest.BridgeTo(port, up+"/mcp", mcptest.AllowApp))
	for upgrade, want := range map[string]string{"h2c": "", "H2C": "", "websocket, h2c": "", "websocket": "websocket"} {
		conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", testcaddy.Addr(port))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		_, _ = fmt.Fprintf(conn, "GET /mcp HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: %s\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n\r\n", testcaddy.Addr(port), upgrade)
		status := 200
		if want != "" {
			status = 101
		}
		if line, err := bufio.NewReader(conn).ReadString('\n'); err != nil || !strings.HasPrefix(line, fmt.Sprintf("HTTP/1.1 %d ", status)) {
			t.Fatalf("%s: got %q, %v; want %d", upgrade, line, err, status)
		}
		if got := <-asked; got != want {
			t.Errorf("%s: the server was asked for %q; want %q", upgrade, got, want)
		}
	}
}

// Rule G: request headers of a megabyte are refused, or cross; either way the
// next request is served.
func TestHugeRequestHeaders(t *testing.T) {
	up := newCounter(t)
	port := testcaddy.FreePort(t)
	testcaddy.Run(t, mcptest.BridgeTo(port, up.URL, mcptest.AllowApp))
	addr := testcaddy.Addr(port)
	for name, header := range map[string]string{
		"one line":         "Authorization: Bearer " + strings.Repeat("x", 1_000_000),
		"many lines":       strings.TrimSuffix(strings.Repeat("X-Many: y\r\n", 90_000), "\r\n"),
		"a huge origin":    "Origin: https://" + strings.Repeat("x", 900_000) + ".example",
		"many origins":     strings.TrimSuffix(strings.Repeat("Origin: "+mcptest.AppOrigin+"\r\n", 10_000), "\r\n"),
		"a huge preflight": "Origin: " + mcptest.AppOrigin + "\r\nAccess-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: " + strings.Repeat("x,", 400_000),
		"a huge session":   "Mcp-Session-Id: " + strings.Repeat("x", 900_000),
	} {
		method := "POST"
		if strings.Contains(name, "preflight") {
			method = "OPTIONS"
		}
		statuses := converse(t, addr, method+" /mcp HTTP/1.1\r\nHost: "+addr+"\r\n"+header+"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
		for _, status := range statuses {
			if status >= 500 {
				t.Errorf("%s: answered %d", name, status)
			}
			if strings.Contains(name, "origin") && status == 200 {
				t.Errorf("%s: was let in", name)
			}
		}
		up.take()
		if got := converse(t, addr, "POST /mcp HTTP/1.1\r\nHost: "+addr+"\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"); !slices.Equal(got, []int{200}) {
			t.Errorf("after %s the next request was answered %v", name, got)
		}
	}
}

// Rules B2, G: a flood of preflights reaches no upstream and leaves nothing
// behind, whoever they come from and whatever they ask for.
func TestPreflightFlood(t *testing.T) {
	up := newCounter(t)
	port := testcaddy.FreePort(t)
	testcaddy.Run(t, mcptest.BridgeTo(port, up.URL, mcptest.AllowApp))
	c, base := mcptest.NewClient(t), "http://"+testcaddy.Addr(port)
	flood := func(n int) {
		for i := range n {
			from, want := mcptest.AppOrigin, http.StatusNoContent
			if i%2 == 1 {
				from, want = fmt.Sprintf("https://h%d.evil.example", i), http.StatusForbidden
			}
			got := mcptest.Do(t, c, mcptest.NewRequest(t, http.MethodOptions, base+"/mcp", "", "Origin", from, "Access-Control-Request-Method", "POST",
				"Access-Control-Request-Headers", fmt.Sprintf("mcp-param-%d,x-%[1]d", i)))
			if got.Status != want {
				t.Fatalf("%s: got %d, want %d", from, got.Status, want)
			}
		}
	}
	heap := func() int64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	flood(500)
	testcaddy.ForgetLogs()
	before := heap()
	flood(5000)
	testcaddy.ForgetLogs()
	if grown := heap() - before; grown > 4<<20 {
		t.Errorf("the heap grew by %d bytes", grown)
	}
	if seen := up.take(); len(seen) > 0 {
		t.Errorf("%d requests reached the upstream", len(seen))
	}
}
