package session

import (
	"fmt"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/servers"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/hubtest"
)

// An id that is in flight is refused, in each way to write it, and the first
// request is unharmed; after its answer the id is free.
func TestIDInFlightIsRefused(t *testing.T) {
	_, url, begin := farm(t, servers.Config{})
	p, s := begin("2025-03-26")
	for _, tc := range []struct{ id, same string }{
		{"1", "1"}, {"1", "1.0"}, {"10", "1e1"}, {`"a"`, `"\u0061"`}, {"0", "-0"}, {"9007199254740993", "9007199254740993"}, {`""`, `""`},
	} {
		first := hubtest.Posted(t, url, s.id, hubtest.CallOf(tc.id, "t"))
		<-p.Got
		if res, body := hubtest.ExchangeHub(t, "POST", url, hubtest.CallOf(tc.same, "u"), "Mcp-Session-Id", s.id); res.StatusCode != 400 || !strings.Contains(body, `"id":`+tc.same+`,"error"`) {
			t.Errorf("%s and %s: got %d %s", tc.id, tc.same, res.StatusCode, body)
		}
		if res, _ := hubtest.ExchangeHub(t, "POST", url, "["+hubtest.CallOf("77", "v")+","+hubtest.CallOf(tc.same, "u")+"]", "Mcp-Session-Id", s.id); res.StatusCode != 400 {
			t.Errorf("%s in a batch: got %d", tc.same, res.StatusCode)
		}
		p.Deliver([]byte(`{"jsonrpc":"2.0","id":` + tc.id + `,"result":1}`))
		if got := <-first; got != `{"jsonrpc":"2.0","id":`+tc.id+`,"result":1}` {
			t.Errorf("got %s", got)
		}
		again := hubtest.Posted(t, url, s.id, hubtest.CallOf(tc.same, "t"))
		<-p.Got
		p.Deliver([]byte(`{"jsonrpc":"2.0","id":` + tc.same + `,"result":2}`))
		if got := <-again; got != `{"jsonrpc":"2.0","id":`+tc.same+`,"result":2}` {
			t.Errorf("again: got %s", got)
		}
	}
	if res, _ := hubtest.ExchangeHub(t, "POST", url, "["+hubtest.CallOf("5", "v")+","+hubtest.CallOf("5.0", "u")+"]", "Mcp-Session-Id", s.id); res.StatusCode != 400 {
		t.Errorf("twice in a batch: got %d", res.StatusCode)
	}
	select {
	case got := <-p.Got:
		t.Errorf("the server got %s", got)
	default:
	}
	s.streams.out.Lock()
	defer s.streams.out.Unlock()
	if len(s.streams.pending) != 0 {
		t.Errorf("%d are pending", len(s.streams.pending))
	}
}

// What a client takes back is not waited for, and its id is free.
func TestIDOfACancelledRequestIsFree(t *testing.T) {
	_, url, begin := farm(t, servers.Config{})
	p, s := begin("2025-11-25")
	cancel := func(id string) {
		t.Helper()
		body := `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":` + id + `,"reason":"x"}}`
		if res, got := hubtest.ExchangeHub(t, "POST", url, body, "Mcp-Session-Id", s.id); res.StatusCode != 202 || got != "" {
			t.Errorf("got %d %s", res.StatusCode, got)
		}
		if got := <-p.Got; got != body {
			t.Errorf("the server got %s", got)
		}
	}
	done := hubtest.Posted(t, url, s.id, hubtest.CallOf("1", "t"))
	<-p.Got
	for _, other := range []string{"2", `"1"`, "null", "{}", "[1]", "true", `"` + strings.Repeat("x", 10000) + `"`} {
		cancel(other)
	}
	select {
	case got := <-done:
		t.Fatalf("ended with %s", got)
	default:
	}
	cancel("1.0")
	if got := <-done; got != "" {
		t.Errorf("a call that was taken back got %s", got)
	}
	p.Deliver([]byte(hubtest.ProgressOf("t", 1, 0)))         // late
	p.Deliver([]byte(`{"jsonrpc":"2.0","id":1,"result":0}`)) // late
	again := hubtest.Posted(t, url, s.id, hubtest.CallOf("1", "t"))
	<-p.Got
	p.Deliver([]byte(`{"jsonrpc":"2.0","id":1,"result":2}`))
	if got := <-again; got != `{"jsonrpc":"2.0","id":1,"result":2}` {
		t.Errorf("got %s", got)
	}
}

// What the server said before a call was taken back is no answer: it is an event,
// and never the JSON that a client takes for the answer.
func TestEventBeforeACancelIsNoAnswer(t *testing.T) {
	h, p, id := kit.DirectHub(t, servers.Config{})
	defer h.Close()
	s := h.sessions.find(id)
	all, err := message.ParseAll([]byte(hubtest.CallOf("1", "t")), message.MaxBatch)
	if err != nil {
		t.Fatal(err)
	}
	p.SendFail = false
	w := httptest.NewRecorder()
	done := make(chan struct{})
	s.streams.out.Lock() // so that serve sees both at once
	go func() {
		defer close(done)
		s.post(w, httptest.NewRequest("POST", "/", nil), all, false)
	}()
	s.streams.out.Unlock()
	<-p.Got
	s.streams.out.Lock()
	st := s.streams.pending["n1"]
	st.add(servers.Event{Raw: []byte(hubtest.ProgressOf("t", 1, 0))})
	delete(s.streams.pending, "n1")
	clear(st.waiting)
	st.finish()
	s.streams.out.Unlock()
	<-done
	if got := w.Header().Get("Content-Type"); got != "text/event-stream" {
		t.Errorf("%s: %s", got, w.Body)
	}
}

// One session's ids, tokens and events are nothing in another one.
func TestSessionsKnowNothingOfEachOther(t *testing.T) {
	_, url, begin := farm(t, servers.Config{})
	pa, a := begin("2025-11-25")
	pb, b := begin("2025-11-25")
	one, two := hubtest.Posted(t, url, a.id, hubtest.CallOf("1", "t")), hubtest.Posted(t, url, b.id, hubtest.CallOf("1", "t"))
	<-pa.Got
	<-pb.Got
	pa.Deliver([]byte(hubtest.ProgressOf("t", 7, 0)))
	hubtest.ExchangeHub(t, "POST", url, `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}`, "Mcp-Session-Id", a.id)
	if got := <-one; !strings.Contains(got, `"progress":7`) && got != "" {
		t.Errorf("the first got %s", got)
	}
	pa.Deliver([]byte(`{"jsonrpc":"2.0","id":1,"result":"a"}`))
	pb.Deliver([]byte(`{"jsonrpc":"2.0","id":1,"result":"b"}`))
	if got := <-two; got != `{"jsonrpc":"2.0","id":1,"result":"b"}` {
		t.Errorf("the second got %s", got)
	}
	pa.Deliver([]byte(`{"jsonrpc":"2.0","method":"x","params":{"of":"a"}}`))
	_, next := hubtest.Events(t, "GET", url, a.id, "")
	at, _ := next()
	if res, body := hubtest.ExchangeHub(t, "GET", url, "", "Mcp-Session-Id", b.id, "Last-Event-ID", at); res.StatusCode != 400 || strings.Contains(body, `"of"`) {
		t.Errorf("another session's event: %d %s", res.StatusCode, body)
	}
	<-pa.Got
	hubtest.ExchangeHub(t, "POST", url, `{"jsonrpc":"2.0","id":"s","result":1}`, "Mcp-Session-Id", b.id)
	if got := <-pb.Got; !strings.Contains(got, `"id":"s"`) {
		t.Errorf("the second's server got %s", got)
	}
	select {
	case got := <-pa.Got:
		t.Errorf("the first's server got %s", got)
	default:
	}
	hubtest.ExchangeHub(t, "DELETE", url, "", "Mcp-Session-Id", a.id)
	if res, _ := hubtest.ExchangeHub(t, "POST", url, `{"jsonrpc":"2.0","method":"x"}`, "Mcp-Session-Id", b.id); res.StatusCode != 202 {
		t.Errorf("after the first's end: %d", res.StatusCode)
	}
}

// Fifty calls at once, each with its progress on its own stream, answered in any
// order.
func TestConcurrentCallsKeepTheirProgress(t *testing.T) {
	_, url, begin := farm(t, servers.Config{})
	p, s := begin("2025-11-25")
	const calls, steps = 50, 20
	var wg sync.WaitGroup
	for n := range calls {
		wg.Go(func() {
			_, body := hubtest.ExchangeHub(t, "POST", url, hubtest.CallOf(fmt.Sprintf(`"c%d"`, n), fmt.Sprintf("t%d", n)), "Mcp-Session-Id", s.id)
			at := 0
			for i := range steps {
				next := strings.Index(body[at:], hubtest.ProgressOf(fmt.Sprintf("t%d", n), i, 0))
				if next < 0 {
					t.Errorf("call %d: step %d is not there, or not in order", n, i)
					return
				}
				at += next
			}
			if c := strings.Count(body, "\ndata: "); c != steps+1 || !strings.Contains(body[at:], fmt.Sprintf(`"id":"c%d","result":%d`, n, n)) {
				t.Errorf("call %d: %d events, %s", n, c, body[at:])
			}
		})
	}
	for range calls {
		<-p.Got
	}
	for i := range steps {
		for n := range calls {
			p.Deliver([]byte(hubtest.ProgressOf(fmt.Sprintf("t%d", n*7%calls), i, 0)))
		}
	}
	for n := range calls {
		n = n * 11 % calls
		p.Deliver([]byte(fmt.Sprintf(`{"jsonrpc":"2.0","id":"c%d","result":%d}`, n, n)))
	}
	hubtest.Within(t, "the calls", wg.Wait)
	s.streams.out.Lock()
	defer s.streams.out.Unlock()
	if len(s.streams.pending)+len(s.streams.progress) != 0 {
		t.Errorf("%d pending, %d progress tokens", len(s.streams.pending), len(s.streams.progress))
	}
}
