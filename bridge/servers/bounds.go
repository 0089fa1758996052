package servers

import (
	"cmp"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/ratewriter"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/upstream"
)

const (
	// DefaultMessage bounds, in bytes, one message that is carried over to another
	// transport.
	DefaultMessage = 16 << 20
	// DefaultStall bounds how long a client may take to accept the next part of what it
	// is sent.
	DefaultStall = ratewriter.DefaultStall
	// DefaultMinRate is how many bytes a second a client has to accept while something
	// waits for it.
	DefaultMinRate = ratewriter.DefaultRate
	// MaxPending bounds the requests in flight at a server that one client or one owner uses.
	MaxPending = 256
	// MaxUnread bounds the answers that wait for a client to read them, as a multiple of
	// Bounds.Buffer. No more messages are read from the server of a session while the bound is
	// reached.
	MaxUnread = 8
)

// Bounds limit the sessions of an endpoint. They may change while there are sessions, because a
// reload with other bounds does not end sessions.
type Bounds struct {
	// Sessions bounds the number of servers, for sessions and for stateless requests. A server
	// counts from before its start until it has ended. Default: 100.
	Sessions int
	// Idle is how long a session without a request under way is kept. Default:
	// 30m.
	Idle time.Duration
	// Lifetime is how long a session is kept at all. Default: 24h.
	Lifetime time.Duration
	// Buffer bounds what is kept for a client that does not read, in bytes.
	// Default: 4 MiB.
	Buffer int
	// KeepAlive is how often a comment is sent on an idle stream. Default: 15s.
	KeepAlive time.Duration
	// Unmatched is how long a request still waits after the server has sent something that may
	// be its answer but does not match: an unknown id, or output that is not a message. Default:
	// 30s.
	Unmatched time.Duration
	// MinRate is how many bytes a second a client has to accept while something waits
	// for it. Default: 16 KiB.
	MinRate int
	// Message bounds the body of a POST, in bytes. Default: 16 MiB.
	Message int
}

// filled returns the bounds, with the default for each that is zero or negative.
func (b Bounds) filled() Bounds {
	return Bounds{
		Sessions:  cmp.Or(max(b.Sessions, 0), DefaultSessions),
		Idle:      cmp.Or(max(b.Idle, 0), DefaultIdle),
		Lifetime:  cmp.Or(max(b.Lifetime, 0), DefaultLifetime),
		Buffer:    cmp.Or(max(b.Buffer, 0), DefaultBuffer),
		KeepAlive: cmp.Or(max(b.KeepAlive, 0), DefaultKeepAlive),
		Unmatched: cmp.Or(max(b.Unmatched, 0), upstream.DefaultUnmatched),
		MinRate:   cmp.Or(max(b.MinRate, 0), DefaultMinRate),
		Message:   cmp.Or(max(b.Message, 0), DefaultMessage),
	}
}
