package servers

import (
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/stats"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/upstream"
)

const (
	// lateAfter is how long a server may take for its first answer before it is late. The
	// operator is told, and the server goes on starting although its client leaves: `npx`
	// and `uvx` download a program when it is started for the first time.
	lateAfter = 10 * time.Second
	// lateLimit is how long a late server may take.
	lateLimit = 5 * time.Minute
	// lateRetry is when clients are told to come back while a server is late.
	lateRetry = 10 * time.Second
)

// start is the start of a server, until its first answer.
type start struct {
	begun time.Time
	peer  upstream.Peer
	// late is set after lateAfter, and abandoned when the client does not wait any more.
	late, abandoned bool
	timer           *time.Timer
}

// begins notes that a server was started which has not answered anything yet. A server that
// is connected to is not started, so that nothing of it is late.
func (v *Servers) begins(h Holder, peer upstream.Peer) {
	if v.Config.Remote {
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	s := &start{begun: time.Now(), peer: peer}
	v.starts[h] = s
	s.timer = time.AfterFunc(lateAfter, func() { v.overdue(h) })
}

// overdue is called when a server takes long for its first answer.
func (v *Servers) overdue(h Holder) {
	v.mu.Lock()
	s := v.starts[h]
	switch {
	case s == nil:
		v.mu.Unlock()
		return
	case !s.late:
		s.late = true
		s.timer = time.AfterFunc(lateLimit-lateAfter, func() { v.overdue(h) })
		v.mu.Unlock()
		v.Config.Observer.Warned("server has not answered yet", upstream.SilenceOf(s.peer))
		return
	}
	delete(v.starts, h)
	v.mu.Unlock()
	v.WarnSilent(s.peer)
	v.EndWith(h, stats.EndServer, "the server did not answer in time")
}

// answered notes that a server has answered something. One whose client has left is not
// needed any more.
func (v *Servers) answered(h Holder) {
	v.mu.Lock()
	s := v.starts[h]
	if s == nil { // the holder has ended
		v.mu.Unlock()
		return
	}
	delete(v.starts, h)
	v.warm = true
	v.mu.Unlock()
	s.timer.Stop()
	if s.late {
		v.Config.Observer.ServerLate(time.Since(s.begun))
	}
	if s.abandoned {
		upstream.NoteEnd(s.peer, stats.ExitLate)
		v.End(h, stats.EndServer)
	}
}

// startOver forgets the start of a server whose holder has ended. The servers are locked.
func (v *Servers) startOver(h Holder) {
	if s := v.starts[h]; s != nil {
		s.timer.Stop()
		delete(v.starts, h)
	}
}

// IsLate reports whether a server takes long for its first answer.
func (v *Servers) IsLate(h Holder) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	s := v.starts[h]
	return s != nil && s.late
}

// Abandon says that the client which a holder was begun for does not wait for it any more. It
// returns true if the server is late: it goes on starting, and is ended once it has answered.
// The caller ends any other.
func (v *Servers) Abandon(h Holder) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	s := v.starts[h]
	if s == nil || !s.late || v.closed {
		return false
	}
	s.abandoned = true
	return true
}

// StartLimit bounds how long a server may take for what it is asked first. One that is late
// is ended before, after lateLimit.
func (v *Servers) StartLimit() time.Duration {
	if v.Config.Remote || v.Config.StartTimeout < lateAfter {
		return v.Config.StartTimeout
	}
	return lateLimit + v.Config.StartTimeout
}

// cold reports whether no server has ever answered, and one is late. Then no other is started,
// because it would take as long, and downloads of one program at a time get in each other's
// way. The servers are locked.
func (v *Servers) cold() bool {
	if v.warm {
		return false
	}
	for _, s := range v.starts {
		if s.late {
			return true
		}
	}
	return false
}

// State is what an operator sees of the servers.
type State struct {
	// Starting is when the server was started that is late; zero if none is.
	Starting time.Time
	// NotUntil is when the next server may be started; zero if that is now.
	NotUntil time.Time
	// Failed is how many in a row have ended soon after their start.
	Failed int
}

// State returns the state of the servers.
func (v *Servers) State() State {
	v.mu.Lock()
	defer v.mu.Unlock()
	s := State{Failed: v.short}
	if time.Now().Before(v.notUntil) {
		s.NotUntil = v.notUntil
	}
	for _, one := range v.starts {
		if one.late && (s.Starting.IsZero() || one.begun.Before(s.Starting)) {
			s.Starting = one.begun
		}
	}
	return s
}
