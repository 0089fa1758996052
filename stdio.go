package mcpauthbridge

import (
	"context"
	"errors"
	"fmt"
	"net/http"
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
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
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
func (u *StdioUpstream) start(logger func() *zap.Logger, maxFrame int, hurry func() time.Duration) func(context.Context, *http.Request, func([]byte)) (bridge.Peer, error) {
	return func(_ context.Context, _ *http.Request, deliver func([]byte)) (bridge.Peer, error) {
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
		ending := bridge.NewEnding()
		c := &conversation{logger: logger, deliver: deliver}
		p, err := stdio.Start(context.Background(), stdio.Config{
			Command: command, Env: env, Dir: u.Dir, User: as, MaxFrame: maxFrame, Hurry: hurry,
			Stderr: func(line []byte, dropped int) {
				logger().Info("server says on stderr", zap.ByteString("line", line), zap.Int("dropped", dropped))
			},
			Frame:   deliver,
			Ended:   ending.End,
			Invalid: c.invalid,
			Lost:    c.lost,
		})
		if err != nil {
			return nil, err
		}
		return processPeer{p, ending}, nil
	}
}

// conversation takes what a process says that is no message.
type conversation struct {
	logger  func() *zap.Logger
	deliver func([]byte)
	logged  time.Time // when the last such line was
	skipped int       // such lines since
}

// invalidEvery is how often a line of a process that is no message is logged.
const invalidEvery = time.Second

// invalid logs that a line is no message. It is called for one after the other.
func (c *conversation) invalid(reason string) {
	if now := time.Now(); now.Sub(c.logged) >= invalidEvery {
		c.logger().Warn("server writes what is no message to its stdout; it is skipped", zap.String("reason", reason), zap.Int("dropped", c.skipped))
		c.logged, c.skipped = now, 0
		return
	}
	c.skipped++
}

// lost has a request whose answer is such a line answered with an error.
func (c *conversation) lost(begin, end []byte) {
	if id := message.Lost(begin, end); id != nil {
		c.deliver(message.Error(id, message.CodeInternal, "the server's answer is too long, or no JSON"))
	}
}

// processPeer is a process in a conversation. What it says is handed on as it is
// read, so that its end comes after that.
type processPeer struct {
	*stdio.Process
	ending *bridge.Ending
}

// AfterDone has f called once the process has ended.
func (p processPeer) AfterDone(f func()) { p.ending.AfterDone(f) }

// Send implements [bridge.Peer]: what a process is started with is the operator's,
// so nothing of a request reaches it but the message, and the trace that it belongs to.
func (p processPeer) Send(from *http.Request, frame []byte) error {
	if from != nil {
		frame = bridge.CarryTrace(from.Header, frame)
	}
	return p.Process.Send(frame)
}

// stdio returns the endpoint's upstream, if it is a process.
func (h *Handler) stdio() (*StdioUpstream, bool) {
	u, ok := h.upstream.(*StdioUpstream)
	return u, ok
}

// checkStdio validates what goes with a process.
func (h *Handler) checkStdio() error {
	if _, ok := h.stdio(); ok && h.ReverseProxy != nil {
		return errors.New("stdio: excludes an upstream address (reverse_proxy in JSON)")
	}
	return nil
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
		if onlyHere(listen) {
			continue
		}
		return fmt.Errorf("stdio: endpoint %q can be reached from other machines at %q, and everyone could run its program; "+
			"add `bind 127.0.0.1` to the site, or say allow_unauthenticated where something else guards it", h.staticPath(), listen)
	}
	return nil
}

// onlyHere reports whether an address to listen on is reached from this machine alone.
func onlyHere(listen string) bool {
	addr, err := caddy.ParseNetworkAddress(listen)
	return err == nil && (addr.IsUnixNetwork() || cors.Loopback(strings.Trim(addr.Host, "[]")))
}
