package servers

import (
	"sync"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/stats"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/upstream"
)

const (
	// lateAfter is how long a server may take for its first answer before it is late. Then the
	// operator is warned, and the server goes on starting even if its client leaves: `npx` and
	// `uvx` download a program when it is started for the first time.
	lateAfter = 10 * time.Second
	// lateLimit is how long a late server may take for its first answer, from its start.
	lateLimit = 5 * time.Minute
	// lateRetry is the Retry-After that clients get while a server is late.
	lateRetry = 10 * time.Second
)

// starts has the servers that were started and have not answered anything yet.
type starts struct {
	config *Config
	// end ends a holder and its server. text answers the requests that wait for the server.
	end func(h Holder, text string)

	mu       sync.Mutex
	byHolder map[Holder]*start
	warm     bool // a server has answered at least once
}

// start is the start of one server, until its first answer.
type start struct {
	begun time.Time
	peer  upstream.Peer
	// late is set after lateAfter.
	late bool
	// abandoned is set if the server is late and its client does not wait any more.
	abandoned bool
	timer     *time.Timer
}

// begin adds a server that was just started. It does nothing for a server that is connected to
// and not started, which is never late.
func (t *starts) begin(h Holder, peer upstream.Peer) {
	if t.config.Remote {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	s := &start{begun: time.Now(), peer: peer}
	t.byHolder[h] = s
	s.timer = time.AfterFunc(lateAfter, func() { t.overdue(h) })
}

// overdue warns of a server that has not answered within lateAfter. It ends one that has not
// answered within lateLimit.
func (t *starts) overdue(h Holder) {
	t.mu.Lock()
	s := t.byHolder[h]
	switch {
	case s == nil:
		t.mu.Unlock()
		return
	case !s.late:
		s.late = true
		s.timer = time.AfterFunc(lateLimit-lateAfter, func() { t.overdue(h) })
		t.mu.Unlock()
		t.config.Observer.Warned("server has not answered yet", upstream.SilenceOf(s.peer))
		return
	}
	delete(t.byHolder, h)
	t.mu.Unlock()
	warnSilent(t.config.Observer, s.peer)
	t.end(h, TextNoAnswer)
}

// answered removes a server that has answered something. It ends the server if its client has
// left meanwhile.
func (t *starts) answered(h Holder) {
	t.mu.Lock()
	s := t.byHolder[h]
	if s == nil { // the holder has ended
		t.mu.Unlock()
		return
	}
	delete(t.byHolder, h)
	t.warm = true
	t.mu.Unlock()
	s.timer.Stop()
	if s.late {
		t.config.Observer.ServerLate(time.Since(s.begun))
	}
	if s.abandoned {
		upstream.NoteEnd(s.peer, stats.ExitLate)
		t.end(h, textEnded)
	}
}

// forget removes the server of a holder that has ended.
func (t *starts) forget(h Holder) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if s := t.byHolder[h]; s != nil {
		s.timer.Stop()
		delete(t.byHolder, h)
	}
}

// isLate reports whether the server of a holder is late.
func (t *starts) isLate(h Holder) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.byHolder[h]
	return s != nil && s.late
}

// abandon notes that no client waits for a server any more, if the server is late. It returns
// false if it is not.
func (t *starts) abandon(h Holder) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.byHolder[h]
	if s == nil || !s.late {
		return false
	}
	s.abandoned = true
	return true
}

// oldestLate returns when the late server was started that was started first; zero if none is
// late.
func (t *starts) oldestLate() (begun time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, s := range t.byHolder {
		if s.late && (begun.IsZero() || s.begun.Before(begun)) {
			begun = s.begun
		}
	}
	return begun
}

// mustWait reports whether a server is late and none has ever answered. Then no other is
// started: it would take as long, and several downloads of one program at the same time get in
// each other's way.
func (t *starts) mustWait() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.warm {
		return false
	}
	for _, s := range t.byHolder {
		if s.late {
			return true
		}
	}
	return false
}

// warnSilent warns of a server that does not answer in time, and is about to be ended.
func warnSilent(o Observer, peer upstream.Peer) {
	upstream.NoteEnd(peer, stats.ExitNoAnswer)
	o.Warned("server does not answer initialize in time", upstream.SilenceOf(peer))
}
