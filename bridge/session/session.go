package session

import (
	"sync"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/identity"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/safetext"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/servers"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/stats"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/upstream"
)

// session is one client with a server of its own.
type session struct {
	servers *servers.Servers
	table   *Table
	id      string
	// legacy is true for HTTP+SSE, where every message uses the one event stream.
	legacy bool
	// owner is the host and user of the request that began the session. Requests of any other
	// host or user get 404.
	owner identity.Owner
	// fields are header fields of that request. They are compared with those of a request that
	// gets 404, to log how the two differ.
	fields identity.Fields
	// peer is the server. It is set by Join, before any request finds the session admitted.
	peer upstream.Peer
	// receive takes the messages of peer.
	receive upstream.Deliver
	// streams has the messages of the server that the client has not read yet.
	streams streams

	mu          sync.Mutex // never held together with the lock of streams
	version     string     // negotiated protocol version; empty before, and for HTTP+SSE
	active      int        // HTTP requests in progress
	begun       time.Time
	used        time.Time // end of the last HTTP request
	admitted    bool      // requests may use the session: its server has answered initialize
	failedStart bool      // the server rejected its first request
	ended       bool
	timer       *time.Timer // calls watch; nil before the session is admitted
}

func newSession(t *Table, id string, legacy bool) *session {
	now := time.Now()
	s := &session{servers: t.servers, table: t, id: id, legacy: legacy, begun: now, used: now}
	s.streams.init(t.servers, legacy)
	return s
}

// Join implements [servers.Holder].
func (s *session) Join(peer upstream.Peer) bool {
	receive := s.streams.deliver
	if wrap := s.table.config.Wrap; wrap != nil {
		peer, receive = wrap(peer, receive)
	}
	s.streams.join(peer)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.peer, s.receive = peer, receive
	return !s.ended
}

func (s *session) isEnded() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ended
}

// Answered implements [servers.Holder]. The start of the server went well if it has answered a
// request, or if the session ended before that for any reason but a rejected first request. A
// server that crashes later because of what its client sends must not delay the sessions of
// other clients.
func (s *session) Answered() bool {
	if s.streams.hasAnswer() {
		return true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ended && !s.failedStart
}

// Info implements [servers.Holder].
func (s *session) Info() stats.SessionInfo {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := stats.SessionInfo{
		ID: safetext.HashID(s.id), Transport: stats.TransportHTTP, User: servers.HashOwner(s.owner),
		Used: s.used, Active: s.active, Version: s.version,
	}
	if s.admitted {
		i.Begun = s.begun
	}
	if s.legacy {
		i.Transport = stats.TransportSSE
	}
	return i
}

// enter counts an HTTP request in progress; the caller must then call leave. It returns false
// if the session has ended or is not admitted yet.
func (s *session) enter() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended || !s.admitted {
		return false
	}
	s.active++
	return true
}

func (s *session) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.active--
	s.used = time.Now()
}

// watch ends the session if it is idle or has reached its maximum lifetime. It is called by its
// timer.
func (s *session) watch() {
	bounds := s.servers.Bounds()
	s.mu.Lock()
	left := time.Until(s.begun.Add(bounds.Lifetime))
	if idle := time.Until(s.used.Add(bounds.Idle)); s.active == 0 && idle < left {
		left = idle
	} else if s.active > 0 {
		left = min(left, bounds.Idle)
	}
	over := left <= 0 && !s.ended
	why := stats.EndIdle
	if time.Since(s.begun) >= bounds.Lifetime {
		why = stats.EndLifetime
	}
	if !over && !s.ended {
		s.timer.Reset(left)
	}
	s.mu.Unlock()
	if over {
		s.servers.End(s, why)
	}
}

// Deliver implements [servers.Holder].
func (s *session) Deliver(m message.Message) { s.receive(m, "", upstream.RefusalOf(s.peer)) }

// Fail implements [servers.Holder]. It answers the requests in flight with an error, and ends
// all streams.
func (s *session) Fail(text string) (upstream.Peer, bool) {
	s.mu.Lock()
	if s.ended {
		s.mu.Unlock()
		return nil, false
	}
	s.ended = true
	if s.timer != nil {
		s.timer.Stop()
	}
	peer := s.peer
	s.mu.Unlock()
	s.streams.close(text)
	return peer, true
}
