package main

import (
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
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// caddy is a Caddy process whose configuration changes.
type caddy struct {
	site, socket, log string
	cmd               *exec.Cmd
	exited            chan struct{}
	api               *http.Client
	config            atomic.Int64 // number of the last one
}

func startCaddy(ctx context.Context, binary, dir string) (*caddy, error) {
	c := &caddy{exited: make(chan struct{}), socket: filepath.Join(dir, "admin"), log: filepath.Join(dir, "log")}
	c.api = &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", c.socket)
		},
	}}
	for range 100 { // below the ports that connections are given
		c.site = net.JoinHostPort("127.0.0.1", strconv.Itoa(10000+rand.IntN(20000)))
		if l, err := net.Listen("tcp", c.site); err == nil {
			_ = l.Close()
			break
		}
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
	return c, poll(ctx, 20*time.Second, func() error {
		conn, err := net.Dial("tcp", c.site)
		if err != nil {
			return err
		}
		return conn.Close()
	})
}

// Endpoints: the second is in every other configuration only.
const kept, dropped = "/kept", "/dropped"

// caddyfile is configuration n.
func (c *caddy) caddyfile(n int64) string {
	self, err := os.Executable()
	if err != nil {
		panic(err)
	}
	endpoints := []string{kept}
	if n%2 == 1 {
		endpoints = append(endpoints, dropped)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "{\n\tadmin unix/%s\n\tpersist_config off\n\tauto_https off\n\tlog {\n\t\tlevel ERROR\n\t}\n}\nhttp://%s {\n\tbind 127.0.0.1\n\theader X-Config %d\n", c.socket, c.site, n)
	for _, path := range endpoints {
		fmt.Fprintf(&b, "\tmcp_auth_bridge %s {\n\t\tstdio %q {\n\t\t\tenv %s=1\n\t\t}\n\t\tsessions {\n\t\t\tmax 500\n\t\t\tidle %s\n\t\t}\n\t}\n", path, self, serverMode, idle)
	}
	b.WriteString("}\n")
	return b.String()
}

// reload loads the next configuration, or the one after that.
func (c *caddy) reload(ctx context.Context, steps int64) error {
	_, err := c.admin(ctx, http.MethodPost, "/load", c.caddyfile(c.config.Add(steps)))
	return err
}

// admin asks the admin API. A reload replaces its server too, which then may close the
// connection of the next request; that one is sent again.
func (c *caddy) admin(ctx context.Context, method, path, config string) (body []byte, err error) {
	for range 3 {
		var req *http.Request
		if req, err = http.NewRequestWithContext(ctx, method, "http://caddy"+path, strings.NewReader(config)); err != nil {
			return nil, err
		}
		req.Header.Set("Content-Type", "text/caddyfile")
		var res *http.Response
		if res, err = c.api.Do(req); err != nil {
			continue
		}
		body, err = io.ReadAll(res.Body)
		_ = res.Body.Close()
		if err == nil && res.StatusCode != http.StatusOK {
			return nil, fmt.Errorf("%s: %s: %s", path, res.Status, body)
		}
		if err == nil {
			return body, nil
		}
	}
	return nil, err
}

// usage is what a process holds; memory in KiB, the heap after a collection.
type usage struct {
	goroutines, descriptors, children, heap, rss int
}

// measure counts what Caddy holds.
func (c *caddy) measure(ctx context.Context) (u usage, err error) {
	dir := fmt.Sprintf("/proc/%d", c.cmd.Process.Pid)
	fds, err := os.ReadDir(dir + "/fd")
	if err != nil {
		return u, err
	}
	u.descriptors = len(fds)
	tasks, _ := filepath.Glob(dir + "/task/*/children")
	for _, task := range tasks {
		raw, _ := os.ReadFile(task)
		u.children += len(strings.Fields(string(raw)))
	}
	profile, err := c.admin(ctx, http.MethodGet, "/debug/pprof/goroutine?debug=1", "")
	if err != nil {
		return u, err
	}
	if _, err := fmt.Sscanf(string(profile), "goroutine profile: total %d", &u.goroutines); err != nil {
		return u, err
	}
	for range 3 { // pools keep what they hold through two collections
		if profile, err = c.admin(ctx, http.MethodGet, "/debug/pprof/heap?gc=1&debug=1", ""); err != nil {
			return u, err
		}
	}
	_, alloc, _ := strings.Cut(string(profile), "# HeapAlloc = ")
	_, _ = fmt.Sscan(alloc, &u.heap)
	u.heap >>= 10
	status, err := os.ReadFile(dir + "/status")
	_, rss, _ := strings.Cut(string(status), "VmRSS:")
	_, _ = fmt.Sscan(rss, &u.rss)
	return u, err
}

// wait waits until Caddy has ended.
func (c *caddy) wait(limit time.Duration) error {
	select {
	case <-c.exited:
		return nil
	case <-time.After(limit):
		return fmt.Errorf("caddy has not ended after %s", limit)
	}
}

func (c *caddy) kill() {
	_ = c.cmd.Process.Signal(syscall.SIGKILL)
	<-c.exited
}

// lives says whether a process is more than a dead one.
func lives(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !strings.Contains(string(stat), ") Z ")
}

// waitGone waits until processes are gone.
func waitGone(ctx context.Context, limit time.Duration, pids ...int) error {
	return poll(ctx, limit, func() error {
		for _, pid := range pids {
			if lives(pid) {
				return fmt.Errorf("process %d is left", pid)
			}
		}
		return nil
	})
}

// poll calls f until it returns nil, or for a time.
func poll(ctx context.Context, limit time.Duration, f func() error) error {
	deadline := time.Now().Add(limit)
	for {
		err := f()
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("after %s: %w", limit, err)
		}
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}
