package session

import (
	"context"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/servers"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/hubtest"
)

// Rule D6: idle and absolute lifetime.
func TestSessionsEndWhenIdleOrOld(t *testing.T) {
	cfg := servers.Config{Idle: 10 * time.Minute, Lifetime: time.Hour, KeepAlive: 15 * time.Second}
	ping := `{"jsonrpc":"2.0","method":"notifications/x"}`
	run := func(name string, test func(t *testing.T, h *testHub, p *hubtest.Scripted, id string)) {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h, p, id := kit.DirectHub(t, cfg)
				test(t, h, p, id)
				h.Close()
				if h.Len() != 0 {
					t.Errorf("%d sessions", h.Len())
				}
			})
		})
	}
	closed := func(p *hubtest.Scripted) bool {
		synctest.Wait()
		select {
		case <-p.Ended:
			return true
		default:
			return false
		}
	}

	run("idle", func(t *testing.T, h *testHub, p *hubtest.Scripted, id string) {
		for range 3 {
			time.Sleep(9 * time.Minute)
			if w := hubtest.Direct(t.Context(), h, "POST", id, ping); w.Code != 202 {
				t.Fatalf("got %d", w.Code)
			}
		}
		time.Sleep(10*time.Minute - time.Second)
		if closed(p) {
			t.Error("ended too early")
		}
		time.Sleep(2 * time.Second)
		if !closed(p) || h.Len() != 0 {
			t.Error("did not end")
		}
		if w := hubtest.Direct(t.Context(), h, "POST", id, ping); w.Code != 404 {
			t.Errorf("after its end: %d", w.Code)
		}
	})

	run("lifetime", func(t *testing.T, h *testHub, p *hubtest.Scripted, id string) {
		for range 11 {
			time.Sleep(5 * time.Minute)
			hubtest.Direct(t.Context(), h, "POST", id, ping)
		}
		if closed(p) {
			t.Error("ended too early")
		}
		time.Sleep(5*time.Minute + time.Second)
		if !closed(p) || h.Len() != 0 {
			t.Error("did not end")
		}
	})

	run("an open stream", func(t *testing.T, h *testHub, p *hubtest.Scripted, id string) {
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan *httptest.ResponseRecorder, 1)
		go func() { done <- hubtest.Direct(ctx, h, "GET", id, "") }()
		time.Sleep(45*time.Minute + time.Second)
		if closed(p) {
			t.Fatal("ended with its stream open")
		}
		cancel()
		w := <-done
		if n := strings.Count(w.Body.String(), ": \n\n"); n != 45*4 {
			t.Errorf("%d comments in 45 minutes", n)
		}
		time.Sleep(10*time.Minute - 2*time.Second)
		if closed(p) {
			t.Error("ended too early after its stream")
		}
		time.Sleep(4 * time.Second)
		if !closed(p) {
			t.Error("did not end after its stream")
		}
	})

	run("a long call until the end of its lifetime", func(t *testing.T, h *testHub, p *hubtest.Scripted, id string) {
		done := make(chan *httptest.ResponseRecorder, 1)
		go func() { done <- hubtest.Direct(t.Context(), h, "POST", id, hubtest.CallOf("1", "t")) }()
		time.Sleep(time.Hour - time.Second)
		if closed(p) {
			t.Error("ended with a call under way")
		}
		time.Sleep(2 * time.Second)
		if !closed(p) {
			t.Error("did not end")
		}
		if w := <-done; !strings.Contains(w.Body.String(), `"id":1,"error"`) {
			t.Errorf("the call got %s", w.Body)
		}
	})

	run("deleted", func(t *testing.T, h *testHub, p *hubtest.Scripted, id string) {
		done := make(chan *httptest.ResponseRecorder, 20)
		for n := range 20 {
			go func() { done <- hubtest.Direct(t.Context(), h, "POST", id, hubtest.CallOf(strconv.Itoa(n), "t")) }()
		}
		synctest.Wait()
		if w := hubtest.Direct(t.Context(), h, "DELETE", id, ""); w.Code != 204 {
			t.Errorf("DELETE: %d", w.Code)
		}
		seen := map[string]bool{}
		for range 20 {
			w := <-done
			if w.Code != 200 || !strings.Contains(w.Body.String(), `"error"`) || w.Header().Get("Content-Type") != "application/json" {
				t.Errorf("a call got %d %s", w.Code, w.Body)
			}
			seen[w.Body.String()] = true
		}
		if len(seen) != 20 {
			t.Errorf("%d different answers", len(seen))
		}
		time.Sleep(2 * time.Hour) // its timer does nothing
	})
}
