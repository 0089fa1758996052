package bridge

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// posted sends a POST of its own goroutine and returns where its body goes.
func posted(t *testing.T, url, id, body string) <-chan string {
	t.Helper()
	done := make(chan string, 1)
	go func() {
		_, got := exchangeHub(t, "POST", url, body, "Mcp-Session-Id", id)
		done <- got
	}()
	return done
}

// Rules A7, D3: an answer goes to whoever asked, once; where it is none, whoever asked
// gets an error; what nobody asked for goes nowhere and harms nothing.
func TestHubOddAnswers(t *testing.T) {
	_, url, begin := farm(t, HubConfig{})
	p, s := begin("2025-11-25")
	for name, frames := range map[string][]string{
		"an unknown id":        {`{"jsonrpc":"2.0","id":99,"result":"no"}`},
		"another type":         {`{"jsonrpc":"2.0","id":"1","result":"no"}`},
		"null":                 {`{"jsonrpc":"2.0","id":null,"error":{"code":1,"message":"no"}}`},
		"no JSON":              {`{"jsonrpc":"2.0","id":1,"result":"no"`, `no`, ``, "\xff", `{"jsonrpc":"2.0","id":1,"result":"no"} x`},
		"no message":           {`{}`, `null`, `1`, `"x"`, `[]`, `[1]`, `{"id":1,"result":"no"}`, `{"jsonrpc":"1.0","id":1,"result":"no"}`},
		"both":                 {`{"jsonrpc":"2.0","id":1,"result":"no","error":{}}`},
		"neither":              {`{"jsonrpc":"2.0","id":1}`},
		"an id twice":          {`{"jsonrpc":"2.0","id":1,"id":2,"result":"no"}`},
		"an id that is none":   {`{"jsonrpc":"2.0","id":{},"result":"no"}`, `{"jsonrpc":"2.0","id":[1],"result":"no"}`, `{"jsonrpc":"2.0","id":true,"result":"no"}`},
		"too deep":             {`{"jsonrpc":"2.0","id":1,"result":` + strings.Repeat("[", 600) + strings.Repeat("]", 600) + `}`},
		"progress of nobody":   {progressOf("other", 1, 0), `{"jsonrpc":"2.0","method":"notifications/progress"}`, `{"jsonrpc":"2.0","method":"notifications/progress","params":[]}`},
		"a cancel of a client": {`{"jsonrpc":"2.0","id":2,"method":"x"}`},
	} {
		t.Run(name, func(t *testing.T) {
			done := posted(t, url, s.id, callOf("1", "t"))
			<-p.got
			for _, frame := range frames {
				p.deliver([]byte(frame))
			}
			p.deliver([]byte(`{"jsonrpc":"2.0","id":1,"result":"yes"}`))
			p.deliver([]byte(`{"jsonrpc":"2.0","id":1,"result":"no"}`))
			want := `{"jsonrpc":"2.0","id":1,"result":"yes"}`
			switch name {
			case "no JSON", "no message", "both", "too deep":
				want = `{"jsonrpc":"2.0","id":1,"error":{"code":-32603,`
			}
			if got := <-done; strings.Count(got, want) != 1 || strings.Count(got, `"id":1`) != 1 || strings.Contains(got, `"no"`) {
				t.Errorf("got %s", got)
			}
		})
	}
	if size, _ := s.kept(); size > 10<<10 {
		t.Errorf("%d bytes are kept", size)
	}
}

// A server of 2025-03-26 may answer with a batch.
func TestHubServerSendsBatch(t *testing.T) {
	_, url, begin := farm(t, HubConfig{})
	p, s := begin("2025-03-26")
	one, two := posted(t, url, s.id, callOf("1", "a")), posted(t, url, s.id, callOf(`"1"`, "b"))
	<-p.got
	<-p.got
	p.deliver([]byte(`[{"jsonrpc":"2.0","id":"1","result":"s"},` + "\r\n" + `{"jsonrpc":"2.0", "id":1,` + "\r" + `"result":"n"}]`))
	if got := <-one; got != `{"jsonrpc":"2.0", "id":1, "result":"n"}` {
		t.Errorf("got %s", got)
	}
	if got := <-two; got != `{"jsonrpc":"2.0","id":"1","result":"s"}` {
		t.Errorf("got %s", got)
	}
}

// A line end between the tokens of a server's message would end an event early.
func TestHubServerLineEnds(t *testing.T) {
	_, url, begin := farm(t, HubConfig{})
	p, s := begin("2025-11-25")
	_, next := events(t, "GET", url, s.id, "")
	p.deliver([]byte("{\"jsonrpc\":\"2.0\",\r\n\r\n\"method\":\"x\",\rdata: \"y\"}")) // no JSON
	p.deliver([]byte("{\"jsonrpc\":\"2.0\",\r\n\r\n\"method\":\"x\"\r}\n\n"))
	if id, data := next(); id != "0-0" || data != `{"jsonrpc":"2.0",    "method":"x" }  ` {
		t.Errorf("event %s: %q", id, data)
	}
}

// An id that is in flight is refused, in each way to write it, and the first
// request is unharmed; after its answer the id is free.
func TestHubDuplicateIDs(t *testing.T) {
	_, url, begin := farm(t, HubConfig{})
	p, s := begin("2025-03-26")
	for _, tc := range []struct{ id, same string }{
		{"1", "1"}, {"1", "1.0"}, {"10", "1e1"}, {`"a"`, `"\u0061"`}, {"0", "-0"}, {"9007199254740993", "9007199254740993"}, {`""`, `""`},
	} {
		first := posted(t, url, s.id, callOf(tc.id, "t"))
		<-p.got
		if res, body := exchangeHub(t, "POST", url, callOf(tc.same, "u"), "Mcp-Session-Id", s.id); res.StatusCode != 400 || !strings.Contains(body, `"id":`+tc.same+`,"error"`) {
			t.Errorf("%s and %s: got %d %s", tc.id, tc.same, res.StatusCode, body)
		}
		if res, _ := exchangeHub(t, "POST", url, "["+callOf("77", "v")+","+callOf(tc.same, "u")+"]", "Mcp-Session-Id", s.id); res.StatusCode != 400 {
			t.Errorf("%s in a batch: got %d", tc.same, res.StatusCode)
		}
		p.deliver([]byte(`{"jsonrpc":"2.0","id":` + tc.id + `,"result":1}`))
		if got := <-first; got != `{"jsonrpc":"2.0","id":`+tc.id+`,"result":1}` {
			t.Errorf("got %s", got)
		}
		again := posted(t, url, s.id, callOf(tc.same, "t"))
		<-p.got
		p.deliver([]byte(`{"jsonrpc":"2.0","id":` + tc.same + `,"result":2}`))
		if got := <-again; got != `{"jsonrpc":"2.0","id":`+tc.same+`,"result":2}` {
			t.Errorf("again: got %s", got)
		}
	}
	if res, _ := exchangeHub(t, "POST", url, "["+callOf("5", "v")+","+callOf("5.0", "u")+"]", "Mcp-Session-Id", s.id); res.StatusCode != 400 {
		t.Errorf("twice in a batch: got %d", res.StatusCode)
	}
	select {
	case got := <-p.got:
		t.Errorf("the server got %s", got)
	default:
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.pending) != 0 {
		t.Errorf("%d are pending", len(s.pending))
	}
}

// What a client takes back is not waited for, and its id is free.
func TestHubCancels(t *testing.T) {
	_, url, begin := farm(t, HubConfig{})
	p, s := begin("2025-11-25")
	cancel := func(id string) {
		t.Helper()
		body := `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":` + id + `,"reason":"x"}}`
		if res, got := exchangeHub(t, "POST", url, body, "Mcp-Session-Id", s.id); res.StatusCode != 202 || got != "" {
			t.Errorf("got %d %s", res.StatusCode, got)
		}
		if got := <-p.got; got != body {
			t.Errorf("the server got %s", got)
		}
	}
	done := posted(t, url, s.id, callOf("1", "t"))
	<-p.got
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
	p.deliver([]byte(progressOf("t", 1, 0)))                 // late
	p.deliver([]byte(`{"jsonrpc":"2.0","id":1,"result":0}`)) // late
	again := posted(t, url, s.id, callOf("1", "t"))
	<-p.got
	p.deliver([]byte(`{"jsonrpc":"2.0","id":1,"result":2}`))
	if got := <-again; got != `{"jsonrpc":"2.0","id":1,"result":2}` {
		t.Errorf("got %s", got)
	}
}

// What the server said before a call was taken back is no answer: it is an event,
// and never the JSON that a client takes for the answer.
func TestHubCancelledIsNoAnswer(t *testing.T) {
	h, p, id := directHub(t, HubConfig{})
	defer h.Close()
	s := h.find(id)
	all, err := readMessages([]byte(callOf("1", "t")))
	if err != nil {
		t.Fatal(err)
	}
	p.sendFail = false
	w := httptest.NewRecorder()
	done := make(chan struct{})
	s.mu.Lock() // so that serve sees both at once
	go func() {
		defer close(done)
		s.post(w, httptest.NewRequest("POST", "/", nil), all, false)
	}()
	s.mu.Unlock()
	<-p.got
	s.mu.Lock()
	st := s.pending["n1"]
	st.add(event{raw: []byte(progressOf("t", 1, 0))})
	delete(s.pending, "n1")
	clear(st.waiting)
	st.finish()
	s.mu.Unlock()
	<-done
	if got := w.Header().Get("Content-Type"); got != "text/event-stream" {
		t.Errorf("%s: %s", got, w.Body)
	}
}

// One session's ids, tokens and events are nothing in another one.
func TestHubSessionsApart(t *testing.T) {
	_, url, begin := farm(t, HubConfig{})
	pa, a := begin("2025-11-25")
	pb, b := begin("2025-11-25")
	one, two := posted(t, url, a.id, callOf("1", "t")), posted(t, url, b.id, callOf("1", "t"))
	<-pa.got
	<-pb.got
	pa.deliver([]byte(progressOf("t", 7, 0)))
	exchangeHub(t, "POST", url, `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}`, "Mcp-Session-Id", a.id)
	if got := <-one; !strings.Contains(got, `"progress":7`) && got != "" {
		t.Errorf("the first got %s", got)
	}
	pa.deliver([]byte(`{"jsonrpc":"2.0","id":1,"result":"a"}`))
	pb.deliver([]byte(`{"jsonrpc":"2.0","id":1,"result":"b"}`))
	if got := <-two; got != `{"jsonrpc":"2.0","id":1,"result":"b"}` {
		t.Errorf("the second got %s", got)
	}
	pa.deliver([]byte(`{"jsonrpc":"2.0","method":"x","params":{"of":"a"}}`))
	_, next := events(t, "GET", url, a.id, "")
	at, _ := next()
	if res, body := exchangeHub(t, "GET", url, "", "Mcp-Session-Id", b.id, "Last-Event-ID", at); res.StatusCode != 400 || strings.Contains(body, `"of"`) {
		t.Errorf("another session's event: %d %s", res.StatusCode, body)
	}
	<-pa.got
	exchangeHub(t, "POST", url, `{"jsonrpc":"2.0","id":"s","result":1}`, "Mcp-Session-Id", b.id)
	if got := <-pb.got; !strings.Contains(got, `"id":"s"`) {
		t.Errorf("the second's server got %s", got)
	}
	select {
	case got := <-pa.got:
		t.Errorf("the first's server got %s", got)
	default:
	}
	exchangeHub(t, "DELETE", url, "", "Mcp-Session-Id", a.id)
	if res, _ := exchangeHub(t, "POST", url, `{"jsonrpc":"2.0","method":"x"}`, "Mcp-Session-Id", b.id); res.StatusCode != 202 {
		t.Errorf("after the first's end: %d", res.StatusCode)
	}
}

// Rule D6: only an id that was given is resumed from.
func TestHubMadeUpEventIDs(t *testing.T) {
	_, url, begin := farm(t, HubConfig{})
	p, s := begin("2025-11-25")
	for n := range 3 {
		p.deliver([]byte(fmt.Sprintf(`{"jsonrpc":"2.0","method":"x","params":{"n":%d}}`, n)))
	}
	for _, id := range []string{
		"0", "-", "0-", "-0", "0-3", "0-9223372036854775807", "0-9223372036854775808", "9223372036854775807-0", "0--1", "-1-0", "-0-0",
		"0-1-2", "+0-0", "0-+1", "00-0", "0-01", " 0-0x", "0x0-0", "0-0,0-1", "1-0", "2--1", "1--1", "0-1e0", strings.Repeat("0", 5000) + "-0", "\u0660-0",
	} {
		if res, body := exchangeHub(t, "GET", url, "", "Mcp-Session-Id", s.id, "Last-Event-ID", id); res.StatusCode != 400 || !strings.Contains(body, `"error"`) {
			t.Errorf("%.40q: got %d %s", id, res.StatusCode, body)
		}
	}
	_, next := events(t, "GET", url, s.id, "", "Last-Event-ID", "0-1")
	if id, data := next(); id != "0-2" || !strings.Contains(data, `"n":2`) {
		t.Errorf("event %s: %s", id, data)
	}
}

// raw sends bytes on a connection of their own and returns what comes.
func raw(t *testing.T, url, request string) string {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(conn)
	if err != nil {
		t.Fatalf("%v after %s", err, got)
	}
	return string(got)
}

// Requests that no client sends.
func TestHubOddRequests(t *testing.T) {
	h, url, begin := farm(t, HubConfig{})
	p, s := begin("2025-11-25")
	host := strings.TrimPrefix(url, "http://")
	post := "POST / HTTP/1.1\r\nHost: " + host + "\r\nConnection: close\r\nContent-Type: application/json\r\n"
	notification := `{"jsonrpc":"2.0","method":"x"}`
	length := fmt.Sprintf("Content-Length: %d\r\n\r\n", len(notification))
	for name, tc := range map[string]struct{ request, status string }{
		"two sessions":         {post + "Mcp-Session-Id: " + s.id + "\r\nMcp-Session-Id: x\r\n" + length + notification, "400"},
		"a session twice":      {post + "Mcp-Session-Id: " + s.id + "\r\nmcp-session-id: " + s.id + "\r\n" + length + notification, "400"},
		"a hundred sessions":   {post + strings.Repeat("Mcp-Session-Id: "+s.id+"\r\n", 100) + length + notification, "400"},
		"an empty session":     {post + "Mcp-Session-Id:\r\n" + length + notification, "400"},
		"sessions in a list":   {post + "Mcp-Session-Id: " + s.id + ", x\r\n" + length + notification, "404"},
		"a session in capital": {post + "Mcp-Session-Id: " + strings.ToUpper(s.id) + "\r\n" + length + notification, "404"},
		"HEAD":                 {"HEAD / HTTP/1.1\r\nHost: " + host + "\r\nConnection: close\r\nMcp-Session-Id: " + s.id + "\r\n\r\n", "405"},
		"OPTIONS":              {"OPTIONS / HTTP/1.1\r\nHost: " + host + "\r\nConnection: close\r\nMcp-Session-Id: " + s.id + "\r\n\r\n", "405"},
		"a body of nothing":    {post + "Mcp-Session-Id: " + s.id + "\r\nContent-Length: 0\r\n\r\n", "400"},
		"GET with a body":      {"GET / HTTP/1.1\r\nHost: " + host + "\r\nConnection: close\r\nAccept: text/html\r\nMcp-Session-Id: " + s.id + "\r\n" + length + notification, "406"},
		"a version twice":      {post + "Mcp-Session-Id: " + s.id + "\r\nMCP-Protocol-Version: 2025-11-25\r\nMCP-Protocol-Version: 2025-11-25\r\n" + length + notification, "400"},
		"no media type":        {"POST / HTTP/1.1\r\nHost: " + host + "\r\nConnection: close\r\nMcp-Session-Id: " + s.id + "\r\n" + length + notification, "415"},
	} {
		t.Run(name, func(t *testing.T) {
			got := raw(t, url, tc.request)
			if !strings.HasPrefix(got, "HTTP/1.1 "+tc.status) {
				t.Errorf("got %s, want %s", got, tc.status)
			}
			header, body, _ := strings.Cut(got, "\r\n\r\n")
			if tc.status == "405" && !strings.Contains(header, "Allow: GET, POST, DELETE") {
				t.Errorf("got %s", header)
			}
			if (body == "") != (name == "HEAD") {
				t.Errorf("got the body %q", body)
			}
		})
	}
	for _, body := range []string{
		notification + "x", notification + notification, notification + "\n" + notification, notification + "\x00", "\ufeff" + notification,
		"[" + notification, "[" + notification + "]]", "[" + notification + ",]", "[[" + notification + "]]", "null", "\xff", `{"jsonrpc":"2.0","method":"` + "\xff" + `"}`,
		`{"jsonrpc":"2.0","method":"x` + "\n" + `"}`, strings.Repeat("[", 100000), strings.Repeat(`{"a":`, 100000),
	} {
		if res, got := exchangeHub(t, "POST", url, body, "Mcp-Session-Id", s.id); res.StatusCode != 400 || !strings.Contains(got, `"error"`) {
			t.Errorf("%.60q: got %d %s", body, res.StatusCode, got)
		}
	}
	select {
	case got := <-p.got:
		t.Errorf("the server got %s", got)
	default:
	}
	for _, white := range []string{" ", "\r\n", "\t"} {
		if res, _ := exchangeHub(t, "POST", url, white+notification+white, "Mcp-Session-Id", s.id); res.StatusCode != 202 {
			t.Errorf("white space: got %d", res.StatusCode)
		}
		if got := <-p.got; strings.ContainsAny(got, "\r\n") || strings.TrimSpace(got) != notification {
			t.Errorf("the server got %q", got)
		}
	}
	if h.Len() != 1 {
		t.Errorf("%d sessions", h.Len())
	}
}

// The next request on a connection waits for the first one's answer, and nothing
// waits forever for a client that has gone.
func TestHubPipelining(t *testing.T) {
	_, url, begin := farm(t, HubConfig{KeepAlive: 10 * time.Millisecond})
	p, s := begin("2025-11-25")
	request := func(body, more string) string {
		return fmt.Sprintf("POST / HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nMcp-Session-Id: %s\r\n%sContent-Length: %d\r\n\r\n%s", strings.TrimPrefix(url, "http://"), s.id, more, len(body), body)
	}
	go func() {
		<-p.got
		p.deliver([]byte(`{"jsonrpc":"2.0","id":1,"result":"one"}`))
		<-p.got
		p.deliver([]byte(`{"jsonrpc":"2.0","id":2,"result":"two"}`))
	}()
	got := raw(t, url, request(callOf("1", "a"), "")+request(callOf("2", "b"), "Connection: close\r\n"))
	if one, two := strings.Index(got, `"one"`), strings.Index(got, `"two"`); one < 0 || two < one {
		t.Errorf("got %s", got)
	}
	// A client that pipelines and goes: net/http does not see it leave, only the
	// comments find out.
	conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, request(callOf("3", "a"), "")+request(callOf("4", "b"), "")); err != nil {
		t.Fatal(err)
	}
	<-p.got
	_ = conn.Close()
	eventually(t, "a request is still under way", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.active == 0
	})
}

// The session's own stream is taken over again and again while events flow: each
// of them reaches one of the readers, once.
func TestHubTakeover(t *testing.T) {
	h, p, id := directHub(t, HubConfig{})
	defer h.Close()
	s := h.find(id)
	const all = 20000
	var mu sync.Mutex
	seen := make(map[string]int)
	var wg sync.WaitGroup
	done := make(chan struct{})
	read := func() {
		body := direct(t.Context(), h, "GET", id, "").Body.String()
		mu.Lock()
		defer mu.Unlock()
		for line := range strings.Lines(body) {
			if event, ok := strings.CutPrefix(line, "id: "); ok {
				seen[strings.TrimSpace(event)]++
			} else if strings.HasPrefix(line, `{"`) { // a refusal
				select {
				case <-done: // one that began after the end of the session
				default:
					t.Errorf("got %s", body)
				}
			}
		}
	}
	for range 4 {
		wg.Go(func() {
			for {
				read()
				select {
				case <-done:
					return
				default:
				}
			}
		})
	}
	eventually(t, "nobody reads", func() bool { return s.reading() == 1 })
	for n := range all {
		p.deliver([]byte(fmt.Sprintf(`{"jsonrpc":"2.0","method":"x","params":{"n":%d}}`, n)))
	}
	close(done)
	eventually(t, "events are left", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.general.reader != nil && s.general.read == all
	})
	direct(t.Context(), h, "DELETE", id, "")
	within(t, "the readers", wg.Wait)
	if len(seen) != all {
		t.Errorf("%d events of %d", len(seen), all)
	}
	for event, n := range seen {
		if n != 1 {
			t.Fatalf("event %s came %d times", event, n)
		}
	}
}

// Fifty calls at once, each with its progress on its own stream, answered in any
// order.
func TestHubConcurrentCalls(t *testing.T) {
	_, url, begin := farm(t, HubConfig{})
	p, s := begin("2025-11-25")
	const calls, steps = 50, 20
	var wg sync.WaitGroup
	for n := range calls {
		wg.Go(func() {
			_, body := exchangeHub(t, "POST", url, callOf(fmt.Sprintf(`"c%d"`, n), fmt.Sprintf("t%d", n)), "Mcp-Session-Id", s.id)
			at := 0
			for i := range steps {
				next := strings.Index(body[at:], progressOf(fmt.Sprintf("t%d", n), i, 0))
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
		<-p.got
	}
	for i := range steps {
		for n := range calls {
			p.deliver([]byte(progressOf(fmt.Sprintf("t%d", n*7%calls), i, 0)))
		}
	}
	for n := range calls {
		n = n * 11 % calls
		p.deliver([]byte(fmt.Sprintf(`{"jsonrpc":"2.0","id":"c%d","result":%d}`, n, n)))
	}
	within(t, "the calls", wg.Wait)
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.pending)+len(s.progress) != 0 {
		t.Errorf("%d pending, %d progress tokens", len(s.pending), len(s.progress))
	}
}

// A batch of 2025-03-26 with everything that may be in one.
func TestHubBatches(t *testing.T) {
	_, url, begin := farm(t, HubConfig{})
	p, s := begin("2025-03-26")
	parts := []string{
		callOf("1", "a"), `{"jsonrpc":"2.0","method":"x"}`, `{"jsonrpc":"2.0","id":"s1","result":{}}`,
		callOf(`"1"`, "b"), `{"jsonrpc":"2.0","id":"s2","error":{"code":1,"message":"m"}}`, callOf("2", "c"),
		`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":2}}`,
	}
	done := posted(t, url, s.id, " [\r\n"+strings.Join(parts, " ,\n")+"] ")
	for _, want := range parts {
		if got := <-p.got; got != want {
			t.Errorf("the server got %s, want %s", got, want)
		}
	}
	p.deliver([]byte(progressOf("b", 1, 0)))
	p.deliver([]byte(`{"jsonrpc":"2.0","id":"1","result":"s"}`))
	p.deliver([]byte(progressOf("a", 1, 0)))
	p.deliver([]byte(`{"jsonrpc":"2.0","id":1,"result":"n"}`))
	body := <-done
	for _, want := range []string{progressOf("b", 1, 0), `{"jsonrpc":"2.0","id":"1","result":"s"}`, progressOf("a", 1, 0), `{"jsonrpc":"2.0","id":1,"result":"n"}`} {
		if strings.Count(body, "data: "+want+"\n\n") != 1 {
			t.Errorf("%s is not there once in %s", want, body)
		}
	}
	if res, body := exchangeHub(t, "POST", url, "["+parts[1]+","+parts[2]+"]", "Mcp-Session-Id", s.id); res.StatusCode != 202 || body != "" {
		t.Errorf("without requests: %d %s", res.StatusCode, body)
	}
	if res, _ := exchangeHub(t, "POST", url, "["+parts[1]+",1]", "Mcp-Session-Id", s.id); res.StatusCode != 400 {
		t.Errorf("with what is no message: %d", res.StatusCode)
	}
	var many []string
	for n := range maxPending + 1 {
		many = append(many, callOf(fmt.Sprint(n), "t"))
	}
	if res, _ := exchangeHub(t, "POST", url, "["+strings.Join(many, ",")+"]", "Mcp-Session-Id", s.id); res.StatusCode != 400 {
		t.Errorf("too many: %d", res.StatusCode)
	}
}

// Rule G: a batch of very many messages, none of which is a request, is refused
// before any of it is sent on.
func TestHubHugeBatch(t *testing.T) {
	_, url, begin := farm(t, HubConfig{})
	p, s := begin("2025-03-26")
	batch := func(n int) string {
		return "[" + strings.Repeat(`{"jsonrpc":"2.0","method":"x"},`, n-1) + `{"jsonrpc":"2.0","method":"x"}]`
	}
	for _, n := range []int{maxBatch + 1, 100_000} {
		if res, body := exchangeHub(t, "POST", url, batch(n), "Mcp-Session-Id", s.id); res.StatusCode != 400 || !strings.Contains(body, `"error"`) {
			t.Errorf("%d messages: got %d %s", n, res.StatusCode, body)
		}
	}
	if len(p.got) != 0 {
		t.Errorf("the server got %d messages", len(p.got))
	}
	if res, body := exchangeHub(t, "POST", url, batch(maxBatch), "Mcp-Session-Id", s.id); res.StatusCode != 202 || len(p.got) != maxBatch {
		t.Errorf("got %d %s, the server %d messages", res.StatusCode, body, len(p.got))
	}
}

// No id, token or text of either side gets into a header or breaks an event, and
// none is written in another way.
func TestHubInjection(t *testing.T) {
	_, url, begin := farm(t, HubConfig{})
	p, s := begin("2025-11-25")
	for _, id := range []string{
		`"\r\nX-Evil: 1"`, `"\r\n\r\nHTTP/1.1 200 OK"`, `"\n\ndata: evil\n\n"`, `"\u000d\u000aX-Evil: 1"`, `"\u0000"`, `"\u2028\u2029"`,
		"\"\u2028\u2029\u0085\"", `"\ud800"`, `"\udc00\ud800"`, `"\ud83d\ude00"`, "\"\U0001f600\"", `"</script>&"`, "\"\u007f\ufeff\"",
	} {
		sent := `{"jsonrpc":"2.0","id":` + id + `,"method":"tools/call","params":{"_meta":{"progressToken":` + id + `}}}`
		progress := `{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":` + id + `,"progress":1}}`
		answer := `{"jsonrpc":"2.0","id":` + id + `,"result":` + id + `}`
		go func() {
			if got := <-p.got; got != sent {
				t.Errorf("the server got %q, want %q", got, sent)
			}
			p.deliver([]byte(progress))
		}()
		res, next := events(t, "POST", url, s.id, sent)
		if _, data := next(); data != progress {
			t.Errorf("got %q, want %q", data, progress)
		}
		if res2, body := exchangeHub(t, "POST", url, sent, "Mcp-Session-Id", s.id); res2.StatusCode != 400 || !strings.Contains(body, `"id":`+id+`,"error"`) || len(res2.Header) != 3 {
			t.Errorf("a refusal: %v %q", res2.Header, body)
		}
		p.deliver([]byte(answer))
		if _, data := next(); data != answer {
			t.Errorf("got %q, want %q", data, answer)
		}
		if id, data := next(); data != "" {
			t.Errorf("event %s after the answer: %q", id, data)
		}
		for name := range res.Header {
			if strings.HasPrefix(name, "X-Evil") {
				t.Errorf("a header %s", name)
			}
		}
	}
}

// What a server says before it answers initialize is not lost, and bounded.
func TestHubTalksBeforeInitialized(t *testing.T) {
	h := NewHub(HubConfig{Buffer: 10000, Start: func(_ context.Context, _ *http.Request, deliver func([]byte)) (Peer, error) {
		p := &scripted{got: make(chan string, 1000), done: make(chan struct{})}
		go func() {
			<-p.got
			for n := range 1000 {
				deliver([]byte(fmt.Sprintf(`{"jsonrpc":"2.0","method":"notifications/message","params":{"n":%d}}`, n)))
			}
			deliver([]byte(initialized))
		}()
		return p, nil
	}})
	defer h.Close()
	w := direct(t.Context(), h, "POST", "", fmt.Sprintf(initializeBody, "2025-11-25"))
	if w.Code != http.StatusOK || w.Body.String() != initialized {
		t.Fatalf("got %d %s", w.Code, w.Body)
	}
	s := h.find(w.Header().Get("Mcp-Session-Id"))
	if size, n := s.kept(); size > 10000+100 || size < 5000 || n != 0 {
		t.Errorf("%d bytes are kept on %d streams", size, n)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	last := s.general.events[len(s.general.events)-1]
	if !strings.Contains(string(last.raw), `"n":999`) {
		t.Errorf("the last is %s", last.raw)
	}
}
