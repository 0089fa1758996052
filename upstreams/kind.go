// Package upstreams has the kinds of MCP server that an endpoint can stand in front of. Each
// is a Caddy module in the namespace `http.mcp_auth_bridge.upstreams`.
//
// Another plugin adds a kind by registering a module that implements [Kind]. The interfaces
// in this package, [Connection], and what they name of package bridge, are there for that.
package upstreams

import (
	"context"
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/stats"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/upstream"
)

// Kind is a kind of MCP server that an endpoint can stand in front of: a guest module
// in the namespace `http.mcp_auth_bridge.upstreams`. The option `upstream` holds its JSON.
// The kinds of this module are [HTTP], [SSE] and [Stdio]. Another
// plugin adds one by registering a module that implements this interface.
//
// A kind can also implement
//   - [Proxied], if its server speaks HTTP and `reverse_proxy` dials it,
//   - [Named], [Guarded], [Checked] or [Environmental].
//
// A kind that is not a Proxied cannot be combined with `reverse_proxy` or with
// `cors off`. Its server is taken to check no credentials: where other machines can reach
// the endpoint, the configuration is refused (see [Guarded]).
type Kind interface {
	caddy.Module
	// Transport is the name of the kind in logs, metrics, placeholders and the status: one
	// word in lower case, such as "stdio".
	Transport() string
	// Connect starts a server or connects to one. The connection belongs to one session, or
	// to a group of stateless requests. The bridge calls Connect when a client needs a server
	// whose transport differs from the client's. The error is a [*upstream.Refusal] if the
	// server has answered with one.
	Connect(ctx context.Context, c Connection) (upstream.Peer, error)
}

// Connection is what [Kind.Connect] needs. Its functions can be called at any time: they
// use the newest configuration of the endpoint, which may be newer than the module.
type Connection struct {
	// Request is the client's request that a server is needed for.
	Request *http.Request
	// Receiver takes what the server sends. Calls must not overlap.
	Receiver upstream.Receiver
	// MaxMessage is the limit of one message in bytes (`limits`).
	MaxMessage int
	// Backend sends requests through the endpoint's `reverse_proxy`. It is for kinds that
	// are a [Proxied].
	Backend upstream.Backend
	// Logger returns the endpoint's logger.
	Logger func() *zap.Logger
	// Notify adds a notice to the endpoint's status.
	Notify func(stats.Notice)
	// Exited remembers for the endpoint's status how a program has ended.
	Exited func(stats.Exit)
	// Grace returns how long a server gets between two steps that end it.
	Grace func() time.Duration
}

// Proxied is a kind whose server speaks HTTP. The endpoint needs a `reverse_proxy`,
// which dials the server.
type Proxied interface {
	Kind
	// Paths returns the server's paths. An empty path means the endpoint's; an empty message
	// path means the one that the server announces.
	Paths() (path, message string)
	// SpeaksSSE reports whether the server speaks HTTP+SSE (MCP specification 2024-11-05)
	// in place of Streamable HTTP.
	SpeaksSSE() bool
}

// Named is a kind that has a name for its server.
type Named interface {
	Kind
	// Name returns what logs, events and errors call the server, such as the name of its
	// program. Default: the name of the transport.
	Name() string
}

// Guarded is a kind whose server checks no credentials. The operator can declare that something
// else guards the endpoint.
type Guarded interface {
	Kind
	// AllowsUnauthenticated reports whether the operator has said that something else guards
	// the endpoint. If not, an endpoint that other machines can reach is refused.
	AllowsUnauthenticated() bool
}

// Checked is a kind that can check before the first request whether its server works on this
// machine. Mistakes that are mistakes on every machine belong in Validate.
type Checked interface {
	Kind
	// CheckLoad is called when the configuration is loaded or validated. It returns what
	// no machine can run, and logs what this machine might not be able to run.
	CheckLoad(logger *zap.Logger) error
	// CheckStart is called when the configuration starts. It returns what this machine
	// cannot run.
	CheckStart() error
}

// Environmental is a kind whose server depends on values outside of its JSON.
type Environmental interface {
	Kind
	// Environment returns these values. Endpoints that differ in them share no sessions,
	// and sessions outlive a reload only if the values are the same.
	Environment() []string
}
