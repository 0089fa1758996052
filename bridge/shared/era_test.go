package shared

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/mcp"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/servers"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/hubtest"
)

// picky is a server that refuses what a client with bad manners says of itself.
type picky struct {
	mu      sync.Mutex
	asked   map[string]int // how often, by method
	bad     func(p *hubtest.FleetServer, m message.Message)
	known   bool // it knows server/discover
	silent  bool // it answers nothing that it does not know
	refuses bool // it refuses initialize
}

func (s *picky) says(p *hubtest.FleetServer, m message.Message) {
	s.mu.Lock()
	s.asked[m.Method]++
	known, silent, refuses := s.known, s.silent, s.refuses
	s.mu.Unlock()
	switch {
	case strings.Contains(string(m.Raw), "bad manners"):
		s.bad(p, m)
	case m.Method == "server/discover" && known:
		p.Answer(m, `{"resultType":"complete","supportedVersions":["2026-07-28"],"capabilities":{"tools":{"listChanged":true}}}`)
	case m.Method == "server/discover" && silent:
	case m.Method == "server/discover", m.Method == "initialize" && refuses:
		p.Refuse(m)
	default:
		hubtest.Legacy(p, m)
	}
}

func (s *picky) count(method string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked[method]
}

// of sends a stateless tools/list of an owner, whose manners are bad or not, and returns
// how long the answer takes and what it is.
func (s *picky) of(h *testHub, owner string, bad bool) (took time.Duration, status int, body string) {
	request := hubtest.Ask("1", "tools/list", "")
	if bad {
		request = strings.Replace(request, `"roots":{}`, `"roots":{"x":"bad manners"}`, 1)
	}
	begun := time.Now()
	w := hubtest.Do(h, 0, http.MethodPost, "", request, append([]string{"Authorization", owner}, hubtest.AsStateless...)...)
	return time.Since(begun), w.Code, w.Body.String()
}

// A server that refuses one client, or ends because of one, is not asked again for the
// others how it wants to be spoken to: what is known of it stays.
func TestHandshakeThatFailsIsOfOne(t *testing.T) {
	for name, bad := range map[string]func(p *hubtest.FleetServer, m message.Message){
		"it refuses":      func(p *hubtest.FleetServer, m message.Message) { p.Refuse(m) },
		"it ends":         func(p *hubtest.FleetServer, _ message.Message) { _ = p.Close() },
		"it says nothing": func(*hubtest.FleetServer, message.Message) {},
	} {
		for _, silent := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/silent %v", name, silent), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s := &picky{asked: make(map[string]int), bad: bad, silent: silent}
					a := &hubtest.Fleet{EndsIn: func() time.Duration { return 0 }, Answers: s.says}
					h := kit.NewHub(servers.Config{Start: a.Start, Idle: time.Hour})
					defer h.Close()
					if _, status, body := s.of(h, "first", false); status != http.StatusOK {
						t.Fatalf("got %d %s", status, body)
					}
					for i := range 2 {
						if _, status, body := s.of(h, "bad", true); !strings.Contains(body, "error") {
							t.Errorf("the client that is refused got %d %s", status, body)
						}
						probes := s.count("server/discover")
						for _, owner := range []string{"first", fmt.Sprint("second ", i), "first"} {
							if took, status, body := s.of(h, owner, false); took != 0 || status != http.StatusOK {
								t.Errorf("%s got %d %s after %s", owner, status, body, took)
							}
						}
						if got := s.count("server/discover"); got != probes {
							t.Errorf("it was asked %d times more", got-probes)
						}
					}
				})
			})
		}
	}
}

// What a server says of itself, which is for all clients, it is asked in nobody's name:
// a client that it would refuse is no reason to take it for another kind of server.
func TestProbeIsOfNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &picky{asked: make(map[string]int), bad: func(p *hubtest.FleetServer, m message.Message) { p.Refuse(m) }, known: true}
		a := &hubtest.Fleet{EndsIn: func() time.Duration { return 0 }, Answers: s.says}
		h := kit.NewHub(servers.Config{Start: a.Start})
		defer h.Close()
		if _, status, body := s.of(h, "bad", true); !strings.Contains(body, "not so") {
			t.Errorf("the client that is refused got %d %s", status, body)
		}
		for i := range 5 {
			if _, status, body := s.of(h, fmt.Sprint(i), false); status != http.StatusOK || strings.Contains(body, "error") {
				t.Errorf("got %d %s", status, body)
			}
		}
		if _, _, begun := a.Count(); begun != 1 || s.count("initialize") != 0 {
			t.Errorf("%d servers were started, of which %d were initialized", begun, s.count("initialize"))
		}
	})
}

// A program that is another by now, one that knows no initialize, is found out by the
// first request that needs it.
func TestProgramThatChanges(t *testing.T) {
	for name, change := range map[string]func(s *picky){
		"it refuses initialize": func(s *picky) { s.refuses = true },
		"it ends at initialize": func(s *picky) {},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &picky{asked: make(map[string]int)}
				says := s.says
				a := &hubtest.Fleet{EndsIn: func() time.Duration { return 0 }}
				a.Answers = func(p *hubtest.FleetServer, m message.Message) { says(p, m) }
				h := kit.NewHub(servers.Config{Start: a.Start, Idle: time.Second})
				defer h.Close()
				if _, status, body := s.of(h, "first", false); status != http.StatusOK {
					t.Fatalf("got %d %s", status, body)
				}
				time.Sleep(time.Minute)
				s.mu.Lock()
				s.known = true
				change(s)
				if !s.refuses {
					says = func(p *hubtest.FleetServer, m message.Message) {
						if m.Method == "initialize" {
							_ = p.Close()
							return
						}
						s.says(p, m)
					}
				}
				s.mu.Unlock()
				status, body := 0, ""
				for range hubtest.MaxHandshakes + 1 {
					if _, status, body = s.of(h, "second", false); !strings.Contains(body, "error") {
						break
					}
					time.Sleep(2 * time.Minute) // longer than any backoff
				}
				if status != http.StatusOK || strings.Contains(body, "error") {
					t.Errorf("got %d %s", status, body)
				}
				if s.refuses && s.count("initialize") != 2 {
					t.Errorf("it was initialized %d times", s.count("initialize"))
				}
			})
		})
	}
}

// Of the clients that share a subscription none writes it: the server gets what it is
// asked for, in the bridge's name.
func TestFeedIsOfNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, started := kit.Programs(t, hubtest.Stateless, servers.Config{})
		p := warm(t, h, started)
		frame := `{"jsonrpc":"2.0","x":1,"id":1,"method":"subscriptions/listen","params":{"y":2,` + hubtest.OnlyTools[:len(hubtest.OnlyTools)-1] + `,"unknown":3},` +
			`"_meta":{"` + mcp.MetaVersion + `":"2026-07-28","` + mcp.MetaCapabilities + `":{"bad":"manners"},"` + mcp.MetaClient + `":{"name":"me"},"progressToken":"t","z":4}}}`
		a := hubtest.Send(t, h, frame)
		m := p.Next(t, "subscriptions/listen")
		want := `{"jsonrpc":"2.0","id":` + string(m.RawID) + `,"method":"subscriptions/listen","params":{` + hubtest.OnlyTools + `,"_meta":{"` +
			mcp.MetaCapabilities + `":{},"` + mcp.MetaVersion + `":"2026-07-28"}}}`
		if got := string(m.Raw); got != want {
			t.Errorf("the server got %s\nwant %s", got, want)
		}
		b := hubtest.Send(t, h, hubtest.Ask("2", "subscriptions/listen", hubtest.OnlyTools))
		p.AgreeAll(m)
		for _, l := range []*hubtest.Pending{a, b} {
			if got := l.Messages(); len(got) != 1 || !strings.Contains(got[0], "acknowledged") {
				t.Errorf("got %d %q", l.Code, got)
			}
			l.Leave()
		}
		// One that begins when others have ended is no other.
		synctest.Wait()
		for len(p.Got) > 0 {
			if m := <-p.Got; m.Method == "notifications/cancelled" {
				p.Emit(`{"jsonrpc":"2.0","id":%s,"result":{}}`, message.Get(m.Raw, "params", "requestId"))
			}
		}
		c := hubtest.Send(t, h, strings.Replace(frame, `"id":1`, `"id":3`, 1))
		m = p.Next(t, "subscriptions/listen")
		want = strings.Replace(want, want[strings.Index(want, `"id":`):strings.Index(want, `,"method"`)], `"id":`+string(m.RawID), 1)
		if got := string(m.Raw); got != want {
			t.Errorf("the server got %s\nwant %s", got, want)
		}
		c.Leave()
	})
}
