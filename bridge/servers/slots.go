package servers

import (
	"context"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/stats"
)

// slotWithin bounds how long a client waits for a slot if all are taken. A server that is ended to
// make room needs a moment to end.
const slotWithin = 2 * time.Second

// serverSlots counts servers. The lock of [Servers] guards it. A server has a slot from before its
// start until it has ended. A program that ignores requests to end may keep its slot long after
// the end of its session (D6, G).
type serverSlots struct {
	used    int
	waiting int           // clients that wait for a slot
	changed chan struct{} // closed when they should look again; nil if none has asked for it
}

// notify wakes up the clients that wait for a slot.
func (s *serverSlots) notify() {
	if s.changed != nil {
		close(s.changed)
		s.changed = nil
	}
}

// next returns a channel that notify closes.
func (s *serverSlots) next() <-chan struct{} {
	if s.changed == nil {
		s.changed = make(chan struct{})
	}
	return s.changed
}

// Reserve takes a slot for a holder, and calls list, which makes requests find the holder. The
// caller must then call Launch.
//
// If all slots are taken, Reserve ends the spare holder, if there is one, and waits for the slot
// of a server that is ending, at most for slotWithin. needed is called before each try. If needed
// or list returns false, the holder is not needed any more, and Reserve returns ErrAgain. Both are
// called with the lock of Servers held.
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
		// One server is ended for each client that waits, and not more.
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
