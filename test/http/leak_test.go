package http_test

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/mcptest"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/testcaddy"
)

// conns counts the connections of a server and tells when none is left.
type conns struct {
	mu   sync.Mutex
	open map[net.Conn]bool
	gone chan struct{}
}

func (c *conns) state(conn net.Conn, state http.ConnState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch state {
	case http.StateNew:
		c.open[conn] = true
	case http.StateClosed, http.StateHijacked:
		delete(c.open, conn)
		if len(c.open) == 0 {
			select {
			case c.gone <- struct{}{}:
			default:
			}
		}
	default:
	}
}

// wait returns when no connection is left.
func (c *conns) wait(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for {
		c.mu.Lock()
		n := len(c.open)
		c.mu.Unlock()
		if n == 0 {
			return
		}
		select {
		case <-c.gone:
		case <-ctx.Done():
			t.Fatalf("%d connections to the upstream are left", n)
		}
	}
}

// leaky is an upstream that gives every chance to leave something behind: a
// stream that never ends, metadata that never comes, a 401 without reading
// the body, an answer cut in the middle.
func leaky(w http.ResponseWriter, r *http.Request) {
	flush := http.NewResponseController(w).Flush
	switch {
	case strings.HasPrefix(r.URL.Path, "/.well-known/"):
		<-r.Context().Done()
	case r.URL.Path == "/sse" && r.Method == http.MethodGet:
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = fmt.Fprint(w, "event: endpoint\ndata: /messages?id=1\n\n")
		_ = flush()
		<-r.Context().Done()
	case r.Method == http.MethodGet:
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = fmt.Fprint(w, ": open\n\n")
		_ = flush()
		<-r.Context().Done()
	case r.Header.Get("X-Cut") != "":
		w.Header().Set("Content-Length", "1000")
		_, _ = fmt.Fprint(w, "half")
		_ = flush()
		panic(http.ErrAbortHandler)
	default:
		w.WriteHeader(http.StatusUnauthorized)
	}
}

// No goroutine and no connection is left behind by aborted streams, a reload
// under open streams, searches for metadata that never end, and a stop.
func TestNothingIsLeftBehind(t *testing.T) {
	// What Caddy and its libraries start once for the process is there
	// before the count.
	warm := testcaddy.FreePort(t)
	t.Run("warm", func(t *testing.T) { testcaddy.Run(t, mcptest.BridgeTo(warm, "127.0.0.1:1", "")) })
	before := goleak.IgnoreCurrent()

	open := &conns{open: make(map[net.Conn]bool), gone: make(chan struct{}, 1)}
	up := httptest.NewUnstartedServer(http.HandlerFunc(leaky))
	up.Config.ConnState = open.state
	up.Start()
	t.Run("run", func(t *testing.T) {
		port := testcaddy.FreePort(t)
		base := "http://" + testcaddy.Addr(port)
		config := func(comment string) string {
			return mcptest.BridgeTo(port, up.URL, "limits {\n challenge_timeout 1ms\n metadata_timeout 1h\n}\n}\nmcp_auth_bridge /sse sse+"+up.URL+"/sse {\n # "+comment)
		}
		caddy := testcaddy.Run(t, config("first"))
		abuse(t, base)
		abortStreams(t, base, func() { caddy.Load(config("second")) })
	})
	open.wait(t)
	up.Close()
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	// Caddy's file storage notices only after some seconds that a lock was
	// given back; nothing of the bridge hangs on it.
	locks := goleak.IgnoreAnyFunction("github.com/caddyserver/certmagic.keepLockfileFresh")
	if err := goleak.Find(before, locks); err != nil {
		t.Error(err)
	}
}

// abuse sends requests that end in every bad way.
func abuse(t *testing.T, base string) {
	t.Helper()
	client := mcptest.NewClient(t)
	for i := range 200 {
		var body string
		var header []string
		switch i % 3 {
		case 1:
			header = []string{"X-Cut", "1"}
		case 2:
			body = strings.Repeat("x", 200<<10)
		}
		res, err := client.Do(mcptest.NewRequest(t, http.MethodPost, base+"/mcp", body+mcptest.Initialize, header...))
		if err != nil {
			if body == "" {
				t.Errorf("request %d: %v", i, err)
			}
			continue
		}
		_ = res.Body.Close()
	}
}

// abortStreams opens streams, half of them before a reload, and leaves them
// in the middle.
func abortStreams(t *testing.T, base string, reload func()) {
	t.Helper()
	client := mcptest.NewClient(t)
	var aborts []context.CancelFunc
	for i := range 100 {
		if i == 50 {
			reload()
		}
		ctx, cancel := context.WithCancel(t.Context())
		aborts = append(aborts, cancel)
		path := []string{"/mcp", "/sse"}[i%2]
		res, err := client.Do(mcptest.NewRequest(t, http.MethodGet, base+path, "").WithContext(ctx))
		// The listener of the configuration that goes may still accept a
		// connection, and close it; that is Caddy's.
		for retry := 0; err != nil && i >= 50 && retry < 5; retry++ {
			res, err = client.Do(mcptest.NewRequest(t, http.MethodGet, base+path, "").WithContext(ctx))
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = res.Body.Close() })
		if line, err := bufio.NewReader(res.Body).ReadString('\n'); err != nil {
			t.Fatalf("stream %d: got %q, %v", i, line, err)
		}
	}
	for _, abort := range aborts {
		abort()
	}
}
