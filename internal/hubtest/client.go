package hubtest

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// ExchangeHub sends one raw request.
func ExchangeHub(t *testing.T, method, url, body string, header ...string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json, text/event-stream")
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	got, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, string(got)
}

// InitializeBody is the initialize of a client; %s stands for the revision.
const InitializeBody = `{"jsonrpc":"2.0","id":"i","method":"initialize","params":{"protocolVersion":"%s","capabilities":{},"clientInfo":{"name":"t","version":"1"}}}`

// BeginHub initializes a session and returns its id.
func BeginHub(t *testing.T, url, version string) string {
	t.Helper()
	res, body := ExchangeHub(t, "POST", url, fmt.Sprintf(InitializeBody, version))
	id := res.Header.Get("Mcp-Session-Id")
	if res.StatusCode != 200 || len(id) < 22 {
		t.Fatalf("initialize: %d %s, session %q", res.StatusCode, body, id)
	}
	if res, body := ExchangeHub(t, "POST", url, `{"jsonrpc":"2.0","method":"notifications/initialized"}`, "Mcp-Session-Id", id); res.StatusCode != 202 || body != "" {
		t.Fatalf("initialized: %d %s", res.StatusCode, body)
	}
	return id
}

// Events opens a request and returns a function that reads its next event.
func Events(t *testing.T, method, url, id, body string, header ...string) (res *http.Response, next func() (id, data string)) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json, text/event-stream")
	req.Header.Set("Mcp-Session-Id", id)
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err = http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = res.Body.Close() })
	lines := bufio.NewReaderSize(res.Body, 1<<20)
	return res, func() (id, data string) {
		for {
			line, err := lines.ReadString('\n')
			line = strings.TrimSuffix(line, "\n")
			if rest, ok := strings.CutPrefix(line, "id: "); ok {
				id = rest
			}
			if rest, ok := strings.CutPrefix(line, "data: "); ok {
				data = rest
			}
			if err != nil || line == "" && data != "" {
				return id, data
			}
		}
	}
}

// Direct serves one request without a network.
func Direct(ctx context.Context, h http.Handler, method, id, body string, header ...string) *httptest.ResponseRecorder {
	req := httptest.NewRequestWithContext(ctx, method, "http://h/", strings.NewReader(body))
	req.Header.Set("Content-Type", "application/json")
	if id != "" {
		req.Header.Set("Mcp-Session-Id", id)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Add(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, req)
	return w
}

// Posted sends a POST of its own goroutine and returns where its body goes.
func Posted(t *testing.T, url, id, body string) <-chan string {
	t.Helper()
	done := make(chan string, 1)
	go func() {
		_, got := ExchangeHub(t, "POST", url, body, "Mcp-Session-Id", id)
		done <- got
	}()
	return done
}

// Raw sends bytes on a connection of their own and returns what comes.
func Raw(t *testing.T, url, request string) string {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(conn)
	if err != nil {
		t.Fatalf("%v after %s", err, got)
	}
	return string(got)
}

// Request returns a request of a session.
func Request(ctx context.Context, method, id, body string) *http.Request {
	r := httptest.NewRequestWithContext(ctx, method, "http://h/", strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Mcp-Session-Id", id)
	return r
}

// InitializeOf is the initialize of a client with these capabilities.
func InitializeOf(capabilities string) string {
	return `{"jsonrpc":"2.0","id":"i","method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":` + capabilities + `,"clientInfo":{"name":"c","version":"2"}}}`
}

// ProgressOf is the nth notification of progress for a token, with so much padding.
func ProgressOf(token string, n int, pad int) string {
	return fmt.Sprintf(`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":%q,"progress":%d,"message":%q}}`, token, n, strings.Repeat("x", pad))
}

// CallOf is a tools/call that asks for progress.
func CallOf(id, token string) string {
	return fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"method":"tools/call","params":{"_meta":{"progressToken":%q}}}`, id, token)
}

// Do has a hub answer a request whose client leaves after a while; 0: it does not.
func Do(h http.Handler, leaves time.Duration, method, id, body string, header ...string) *httptest.ResponseRecorder {
	ctx := context.Background()
	if leaves > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, leaves)
		defer cancel()
	}
	return Direct(ctx, h, method, id, body, header...)
}

// AsStateless are the fields of a stateless tools/list.
var AsStateless = []string{"Mcp-Protocol-Version", "2026-07-28", "Mcp-Method", "tools/list"}

// JSONTo answers with JSON.
func JSONTo(w http.ResponseWriter, status int, format string, args ...any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, format, args...)
}
