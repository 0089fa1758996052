package servers

import (
	"sync"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/upstream"
)

// Outbox is a lock, with a queue of messages that Unlock sends to a peer. No message is sent
// while the lock is held, because Send may block, and because the peer may answer before Send
// returns, which needs the lock.
type Outbox struct {
	mu    sync.Mutex
	peer  upstream.Peer
	queue []outgoing // empty while the lock is free
}

// outgoing is one message of an outbox.
type outgoing struct {
	m message.Message
	// sent is called with the result of Send, with the lock held. It is nil if the result does
	// not matter.
	sent func(err error)
}

// Lock implements sync.Locker.
func (o *Outbox) Lock() { o.mu.Lock() }

// Unlock implements sync.Locker. It sends the queued messages after it has released the lock, and
// returns when they are sent.
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

// Join sets the peer. The lock must be held.
func (o *Outbox) Join(peer upstream.Peer) { o.peer = peer }

// Post queues a message; if it cannot be sent, it is dropped. The lock must be held.
func (o *Outbox) Post(m message.Message) { o.PostThen(m, nil) }

// PostThen queues a message. sent is called with the result of Send, with the lock held. The lock
// must be held.
func (o *Outbox) PostThen(m message.Message, sent func(err error)) {
	o.queue = append(o.queue, outgoing{m, sent})
}
