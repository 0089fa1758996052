package session

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/servers"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/stats"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/upstream"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/hubtest"
)

// Sessions that come and go, however they go, leave nothing behind.
func TestSessionsThatComeAndGoLeaveNothing(t *testing.T) {
	h, url, begin := farm(t, servers.Config{Sessions: 100})
	hubtest.ExchangeHub(t, "GET", url, "")
	before := runtime.NumGoroutine()
	for n := range 1000 {
		p, s := begin("2025-11-25")
		switch n % 4 {
		case 0:
			if res, _ := hubtest.ExchangeHub(t, "DELETE", url, "", "Mcp-Session-Id", s.id); res.StatusCode != 204 {
				t.Fatalf("DELETE: %d", res.StatusCode)
			}
		case 1: // as a server of long ago, so that nothing is held back
			s.streams.out.Lock()
			s.begun = s.begun.Add(-time.Minute)
			s.streams.out.Unlock()
			_ = p.Close()
			hubtest.Eventually(t, "the session is still there", func() bool { return h.sessions.find(s.id) == nil })
		case 2:
			h.servers.End(s, stats.EndClient)
		case 3:
			res, _ := hubtest.Events(t, "GET", url, s.id, "")
			h.servers.End(s, stats.EndClient)
			if _, err := io.Copy(io.Discard, res.Body); err != nil {
				t.Fatal(err)
			}
		}
		<-p.Ended
	}
	if h.Len() != 0 {
		t.Errorf("%d sessions", h.Len())
	}
	hubtest.Eventually(t, "goroutines are left", func() bool {
		http.DefaultClient.CloseIdleConnections()
		return runtime.NumGoroutine() <= before
	})
}

// Everything ends with the hub, at once, and is answered.
func TestAllEndsWithTheHub(t *testing.T) {
	h, url, begin := farm(t, servers.Config{})
	_, s := begin("2025-11-25")
	var wg sync.WaitGroup
	for n := range 10 {
		wg.Go(func() {
			if res, body := hubtest.ExchangeHub(t, "POST", url, hubtest.CallOf(strconv.Itoa(n), "t"), "Mcp-Session-Id", s.id); res.StatusCode != 200 || !strings.Contains(body, fmt.Sprintf(`"id":%d,"error"`, n)) {
				t.Errorf("a call got %d %s", res.StatusCode, body)
			}
		})
	}
	wg.Go(func() {
		if res, body := hubtest.ExchangeHub(t, "GET", url, "", "Mcp-Session-Id", s.id); res.StatusCode != 200 || body != "" {
			t.Errorf("the stream got %d %s", res.StatusCode, body)
		}
	})
	wg.Go(func() {
		// The server gives no answer to this id.
		if res, body := hubtest.ExchangeHub(t, "POST", url, strings.Replace(fmt.Sprintf(hubtest.InitializeBody, "2025-11-25"), `"i"`, `"j"`, 1)); res.StatusCode != 502 || !strings.Contains(body, `"id":"j","error"`) || res.Header.Get("Mcp-Session-Id") != "" {
			t.Errorf("initialize got %d %s", res.StatusCode, body)
		}
	})
	hubtest.Eventually(t, "not all are under way", func() bool { return s.reading() == 11 && h.Len() == 2 })
	hubtest.Within(t, "Close", h.Close)
	hubtest.Within(t, "the requests", wg.Wait)
	if res, body := hubtest.ExchangeHub(t, "POST", url, fmt.Sprintf(hubtest.InitializeBody, "2025-11-25")); res.StatusCode != 503 || res.Header.Get("Retry-After") == "" {
		t.Errorf("initialize got %d %s", res.StatusCode, body)
	}
}

// Sessions that end by themselves, by their clients and with the hub at once.
func TestHubClosesWhileSessionsEnd(t *testing.T) {
	for range 50 {
		h := kit.NewHub(servers.Config{Start: func(_ context.Context, _ *http.Request, to upstream.Receiver) (upstream.Peer, error) {
			deliver := hubtest.DeliverTo(to)
			return &hubtest.Scripted{Deliver: deliver, Got: make(chan string, 10), Ended: make(chan struct{}), Initial: hubtest.Initialized}, nil
		}})
		var wg sync.WaitGroup
		for n := range 8 {
			wg.Go(func() {
				id := hubtest.Direct(t.Context(), h, "POST", "", fmt.Sprintf(hubtest.InitializeBody, "2025-11-25")).Header().Get("Mcp-Session-Id")
				s := h.sessions.find(id)
				if s == nil {
					return // it was closed before
				}
				switch n % 3 {
				case 0:
					hubtest.Direct(t.Context(), h, "DELETE", id, "")
				case 1:
					_ = s.peer.Close()
				}
			})
		}
		wg.Go(h.Close)
		hubtest.Within(t, "the end", wg.Wait)
		h.Close()
		if h.Len() != 0 {
			t.Fatalf("%d sessions", h.Len())
		}
	}
}

// A session that ends while a request is on its way is gone for that request as for
// the next: 404, which has clients initialize again.
func TestSessionThatEndsDuringARequestIsGoneForIt(t *testing.T) {
	for name, body := range map[string]string{
		"request": hubtest.CallOf("1", "t"), "notification": `{"jsonrpc":"2.0","method":"x"}`,
	} {
		t.Run(name, func(t *testing.T) {
			h, p, id := kit.DirectHub(t, servers.Config{})
			defer h.Close()
			s := h.sessions.find(id)
			if !s.enter() {
				t.Fatal("no session")
			}
			defer s.leave()
			h.servers.End(s, stats.EndClient)
			<-p.Ended
			p.SendFail = true
			all, err := message.ParseAll([]byte(body), message.MaxBatch)
			if err != nil {
				t.Fatal(err)
			}
			w := httptest.NewRecorder()
			s.post(w, httptest.NewRequest("POST", "/", nil), all, false)
			if w.Code != 404 || !strings.Contains(w.Body.String(), `"error"`) {
				t.Errorf("got %d %s, want 404", w.Code, w.Body)
			}
		})
	}
}
