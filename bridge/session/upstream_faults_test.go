package session

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/servers"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/upstream"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/hubtest"
)

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
		for _, end := range []error{nil, hubtest.ErrReset} {
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
	progress, answer := hubtest.ProgressOf("t", 1, 0), `{"jsonrpc":"2.0","id":1,"result":{"ok":true}}`
	for name, events := range map[string][]string{
		"with ids":    {"id: a\nevent: message\ndata: " + progress + "\n\n", "id: b\ndata: " + answer + "\n\n"},
		"without ids": {"event: message\ndata: " + progress + "\n\n", "data: " + answer + "\n\n"},
	} {
		t.Run(name, func(t *testing.T) {
			each(t, strings.Join(events, ""), func(t *testing.T, prefix string, end error) {
				b := &hubtest.Staged{Answer: hubtest.Streamable(func(w http.ResponseWriter, _ *http.Request) error {
					return hubtest.StreamTo(w, prefix, end)
				}, func(w http.ResponseWriter, r *http.Request) error {
					if last := r.Header.Get("Last-Event-Id"); last != "" {
						return hubtest.StreamTo(w, after(events, last), nil)
					}
					return hubtest.NoStream(w, r)
				})}
				h, id := kit.Remote(t, b, upstream.StartHTTP)
				defer h.Close()
				got := hubtest.Direct(t.Context(), h, "POST", id, hubtest.CallOf("1", "t")).Body.String()
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
				b := &hubtest.Staged{Answer: hubtest.Streamable(nil, func(w http.ResponseWriter, r *http.Request) error {
					if opened++; opened == 1 {
						return hubtest.StreamTo(w, prefix, end)
					}
					rest := after(events, r.Header.Get("Last-Event-Id"))
					if name == "with ids" && r.Header.Get("Last-Event-Id") == "" {
						rest = all
					}
					return hubtest.Until(w, r, rest+"data: "+note(3)+"\n\n")
				})}
				h, id := kit.Remote(t, b, upstream.StartHTTP)
				defer h.Close()
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				got := hubtest.Direct(ctx, h, "GET", id, "").Body.String()
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
		b := &hubtest.Staged{Answer: func(w http.ResponseWriter, r *http.Request) error {
			if r.Method == http.MethodPost {
				body, _ := io.ReadAll(r.Body)
				w.WriteHeader(http.StatusAccepted)
				messages <- string(body)
				return nil
			}
			_ = hubtest.StreamTo(w, "", nil)
			for {
				select {
				case m := <-messages:
					switch {
					case strings.Contains(m, `"initialize"`):
						_, _ = io.WriteString(w, "data: "+hubtest.Initialized+"\n\n")
					case strings.Contains(m, `"tools/call"`):
						return hubtest.StreamTo(w, prefix, end)
					}
				case <-r.Context().Done():
					return r.Context().Err()
				}
			}
		}}
		h, id := kit.Remote(t, b, upstream.StartSSE)
		defer h.Close()
		got := hubtest.Direct(t.Context(), h, "POST", id, hubtest.CallOf("1", "t")).Body.String()
		if complete := prefix == text; (got == answer) != complete || strings.Contains(got, `"id":1,"error"`) == complete {
			t.Errorf("got %q", got)
		}
		synctest.Wait()
		if w := hubtest.Direct(t.Context(), h, "POST", id, hubtest.CallOf("2", "t")); w.Code != http.StatusNotFound || h.Len() != 0 {
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
			return hubtest.ErrReset
		}, 200},
		"no answer": {func(http.ResponseWriter, *http.Request) error { return hubtest.ErrReset }, 502},
		"429":       {status(429), 429},
		"500":       {status(500), 500},
		"503":       {status(503), 503},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				call := tc.call
				b := &hubtest.Staged{Answer: hubtest.Streamable(func(w http.ResponseWriter, r *http.Request) error { return call(w, r) }, hubtest.NoStream)}
				h, id := kit.Remote(t, b, upstream.StartHTTP)
				defer h.Close()
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				w := hubtest.Direct(ctx, h, "POST", id, hubtest.CallOf("1", "t"))
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
				if got := hubtest.Direct(ctx, h, "POST", id, hubtest.CallOf("1", "t")).Body.String(); got != `{"jsonrpc":"2.0","id":1,"result":{}}` {
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
		b := &hubtest.Staged{Answer: hubtest.Streamable(func(w http.ResponseWriter, r *http.Request) error {
			if n++; n == 1 {
				return hubtest.Until(w, r, "")
			}
			w.WriteHeader(http.StatusNotFound)
			return nil
		}, hubtest.NoStream)}
		h, id := kit.Remote(t, b, upstream.StartHTTP)
		defer h.Close()
		first := make(chan string, 1)
		go func() { first <- hubtest.Direct(t.Context(), h, "POST", id, hubtest.CallOf("1", "t")).Body.String() }()
		synctest.Wait()
		if w := hubtest.Direct(t.Context(), h, "POST", id, hubtest.CallOf("2", "t")); w.Code != http.StatusNotFound {
			t.Errorf("got %d", w.Code)
		}
		if got := <-first; !strings.Contains(got, `"id":1,"error"`) {
			t.Errorf("the one that was pending got %q", got)
		}
		synctest.Wait()
		if w := hubtest.Direct(t.Context(), h, "POST", id, hubtest.CallOf("3", "t")); w.Code != http.StatusNotFound || h.Len() != 0 {
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
				b := &hubtest.Staged{Answer: hubtest.Streamable(nil, func(w http.ResponseWriter, _ *http.Request) error {
					return hubtest.StreamTo(w, text, hubtest.ErrReset)
				})}
				h, _ := kit.Remote(t, b, upstream.StartHTTP)
				defer h.Close()
				time.Sleep(10 * time.Second)
				if n := b.Count("GET"); n < 2 || n > 110 {
					t.Errorf("%d requests in 10 s", n)
				}
				time.Sleep(10 * time.Minute)
				if n := b.Count("GET"); !strings.Contains(text, "data") && n > hubtest.MaxResumes+3 {
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
		up := hubtest.Streamable(stall, hubtest.NoStream)
		b := &hubtest.Staged{}
		b.Answer = func(w http.ResponseWriter, r *http.Request) error {
			if stalls && r.Method == http.MethodPost {
				return stall(w, r)
			}
			return up(w, r)
		}
		h, id := kit.Remote(t, b, upstream.StartHTTP)
		defer h.Close()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		hubtest.Direct(ctx, h, "POST", id, hubtest.CallOf("1", "t"))
		if w := hubtest.Direct(t.Context(), h, "POST", id, `{"jsonrpc":"2.0","method":"x"}`); w.Code != http.StatusAccepted {
			t.Errorf("the next got %d", w.Code)
		}
		s := h.sessions.find(id)
		s.streams.out.Lock()
		if len(s.streams.pending) != 0 {
			t.Errorf("%d are pending", len(s.streams.pending))
		}
		s.streams.out.Unlock()
		stalls = true
		began := time.Now()
		w := hubtest.Direct(t.Context(), h, "POST", "", fmt.Sprintf(hubtest.InitializeBody, "2025-11-25"))
		if took := time.Since(began); w.Code != http.StatusGatewayTimeout || took != servers.DefaultStartTimeout || h.Len() != 1 {
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
		"progress of nobody":      {"data: " + hubtest.ProgressOf("evil", 1, 0) + "\n\n", false},
		"a comment with an event": {": event: endpoint\n:data: evil\n\n", false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := &hubtest.Staged{Answer: hubtest.Streamable(func(w http.ResponseWriter, _ *http.Request) error {
					return hubtest.StreamTo(w, tc.events+"data: "+answer+"\n\n", nil)
				}, hubtest.NoStream)}
				h, id := kit.Remote(t, b, upstream.StartHTTP)
				defer h.Close()
				w := hubtest.Direct(t.Context(), h, "POST", id, hubtest.CallOf("1", "t"))
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
