package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/benchkit"
)

// child is a process that the program has started. It is ended by its handle.
type child struct {
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	stderr *benchkit.Tail
	exited chan struct{}
}

// start starts cmd and follows it. The child ends with ctx.
func start(cmd *exec.Cmd) (*child, error) {
	c := &child{cmd: cmd, stderr: new(benchkit.Tail), exited: make(chan struct{})}
	cmd.Stderr = c.stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 5 * time.Second
	benchkit.EndWithParent(cmd)
	var err error
	if c.stdin, err = cmd.StdinPipe(); err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return c, nil
}

// follow waits for the end of the process.
func (c *child) follow() {
	_ = c.cmd.Wait()
	close(c.exited)
}

// stop ends the process and waits for its end.
func (c *child) stop() {
	_ = c.stdin.Close()
	_ = c.cmd.Process.Signal(os.Interrupt)
	select {
	case <-c.exited:
	case <-time.After(c.cmd.WaitDelay):
		_ = c.cmd.Process.Kill()
		<-c.exited
	}
}

// err says why a child does not serve.
func (c *child) err(cause error) error {
	if log := c.stderr.String(); log != "" {
		return fmt.Errorf("%w\nits log ends in:\n%s", cause, log)
	}
	return cause
}

type upstreamChild struct {
	*child
	addr string
}

func startUpstream(ctx context.Context) (*upstreamChild, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, self, "-"+upstreamFlag)
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	c, err := start(cmd)
	if err != nil {
		return nil, err
	}
	addr, err := bufio.NewReader(stdout).ReadString('\n')
	go c.follow()
	if err != nil {
		c.stop()
		return nil, c.err(err)
	}
	return &upstreamChild{c, strings.TrimSpace(addr)}, nil
}

// target is a Caddy of one configuration.
type target struct {
	*child
	index int
	name  string
	addr  string
	admin string
}

// machine is what targets are started with.
type machine struct {
	caddy, dir string
	against    string // runs the second configuration; if it is empty, caddy does
	upstream   string
}

// binary returns what runs a configuration.
func (m *machine) binary(index int) string {
	if index == byHand && m.against != "" {
		return m.against
	}
	return m.caddy
}

// startAll starts a target of each configuration.
func (m *machine) startAll(ctx context.Context) ([]*target, error) {
	var targets []*target
	for i := range configurations {
		t, err := m.start(ctx, i)
		if err != nil {
			stopAll(targets)
			return nil, err
		}
		targets = append(targets, t)
	}
	return targets, nil
}

func stopAll(targets []*target) {
	for _, t := range targets {
		t.stop()
	}
}

// startAttempts is how often a start is tried: another process may take a port
// between its choice and its use.
const startAttempts = 3

func (m *machine) start(ctx context.Context, index int) (t *target, err error) {
	for range startAttempts {
		if t, err = m.tryStart(ctx, index); err == nil {
			return t, nil
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
	return nil, err
}

func (m *machine) tryStart(ctx context.Context, index int) (*target, error) {
	c := configurations[index]
	t := &target{index: index, name: c.name}
	var err error
	if t.admin, err = benchkit.FreeAddr(); err != nil {
		return nil, err
	}
	if t.addr, err = benchkit.FreeAddr(); err != nil {
		return nil, err
	}
	path := filepath.Join(m.dir, c.name+".Caddyfile")
	if err := os.WriteFile(path, []byte(c.caddyfile(t.admin, t.addr, m.upstream)), 0o600); err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, m.binary(index), "run", "--config", path, "--adapter", "caddyfile")
	cmd.Env = append(os.Environ(), "GOMAXPROCS=1", "GODEBUG=", "GOGC=100", "GOMEMLIMIT=off",
		"XDG_CONFIG_HOME="+m.dir, "XDG_DATA_HOME="+m.dir)
	if t.child, err = start(cmd); err != nil {
		return nil, err
	}
	go t.follow()
	if err := t.waitReady(ctx); err != nil {
		t.stop()
		return nil, fmt.Errorf("%s: %w", c.name, t.err(err))
	}
	return t, nil
}

// startTimeout bounds how long a child may take until it serves.
const startTimeout = 20 * time.Second

func (t *target) waitReady(ctx context.Context) error {
	deadline := time.After(startTimeout)
	for {
		err := t.ready(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-t.exited:
			return errors.New("caddy has ended")
		case <-ctx.Done():
			return ctx.Err()
		case <-deadline:
			return fmt.Errorf("caddy does not serve: %w", err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// ready asks the admin API and connects to the site.
func (t *target) ready(ctx context.Context) error {
	if _, err := t.allocations(ctx); err != nil {
		return err
	}
	conn, err := net.Dial("tcp", t.addr)
	if err != nil {
		return err
	}
	return conn.Close()
}

// allocations are what a process has allocated since its start.
type allocations struct {
	objects, bytes uint64
}

// allocations asks the process. Asking allocates too; see [target.asking].
func (t *target) allocations(ctx context.Context) (allocations, error) {
	got, err := benchkit.AskMemory(ctx, admin, "http://"+t.admin)
	return allocations{got.Mallocs, got.TotalAlloc}, err
}

// asking returns what one call of allocations allocates.
func (t *target) asking(ctx context.Context) (allocations, error) {
	a, err := t.allocations(ctx)
	if err != nil {
		return a, err
	}
	b, err := t.allocations(ctx)
	return allocations{b.objects - a.objects, b.bytes - a.bytes}, err
}

// admin is the client of the admin API. Each question has a connection of its
// own.
var admin = &http.Client{
	Transport: &http.Transport{DisableKeepAlives: true},
	Timeout:   answerTimeout,
}

func (t *target) get(ctx context.Context, path string) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+t.admin+path, nil)
	if err != nil {
		return nil, err
	}
	res, err := admin.Do(req)
	if err != nil {
		return nil, err
	}
	if res.StatusCode != http.StatusOK {
		_ = res.Body.Close()
		return nil, fmt.Errorf("%s: %s", path, res.Status)
	}
	return res.Body, nil
}

// profileSeconds is how long each profile lasts.
const profileSeconds = 8

// writeProfiles profiles each configuration under the load of a case.
func writeProfiles(ctx context.Context, m *machine, tc *testCase, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for i := range configurations {
		if err := m.writeProfiles(ctx, i, tc, dir); err != nil {
			return err
		}
	}
	return nil
}

func (m *machine) writeProfiles(ctx context.Context, index int, tc *testCase, dir string) error {
	t, err := m.start(ctx, index)
	if err != nil {
		return err
	}
	defer t.stop()
	l := newLoad(t.addr, t.index)
	defer l.close()
	loadCtx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for loadCtx.Err() == nil {
			l.run(loadCtx, []*testCase{tc}, 500)
		}
	}()
	prefix := filepath.Join(dir, tc.name+"-"+t.name)
	err = errors.Join(
		t.writeProfile(ctx, "profile", prefix+".cpu.pprof"),
		t.writeProfile(ctx, "allocs", prefix+".allocs.pprof"),
	)
	cancel()
	<-done
	return err
}

func (t *target) writeProfile(ctx context.Context, kind, path string) error {
	body, err := t.get(ctx, fmt.Sprintf("/debug/pprof/%s?seconds=%d", kind, profileSeconds))
	if err != nil {
		return err
	}
	defer func() { _ = body.Close() }()
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, body)
	return errors.Join(err, f.Close())
}
