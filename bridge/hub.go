package bridge

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
)

// Defaults of the limits in [HubConfig].
const (
	DefaultSessions     = 100
	DefaultIdle         = 30 * time.Minute
	DefaultLifetime     = 24 * time.Hour
	DefaultBuffer       = 4 << 20
	DefaultKeepAlive    = 15 * time.Second
	DefaultStartTimeout = time.Minute
)

// Errors of a hub.
var (
	// ErrTooManySessions says that the limit of sessions is reached.
	ErrTooManySessions = errors.New("too many sessions")
	// ErrBackoff says that the server has ended too often to be started now.
	ErrBackoff = errors.New("server ended soon after its start; it is started again later")
	// ErrHubClosed says that the endpoint is no more.
	ErrHubClosed = errors.New("endpoint is closed")
)

// HubConfig describes the sessions of one endpoint.
type HubConfig struct {
	// Start starts a server for one session, or connects to it on behalf of a
	// client's request. Each message of it goes to deliver, one after the other.
	// The error is a [*Refusal] where the server has answered with one.
	Start func(ctx context.Context, from *http.Request, deliver func(frame []byte)) (Peer, error)
	// Sessions bounds how many there are. Default: 100.
	Sessions int
	// Idle is how long a session without a request under way is kept. Default:
	// 30m.
	Idle time.Duration
	// Lifetime is how long one is kept at all. Default: 24h.
	Lifetime time.Duration
	// Buffer bounds what is kept for a client that does not read, in bytes.
	// Default: 4 MiB.
	Buffer int
	// KeepAlive is how often a comment is sent on a quiet stream. Default: 15s.
	KeepAlive time.Duration
	// Stall bounds how long a client may take to accept the next 64 KiB of what it
	// is sent; then its connection ends. Default: 30s.
	Stall time.Duration
	// StartTimeout bounds how long an initialize may take. Default: 1m.
	StartTimeout time.Duration
	// Remote says that the server is not started but connected to: one that ends a
	// conversation early may be connected to again at once, and it judges the
	// credentials of each request itself.
	Remote bool
	// Judge is asked, where the server judges credentials, whether it refuses a request
	// that names no session. Default: it refuses none.
	Judge Backend
	// User returns who a request is from, where something in front has found out.
	// Default: nobody knows.
	User func(r *http.Request) string
	// Warn reports what an operator should see.
	Warn func(msg, cause string)
	// Observer is told what happens. Default: nobody is.
	Observer HubObserver
}

// tenant is who a server is started for.
type tenant interface {
	// join gives it the server. It returns false where the tenant is over already.
	join(peer Peer) bool
	// deliver takes a message of the server.
	deliver(m message.Message)
	// fail ends it and returns its server; false where it was over before.
	fail(text string) (Peer, bool)
	// answered says that the server has begun well.
	answered() bool
	// unlist takes it out of where it is found. The hub is locked.
	unlist(h *Hub)
	// info is what is told of it.
	info() SessionInfo
}

// Hub holds the conversations of one endpoint whose server is spoken to in messages:
// one server for each.
type Hub struct {
	cfg      HubConfig
	mu       sync.Mutex
	tenants  map[tenant]struct{} // those that have not begun yet as well
	sessions map[string]*session
	shared   map[string]*conversation // of stateless requests
	era      era
	// refuses says that the server knows no initialize, and answers server/discover.
	refuses  bool
	closed   bool
	short    int       // servers in a row that ended soon after their start
	lost     int       // servers that have ended by themselves and that no other stands in for
	notUntil time.Time // no server is started before
	wg       sync.WaitGroup
}

// NewHub returns a hub without sessions.
func NewHub(cfg HubConfig) *Hub {
	if cfg.Sessions <= 0 {
		cfg.Sessions = DefaultSessions
	}
	if cfg.Idle <= 0 {
		cfg.Idle = DefaultIdle
	}
	if cfg.Lifetime <= 0 {
		cfg.Lifetime = DefaultLifetime
	}
	if cfg.Buffer <= 0 {
		cfg.Buffer = DefaultBuffer
	}
	if cfg.KeepAlive <= 0 {
		cfg.KeepAlive = DefaultKeepAlive
	}
	if cfg.Stall <= 0 {
		cfg.Stall = DefaultStall
	}
	if cfg.StartTimeout <= 0 {
		cfg.StartTimeout = DefaultStartTimeout
	}
	if cfg.Warn == nil {
		cfg.Warn = func(string, string) {}
	}
	if cfg.Observer == nil {
		cfg.Observer = unobserved{}
	}
	if cfg.User == nil {
		cfg.User = func(*http.Request) string { return "" }
	}
	h := &Hub{cfg: cfg, tenants: make(map[tenant]struct{}), sessions: make(map[string]*session), shared: make(map[string]*conversation)}
	if cfg.Remote {
		h.era = eraHandshake // of servers that are connected to, only those are bridged
	}
	return h
}

// Backoff of servers that end within shortLife of their start.
const (
	shortLife   = 10 * time.Second
	backoffFrom = time.Second
	backoffTo   = time.Minute
	backoffFree = 3 // so many may, before anything waits
)

// newID returns 192 random bits.
func newID() string {
	id := make([]byte, 24)
	_, _ = rand.Read(id) // it does not fail
	return base64.RawURLEncoding.EncodeToString(id)
}

// open starts a server for a new session. The session is not found by its id
// before admit.
func (h *Hub) open(ctx context.Context, from *http.Request) (*session, error) {
	s := newSession(h, newID())
	s.host, s.owner = from.Host, h.identify(from)
	if err := h.reserve(s, func() { h.sessions[s.id] = s }); err != nil {
		return nil, err
	}
	if err := h.launch(ctx, from, s); err != nil {
		return nil, err
	}
	return s, nil
}

// reserve makes room for a tenant, which list enters where it is found. launch has
// to follow.
func (h *Hub) reserve(t tenant, list func()) error {
	h.mu.Lock()
	for len(h.tenants) >= h.cfg.Sessions && !h.closed {
		idle := h.leastUsed()
		if idle == nil {
			break
		}
		h.mu.Unlock()
		h.end(idle, EndEvicted)
		h.mu.Lock()
	}
	defer h.mu.Unlock()
	switch {
	case h.closed:
		return ErrHubClosed
	case len(h.tenants) >= h.cfg.Sessions:
		h.cfg.Warn("limit of sessions is reached; new clients are told to come back", "sessions")
		return ErrTooManySessions
	case time.Now().Before(h.notUntil):
		return ErrBackoff
	}
	h.tenants[t] = struct{}{}
	h.wg.Add(1)
	list()
	return nil
}

// launch starts a server for a tenant that has room.
func (h *Hub) launch(ctx context.Context, from *http.Request, t tenant) error {
	begun := time.Now()
	ready := make(chan struct{})
	peer, err := h.cfg.Start(ctx, from, func(frame []byte) {
		<-ready
		all, err := readMessages(frame)
		if err != nil {
			h.cfg.Warn("server sends what is no JSON-RPC message; it is dropped", err.Error())
			all = lostIn(frame)
		}
		for _, m := range all {
			t.deliver(m)
		}
	})
	if err != nil {
		close(ready)
		h.started(false)
		h.forget(t)
		h.wg.Done()
		h.cfg.Observer.ServerFailed(err)
		return err
	}
	h.cfg.Observer.ServerStarted(h.standsIn())
	joined := t.join(peer)
	close(ready)
	if !joined { // the hub was closed meanwhile
		h.wg.Go(func() { _ = peer.Close() })
	}
	afterDone(peer, func() {
		defer h.wg.Done()
		h.started(t.answered() || time.Since(begun) > shortLife)
		byItself := h.end(t, EndServer)
		if byItself {
			h.mu.Lock()
			h.lost++
			h.mu.Unlock()
		}
		h.cfg.Observer.ServerEnded(byItself)
		_ = peer.Close()
	})
	return nil
}

// standsIn reports whether a server that was just started stands in for one that has
// ended by itself.
func (h *Hub) standsIn() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.lost == 0 {
		return false
	}
	h.lost--
	return true
}

func (s *session) join(peer Peer) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.peer = peer
	if _, handshakes := peer.(*ssePeer); !handshakes {
		s.facade = newFacade(s, peer)
		s.peer = s.facade
	}
	return !s.ended
}

func (s *session) unlist(h *Hub) { delete(h.sessions, s.id) }

func (s *session) isEnded() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ended
}

// answered reports whether the start of a server went well: it has answered a
// request, or was ended before for another reason than that it takes nothing. One that
// a client's request kills later is no reason to let other clients wait.
func (s *session) answered() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.heard || s.ended && !s.stillborn
}

// started notes how a start went: well, or not.
func (h *Hub) started(well bool) {
	if wait := h.backoff(well); wait > 0 {
		h.cfg.Warn("server ends soon after its start; it is started again only after a while", "backoff")
		h.cfg.Observer.BackingOff(wait)
	}
}

// backoff notes how a start went, and returns how long the next has to wait.
func (h *Hub) backoff(well bool) time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	if well || h.cfg.Remote {
		h.short = 0
		return 0
	}
	if h.short++; h.short < backoffFree {
		return 0
	}
	wait := backoffTo
	if n := h.short - backoffFree; n < 6 {
		wait = min(backoffTo, backoffFrom<<n)
	}
	h.notUntil = time.Now().Add(wait)
	return wait
}

// retryAfter is how long the next start waits.
func (h *Hub) retryAfter() time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	return max(time.Until(h.notUntil), time.Second)
}

// admit lets clients find a session that was initialized. It returns false where
// the session is over already.
func (h *Hub) admit(s *session, version string) bool {
	s.mu.Lock()
	if s.ended {
		s.mu.Unlock()
		return false
	}
	s.version, s.admitted = version, true
	s.timer = time.AfterFunc(min(h.cfg.Idle, h.cfg.Lifetime), s.watch)
	s.mu.Unlock()
	h.cfg.Observer.SessionBegun(s.info())
	return true
}

// find returns a session by its id.
func (h *Hub) find(id string) *session {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.sessions[id]
}

func (h *Hub) forget(t tenant) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.tenants, t)
	t.unlist(h)
}

// end ends a session, or what stateless requests share, and its server. It does not
// wait for the server; Close waits for what launch has started. It returns false where
// the session was over before.
func (h *Hub) end(t tenant, why EndReason) bool {
	h.forget(t)
	peer, ok := t.fail("the server has ended")
	if !ok {
		return false
	}
	if peer != nil {
		go func() { _ = peer.Close() }()
	}
	if s := t.info(); s.begun {
		h.cfg.Observer.SessionEnded(s, why)
	}
	return true
}

// Len returns the number of sessions, and of servers that stateless requests share.
func (h *Hub) Len() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.tenants)
}

// Close ends every session and waits for their servers.
func (h *Hub) Close() {
	h.mu.Lock()
	if h.closed {
		h.mu.Unlock()
		h.wg.Wait()
		return
	}
	h.closed = true
	all := slices.Collect(maps.Keys(h.tenants))
	h.mu.Unlock()
	for _, t := range all {
		h.end(t, EndClosed)
	}
	h.wg.Wait()
}
