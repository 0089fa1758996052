package bridge

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"net/http"
	"sync"
	"time"
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
	// StartTimeout bounds how long an initialize may take. Default: 1m.
	StartTimeout time.Duration
	// Remote says that the server is not started but connected to: one that ends a
	// conversation early may be connected to again at once.
	Remote bool
	// Warn reports what an operator should see.
	Warn func(msg, cause string)
}

// Hub holds the sessions of one endpoint whose server is spoken to in messages:
// one server for each.
type Hub struct {
	cfg      HubConfig
	mu       sync.Mutex
	sessions map[string]*session // those that are not initialized yet as well
	closed   bool
	short    int       // servers in a row that ended soon after their start
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
	if cfg.StartTimeout <= 0 {
		cfg.StartTimeout = DefaultStartTimeout
	}
	if cfg.Warn == nil {
		cfg.Warn = func(string, string) {}
	}
	return &Hub{cfg: cfg, sessions: make(map[string]*session)}
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
	h.mu.Lock()
	switch {
	case h.closed:
		h.mu.Unlock()
		return nil, ErrHubClosed
	case len(h.sessions) >= h.cfg.Sessions:
		h.mu.Unlock()
		h.cfg.Warn("limit of sessions is reached; new clients are told to come back", "sessions")
		return nil, ErrTooManySessions
	case time.Now().Before(h.notUntil):
		h.mu.Unlock()
		return nil, ErrBackoff
	}
	s := newSession(h, newID())
	s.host = from.Host
	h.sessions[s.id] = s
	h.wg.Add(1)
	h.mu.Unlock()

	ready := make(chan struct{})
	peer, err := h.cfg.Start(ctx, from, func(frame []byte) {
		<-ready
		all, err := readMessages(frame)
		if err != nil {
			h.cfg.Warn("server sends what is no JSON-RPC message; it is dropped", err.Error())
			return
		}
		for _, m := range all {
			s.deliver(m)
		}
	})
	if err != nil {
		close(ready)
		h.started(false)
		h.forget(s)
		h.wg.Done()
		return nil, err
	}
	s.mu.Lock()
	s.peer = peer
	over := s.ended
	s.mu.Unlock()
	close(ready)
	if over { // the hub was closed meanwhile
		h.wg.Go(func() { _ = peer.Close() })
	}
	go func() {
		defer h.wg.Done()
		<-peer.Done()
		h.started(time.Since(s.begun) > shortLife || s.isEnded())
		h.end(s)
		_ = peer.Close()
	}()
	return s, nil
}

func (s *session) isEnded() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ended
}

// started notes how a start went: well, or not.
func (h *Hub) started(well bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if well || h.cfg.Remote {
		h.short = 0
		return
	}
	if h.short++; h.short < backoffFree {
		return
	}
	wait := backoffTo
	if n := h.short - backoffFree; n < 6 {
		wait = min(backoffTo, backoffFrom<<n)
	}
	h.notUntil = time.Now().Add(wait)
	h.cfg.Warn("server ends soon after its start; it is started again only after a while", "backoff")
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
	defer s.mu.Unlock()
	if s.ended {
		return false
	}
	s.version, s.admitted = version, true
	s.timer = time.AfterFunc(min(h.cfg.Idle, h.cfg.Lifetime), s.watch)
	return true
}

// find returns a session by its id.
func (h *Hub) find(id string) *session {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.sessions[id]
}

func (h *Hub) forget(s *session) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.sessions, s.id)
}

// end ends a session and its server. It does not wait for the server; Close waits
// for what open has started.
func (h *Hub) end(s *session) {
	h.forget(s)
	if peer, ok := s.fail("the server has ended"); ok && peer != nil {
		go func() { _ = peer.Close() }()
	}
}

// Len returns the number of sessions.
func (h *Hub) Len() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.sessions)
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
	all := make([]*session, 0, len(h.sessions))
	for _, s := range h.sessions {
		all = append(all, s)
	}
	h.mu.Unlock()
	for _, s := range all {
		h.end(s)
	}
	h.wg.Wait()
}
