package http_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/mcptest"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/testcaddy"
)

// Rule D1: how a request without content says so crosses as a server can read it. A body
// that comes in chunks, and turns out to be empty, goes upstream with Content-Length: 0,
// for there are servers that do not read chunks.
func TestEmptyBodies(t *testing.T) {
	heads := make(chan string, 1)
	upstream := mcptest.ListenRaw(t, func(conn net.Conn) {
		r := bufio.NewReader(conn)
		var head strings.Builder
		for {
			line, err := r.ReadString('\n')
			if err != nil {
				return
			}
			if line == "\r\n" {
				break
			}
			head.WriteString(line)
		}
		heads <- head.String()
		_, _ = io.WriteString(conn, "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
	})
	port := testcaddy.FreePort(t)
	testcaddy.Run(t, mcptest.BridgeTo(port, upstream, "metadata off"))
	for name, tc := range map[string]struct{ method, fields, body, want string }{
		"POST in chunks":              {"POST", "Transfer-Encoding: chunked\r\n", "0\r\n\r\n", "Content-Length: 0"},
		"DELETE in chunks":            {"DELETE", "Transfer-Encoding: chunked\r\n", "0\r\n\r\n", ""},
		"GET in chunks":               {"GET", "Transfer-Encoding: chunked\r\n", "0\r\n\r\n", ""},
		"POST of length 0":            {"POST", "Content-Length: 0\r\n", "", "Content-Length: 0"},
		"POST that says nothing":      {"POST", "", "", "Content-Length: 0"},
		"DELETE that says nothing":    {"DELETE", "", "", ""},
		"POST with content in chunks": {"POST", "Transfer-Encoding: chunked\r\n", "2\r\n{}\r\n0\r\n\r\n", "Content-Length: 2"},
	} {
		t.Run(name, func(t *testing.T) {
			conn, err := net.Dial("tcp", testcaddy.Addr(port))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			_, _ = fmt.Fprintf(conn, "%s /mcp HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n%s\r\n%s", tc.method, port, tc.fields, tc.body)
			head := <-heads
			var got []string
			for line := range strings.Lines(head) {
				if strings.HasPrefix(line, "Content-Length:") || strings.HasPrefix(line, "Transfer-Encoding:") {
					got = append(got, strings.TrimSpace(line))
				}
			}
			if strings.Join(got, ", ") != tc.want {
				t.Errorf("sent upstream with %q, want %q:\n%s", got, tc.want, head)
			}
		})
	}
}
