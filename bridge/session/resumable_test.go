package session

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/servers"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/upstream"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/hubtest"
)

// refuser is a server that may refuse to send the rest of an answer.
type refuser struct{ *hubtest.Scripted }

func (refuser) Refusing() *upstream.Refusal { return nil }

// inSession returns a hub of one scripted server, with a session of a revision.
func inSession(t *testing.T, version string, refuses bool) (h *testHub, p *hubtest.Scripted, id string) {
	t.Helper()
	p = &hubtest.Scripted{Got: make(chan string, 100), Ended: make(chan struct{}), Initial: strings.Replace(hubtest.Initialized, "2025-11-25", version, 1)}
	h = kit.NewHub(servers.Config{Start: func(_ context.Context, _ *http.Request, to upstream.Receiver) (upstream.Peer, error) {
		p.Deliver = hubtest.DeliverTo(to)
		if refuses {
			return refuser{p}, nil
		}
		return p, nil
	}})
	begun := hubtest.Direct(t.Context(), h, "POST", "", fmt.Sprintf(hubtest.InitializeBody, version))
	if id = begun.Header().Get("Mcp-Session-Id"); id == "" {
		t.Fatalf("initialize: %d %s", begun.Code, begun.Body)
	}
	return h, p, id
}

// Rule D6, and 2025-11-25, "Streamable HTTP": a client that waits gets an id with which it can resume
// the stream, unless its revision has no event without data, or a refusal may still come.
func TestClientThatWaitsGetsAnID(t *testing.T) {
	const answer, prime, comment, event = `{"jsonrpc":"2.0","id":1,"result":{}}`, "id: 2\ndata: \n\n", ": \n\n", "id: 2-0\nevent: message\ndata: %s\n\n"
	const json, events = "application/json", "text/event-stream"
	for name, tc := range map[string]struct {
		version  string
		refuses  bool
		waits    time.Duration
		progress bool
		kind     string
		want     string
	}{
		"quick":             {"2025-11-25", false, 4900 * time.Millisecond, false, json, answer},
		"slow":              {"2025-11-25", false, 5100 * time.Millisecond, false, events, prime + fmt.Sprintf(event, answer)},
		"minutes":           {"2025-11-25", false, 40 * time.Second, false, events, prime + strings.Repeat(comment, 2) + fmt.Sprintf(event, answer)},
		"after progress":    {"2025-11-25", false, 10 * time.Second, true, events, fmt.Sprintf(event, `{"jsonrpc":"2.0","method":"x"}`) + strings.Replace(fmt.Sprintf(event, answer), "2-0", "2-1", 1)},
		"earlier revision":  {"2025-06-18", false, 14 * time.Second, false, json, answer},
		"and minutes":       {"2025-06-18", false, 40 * time.Second, false, events, strings.Repeat(comment, 2) + fmt.Sprintf(event, answer)},
		"may refuse":        {"2025-11-25", true, 14 * time.Second, false, json, answer},
		"refuses, a minute": {"2025-11-25", true, 20 * time.Second, false, events, comment + fmt.Sprintf(event, answer)},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h, p, id := inSession(t, tc.version, tc.refuses)
				defer h.Close()
				got := make(chan *httptest.ResponseRecorder, 1)
				go func() { got <- hubtest.Direct(t.Context(), h, "POST", id, hubtest.CallOf("1", "t")) }()
				<-p.Got
				synctest.Wait()
				if tc.progress {
					p.Deliver([]byte(`{"jsonrpc":"2.0","method":"x"}`))
				}
				time.Sleep(tc.waits)
				p.Deliver([]byte(answer))
				if w := <-got; w.Header().Get("Content-Type") != tc.kind || w.Body.String() != tc.want {
					t.Errorf("got %s\n%q\nwant %s\n%q", w.Header().Get("Content-Type"), w.Body, tc.kind, tc.want)
				}
			})
		})
	}
}

// Rule D6: the id of a stream without an event brings everything of that stream, and of no other.
func TestStreamIsResumedBeforeItsFirstEvent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, p, id := inSession(t, "2025-11-25", false)
		defer h.Close()
		resume := func(last string) *httptest.ResponseRecorder {
			r := hubtest.Request(t.Context(), "GET", id, "")
			r.Header.Set("Last-Event-Id", last)
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			return w
		}
		for n := range 2 { // both calls lose their connection while they wait
			ctx, cancel := context.WithTimeout(t.Context(), 6*time.Second)
			defer cancel()
			w := hubtest.Direct(ctx, h, "POST", id, hubtest.CallOf(fmt.Sprint(n), "t"))
			if want := fmt.Sprintf("id: %d\ndata: \n\n", n+2); w.Body.String() != want {
				t.Fatalf("got %q, want %q", w.Body, want)
			}
			<-p.Got
		}
		for _, last := range []string{"0", "1", "4", "-1", "2-", "2--1", "02", "+2", "2 x", "x", "18446744073709551617"} {
			if w := resume(last); w.Code != http.StatusBadRequest {
				t.Errorf("%q: got %d %s, want 400", last, w.Code, w.Body)
			}
		}
		p.Deliver([]byte(`{"jsonrpc":"2.0","id":0,"result":"while it was away"}`))
		got := make(chan *httptest.ResponseRecorder, 2)
		go func() { got <- resume("2") }()
		if w := <-got; w.Body.String() != "id: 2-0\nevent: message\ndata: "+`{"jsonrpc":"2.0","id":0,"result":"while it was away"}`+"\n\n" {
			t.Errorf("got %q", w.Body)
		}
		go func() { got <- resume("3") }()
		synctest.Wait()
		p.Deliver([]byte(`{"jsonrpc":"2.0","id":1,"result":"when it was back"}`))
		if w := <-got; w.Body.String() != "id: 3-0\nevent: message\ndata: "+`{"jsonrpc":"2.0","id":1,"result":"when it was back"}`+"\n\n" {
			t.Errorf("got %q", w.Body)
		}
		if w := resume("3-0"); w.Code != http.StatusNoContent {
			t.Errorf("of a stream that is over: got %d %s", w.Code, w.Body)
		}
	})
}

// Rule D6: a call that its client has cancelled while it waits leaves nothing to resume.
func TestCancelledStreamIsNotResumed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, p, id := inSession(t, "2025-11-25", false)
		defer h.Close()
		got := make(chan *httptest.ResponseRecorder, 1)
		go func() { got <- hubtest.Direct(t.Context(), h, "POST", id, hubtest.CallOf("1", "t")) }()
		<-p.Got
		time.Sleep(6 * time.Second)
		hubtest.Direct(t.Context(), h, "POST", id, `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}`)
		if w := <-got; w.Body.String() != "id: 2\ndata: \n\n" {
			t.Errorf("got %q", w.Body)
		}
		r := hubtest.Request(t.Context(), "GET", id, "")
		r.Header.Set("Last-Event-Id", "2")
		w := httptest.NewRecorder()
		if h.ServeHTTP(w, r); w.Code != http.StatusNoContent {
			t.Errorf("got %d %s, want 204", w.Code, w.Body)
		}
	})
}

// refusingSend is a server whose refusal of a call comes when the test wants it to.
type refusingSend struct {
	*hubtest.Scripted
	release chan struct{}
}

func (p *refusingSend) Send(r *http.Request, m message.Message) error {
	if m.Method != "tools/call" {
		return p.Scripted.Send(r, m)
	}
	<-p.release
	return &upstream.Refusal{Status: http.StatusServiceUnavailable}
}

// Rule D6: a stream is resumed with the id alone only once its client was given that, and a stream
// that comes to nothing ends whoever reads it.
func TestStreamIsNotResumedBeforeItsIDWasGiven(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &refusingSend{&hubtest.Scripted{Got: make(chan string, 100), Ended: make(chan struct{}), Initial: hubtest.Initialized}, make(chan struct{})}
		h := kit.NewHub(servers.Config{Start: func(_ context.Context, _ *http.Request, to upstream.Receiver) (upstream.Peer, error) {
			p.Deliver = hubtest.DeliverTo(to)
			return p, nil
		}})
		defer h.Close()
		id := hubtest.Direct(t.Context(), h, "POST", "", fmt.Sprintf(hubtest.InitializeBody, "2025-11-25")).Header().Get("Mcp-Session-Id")
		s := h.sessions.find(id)
		posted := make(chan int, 1)
		go func() { posted <- hubtest.Direct(t.Context(), h, "POST", id, hubtest.CallOf("1", "t")).Code }()
		synctest.Wait()
		r := hubtest.Request(t.Context(), "GET", id, "")
		r.Header.Set("Last-Event-Id", "2")
		w := httptest.NewRecorder()
		if h.ServeHTTP(w, r); w.Code != http.StatusBadRequest {
			t.Errorf("got %d %s, want 400", w.Code, w.Body)
		}
		s.streams.out.Lock()
		st, rd := s.streams.posts[0], newReader(&s.streams)
		st.attach(rd, 0)
		rd.stream = st
		s.streams.out.Unlock()
		close(p.release)
		if code := <-posted; code != http.StatusServiceUnavailable {
			t.Errorf("the call got %d", code)
		}
		<-rd.Wake()
		if _, _, over := rd.Take(); !over {
			t.Error("a stream that comes to nothing goes on")
		}
	})
}
