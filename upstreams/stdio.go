package upstreams

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/user"
	"strconv"
	"strings"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/upstream"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/programenv"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/suggest"

	"github.com/caddyserver/caddy/v2"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/process"
)

func init() { caddy.RegisterModule(Stdio{}) }

// Stdio is an MCP server that is a program and speaks over standard input and
// output. Each session gets its own process. Nothing from a request reaches the
// command line.
//
// Exposing a stdio server without authentication can allow remote code execution.
// If the site listens on an address other than loopback or a Unix socket, the
// configuration is refused without `allow_unauthenticated`.
type Stdio struct {
	// The program and its arguments; no shell is involved. The program is an
	// absolute path, or a name that is looked up in the PATH of its
	// environment.
	Command []string `json:"command,omitempty"`

	// More environment variables for the process. It also gets PATH, HOME, LOGNAME,
	// SHELL, TERM and USER, if Caddy has them. An entry is `NAME=value`, or `NAME`
	// to pass Caddy's own value. In values, `{env.*}` and `{file.*}` are replaced
	// when the process starts; other placeholders are refused. With `user`, HOME,
	// LOGNAME, SHELL and USER are that user's. Default: none.
	Env []string `json:"env,omitempty"`

	// Passes only the variables in `env` to the process, nothing else of Caddy's
	// environment. A program that is looked up in PATH then needs a PATH in `env`.
	// Default: false.
	ClearEnv bool `json:"clear_env,omitempty"`

	// The working directory of the process. It must exist when the configuration is
	// loaded. Default: that of Caddy.
	Dir string `json:"dir,omitempty"`

	// The user that the process runs as, by name or number. Caddy needs the right
	// to switch to it: root, or on Linux CAP_SETUID and CAP_SETGID. Not available
	// on Windows. Default: that of Caddy.
	User string `json:"user,omitempty"`

	// Allows listening on non-loopback addresses. Use it only if something else
	// protects the endpoint: `basic_auth`, `forward_auth` or a firewall. A guard in
	// Caddy must cover every path of the endpoint (`/mcp*`, not `/mcp`); otherwise
	// the configuration is refused. Default: false.
	AllowUnauthenticated bool `json:"allow_unauthenticated,omitempty"`
}

// UnmarshalJSON implements json.Unmarshaler.
func (u *Stdio) UnmarshalJSON(data []byte) error {
	type plain Stdio
	return suggest.Decode(data, (*plain)(u), "stdio", nil)
}

// CaddyModule returns the Caddy module information.
func (Stdio) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.mcp_auth_bridge.upstreams.stdio",
		New: func() caddy.Module { return new(Stdio) },
	}
}

// Transport implements [Kind].
func (*Stdio) Transport() string { return "stdio" }

// Name implements [Named].
func (u *Stdio) Name() string { return u.Command[0] }

// AllowsUnauthenticated implements [Guarded].
func (u *Stdio) AllowsUnauthenticated() bool { return u.AllowUnauthenticated }

// Environment implements [Environmental]: the values of Caddy's environment that the
// program gets.
func (u *Stdio) Environment() (values []string) {
	for _, name := range u.Env {
		if !strings.Contains(name, "=") {
			values = append(values, name+"="+os.Getenv(name))
		}
	}
	return values
}

// Validate checks what no machine could make right.
func (u *Stdio) Validate() error {
	var errs []error
	if len(u.Command) == 0 || u.Command[0] == "" {
		errs = append(errs, errors.New("stdio: missing program; write it behind stdio, as in `stdio npx -y <package>`"))
	}
	names := make(map[string]bool)
	for _, s := range u.Env {
		v, err := programenv.Parse(s)
		if err != nil {
			errs = append(errs, fmt.Errorf("stdio env: %w", err))
			continue
		}
		if names[v.Name] {
			errs = append(errs, fmt.Errorf("stdio env: %s is given twice; remove one of the two", v.Name))
		}
		names[v.Name] = true
	}
	for _, s := range u.Command {
		if strings.ContainsRune(s, 0) {
			errs = append(errs, fmt.Errorf("stdio: %q has a NUL byte, which no argument can have", s))
		}
	}
	if _, err := lookupUser(u.User); err != nil {
		errs = append(errs, fmt.Errorf("stdio user: %w", err))
	}
	return errors.Join(errs...)
}

// account is the user that a process runs as.
type account struct {
	credential        *process.Credential
	name, home, shell string
}

// lookupUser returns the user that a process runs as; nil: as Caddy itself.
func lookupUser(name string) (*account, error) {
	if name == "" {
		return nil, nil
	}
	u, err := user.Lookup(name)
	if err != nil {
		if u, err = user.LookupId(name); err != nil {
			return nil, fmt.Errorf("there is no user %q; create it, or name another", name)
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
	c := &process.Credential{UID: uint32(uid), GID: uint32(gid)}
	groups, err := u.GroupIds()
	if err != nil {
		return nil, fmt.Errorf("looking up the groups of %q: %w", name, err)
	}
	for _, group := range groups {
		if id, err := strconv.ParseUint(group, 10, 32); err == nil {
			c.Groups = append(c.Groups, uint32(id))
		}
	}
	return &account{credential: c, name: u.Username, home: u.HomeDir, shell: shellOf(u.Username)}, nil
}

// switches returns the credential to switch to. None is needed for the user that Caddy
// runs as, which may have no right to switch.
func (a *account) switches() *process.Credential {
	if a == nil || a.credential.IsSelf() && !process.MaySwitchUser() {
		return nil
	}
	return a.credential
}

// Connect implements [Kind]: it starts a process.
func (u *Stdio) Connect(_ context.Context, c Connection) (upstream.Peer, error) {
	as, err := lookupUser(u.User)
	if err != nil {
		return nil, err
	}
	env, missing := u.environment(as)
	for _, m := range missing {
		if m.fatal {
			return nil, m
		}
	}
	p := &program{
		ending: upstream.NewEnding(), logger: c.Logger, begun: time.Now(), tell: c.Notify, exited: c.Exited, secrets: u.secrets(),
	}
	return p, p.start(process.Config{
		Command: u.Command, Env: env, Dir: u.Dir, User: as.switches(),
		MaxFrame: c.MaxMessage, MaxQueued: max(c.MaxMessage, process.DefaultMaxQueued), StepNow: c.Grace,
	}, c.Receiver)
}

// Interface guards
var (
	_ Kind            = (*Stdio)(nil)
	_ Named           = (*Stdio)(nil)
	_ Guarded         = (*Stdio)(nil)
	_ Checked         = (*Stdio)(nil)
	_ Environmental   = (*Stdio)(nil)
	_ caddy.Validator = (*Stdio)(nil)
)
