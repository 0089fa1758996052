package session

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/servers"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/hubtest"
)

// Rules D6, G: a client that opens the session's stream and does not read it ends
// with its connection; what is kept for it meanwhile is bounded.
func TestStreamThatIsNotReadEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const buffer = 1 << 20
		h, p, id := kit.DirectHub(t, servers.Config{Buffer: buffer})
		defer h.Close()
		s := h.sessions.find(id)
		w, began, over := hubtest.NewStuckWriter(1000), time.Now(), make(chan time.Duration, 1)
		go func() {
			h.ServeHTTP(w, hubtest.Request(t.Context(), "GET", id, ""))
			over <- time.Since(began)
		}()
		synctest.Wait()
		for n := range 10000 {
			p.Deliver([]byte(fmt.Sprintf(`{"jsonrpc":"2.0","method":"notifications/message","params":{"n":%d,"x":%q}}`, n, strings.Repeat("x", 1000))))
			if n%100 == 0 {
				synctest.Wait()
			}
			if got := s.keeps(); got > buffer+maxTake {
				t.Fatalf("%d bytes are kept, want %d at most", got, buffer+maxTake)
			}
		}
		if took := <-over; took != servers.DefaultStall {
			t.Errorf("ended after %s, want %s", took, servers.DefaultStall)
		}
		if s.writing() != 0 || s.reading() != 0 {
			t.Errorf("%d bytes are being written for %d readers", s.writing(), s.reading())
		}
		// It may come back, and goes on with what is kept.
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if got := hubtest.Direct(ctx, h, "GET", id, "").Body.String(); !strings.Contains(got, `"n":9999,`) {
			t.Errorf("got %d bytes without the last", len(got))
		}
	})
}

// Streams that are opened one after the other and not read, each of which takes over
// what is kept, hold little of it each.
func TestStreamsThatAreNotReadHoldLittle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const buffer, streams = 2 << 20, 20
		h, p, id := kit.DirectHub(t, servers.Config{Buffer: buffer})
		defer h.Close()
		s := h.sessions.find(id)
		var wg sync.WaitGroup
		for range streams {
			for range buffer / 1000 {
				p.Deliver([]byte(`{"jsonrpc":"2.0","method":"notifications/message","params":{"x":"` + strings.Repeat("x", 1000) + `"}}`))
			}
			wg.Go(func() { h.ServeHTTP(hubtest.NewStuckWriter(1000), hubtest.Request(t.Context(), "GET", id, "")) })
			synctest.Wait()
		}
		if got, bound := s.keeps(), buffer+streams*maxTake; got > bound || s.writing() < streams*maxTake/2 {
			t.Errorf("%d bytes are kept, %d of them being written, want %d at most", got, s.writing(), bound)
		}
		wg.Wait()
		if s.writing() != 0 {
			t.Errorf("%d bytes are still being written", s.writing())
		}
	})
}

// D6: a client that accepts an event now and then, as they come, is never behind.
func TestSlowReaderOfEventsIsNotBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, p, id := kit.DirectHub(t, servers.Config{})
		defer h.Close()
		w := hubtest.NewStuckWriter(0)
		ctx, stop := context.WithCancel(t.Context())
		over := make(chan struct{})
		go func() {
			defer close(over)
			h.ServeHTTP(hubtest.SlowWriter{StuckWriter: w}, hubtest.Request(ctx, "GET", id, ""))
		}()
		for n := range 100 {
			p.Deliver([]byte(fmt.Sprintf(`{"jsonrpc":"2.0","method":"notifications/message","params":{"n":%d}}`, n)))
			time.Sleep(20 * time.Second) // most of what it may take
			w.Mu.Lock()
			w.Left += 1000
			w.Mu.Unlock()
			time.Sleep(5 * time.Second)
		}
		stop()
		<-over
		if got := w.Body.String(); !strings.Contains(got, `"n":99}`) {
			t.Errorf("it lost its stream: got %d bytes", len(got))
		}
	})
}
