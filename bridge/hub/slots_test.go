package hub

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/mcp"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/safetext"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/servers"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/upstream"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/hubtest"
)

// D6, G: what is ending has a slot until it has ended, however its session or what
// shared it came to its end; past the bound clients are told to come back, and when all
// has ended, as many as ever may begin.
func TestSlotsHeldUntilTheEnd(t *testing.T) {
	begin := hubtest.InitializeOf(`{}`)
	over := func(a *hubtest.Fleet) {
		a.Answers = func(p *hubtest.FleetServer, m message.Message) {
			if m.Kind == message.Request {
				p.Refuse(m)
			}
		}
	}
	for name, tc := range map[string]struct {
		cfg    servers.Config
		remote bool
		set    func(a *hubtest.Fleet)
		once   func(h *Hub, i int) *httptest.ResponseRecorder // that comes to its end at once
	}{
		"DELETE": {once: func(h *Hub, _ int) *httptest.ResponseRecorder {
			w := hubtest.Do(h, 0, http.MethodPost, "", begin)
			if id := w.Header().Get(mcp.SessionHeader); id != "" {
				hubtest.Do(h, 0, http.MethodDelete, id, "")
			}
			return w
		}},
		"idle for too long": {cfg: servers.Config{Idle: time.Millisecond}, once: func(h *Hub, _ int) *httptest.ResponseRecorder {
			w := hubtest.Do(h, 0, http.MethodPost, "", begin)
			time.Sleep(time.Millisecond)
			return w
		}},
		"too old": {cfg: servers.Config{Lifetime: time.Millisecond}, once: func(h *Hub, _ int) *httptest.ResponseRecorder {
			w := hubtest.Do(h, 0, http.MethodPost, "", begin)
			time.Sleep(time.Millisecond)
			return w
		}},
		"ended by the operator": {once: func(h *Hub, _ int) *httptest.ResponseRecorder {
			w := hubtest.Do(h, 0, http.MethodPost, "", begin)
			h.EndSession(safetext.HashID(w.Header().Get(mcp.SessionHeader)))
			return w
		}},
		"an initialize that fails": {set: over, once: func(h *Hub, _ int) *httptest.ResponseRecorder {
			return hubtest.Do(h, 0, http.MethodPost, "", begin)
		}},
		"an initialize that is not answered": {cfg: servers.Config{StartTimeout: time.Millisecond}, set: func(a *hubtest.Fleet) { a.Answers = func(*hubtest.FleetServer, message.Message) {} }, once: func(h *Hub, _ int) *httptest.ResponseRecorder {
			return hubtest.Do(h, 0, http.MethodPost, "", begin)
		}},
		"a client that goes away": {set: func(a *hubtest.Fleet) { a.Answers = func(*hubtest.FleetServer, message.Message) {} }, once: func(h *Hub, _ int) *httptest.ResponseRecorder {
			return hubtest.Do(h, time.Millisecond, http.MethodPost, "", begin)
		}},
		"a stream that breaks": {once: func(h *Hub, _ int) *httptest.ResponseRecorder {
			stream := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { h.ServeSSE(w, r, "/messages") })
			return hubtest.Do(stream, time.Millisecond, http.MethodGet, "", "")
		}},
		"a start that fails": {remote: true, set: func(a *hubtest.Fleet) {
			a.FailStart = func() error { return &upstream.Refusal{Status: http.StatusUnauthorized} }
		}, once: func(h *Hub, i int) *httptest.ResponseRecorder {
			return hubtest.Do(h, 0, http.MethodPost, "", hubtest.Ask("1", "tools/list", ""), append([]string{"Authorization", fmt.Sprint(i)}, hubtest.AsStateless...)...)
		}},
		"a start that is given up": {set: func(a *hubtest.Fleet) { a.FailStart = func() error { return errors.New("no such program") } }, once: func(h *Hub, _ int) *httptest.ResponseRecorder {
			return hubtest.Do(h, time.Millisecond, http.MethodPost, "", begin)
		}},
		"requests of many owners": {once: func(h *Hub, i int) *httptest.ResponseRecorder {
			return hubtest.Do(h, 0, http.MethodPost, "", hubtest.Ask("1", "tools/list", ""), append([]string{"Authorization", fmt.Sprint(i)}, hubtest.AsStateless...)...)
		}},
		"requests with capabilities that are refused": {set: func(a *hubtest.Fleet) {
			a.Answers = func(p *hubtest.FleetServer, m message.Message) {
				if m.Kind == message.Request && m.Method != "tools/list" {
					p.Refuse(m)
				}
			}
		}, once: func(h *Hub, i int) *httptest.ResponseRecorder {
			return hubtest.Do(h, 0, http.MethodPost, "", hubtest.Ask("1", "tools/list", ""), append([]string{"Authorization", fmt.Sprint(i)}, hubtest.AsStateless...)...)
		}},
		"a server that ends when it is probed": {set: func(a *hubtest.Fleet) {
			a.Answers = func(p *hubtest.FleetServer, m message.Message) {
				if m.Method == "server/discover" {
					_ = p.Close()
					return
				}
				hubtest.Legacy(p, m)
			}
		}, once: func(h *Hub, i int) *httptest.ResponseRecorder {
			return hubtest.Do(h, 0, http.MethodPost, "", hubtest.Ask("1", "tools/list", ""), append([]string{"Authorization", fmt.Sprint(i)}, hubtest.AsStateless...)...)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := &hubtest.Fleet{EndsIn: func() time.Duration { return 10 * time.Second }, Answers: hubtest.Legacy}
				if tc.set != nil {
					tc.set(a)
				}
				cfg := tc.cfg
				cfg.Sessions, cfg.Start, cfg.Remote = 2, a.Start, tc.remote
				h := kit.NewHub(cfg)
				refused := 0
				var all sync.WaitGroup
				for i := range 30 {
					all.Go(func() {
						w := tc.once(h, i)
						if w.Code == http.StatusServiceUnavailable {
							a.Mu.Lock()
							refused++
							a.Mu.Unlock()
							if w.Header().Get("Retry-After") == "" || !strings.Contains(w.Body.String(), `"error"`) {
								t.Errorf("%d %v %s", w.Code, w.Header(), w.Body)
							}
						}
					})
					if i%3 == 0 {
						all.Wait()
					}
				}
				all.Wait()
				if _, most, begun := a.Count(); most > 2 || begun == 0 {
					t.Errorf("there were %d servers at a time, want 2 at most; %d were begun", most, begun)
				}
				if refused == 0 {
					t.Error("no client was told to come back")
				}
				time.Sleep(2 * time.Minute) // longer than any backoff
				if alive, _, _ := a.Count(); alive > len(h.List()) {
					t.Errorf("%d servers are left of %d conversations", alive, len(h.List()))
				}
				h.freeAll()
				wantFree(t, h, a)
				h.Close()
				alive, _, _ := a.Count()
				if used, _ := h.servers.Slots(); alive != 0 || used != 0 {
					t.Errorf("%d servers and %d slots are left", alive, used)
				}
			})
		})
	}
}

// freeAll ends what has begun, and waits for it.
func (h *Hub) freeAll() {
	for _, s := range h.List() {
		h.EndSession(s.ID)
	}
	time.Sleep(time.Minute)
}

// wantFree fails where not as many sessions can begin as there may be.
func wantFree(t *testing.T, h *Hub, a *hubtest.Fleet) {
	t.Helper()
	a.Mu.Lock()
	a.Answers, a.FailStart = hubtest.Legacy, nil
	a.Mu.Unlock()
	for i := range h.servers.Bounds().Sessions {
		if w := hubtest.Do(h, 0, http.MethodPost, "", hubtest.InitializeOf(`{}`)); w.Code != http.StatusOK {
			t.Errorf("session %d of %d after all had ended: %d %s", i+1, h.servers.Bounds().Sessions, w.Code, w.Body)
		}
	}
	if w := hubtest.Do(h, 0, http.MethodPost, "", hubtest.InitializeOf(`{}`)); w.Code != http.StatusServiceUnavailable {
		t.Errorf("one more: %d %s", w.Code, w.Body)
	}
}

// D6: a client that comes while a server ends that ends soon gets its slot: the bound
// costs it a moment, not an error.
func TestSlotsWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &hubtest.Fleet{EndsIn: func() time.Duration { return time.Second }, Answers: hubtest.Legacy}
		h := kit.NewHub(servers.Config{Sessions: 1, Start: a.Start})
		defer h.Close()
		for range 5 {
			w := hubtest.Do(h, 0, http.MethodPost, "", hubtest.InitializeOf(`{}`))
			if w.Code != http.StatusOK {
				t.Fatalf("%d %s", w.Code, w.Body)
			}
			hubtest.Do(h, 0, http.MethodDelete, w.Header().Get(mcp.SessionHeader), "")
		}
		// An idle conversation makes room as well, for sessions and for other owners.
		for i := range 3 {
			w := hubtest.Do(h, 0, http.MethodPost, "", hubtest.Ask("1", "tools/list", ""), append([]string{"Authorization", fmt.Sprint(i)}, hubtest.AsStateless...)...)
			if w.Code != http.StatusOK {
				t.Fatalf("%d %s", w.Code, w.Body)
			}
		}
		if _, most, _ := a.Count(); most != 1 {
			t.Errorf("there were %d servers at a time", most)
		}
		// Whoever waits for a slot to begin what another has begun meanwhile shares that.
		var all sync.WaitGroup
		for range 5 {
			all.Go(func() {
				if w := hubtest.Do(h, 0, http.MethodPost, "", hubtest.Ask("1", "tools/list", ""), append([]string{"Authorization", "new"}, hubtest.AsStateless...)...); w.Code != http.StatusOK {
					t.Errorf("%d %s", w.Code, w.Body)
				}
			})
		}
		all.Wait()
		// A hub that is closed has nobody wait.
		w := hubtest.Do(h, 0, http.MethodPost, "", hubtest.InitializeOf(`{}`))
		if w.Code != http.StatusOK {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
		begun := time.Now()
		all.Go(func() {
			if w := hubtest.Do(h, 0, http.MethodPost, "", hubtest.InitializeOf(`{}`)); w.Code != http.StatusServiceUnavailable {
				t.Errorf("%d %s", w.Code, w.Body)
			}
		})
		h.EndSession(safetext.HashID(w.Header().Get(mcp.SessionHeader)))
		synctest.Wait()
		go h.Close()
		all.Wait()
		if time.Since(begun) >= time.Second {
			t.Error("it waited for the server to end")
		}
	})
}

// D6, G: whatever clients do, in whatever order, there are never more servers than there
// may be, and no slot is lost.
func TestSlotsProperty(t *testing.T) {
	for seed := range uint64(40) {
		synctest.Test(t, func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 6))
			var mu sync.Mutex
			dice := func(n int) int {
				mu.Lock()
				defer mu.Unlock()
				return random.IntN(n)
			}
			a := &hubtest.Fleet{EndsIn: func() time.Duration { return time.Duration(dice(12)) * time.Second }}
			a.Answers = func(p *hubtest.FleetServer, m message.Message) {
				time.Sleep(time.Duration(dice(300)) * time.Millisecond)
				switch {
				case dice(8) == 0:
					_ = p.Close()
				case dice(8) == 0: // it says nothing
				case dice(8) == 0 && m.Kind == message.Request:
					p.Refuse(m)
				default:
					hubtest.Legacy(p, m)
				}
			}
			a.FailStart = func() error {
				if dice(10) == 0 {
					return errors.New("no such program")
				}
				return nil
			}
			h := kit.NewHub(servers.Config{
				Sessions: 3, Start: a.Start, Idle: 7 * time.Second, Lifetime: 20 * time.Second, StartTimeout: 4 * time.Second,
				Remote: seed%2 == 0,
			})
			var all sync.WaitGroup
			for range 60 {
				all.Go(func() {
					leaves := time.Duration(dice(5)) * time.Second
					switch dice(4) {
					case 0:
						w := hubtest.Do(h, leaves, http.MethodPost, "", hubtest.InitializeOf(`{}`))
						if id := w.Header().Get(mcp.SessionHeader); id != "" && dice(2) == 0 {
							hubtest.Do(h, 0, http.MethodDelete, id, "")
						}
					case 1:
						stream := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { h.ServeSSE(w, r, "/messages") })
						hubtest.Do(stream, time.Second+leaves, http.MethodGet, "", "")
					case 2:
						hubtest.Do(h, leaves, http.MethodPost, "", hubtest.Ask("1", "tools/list", ""), append([]string{"Authorization", fmt.Sprint(dice(5))}, hubtest.AsStateless...)...)
					default:
						for _, s := range h.List() {
							if dice(3) == 0 {
								h.EndSession(s.ID)
							}
						}
					}
				})
				time.Sleep(time.Duration(dice(900)) * time.Millisecond)
			}
			all.Wait()
			time.Sleep(2 * time.Minute)
			h.freeAll()
			if alive, most, _ := a.Count(); alive != 0 || most > 3 {
				t.Errorf("seed %d: %d servers are left, there were %d at a time", seed, alive, most)
			}
			if used, waiting := h.servers.Slots(); used != 0 || waiting != 0 || h.Len() != 0 {
				t.Errorf("seed %d: %d slots are taken, %d wait, %d conversations", seed, used, waiting, h.Len())
			}
			wantFree(t, h, a)
			h.Close()
		})
	}
}
