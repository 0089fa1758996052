package hub

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/process"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/servers"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/upstream"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/hubtest"
)

// Servers that one client's requests kill do not have other clients wait; those that
// end before they answer anything do.
func TestBackoffIsForStartsAlone(t *testing.T) {
	h, url, begin := kit.Farm(t, servers.Config{})
	for range 10 * freeStarts {
		p, id := begin("2025-11-25")
		done := hubtest.Posted(t, url, id, hubtest.CallOf("1", "t"))
		<-p.Got
		_ = p.Close()
		if got := <-done; !strings.Contains(got, `"id":1,"error"`) {
			t.Fatalf("got %s", got)
		}
		hubtest.Eventually(t, "the session is still there", func() bool { return h.Len() == 0 })
	}
}

// calling is a peer that answers within Send, before that returns.
type calling struct{ hubtest.Scripted }

func (p *calling) Send(_ *http.Request, sent message.Message) error {
	frame := sent.Raw
	if strings.Contains(string(frame), `"initialize"`) {
		p.Deliver([]byte(hubtest.Initialized))
		return nil
	}
	if strings.Contains(string(frame), `"error"`) {
		p.Deliver([]byte(`{"jsonrpc":"2.0","method":"notifications/message"}`))
	}
	p.Got <- string(frame)
	return nil
}

// A peer may deliver while it takes a message: none is sent under a lock.
func TestPeerMayDeliverWhileItTakesAMessage(t *testing.T) {
	p := &calling{hubtest.Scripted{Got: make(chan string, 1000), Ended: make(chan struct{})}}
	h := kit.NewHub(servers.Config{Buffer: 1000, Start: func(_ context.Context, _ *http.Request, to upstream.Receiver) (upstream.Peer, error) {
		deliver := hubtest.DeliverTo(to)
		p.Deliver = deliver
		return p, nil
	}})
	id := hubtest.Direct(t.Context(), h, "POST", "", fmt.Sprintf(hubtest.InitializeBody, "2025-11-25")).Header().Get("Mcp-Session-Id")
	if id == "" {
		t.Fatal("no session")
	}
	hubtest.Within(t, "the flood", func() {
		for n := range 100 {
			p.Deliver([]byte(fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":"sampling/createMessage"}`, n)))
		}
	})
	hubtest.Within(t, "Close", h.Close)
}

// A server that cannot be started is told apart from one that ends.
func TestServerThatCannotBeStartedIsToldApart(t *testing.T) {
	h, url := kit.ServeHub(t, servers.Config{Start: func(context.Context, *http.Request, upstream.Receiver) (upstream.Peer, error) {
		return nil, errors.New("/secret/path: no such file")
	}})
	res, body := hubtest.ExchangeHub(t, "POST", url, fmt.Sprintf(hubtest.InitializeBody, "2025-11-25"))
	if res.StatusCode != 502 || strings.Contains(body, "secret") || h.Len() != 0 {
		t.Errorf("got %d %s, %d sessions", res.StatusCode, body, h.Len())
	}
}

// Rule G: a server that takes nothing is not started in a loop, whichever is noticed
// first: that it takes nothing, or that it has ended.
func TestServerThatTakesNothingIsNotStartedInALoop(t *testing.T) {
	for name, body := range map[string]string{
		"initialize": `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"c","version":"1"}}}`,
		"stateless":  hubtest.Ask("1", "tools/list", ""),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				starts := 0
				h := kit.NewHub(servers.Config{Start: func(context.Context, *http.Request, upstream.Receiver) (upstream.Peer, error) {
					starts++
					return &hubtest.Program{
						Got: make(chan message.Message, 10), Ended: make(chan struct{}),
						Refuse: func(*http.Request, message.Message) error { return process.ErrClosed },
					}, nil
				}})
				defer h.Close()
				for range freeStarts + 3 {
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
				if starts != freeStarts {
					t.Errorf("started %d times, want %d", starts, freeStarts)
				}
			})
		})
	}
}
