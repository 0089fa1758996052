package hub

import (
	"fmt"
	"strings"
	"testing"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/servers"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/hubtest"
)

// Requests that no client sends.
func TestOddRequestsAreRefused(t *testing.T) {
	h, url, begin := kit.Farm(t, servers.Config{})
	p, id := begin("2025-11-25")
	host := strings.TrimPrefix(url, "http://")
	post := "POST / HTTP/1.1\r\nHost: " + host + "\r\nConnection: close\r\nContent-Type: application/json\r\n"
	notification := `{"jsonrpc":"2.0","method":"x"}`
	length := fmt.Sprintf("Content-Length: %d\r\n\r\n", len(notification))
	for name, tc := range map[string]struct{ request, status string }{
		"two sessions":         {post + "Mcp-Session-Id: " + id + "\r\nMcp-Session-Id: x\r\n" + length + notification, "400"},
		"a session twice":      {post + "Mcp-Session-Id: " + id + "\r\nmcp-session-id: " + id + "\r\n" + length + notification, "400"},
		"a hundred sessions":   {post + strings.Repeat("Mcp-Session-Id: "+id+"\r\n", 100) + length + notification, "400"},
		"an empty session":     {post + "Mcp-Session-Id:\r\n" + length + notification, "400"},
		"sessions in a list":   {post + "Mcp-Session-Id: " + id + ", x\r\n" + length + notification, "404"},
		"a session in capital": {post + "Mcp-Session-Id: " + strings.ToUpper(id) + "\r\n" + length + notification, "404"},
		"HEAD":                 {"HEAD / HTTP/1.1\r\nHost: " + host + "\r\nConnection: close\r\nMcp-Session-Id: " + id + "\r\n\r\n", "405"},
		"OPTIONS":              {"OPTIONS / HTTP/1.1\r\nHost: " + host + "\r\nConnection: close\r\nMcp-Session-Id: " + id + "\r\n\r\n", "405"},
		"a body of nothing":    {post + "Mcp-Session-Id: " + id + "\r\nContent-Length: 0\r\n\r\n", "400"},
		"GET with a body":      {"GET / HTTP/1.1\r\nHost: " + host + "\r\nConnection: close\r\nAccept: text/html\r\nMcp-Session-Id: " + id + "\r\n" + length + notification, "406"},
		"a version twice":      {post + "Mcp-Session-Id: " + id + "\r\nMCP-Protocol-Version: 2025-11-25\r\nMCP-Protocol-Version: 2025-11-25\r\n" + length + notification, "400"},
		"no media type":        {"POST / HTTP/1.1\r\nHost: " + host + "\r\nConnection: close\r\nMcp-Session-Id: " + id + "\r\n" + length + notification, "415"},
	} {
		t.Run(name, func(t *testing.T) {
			got := hubtest.Raw(t, url, tc.request)
			if !strings.HasPrefix(got, "HTTP/1.1 "+tc.status) {
				t.Errorf("got %s, want %s", got, tc.status)
			}
			header, body, _ := strings.Cut(got, "\r\n\r\n")
			if tc.status == "405" && !strings.Contains(header, "Allow: GET, POST, DELETE") {
				t.Errorf("got %s", header)
			}
			if (body == "") != (name == "HEAD") {
				t.Errorf("got the body %q", body)
			}
		})
	}
	for _, body := range []string{
		notification + "x", notification + notification, notification + "\n" + notification, notification + "\x00", "\ufeff" + notification,
		"[" + notification, "[" + notification + "]]", "[" + notification + ",]", "[[" + notification + "]]", "null", "\xff", `{"jsonrpc":"2.0","method":"` + "\xff" + `"}`,
		`{"jsonrpc":"2.0","method":"x` + "\n" + `"}`, strings.Repeat("[", 100000), strings.Repeat(`{"a":`, 100000),
	} {
		if res, got := hubtest.ExchangeHub(t, "POST", url, body, "Mcp-Session-Id", id); res.StatusCode != 400 || !strings.Contains(got, `"error"`) {
			t.Errorf("%.60q: got %d %s", body, res.StatusCode, got)
		}
	}
	select {
	case got := <-p.Got:
		t.Errorf("the server got %s", got)
	default:
	}
	for _, white := range []string{" ", "\r\n", "\t"} {
		if res, _ := hubtest.ExchangeHub(t, "POST", url, white+notification+white, "Mcp-Session-Id", id); res.StatusCode != 202 {
			t.Errorf("white space: got %d", res.StatusCode)
		}
		if got := <-p.Got; strings.ContainsAny(got, "\r\n") || strings.TrimSpace(got) != notification {
			t.Errorf("the server got %q", got)
		}
	}
	if h.Len() != 1 {
		t.Errorf("%d sessions", h.Len())
	}
}
