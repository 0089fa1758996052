package bridge

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// staged is a backend whose upstream is a function; nothing is dialled, so that its
// time is the test's.
type staged struct {
	answer func(w http.ResponseWriter, r *http.Request) error
	mu     sync.Mutex
	calls  []string // method, session and last event id
}

func (b *staged) Detach(from *http.Request) *http.Request {
	r := from.Clone(context.WithoutCancel(from.Context()))
	r.Body = http.NoBody
	return r
}

func (b *staged) Call(w http.ResponseWriter, c Call) error {
	b.mu.Lock()
	b.calls = append(b.calls, strings.TrimSpace(c.Request.Method+" "+c.Request.Header.Get("Last-Event-Id")))
	b.mu.Unlock()
	if c.Announced != nil {
		c.Announced("/messages", "")
	}
	return b.answer(w, c.Request)
}

// count says how many calls there were of a kind.
func (b *staged) count(call string) (n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, c := range b.calls {
		if c == call {
			n++
		}
	}
	return n
}

// errReset is what a connection that breaks reads like.
var errReset = errors.New("connection reset by peer")

// streamTo answers with events and ends in some way.
func streamTo(w http.ResponseWriter, text string, end error) error {
	w.Header().Set("Content-Type", "text/event-stream")
	w.WriteHeader(http.StatusOK)
	if _, err := io.WriteString(w, text); err != nil {
		return err
	}
	return end
}

// until answers with events and stays open until the call is over.
func until(w http.ResponseWriter, r *http.Request, text string) error {
	_ = streamTo(w, text, nil)
	<-r.Context().Done()
	return r.Context().Err()
}

// streamable is an upstream that speaks Streamable HTTP; what it answers to calls and
// to GETs of the session's stream is the test's.
func streamable(call, listen func(http.ResponseWriter, *http.Request) error) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		body, _ := io.ReadAll(r.Body)
		switch {
		case r.Method == http.MethodGet && r.Header.Get(sessionHeader) == "": // the probe
			w.WriteHeader(http.StatusMethodNotAllowed)
		case r.Method == http.MethodGet:
			return listen(w, r)
		case r.Method == http.MethodDelete:
			w.WriteHeader(http.StatusNoContent)
		case strings.Contains(string(body), `"initialize"`):
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set(sessionHeader, "up")
			_, _ = io.WriteString(w, initialized)
		case strings.Contains(string(body), `"tools/call"`):
			return call(w, r)
		default:
			w.WriteHeader(http.StatusAccepted)
		}
		return nil
	}
}

// noStream refuses the session's stream.
func noStream(w http.ResponseWriter, _ *http.Request) error {
	w.WriteHeader(http.StatusMethodNotAllowed)
	return nil
}

// remote returns a hub in front of an upstream, with a session of a client that is
// initialized.
func remote(t *testing.T, b *staged, start func(Backend, int) func(context.Context, *http.Request, func([]byte)) (Peer, error)) (*Hub, string) {
	t.Helper()
	h := NewHub(HubConfig{Remote: true, Start: start(b, 1<<20)})
	w := direct(t.Context(), h, "POST", "", fmt.Sprintf(initializeBody, "2025-11-25"))
	id := w.Header().Get("Mcp-Session-Id")
	if id == "" {
		t.Fatalf("initialize: %d %s", w.Code, w.Body)
	}
	if w := direct(t.Context(), h, "POST", id, `{"jsonrpc":"2.0","method":"notifications/initialized"}`); w.Code != http.StatusAccepted {
		t.Fatalf("initialized: %d %s", w.Code, w.Body)
	}
	return h, id
}

// after returns the events of a stream that follow the one with an id.
func after(events []string, id string) string {
	for i, e := range events {
		if strings.HasPrefix(e, "id: "+id+"\n") {
			return strings.Join(events[i+1:], "")
		}
	}
	return ""
}

// each runs a test for every prefix of a text, and each way in which it may end.
func each(t *testing.T, text string, test func(t *testing.T, prefix string, end error)) {
	t.Helper()
	for n := range len(text) + 1 {
		for _, end := range []error{nil, errReset} {
			synctest.Test(t, func(t *testing.T) {
				defer func() {
					if t.Failed() {
						t.Logf("cut at byte %d, after %q, ending with %v", n, text[:n], end)
					}
				}()
				test(t, text[:n], end)
			})
		}
	}
}

// Rules A7, D3: an answer whose stream is cut, at whatever byte, is asked for again
// after the last event that was complete. Each message arrives once. Where nothing
// says how to go on the request is answered with an error.
func TestUpstreamAnswerCut(t *testing.T) {
	progress, answer := progressOf("t", 1, 0), `{"jsonrpc":"2.0","id":1,"result":{"ok":true}}`
	for name, events := range map[string][]string{
		"with ids":    {"id: a\nevent: message\ndata: " + progress + "\n\n", "id: b\ndata: " + answer + "\n\n"},
		"without ids": {"event: message\ndata: " + progress + "\n\n", "data: " + answer + "\n\n"},
	} {
		t.Run(name, func(t *testing.T) {
			each(t, strings.Join(events, ""), func(t *testing.T, prefix string, end error) {
				b := &staged{answer: streamable(func(w http.ResponseWriter, _ *http.Request) error {
					return streamTo(w, prefix, end)
				}, func(w http.ResponseWriter, r *http.Request) error {
					if last := r.Header.Get("Last-Event-Id"); last != "" {
						return streamTo(w, after(events, last), nil)
					}
					return noStream(w, r)
				})}
				h, id := remote(t, b, StartHTTP)
				defer h.Close()
				got := direct(t.Context(), h, "POST", id, callOf("1", "t")).Body.String()
				whole := strings.HasPrefix(prefix, events[0]) // the first event is complete
				answered := prefix == strings.Join(events, "") || name == "with ids" && whole
				if n := strings.Count(got, progress); n > 1 || (n == 1) != whole {
					t.Errorf("the progress came %d times in %q", n, got)
				}
				if n := strings.Count(got, answer); (n == 1) != answered || n > 1 {
					t.Errorf("the answer came %d times in %q", n, got)
				}
				if n := strings.Count(got, `"id":1,"error"`); (n == 1) == answered || n > 1 {
					t.Errorf("an error came %d times in %q", n, got)
				}
			})
		})
	}
}

// The same of the session's stream, which is opened again: with ids nothing is lost
// and nothing comes twice, without them nothing comes twice.
func TestUpstreamListenCut(t *testing.T) {
	note := func(n int) string {
		return fmt.Sprintf(`{"jsonrpc":"2.0","method":"notifications/message","params":{"n":%d}}`, n)
	}
	for name, events := range map[string][]string{
		"with ids":    {"id: a\ndata: " + note(1) + "\n\n", "id: b\ndata: " + note(2) + "\n\n"},
		"without ids": {"data: " + note(1) + "\n\n", "data: " + note(2) + "\n\n"},
	} {
		t.Run(name, func(t *testing.T) {
			all := strings.Join(events, "")
			each(t, all, func(t *testing.T, prefix string, end error) {
				opened := 0
				b := &staged{answer: streamable(nil, func(w http.ResponseWriter, r *http.Request) error {
					if opened++; opened == 1 {
						return streamTo(w, prefix, end)
					}
					rest := after(events, r.Header.Get("Last-Event-Id"))
					if name == "with ids" && r.Header.Get("Last-Event-Id") == "" {
						rest = all
					}
					return until(w, r, rest+"data: "+note(3)+"\n\n")
				})}
				h, id := remote(t, b, StartHTTP)
				defer h.Close()
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				got := direct(ctx, h, "GET", id, "").Body.String()
				for n := 1; n <= 3; n++ {
					want := 1
					if name == "without ids" && n < 3 && !strings.Contains(prefix, note(n)+"\n\n") {
						want = 0 // nobody can tell that it was there
					}
					if seen := strings.Count(got, note(n)); seen != want {
						t.Errorf("message %d came %d times, want %d, in %q", n, seen, want, got)
					}
				}
				if opened != 2 {
					t.Errorf("opened %d times", opened)
				}
			})
		})
	}
}

// The same of HTTP+SSE, whose stream is the conversation: what was complete has
// arrived, what is pending gets an error, and the session is over.
func TestUpstreamSSECut(t *testing.T) {
	answer := `{"jsonrpc":"2.0","id":1,"result":{"ok":true}}`
	text := ": hello\nevent: message\nid: 7\ndata: " + answer + "\n\n"
	each(t, text, func(t *testing.T, prefix string, end error) {
		messages := make(chan string, 10)
		b := &staged{answer: func(w http.ResponseWriter, r *http.Request) error {
			if r.Method == http.MethodPost {
				body, _ := io.ReadAll(r.Body)
				w.WriteHeader(http.StatusAccepted)
				messages <- string(body)
				return nil
			}
			_ = streamTo(w, "", nil)
			for {
				select {
				case m := <-messages:
					switch {
					case strings.Contains(m, `"initialize"`):
						_, _ = io.WriteString(w, "data: "+initialized+"\n\n")
					case strings.Contains(m, `"tools/call"`):
						return streamTo(w, prefix, end)
					}
				case <-r.Context().Done():
					return r.Context().Err()
				}
			}
		}}
		h, id := remote(t, b, StartSSE)
		defer h.Close()
		got := direct(t.Context(), h, "POST", id, callOf("1", "t")).Body.String()
		if complete := prefix == text; (got == answer) != complete || strings.Contains(got, `"id":1,"error"`) == complete {
			t.Errorf("got %q", got)
		}
		synctest.Wait()
		if w := direct(t.Context(), h, "POST", id, callOf("2", "t")); w.Code != http.StatusNotFound || h.Len() != 0 {
			t.Errorf("after that: %d, %d sessions", w.Code, h.Len())
		}
	})
}

// An upstream that answers a request with something else than an answer, in any way
// that it can, has the request answered with an error, and the next one is unharmed.
func TestUpstreamOddAnswers(t *testing.T) {
	body := func(mediaType, text string) func(http.ResponseWriter, *http.Request) error {
		return func(w http.ResponseWriter, _ *http.Request) error {
			w.Header().Set("Content-Type", mediaType)
			_, _ = io.WriteString(w, text)
			return nil
		}
	}
	status := func(status int) func(http.ResponseWriter, *http.Request) error {
		return func(w http.ResponseWriter, _ *http.Request) error {
			w.Header().Set("Retry-After", "7")
			w.WriteHeader(status)
			return nil
		}
	}
	for name, tc := range map[string]struct {
		call   func(http.ResponseWriter, *http.Request) error
		status int
	}{
		"no JSON":               {body("application/json", "oops"), 200},
		"half of JSON":          {body("application/json", `{"jsonrpc":"2.0","id":1,"resu`), 200},
		"HTML":                  {body("text/html", "<html>"), 200},
		"an empty body":         {body("application/json", ""), 200},
		"another id":            {body("application/json", `{"jsonrpc":"2.0","id":2,"result":{}}`), 200},
		"an id of another type": {body("application/json", `{"jsonrpc":"2.0","id":"1","result":{}}`), 200},
		"no id":                 {body("application/json", `{"jsonrpc":"2.0","id":null,"error":{"code":1,"message":"x"}}`), 200},
		"too deep":              {body("application/json", `{"jsonrpc":"2.0","id":1,"result":`+strings.Repeat("[", 600)+strings.Repeat("]", 600)+`}`), 200},
		"a member twice":        {body("application/json", `{"jsonrpc":"2.0","id":1,"id":1,"result":{}}`), 200},
		"over the limit":        {body("application/json", `{"jsonrpc":"2.0","id":1,"result":"`+strings.Repeat("x", 1<<20)+`"}`), 200},
		"an event over it":      {body("text/event-stream", "data: "+strings.Repeat("x", 1<<20)+"\n\n"), 200},
		"no event":              {body("text/event-stream", ": nothing\n\n"), 200},
		"202":                   {status(202), 200},
		"204":                   {status(204), 200},
		"a body that breaks": {func(w http.ResponseWriter, r *http.Request) error {
			_ = body("application/json", `{"jsonrpc":"2.0",`)(w, r)
			return errReset
		}, 200},
		"no answer": {func(http.ResponseWriter, *http.Request) error { return errReset }, 502},
		"429":       {status(429), 429},
		"500":       {status(500), 500},
		"503":       {status(503), 503},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				call := tc.call
				b := &staged{answer: streamable(func(w http.ResponseWriter, r *http.Request) error { return call(w, r) }, noStream)}
				h, id := remote(t, b, StartHTTP)
				defer h.Close()
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				w := direct(ctx, h, "POST", id, callOf("1", "t"))
				if w.Code != tc.status || ctx.Err() != nil {
					t.Errorf("got %d %.200s (%v), want %d", w.Code, w.Body, ctx.Err(), tc.status)
				}
				if got := w.Body.String(); tc.status == 200 && strings.Count(got, `"id":1,"error"`) != 1 {
					t.Errorf("got %.200s", got)
				}
				if tc.status == 429 && w.Header().Get("Retry-After") != "7" {
					t.Errorf("got %v", w.Header())
				}
				call = body("application/json", `{"jsonrpc":"2.0","id":1,"result":{}}`)
				if got := direct(ctx, h, "POST", id, callOf("1", "t")).Body.String(); got != `{"jsonrpc":"2.0","id":1,"result":{}}` {
					t.Errorf("the next got %s", got)
				}
			})
		})
	}
}

// Rule D6: an upstream that knows its session no more ends the client's, so that the
// client begins again; what else is pending gets an error.
func TestUpstreamForgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := 0
		b := &staged{answer: streamable(func(w http.ResponseWriter, r *http.Request) error {
			if n++; n == 1 {
				return until(w, r, "")
			}
			w.WriteHeader(http.StatusNotFound)
			return nil
		}, noStream)}
		h, id := remote(t, b, StartHTTP)
		defer h.Close()
		first := make(chan string, 1)
		go func() { first <- direct(t.Context(), h, "POST", id, callOf("1", "t")).Body.String() }()
		synctest.Wait()
		if w := direct(t.Context(), h, "POST", id, callOf("2", "t")); w.Code != http.StatusNotFound {
			t.Errorf("got %d", w.Code)
		}
		if got := <-first; !strings.Contains(got, `"id":1,"error"`) {
			t.Errorf("the one that was pending got %q", got)
		}
		synctest.Wait()
		if w := direct(t.Context(), h, "POST", id, callOf("3", "t")); w.Code != http.StatusNotFound || h.Len() != 0 {
			t.Errorf("after that: %d, %d sessions", w.Code, h.Len())
		}
	})
}

// Rule G: a stream that breaks at once, again and again, is not asked for in a loop,
// whatever the upstream says of the time to wait.
func TestUpstreamReconnects(t *testing.T) {
	for name, text := range map[string]string{
		"that brings nothing":     "",
		"at once":                 "retry: 1\n\n",
		"at no time":              "retry: 9223372036854775807\n\n",
		"with an event each time": "retry: 1\ndata: " + `{"jsonrpc":"2.0","method":"notifications/message"}` + "\n\n",
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := &staged{answer: streamable(nil, func(w http.ResponseWriter, _ *http.Request) error {
					return streamTo(w, text, errReset)
				})}
				h, _ := remote(t, b, StartHTTP)
				defer h.Close()
				time.Sleep(10 * time.Second)
				if n := b.count("GET"); n < 2 || n > 110 {
					t.Errorf("%d requests in 10 s", n)
				}
				time.Sleep(10 * time.Minute)
				if n := b.count("GET"); !strings.Contains(text, "data") && n > maxResumes+3 {
					t.Errorf("%d requests for nothing", n)
				}
			})
		})
	}
}

// An upstream that takes a request and says nothing holds nobody longer than the
// client waits: the initialize is answered in time, the session's others go on.
func TestUpstreamStalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stall := func(_ http.ResponseWriter, r *http.Request) error {
			<-r.Context().Done()
			return r.Context().Err()
		}
		stalls := false
		up := streamable(stall, noStream)
		b := &staged{}
		b.answer = func(w http.ResponseWriter, r *http.Request) error {
			if stalls && r.Method == http.MethodPost {
				return stall(w, r)
			}
			return up(w, r)
		}
		h, id := remote(t, b, StartHTTP)
		defer h.Close()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		direct(ctx, h, "POST", id, callOf("1", "t"))
		if w := direct(t.Context(), h, "POST", id, `{"jsonrpc":"2.0","method":"x"}`); w.Code != http.StatusAccepted {
			t.Errorf("the next got %d", w.Code)
		}
		s := h.find(id)
		s.mu.Lock()
		if len(s.pending) != 0 {
			t.Errorf("%d are pending", len(s.pending))
		}
		s.mu.Unlock()
		stalls = true
		began := time.Now()
		w := direct(t.Context(), h, "POST", "", fmt.Sprintf(initializeBody, "2025-11-25"))
		if took := time.Since(began); w.Code != http.StatusGatewayTimeout || took != DefaultStartTimeout || h.Len() != 1 {
			t.Errorf("initialize: %d after %s, %d sessions", w.Code, took, h.Len())
		}
		stalls = false
	})
}

// Rule D2, G: ids, names and data of an upstream's events get into no other field of
// an event or a header, and what is no message is dropped.
func TestUpstreamHostileEvents(t *testing.T) {
	answer := `{"jsonrpc":"2.0","id":1,"result":{}}`
	for name, tc := range map[string]struct {
		events string
		dirty  bool // something precedes the answer
	}{
		"CR in an id":             {"id: a\rdata: {\"evil\":1}\n\n", false},
		"CRLF in an id":           {"id: a\r\nX-Evil: 1\r\n\r\n", false},
		"NUL in an id":            {"id: a\x00b\ndata: \n\n", false},
		"an id for a header":      {"id: a: b\u2028X-Evil: 1\ndata: \n\n", false},
		"a huge id":               {"id: " + strings.Repeat("x", 100_000) + "\ndata: \n\n", false},
		"another name":            {"event: endpoint\ndata: https://evil.example/\n\n", false},
		"a name with CR":          {"event: message\revent: endpoint\rdata: /evil\r\r", false},
		"data that is no JSON":    {"data: X-Evil: 1\n\n", false},
		"data of an event":        {"data: event: endpoint\ndata: data: /evil\n\n", false},
		"a message in lines":      {"data: {\"jsonrpc\":\"2.0\",\ndata: \"method\":\ndata: \"notifications/message\"}\n\n", true},
		"line ends of Unicode":    {"data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\",\"params\":\"\u2028event: endpoint\u2029\u0085data: evil\"}\n\n", true},
		"line ends in a text":     {`data: {"jsonrpc":"2.0","method":"notifications/message","params":"\r\n\r\nevent: endpoint\ndata: evil"}` + "\n\n", true},
		"an answer to nobody":     {"data: {\"jsonrpc\":\"2.0\",\"id\":99,\"result\":\"evil\"}\n\n", false},
		"progress of nobody":      {"data: " + progressOf("evil", 1, 0) + "\n\n", false},
		"a comment with an event": {": event: endpoint\n:data: evil\n\n", false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := &staged{answer: streamable(func(w http.ResponseWriter, _ *http.Request) error {
					return streamTo(w, tc.events+"data: "+answer+"\n\n", nil)
				}, noStream)}
				h, id := remote(t, b, StartHTTP)
				defer h.Close()
				w := direct(t.Context(), h, "POST", id, callOf("1", "t"))
				got := w.Body.String()
				if !tc.dirty {
					if got != answer {
						t.Errorf("got %q", got)
					}
					return
				}
				lines := strings.Split(got, "\n")
				if len(lines) != 9 || !strings.HasPrefix(lines[2], "data: {") || lines[1] != "event: message" || lines[6] != "data: "+answer || strings.ContainsRune(got, '\r') {
					t.Errorf("got %q", got)
				}
			})
		})
	}
}
