package servers

import (
	"context"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/stats"
)

// slotWithin bounds how long a client waits for a slot where as many servers run as may:
// a server that ends when it is told to needs a moment for it.
const slotWithin = 2 * time.Second

// serverSlots counts servers. The lock of [Servers] guards it. A server has a slot from
// before it is started until it has ended, which for a program that does not want to
// end is long after its session (D6, G).
type serverSlots struct {
	used    int
	waiting int           // clients that wait for a slot
	changed chan struct{} // they wait for its close; made when it is needed
}

// notify has the waiting clients look again.
func (s *serverSlots) notify() {
	if s.changed != nil {
		close(s.changed)
		s.changed = nil
	}
}

// next returns a channel that is closed when it is time to look again.
func (s *serverSlots) next() <-chan struct{} {
	if s.changed == nil {
		s.changed = make(chan struct{})
	}
	return s.changed
}

// Reserve takes a slot for a holder, and calls list, which makes requests find the
// holder. The caller must then call Launch. Reserve returns ErrAgain if needed or list
// returns false: the holder is not needed any more. Both are called while the servers
// are locked. If all slots are taken, the spare holder is ended, and the slot of a
// server that ends is waited for, for slotWithin.
func (v *Servers) Reserve(ctx context.Context, h Holder, needed, list func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, slotWithin)
	defer cancel()
	v.mu.Lock()
	defer v.mu.Unlock()
	v.slots.waiting++
	defer func() { v.slots.waiting-- }()
	for {
		switch {
		case v.closed:
			return ErrHubClosed
		case !needed():
			return ErrAgain
		case v.slots.used < v.Bounds().Sessions:
			if _, notUntil := v.backoff.state(); !notUntil.IsZero() {
				return ErrBackoff
			}
			if v.starts.mustWait() {
				return ErrStarting
			}
			if !list() {
				return ErrAgain
			}
			v.slots.used++
			v.wg.Add(1)
			v.holders[h] = struct{}{}
			v.slots.notify()
			return nil
		}
		// Each client that waits may have one server ended, and no more than that.
		if ending := v.slots.used - len(v.holders); ending < v.slots.waiting {
			if idle := v.Spare(); idle != nil {
				v.mu.Unlock()
				v.End(idle, stats.EndEvicted)
				v.mu.Lock()
				continue
			}
			if ending == 0 {
				break
			}
		}
		if ctx.Err() != nil {
			break
		}
		changed := v.slots.next()
		v.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
		}
		v.mu.Lock()
	}
	v.Config.Observer.Warned("limit of sessions is reached; new clients are told to come back", "sessions")
	return ErrTooManySessions
}

// Slots returns how many servers have a slot, and how many clients wait for one.
func (v *Servers) Slots() (used, waiting int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.slots.used, v.slots.waiting
}

// release gives back the slot of a server that has ended, or was not started.
func (v *Servers) release() {
	v.mu.Lock()
	v.slots.used--
	v.slots.notify()
	v.mu.Unlock()
	v.wg.Done()
}
