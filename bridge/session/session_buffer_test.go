package session

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/servers"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/hubtest"
)

// kept is what a session keeps, in bytes, and how many streams.
func (s *session) kept() (size, streams int) {
	s.streams.out.Lock()
	defer s.streams.out.Unlock()
	size = s.streams.general.used
	for _, st := range s.streams.posts {
		size += st.used
	}
	return size, len(s.streams.posts)
}

// reading says how many streams have a reader.
func (s *session) reading() (n int) {
	s.streams.out.Lock()
	defer s.streams.out.Unlock()
	for _, st := range s.streams.all() {
		if st.reader != nil {
			n++
		}
	}
	return n
}

// Rule D6: what is kept for a client that does not read is bounded, wherever it is
// kept; the oldest goes first, and a request that goes is answered with an error.
func TestWhatAClientDoesNotReadIsBounded(t *testing.T) {
	const buffer, pad = 64 << 10, 1000
	request := func(n int) string {
		return fmt.Sprintf(`{"jsonrpc":"2.0","id":"s%d","method":"sampling/createMessage","params":{"x":%q}}`, n, strings.Repeat("x", pad))
	}
	refusals := func(p *hubtest.Scripted) (n int) {
		for {
			select {
			case got := <-p.Got:
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
		_, url, begin := farm(t, servers.Config{Buffer: buffer})
		p, s := begin("2025-11-25")
		for n := range 2000 {
			p.Deliver([]byte(fmt.Sprintf(`{"jsonrpc":"2.0","method":"notifications/message","params":{"n":%d,"x":%q}}`, n, strings.Repeat("x", pad))))
			if size, _ := s.kept(); size > buffer {
				t.Fatalf("%d bytes are kept, want at most %d", size, buffer)
			}
		}
		size, _ := s.kept()
		if size < buffer/2 {
			t.Errorf("%d bytes are kept, of %d", size, buffer)
		}
		_, next := hubtest.Events(t, "GET", url, s.id, "")
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
		_, url, begin := farm(t, servers.Config{Buffer: buffer})
		p, s := begin("2025-11-25")
		for n := range 500 {
			p.Deliver([]byte(request(n)))
		}
		lost := refusals(p)
		_, next := hubtest.Events(t, "GET", url, s.id, "")
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
			_, url, begin := farm(t, servers.Config{Buffer: buffer})
			p, s := begin("2025-11-25")
			go func() {
				<-p.Got
				p.Deliver([]byte(hubtest.ProgressOf("t", 0, 0)))
			}()
			res, next := hubtest.Events(t, "POST", url, s.id, hubtest.CallOf("1", "t"))
			at, _ := next()
			_ = res.Body.Close()
			hubtest.Eventually(t, "the client is still there", func() bool { return s.reading() == 0 })
			for n := range 2000 {
				if kind == "progress" {
					p.Deliver([]byte(hubtest.ProgressOf("t", n+1, pad)))
				} else {
					p.Deliver([]byte(request(n)))
				}
				if size, _ := s.kept(); size > buffer {
					t.Fatalf("%d bytes are kept, want at most %d", size, buffer)
				}
			}
			if lost := refusals(p); kind == "requests" && lost < 1900 {
				t.Errorf("%d requests were answered", lost)
			}
			p.Deliver([]byte(`{"jsonrpc":"2.0","id":1,"result":1}`))
			if res, _ := hubtest.ExchangeHub(t, "GET", url, "", "Mcp-Session-Id", s.id, "Last-Event-ID", at); res.StatusCode != 400 {
				t.Errorf("events that went are resumed: %d", res.StatusCode)
			}
			s.streams.out.Lock()
			last := s.streams.posts[0].end() - 1
			s.streams.out.Unlock()
			_, body := hubtest.ExchangeHub(t, "GET", url, "", "Mcp-Session-Id", s.id, "Last-Event-ID", fmt.Sprintf("%s-%d", strings.Split(at, "-")[0], last-1))
			if !strings.Contains(body, `{"jsonrpc":"2.0","id":1,"result":1}`) {
				t.Errorf("the answer is lost: %.200s", body)
			}
		})
	}

	t.Run("after an answer of a batch", func(t *testing.T) {
		_, url, begin := farm(t, servers.Config{Buffer: buffer})
		p, s := begin("2025-03-26")
		res, next := hubtest.Events(t, "POST", url, s.id, "["+hubtest.CallOf("1", "a")+","+hubtest.CallOf("2", "b")+"]")
		p.Deliver([]byte(hubtest.ProgressOf("a", 0, 0)))
		at, _ := next()
		_ = res.Body.Close()
		hubtest.Eventually(t, "the client is still there", func() bool { return s.reading() == 0 })
		p.Deliver([]byte(`{"jsonrpc":"2.0","id":1,"result":1}`))
		for n := range 2000 {
			p.Deliver([]byte(hubtest.ProgressOf("b", n, pad)))
			if size, _ := s.kept(); size > buffer+100 {
				t.Fatalf("%d bytes are kept, want about %d", size, buffer)
			}
		}
		p.Deliver([]byte(`{"jsonrpc":"2.0","id":2,"result":2}`))
		_, body := hubtest.ExchangeHub(t, "GET", url, "", "Mcp-Session-Id", s.id, "Last-Event-ID", at)
		for _, want := range []string{`{"jsonrpc":"2.0","id":1,"result":1}`, `{"jsonrpc":"2.0","id":2,"result":2}`} {
			if strings.Count(body, want) != 1 {
				t.Errorf("%s is not there once", want)
			}
		}
	})

	t.Run("of a slow reader", func(t *testing.T) {
		_, url, begin := farm(t, servers.Config{Buffer: buffer, Stall: time.Hour})
		p, s := begin("2025-11-25")
		_, next := hubtest.Events(t, "GET", url, s.id, "")
		const all = 4000
		for n := range all {
			p.Deliver([]byte(fmt.Sprintf(`{"jsonrpc":"2.0","method":"notifications/message","params":{"n":%d,"x":%q}}`, n, strings.Repeat("x", 10*pad))))
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
		_, url, begin := farm(t, servers.Config{Buffer: buffer})
		p, s := begin("2025-11-25")
		big := `{"jsonrpc":"2.0","id":1,"result":"` + strings.Repeat("y", 4<<20) + `"}`
		go func() {
			<-p.Got
			p.Deliver([]byte(big))
			p.Deliver([]byte(`{"jsonrpc":"2.0","method":"notifications/message"}`))
		}()
		if _, body := hubtest.ExchangeHub(t, "POST", url, hubtest.CallOf("1", "t"), "Mcp-Session-Id", s.id); !strings.Contains(body, big) { // as JSON, or as an event if that takes long
			t.Errorf("got %d bytes, want %d", len(body), len(big))
		}
		// And where the client has to come back for it.
		go func() {
			<-p.Got
			p.Deliver([]byte(hubtest.ProgressOf("t", 0, 0)))
		}()
		res, next := hubtest.Events(t, "POST", url, s.id, hubtest.CallOf("1", "t"))
		at, _ := next()
		_ = res.Body.Close()
		hubtest.Eventually(t, "the client is still there", func() bool { return s.reading() == 0 })
		p.Deliver([]byte(big))
		for range 10 {
			p.Deliver([]byte(`{"jsonrpc":"2.0","method":"notifications/message"}`))
		}
		if _, body := hubtest.ExchangeHub(t, "GET", url, "", "Mcp-Session-Id", s.id, "Last-Event-ID", at); !strings.Contains(body, big) {
			t.Errorf("got %d bytes, want %d", len(body), len(big))
		}
	})
}

// Answers that nobody fetches, and calls that were taken back, are bounded in
// number.
func TestFinishedStreamsAreBoundedInNumber(t *testing.T) {
	_, url, begin := farm(t, servers.Config{})
	for _, end := range []string{"answered", "cancelled"} {
		t.Run(end, func(t *testing.T) {
			p, s := begin("2025-11-25")
			for n := range 5 * maxFinished {
				ctx, cancel := context.WithCancel(t.Context())
				gone := make(chan struct{})
				go func() {
					defer close(gone)
					req, _ := http.NewRequestWithContext(ctx, "POST", url, strings.NewReader(hubtest.CallOf(strconv.Itoa(n), "t")))
					req.Header.Set("Content-Type", "application/json")
					req.Header.Set("Mcp-Session-Id", s.id)
					if res, err := http.DefaultClient.Do(req); err == nil {
						_ = res.Body.Close()
					}
				}()
				<-p.Got
				cancel()
				<-gone
				hubtest.Eventually(t, "the client is still there", func() bool { return s.reading() == 0 })
				if end == "answered" {
					p.Deliver([]byte(fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"result":{}}`, n)))
				} else {
					hubtest.ExchangeHub(t, "POST", url, fmt.Sprintf(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":%d}}`, n), "Mcp-Session-Id", s.id)
					<-p.Got
				}
			}
			if _, n := s.kept(); n > maxFinished {
				t.Errorf("%d finished streams are kept, want at most %d", n, maxFinished)
			}
			s.streams.out.Lock()
			defer s.streams.out.Unlock()
			if len(s.streams.pending) != 0 || len(s.streams.progress) > maxFinished {
				t.Errorf("%d pending, %d progress tokens", len(s.streams.pending), len(s.streams.progress))
			}
		})
	}
}
