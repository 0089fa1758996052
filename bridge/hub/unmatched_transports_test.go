package hub

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/servers"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/upstream"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/hubtest"
)

// Rules D5c, D3: the same in front of what stateless clients share.
func TestOddLinesOfASharedServer(t *testing.T) {
	for _, kind := range []hubtest.Nature{hubtest.Stateless, hubtest.Handshakes} {
		synctest.Test(t, func(t *testing.T) {
			told := new(hubtest.Reports)
			h, started := kit.Programs(t, kind, servers.Config{Observer: told})
			one := hubtest.Send(t, h, hubtest.Ask(`"mine"`, "tools/list", ""))
			p := <-started
			m := p.Next(t, "tools/list")
			if m.RawID[0] == '"' {
				p.Emit(`{"jsonrpc":"2.0","id":%s,"result":{"tools":[]}}`, strings.Trim(string(m.RawID), `"`))
			} else {
				p.Emit(`{"jsonrpc":"2.0","id":"%s","result":{"tools":[]}}`, m.RawID)
			}
			time.Sleep(hubtest.UnmatchedHold)
			if got := one.Messages(); len(got) != 1 || !strings.Contains(got[0], `"id":"mine","result"`) || !one.Over() {
				t.Errorf("nature %d: the client has %q", kind, got)
			}
			if all := told.Took(); !slices.Equal(all, []string{"/answered"}) {
				t.Errorf("nature %d: the operator is told %q", kind, all)
			}
			two, three := hubtest.Send(t, h, hubtest.Ask("2", "tools/list", "")), hubtest.Send(t, h, hubtest.Ask("3", "tools/list", ""))
			p.Next(t, "tools/list")
			p.Next(t, "tools/list")
			p.Emit(`{"jsonrpc":"2.0","id":null,"result":{"tools":["of whom?"]}}`)
			if two.Over() || three.Over() {
				t.Errorf("nature %d: the clients have %q and %q", kind, two.Messages(), three.Messages())
			}
			time.Sleep(upstream.DefaultUnmatched + time.Second)
			for _, call := range []*hubtest.Pending{two, three} {
				if got := call.Messages(); len(got) != 1 || !strings.Contains(got[0], `"error"`) || strings.Contains(got[0], "whom") || !call.Over() {
					t.Errorf("nature %d: the client has %q", kind, got)
				}
			}
			h.Close()
		})
	}
}

// Rules D5c, D3: the same of events of an HTTP+SSE server.
func TestOddEventsOfAnHTTPSSEServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		events := make(chan string, 1)
		b := &hubtest.Staged{Answer: func(w http.ResponseWriter, r *http.Request) error {
			body, _ := io.ReadAll(r.Body)
			if r.Method == http.MethodGet {
				_ = hubtest.StreamTo(w, "", nil)
				for {
					select {
					case e := <-events:
						_, _ = io.WriteString(w, e+"\n\n")
					case <-r.Context().Done():
						return r.Context().Err()
					}
				}
			}
			if strings.Contains(string(body), `"initialize"`) {
				events <- "data: " + hubtest.Initialized
			}
			w.WriteHeader(http.StatusAccepted)
			return nil
		}}
		h, id := kit.Remote(t, b, upstream.StartSSE)
		defer h.Close()
		call := func(n int) string { return fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":"x"}`, n) }
		answered := func(name string, n int, event, want string, wait time.Duration) {
			t.Helper()
			p := hubtest.StartPost(t, h, id, call(n))
			events <- event
			time.Sleep(wait)
			if got := p.Body(); !strings.Contains(got, fmt.Sprintf(`"id":%d,`, n)+want) {
				t.Errorf("%s: the client has %q", name, got)
			}
		}
		answered("a byte order mark", 1, "data: \ufeff"+`{"jsonrpc":"2.0","id":1,"result":{}}`, `"result"`, 0)
		answered("another name", 2, "event: response\ndata: "+`{"jsonrpc":"2.0","id":2,"result":{}}`, `"result"`, 0)
		answered("no JSON", 3, `data: {"jsonrpc":"2.0","id":3,"result":NaN}`, `"error"`, 0)
		answered("text for a number", 4, `data: {"jsonrpc":"2.0","id":"4","result":{}}`, `"error"`, upstream.DefaultUnmatched+time.Second)
		p := hubtest.StartPost(t, h, id, call(5))
		events <- "event: ping\ndata: {}"
		events <- `data: {"jsonrpc":"2.0","id":null,"result":{}}`
		time.Sleep(upstream.DefaultUnmatched + time.Second)
		if got := p.Body(); !strings.Contains(got, `"id":5,"error"`) {
			t.Errorf("the client has %q", got)
		}
	})
}

// A server that does not answer initialize is told to the operator, with what is known.
func TestSilentServerIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		told := new(hubtest.Warnings)
		h := kit.NewHub(servers.Config{
			Observer: told,
			Start: func(context.Context, *http.Request, upstream.Receiver) (upstream.Peer, error) {
				return hubtest.Mute{Scripted: &hubtest.Scripted{Got: make(chan string, 10), Ended: make(chan struct{})}}, nil
			},
		})
		defer h.Close()
		if w := hubtest.Direct(t.Context(), h, "POST", "", fmt.Sprintf(hubtest.InitializeBody, "2025-11-25")); w.Code != http.StatusServiceUnavailable {
			t.Errorf("got %d %s", w.Code, w.Body)
		}
		time.Sleep(5 * time.Minute)
		if want := []string{"server has not answered yet: it wrote nothing", "server does not answer initialize in time: it wrote nothing"}; !slices.Equal(told.All(), want) {
			t.Errorf("the operator is told %q, want %q", told.All(), want)
		}
	})
}

// The same of clients of HTTP+SSE, whose POST is answered before: the stream ends.
func TestSilentServerIsToldToOldClients(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, p, _ := kit.RawServer(t, servers.Config{KeepAlive: time.Hour})
		defer h.Close()
		told := new(hubtest.Warnings)
		h.servers.Config.Observer = told
		stream := httptest.NewRecorder()
		over := make(chan struct{})
		go func() {
			defer close(over)
			h.ServeSSE(stream, httptest.NewRequestWithContext(t.Context(), "GET", "http://h/sse", nil), "/m")
		}()
		synctest.Wait()
		_, address, _ := strings.Cut(stream.Body.String(), "data: ")
		address, _, _ = strings.Cut(address, "\n")
		req := httptest.NewRequestWithContext(t.Context(), "POST", "http://h"+address, strings.NewReader(fmt.Sprintf(hubtest.InitializeBody, "2024-11-05")))
		req.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		if h.ServeMessage(w, req); w.Code != http.StatusAccepted {
			t.Fatalf("got %d %s", w.Code, w.Body)
		}
		<-p.Got
		<-over
		if got := stream.Body.String(); !strings.Contains(got, `"id":"i","error"`) || !strings.Contains(got, "did not answer in time") {
			t.Errorf("the client has %q", got)
		}
		if want := []string{"server has not answered yet: the server took the message, and no answer came", "server does not answer initialize in time: the server took the message, and no answer came"}; !slices.Equal(told.All(), want) {
			t.Errorf("the operator is told %q, want %q", told.All(), want)
		}
	})
}

// Rules D5c, D3: what a server of Streamable HTTP answers a POST with ends the wait for
// the answer, also where it is none, and is read with a byte order mark.
func TestOddAnswersOverHTTP(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		answers := map[string]string{
			"mark":   "\ufeff" + `{"jsonrpc":"2.0","id":7,"result":"yes"}`,
			"text":   `{"jsonrpc":"2.0","id":"7","result":"yes"}`,
			"null":   `{"jsonrpc":"2.0","id":null,"result":"yes"}`,
			"stream": "\ufeff" + `{"jsonrpc":"2.0","id":7,"result":"yes"}`,
			"noise":  `hello`,
		}
		b := &hubtest.Staged{Answer: func(w http.ResponseWriter, r *http.Request) error {
			body, _ := io.ReadAll(r.Body)
			m, err := message.Parse(body)
			switch {
			case r.Method != http.MethodPost:
				w.WriteHeader(http.StatusMethodNotAllowed)
			case err != nil || m.Kind != message.Request:
				w.WriteHeader(http.StatusAccepted)
			case m.Method == "initialize":
				w.Header().Set("Content-Type", "application/json")
				_, _ = io.WriteString(w, "\ufeff"+hubtest.Initialized)
			case m.Method == "stream":
				return hubtest.StreamTo(w, "data: "+answers[m.Method]+"\n\n", nil)
			default:
				w.Header().Set("Content-Type", "application/json")
				_, _ = io.WriteString(w, answers[m.Method])
			}
			return nil
		}}
		h, id := kit.Remote(t, b, upstream.StartHTTP)
		defer h.Close()
		for method := range answers {
			want := `"id":7,"result":"yes"`
			if method == "noise" || method == "text" || method == "null" {
				want = `"id":7,"error"`
			}
			if got := hubtest.Direct(t.Context(), h, "POST", id, `{"jsonrpc":"2.0","id":7,"method":"`+method+`"}`); !strings.Contains(got.Body.String(), want) {
				t.Errorf("%s: the client has %d %s", method, got.Code, got.Body)
			}
		}
	})
}
