package http_test

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/mcptest"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/testcaddy"
)

// Rules D1, G: a server that begins a stream for HEAD is told that nobody wants it, and
// the next client does not wait behind it on the same connection.
func TestHeadOfStream(t *testing.T) {
	ended := make(chan struct{})
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodHead {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		w.Header().Set("Content-Type", "text/event-stream")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
		close(ended)
	}))
	t.Cleanup(up.Close)
	t.Cleanup(up.CloseClientConnections)
	port := testcaddy.FreePort(t)
	testcaddy.Run(t, mcptest.BridgeTo(port, up.URL, "metadata off"))
	c, url := mcptest.NewClient(t), "http://"+testcaddy.Addr(port)+"/mcp"
	if got := mcptest.Do(t, c, mcptest.NewRequest(t, http.MethodHead, url, "")); got.Status != http.StatusOK {
		t.Fatalf("HEAD got %d", got.Status)
	}
	select {
	case <-ended:
	case <-time.After(30 * time.Second): // a hang is a failure
		t.Fatal("the stream goes on")
	}
	if got := mcptest.Do(t, c, mcptest.NewRequest(t, http.MethodGet, url, "")); got.Status != http.StatusUnauthorized {
		t.Errorf("GET got %d", got.Status)
	}
}
