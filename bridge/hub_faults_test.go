package bridge

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/stdio"
)

// eventually waits until a condition holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !holds(); {
		if time.Now().After(end) {
			t.Fatalf("after 20 s: %s", what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// within fails where something takes too long.
func within(t *testing.T, what string, do func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		do()
	}()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		buf := make([]byte, 1<<20)
		t.Fatalf("%s is not done after 20 s\n%s", what, buf[:runtime.Stack(buf, true)])
	}
}

// farm serves a hub with a scripted server for each session, and returns what
// begins one.
func farm(t *testing.T, cfg HubConfig) (h *Hub, url string, begin func(version string) (*scripted, *session)) {
	t.Helper()
	version := "2025-11-25"
	started := make(chan *scripted, 1)
	cfg.Start = func(_ context.Context, _ *http.Request, deliver func([]byte)) (Peer, error) {
		p := &scripted{
			deliver: deliver, got: make(chan string, 20000), done: make(chan struct{}),
			initial: strings.Replace(initialized, "2025-11-25", version, 1),
		}
		started <- p
		return p, nil
	}
	h, url = serveHub(t, cfg)
	return h, url, func(v string) (*scripted, *session) {
		t.Helper()
		version = v
		id := beginHub(t, url, v)
		p := <-started
		<-p.got // notifications/initialized
		return p, h.find(id)
	}
}

// kept is what a session keeps, in bytes, and how many streams.
func (s *session) kept() (size, streams int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	size = s.general.used
	for _, st := range s.streams {
		size += st.used
	}
	return size, len(s.streams)
}

// reading says how many streams have a reader.
func (s *session) reading() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, st := range append([]*stream{s.general}, s.streams...) {
		if st.reader != nil {
			n++
		}
	}
	return n
}

func progressOf(token string, n int, pad int) string {
	return fmt.Sprintf(`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":%q,"progress":%d,"message":%q}}`, token, n, strings.Repeat("x", pad))
}

func callOf(id, token string) string {
	return fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"method":"tools/call","params":{"_meta":{"progressToken":%q}}}`, id, token)
}

// Rule D6: what is kept for a client that does not read is bounded, wherever it is
// kept; the oldest goes first, and a request that goes is answered with an error.
func TestHubBuffer(t *testing.T) {
	const buffer, pad = 64 << 10, 1000
	request := func(n int) string {
		return fmt.Sprintf(`{"jsonrpc":"2.0","id":"s%d","method":"sampling/createMessage","params":{"x":%q}}`, n, strings.Repeat("x", pad))
	}
	refusals := func(p *scripted) (n int) {
		for {
			select {
			case got := <-p.got:
				if want := fmt.Sprintf(`"id":"s%d","error"`, n); !strings.Contains(got, want) {
					t.Errorf("the server got %s, want %s", got, want)
				}
				n++
			default:
				return n
			}
		}
	}

	t.Run("notifications", func(t *testing.T) {
		_, url, begin := farm(t, HubConfig{Buffer: buffer})
		p, s := begin("2025-11-25")
		for n := range 2000 {
			p.deliver([]byte(fmt.Sprintf(`{"jsonrpc":"2.0","method":"notifications/message","params":{"n":%d,"x":%q}}`, n, strings.Repeat("x", pad))))
			if size, _ := s.kept(); size > buffer {
				t.Fatalf("%d bytes are kept, want at most %d", size, buffer)
			}
		}
		size, _ := s.kept()
		if size < buffer/2 {
			t.Errorf("%d bytes are kept, of %d", size, buffer)
		}
		_, next := events(t, "GET", url, s.id, "")
		first := -1
		for n := -1; n < 1999; {
			id, data := next()
			var got int
			if _, err := fmt.Sscanf(data, `{"jsonrpc":"2.0","method":"notifications/message","params":{"n":%d`, &got); err != nil || id != "0-"+strconv.Itoa(got) {
				t.Fatalf("event %s: %.100s (%v)", id, data, err)
			}
			if first < 0 {
				first = got
			} else if got != n+1 {
				t.Errorf("event %d after %d", got, n)
			}
			n = got
		}
		if first < 1900 || first > 1960 {
			t.Errorf("the first that was kept is %d", first)
		}
	})

	t.Run("requests", func(t *testing.T) {
		_, url, begin := farm(t, HubConfig{Buffer: buffer})
		p, s := begin("2025-11-25")
		for n := range 500 {
			p.deliver([]byte(request(n)))
		}
		lost := refusals(p)
		_, next := events(t, "GET", url, s.id, "")
		for n := lost; n < 500; n++ {
			if _, data := next(); data != request(n) {
				t.Fatalf("got %.60s, want request %d: it was not answered", data, n)
			}
		}
		if lost < 400 {
			t.Errorf("%d were answered", lost)
		}
	})

	// The client of a call has gone: progress and requests of the call are bounded
	// as well, and its answer is there when the client comes back.
	for _, kind := range []string{"progress", "requests"} {
		t.Run(kind+" of a call", func(t *testing.T) {
			_, url, begin := farm(t, HubConfig{Buffer: buffer})
			p, s := begin("2025-11-25")
			go func() {
				<-p.got
				p.deliver([]byte(progressOf("t", 0, 0)))
			}()
			res, next := events(t, "POST", url, s.id, callOf("1", "t"))
			at, _ := next()
			_ = res.Body.Close()
			eventually(t, "the client is still there", func() bool { return s.reading() == 0 })
			for n := range 2000 {
				if kind == "progress" {
					p.deliver([]byte(progressOf("t", n+1, pad)))
				} else {
					p.deliver([]byte(request(n)))
				}
				if size, _ := s.kept(); size > buffer {
					t.Fatalf("%d bytes are kept, want at most %d", size, buffer)
				}
			}
			if lost := refusals(p); kind == "requests" && lost < 1900 {
				t.Errorf("%d requests were answered", lost)
			}
			p.deliver([]byte(`{"jsonrpc":"2.0","id":1,"result":1}`))
			if res, _ := exchangeHub(t, "GET", url, "", "Mcp-Session-Id", s.id, "Last-Event-ID", at); res.StatusCode != 400 {
				t.Errorf("events that went are resumed: %d", res.StatusCode)
			}
			s.mu.Lock()
			last := s.streams[0].end() - 1
			s.mu.Unlock()
			_, body := exchangeHub(t, "GET", url, "", "Mcp-Session-Id", s.id, "Last-Event-ID", fmt.Sprintf("%s-%d", strings.Split(at, "-")[0], last-1))
			if !strings.Contains(body, `{"jsonrpc":"2.0","id":1,"result":1}`) {
				t.Errorf("the answer is lost: %.200s", body)
			}
		})
	}

	t.Run("after an answer of a batch", func(t *testing.T) {
		_, url, begin := farm(t, HubConfig{Buffer: buffer})
		p, s := begin("2025-03-26")
		res, next := events(t, "POST", url, s.id, "["+callOf("1", "a")+","+callOf("2", "b")+"]")
		p.deliver([]byte(progressOf("a", 0, 0)))
		at, _ := next()
		_ = res.Body.Close()
		eventually(t, "the client is still there", func() bool { return s.reading() == 0 })
		p.deliver([]byte(`{"jsonrpc":"2.0","id":1,"result":1}`))
		for n := range 2000 {
			p.deliver([]byte(progressOf("b", n, pad)))
			if size, _ := s.kept(); size > buffer+100 {
				t.Fatalf("%d bytes are kept, want about %d", size, buffer)
			}
		}
		p.deliver([]byte(`{"jsonrpc":"2.0","id":2,"result":2}`))
		_, body := exchangeHub(t, "GET", url, "", "Mcp-Session-Id", s.id, "Last-Event-ID", at)
		for _, want := range []string{`{"jsonrpc":"2.0","id":1,"result":1}`, `{"jsonrpc":"2.0","id":2,"result":2}`} {
			if strings.Count(body, want) != 1 {
				t.Errorf("%s is not there once", want)
			}
		}
	})

	t.Run("of a slow reader", func(t *testing.T) {
		_, url, begin := farm(t, HubConfig{Buffer: buffer, Stall: time.Hour})
		p, s := begin("2025-11-25")
		_, next := events(t, "GET", url, s.id, "")
		const all = 4000
		for n := range all {
			p.deliver([]byte(fmt.Sprintf(`{"jsonrpc":"2.0","method":"notifications/message","params":{"n":%d,"x":%q}}`, n, strings.Repeat("x", 10*pad))))
			if size, _ := s.kept(); size > buffer {
				t.Fatalf("%d bytes are kept", size)
			}
		}
		for last := -1; last < all-1; {
			_, data := next()
			var n int
			if _, err := fmt.Sscanf(data, `{"jsonrpc":"2.0","method":"notifications/message","params":{"n":%d`, &n); err != nil || n <= last {
				t.Fatalf("got %.80s after %d (%v)", data, last, err)
			}
			last = n
		}
	})

	t.Run("of an answer larger than it", func(t *testing.T) {
		_, url, begin := farm(t, HubConfig{Buffer: buffer})
		p, s := begin("2025-11-25")
		big := `{"jsonrpc":"2.0","id":1,"result":"` + strings.Repeat("y", 4<<20) + `"}`
		go func() {
			<-p.got
			p.deliver([]byte(big))
			p.deliver([]byte(`{"jsonrpc":"2.0","method":"notifications/message"}`))
		}()
		if _, body := exchangeHub(t, "POST", url, callOf("1", "t"), "Mcp-Session-Id", s.id); body != big {
			t.Errorf("got %d bytes, want %d", len(body), len(big))
		}
		// And where the client has to come back for it.
		go func() {
			<-p.got
			p.deliver([]byte(progressOf("t", 0, 0)))
		}()
		res, next := events(t, "POST", url, s.id, callOf("1", "t"))
		at, _ := next()
		_ = res.Body.Close()
		eventually(t, "the client is still there", func() bool { return s.reading() == 0 })
		p.deliver([]byte(big))
		for range 10 {
			p.deliver([]byte(`{"jsonrpc":"2.0","method":"notifications/message"}`))
		}
		if _, body := exchangeHub(t, "GET", url, "", "Mcp-Session-Id", s.id, "Last-Event-ID", at); !strings.Contains(body, big) {
			t.Errorf("got %d bytes, want %d", len(body), len(big))
		}
	})
}

// Answers that nobody fetches, and calls that were taken back, are bounded in
// number.
func TestHubFinishedStreams(t *testing.T) {
	_, url, begin := farm(t, HubConfig{})
	for _, end := range []string{"answered", "cancelled"} {
		t.Run(end, func(t *testing.T) {
			p, s := begin("2025-11-25")
			for n := range 5 * maxFinished {
				ctx, cancel := context.WithCancel(t.Context())
				gone := make(chan struct{})
				go func() {
					defer close(gone)
					req, _ := http.NewRequestWithContext(ctx, "POST", url, strings.NewReader(callOf(strconv.Itoa(n), "t")))
					req.Header.Set("Content-Type", "application/json")
					req.Header.Set("Mcp-Session-Id", s.id)
					if res, err := http.DefaultClient.Do(req); err == nil {
						_ = res.Body.Close()
					}
				}()
				<-p.got
				cancel()
				<-gone
				eventually(t, "the client is still there", func() bool { return s.reading() == 0 })
				if end == "answered" {
					p.deliver([]byte(fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"result":{}}`, n)))
				} else {
					exchangeHub(t, "POST", url, fmt.Sprintf(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":%d}}`, n), "Mcp-Session-Id", s.id)
					<-p.got
				}
			}
			if _, n := s.kept(); n > maxFinished {
				t.Errorf("%d finished streams are kept, want at most %d", n, maxFinished)
			}
			s.mu.Lock()
			defer s.mu.Unlock()
			if len(s.pending) != 0 || len(s.progress) > maxFinished {
				t.Errorf("%d pending, %d progress tokens", len(s.pending), len(s.progress))
			}
		})
	}
}

// Sessions that come and go, however they go, leave nothing behind.
func TestHubChurn(t *testing.T) {
	h, url, begin := farm(t, HubConfig{Sessions: 100})
	exchangeHub(t, "GET", url, "")
	before := runtime.NumGoroutine()
	for n := range 1000 {
		p, s := begin("2025-11-25")
		switch n % 4 {
		case 0:
			if res, _ := exchangeHub(t, "DELETE", url, "", "Mcp-Session-Id", s.id); res.StatusCode != 204 {
				t.Fatalf("DELETE: %d", res.StatusCode)
			}
		case 1: // as a server of long ago, so that nothing is held back
			s.mu.Lock()
			s.begun = s.begun.Add(-time.Minute)
			s.mu.Unlock()
			_ = p.Close()
			eventually(t, "the session is still there", func() bool { return h.find(s.id) == nil })
		case 2:
			h.end(s, EndClient)
		case 3:
			res, _ := events(t, "GET", url, s.id, "")
			h.end(s, EndClient)
			if _, err := io.Copy(io.Discard, res.Body); err != nil {
				t.Fatal(err)
			}
		}
		<-p.done
	}
	if h.Len() != 0 {
		t.Errorf("%d sessions", h.Len())
	}
	eventually(t, "goroutines are left", func() bool {
		http.DefaultClient.CloseIdleConnections()
		return runtime.NumGoroutine() <= before
	})
}

// direct serves one request without a network.
func direct(ctx context.Context, h http.Handler, method, id, body string, header ...string) *httptest.ResponseRecorder {
	req := httptest.NewRequestWithContext(ctx, method, "http://h/", strings.NewReader(body))
	req.Header.Set("Content-Type", "application/json")
	if id != "" {
		req.Header.Set("Mcp-Session-Id", id)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Add(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, req)
	return w
}

// directHub returns a hub of one scripted server, with a session.
func directHub(t *testing.T, cfg HubConfig) (h *Hub, p *scripted, id string) {
	t.Helper()
	p = &scripted{got: make(chan string, 1000), done: make(chan struct{}), initial: initialized}
	cfg.Start = func(_ context.Context, _ *http.Request, deliver func([]byte)) (Peer, error) {
		p.deliver = deliver
		return p, nil
	}
	h = NewHub(cfg)
	w := direct(t.Context(), h, "POST", "", fmt.Sprintf(initializeBody, "2025-11-25"))
	if id = w.Header().Get("Mcp-Session-Id"); id == "" {
		t.Fatalf("initialize: %d %s", w.Code, w.Body)
	}
	return h, p, id
}

// Rule D6: idle and absolute lifetime.
func TestHubTimes(t *testing.T) {
	cfg := HubConfig{Idle: 10 * time.Minute, Lifetime: time.Hour, KeepAlive: 15 * time.Second}
	ping := `{"jsonrpc":"2.0","method":"notifications/x"}`
	run := func(name string, test func(t *testing.T, h *Hub, p *scripted, id string)) {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h, p, id := directHub(t, cfg)
				test(t, h, p, id)
				h.Close()
				if h.Len() != 0 {
					t.Errorf("%d sessions", h.Len())
				}
			})
		})
	}
	closed := func(p *scripted) bool {
		synctest.Wait()
		select {
		case <-p.done:
			return true
		default:
			return false
		}
	}

	run("idle", func(t *testing.T, h *Hub, p *scripted, id string) {
		for range 3 {
			time.Sleep(9 * time.Minute)
			if w := direct(t.Context(), h, "POST", id, ping); w.Code != 202 {
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
		if w := direct(t.Context(), h, "POST", id, ping); w.Code != 404 {
			t.Errorf("after its end: %d", w.Code)
		}
	})

	run("lifetime", func(t *testing.T, h *Hub, p *scripted, id string) {
		for range 11 {
			time.Sleep(5 * time.Minute)
			direct(t.Context(), h, "POST", id, ping)
		}
		if closed(p) {
			t.Error("ended too early")
		}
		time.Sleep(5*time.Minute + time.Second)
		if !closed(p) || h.Len() != 0 {
			t.Error("did not end")
		}
	})

	run("an open stream", func(t *testing.T, h *Hub, p *scripted, id string) {
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan *httptest.ResponseRecorder, 1)
		go func() { done <- direct(ctx, h, "GET", id, "") }()
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

	run("a long call until the end of its lifetime", func(t *testing.T, h *Hub, p *scripted, id string) {
		done := make(chan *httptest.ResponseRecorder, 1)
		go func() { done <- direct(t.Context(), h, "POST", id, callOf("1", "t")) }()
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

	run("deleted", func(t *testing.T, h *Hub, p *scripted, id string) {
		done := make(chan *httptest.ResponseRecorder, 20)
		for n := range 20 {
			go func() { done <- direct(t.Context(), h, "POST", id, callOf(strconv.Itoa(n), "t")) }()
		}
		synctest.Wait()
		if w := direct(t.Context(), h, "DELETE", id, ""); w.Code != 204 {
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

// Everything ends with the hub, at once, and is answered.
func TestHubCloses(t *testing.T) {
	h, url, begin := farm(t, HubConfig{})
	_, s := begin("2025-11-25")
	var wg sync.WaitGroup
	for n := range 10 {
		wg.Go(func() {
			if res, body := exchangeHub(t, "POST", url, callOf(strconv.Itoa(n), "t"), "Mcp-Session-Id", s.id); res.StatusCode != 200 || !strings.Contains(body, fmt.Sprintf(`"id":%d,"error"`, n)) {
				t.Errorf("a call got %d %s", res.StatusCode, body)
			}
		})
	}
	wg.Go(func() {
		if res, body := exchangeHub(t, "GET", url, "", "Mcp-Session-Id", s.id); res.StatusCode != 200 || body != "" {
			t.Errorf("the stream got %d %s", res.StatusCode, body)
		}
	})
	wg.Go(func() {
		// The server gives no answer to this id.
		if res, body := exchangeHub(t, "POST", url, strings.Replace(fmt.Sprintf(initializeBody, "2025-11-25"), `"i"`, `"j"`, 1)); res.StatusCode != 502 || !strings.Contains(body, `"id":"j","error"`) || res.Header.Get("Mcp-Session-Id") != "" {
			t.Errorf("initialize got %d %s", res.StatusCode, body)
		}
	})
	eventually(t, "not all are under way", func() bool { return s.reading() == 11 && h.Len() == 2 })
	within(t, "Close", h.Close)
	within(t, "the requests", wg.Wait)
	if res, body := exchangeHub(t, "POST", url, fmt.Sprintf(initializeBody, "2025-11-25")); res.StatusCode != 503 || res.Header.Get("Retry-After") == "" {
		t.Errorf("initialize got %d %s", res.StatusCode, body)
	}
}

// Sessions that end by themselves, by their clients and with the hub at once.
func TestHubClosesAmidEnds(t *testing.T) {
	for range 50 {
		h := NewHub(HubConfig{Start: func(_ context.Context, _ *http.Request, deliver func([]byte)) (Peer, error) {
			return &scripted{deliver: deliver, got: make(chan string, 10), done: make(chan struct{}), initial: initialized}, nil
		}})
		var wg sync.WaitGroup
		for n := range 8 {
			wg.Go(func() {
				id := direct(t.Context(), h, "POST", "", fmt.Sprintf(initializeBody, "2025-11-25")).Header().Get("Mcp-Session-Id")
				s := h.find(id)
				if s == nil {
					return // it was closed before
				}
				switch n % 3 {
				case 0:
					direct(t.Context(), h, "DELETE", id, "")
				case 1:
					_ = s.peer.Close()
				}
			})
		}
		wg.Go(h.Close)
		within(t, "the end", wg.Wait)
		h.Close()
		if h.Len() != 0 {
			t.Fatalf("%d sessions", h.Len())
		}
	}
}

// A session that ends while a request is on its way is gone for that request as for
// the next: 404, which has clients initialize again.
func TestHubEndsInBetween(t *testing.T) {
	for name, body := range map[string]string{
		"request": callOf("1", "t"), "notification": `{"jsonrpc":"2.0","method":"x"}`,
	} {
		t.Run(name, func(t *testing.T) {
			h, p, id := directHub(t, HubConfig{})
			defer h.Close()
			s := h.find(id)
			if !s.enter() {
				t.Fatal("no session")
			}
			defer s.leave()
			h.end(s, EndClient)
			<-p.done
			p.sendFail = true
			all, err := readMessages([]byte(body))
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

// Rule D5: a server may end at every step.
func TestHubServerDies(t *testing.T) {
	t.Run("before it answers initialize", func(t *testing.T) {
		started := make(chan *scripted, 1)
		h, url := serveHub(t, HubConfig{Start: func(_ context.Context, _ *http.Request, deliver func([]byte)) (Peer, error) {
			p := &scripted{deliver: deliver, got: make(chan string, 10), done: make(chan struct{})}
			started <- p
			return p, nil
		}})
		go func() {
			p := <-started
			<-p.got
			_ = p.Close()
		}()
		res, body := exchangeHub(t, "POST", url, fmt.Sprintf(initializeBody, "2025-11-25"))
		if res.StatusCode != 502 || !strings.Contains(body, `"id":"i","error"`) || res.Header.Get("Mcp-Session-Id") != "" || h.Len() != 0 {
			t.Errorf("got %d %s, %d sessions", res.StatusCode, body, h.Len())
		}
	})
	t.Run("after it", func(t *testing.T) {
		h, url, begin := farm(t, HubConfig{})
		p, s := begin("2025-11-25")
		_ = p.Close()
		eventually(t, "the session is still there", func() bool { return h.Len() == 0 })
		for _, method := range []string{"POST", "GET", "DELETE"} {
			if res, _ := exchangeHub(t, method, url, callOf("1", "t"), "Mcp-Session-Id", s.id); res.StatusCode != 404 {
				t.Errorf("%s: %d", method, res.StatusCode)
			}
		}
	})
	t.Run("with what is pending", func(t *testing.T) {
		h, url, begin := farm(t, HubConfig{})
		p, s := begin("2025-11-25")
		_, general := events(t, "GET", url, s.id, "")
		go func() {
			<-p.got
			p.deliver([]byte(progressOf("t", 0, 0)))
		}()
		_, call := events(t, "POST", url, s.id, callOf("1", "t"))
		call()
		_ = p.Close()
		if _, data := call(); !strings.Contains(data, `"id":1,"error"`) {
			t.Errorf("the call got %s", data)
		}
		if _, data := call(); data != "" {
			t.Errorf("after its answer: %s", data)
		}
		if _, data := general(); data != "" {
			t.Errorf("the stream got %s", data)
		}
		eventually(t, "the session is still there", func() bool { return h.Len() == 0 })
	})
	t.Run("again and again", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			starts := 0
			h := NewHub(HubConfig{Start: func(context.Context, *http.Request, func([]byte)) (Peer, error) {
				starts++
				p := &scripted{got: make(chan string, 10), done: make(chan struct{})}
				go func() {
					<-p.got
					_ = p.Close()
				}()
				return p, nil
			}})
			refused := 0
			for range 600 {
				if w := direct(t.Context(), h, "POST", "", fmt.Sprintf(initializeBody, "2025-11-25")); w.Code == 503 && w.Header().Get("Retry-After") != "" {
					refused++
				} else if w.Code != 502 {
					t.Errorf("got %d", w.Code)
				}
				time.Sleep(time.Second)
			}
			if starts > 20 || starts < 10 || refused != 600-starts {
				t.Errorf("%d starts and %d refusals in 10 minutes", starts, refused)
			}
			h.Close()
		})
	})
}

// Servers that one client's requests kill do not have other clients wait; those that
// end before they answer anything do.
func TestHubBackoffIsOfStarts(t *testing.T) {
	h, url, begin := farm(t, HubConfig{})
	for range 10 * backoffFree {
		p, s := begin("2025-11-25")
		done := posted(t, url, s.id, callOf("1", "t"))
		<-p.got
		_ = p.Close()
		if got := <-done; !strings.Contains(got, `"id":1,"error"`) {
			t.Fatalf("got %s", got)
		}
		eventually(t, "the session is still there", func() bool { return h.Len() == 0 })
	}
}

// calling is a peer that answers within Send, before that returns.
type calling struct{ scripted }

func (p *calling) Send(_ *http.Request, frame []byte) error {
	if strings.Contains(string(frame), `"initialize"`) {
		p.deliver([]byte(initialized))
		return nil
	}
	if strings.Contains(string(frame), `"error"`) {
		p.deliver([]byte(`{"jsonrpc":"2.0","method":"notifications/message"}`))
	}
	p.got <- string(frame)
	return nil
}

// A peer may deliver while it takes a message: none is sent under a lock.
func TestHubPeerCallsBack(t *testing.T) {
	p := &calling{scripted{got: make(chan string, 1000), done: make(chan struct{})}}
	h := NewHub(HubConfig{Buffer: 1000, Start: func(_ context.Context, _ *http.Request, deliver func([]byte)) (Peer, error) {
		p.deliver = deliver
		return p, nil
	}})
	id := direct(t.Context(), h, "POST", "", fmt.Sprintf(initializeBody, "2025-11-25")).Header().Get("Mcp-Session-Id")
	if id == "" {
		t.Fatal("no session")
	}
	within(t, "the flood", func() {
		for n := range 100 {
			p.deliver([]byte(fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":"sampling/createMessage"}`, n)))
		}
	})
	within(t, "Close", h.Close)
}

// A server that cannot be started is told apart from one that ends.
func TestHubStartFails(t *testing.T) {
	h, url := serveHub(t, HubConfig{Start: func(context.Context, *http.Request, func([]byte)) (Peer, error) {
		return nil, errors.New("/secret/path: no such file")
	}})
	res, body := exchangeHub(t, "POST", url, fmt.Sprintf(initializeBody, "2025-11-25"))
	if res.StatusCode != 502 || strings.Contains(body, "secret") || h.Len() != 0 {
		t.Errorf("got %d %s, %d sessions", res.StatusCode, body, h.Len())
	}
}

// Rule G: a server that takes nothing is not started in a loop, whichever is noticed
// first: that it takes nothing, or that it has ended.
func TestBackoffOfWhatTakesNothing(t *testing.T) {
	for name, body := range map[string]string{
		"initialize": `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"c","version":"1"}}}`,
		"stateless":  ask("1", "tools/list", ""),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				starts := 0
				h := NewHub(HubConfig{Start: func(context.Context, *http.Request, func([]byte)) (Peer, error) {
					starts++
					return &program{
						got: make(chan message.Message, 10), done: make(chan struct{}),
						refuse: func(*http.Request, message.Message) error { return stdio.ErrClosed },
					}, nil
				}})
				defer h.Close()
				for range backoffFree + 3 {
					r := httptest.NewRequest(http.MethodPost, "http://h/", strings.NewReader(body))
					r.Header.Set("Content-Type", "application/json")
					r.Header.Set("Accept", "application/json, text/event-stream")
					if name == "stateless" {
						r.Header.Set("Mcp-Protocol-Version", "2026-07-28")
						r.Header.Set("Mcp-Method", "tools/list")
					}
					h.ServeHTTP(httptest.NewRecorder(), r)
					synctest.Wait()
				}
				if starts != backoffFree {
					t.Errorf("started %d times, want %d", starts, backoffFree)
				}
			})
		})
	}
}
