package benchkit

import (
	"bufio"
	"cmp"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	startTimeout  = 20 * time.Second
	adminTimeout  = 30 * time.Second
	adminAttempts = 3
)

// Caddy is a Caddy process whose admin API listens on a unix socket. Its Caddyfile needs
// the line "admin unix/" + Socket.
type Caddy struct {
	Site   string // its address
	Socket string // of the admin API
	Cmd    *exec.Cmd
	Exited chan struct{} // closed when the process has ended
	// Again counts requests to the admin API that were sent again, see Admin.
	Again atomic.Int64
	log   string // file
	api   *http.Client
}

// NewCaddy returns a Caddy that is not started yet, with an address for its site and files
// in dir.
func NewCaddy(dir string) (*Caddy, error) {
	c := &Caddy{Exited: make(chan struct{}), Socket: filepath.Join(dir, "admin"), log: filepath.Join(dir, "log")}
	c.api = &http.Client{Timeout: adminTimeout, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", c.Socket)
		},
	}}
	var err error
	c.Site, err = FreeAddr()
	return c, err
}

// Start starts the process with a Caddyfile, and waits until it serves. The process ends
// with this program.
func (c *Caddy) Start(ctx context.Context, binary, caddyfile string) error {
	dir := filepath.Dir(c.log)
	config := filepath.Join(dir, "Caddyfile")
	if err := os.WriteFile(config, []byte(caddyfile), 0o600); err != nil {
		return err
	}
	log, err := os.Create(c.log)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	c.Cmd = exec.Command(binary, "run", "--config", config, "--adapter", "caddyfile")
	c.Cmd.Env = append(os.Environ(), "XDG_CONFIG_HOME="+dir, "XDG_DATA_HOME="+dir)
	c.Cmd.Stderr = log
	EndWithParent(c.Cmd)
	if err := c.Cmd.Start(); err != nil {
		return err
	}
	go func() {
		_ = c.Cmd.Wait()
		close(c.Exited)
	}()
	if err := Serving(ctx, c.Site, startTimeout, c.Exited); err != nil {
		c.Kill()
		return fmt.Errorf("starting Caddy: %w; its log:\n%s", err, c.Logged(""))
	}
	return nil
}

// Load replaces the configuration.
func (c *Caddy) Load(ctx context.Context, caddyfile string) error {
	_, err := c.Admin(ctx, http.MethodPost, "/load", caddyfile)
	return err
}

// Admin asks the admin API. A reload replaces its server too, which may then close the
// connection of the next request. Admin sends that one again, and counts it.
func (c *Caddy) Admin(ctx context.Context, method, path, config string) ([]byte, error) {
	for attempts := 1; ; attempts++ {
		body, err := c.ask(ctx, method, path, config)
		if err == nil || attempts == adminAttempts || !ClosedByServer(err) {
			return body, err
		}
		c.Again.Add(1)
	}
}

func (c *Caddy) ask(ctx context.Context, method, path, config string) ([]byte, error) {
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

// Usage is what a process holds.
type Usage struct {
	Goroutines, Descriptors, Children int
	Heap, RSS                         int // KiB; the heap after a collection
	stacks                            map[string]int
}

// Count counts goroutines, descriptors and children.
func (c *Caddy) Count(ctx context.Context) (u Usage, err error) {
	dir := fmt.Sprintf("/proc/%d", c.Cmd.Process.Pid)
	fds, err := os.ReadDir(dir + "/fd")
	if err != nil {
		return u, err
	}
	u.Descriptors = len(fds)
	tasks, err := filepath.Glob(dir + "/task/*/children")
	if err != nil {
		return u, err
	}
	for _, task := range tasks {
		if raw, err := os.ReadFile(task); err == nil { // or the thread has just ended
			u.Children += len(strings.Fields(string(raw)))
		}
	}
	profile, err := c.Admin(ctx, http.MethodGet, "/debug/pprof/goroutine?debug=1", "")
	if err != nil {
		return u, err
	}
	u.stacks = make(map[string]int)
	for group := range strings.SplitSeq(string(profile), "\n\n") {
		head, frames, _ := strings.Cut(group, "\n")
		if rest, ok := strings.CutPrefix(head, "goroutine profile: total "); ok {
			if u.Goroutines, err = strconv.Atoi(rest); err != nil {
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

// Measure is Count, and memory.
func (c *Caddy) Measure(ctx context.Context) (u Usage, err error) {
	if u, err = c.Count(ctx); err != nil {
		return u, err
	}
	var heap []byte
	for range collections {
		// Its figures are from before it allocates anything itself.
		if heap, err = c.Admin(ctx, http.MethodGet, "/debug/pprof/heap?gc=1&debug=1", ""); err != nil {
			return u, err
		}
	}
	for line := range strings.Lines(string(heap)) {
		if rest, ok := strings.CutPrefix(line, "# HeapAlloc = "); ok {
			if u.Heap, err = strconv.Atoi(strings.TrimSpace(rest)); err != nil {
				return u, err
			}
			u.Heap >>= 10
		}
	}
	u.RSS, err = c.RSS()
	return u, err
}

// RSS returns the resident memory in KiB. It needs Linux.
func (c *Caddy) RSS() (int, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", c.Cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			return strconv.Atoi(strings.Fields(rest)[0])
		}
	}
	return 0, fmt.Errorf("process %d has no VmRSS", c.Cmd.Process.Pid)
}

// Grown lists the stacks of which there are more in u than before.
func (u *Usage) Grown(before *Usage) []string {
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

// Logged returns the last 20 lines of the log that have text in them.
func (c *Caddy) Logged(text string) string {
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

// Terminate sends SIGTERM and returns how long the process takes to end.
func (c *Caddy) Terminate(limit time.Duration) (time.Duration, error) {
	started := time.Now()
	if err := c.Cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return 0, err
	}
	select {
	case <-c.Exited:
	case <-time.After(limit):
		return limit, fmt.Errorf("caddy has not ended %s after SIGTERM", limit)
	}
	took := time.Since(started)
	if !c.Cmd.ProcessState.Success() {
		return took, fmt.Errorf("caddy ended with %s after SIGTERM", c.Cmd.ProcessState)
	}
	return took, nil
}

// Kill sends SIGKILL and waits for the end.
func (c *Caddy) Kill() {
	_ = c.Cmd.Process.Kill()
	<-c.Exited
}
