package mcptest

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// LiteralClient sends request targets as they are written.
type LiteralClient struct {
	T    *testing.T
	Addr string
	conn net.Conn
	in   *bufio.Reader
}

// Send returns the header of the answer.
func (c *LiteralClient) Send(host, method, target, trial string, header ...string) *http.Response {
	c.T.Helper()
	if c.conn == nil {
		conn, err := net.Dial("tcp", c.Addr)
		if err != nil {
			c.T.Fatal(err)
		}
		c.conn, c.in = conn, bufio.NewReader(conn)
	}
	_ = c.conn.SetDeadline(time.Now().Add(20 * time.Second))
	body := ""
	if method == http.MethodPost {
		body = Initialize
	}
	fields := ""
	for i := 0; i < len(header); i += 2 {
		fields += header[i] + ": " + header[i+1] + "\r\n"
	}
	if _, err := fmt.Fprintf(c.conn, "%s %s HTTP/1.1\r\nHost: %s\r\nX-Trial: %s\r\nContent-Type: application/json\r\nAccept: application/json, text/event-stream\r\nContent-Length: %d\r\n%s\r\n%s",
		method, target, host, trial, len(body), fields, body); err != nil {
		c.T.Fatal(err)
	}
	res, err := http.ReadResponse(c.in, &http.Request{Method: method})
	if err != nil {
		c.T.Fatalf("%s %s of %s: %v", method, target, host, err)
	}
	if n, err := io.Copy(io.Discard, io.LimitReader(res.Body, max(res.ContentLength, 0))); err != nil || n != res.ContentLength || res.Close {
		c.Close() // a stream
	}
	return res
}

// Close closes the connection.
func (c *LiteralClient) Close() {
	if c.conn != nil {
		_ = c.conn.Close()
		c.conn = nil
	}
}

// SpellingsOf are the ways to write a path in a request line, some of which Caddy
// takes for the same.
func SpellingsOf(prefix, path string) []string {
	targets := []string{
		prefix + path, "/" + prefix + path, prefix + "/" + path, "/." + prefix + path, "/x/.." + prefix + path, prefix + path + "/", prefix + path + "//",
		prefix + path + "/.", strings.ToUpper(prefix + path), strings.ToUpper(prefix) + path, prefix + path + "?x=1", prefix + path + ".", prefix + path + "%20",
		"/" + strings.ReplaceAll(prefix[min(1, len(prefix)):]+"/"+path[1:], "/", "%2f"), strings.Replace(prefix+path, "m", "%6d", 1), strings.Replace(prefix+path, "m", "%6D", 1) + "/",
	}
	slices.Sort(targets)
	return slices.Compact(targets)
}
