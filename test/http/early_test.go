package http_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/mcptest"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/testcaddy"
)

// Rule D1: an upstream that answers before it has read the request body still
// gets its answer through, whatever the size of the body, also on a connection that
// ends with the request.
func TestAnswerBeforeTheBodyIsRead(t *testing.T) {
	polite := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = io.WriteString(w, "log in first")
	})
	plain := httptest.NewServer(polite)
	t.Cleanup(plain.Close)
	overTLS := httptest.NewTLSServer(polite)
	t.Cleanup(overTLS.Close)
	overHTTP2 := httptest.NewUnstartedServer(polite)
	overHTTP2.EnableHTTP2 = true
	overHTTP2.StartTLS()
	t.Cleanup(overHTTP2.Close)
	const trust = "transport http {\n\t\t\ttls_insecure_skip_verify\n\t\t}"
	for name, up := range map[string]struct{ url, options string }{
		"polite":      {plain.URL, ""},
		"polite, TLS": {overTLS.URL, trust},
		"polite, h2":  {overHTTP2.URL, trust},
		"polite, h2c": {"h2c://" + h2cServer(t, polite), ""},
		"abrupt":      {abruptUpstream(t), ""},
	} {
		if mcptest.Raced && strings.Contains(name, "h2") {
			continue
		}
		t.Run(name, func(t *testing.T) {
			port := testcaddy.FreePort(t)
			testcaddy.Run(t, mcptest.BridgeTo(port, up.url, up.options))
			answersEarly(t, "http://"+testcaddy.Addr(port)+"/mcp")
		})
	}
}

// abruptUpstream answers as soon as it has the header, and closes the
// connection with the body unread.
func abruptUpstream(t *testing.T) string {
	t.Helper()
	return mcptest.ListenRaw(t, func(conn net.Conn) {
		header := bufio.NewReaderSize(conn, 16)
		for {
			line, err := header.ReadString('\n')
			if err != nil {
				return
			}
			if line == "\r\n" {
				break
			}
		}
		_, _ = io.WriteString(conn, "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Bearer\r\nContent-Length: 12\r\nConnection: close\r\n\r\nlog in first")
	})
}

func answersEarly(t *testing.T, url string) {
	t.Helper()
	n := 80
	for _, size := range []int{300, 100 << 10, 300 << 10, 4 << 20} {
		for _, chunked := range []bool{false, true} {
			t.Run(fmt.Sprintf("%d_chunked_%v", size, chunked), func(t *testing.T) {
				body := bytes.Repeat([]byte("x"), size)
				var failed atomic.Int32
				var first sync.Once
				var wg sync.WaitGroup
				for range 8 {
					client := mcptest.NewClient(t)
					wg.Go(func() {
						for i := range n / 8 {
							if err := postEarly(t, client, url, body, chunked, i%2 == 1); err != nil {
								failed.Add(1)
								first.Do(func() { t.Log(err) })
							}
						}
					})
				}
				wg.Wait()
				if failed.Load() > 0 {
					t.Errorf("%d of %d answers were lost", failed.Load(), n)
					for _, line := range testcaddy.Logs() {
						if strings.Contains(line, `"level":"error"`) {
							t.Log(line)
						}
					}
				}
			})
		}
	}
}

func postEarly(t *testing.T, client *http.Client, url string, body []byte, chunked, last bool) error {
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Close = last
	if chunked {
		req.ContentLength = -1
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	got, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusUnauthorized || string(got) != "log in first" {
		return fmt.Errorf("got %d %q, %w", res.StatusCode, got, err)
	}
	return nil
}

// Rule D1: an upstream that answers first and reads afterwards gets the whole
// body, although the server in front takes the rest of it away when an answer
// begins.
func TestBodyAfterTheAnswer(t *testing.T) {
	got := make(chan int64, 1)
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := http.NewResponseController(w)
		_ = c.EnableFullDuplex()
		w.Header().Set("Content-Type", "text/event-stream")
		w.WriteHeader(http.StatusOK)
		_ = c.Flush()
		n, _ := io.Copy(io.Discard, r.Body)
		got <- n
		_, _ = fmt.Fprintf(w, "data: %d\n\n", n)
	}))
	t.Cleanup(up.Close)
	port := testcaddy.FreePort(t)
	testcaddy.Run(t, mcptest.BridgeTo(port, up.URL, ""))
	for range 20 {
		for _, size := range []int{100 << 10, 200 << 10} {
			answer := mcptest.Do(t, mcptest.NewClient(t), mcptest.NewRequest(t, http.MethodPost, "http://"+testcaddy.Addr(port)+"/mcp", strings.Repeat("x", size)))
			if n := <-got; n != int64(size) || answer.Body != fmt.Sprintf("data: %d\n\n", size) {
				t.Fatalf("upstream got %d of %d bytes, client %q", n, size, answer.Body)
			}
		}
	}
}
