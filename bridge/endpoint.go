// Package bridge is the request path of one MCP endpoint: which requests are
// its own, what the browser's origin policy says of them, and what becomes
// of the upstream's answer. It knows no web server; the root package fits it
// into Caddy.
package bridge

import (
	"sync/atomic"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/authserver"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/cors"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/metadata"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/oncelog"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/origin"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/sse"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/stats"
)

// Mode says what becomes of the upstream's challenges.
type Mode string

// The modes of the challenge policy.
const (
	// ModeRewrite maps the metadata URL of a challenge to the endpoint's
	// and adds what is missing. It is the default.
	ModeRewrite Mode = "rewrite"
	// ModeRelay leaves challenges untouched.
	ModeRelay Mode = "relay"
	// ModeReplace drops the upstream's challenges: the edge owns the
	// tokens, so a 401 of the upstream is a fault of the gateway (502).
	ModeReplace Mode = "replace"
)

// Kind is the transport that the upstream speaks.
type Kind string

// The kinds of upstream.
const (
	// KindHTTP is Streamable HTTP (MCP specification 2025-03-26 and later).
	KindHTTP Kind = "http"
	// KindSSE is HTTP+SSE (MCP specification 2024-11-05).
	KindSSE Kind = "sse"
	// KindStdio is a process that speaks over its standard input and output.
	KindStdio Kind = "stdio"
)

// Defaults of the limits that the endpoint itself keeps.
const (
	// DefaultChallengeWait bounds how long a 401 waits for the discovery
	// of metadata before a challenge is added to it.
	DefaultChallengeWait = 2 * time.Second
	// DefaultHeldBody bounds, in bytes, the request body held in memory.
	DefaultHeldBody = 64 << 10
	// DefaultRequestBody bounds, in bytes, the whole request body.
	DefaultRequestBody = 64 << 20
)

// messageSegment is the path below an endpoint that messages of an HTTP+SSE
// upstream are posted to.
const messageSegment = "/message"

// Config is what an Endpoint is made of.
type Config struct {
	Path         string // of the endpoint as this server sees it, "/mcp" or "/"
	Site         Site   // what fixes its public URL
	Kind         Kind
	UpstreamPath string // empty leaves the request's path (middleware mode)
	MessagePath  string // of an SSE upstream; empty: taken from its announcement
	Mode         Mode
	Realm        string
	Scope        []string
	CORS         *cors.Policy    // nil: CORS is left to the upstream
	Metadata     *metadata.Store // nil: no metadata is served
	// Names are those of the upstream. Default: what Metadata knows it by.
	Names  *origin.Names
	Sealer func() (*sse.Sealer, error) // for SSE upstreams
	// SealScope returns what binds a sealed path to the endpoint and its upstream, on every
	// replica. Default: nothing does.
	SealScope func() string
	// OwnedMessages binds each message path of an SSE upstream, with its query, to the owner
	// of the stream that announced it: see [ClientRequest.SetOwner].
	OwnedMessages bool
	ChallengeWait time.Duration
	HeldBody      int64 // bytes
	RequestBody   int64 // bytes; negative: no limit
	MaxEvent      int   // bytes
	// LegacyPath and LegacyMessage are where HTTP+SSE is offered beside the endpoint:
	// its event stream, and what messages are posted to. Empty: nowhere.
	LegacyPath, LegacyMessage string
	// Server bridges the authorization server on the upstream's own origin. Default: it is
	// not bridged.
	Server *authserver.Config
	// Warn reports what an operator should see, once per distinct cause.
	Warn func(msg, cause, detail string)
	// Notice is called when something was refused, dropped or left unchanged. due says that
	// it is to be logged. If it is nil, notices are dropped.
	Notice func(n stats.Notice, due bool)
	// Serves is called when the answer to the first message of a client shows whether clients can
	// begin with the upstream. why says that they cannot; nil if they can. It may be nil itself.
	Serves func(why *stats.NoService)
	// Counts counts the event streams that clients have open. Default: they are not counted.
	Counts *stats.Counts
}

// Endpoint is one MCP endpoint.
type Endpoint struct {
	cfg   Config
	slash slashes
	// server is the bridged authorization server; nil if it is not bridged.
	server *authserver.Server
	// accepted is true once the upstream has accepted a token.
	accepted atomic.Bool

	// refusesPosts is true if the upstream has refused a POST to the endpoint, as a server of
	// HTTP+SSE does.
	refusesPosts atomic.Bool
	// refuses is true if the upstream has refused the first message of the last client that began.
	refuses atomic.Bool

	// last is the last origin that a client used.
	last atomic.Pointer[lastOrigin]
	// challenges parses those of answers.
	challenges lastLines

	paths   []Path // that it answers
	notices *stats.Notices
	warned  oncelog.Set[warning]
	health  health
}

// warning is what makes two warnings one.
type warning struct{ msg, cause string }

// New returns an endpoint.
func New(cfg Config) *Endpoint {
	if cfg.ChallengeWait <= 0 {
		cfg.ChallengeWait = DefaultChallengeWait
	}
	if cfg.HeldBody == 0 {
		cfg.HeldBody = DefaultHeldBody
	}
	if cfg.RequestBody == 0 {
		cfg.RequestBody = DefaultRequestBody
	}
	if cfg.Names == nil {
		cfg.Names = new(origin.Names)
		if cfg.Metadata != nil {
			cfg.Names = cfg.Metadata.Names()
		}
	}
	if cfg.SealScope == nil {
		cfg.SealScope = func() string { return "" }
	}
	e := &Endpoint{cfg: cfg, paths: cfg.paths(), notices: stats.NewNotices(cfg.Notice)}
	if cfg.Server != nil {
		e.server = e.newServer(*cfg.Server)
	}
	return e
}

// newServer returns the bridged authorization server.
func (e *Endpoint) newServer(cfg authserver.Config) *authserver.Server {
	cfg.Endpoint = authserver.Endpoint{
		Metadata: e.cfg.Metadata,
		Taken: func(path string) bool {
			target, _ := e.Match(path)
			return target != TargetNone
		},
		Wait:     e.cfg.ChallengeWait,
		HeldBody: e.cfg.HeldBody, RequestBody: max(0, e.cfg.RequestBody),
		Report: func(n authserver.Notice) {
			e.notices.Report(stats.Notice{Message: n.Message, Subject: n.Subject, Advice: n.Advice, Add: stats.CaddyfileLine("paths", n.Path)})
		},
	}
	return authserver.New(cfg)
}

// Server returns the bridged authorization server, or nil if it is not bridged.
func (e *Endpoint) Server() *authserver.Server { return e.server }

// warn reports a cause, at once and then once in a while.
func (e *Endpoint) warn(msg, cause, detail string) {
	if e.cfg.Warn == nil {
		return
	}
	if _, due := e.warned.Due(warning{msg, cause}); due {
		e.cfg.Warn(msg, cause, detail)
	}
}
