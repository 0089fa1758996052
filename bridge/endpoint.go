// Package bridge is the request path of one MCP endpoint: which requests are
// its own, what the browser's origin policy says of them, and what becomes
// of the upstream's answer. It knows no web server; the root package fits it
// into Caddy.
package bridge

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/challenge"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/cors"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/metadata"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/sse"
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
	// DefaultMessage bounds, in bytes, one message that is carried over to another
	// transport.
	DefaultMessage = 16 << 20
)

// messageSegment is the path below an endpoint that messages of an HTTP+SSE
// upstream are posted to.
const messageSegment = "/message"

// Config is what an Endpoint is made of.
type Config struct {
	Path         string // of the endpoint as this server sees it, "/mcp" or "/"
	Kind         Kind
	UpstreamPath string // empty leaves the request's path (middleware mode)
	MessagePath  string // of an SSE upstream; empty: taken from its announcement
	Mode         Mode
	Realm        string
	Scope        []string
	CORS         *cors.Policy    // nil: CORS is left to the upstream
	Metadata     *metadata.Store // nil: no metadata is served
	// Scheme and Hosts of the upstream as it is dialled, for redirects.
	UpstreamHosts []string
	Sealer        func() (*sse.Sealer, error) // for SSE upstreams
	ChallengeWait time.Duration
	HeldBody      int64 // bytes
	RequestBody   int64 // bytes; negative: no limit
	MaxEvent      int   // bytes
	// LegacyPath and LegacyMessage are where HTTP+SSE is offered beside the endpoint:
	// its event stream, and what messages are posted to. Empty: nowhere.
	LegacyPath, LegacyMessage string
	// Server bridges the authorization server on the upstream's own origin.
	// Nil: it is not bridged.
	Server *ServerConfig
	// Warn reports what an operator should see, once per distinct cause.
	Warn func(msg, cause, detail string)
	// Observer is told what happens. Default: nobody is.
	Observer Observer
}

// Endpoint is one MCP endpoint.
type Endpoint struct {
	cfg      Config
	slash    atomic.Bool // the upstream wants its path with the other ending
	accepted atomic.Bool // the upstream has accepted a token
	// publicResource says that the authorization server wants resources named
	// as clients name them, and not as the upstream's own metadata does.
	publicResource atomic.Bool

	upstream map[string]bool
	warned   sync.Map
	warnings atomic.Int32
	health   health
}

// maxWarnings bounds how many distinct causes an endpoint reports.
const maxWarnings = 256

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
	if s := cfg.Server; s != nil {
		if s.Form <= 0 {
			s.Form = DefaultForm
		}
		if s.Document <= 0 {
			s.Document = metadata.DefaultMaxSize
		}
		if s.Learned == nil {
			s.Learned = new(LearnedPaths)
		}
		if s.Clients == nil {
			s.Clients = new(LearnedPaths)
		}
	}
	e := &Endpoint{cfg: cfg, upstream: make(map[string]bool)}
	for _, h := range cfg.UpstreamHosts {
		e.upstream[strings.ToLower(h)] = true
	}
	return e
}

// Target is what a request path is to an endpoint.
type Target uint8

// The targets.
const (
	// TargetNone is not the endpoint's.
	TargetNone Target = iota
	// TargetEndpoint is the endpoint itself, with or without a final slash.
	TargetEndpoint
	// TargetMessage is the message path of an HTTP+SSE upstream.
	TargetMessage
	// TargetLegacy is the event stream of HTTP+SSE that is offered beside the
	// endpoint.
	TargetLegacy
	// TargetLegacyMessage is what clients of that post messages to.
	TargetLegacyMessage
	// TargetUnknownMessage stands where message paths do and is none.
	TargetUnknownMessage
)

// Match says what path is to the endpoint, and the path to ask the upstream
// for. Paths are compared case-sensitively.
func (e *Endpoint) Match(path string) (Target, string) {
	base := e.cfg.Path
	if path == base || base != "/" && len(path) == len(base)+1 && path[len(base)] == '/' && path[:len(base)] == base {
		return TargetEndpoint, e.upstreamPath()
	}
	if e.cfg.LegacyPath != "" {
		switch {
		case path == e.cfg.LegacyPath && e.cfg.Kind == KindSSE:
			return TargetEndpoint, e.upstreamPath()
		case path == e.cfg.LegacyPath:
			return TargetLegacy, ""
		case path == e.cfg.LegacyMessage && e.cfg.Kind != KindSSE:
			return TargetLegacyMessage, ""
		}
	}
	if e.cfg.Kind != KindSSE {
		return TargetNone, ""
	}
	rest, ok := strings.CutPrefix(path, strings.TrimSuffix(base, "/")+messageSegment)
	if !ok {
		return TargetNone, ""
	}
	if e.cfg.MessagePath != "" {
		if rest == "" {
			return TargetMessage, e.cfg.MessagePath
		}
		return TargetNone, ""
	}
	token, ok := strings.CutPrefix(rest, "/")
	if !ok {
		return TargetNone, ""
	}
	if sealer, err := e.cfg.Sealer(); err == nil {
		if to, ok := sealer.Open(token, e.scope()); ok {
			return TargetMessage, to
		}
	}
	return TargetUnknownMessage, ""
}

// Upstream returns target and path of a request that a message bridge makes;
// message is the escaped path of the upstream that it is posted to, empty: the
// endpoint itself.
func (e *Endpoint) Upstream(message string) (Target, string) {
	if message != "" {
		return TargetMessage, message
	}
	return TargetEndpoint, e.upstreamPath()
}

// scope binds a sealed path to the endpoint and its upstream.
func (e *Endpoint) scope() string {
	return e.cfg.Path + " " + strings.Join(e.cfg.UpstreamHosts, " ") + " " + e.cfg.UpstreamPath
}

// upstreamPath is the path of the upstream, with the ending that it asked
// for by its last redirect.
func (e *Endpoint) upstreamPath() string {
	if e.slash.Load() {
		return toggleSlash(e.cfg.UpstreamPath)
	}
	return e.cfg.UpstreamPath
}

func toggleSlash(path string) string {
	if len(path) > 1 && path[len(path)-1] == '/' {
		return path[:len(path)-1]
	}
	if path == "" || path == "/" {
		return path
	}
	return path + "/"
}

// warn reports a cause once.
func (e *Endpoint) warn(msg, cause, detail string) {
	if e.cfg.Warn == nil {
		return
	}
	key := msg + "\x00" + cause
	if _, ok := e.warned.Load(key); ok || e.warnings.Load() >= maxWarnings {
		return
	}
	if _, loaded := e.warned.LoadOrStore(key, struct{}{}); loaded {
		return
	}
	e.warnings.Add(1)
	e.cfg.Warn(msg, cause, detail)
}

// editChallenge applies the policy to the challenges of a response.
func (e *Endpoint) editChallenge(ctx context.Context, status int, h http.Header, x *Exchange) int {
	restoreRemapped(h)
	lines := h["Www-Authenticate"]
	if len(lines) == 0 && status != http.StatusUnauthorized {
		return status
	}
	o := &Outcome{Status: status, Given: status, Sent: lines, Action: ActionRelayed, Reason: ReasonPolicy}
	switch e.cfg.Mode {
	case ModeRelay:
		if len(lines) == 0 {
			o.Action = ActionMissing
		}
	case ModeReplace:
		delete(h, "Www-Authenticate")
		o.Action = ActionDropped
		if status == http.StatusUnauthorized {
			o.Action, o.Given = ActionReplaced, http.StatusBadGateway
			e.warn("upstream refused a request with 401, although the edge owns the tokens", "401", "")
		}
	default:
		e.rewriteChallenge(ctx, h, x, o)
	}
	e.challenged(x, o, h)
	return o.Given
}

// rewriteChallenge maps the metadata URL of the challenges, and adds what is missing.
func (e *Endpoint) rewriteChallenge(ctx context.Context, h http.Header, x *Exchange, o *Outcome) {
	if len(o.Sent) == 0 {
		o.Action = ActionMissing
	}
	store := e.cfg.Metadata
	if store == nil {
		o.Reason = ReasonUnknown
		return
	}
	public, ok := x.source.Public()
	if !ok {
		o.Reason = ReasonHost
		return
	}
	own := public.WellKnown()
	o.At, o.Reason = public.URL(), ReasonForeign
	edit := challenge.Edit{
		Map: func(value string) (string, bool) {
			if value == own {
				o.Reason = ReasonPublic
			}
			return store.MapChallengeURL(value, public, x.Host)
		},
	}
	out, report := edit.Apply(o.Sent)
	if !report.HasMetadata {
		o.Reason = ReasonStatus
		if o.Status == http.StatusUnauthorized || o.Status == http.StatusForbidden && len(o.Sent) > 0 {
			ctx, cancel := context.WithTimeout(ctx, e.cfg.ChallengeWait)
			defer cancel()
			o.Reason = ReasonUnknown
			if store.Known(ctx, public) {
				edit.Metadata = own
				edit.Insert = o.Status == http.StatusUnauthorized
				edit.Realm, edit.Scope = e.cfg.Realm, e.cfg.Scope
				o.Reason = ReasonScheme
				out, report = edit.Apply(o.Sent)
			}
		}
	}
	if len(out) > 0 {
		h["Www-Authenticate"] = out
	}
	for _, err := range report.Unparsed {
		e.warn("upstream sends a challenge that does not parse; it is passed on as it is", err.Error(), "")
	}
	switch {
	case report.Inserted:
		o.Action, o.Reason = ActionInserted, ""
	case report.Added:
		o.Action, o.Reason = ActionAdded, ""
	case report.Rewritten > 0:
		o.Action, o.Reason = ActionRewritten, ""
	case len(report.Unparsed) > 0:
		o.Action, o.Reason = ActionUnparsable, ReasonUnparsable
	}
}

// restoreRemapped gives WWW-Authenticate its name back that Amazon's API
// gateway takes from it.
func restoreRemapped(h http.Header) {
	const remapped = "X-Amzn-Remapped-Www-Authenticate"
	lines, ok := h[remapped]
	if !ok {
		return
	}
	delete(h, remapped)
	if len(h["Www-Authenticate"]) == 0 {
		h["Www-Authenticate"] = lines
	}
}
