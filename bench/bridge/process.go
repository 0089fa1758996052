package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os/exec"
	"strings"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/benchkit"
)

// How long a process may take until it serves, and until it has ended.
const (
	startTimeout = 30 * time.Second
	endTimeout   = 10 * time.Second
)

// process is a process that leads a group of its own, which ends with it.
type process struct {
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	said   *benchkit.Tail
	exited chan struct{}
}

// start starts a process. What it says is kept for an error.
func start(cmd *exec.Cmd, stdout io.Writer) (*process, error) {
	p := &process{cmd: cmd, said: new(benchkit.Tail), exited: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = io.Writer(p.said), p.said
	if stdout != nil {
		cmd.Stdout = stdout
	}
	cmd.WaitDelay = time.Second
	ownGroup(cmd)
	var err error
	if p.stdin, err = cmd.StdinPipe(); err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		_ = cmd.Wait()
		close(p.exited)
	}()
	return p, nil
}

// stop ends the process, and then what is left of its group.
func (p *process) stop() {
	_ = p.stdin.Close()
	terminate(p.cmd)
	select {
	case <-p.exited:
	case <-time.After(endTimeout):
	}
	killGroup(p.cmd)
	<-p.exited
}

// startSSE starts the HTTP+SSE server and returns the address of its event stream.
func (m *machine) startSSE() (*process, string, error) {
	r, w := io.Pipe()
	p, err := start(exec.Command(m.self, asSSE), w)
	if err != nil {
		return nil, "", err
	}
	go func() {
		<-p.exited
		_ = w.Close()
	}()
	line, err := bufio.NewReader(r).ReadString('\n')
	if err != nil {
		p.stop()
		return nil, "", err
	}
	return p, strings.TrimSpace(line), nil
}

// target is a contender that runs.
type target struct {
	*process
	*contender
	url      string
	port     int
	sessions []*session
}

// start starts a contender and opens a number of sessions.
func (m *machine) start(ctx context.Context, c *contender, sse string, sessions int) (*target, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	port := l.Addr().(*net.TCPAddr).Port
	_ = l.Close()
	cmd, err := m.command(c, port, sse)
	if err != nil {
		return nil, err
	}
	p, err := start(cmd, nil)
	if err != nil {
		return nil, err
	}
	t := &target{process: p, contender: c, port: port, url: fmt.Sprintf("http://127.0.0.1:%d%s", port, c.path(sse))}
	if err := t.begin(ctx, sessions); err != nil {
		t.stop()
		return nil, fmt.Errorf("%s: %w\nit says:\n%s", c.name, err, t.said)
	}
	return t, nil
}

// begin waits until the contender serves and opens the sessions.
func (t *target) begin(ctx context.Context, sessions int) error {
	deadline := time.After(startTimeout)
	for len(t.sessions) < sessions {
		s, err := openSession(ctx, t.url, t.header)
		if err == nil {
			t.sessions = append(t.sessions, s)
			continue
		}
		select {
		case <-t.exited:
			return errors.New("it has ended")
		case <-deadline:
			return err
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
	return nil
}
