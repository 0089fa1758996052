package stdio

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"
)

// maxRead is how much is read at once, in bytes: the size of a pipe on Linux.
const maxRead = 64 << 10

// maxDrain bounds, in bytes, what is read of a pipe once nobody of the group
// can write to it any more: the largest pipe of an unprivileged process.
const maxDrain = 1 << 20

// maxPause is the time between two looks at a group that was killed.
const maxPause = 50 * time.Millisecond

// endWithin bounds the time that the system takes to end what was killed, which has
// nothing to do with how long a server is given to end by itself.
const endWithin = 5 * time.Second

// Process is a running MCP server. Its methods may be called concurrently.
type Process struct {
	cfg    Config
	proc   *os.Process
	pid    int // after Wait proc forgets it
	in     *queue
	stdout *os.File
	stderr *os.File // nil if nobody asked for it
	frames chan []byte

	drop     chan struct{} // closed: nobody wants frames any more
	dropOnce sync.Once
	exited   chan struct{} // closed: the child has exited
	state    *os.ProcessState
	waitErr  error
	done     chan struct{} // closed: nothing is left
	groupErr error
	work     sync.WaitGroup

	mu      sync.Mutex
	ending  sync.WaitGroup // of shutDown
	stopped bool           // the process is being ended, or has exited
}

// newProcess takes the started child and our ends of its pipes.
func newProcess(cfg Config, proc *os.Process, stdin, stdout, stderr *os.File) *Process {
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
	// A server that reads nothing more is of no use.
	p.in = newQueue(stdin, cfg.MaxQueued, p.work.Go, p.begin)
	return p
}

// run starts the goroutines of the process.
func (p *Process) run(ctx context.Context) {
	p.work.Go(p.readFrames)
	if p.stderr != nil {
		lines := &stderrLines{call: p.cfg.Stderr, spawn: p.work.Go}
		p.work.Go(func() {
			readPipe(p.stderr, lines.write)
			lines.end()
		})
	}
	go p.supervise(context.AfterFunc(ctx, p.abandon))
}

// Pid returns the id of the child and, on Unix, of its process group. Once
// the process is done the system may give the number to another.
func (p *Process) Pid() int { return p.pid }

// Send queues one JSON message, with or without line breaks between its
// tokens, and does not wait for the child. The frame may be reused at once. A
// frame that was accepted is lost if the child ends before it reads it. The
// frame has to be valid JSON: only then it is certain that no string has a
// raw line break, and that what becomes a space had no meaning.
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

// Close ends the process and waits until nothing of it is left: it lets the
// child read what is queued, closes its stdin, sends SIGTERM to the process
// group if the child has not exited within Grace, and SIGKILL after Grace
// again. What is left of the group when the child has exited is killed at
// once. Frames that were not received are dropped. It returns nil however the
// child ended, and [ErrSurvived] if the system does not let it end; the
// remains are then released when it does. It may be called more than once.
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

// abandon drops further frames and starts the end.
func (p *Process) abandon() {
	p.dropOnce.Do(func() { close(p.drop) })
	p.begin()
}

// begin starts the end of the process.
func (p *Process) begin() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.stopped {
		p.stopped = true
		p.ending.Go(p.shutDown)
	}
}

// supervise waits until the child has exited, by itself or because it was asked to,
// and releases what belongs to it. It alone reaps.
func (p *Process) supervise(forget func() bool) {
	defer forget()
	p.state, p.waitErr = awaitExit(p.proc)
	close(p.exited)
	p.mu.Lock()
	p.stopped = true // no signals from now on but those of supervise
	p.mu.Unlock()
	p.ending.Wait()
	// As long as the child is not reaped its number, which is that of the group, is
	// not given to another.
	p.in.abort()
	killGroup(p.proc, p.pid)
	if p.state == nil && p.waitErr == nil {
		p.state, p.waitErr = p.proc.Wait()
	}
	p.groupErr = p.awaitGroup()
	// What was written is read to its end. A descendant that left the group
	// and still holds a pipe is not waited for.
	for _, f := range []*os.File{p.stdout, p.stderr} {
		if f != nil && f.SetReadDeadline(time.Now()) != nil {
			late := time.AfterFunc(p.cfg.Grace, func() { _ = f.Close() })
			defer late.Stop()
		}
	}
	p.work.Wait()
	closeAll([]*os.File{p.stdout, p.stderr})
	close(p.done)
	if p.cfg.Ended != nil {
		p.cfg.Ended()
	}
}

// shutDown asks the child to end, less and less kindly, until it has exited.
func (p *Process) shutDown() {
	p.in.finish()
	if p.exitsInTime() {
		return
	}
	p.in.abort()
	if terminateGroup(p.pid) && p.exitsInTime() {
		return
	}
	killGroup(p.proc, p.pid)
}

// exitsInTime waits for the exit of the child, for Grace at most.
func (p *Process) exitsInTime() bool {
	grace := p.cfg.Grace
	if p.cfg.Hurry != nil {
		grace = min(grace, p.cfg.Hurry())
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

// awaitGroup waits for the end of a group that was killed: a killed process
// needs a moment.
func (p *Process) awaitGroup() error {
	late := time.Now().Add(endWithin)
	for pause := 50 * time.Microsecond; groupExists(p.pid); pause = min(2*pause, maxPause) {
		// Dead processes stay in the group for good if the first process of a
		// container does not reap the orphans it is given.
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

// readFrames reads the child's stdout to its end.
func (p *Process) readFrames() {
	s := &splitter{max: p.cfg.MaxFrame, frame: p.deliver, invalid: p.cfg.Invalid, lost: p.cfg.Lost}
	readPipe(p.stdout, func(chunk []byte) {
		select {
		case <-p.drop:
		default:
			s.write(chunk)
		}
	})
	s.end()
	close(p.frames)
	p.begin() // a server that can say nothing more is of no use
}

// deliver hands a frame to the consumer. A consumer that is not there is
// waited for until Close or, once the child has exited, for Grace.
func (p *Process) deliver(frame []byte) {
	if p.cfg.Frame != nil {
		p.cfg.Frame(frame)
		return
	}
	select {
	case p.frames <- frame:
		return
	case <-p.drop:
		return
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
}

// readPipe hands on what is read from f, to its end or until the read
// deadline; then what is in the pipe is read, and nothing waited for.
func readPipe(f *os.File, take func(chunk []byte)) {
	err := readAsItComes(f, take)
	if !errors.Is(err, os.ErrDeadlineExceeded) || f.SetReadDeadline(time.Time{}) != nil {
		return
	}
	buf := make([]byte, maxRead)
	for left := maxDrain; left > 0; {
		n, err := readNow{f}.Read(buf)
		if err != nil {
			return
		}
		take(buf[:n])
		left -= n
	}
}
