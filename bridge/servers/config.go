package servers

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/upstream"
)

// Defaults of the limits in [Config].
const (
	DefaultSessions     = 100
	DefaultIdle         = 30 * time.Minute
	DefaultLifetime     = 24 * time.Hour
	DefaultBuffer       = 4 << 20
	DefaultKeepAlive    = 15 * time.Second
	DefaultStartTimeout = upstream.DefaultStartTimeout
)

// Errors of [Servers.Reserve].
var (
	// ErrTooManySessions says that the limit of sessions is reached.
	ErrTooManySessions = errors.New("too many sessions")
	// ErrBackoff says that the next start has to wait, because too many servers have ended soon
	// after theirs.
	ErrBackoff = errors.New("server ended soon after its start; it is started again later")
	// ErrStarting says that an earlier server is still starting; its program may have to be
	// downloaded first.
	ErrStarting = errors.New("the server is still starting; try again in 10 seconds")
	// ErrHubClosed says that the endpoint is closed: no configuration has it any more.
	ErrHubClosed = errors.New("endpoint is closed")
	// ErrAgain says that the server is not needed any more. The request has to look for a server
	// again, and to begin one if there is none.
	ErrAgain = errors.New("shared server is begun again")
)

// Config describes the servers of one endpoint.
type Config struct {
	// Start starts a server for one session, or connects to it on behalf of a client's
	// request. What the server sends goes to the receiver. The error is an
	// [upstream.Refusal] if the server has refused.
	Start func(ctx context.Context, from *http.Request, to upstream.Receiver) (upstream.Peer, error)
	// Sessions, Idle, Lifetime, Buffer, KeepAlive, MinRate and Message are the fields of
	// [Bounds].
	Sessions       int
	Idle, Lifetime time.Duration
	Buffer         int
	KeepAlive      time.Duration
	UnmatchedWait  time.Duration
	MinRate        int
	Message        int
	// Bounds returns the bounds that hold now. It takes precedence over the fields above.
	// Default: the bounds are those of the fields.
	Bounds func() Bounds
	// Stall bounds how long a client may take to accept the next 64 KiB of what it
	// is sent; then its connection ends. Default: 30s.
	Stall time.Duration
	// StartTimeout bounds how long a client waits for the answer to initialize. A server that
	// is late goes on starting after it. Default: 1m.
	StartTimeout time.Duration
	// Remote is set if the server is connected to and not started. Then it may be connected
	// to again at once after it has ended early, and it judges the credentials of each
	// request itself.
	Remote bool
	// User returns the user of a request, as an authentication handler in front has found it;
	// empty if it is not known. Default: no user is known.
	User func(r *http.Request) string
	// Observer is called when something happens. Default: [Unobserved].
	Observer Observer
}

// fixed returns the bounds that the fields of the configuration have.
func (c *Config) fixed() Bounds {
	return Bounds{
		Sessions: c.Sessions, Idle: c.Idle, Lifetime: c.Lifetime, Buffer: c.Buffer, KeepAlive: c.KeepAlive,
		Unmatched: c.UnmatchedWait, MinRate: c.MinRate, Message: c.Message,
	}
}
