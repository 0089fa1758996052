package session

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/servers"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/upstream"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/hubtest"
)

// Rule D5: a server may end at every step.
func TestServerMayEndAtEveryStep(t *testing.T) {
	t.Run("before it answers initialize", func(t *testing.T) {
		started := make(chan *hubtest.Scripted, 1)
		h, url := kit.ServeHub(t, servers.Config{Start: func(_ context.Context, _ *http.Request, to upstream.Receiver) (upstream.Peer, error) {
			deliver := hubtest.DeliverTo(to)
			p := &hubtest.Scripted{Deliver: deliver, Got: make(chan string, 10), Ended: make(chan struct{})}
			started <- p
			return p, nil
		}})
		go func() {
			p := <-started
			<-p.Got
			_ = p.Close()
		}()
		res, body := hubtest.ExchangeHub(t, "POST", url, fmt.Sprintf(hubtest.InitializeBody, "2025-11-25"))
		if res.StatusCode != 502 || !strings.Contains(body, `"id":"i","error"`) || res.Header.Get("Mcp-Session-Id") != "" || h.Len() != 0 {
			t.Errorf("got %d %s, %d sessions", res.StatusCode, body, h.Len())
		}
	})
	t.Run("after it", func(t *testing.T) {
		h, url, begin := farm(t, servers.Config{})
		p, s := begin("2025-11-25")
		_ = p.Close()
		hubtest.Eventually(t, "the session is still there", func() bool { return h.Len() == 0 })
		for _, method := range []string{"POST", "GET", "DELETE"} {
			if res, _ := hubtest.ExchangeHub(t, method, url, hubtest.CallOf("1", "t"), "Mcp-Session-Id", s.id); res.StatusCode != 404 {
				t.Errorf("%s: %d", method, res.StatusCode)
			}
		}
	})
	t.Run("with what is pending", func(t *testing.T) {
		h, url, begin := farm(t, servers.Config{})
		p, s := begin("2025-11-25")
		_, general := hubtest.Events(t, "GET", url, s.id, "")
		go func() {
			<-p.Got
			p.Deliver([]byte(hubtest.ProgressOf("t", 0, 0)))
		}()
		_, call := hubtest.Events(t, "POST", url, s.id, hubtest.CallOf("1", "t"))
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
		hubtest.Eventually(t, "the session is still there", func() bool { return h.Len() == 0 })
	})
	t.Run("again and again", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			starts := 0
			h := kit.NewHub(servers.Config{Start: func(context.Context, *http.Request, upstream.Receiver) (upstream.Peer, error) {
				starts++
				p := &hubtest.Scripted{Got: make(chan string, 10), Ended: make(chan struct{})}
				go func() {
					<-p.Got
					_ = p.Close()
				}()
				return p, nil
			}})
			refused := 0
			for range 600 {
				if w := hubtest.Direct(t.Context(), h, "POST", "", fmt.Sprintf(hubtest.InitializeBody, "2025-11-25")); w.Code == 503 && w.Header().Get("Retry-After") != "" {
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

// Rule D5: a server that ends fails what is pending, and its session is 404 after.
func TestServerThatEndsFailsWhatIsPending(t *testing.T) {
	p, url, id := kit.Script(t, servers.Config{})
	done := make(chan string)
	go func() {
		_, body := hubtest.ExchangeHub(t, "POST", url, `{"jsonrpc":"2.0","id":"x","method":"tools/call"}`, "Mcp-Session-Id", id)
		done <- body
	}()
	<-p.Got
	_, general := hubtest.Events(t, "GET", url, id, "")
	_ = p.Close()
	if got := <-done; !strings.Contains(got, `"id":"x","error"`) {
		t.Errorf("got %s", got)
	}
	if _, data := general(); data != "" {
		t.Errorf("got %s", data)
	}
	if res, _ := hubtest.ExchangeHub(t, "POST", url, `{"jsonrpc":"2.0","id":1,"method":"ping"}`, "Mcp-Session-Id", id); res.StatusCode != 404 {
		t.Errorf("got %d", res.StatusCode)
	}
}
