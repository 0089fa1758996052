package mcpauthbridge

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/stdio"
)

// SessionsConfig bounds the sessions of an endpoint that offers another transport
// than its server speaks.
type SessionsConfig struct {
	// How many there may be at one time, each with a process or a stream of its
	// own. Default: 100.
	Max int `json:"max,omitempty"`

	// How long a session without a request under way is kept. Default: `30m`.
	Idle caddy.Duration `json:"idle,omitempty"`

	// How long a session is kept at all. Default: `24h`.
	Lifetime caddy.Duration `json:"lifetime,omitempty"`

	// Bytes that are kept for a client that does not read, or that comes back
	// after its connection broke. Default: 4194304 (4 MiB).
	Buffer int64 `json:"buffer,omitempty"`

	// How often a comment is sent on a quiet stream, so that nothing on the way
	// closes it. Default: `15s`.
	KeepAlive caddy.Duration `json:"keep_alive,omitempty"`
}

func (c *SessionsConfig) validate() error {
	if c == nil {
		return nil
	}
	var errs []error
	check := func(name string, bad bool, value any) {
		if bad {
			errs = append(errs, fmt.Errorf("sessions %s: %v is not a positive value", name, value))
		}
	}
	check("max", c.Max < 0, c.Max)
	check("idle", c.Idle < 0, time.Duration(c.Idle))
	check("lifetime", c.Lifetime < 0, time.Duration(c.Lifetime))
	check("buffer", c.Buffer < 0, c.Buffer)
	check("keep_alive", c.KeepAlive < 0, time.Duration(c.KeepAlive))
	return errors.Join(errs...)
}

// hubs outlive a reload: the sessions of an endpoint that stays in the
// configuration as it is are kept.
var hubs = caddy.NewUsagePool()

// ending counts the hubs that still end programs of configurations that are gone.
var ending sync.WaitGroup

func init() {
	// Programs that do not want to end are killed before Caddy itself ends.
	caddy.OnExit(func(context.Context) { ending.Wait() })
}

// pooledHub is a hub that ends with its last configuration, or with the process.
type pooledHub struct {
	*bridge.Hub
	backend backend
	stop    context.CancelFunc
	// alone says that the hub needs no configuration to end.
	alone bool
	// grace is how long Caddy waits for its servers when it ends, in nanoseconds
	// (grace_period); 0: for ever.
	grace atomic.Int64
}

// hurry returns the time between the steps that end a program: as long as it gets,
// but when Caddy itself ends, within the grace period for both.
func (p *pooledHub) hurry() time.Duration {
	return patience(caddy.Exiting(), time.Duration(p.grace.Load()))
}

func patience(exiting bool, grace time.Duration) time.Duration {
	if !exiting || grace <= 0 {
		return stdio.DefaultGrace
	}
	// It is noticed late that Caddy ends.
	return min(stdio.DefaultGrace, max((grace-exitPoll)/2, grace/4))
}

// reloadPatience is how long a reload waits for programs that it drops. They are
// given more time to end, which is no reason to hold the reload up.
const reloadPatience = time.Second

// Destruct implements caddy.Destructor.
func (p *pooledHub) Destruct() error {
	p.stop()
	if !p.alone {
		p.Close()
		return nil
	}
	closed := make(chan struct{})
	ending.Go(func() {
		defer close(closed)
		p.Close()
	})
	select {
	case <-closed:
	case <-time.After(reloadPatience):
	}
	return nil
}

// hubKey names the endpoint and everything that its sessions depend on.
func (h *Handler) hubKey() string {
	key, err := json.Marshal([]any{h.Endpoint, h.PublicURL, h.Hosts, h.upstream.kind(), h.upstream, h.dials(), h.LegacySSE, h.Sessions, h.Limits})
	if err != nil {
		return h.Endpoint
	}
	return string(key)
}

// bridges reports whether requests of the endpoint are carried over to another
// transport.
func (h *Handler) bridges() bool {
	return h.upstream.kind() != bridge.KindHTTP || h.LegacySSE != nil
}

// loadHub finds the endpoint's sessions, or makes room for some. Nothing is
// started.
func (h *Handler) loadHub() error {
	if !h.bridges() {
		return nil
	}
	key := h.hubKey()
	pooled, _, err := hubs.LoadOrNew(key, func() (caddy.Destructor, error) { return h.newHub(), nil })
	if err != nil {
		return err
	}
	h.hub, h.hubKeyInUse = pooled.(*pooledHub), key
	return nil
}

// newHub returns the sessions of the endpoint, of which there are none yet.
func (h *Handler) newHub() *pooledHub {
	c := h.Sessions
	if c == nil {
		c = new(SessionsConfig)
	}
	maxMessage := int(h.Limits.Message)
	if maxMessage == 0 {
		maxMessage = bridge.DefaultMessage
	}
	ctx, stop := context.WithCancel(context.Background())
	p := &pooledHub{stop: stop}
	cfg := bridge.HubConfig{
		Sessions:  c.Max,
		Idle:      time.Duration(c.Idle),
		Lifetime:  time.Duration(c.Lifetime),
		Buffer:    int(c.Buffer),
		KeepAlive: time.Duration(c.KeepAlive),
		User:      authenticatedUser,
	}
	if observed {
		cfg.Observer = hubObserver{&p.backend, h}
	}
	// The log of a configuration that is gone may be closed.
	newest := func() *Handler { return hubObserver{&p.backend, h}.newest().h }
	cfg.Warn = func(msg, cause string) { newest().warnSessions(msg, cause) }
	switch u := h.upstream.(type) {
	case *StdioUpstream:
		p.alone, cfg.Start = true, u.start(func() *zap.Logger { return newest().programLog() }, maxMessage, p.hurry)
	case *SSEUpstream:
		cfg.Remote, cfg.Judge, cfg.Start = true, &p.backend, bridge.StartSSE(&p.backend, maxMessage)
	default:
		cfg.Remote, cfg.Judge, cfg.Start = true, &p.backend, bridge.StartHTTP(&p.backend, maxMessage)
	}
	p.Hub = bridge.NewHub(cfg)
	go p.watchExit(ctx)
	return p
}

// authenticatedUser is whom an authentication handler of Caddy's has found a request to
// be from.
func authenticatedUser(r *http.Request) string {
	repl, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	if !ok {
		return ""
	}
	user, _ := repl.GetString("http.auth.user.id")
	return user
}

// exitPoll is how often it is asked whether Caddy is about to end: its servers
// wait for streams to end before anything here is told.
const exitPoll = 500 * time.Millisecond

// watchExit ends the sessions when Caddy is about to end.
func (p *pooledHub) watchExit(ctx context.Context) {
	tick := time.NewTicker(exitPoll)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if caddy.Exiting() {
				p.Close()
				return
			}
		}
	}
}

// programLog is where the words of a program go.
func (h *Handler) programLog() *zap.Logger {
	return h.logger.Named("stdio").With(zap.String("endpoint", h.Endpoint))
}

func (h *Handler) warnSessions(msg, cause string) {
	if h.troubles.first(msg+"\x00"+cause, maxRefusedLogged) {
		h.logger.Warn(msg, zap.String("endpoint", h.Endpoint), zap.String("cause", cause))
	}
}

// checkSessions validates the bounds of sessions.
func (h *Handler) checkSessions() error {
	if h.Sessions != nil && !h.bridges() {
		return errors.New("sessions: is for stdio, for sse+http upstreams and for legacy_sse; otherwise sessions are the upstream's own")
	}
	return h.Sessions.validate()
}
