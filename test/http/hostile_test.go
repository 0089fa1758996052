package http_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/mcptest"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/testcaddy"
)

// Rules B1, C4, C6, G: hosts and origins that a client makes up neither grow
// the cache nor are let in.
func TestForgedHostsAndOrigins(t *testing.T) {
	var searches atomic.Int32
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/.well-known/") {
			searches.Add(1)
			w.Header().Set("Content-Type", "application/json")
			_, _ = fmt.Fprintf(w, `{"resource":"http://%s/mcp"}`, r.Host)
			return
		}
		w.WriteHeader(http.StatusUnauthorized)
	}))
	t.Cleanup(up.Close)
	port := testcaddy.FreePort(t)
	testcaddy.Run(t, fmt.Sprintf("{\nauto_https off\n}\n:%d {\nbind 127.0.0.1\nmcp_auth_bridge %s\n}", port, up.URL))
	base := "http://" + testcaddy.Addr(port)
	c := mcptest.NewClient(t)
	n := 3000
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for i := range n {
		r := mcptest.NewRequest(t, http.MethodPost, base+"/mcp", mcptest.Initialize, "X-Forwarded-Host", fmt.Sprintf("h%d.evil.example", i), "X-Forwarded-Proto", "https")
		r.Host = fmt.Sprintf("h%d.example", i)
		got := mcptest.Do(t, c, r)
		if want := "http://" + r.Host + "/.well-known/"; got.Status != http.StatusUnauthorized || strings.Contains(got.Header.Get("WWW-Authenticate"), "evil") ||
			!strings.Contains(got.Header.Get("WWW-Authenticate"), want) {
			t.Fatalf("got %d, %q, want a URL on the Host that was named and not on a forwarded one", got.Status, got.Header["Www-Authenticate"])
		}
		r = mcptest.NewRequest(t, http.MethodPost, base+"/mcp", mcptest.Initialize, "Origin", fmt.Sprintf("https://h%d.evil.example", i))
		r.Host = fmt.Sprintf("h%d.example", i)
		if got := mcptest.Do(t, c, r); got.Status != http.StatusForbidden || got.Header.Get("Access-Control-Allow-Origin") != "" {
			t.Fatalf("origin %d: got %d, %v", i, got.Status, got.Header)
		}
	}
	c.CloseIdleConnections()
	lines := len(testcaddy.Logs())
	testcaddy.ForgetLogs() // which the test keeps, and not the bridge
	runtime.GC()
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 16<<20 {
		t.Errorf("the heap grew by %d bytes over %d hosts and origins", grown, n)
	}
	if lines > 20*n {
		t.Errorf("%d log lines", lines)
	}
	if searches.Load() == 0 {
		t.Error("no metadata was asked for: the test proves nothing")
	}
}

// Rule G: bodies that never come hold no other request up.
func TestSlowBodiesDelayNoOtherRequest(t *testing.T) {
	up := mcptest.NewAnswers(t)
	port := testcaddy.FreePort(t)
	testcaddy.Run(t, mcptest.BridgeTo(port, up.URL, mcptest.AllowApp))
	base := "http://" + testcaddy.Addr(port)
	for range 200 {
		conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", testcaddy.Addr(port))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		_, _ = io.WriteString(conn, "POST /mcp HTTP/1.1\r\nHost: "+testcaddy.Addr(port)+"\r\nContent-Length: 1000\r\n\r\n{")
	}
	if got := mcptest.Do(t, mcptest.NewClient(t), mcptest.NewRequest(t, http.MethodPost, base+"/mcp?answer=200", mcptest.Initialize)); got.Status != http.StatusOK {
		t.Errorf("got %d", got.Status)
	}
}
