package bridge

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// stuckWriter is the answer to a client that accepts so many bytes and no more.
type stuckWriter struct {
	header http.Header
	left   int
	mu     sync.Mutex
	body   bytes.Buffer
	cut    chan struct{} // closed when the deadline of writes has passed
	once   sync.Once
}

func newStuckWriter(accepts int) *stuckWriter {
	return &stuckWriter{header: make(http.Header), left: accepts, cut: make(chan struct{})}
}

func (w *stuckWriter) Header() http.Header { return w.header }
func (w *stuckWriter) WriteHeader(int)     {}
func (w *stuckWriter) Flush()              {}

func (w *stuckWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	n := min(len(p), w.left)
	w.left -= n
	w.body.Write(p[:n])
	w.mu.Unlock()
	if n < len(p) {
		<-w.cut
		return n, os.ErrDeadlineExceeded
	}
	return n, nil
}

func (w *stuckWriter) SetWriteDeadline(d time.Time) error {
	if !d.IsZero() && d.Before(time.Now()) {
		w.once.Do(func() { close(w.cut) })
	}
	return nil
}

// request returns a request of a session.
func request(ctx context.Context, method, id, body string) *http.Request {
	r := httptest.NewRequestWithContext(ctx, method, "http://h/", strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Mcp-Session-Id", id)
	return r
}

// keeps is what a session has in memory: what it keeps and what is being written.
func (s *session) keeps() int {
	size, _ := s.kept()
	s.mu.Lock()
	defer s.mu.Unlock()
	return size + s.held
}

// writing is how much of that is being written.
func (s *session) writing() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.held
}

// Rules D6, G: a client that opens the session's stream and does not read it ends
// with its connection; what is kept for it meanwhile is bounded.
func TestSlowStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const buffer = 1 << 20
		h, p, id := directHub(t, HubConfig{Buffer: buffer})
		defer h.Close()
		s := h.find(id)
		w, began, over := newStuckWriter(1000), time.Now(), make(chan time.Duration, 1)
		go func() {
			h.ServeHTTP(w, request(t.Context(), "GET", id, ""))
			over <- time.Since(began)
		}()
		synctest.Wait()
		for n := range 10000 {
			p.deliver([]byte(fmt.Sprintf(`{"jsonrpc":"2.0","method":"notifications/message","params":{"n":%d,"x":%q}}`, n, strings.Repeat("x", 1000))))
			if n%100 == 0 {
				synctest.Wait()
			}
			if got := s.keeps(); got > buffer+maxTake {
				t.Fatalf("%d bytes are kept, want %d at most", got, buffer+maxTake)
			}
		}
		if took := <-over; took != DefaultStall {
			t.Errorf("ended after %s, want %s", took, DefaultStall)
		}
		if s.writing() != 0 || s.reading() != 0 {
			t.Errorf("%d bytes are being written for %d readers", s.writing(), s.reading())
		}
		// It may come back, and goes on with what is kept.
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if got := direct(ctx, h, "GET", id, "").Body.String(); !strings.Contains(got, `"n":9999,`) {
			t.Errorf("got %d bytes without the last", len(got))
		}
	})
}

// Streams that are opened one after the other and not read, each of which takes over
// what is kept, hold little of it each.
func TestSlowStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const buffer, streams = 2 << 20, 20
		h, p, id := directHub(t, HubConfig{Buffer: buffer})
		defer h.Close()
		s := h.find(id)
		var wg sync.WaitGroup
		for range streams {
			for range buffer / 1000 {
				p.deliver([]byte(`{"jsonrpc":"2.0","method":"notifications/message","params":{"x":"` + strings.Repeat("x", 1000) + `"}}`))
			}
			wg.Go(func() { h.ServeHTTP(newStuckWriter(1000), request(t.Context(), "GET", id, "")) })
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

// A client that reads slowly, and reads, is left alone.
func TestSlowReaderStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, p, id := directHub(t, HubConfig{})
		defer h.Close()
		big := `{"jsonrpc":"2.0","id":1,"result":"` + strings.Repeat("y", 1<<20) + `"}`
		go func() {
			<-p.got
			p.deliver([]byte(big))
		}()
		w := newStuckWriter(partSize)
		ctx, stop := context.WithCancel(t.Context())
		var reads sync.WaitGroup
		defer reads.Wait()
		defer stop()
		reads.Go(func() {
			for ctx.Err() == nil {
				time.Sleep(DefaultStall - 2*time.Second)
				w.mu.Lock()
				w.left += partSize
				w.mu.Unlock()
			}
		})
		h.ServeHTTP(slowWriter{w}, request(t.Context(), "POST", id, callOf("1", "t")))
		if got := w.body.String(); got != big {
			t.Errorf("got %d bytes, want %d", len(got), len(big))
		}
	})
}

// slowWriter waits until its client accepts more.
type slowWriter struct{ *stuckWriter }

func (w slowWriter) Write(p []byte) (int, error) {
	for {
		w.mu.Lock()
		enough := w.left >= len(p)
		w.mu.Unlock()
		select {
		case <-w.cut:
			return 0, os.ErrDeadlineExceeded
		default:
		}
		if enough {
			return w.stuckWriter.Write(p)
		}
		time.Sleep(time.Second)
	}
}

// Rules D6, G: answers that nobody reads do not pile up: the server waits, until the
// clients that do not read have been cut off. Nothing else waits for longer.
func TestSlowAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const buffer, size, calls = 256 << 10, 256 << 10, 100
		h, p, id := directHub(t, HubConfig{Buffer: buffer})
		defer h.Close()
		s := h.find(id)
		var wg sync.WaitGroup
		for n := range calls {
			wg.Go(func() {
				h.ServeHTTP(newStuckWriter(1000), request(t.Context(), "POST", id, callOf(strconv.Itoa(n), "t")))
			})
		}
		for range calls {
			<-p.got
		}
		most := 0
		delivered := make(chan time.Duration, 1)
		began := time.Now()
		go func() {
			for n := range calls {
				p.deliver([]byte(fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"result":%q}`, n, strings.Repeat("x", size))))
				most = max(most, s.keeps())
			}
			delivered <- time.Since(began)
		}()
		wg.Wait()
		took := <-delivered
		// Each is kept for a client that comes back, and is being written.
		if bound := 2 * (maxUnread + 2) * buffer; most > bound {
			t.Errorf("%d bytes are kept, want %d at most", most, bound)
		}
		if took > calls/(maxUnread-2)*DefaultStall {
			t.Errorf("took %s", took)
		}
		done := make(chan string, 1)
		go func() { done <- direct(t.Context(), h, "POST", id, callOf("200", "t")).Body.String() }()
		<-p.got
		p.deliver([]byte(`{"jsonrpc":"2.0","id":200,"result":1}`))
		if got := <-done; got != `{"jsonrpc":"2.0","id":200,"result":1}` {
			t.Errorf("after that: %s", got)
		}
	})
}

// The end of a session ends the wait of its server.
func TestSlowAnswersEnd(t *testing.T) {
	for _, end := range []string{"delete", "cancel", "close"} {
		t.Run(end, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h, p, id := directHub(t, HubConfig{Buffer: 1000})
				defer h.Close()
				var wg sync.WaitGroup
				for n := range 2 {
					wg.Go(func() {
						h.ServeHTTP(newStuckWriter(100), request(t.Context(), "POST", id, callOf(strconv.Itoa(n), "t")))
					})
					<-p.got
				}
				big := strings.Repeat("x", maxUnread*1000)
				delivered := make(chan struct{})
				go func() {
					defer close(delivered)
					p.deliver([]byte(`{"jsonrpc":"2.0","id":0,"result":"` + big + `"}`))
					p.deliver([]byte(`{"jsonrpc":"2.0","id":1,"result":"` + big + `"}`))
				}()
				synctest.Wait()
				select {
				case <-delivered:
					t.Fatal("the server does not wait")
				default:
				}
				switch end {
				case "delete":
					direct(t.Context(), h, "DELETE", id, "")
				case "cancel":
					direct(t.Context(), h, "POST", id, `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}`)
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
func TestSlowLegacy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const buffer, size = 1 << 20, 100 << 10
		p := &scripted{got: make(chan string, 10), done: make(chan struct{})}
		h := NewHub(HubConfig{Buffer: buffer, Start: func(_ context.Context, _ *http.Request, deliver func([]byte)) (Peer, error) {
			p.deliver = deliver
			return p, nil
		}})
		defer h.Close()
		w, began, over := newStuckWriter(1000), time.Now(), make(chan time.Duration, 1)
		go func() {
			h.ServeSSE(w, httptest.NewRequestWithContext(t.Context(), "GET", "http://h/sse", nil), "/message")
			over <- time.Since(began)
		}()
		synctest.Wait()
		w.mu.Lock()
		_, id, _ := strings.Cut(strings.TrimSpace(w.body.String()), "sessionId=")
		w.mu.Unlock()
		s := h.find(id)
		if s == nil {
			t.Fatalf("no session %q", id)
		}
		go func() {
			for n := 0; ; n++ {
				select {
				case <-p.got:
					p.deliver([]byte(fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"result":%q}`, n, strings.Repeat("x", size))))
				case <-p.done:
					return
				}
			}
		}()
		accepted, most := 0, 0
		for n := range 1000 {
			r := httptest.NewRequestWithContext(t.Context(), "POST", "http://h/message?sessionId="+id, strings.NewReader(callOf(strconv.Itoa(n), "t")))
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
			if len(p.got) == cap(p.got) {
				break
			}
		}
		if bound := (maxUnread + 1) * buffer; most > bound || accepted < 10 {
			t.Errorf("%d bytes are kept after %d requests, want %d at most", most, accepted, bound)
		}
		if took := <-over; took != DefaultStall {
			t.Errorf("the stream ended after %s, want %s", took, DefaultStall)
		}
		synctest.Wait()
		if h.Len() != 0 {
			t.Error("the session is left")
		}
		for len(p.got) > 0 {
			<-p.got
		}
	})
}
