package servers

import (
	"sync"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/upstream"
)

// Outbox is a lock, with the messages that are sent to a peer when it is released. No
// message is sent while the lock is held, because a peer may wait, or answer at once;
// and none can be forgotten.
type Outbox struct {
	mu    sync.Mutex
	peer  upstream.Peer
	queue []outgoing // empty while the lock is free
}

// outgoing is one message of an outbox.
type outgoing struct {
	m message.Message
	// sent is called with the lock held when the peer has the message, or does not take
	// it. Nil: the message need not arrive.
	sent func(err error)
}

// Lock implements sync.Locker.
func (o *Outbox) Lock() { o.mu.Lock() }

// Unlock implements sync.Locker. It sends what was queued, and returns when the peer has
// it.
func (o *Outbox) Unlock() {
	queue, peer := o.queue, o.peer
	o.queue = nil
	o.mu.Unlock()
	for _, out := range queue {
		err := peer.Send(nil, out.m)
		if out.sent != nil {
			o.Lock()
			out.sent(err)
			o.Unlock()
		}
	}
}

// Join sets the peer. The lock is held.
func (o *Outbox) Join(peer upstream.Peer) { o.peer = peer }

// Post queues a message that need not arrive. The lock is held.
func (o *Outbox) Post(m message.Message) { o.PostThen(m, nil) }

// PostThen queues a message, and has sent called with the lock held when the peer has the
// message, or does not take it. The lock is held.
func (o *Outbox) PostThen(m message.Message, sent func(err error)) {
	o.queue = append(o.queue, outgoing{m, sent})
}
