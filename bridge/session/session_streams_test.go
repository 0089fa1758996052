package session

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/servers"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/hubtest"
)

// The session's own stream is taken over again and again while events flow: each
// of them reaches one of the readers, once.
func TestStreamThatIsTakenOverLosesNoEvent(t *testing.T) {
	h, p, id := kit.DirectHub(t, servers.Config{})
	defer h.Close()
	s := h.sessions.find(id)
	const all = 20000
	var mu sync.Mutex
	seen := make(map[string]int)
	var wg sync.WaitGroup
	done := make(chan struct{})
	read := func() {
		body := hubtest.Direct(t.Context(), h, "GET", id, "").Body.String()
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
	for range 2 * (maxIdle + 1) { // more than may wait
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
	hubtest.Eventually(t, "nobody reads", func() bool { return s.reading() == 1 })
	for n := range all {
		p.Deliver([]byte(fmt.Sprintf(`{"jsonrpc":"2.0","method":"x","params":{"n":%d}}`, n)))
	}
	close(done)
	hubtest.Eventually(t, "events are left", func() bool {
		s.streams.out.Lock()
		defer s.streams.out.Unlock()
		return s.streams.general.reader != nil && s.streams.general.read == all
	})
	hubtest.Direct(t.Context(), h, "DELETE", id, "")
	hubtest.Within(t, "the readers", wg.Wait)
	if len(seen) != all {
		t.Errorf("%d events of %d", len(seen), all)
	}
	for event, n := range seen {
		if n != 1 {
			t.Fatalf("event %s came %d times", event, n)
		}
	}
}

// The policy for what a server does not tie to a request, as deliver states it.
func TestMessagesGoToTheStreamThatTheyBelongTo(t *testing.T) {
	p, url, id := kit.Script(t, servers.Config{})
	call := func(n int, token string) (next func() (string, string)) {
		p.Deliver([]byte(fmt.Sprintf(`{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"n":%d}}`, n))) // to nobody's call
		started := make(chan struct{})
		go func() {
			<-p.Got
			p.Deliver([]byte(`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":` + token + `,"progress":0}}`))
			close(started)
		}()
		_, next = hubtest.Events(t, "POST", url, id, fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{"_meta":{"progressToken":%s}}}`, n, token))
		<-started
		if _, data := next(); !strings.Contains(data, `"progress":0`) {
			t.Fatalf("got %s", data)
		}
		return next
	}
	sampling := func(n int) string {
		return fmt.Sprintf(`{"jsonrpc":"2.0","id":"s%d","method":"sampling/createMessage"}`, n)
	}
	one := call(1, `"t"`)
	p.Deliver([]byte(sampling(1)))
	if _, data := one(); data != sampling(1) {
		t.Errorf("with one call in flight its stream got %s", data)
	}
	two := call(2, "1.0")
	p.Deliver([]byte(sampling(2)))
	if _, data := two(); data != sampling(2) {
		t.Errorf("with two calls in flight and no GET the newest got %s", data)
	}
	p.Deliver([]byte(`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":5}}`))
	if _, data := two(); !strings.Contains(data, `"progress":5`) {
		t.Errorf("progress went elsewhere: %s", data)
	}
	_, general := hubtest.Events(t, "GET", url, id, "")
	for n := 1; n <= 2; n++ {
		if _, data := general(); !strings.Contains(data, fmt.Sprintf(`"n":%d`, n)) {
			t.Errorf("the GET stream got %s, want what was queued for it", data)
		}
	}
	p.Deliver([]byte(sampling(3)))
	if _, data := general(); data != sampling(3) {
		t.Errorf("with two calls in flight the GET stream got %s", data)
	}
	p.Deliver([]byte(`{"jsonrpc":"2.0","id":2,"result":2}`))
	p.Deliver([]byte(`{"jsonrpc":"2.0","id":1,"result":1}`))
	if _, data := one(); data != `{"jsonrpc":"2.0","id":1,"result":1}` {
		t.Errorf("got %s", data)
	}
	if _, data := two(); data != `{"jsonrpc":"2.0","id":2,"result":2}` {
		t.Errorf("got %s", data)
	}
	if _, data := two(); data != "" {
		t.Errorf("after the answer: %s", data)
	}
	answer := `{"jsonrpc":"2.0","id":"s1","result":{}}`
	if res, _ := hubtest.ExchangeHub(t, "POST", url, answer, "Mcp-Session-Id", id); res.StatusCode != 202 {
		t.Errorf("a response was answered %d", res.StatusCode)
	}
	if got := <-p.Got; got != answer {
		t.Errorf("the server got %s", got)
	}
}

// Rule D6: a stream whose connection broke is resumed where it broke, on the same
// stream alone.
func TestBrokenStreamIsResumedWhereItBroke(t *testing.T) {
	p, url, id := kit.Script(t, servers.Config{})
	progress := func(n int) string {
		return fmt.Sprintf(`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"t","progress":%d}}`, n)
	}
	delivered := make(chan struct{})
	go func() {
		defer close(delivered)
		<-p.Got
		p.Deliver([]byte(progress(1)))
		p.Deliver([]byte(progress(2)))
	}()
	res, next := hubtest.Events(t, "POST", url, id, `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"_meta":{"progressToken":"t"}}}`)
	at, data := next()
	if data != progress(1) {
		t.Fatalf("got %s", data)
	}
	_ = res.Body.Close()
	<-delivered
	p.Deliver([]byte(progress(3)))
	p.Deliver([]byte(`{"jsonrpc":"2.0","id":1,"result":1}`))
	_, again := hubtest.Events(t, "GET", url, id, "", "Last-Event-ID", at)
	for _, want := range []string{progress(2), progress(3), `{"jsonrpc":"2.0","id":1,"result":1}`, ""} {
		if _, data := again(); data != want {
			t.Errorf("got %s, want %s", data, want)
		}
	}
	// The session's own stream; a second reader takes it over.
	_, first := hubtest.Events(t, "GET", url, id, "")
	p.Deliver([]byte(`{"jsonrpc":"2.0","method":"notifications/message","params":{"n":1}}`))
	at, _ = first()
	p.Deliver([]byte(`{"jsonrpc":"2.0","method":"notifications/message","params":{"n":2}}`))
	if _, data := first(); !strings.Contains(data, `"n":2`) {
		t.Errorf("got %s", data)
	}
	_, second := hubtest.Events(t, "GET", url, id, "", "Last-Event-ID", at)
	if _, data := second(); !strings.Contains(data, `"n":2`) {
		t.Errorf("got %s", data)
	}
	if _, data := first(); data != "" {
		t.Errorf("the old reader got %s", data)
	}
}

// Rule D6: a client that asks for a stream that is over learns that nothing follows, and does not
// ask again. The TypeScript SDK asks after each call that it has cancelled.
func TestStreamThatIsOverEndsTheReconnecting(t *testing.T) {
	p, url, id := kit.Script(t, servers.Config{})
	progress := `{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"t","progress":1}}`
	go func() {
		<-p.Got
		p.Deliver([]byte(progress))
	}()
	_, next := hubtest.Events(t, "POST", url, id, `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"_meta":{"progressToken":"t"}}}`)
	at, data := next()
	if data != progress {
		t.Fatalf("got %s", data)
	}
	if res, _ := hubtest.ExchangeHub(t, "POST", url, `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}`, "Mcp-Session-Id", id); res.StatusCode != 202 {
		t.Fatalf("the cancellation got %d", res.StatusCode)
	}
	if _, data := next(); data != "" {
		t.Fatalf("after the cancellation: %s", data)
	}
	resume := func(at string) (status int, body string) {
		res, body := hubtest.ExchangeHub(t, "GET", url, "", "Mcp-Session-Id", id, "Last-Event-ID", at, "Accept", "text/event-stream")
		return res.StatusCode, body
	}
	if status, body := resume(at); status != 204 || body != "" {
		t.Errorf("got %d %q, want 204", status, body)
	}
	if status, body := resume(strings.Replace(at, "-", "-9", 1)); status != 400 {
		t.Errorf("an event that there was not: got %d %q, want 400", status, body)
	}
}

// Rule D6: a second GET does not end the first, whose client would ask again and end the second in
// its turn. The newest gets what the server says; when it ends, the others do, too.
func TestSecondGETStreamLeavesTheFirstOpen(t *testing.T) {
	p, url, id := kit.Script(t, servers.Config{})
	say := func(n int) {
		p.Deliver([]byte(fmt.Sprintf(`{"jsonrpc":"2.0","method":"notifications/message","params":{"n":%d}}`, n)))
	}
	type get struct {
		close func() error
		next  func() (string, string)
	}
	open := func() get {
		res, next := hubtest.Events(t, "GET", url, id, "")
		return get{res.Body.Close, next}
	}
	want := func(g get, n int) {
		t.Helper()
		if _, data := g.next(); !strings.Contains(data, fmt.Sprintf(`"n":%d`, n)) {
			t.Errorf("got %q, want message %d", data, n)
		}
	}
	all := []get{open()}
	say(0)
	want(all[0], 0)
	for n := 1; n <= maxIdle; n++ {
		all = append(all, open())
		say(n)
		want(all[n], n)
	}
	all = append(all, open())
	if _, data := all[0].next(); data != "" {
		t.Errorf("the oldest of too many got %s", data)
	}
	_ = all[1].close() // one that waits: the newest stays
	say(100)
	want(all[maxIdle+1], 100)
	_ = all[maxIdle+1].close()
	for n := 2; n <= maxIdle; n++ {
		if _, data := all[n].next(); data != "" {
			t.Errorf("stream %d got %s, want its end", n, data)
		}
	}
	say(101)
	want(open(), 101)
}
