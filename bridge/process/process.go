package process

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
)

// maxPause is the time between two looks at a group that was killed.
const maxPause = 50 * time.Millisecond

// endWithin bounds the time that the system takes to end processes that were killed.
const endWithin = 5 * time.Second

// Process is a running MCP server. Its methods may be called concurrently.
type Process struct {
	cfg    Config
	proc   *os.Process
	pid    int // kept because proc has none after Wait
	in     *queue
	stdout *os.File
	stderr *os.File // nil if it is discarded
	// readers are those of stdout and stderr.
	readers []*reader
	frames  chan []byte

	drop     chan struct{} // closed when further frames are dropped
	dropOnce sync.Once
	exited   chan struct{} // closed when the child has exited
	state    *os.ProcessState
	waitErr  error
	done     chan struct{} // closed when the group, the pipes and the goroutines are gone
	groupErr error
	work     sync.WaitGroup
	unended  atomic.Bool // the last line of stdout has no line end yet
	signals  atomic.Bool // the child was sent a signal before it exited

	mu      sync.Mutex
	ending  sync.WaitGroup // of shutDown
	stopped bool           // the process is being ended, or has exited
}

// newProcess returns the process of a child that was started. It owns our ends of the pipes.
func newProcess(cfg Config, proc *os.Process, stdin, stdout, stderr *os.File) *Process {
	cfg.Env = nil // it was needed for the start alone, and may have secrets
	p := &Process{
		cfg:    cfg,
		proc:   proc,
		pid:    proc.Pid,
		stdout: stdout,
		stderr: stderr,
		frames: make(chan []byte),
		drop:   make(chan struct{}),
		exited: make(chan struct{}),
		done:   make(chan struct{}),
	}
	// A server that does not read any more is ended.
	p.in = newQueue(stdin, cfg.MaxQueued, p.work.Go, p.begin)
	return p
}

// run starts the goroutines of the process.
func (p *Process) run(ctx context.Context) {
	p.readFrames()
	if p.stderr != nil {
		lines := &stderrLines{call: p.cfg.Stderr, spawn: p.work.Go}
		p.read(p.stderr, lines.write, lines.end)
	}
	forget := context.AfterFunc(ctx, p.abandon)
	afterExit(p.proc, func(state *os.ProcessState, err error) { p.supervise(state, err, forget) })
}

// read reads one of the pipes.
func (p *Process) read(f *os.File, take func(chunk []byte), over func()) {
	p.work.Add(1)
	p.readers = append(p.readers, startReading(f, take, func() {
		defer p.work.Done()
		over()
	}))
}

// Pid returns the id of the child and, on Unix, of its process group. Once
// the process is done the system may give the number to another.
func (p *Process) Pid() int { return p.pid }

// Send queues one JSON message and does not wait for the child. The frame may be reused at
// once. It is lost if the child ends before it reads it. The frame must be valid JSON: line
// breaks become spaces, which is only safe between the tokens of JSON.
func (p *Process) Send(frame []byte) error {
	switch {
	case len(frame) == 0:
		return ErrEmptyFrame
	case len(frame) > p.cfg.MaxFrame || len(frame) > p.cfg.MaxQueued:
		return ErrFrameTooLong
	}
	return p.in.put(frame)
}

// Frames returns the channel of the messages that the child sent, in their
// order: JSON objects and arrays in UTF-8, without line breaks. Each belongs
// to the consumer. While the consumer does not receive, one frame waits and
// nothing more is read; the child then waits in its writes. The channel is
// closed after the last frame: when the child has exited or closed its
// stdout, or at Close, after which frames are dropped.
func (p *Process) Frames() <-chan []byte { return p.frames }

// Done returns a channel that is closed when the process group, the pipes and
// the goroutines are gone. It is closed after that of Frames.
func (p *Process) Done() <-chan struct{} { return p.done }

// Exited reports whether the child has exited.
func (p *Process) Exited() bool {
	select {
	case <-p.exited:
		return true
	default:
		return false
	}
}

// Signalled reports whether the child was sent a signal before it exited.
func (p *Process) Signalled() bool { return p.signals.Load() }

// Err returns how the child ended, such as "exit status 1" or "signal:
// killed", and nil if it exited with status 0 or is not done.
func (p *Process) Err() error {
	select {
	case <-p.done:
	default:
		return nil
	}
	switch {
	case p.waitErr != nil:
		return p.waitErr
	case p.state.Success():
		return nil
	default:
		return errors.New(p.state.String())
	}
}

// Close ends the process and waits until it and its group are gone. It lets the child read
// what is queued, closes its stdin, sends SIGTERM to the process group if the child has not
// exited within Grace, and SIGKILL after Grace again. When the child has exited, other
// processes of the group are killed at once. Frames that were not received are dropped.
//
// Close returns nil however the child ended. It returns [ErrSurvived] if a process could not
// be ended in time; its resources are released when it ends. Close may be called more than
// once.
func (p *Process) Close() error {
	p.abandon()
	late := time.NewTimer(4*p.cfg.Grace + endWithin)
	defer late.Stop()
	select {
	case <-p.done:
		return p.groupErr
	case <-late.C:
		return fmt.Errorf("pid %d: %w", p.pid, ErrSurvived)
	}
}

// abandon drops further frames and starts to end the process.
func (p *Process) abandon() {
	p.dropOnce.Do(func() { close(p.drop) })
	p.begin()
}

// begin starts to end the process.
func (p *Process) begin() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.stopped {
		p.stopped = true
		p.ending.Go(p.shutDown)
	}
}

// supervise is called when the child has exited, by itself or because it was ended, and releases
// its resources. state is nil if the child was not reaped; no other goroutine reaps it.
func (p *Process) supervise(state *os.ProcessState, err error, forget func() bool) {
	defer forget()
	p.state, p.waitErr = state, err
	close(p.exited)
	p.mu.Lock()
	p.stopped = true // from now on only supervise sends signals
	p.mu.Unlock()
	p.ending.Wait()
	// Until the child is reaped, the system does not reuse its id, which is also the id of
	// the group.
	p.in.abort()
	killGroup(p.proc, p.pid)
	if p.state == nil && p.waitErr == nil {
		p.state, p.waitErr = p.proc.Wait()
	}
	p.groupErr = p.awaitGroup()
	// What is in the pipes is read to its end. If a descendant that left the group still
	// holds a pipe, there is no wait for more.
	for _, r := range p.readers {
		defer r.expire(p.cfg.Grace)()
	}
	p.work.Wait()
	closeAll([]*os.File{p.stdout, p.stderr})
	close(p.done)
	if p.cfg.Ended != nil {
		p.cfg.Ended()
	}
}

// shutDown closes stdin, then sends SIGTERM, then SIGKILL, until the child has exited.
func (p *Process) shutDown() {
	p.in.finish()
	if p.exitsInTime() {
		return
	}
	p.in.abort()
	p.signals.Store(true)
	if terminateGroup(p.pid) && p.exitsInTime() {
		return
	}
	killGroup(p.proc, p.pid)
}

// exitsInTime waits for the exit of the child, for one step at most.
func (p *Process) exitsInTime() bool {
	grace := p.cfg.Grace
	if p.cfg.StepNow != nil {
		grace = min(grace, p.cfg.StepNow())
	}
	late := time.NewTimer(grace)
	defer late.Stop()
	select {
	case <-p.exited:
		return true
	case <-late.C:
		return false
	}
}

// awaitGroup waits until the processes of a group that was killed are gone.
func (p *Process) awaitGroup() error {
	late := time.Now().Add(endWithin)
	for pause := 50 * time.Microsecond; groupExists(p.pid); pause = min(2*pause, maxPause) {
		// If the first process of a container does not reap orphans, dead processes stay in
		// the group for ever.
		if pause == maxPause && !groupLives(p.pid) {
			break
		}
		if time.Now().After(late) {
			return fmt.Errorf("process group %d: %w", p.pid, ErrSurvived)
		}
		time.Sleep(pause)
	}
	return nil
}

// Unended reports whether the last line that the child wrote to its stdout has no line end.
func (p *Process) Unended() bool { return p.unended.Load() }

// readFrames begins to read the child's stdout.
func (p *Process) readFrames() {
	s := &splitter{max: p.cfg.MaxFrame, frame: p.deliver, invalid: p.cfg.Invalid, lost: p.cfg.Lost, stray: p.cfg.Stray}
	p.read(p.stdout, func(chunk []byte) {
		select {
		case <-p.drop:
		default:
			s.write(chunk)
			p.unended.Store(s.size > 0 || s.skip)
		}
	}, func() {
		s.end()
		close(p.frames)
		p.begin() // a server that cannot send any more is ended
	})
}

// deliver passes a line to the consumer. The error says why the line is not a message. If the
// consumer of Frames does not receive, deliver blocks until Close or, once the child has exited,
// for Grace.
func (p *Process) deliver(frame []byte) error {
	if p.cfg.Frame != nil {
		return p.cfg.Frame(frame)
	}
	if !utf8.Valid(frame) || !message.IsContainer(frame) {
		return message.ErrSyntax
	}
	select {
	case p.frames <- frame:
		return nil
	case <-p.drop:
		return nil
	case <-p.exited:
	}
	late := time.NewTimer(p.cfg.Grace)
	defer late.Stop()
	select {
	case p.frames <- frame:
	case <-p.drop:
	case <-late.C:
		p.dropOnce.Do(func() { close(p.drop) })
	}
	return nil
}
