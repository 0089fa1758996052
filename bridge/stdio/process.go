package stdio

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

// Sizes of the read buffer, in bytes: what an idle process holds, and what
// one that sends much grows to (the size of a pipe on Linux).
const (
	minRead = 2 << 10
	maxRead = 64 << 10
)

// maxDrain bounds, in bytes, what is read of a pipe once nobody of the group
// can write to it any more: the largest pipe of an unprivileged process.
const maxDrain = 1 << 20

// maxPause is the time between two looks at a group that was killed.
const maxPause = 50 * time.Millisecond

// Process is a running MCP server. Its methods may be called concurrently.
type Process struct {
	cfg    Config
	proc   *os.Process
	pid    int // after Wait proc forgets it
	in     *queue
	stdout *os.File
	stderr *os.File // nil if nobody asked for it
	frames chan []byte

	stop     chan struct{} // closed: the process is to end
	stopOnce sync.Once
	drop     chan struct{} // closed: nobody wants frames any more
	dropOnce sync.Once
	exited   chan struct{} // closed: the child has exited
	state    *os.ProcessState
	waitErr  error
	done     chan struct{} // closed: nothing is left
	groupErr error
	work     sync.WaitGroup
}

// newProcess takes the started child and our ends of its pipes.
func newProcess(cfg Config, proc *os.Process, stdin, stdout, stderr *os.File) *Process {
	return &Process{
		cfg:    cfg,
		proc:   proc,
		pid:    proc.Pid,
		in:     newQueue(stdin, cfg.MaxQueued),
		stdout: stdout,
		stderr: stderr,
		frames: make(chan []byte),
		stop:   make(chan struct{}),
		drop:   make(chan struct{}),
		exited: make(chan struct{}),
		done:   make(chan struct{}),
	}
}

// run starts the goroutines of the process.
func (p *Process) run(ctx context.Context) {
	p.work.Go(func() {
		if p.in.run() != nil {
			p.begin() // a server that reads nothing more is of no use
		}
	})
	p.work.Go(p.readFrames)
	if p.stderr != nil {
		lines := &stderrLines{call: p.cfg.Stderr, spawn: p.work.Go}
		p.work.Go(func() {
			readPipe(p.stderr, lines.write)
			lines.end()
		})
	}
	go func() {
		p.state, p.waitErr = awaitExit(p.proc)
		close(p.exited)
	}()
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
	late := time.NewTimer(5 * p.cfg.Grace)
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
	p.stopOnce.Do(func() { close(p.stop) })
}

// supervise ends the process when asked to, or notices that it has ended, and
// releases what belongs to it. It alone sends signals and reaps.
func (p *Process) supervise(forget func() bool) {
	defer forget()
	select {
	case <-p.exited:
	case <-p.stop:
		p.shutDown()
	}
	// The child has exited. As long as it is not reaped its number, which is
	// that of the group, is not given to another.
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
	<-p.exited
}

// exitsInTime waits for the exit of the child, for Grace at most.
func (p *Process) exitsInTime() bool {
	late := time.NewTimer(p.cfg.Grace)
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
	late := time.Now().Add(p.cfg.Grace)
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
	buf := make([]byte, minRead)
	read, left := io.Reader(f), -1
	for left != 0 {
		n, err := read.Read(buf)
		take(buf[:n])
		if left > 0 {
			left = max(left-n, 0)
		}
		if n == len(buf) && n < maxRead {
			buf = make([]byte, min(2*n, maxRead))
		}
		switch {
		case err == nil:
		case left < 0 && errors.Is(err, os.ErrDeadlineExceeded) && f.SetReadDeadline(time.Time{}) == nil:
			read, left = readNow{f}, maxDrain
		default:
			return
		}
	}
}
