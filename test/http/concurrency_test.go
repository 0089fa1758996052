package http_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/mcptest"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/testcaddy"
)

// barrier lets nobody through before n have arrived.
type barrier struct {
	mu      sync.Mutex
	waiting int
	n       int
	open    chan struct{}
}

func newBarrier(n int) *barrier { return &barrier{n: n, open: make(chan struct{})} }

func (b *barrier) wait(ctx context.Context) {
	b.mu.Lock()
	b.waiting++
	if b.waiting == b.n {
		close(b.open)
	}
	b.mu.Unlock()
	select {
	case <-b.open:
	case <-ctx.Done():
	}
}

// h2cServer is an upstream that speaks HTTP/2 without TLS.
func h2cServer(t *testing.T, h http.Handler) string {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.Config.Protocols = new(http.Protocols)
	s.Config.Protocols.SetUnencryptedHTTP2(true)
	s.Config.HTTP2 = &http.HTTP2Config{MaxConcurrentStreams: 1000}
	s.Start()
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://")
}

// Rule A9: ten thousand requests that are all at the upstream at one time,
// each with a challenge of its own, and each client gets its own.
func TestTenThousandChallenges(t *testing.T) {
	n := 10_000
	gate := newBarrier(n)
	up := h2cServer(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id := r.Header.Get("X-Id")
		gate.wait(r.Context())
		w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="%s", resource_metadata="http://localhost:1/.well-known/oauth-protected-resource/mcp", scope="s%[1]s"`, id))
		w.WriteHeader(http.StatusUnauthorized)
	}))
	port := testcaddy.FreePort(t)
	testcaddy.Run(t, fmt.Sprintf(`{
	auto_https off
	servers {
		protocols h1 h2c
	}
}
http://127.0.0.1:%d {
	mcp_auth_bridge h2c://%s
}`, port, up))
	base := "http://" + testcaddy.Addr(port)
	// One HTTP/2 connection to a Caddy carries 250 streams; so many clients.
	const perClient = 200
	// A request that fails before all are in flight would leave the others
	// waiting for it.
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	var wg sync.WaitGroup
	failures := make(chan string, n)
	for first := 0; first < n; first += perClient {
		// The connection is there before the requests are, or each of them
		// would begin one.
		c := h2cClient(t)
		if got := mcptest.Do(t, c, mcptest.NewRequest(t, http.MethodGet, base+"/", "")); got.Status != http.StatusOK {
			t.Fatalf("client %d: got %d", first/perClient, got.Status)
		}
		for id := first; id < min(first+perClient, n); id++ {
			wg.Go(func() {
				if problem := askOwn(ctx, c, base, id); problem != "" {
					failures <- problem
					cancel()
				}
			})
		}
	}
	wg.Wait()
	close(failures)
	count := 0
	for problem := range failures {
		if count++; count <= 10 {
			t.Error(problem)
		}
	}
	if count > 0 {
		t.Errorf("%d of %d requests failed", count, n)
	}
	if gate.waiting != n {
		t.Errorf("%d requests were in flight together, want %d", gate.waiting, n)
	}
}

func h2cClient(t *testing.T) *http.Client {
	t.Helper()
	tr := &http.Transport{Protocols: new(http.Protocols), TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12}}
	tr.Protocols.SetUnencryptedHTTP2(true)
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

func askOwn(ctx context.Context, c *http.Client, base string, id int) string {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, base+"/mcp", strings.NewReader(mcptest.Initialize))
	if err != nil {
		return err.Error()
	}
	r.Header.Set("X-Id", fmt.Sprint(id))
	res, err := c.Do(r)
	if err != nil {
		return err.Error()
	}
	defer func() { _ = res.Body.Close() }()
	want := fmt.Sprintf(`Bearer realm="%d", resource_metadata="%s/.well-known/oauth-protected-resource/mcp", scope="s%[1]d"`, id, base)
	if got := res.Header["Www-Authenticate"]; res.StatusCode != http.StatusUnauthorized || res.ProtoMajor != 2 || len(got) != 1 || got[0] != want {
		return fmt.Sprintf("request %d: got %d over %s, %q, want %q", id, res.StatusCode, res.Proto, got, want)
	}
	return ""
}
