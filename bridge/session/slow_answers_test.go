package session

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/ratewriter"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/servers"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/upstream"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/hubtest"
)

// Rules D6, G: answers that nobody reads do not pile up: the server waits, until the
// clients that do not read have been cut off. Nothing else waits for longer.
func TestAnswersThatAreNotReadDoNotPileUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const buffer, size, calls = 256 << 10, 256 << 10, 100
		h, p, id := kit.DirectHub(t, servers.Config{Buffer: buffer})
		defer h.Close()
		s := h.sessions.find(id)
		var wg sync.WaitGroup
		for n := range calls {
			wg.Go(func() {
				h.ServeHTTP(hubtest.NewStuckWriter(1000), hubtest.Request(t.Context(), "POST", id, hubtest.CallOf(strconv.Itoa(n), "t")))
			})
		}
		for range calls {
			<-p.Got
		}
		most := 0
		delivered := make(chan time.Duration, 1)
		began := time.Now()
		go func() {
			for n := range calls {
				p.Deliver([]byte(fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"result":%q}`, n, strings.Repeat("x", size))))
				most = max(most, s.keeps())
			}
			delivered <- time.Since(began)
		}()
		wg.Wait()
		took := <-delivered
		// Each is kept for a client that comes back, and is being written.
		if bound := 2 * (servers.MaxUnread + 2) * buffer; most > bound {
			t.Errorf("%d bytes are kept, want %d at most", most, bound)
		}
		if took > calls/(servers.MaxUnread-2)*servers.DefaultStall {
			t.Errorf("took %s", took)
		}
		done := make(chan string, 1)
		go func() { done <- hubtest.Direct(t.Context(), h, "POST", id, hubtest.CallOf("200", "t")).Body.String() }()
		<-p.Got
		p.Deliver([]byte(`{"jsonrpc":"2.0","id":200,"result":1}`))
		if got := <-done; got != `{"jsonrpc":"2.0","id":200,"result":1}` {
			t.Errorf("after that: %s", got)
		}
	})
}

// The end of a session ends the wait of its server.
func TestEndOfASessionEndsTheWaitOfItsServer(t *testing.T) {
	for _, end := range []string{"delete", "cancel", "close"} {
		t.Run(end, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h, p, id := kit.DirectHub(t, servers.Config{Buffer: 1000})
				defer h.Close()
				var wg sync.WaitGroup
				for n := range 2 {
					wg.Go(func() {
						h.ServeHTTP(hubtest.NewStuckWriter(100), hubtest.Request(t.Context(), "POST", id, hubtest.CallOf(strconv.Itoa(n), "t")))
					})
					<-p.Got
				}
				big := strings.Repeat("x", servers.MaxUnread*1000)
				delivered := make(chan struct{})
				go func() {
					defer close(delivered)
					p.Deliver([]byte(`{"jsonrpc":"2.0","id":0,"result":"` + big + `"}`))
					p.Deliver([]byte(`{"jsonrpc":"2.0","id":1,"result":"` + big + `"}`))
				}()
				synctest.Wait()
				select {
				case <-delivered:
					t.Fatal("the server does not wait")
				default:
				}
				switch end {
				case "delete":
					hubtest.Direct(t.Context(), h, "DELETE", id, "")
				case "cancel":
					hubtest.Direct(t.Context(), h, "POST", id, `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}`)
				case "close":
					h.Close()
				}
				synctest.Wait()
				select {
				case <-delivered:
				default:
					t.Error("the server waits")
				}
				wg.Wait()
			})
		})
	}
}

// A client of HTTP+SSE that posts and posts and does not read its stream loses it.
func TestClientOfHTTPSSEThatDoesNotReadLosesItsStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const buffer, size = 1 << 20, 100 << 10
		p := &hubtest.Scripted{Got: make(chan string, 10), Ended: make(chan struct{})}
		h := kit.NewHub(servers.Config{Buffer: buffer, Start: func(_ context.Context, _ *http.Request, to upstream.Receiver) (upstream.Peer, error) {
			deliver := hubtest.DeliverTo(to)
			p.Deliver = deliver
			return p, nil
		}})
		defer h.Close()
		w, began, over := hubtest.NewStuckWriter(1000), time.Now(), make(chan time.Duration, 1)
		go func() {
			h.ServeSSE(w, httptest.NewRequestWithContext(t.Context(), "GET", "http://h/sse", nil), "/message")
			over <- time.Since(began)
		}()
		synctest.Wait()
		w.Mu.Lock()
		_, id, _ := strings.Cut(strings.TrimSpace(w.Body.String()), "sessionId=")
		w.Mu.Unlock()
		s := h.sessions.find(id)
		if s == nil {
			t.Fatalf("no session %q", id)
		}
		go func() {
			for n := 0; ; n++ {
				select {
				case <-p.Got:
					p.Deliver([]byte(fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"result":%q}`, n, strings.Repeat("x", size))))
				case <-p.Ended:
					return
				}
			}
		}()
		accepted, most := 0, 0
		for n := range 1000 {
			r := httptest.NewRequestWithContext(t.Context(), "POST", "http://h/message?sessionId="+id, strings.NewReader(hubtest.CallOf(strconv.Itoa(n), "t")))
			r.Header.Set("Content-Type", "application/json")
			answer := httptest.NewRecorder()
			go func() { // so that it can be let go
				h.ServeMessage(answer, r)
			}()
			synctest.Wait()
			if answer.Code == http.StatusAccepted {
				accepted++
			}
			most = max(most, s.keeps())
			if len(p.Got) == cap(p.Got) {
				break
			}
		}
		if bound := (servers.MaxUnread + 1) * buffer; most > bound || accepted < 10 {
			t.Errorf("%d bytes are kept after %d requests, want %d at most", most, accepted, bound)
		}
		if took := <-over; took != servers.DefaultStall {
			t.Errorf("the stream ended after %s, want %s", took, servers.DefaultStall)
		}
		synctest.Wait()
		if h.Len() != 0 {
			t.Error("the session is left")
		}
		for len(p.Got) > 0 {
			<-p.Got
		}
	})
}

// D6: a client that accepts a part in the moment in which it is cut off has its
// connection end with that answer, or not at all.
func TestClientThatReadsInTheLastMomentGetsAWholeAnswer(t *testing.T) {
	for range 200 {
		synctest.Test(t, func(t *testing.T) {
			w := &hubtest.LateWriter{Fields: make(http.Header), Takes: servers.DefaultStall, T: t}
			p := ratewriter.New(w, servers.DefaultStall, servers.DefaultMinRate)
			_, err := p.Write([]byte("x"))
			w.Mu.Lock()
			if w.Cut != (err != nil) {
				t.Errorf("cut off: %v, error: %v", w.Cut, err)
			}
			w.Returned = true
			w.Mu.Unlock()
			time.Sleep(time.Second)
		})
	}
}
