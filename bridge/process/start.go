// Package process runs one MCP server as a child process and speaks JSON-RPC
// with it over its stdin and stdout, one message a line (MCP specification,
// "stdio" transport). It moves lines and ends processes. Of a message it only checks that it
// is one.
//
// On Unix the child leads a session and a process group of its own, without a terminal. The
// whole group is ended, with the processes that the child has started. A descendant that makes
// a session of its own (setsid, as daemons do) leaves the group and is not ended; if it still
// holds a pipe, there is no wait for it. On Windows only the child is killed, not its
// descendants (that would need a job object), and there is no step between closing stdin and
// killing.
//
// If this program is killed the child reads EOF from stdin, which in MCP means that it must
// exit. On Linux it also gets SIGTERM (PR_SET_PDEATHSIG), unless it is a program that changes
// its user; processes that it has started do not get it.
//
// The child has the descriptors 0, 1 and 2 and no others: the first Start marks those that
// this program inherited as close-on-exec. It inherits limits, umask and, if no other user is
// set, ambient capabilities.
package process

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"
)

// Defaults of [Config].
const (
	DefaultMaxFrame  = 16 << 20
	DefaultMaxQueued = 16 << 20
	DefaultGrace     = 5 * time.Second
)

// Reasons why a line of the child's stdout was skipped; the closed set that
// Config.Invalid is called with.
const (
	InvalidTooLong = "too_long" // longer than Config.MaxFrame
	InvalidUTF8    = "not_utf8"
	InvalidJSON    = "not_json" // not one JSON object or array
	InvalidFraming = "framing"  // a message that is framed by Content-Length
)

// Errors of [Process.Send] and [Process.Close].
var (
	// ErrClosed says that the process has ended or is being ended, or that
	// it has closed its stdin.
	ErrClosed = errors.New("process is closed")
	// ErrQueueFull says that the child does not read fast enough. Frames
	// that were accepted before stay queued.
	ErrQueueFull = errors.New("queue to the process is full")
	// ErrFrameTooLong says that a frame is longer than Config.MaxFrame or
	// Config.MaxQueued, so that it can never be sent.
	ErrFrameTooLong = errors.New("frame is too long")
	// ErrEmptyFrame says that a frame has no bytes.
	ErrEmptyFrame = errors.New("frame is empty")
	// ErrSurvived says that a process of the group still exists after it
	// was killed, or could not be killed.
	ErrSurvived = errors.New("process could not be ended")
)

// Config says what to run and within which bounds. Its functions are called from goroutines
// of the process, one call of each at a time. The process is not done before they return. Only
// Ended may call [Process.Close].
type Config struct {
	// Command is the program and its arguments; no shell is involved. The
	// program is an absolute path, or a name without a slash that is looked
	// up in the PATH of Env, not in that of this program, and in absolute
	// directories alone. On Windows it is an .exe or .com file. Required.
	Command []string

	// Env is the whole environment, as NAME=value; nothing is inherited. Of
	// several values for a name the last counts. Windows adds SYSTEMROOT.
	// Default: empty.
	Env []string

	// Dir is the working directory. Default: that of this program.
	Dir string

	// User switches user and groups on Unix, which takes root (CAP_SETUID,
	// CAP_SETGID); elsewhere it is an error. Default: no switch.
	User *Credential

	// MaxFrame bounds a message in either direction, in bytes, without the
	// newline. Default: 16 MiB.
	MaxFrame int

	// MaxQueued bounds the messages that wait for a child that does not
	// read, in bytes. Default: 16 MiB.
	MaxQueued int

	// Grace is the time between the steps that end the process: close stdin,
	// SIGTERM, SIGKILL. Once the child has exited, it is also how long each
	// of its last frames waits for the consumer. Default: 5 s.
	Grace time.Duration

	// StepNow is called before each of these steps and returns its time, if that may
	// be shorter than Grace by then. Default: Grace.
	StepNow func() time.Duration

	// Stderr gets the lines of the child's stderr without their ends, cut to
	// 4 KiB, 10 a second after a burst of 50; empty lines are left out.
	// dropped is the number of lines skipped since the call before. The last
	// call has a nil line if lines were skipped at the end. If the function is
	// slow, lines are skipped, and the child does not wait. The line is
	// what the child wrote, in any encoding. Default: stderr is discarded.
	Stderr func(line []byte, dropped int)

	// Frame is called with each line of the child's stdout that is not empty and not
	// too long, in place of [Process.Frames]. The line belongs to it. It returns the
	// error of package message if the line is not a message. Stdout is not read before
	// it returns. Default: lines that are JSON objects or arrays go to Frames.
	Frame func(line []byte) error

	// Ended is called once [Process.Done] is closed. Default: no call.
	Ended func()

	// Invalid is called for each line of the child's stdout that was skipped
	// because it is not a message, with one of the Invalid constants. Stdout is
	// not read before it returns. Default: no call.
	Invalid func(reason string)

	// Stray is called instead of Lost with each such line that is not too long. The line
	// belongs to it, and cause is the error of Frame. For a message that is framed by
	// Content-Length it is called with the field, an empty line, and the beginning of the
	// message. Stdout is not read before it returns. Default: Lost is called.
	Stray func(line []byte, cause error)

	// Lost is called at the end of each such line with its beginning and its
	// end, up to 1 KiB of each, which are valid during the call. The request
	// that waits for the message can then be answered. Stdout is not read
	// before it returns. Default: no call.
	Lost func(begin, end []byte)
}

// Credential is the user a child runs as. It has no groups but these.
type Credential struct {
	UID    uint32
	GID    uint32
	Groups []uint32 // supplementary groups; default: none
}

// Start runs the command. When ctx ends, the process is closed. The caller must call
// [Process.Close], even if the process has ended by itself. If Start returns an error, no
// process and no file is left. Errors name the program and the directory, but no argument and
// no value of the environment.
func Start(ctx context.Context, cfg Config) (*Process, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	cmd, err := cfg.prepare()
	if err != nil {
		return nil, err
	}
	p, err := spawn(cmd, cfg)
	if err != nil {
		return nil, fmt.Errorf("starting %q: %w", cfg.Command[0], err)
	}
	p.run(ctx)
	return p, nil
}

// prepare sets the defaults, checks the configuration and builds the command.
func (c *Config) prepare() (*exec.Cmd, error) {
	if c.MaxFrame <= 0 {
		c.MaxFrame = DefaultMaxFrame
	}
	if c.MaxQueued <= 0 {
		c.MaxQueued = DefaultMaxQueued
	}
	if c.Grace <= 0 {
		c.Grace = DefaultGrace
	}
	if c.Invalid == nil {
		c.Invalid = func(string) {}
	}
	for i, kv := range c.Env {
		if strings.IndexByte(kv, '=') < 1 || strings.IndexByte(kv, 0) >= 0 {
			return nil, fmt.Errorf("environment entry %d: not of the form NAME=value", i)
		}
	}
	path, err := lookUp(c.Command, c.Env, c.User)
	if err != nil {
		return nil, err
	}
	if c.Dir != "" {
		if info, err := os.Stat(c.Dir); err != nil {
			return nil, fmt.Errorf("working directory: %w", err)
		} else if !info.IsDir() {
			return nil, fmt.Errorf("working directory: %q is not a directory", c.Dir)
		}
	}
	attr, err := sysProcAttr(c.User)
	if err != nil {
		return nil, err
	}
	env := make([]string, len(c.Env)) // not nil: os/exec inherits on nil
	copy(env, c.Env)
	return &exec.Cmd{Path: path, Args: c.Command, Env: env, Dir: c.Dir, SysProcAttr: attr}, nil
}

// spawn makes the pipes and starts the command.
func spawn(cmd *exec.Cmd, cfg Config) (p *Process, err error) {
	var ours, theirs []*os.File
	defer func() {
		closeAll(theirs)
		if err != nil {
			closeAll(ours)
		}
	}()
	pipe := func() (r, w *os.File) {
		if err == nil {
			r, w, err = os.Pipe()
		}
		return r, w
	}
	stdin, inW := pipe()
	outR, stdout := pipe()
	ours, theirs = []*os.File{inW, outR}, []*os.File{stdin, stdout}
	var errR, stderr *os.File
	if cfg.Stderr != nil {
		errR, stderr = pipe()
		ours, theirs = append(ours, errR), append(theirs, stderr)
	}
	if err != nil {
		return nil, err
	}
	if cfg.User != nil {
		giveAway(theirs, cfg.User)
	}
	sealDescriptors()
	cmd.Stdin, cmd.Stdout = stdin, stdout
	if stderr != nil { // else os/exec opens the null device
		cmd.Stderr = stderr
	}
	if err := startCommand(cmd); err != nil {
		return nil, err
	}
	return newProcess(cfg, cmd.Process, inW, outR, errR), nil
}

// closeAll closes files. Some may be nil.
func closeAll(files []*os.File) {
	for _, f := range files {
		_ = f.Close()
	}
}
