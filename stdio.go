package mcpauthbridge

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/cors"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/stdio"
)

func init() { caddy.RegisterModule(StdioUpstream{}) }

// StdioUpstream is an MCP server that speaks over its standard input and output:
// a process of its own for each session. What starts it comes from this
// configuration alone.
//
// A server that everyone can reach is a shell for everyone: unless every address
// that the site listens on is loopback or a unix socket, the configuration is
// refused without `allow_unauthenticated`.
type StdioUpstream struct {
	// The program and its arguments; no shell is involved. A name without a
	// slash is looked up in the PATH of `env`, or, where that has none, in
	// Caddy's own.
	Command []string `json:"command,omitempty"`

	// The whole environment of the process: `NAME=value`, or `NAME` to hand
	// Caddy's own value on. Default: empty.
	Env []string `json:"env,omitempty"`

	// The folder that the process starts in. Default: Caddy's own.
	Dir string `json:"dir,omitempty"`

	// The user that the process runs as, by name or number; Caddy has to run as
	// root for that. Not on Windows. Default: Caddy's own.
	User string `json:"user,omitempty"`

	// Says that something else guards the endpoint (a firewall, `basic_auth`,
	// `forward_auth`), so that it may be reached from other machines.
	// Default: false.
	AllowUnauthenticated bool `json:"allow_unauthenticated,omitempty"`
}

// CaddyModule returns the Caddy module information.
func (StdioUpstream) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.mcp_auth_bridge.upstreams.stdio",
		New: func() caddy.Module { return new(StdioUpstream) },
	}
}

func (u *StdioUpstream) kind() bridge.Kind { return bridge.KindStdio }

func (u *StdioUpstream) paths() (path, message string) { return "", "" }

// Validate checks the options.
func (u *StdioUpstream) Validate() error {
	var errs []error
	if len(u.Command) == 0 || u.Command[0] == "" {
		errs = append(errs, errors.New("stdio: names no program"))
	}
	for _, s := range u.Env {
		if name, _, _ := strings.Cut(s, "="); name == "" || strings.ContainsAny(s, "\x00") {
			errs = append(errs, fmt.Errorf("stdio env: %q has no name", s))
		}
	}
	for _, s := range u.Command {
		if strings.ContainsRune(s, 0) {
			errs = append(errs, fmt.Errorf("stdio: %q has a NUL", s))
		}
	}
	if _, err := lookupUser(u.User); err != nil {
		errs = append(errs, fmt.Errorf("stdio user: %w", err))
	}
	return errors.Join(errs...)
}

// environment returns the process's environment.
func (u *StdioUpstream) environment() []string {
	env := []string{}
	for _, s := range u.Env {
		if strings.Contains(s, "=") {
			env = append(env, s)
		} else if value, ok := os.LookupEnv(s); ok {
			env = append(env, s+"="+value)
		}
	}
	return env
}

// lookupUser returns whom a process runs as; nil: as Caddy itself.
func lookupUser(name string) (*stdio.Credential, error) {
	if name == "" {
		return nil, nil
	}
	u, err := user.Lookup(name)
	if err != nil {
		if u, err = user.LookupId(name); err != nil {
			return nil, fmt.Errorf("there is no user %q", name)
		}
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return nil, fmt.Errorf("user %q has no number", name)
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		return nil, fmt.Errorf("user %q has no group with a number", name)
	}
	c := &stdio.Credential{UID: uint32(uid), GID: uint32(gid)}
	groups, err := u.GroupIds()
	if err != nil {
		return nil, fmt.Errorf("looking up the groups of %q: %w", name, err)
	}
	for _, group := range groups {
		if id, err := strconv.ParseUint(group, 10, 32); err == nil {
			c.Groups = append(c.Groups, uint32(id))
		}
	}
	return c, nil
}

// start returns how a process is started for a session.
func (u *StdioUpstream) start(logger *zap.Logger, maxFrame int) func(context.Context, func([]byte)) (bridge.Peer, error) {
	return func(_ context.Context, deliver func([]byte)) (bridge.Peer, error) {
		as, err := lookupUser(u.User)
		if err != nil {
			return nil, err
		}
		env := u.environment()
		command := slices.Clone(u.Command)
		if !slices.ContainsFunc(env, func(s string) bool { return strings.HasPrefix(s, "PATH=") }) {
			if path, err := exec.LookPath(command[0]); err == nil {
				command[0] = path
			}
		}
		p, err := stdio.Start(context.Background(), stdio.Config{
			Command: command, Env: env, Dir: u.Dir, User: as, MaxFrame: maxFrame,
			Stderr: func(line []byte, dropped int) {
				logger.Info("server says on stderr", zap.ByteString("line", line), zap.Int("dropped", dropped))
			},
			Invalid: func(reason string) {
				logger.Warn("server writes what is no message to its stdout; it is skipped", zap.String("reason", reason))
			},
		})
		if err != nil {
			return nil, err
		}
		go func() {
			for frame := range p.Frames() {
				deliver(frame)
			}
		}()
		return p, nil
	}
}

// SessionsConfig bounds the sessions of an endpoint whose server is a process.
type SessionsConfig struct {
	// How many there may be at one time, each with a process. Default: 100.
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

// pooledHub is a hub that ends with its last configuration, or with the process.
type pooledHub struct {
	*bridge.Hub
	stop context.CancelFunc
}

// Destruct implements caddy.Destructor.
func (p *pooledHub) Destruct() error {
	p.stop()
	p.Close()
	return nil
}

// stdio returns the endpoint's upstream, if it is a process.
func (h *Handler) stdio() (*StdioUpstream, bool) {
	u, ok := h.upstream.(*StdioUpstream)
	return u, ok
}

// hubKey names the endpoint and everything that its sessions depend on.
func (h *Handler) hubKey() string {
	key, err := json.Marshal([]any{h.Endpoint, h.PublicURL, h.Hosts, h.upstream, h.Sessions, h.Limits})
	if err != nil {
		return h.Endpoint
	}
	return string(key)
}

// loadHub finds the endpoint's sessions, or makes room for some. Nothing is
// started.
func (h *Handler) loadHub() error {
	u, ok := h.stdio()
	if !ok {
		return nil
	}
	key := h.hubKey()
	pooled, _, err := hubs.LoadOrNew(key, func() (caddy.Destructor, error) {
		c := h.Sessions
		if c == nil {
			c = new(SessionsConfig)
		}
		ctx, stop := context.WithCancel(context.Background())
		p := &pooledHub{stop: stop, Hub: bridge.NewHub(bridge.HubConfig{
			Start:     u.start(h.logger.Named("stdio"), int(h.Limits.Message)),
			Sessions:  c.Max,
			Idle:      time.Duration(c.Idle),
			Lifetime:  time.Duration(c.Lifetime),
			Buffer:    int(c.Buffer),
			KeepAlive: time.Duration(c.KeepAlive),
			Warn:      h.warnSessions,
		})}
		go p.watchExit(ctx)
		return p, nil
	})
	if err != nil {
		return err
	}
	h.hub, h.hubKeyInUse = pooled.(*pooledHub).Hub, key
	return nil
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

func (h *Handler) warnSessions(msg, cause string) {
	if h.refused.first(msg+"\x00"+cause, maxRefusedLogged) {
		h.logger.Warn(msg, zap.String("endpoint", h.Endpoint), zap.String("cause", cause))
	}
}

// checkStdio validates what goes with a process.
func (h *Handler) checkStdio() error {
	errs := []error{h.Sessions.validate()}
	_, isStdio := h.stdio()
	if h.Sessions != nil && !isStdio {
		errs = append(errs, errors.New("sessions: is for stdio; sessions with other upstreams are their own"))
	}
	if isStdio && h.ReverseProxy != nil {
		errs = append(errs, errors.New("stdio: excludes an upstream address (reverse_proxy in JSON)"))
	}
	return errors.Join(errs...)
}

// errUnguarded refuses a process that other machines could reach.
func (h *Handler) errUnguarded() error {
	u, ok := h.stdio()
	if !ok || u.AllowUnauthenticated {
		return nil
	}
	p := h.placed()
	if p.server == nil {
		return nil
	}
	for _, listen := range p.server.Listen {
		addr, err := caddy.ParseNetworkAddress(listen)
		if err == nil && (addr.IsUnixNetwork() || cors.Loopback(strings.Trim(addr.Host, "[]"))) {
			continue
		}
		return fmt.Errorf("stdio: endpoint %q can be reached from other machines at %q, and everyone could run its program; "+
			"add `bind 127.0.0.1` to the site, or say allow_unauthenticated where something else guards it", h.staticPath(), listen)
	}
	return nil
}
