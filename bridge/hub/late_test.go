package hub

import (
	"context"
	"net/http"
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

// lateHub is a hub whose programs a test speaks for, and what its operator is told.
func lateHub(t *testing.T) (h *Hub, started <-chan *hubtest.Program, told *hubtest.Warnings) {
	t.Helper()
	starts := make(chan *hubtest.Program, 10)
	told = new(hubtest.Warnings)
	h = kit.NewHub(servers.Config{
		Observer: told,
		Start: func(_ context.Context, _ *http.Request, to upstream.Receiver) (upstream.Peer, error) {
			p := &hubtest.Program{Deliver: hubtest.DeliverTo(to), Got: make(chan message.Message, 10), Ended: make(chan struct{})}
			starts <- p
			return p, nil
		},
	})
	t.Cleanup(h.Close)
	return h, starts, told
}

// hasEnded reports whether a program was ended.
func hasEnded(p *hubtest.Program) bool {
	synctest.Wait()
	select {
	case <-p.Ended:
		return true
	default:
		return false
	}
}

// wantStarting fails unless a client is told to come back to a server that still starts.
func wantStarting(t *testing.T, c *hubtest.Pending) {
	t.Helper()
	synctest.Wait()
	if !c.Over() || c.Code != http.StatusServiceUnavailable || c.Header().Get("Retry-After") != "10" || !strings.Contains(c.Body.String(), "still starting") {
		t.Errorf("got %d %v %s", c.Code, c.Header(), c.Body)
	}
}

const (
	notAnswered = "server has not answered yet: the server took the message, and no answer came"
	noAnswer    = "server does not answer initialize in time: the server took the message, and no answer came"
)

// A program that takes minutes until its first answer, as one does that npx downloads, is not
// ended because its client leaves: the next start would begin anew. Until it has answered,
// clients are told to come back, and no other program is started.
func TestLateProgramGoesOnStarting(t *testing.T) {
	for name, leaves := range map[string]func(*hubtest.Pending){
		"the client waits for as long as it may": func(*hubtest.Pending) { time.Sleep(servers.DefaultStartTimeout) },
		"the client leaves": func(c *hubtest.Pending) {
			time.Sleep(30 * time.Second)
			c.Leave()
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h, started, told := lateHub(t)
				c := hubtest.Post(t, h, "", hubtest.InitializeOf(`{}`))
				p := <-started
				initialize := p.Next(t, "initialize")
				leaves(c)
				wantStarting(t, c)
				if hasEnded(p) {
					t.Fatal("the program was ended")
				}
				if since := h.State().Starting; since.IsZero() {
					t.Error("the state does not say that a program starts")
				}
				wantStarting(t, hubtest.Post(t, h, "", hubtest.InitializeOf(`{}`)))
				wantStarting(t, hubtest.Send(t, h, hubtest.Ask("1", "tools/list", "")))
				if len(started) > 0 {
					t.Error("another program was started meanwhile")
				}

				time.Sleep(time.Minute)
				p.Answer(initialize, hubtest.InitializeResult)
				if !hasEnded(p) || h.Len() != 0 {
					t.Error("a program that nobody waits for goes on")
				}
				if want := []string{notAnswered}; !slices.Equal(told.All(), want) {
					t.Errorf("the operator is told %q, want %q", told.All(), want)
				}
				c = hubtest.Post(t, h, "", hubtest.InitializeOf(`{}`))
				p = <-started
				p.Answer(p.Next(t, "initialize"), hubtest.InitializeResult)
				synctest.Wait()
				if c.Code != http.StatusOK || c.Header().Get("Mcp-Session-Id") == "" {
					t.Errorf("after the first answer: got %d %s", c.Code, c.Body)
				}
			})
		})
	}
}

// Requests without a session wait for the same program, and get it once it has answered.
func TestLateSharedProgramServesWhoComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, started, _ := lateHub(t)
		c := hubtest.Send(t, h, hubtest.Ask("1", "tools/list", ""))
		p := <-started
		discover := p.Next(t, "server/discover")
		time.Sleep(servers.DefaultStartTimeout)
		wantStarting(t, c)
		again := hubtest.Send(t, h, hubtest.Ask("2", "tools/list", ""))
		p.Answer(p.Next(t, "initialize"), hubtest.InitializeResult)
		p.Answer(discover, `{}`) // too late
		p.Next(t, "notifications/initialized")
		p.Answer(p.Next(t, "tools/list"), `{"tools":[]}`)
		synctest.Wait()
		if !again.Over() || again.Code != http.StatusOK || !strings.Contains(again.Body.String(), `"tools":[]`) || hasEnded(p) || len(started) > 0 {
			t.Errorf("got %d %s", again.Code, again.Body)
		}
	})
}

// A program that never answers is ended after some minutes, and the operator is told. One
// whose client leaves early is ended at once.
func TestProgramThatNeverAnswersIsEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, started, told := lateHub(t)
		c := hubtest.Post(t, h, "", hubtest.InitializeOf(`{}`))
		early := <-started
		time.Sleep(5 * time.Second)
		c.Leave()
		if !hasEnded(early) || h.Len() != 0 {
			t.Error("a program whose client has left early goes on")
		}

		c = hubtest.Post(t, h, "", hubtest.InitializeOf(`{}`))
		p := <-started
		time.Sleep(5*time.Minute - time.Second)
		if hasEnded(p) {
			t.Error("the program was ended too early")
		}
		time.Sleep(2 * time.Second)
		wantStarting(t, c)
		if !hasEnded(p) || h.Len() != 0 {
			t.Error("a program that does not answer goes on")
		}
		if want := []string{notAnswered, noAnswer}; !slices.Equal(told.All(), want) {
			t.Errorf("the operator is told %q, want %q", told.All(), want)
		}
	})
}

// A client that a program does not answer is no reason to let others wait, once one has
// answered.
func TestLateProgramHasNoOthersWaitOnceOneHasAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, started, _ := lateHub(t)
		hubtest.Post(t, h, "", hubtest.InitializeOf(`{}`))
		p := <-started
		p.Answer(p.Next(t, "initialize"), hubtest.InitializeResult)
		hubtest.Post(t, h, "", hubtest.InitializeOf(`{}`))
		<-started
		time.Sleep(time.Minute)
		c := hubtest.Post(t, h, "", hubtest.InitializeOf(`{}`))
		p = <-started
		p.Answer(p.Next(t, "initialize"), hubtest.InitializeResult)
		synctest.Wait()
		if c.Code != http.StatusOK {
			t.Errorf("got %d %s", c.Code, c.Body)
		}
	})
}
