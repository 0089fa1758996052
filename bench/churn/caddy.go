package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	grace        = 5 * time.Second // the site's grace_period
	keepalive    = 5 * time.Second // of idle connections to the upstream
	startTimeout = 20 * time.Second

	adminTimeout  = 30 * time.Second
	adminAttempts = 3
)

// caddy is a Caddy process whose configuration changes.
type caddy struct {
	plain    bool
	site     string // address
	upstream string // address
	socket   string // of the admin API
	log      string // file
	cmd      *exec.Cmd
	exited   chan struct{}
	api      *http.Client
	// Reloads, when each ended, and how long it took.
	begun, done atomic.Int64
	again       atomic.Int64 // requests to the admin API that were sent again
	mu          sync.Mutex
	ends        []time.Time
	times       []time.Duration
}

// settled returns how many reloads are over for certain: when Caddy says that
// one is done, it may still be closing the listener of before.
func (c *caddy) settled() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := len(c.ends)
	for n > 0 && time.Since(c.ends[n-1]) < time.Second {
		n--
	}
	return int64(n)
}

func startCaddy(ctx context.Context, binary, dir, upstream string, plain bool) (*caddy, error) {
	c := &caddy{plain: plain, upstream: upstream, exited: make(chan struct{})}
	c.socket, c.log = filepath.Join(dir, "admin"), filepath.Join(dir, "log")
	c.api = &http.Client{Timeout: adminTimeout, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", c.socket)
		},
	}}
	var err error
	if c.site, err = freeAddr(); err != nil {
		return nil, err
	}
	config := filepath.Join(dir, "Caddyfile")
	if err := os.WriteFile(config, []byte(c.caddyfile(0)), 0o600); err != nil {
		return nil, err
	}
	log, err := os.Create(c.log)
	if err != nil {
		return nil, err
	}
	defer func() { _ = log.Close() }()
	c.cmd = exec.Command(binary, "run", "--config", config, "--adapter", "caddyfile")
	c.cmd.Env = append(os.Environ(), "XDG_CONFIG_HOME="+dir, "XDG_DATA_HOME="+dir)
	c.cmd.Stderr = log
	endWithParent(c.cmd)
	if err := c.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		_ = c.cmd.Wait()
		close(c.exited)
	}()
	err = poll(ctx, startTimeout, func() error {
		select {
		case <-c.exited:
			return errFinal{errors.New("caddy has ended")}
		default:
		}
		conn, err := net.Dial("tcp", c.site)
		if err != nil {
			return err
		}
		return conn.Close()
	})
	if err != nil {
		c.kill()
		return nil, fmt.Errorf("%w; its log:\n%s", err, c.logged(""))
	}
	return c, nil
}

// freeAddr returns a loopback address that nothing listens on, with a port
// below those that connections are given.
func freeAddr() (string, error) {
	for range 100 {
		addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(10000+rand.IntN(20000)))
		if l, err := net.Listen("tcp", addr); err == nil {
			return addr, l.Close()
		}
	}
	return "", errors.New("no free port")
}

// caddyfile is configuration n. The odd ones have the second endpoint.
func (c *caddy) caddyfile(n int64) string {
	endpoints := []string{first}
	if n%2 == 1 {
		endpoints = append(endpoints, second)
	}
	var b strings.Builder
	fmt.Fprintf(&b, `{
	admin unix/%s
	persist_config off
	auto_https off
	grace_period %s
	log {
		level ERROR
	}
}
http://%s {
	bind 127.0.0.1
	route {
		header X-Config %d
`, c.socket, grace, c.site, n)
	for _, path := range endpoints {
		directive, matchers := "mcp_auth_bridge", []string{path}
		if c.plain {
			directive, matchers = "reverse_proxy", []string{path, wellKnown + path}
		}
		for _, matcher := range matchers {
			fmt.Fprintf(&b, "\t\t%s %s http://%s {\n\t\t\ttransport http {\n\t\t\t\tkeepalive %s\n\t\t\t}\n\t\t}\n", directive, matcher, c.upstream, keepalive)
		}
	}
	b.WriteString("\t\trespond \"" + noEndpoint + "\" 404\n\t}\n}\n")
	return b.String()
}

// noEndpoint is the body of the site's own 404.
const noEndpoint = "no such endpoint"

// reload loads the next configuration.
func (c *caddy) reload(ctx context.Context) error {
	n := c.begun.Add(1)
	started := time.Now()
	defer func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.ends, c.times = append(c.ends, time.Now()), append(c.times, time.Since(started))
		c.done.Store(n)
	}()
	_, err := c.admin(ctx, http.MethodPost, "/load", c.caddyfile(n))
	return err
}

// admin asks the admin API. A reload replaces its server too, which then may
// close the connection of the next request; that one is sent again.
func (c *caddy) admin(ctx context.Context, method, path, config string) ([]byte, error) {
	for attempts := 1; ; attempts++ {
		body, err := c.ask(ctx, method, path, config)
		if err == nil || attempts == adminAttempts || !closedByServer(err) {
			return body, err
		}
		c.again.Add(1)
	}
}

func (c *caddy) ask(ctx context.Context, method, path, config string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://caddy"+path, strings.NewReader(config))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "text/caddyfile")
	res, err := c.api.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s: %s", path, res.Status, body)
	}
	return body, err
}

// usage is what a process holds.
type usage struct {
	goroutines, descriptors int
	heap, rss               int // KiB; the heap after a collection
	stacks                  map[string]int
}

// count counts goroutines and descriptors.
func (c *caddy) count(ctx context.Context) (u usage, err error) {
	fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", c.cmd.Process.Pid))
	if err != nil {
		return u, err
	}
	u.descriptors = len(fds)
	profile, err := c.admin(ctx, http.MethodGet, "/debug/pprof/goroutine?debug=1", "")
	if err != nil {
		return u, err
	}
	u.stacks = make(map[string]int)
	for group := range strings.SplitSeq(string(profile), "\n\n") {
		head, frames, _ := strings.Cut(group, "\n")
		if rest, ok := strings.CutPrefix(head, "goroutine profile: total "); ok {
			if u.goroutines, err = strconv.Atoi(rest); err != nil {
				return u, err
			}
			head, frames, _ = strings.Cut(frames, "\n")
		}
		var names []string
		for line := range strings.Lines(frames) {
			if fields := strings.Fields(line); len(fields) > 2 && fields[0] == "#" {
				name, _, _ := strings.Cut(fields[2], "+0x")
				names = append(names, name)
			}
		}
		number, _, _ := strings.Cut(head, " ")
		n, _ := strconv.Atoi(number)
		u.stacks[strings.Join(names, " < ")] += n
	}
	return u, nil
}

// measure is count, and memory.
func (c *caddy) measure(ctx context.Context) (u usage, err error) {
	if u, err = c.count(ctx); err != nil {
		return u, err
	}
	var heap []byte
	for range 3 { // pools keep what they hold through two collections
		// Its figures are from before it allocates anything itself.
		if heap, err = c.admin(ctx, http.MethodGet, "/debug/pprof/heap?gc=1&debug=1", ""); err != nil {
			return u, err
		}
	}
	for line := range strings.Lines(string(heap)) {
		if rest, ok := strings.CutPrefix(line, "# HeapAlloc = "); ok {
			if u.heap, err = strconv.Atoi(strings.TrimSpace(rest)); err != nil {
				return u, err
			}
			u.heap >>= 10
		}
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", c.cmd.Process.Pid))
	if err != nil {
		return u, err
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			u.rss, err = strconv.Atoi(strings.Fields(rest)[0])
		}
	}
	return u, err
}

// grown lists the stacks of which there are more in u than before.
func (u *usage) grown(before *usage) []string {
	type group struct {
		stack string
		more  int
	}
	var groups []group
	for stack, n := range u.stacks {
		if more := n - before.stacks[stack]; more > 0 {
			groups = append(groups, group{stack, more})
		}
	}
	slices.SortFunc(groups, func(a, b group) int { return cmp.Compare(b.more, a.more) })
	var lines []string
	for _, g := range groups[:min(len(groups), 10)] {
		lines = append(lines, fmt.Sprintf("%d more of %s", g.more, g.stack))
	}
	return lines
}

// logged returns the lines of the log that have text in them.
func (c *caddy) logged(text string) string {
	f, err := os.Open(c.log)
	if err != nil {
		return err.Error()
	}
	defer func() { _ = f.Close() }()
	var lines []string
	scanner := bufio.NewScanner(f)
	scanner.Buffer(nil, 1<<20)
	for scanner.Scan() {
		if strings.Contains(scanner.Text(), text) {
			lines = append(lines, scanner.Text())
		}
	}
	return strings.Join(lines[max(0, len(lines)-20):], "\n")
}

// terminate tells the process to end and returns how long that took.
func (c *caddy) terminate(limit time.Duration) (time.Duration, error) {
	started := time.Now()
	if err := c.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return 0, err
	}
	select {
	case <-c.exited:
	case <-time.After(limit):
		return limit, fmt.Errorf("caddy has not ended %s after SIGTERM", limit)
	}
	took := time.Since(started)
	if !c.cmd.ProcessState.Success() {
		return took, fmt.Errorf("caddy ended with %s after SIGTERM", c.cmd.ProcessState)
	}
	return took, nil
}

func (c *caddy) kill() {
	_ = c.cmd.Process.Kill()
	<-c.exited
}

// errFinal is an error that poll does not wait out.
type errFinal struct{ error }

// poll calls f until it returns nil, or for a time.
func poll(ctx context.Context, limit time.Duration, f func() error) error {
	deadline := time.Now().Add(limit)
	for {
		err := f()
		var final errFinal
		if err == nil || errors.As(err, &final) {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("after %s: %w", limit, err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}
