package http_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/mcptest"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/testcaddy"
)

// D5a: a guard in front sets the field that names the user, and removes that of the client from
// the header. A trailer with its name, announced or not, reaches no server: some add trailers to
// the header.
func TestTrailersReachNoServer(t *testing.T) {
	var mu sync.Mutex
	var got []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		mu.Lock()
		got = append(got, fmt.Sprint(string(body), r.Trailer, r.Header["X-User"], r.Header["Trailer"]))
		mu.Unlock()
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"jsonrpc":"2.0","id":1,"result":{}}`)
	}))
	t.Cleanup(server.Close)
	for name, endpoint := range map[string]string{
		"proxy":      "mcp_auth_bridge /mcp " + server.URL,
		"middleware": "mcp_auth_bridge /mcp\n\t\treverse_proxy " + server.Listener.Addr().String(),
	} {
		t.Run(name, func(t *testing.T) {
			mu.Lock()
			got = nil
			mu.Unlock()
			port := testcaddy.FreePort(t)
			testcaddy.Run(t, fmt.Sprintf("{\n\tauto_https off\n}\nhttp://127.0.0.1:%d {\n\tbind 127.0.0.1\n\troute {\n\t\trequest_header X-User alice\n\t\t%s\n\t}\n}\n", port, endpoint))
			body := `{"jsonrpc":"2.0","id":1,"method":"ping"}`
			r := mcptest.NewRequest(t, http.MethodPost, "http://"+testcaddy.Addr(port)+"/mcp", "")
			r.Body, r.ContentLength = io.NopCloser(strings.NewReader(body)), -1
			r.Trailer = http.Header{"X-User": {"root"}}
			if a := mcptest.Do(t, mcptest.NewClient(t), r); a.Status != http.StatusOK {
				t.Errorf("got %d %s", a.Status, a.Body)
			}
			for _, announced := range []string{"", "Trailer: X-User\r\n", "Trailer: X-Other\r\n"} {
				conn, err := net.Dial("tcp", testcaddy.Addr(port))
				if err != nil {
					t.Fatal(err)
				}
				_, _ = fmt.Fprintf(conn, "POST /mcp HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n%s\r\n%x\r\n%s\r\n0\r\nX-User: root\r\n\r\n", testcaddy.Addr(port), announced, len(body), body)
				res, err := http.ReadResponse(bufio.NewReader(conn), nil)
				_ = conn.Close()
				if err != nil || res.StatusCode != http.StatusOK {
					t.Errorf("%q: got %v, %v", announced, res, err)
				}
			}
			mu.Lock()
			defer mu.Unlock()
			if want := body + "map[] [alice] []"; len(got) != 4 || slices.ContainsFunc(got, func(s string) bool { return s != want }) {
				t.Errorf("the server got %q, want %q", got, want)
			}
		})
	}
}
