package shared

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/servers"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/upstream"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/hubtest"
)

// G, D6: at a server that all clients share, what clients do not read is bounded, for
// each and in total. The server never waits for them; the answer past a bound is an
// error, and is that for its own client only.
func TestUnreadSharedBounded(t *testing.T) {
	const buffer, size, calls = 64 << 10, 100 << 10, 200
	for name, tc := range map[string]struct {
		address, owner func(i int) string
		bound          int
	}{
		"one client":              {func(int) string { return "192.0.2.1" }, func(int) string { return "Bearer a" }, servers.MaxUnread * buffer},
		"nobody that is known":    {func(int) string { return "192.0.2.1" }, func(int) string { return "" }, servers.MaxUnread * buffer},
		"one owner, many places":  {func(i int) string { return fmt.Sprintf("192.0.2.%d", i) }, func(int) string { return "Bearer a" }, servers.MaxUnread * maxUnreadShared * buffer},
		"one place, many owners":  {func(int) string { return "192.0.2.1" }, func(i int) string { return fmt.Sprint("Bearer ", i) }, servers.MaxUnread * maxUnreadShared * buffer},
		"many clients, each once": {func(i int) string { return fmt.Sprintf("192.0.2.%d", i) }, func(i int) string { return fmt.Sprint("Bearer ", i) }, servers.MaxUnread * maxUnreadShared * buffer},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h, started := kit.Programs(t, hubtest.Stateless, servers.Config{Buffer: buffer})
				p := warm(t, h, started)
				var all []<-chan struct{}
				var writers []*hubtest.StuckWriter
				most, errs := 0, 0
				for i := range calls {
					w := hubtest.NewStuckWriter(1000)
					writers = append(writers, w)
					all = append(all, callFrom(t, t.Context(), h, w, tc.address(i), tc.owner(i), ""))
					m := p.Next(t, "tools/call")
					begun := time.Now()
					p.Answer(m, `{"x":"`+strings.Repeat("x", size)+`"}`)
					if time.Since(begun) != 0 {
						t.Fatal("the server waits")
					}
					synctest.Wait()
					counted, _, _ := h.waits()
					most = max(most, counted)
				}
				if most > tc.bound || most < tc.bound/2 {
					t.Errorf("%d bytes wait, want %d at most", most, tc.bound)
				}
				// A client that reads is served meanwhile, unless it is the one.
				w := httptest.NewRecorder()
				over := callFrom(t, t.Context(), h, w, "198.51.100.1", "Bearer other", "")
				p.Answer(p.Next(t, "tools/call"), `{}`)
				<-over
				if got := w.Body.String(); got != `{"jsonrpc":"2.0","id":7,"result":{}}` && tc.bound == servers.MaxUnread*buffer {
					t.Errorf("another client got %d %s", w.Code, got)
				}
				for i, over := range all {
					<-over
					if got := writers[i].Body.String(); strings.HasPrefix(got, `{"jsonrpc":"2.0","id":7,"error":{"code":-32603,`) && strings.Contains(got, "unread") {
						errs++
					}
				}
				if want := calls - tc.bound/size - 1; errs < want {
					t.Errorf("%d answers became errors, want %d at least", errs, want)
				}
				if counted, is, clients := h.waits(); counted != 0 || is != 0 || clients != 0 {
					t.Errorf("after that %d bytes (%d) of %d clients wait", counted, is, clients)
				}
			})
		})
	}
}

// G: one message of any size always may wait for a client that has nothing else to read.
func TestUnreadOneAlways(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const buffer = 1000
		h, started := kit.Programs(t, hubtest.Stateless, servers.Config{Buffer: buffer})
		p := warm(t, h, started)
		w := httptest.NewRecorder()
		over := callFrom(t, t.Context(), h, w, "192.0.2.1", "", "")
		p.Answer(p.Next(t, "tools/call"), `{"x":"`+strings.Repeat("x", 100*servers.MaxUnread*maxUnreadShared*buffer)+`"}`)
		<-over
		if got := w.Body.String(); !strings.Contains(got, "xxx") || strings.Contains(got, "error") {
			t.Errorf("got %d bytes, %.100s", len(got), got)
		}
	})
}

// G: notifications that are not read are bounded as well, over all requests of a client,
// and the answers are not what goes for them.
func TestUnreadNotifications(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const buffer, size, calls = 64 << 10, 8 << 10, 30
		h, started := kit.Programs(t, hubtest.Stateless, servers.Config{Buffer: buffer})
		p := warm(t, h, started)
		var asked []message.Message
		var all []<-chan struct{}
		for range calls {
			all = append(all, callFrom(t, t.Context(), h, hubtest.NewStuckWriter(0), "192.0.2.1", "", ""))
			asked = append(asked, p.Next(t, "tools/call"))
		}
		most := 0
		for n := range 50 {
			for _, m := range asked {
				p.Emit(`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":%s,"progress":%d,"message":"%s"}}`, m.RawID, n, strings.Repeat("x", size))
			}
			synctest.Wait()
			counted, is, _ := h.waits()
			if most = max(most, counted); is > counted {
				t.Fatalf("%d bytes are counted, %d wait", counted, is)
			}
		}
		if bound := servers.MaxUnread * buffer; most > bound || most < bound/2 {
			t.Errorf("%d bytes wait, want %d at most", most, bound)
		}
		for _, over := range all {
			<-over
		}
		if counted, is, clients := h.waits(); counted != 0 || is != 0 || clients != 0 {
			t.Errorf("after that %d bytes (%d) of %d clients wait", counted, is, clients)
		}
	})
}

// G: answers for clients that were asked for input and have not come back are bounded,
// and are not counted any more when their time is over.
func TestUnreadLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const buffer, size = 1 << 10, 8 << 10
		h, started := kit.Programs(t, hubtest.Handshakes, servers.Config{Buffer: buffer, Idle: time.Hour})
		p := warm(t, h, started)
		var states []string
		for i := range 20 {
			w := httptest.NewRecorder()
			over := callFrom(t, t.Context(), h, w, "192.0.2.1", "", "")
			m := p.Next(t, "tools/call")
			p.Emit(`{"jsonrpc":"2.0","id":"s%d","method":"roots/list"}`, i)
			<-over
			states = append(states, message.Text(w.Body.Bytes(), "result", "requestState"))
			p.Answer(m, `{"x":"`+strings.Repeat("x", size)+`"}`)
			synctest.Wait()
		}
		counted, _, _ := h.waits()
		if bound := servers.MaxUnread * maxUnreadShared * buffer; counted > bound || counted < bound/2 {
			t.Errorf("%d bytes wait, want %d at most", counted, bound)
		}
		back := func(state string) string {
			w := hubtest.Send(t, h, hubtest.Ask("9", "tools/call", `"name":"t","requestState":"`+state+`"`))
			<-w.Done
			return w.Body.String()
		}
		if got := back(states[0]); !strings.Contains(got, `"id":9`) || !strings.Contains(got, "xxxx") {
			t.Errorf("the first got %.200s", got)
		}
		if got := back(states[19]); !strings.Contains(got, `"id":9`) || !strings.Contains(got, "unread") {
			t.Errorf("the last got %.200s", got)
		}
		time.Sleep(waitForInput)
		synctest.Wait()
		if counted, _, clients := h.waits(); counted != 0 || clients != 0 {
			t.Errorf("after that %d bytes of %d clients wait", counted, clients)
		}
	})
}

// G: whatever becomes of requests, nothing stays counted.
func TestUnreadIsGivenBack(t *testing.T) {
	for _, kind := range []hubtest.Nature{hubtest.Stateless, hubtest.Handshakes} {
		synctest.Test(t, func(t *testing.T) {
			h, started := kit.Programs(t, kind, servers.Config{Buffer: 1 << 10})
			p := warm(t, h, started)
			p.Refuse = func(_ *http.Request, m message.Message) error {
				if strings.Contains(string(m.Raw), "refused") {
					return &upstream.Refusal{Status: http.StatusServiceUnavailable}
				}
				return nil
			}
			var wg sync.WaitGroup
			for i := range 100 {
				ctx, cancel := context.WithCancel(t.Context())
				meta := ""
				if i%5 == 0 {
					meta = `,"refused":1`
				}
				over := callFrom(t, ctx, h, httptest.NewRecorder(), fmt.Sprintf("192.0.2.%d", i%7), "", meta)
				wg.Go(func() { <-over })
				if meta == "" {
					m := <-p.Got
					for m.Method != "tools/call" { // what was taken back before
						m = <-p.Got
					}
					switch i % 4 {
					case 0:
						p.Answer(m, `{"x":"`+strings.Repeat("x", i*1000)+`"}`)
					case 1:
						p.Emit(`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":%s,"progress":1}}`, m.RawID)
						cancel()
					case 2:
						p.Emit(`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":%s,"progress":1}}`, m.RawID)
						p.Answer(m, `{}`)
					default:
						defer cancel()
						continue
					}
				}
				synctest.Wait()
				cancel()
			}
			listen := hubtest.Send(t, h, hubtest.Ask("5", "subscriptions/listen", `"notifications":{"toolsListChanged":true}`))
			synctest.Wait()
			h.shared.mu.Lock()
			var c *server
			for _, c = range h.shared.byKey {
			}
			h.shared.mu.Unlock()
			_ = p.Close()
			wg.Wait()
			if !listen.Over() {
				t.Error("the subscription goes on")
			}
			if c.calls.unread.all != 0 || len(c.calls.unread.of) != 0 {
				t.Errorf("%d bytes of %d clients wait", c.calls.unread.all, len(c.calls.unread.of))
			}
		})
	}
}
