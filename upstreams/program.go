package upstreams

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/mcp"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/process"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/safetext"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/stats"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/upstream"
)

const (
	// lastLines is how many lines of stderr are told again when a program ends, and
	// lastLine bounds each, in bytes.
	lastLines, lastLine = 5, 256
)

// program is a process that speaks MCP with one client. Its end is reported after all that it has
// written.
type program struct {
	*process.Process
	ending *upstream.Ending
	logger func() *zap.Logger
	tell   func(stats.Notice) // remembers a notice for the status
	exited func(stats.Exit)   // remembers its end for the status
	// secrets are the values of its environment that come from Caddy's or from files.
	secrets *safetext.Secrets
	begun   time.Time
	wrote   atomic.Bool // something to its stdout

	mu    sync.Mutex
	lines []string        // the last of its stderr
	why   stats.ExitCause // it is ended by Caddy; empty: it is not
	how   string          // it has ended; empty: it has not
}

// start starts the process.
func (p *program) start(cfg process.Config, to upstream.Receiver) (err error) {
	started := make(chan struct{})
	defer close(started)
	cfg.Stderr = p.takeStderr
	cfg.Frame = func(line []byte) error {
		p.wrote.Store(true)
		all, err := message.ParseAll(line, message.MaxBatch)
		for _, m := range all {
			to.Message(m)
		}
		return err
	}
	cfg.Stray = func(text []byte, cause error) {
		p.wrote.Store(true)
		to.Stray(text, cause)
	}
	cfg.Lost = func(begin, end []byte) {
		p.wrote.Store(true)
		to.Stray(message.Cut(begin, end), message.ErrSyntax)
	}
	cfg.Ended = func() {
		<-started
		p.tellEnd()
		p.ending.End()
	}
	p.Process, err = process.Start(context.Background(), cfg)
	return err
}

// takeStderr takes a line of the program's stderr.
func (p *program) takeStderr(line []byte, dropped int) {
	text := p.secrets.Output(string(line))
	p.logger().Info("server says on stderr", zap.String("line", text), zap.Int("dropped", dropped))
	if text == "" {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.lines) == lastLines {
		p.lines = append(p.lines[:0], p.lines[1:]...)
	}
	p.lines = append(p.lines, safetext.Cut(text, lastLine))
}

// NoteEnd implements [upstream.Exiting].
func (p *program) NoteEnd(why stats.ExitCause) {
	if p.Exited() {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.why == "" {
		p.why = why
	}
}

// HowEnded implements [upstream.Exiting].
func (p *program) HowEnded() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.how
}

// tellEnd logs how the program has ended, and why.
func (p *program) tellEnd() {
	status := "exit status 0"
	if err := p.Err(); err != nil {
		status = err.Error()
	}
	p.mu.Lock()
	exit := stats.Exit{Cause: causeOf(p.why, status, p.Signalled()), Status: status, After: time.Since(p.begun), Stderr: p.lines}
	p.how, p.lines = status, nil
	p.mu.Unlock()
	exit.Advice = adviceForExit(exit.Cause, status)
	fields := []zap.Field{
		zap.String("cause", string(exit.Cause)), zap.String("status", status), zap.Duration("after", exit.After),
		zap.Bool("wrote_to_stdout", p.wrote.Load()), zap.Strings("stderr", exit.Stderr),
	}
	if !exit.Cause.IsTrouble() {
		p.logger().Info("program has ended", fields...)
		return
	}
	said := "program was ended"
	if exit.Cause.ByItself() {
		said = "program has ended by itself"
	}
	p.logger().Warn(said, append(fields, zap.String("advice", exit.Advice))...)
	p.tell(stats.Notice{Message: said, Subject: string(exit.Cause) + ", " + status, Advice: exit.Advice})
	p.exited(exit)
}

// causeOf returns the reason why a program has ended. why is the reason for which Caddy has ended
// it, if it has.
func causeOf(why stats.ExitCause, status string, signalled bool) stats.ExitCause {
	switch {
	case why != "" && why != stats.ExitHungUp:
		return why
	case signalled: // it could not be spoken to any more
		return stats.ExitHungUp
	case status == "exit status 0":
		return stats.ExitDone
	case strings.Contains(status, "signal: killed"), strings.HasSuffix(status, "exit status 137"):
		return stats.ExitKilled
	}
	return stats.ExitCrashed
}

// adviceForExit returns what an operator can do about a program that has ended, or that Caddy had
// to end.
func adviceForExit(cause stats.ExitCause, status string) string {
	switch cause {
	case stats.ExitKilled:
		return "look whether the system, or the limit of its container or unit, ran out of memory (dmesg, journalctl -k), or something else killed it"
	case stats.ExitNoAnswer:
		return "if it has to be downloaded, install it first; if not, write the program an initialize by hand, and look at what it answers"
	case stats.ExitRejected:
		return "look at the error that its client got, and at the last lines of its stderr"
	case stats.ExitNotMCP:
		return "the program does not speak MCP over its stdin and stdout; look for another mode of it, or another program"
	case stats.ExitDone:
		return "an MCP server stays until its input ends; look whether it needs another argument, such as stdio, to serve"
	}
	if strings.HasSuffix(status, "exit status 126") || strings.HasSuffix(status, "exit status 127") {
		return "the program could not start another one: look at its PATH and at the last lines of its stderr"
	}
	return "run the command by hand as the same user, with the same environment, and look at the last lines of its stderr"
}

// Silence implements [upstream.Silent]. It describes what a program that does not answer has
// written so far.
func (p *program) Silence() string {
	if p.Unended() {
		return "the program writes to its stdout, but no line end; MCP wants one (LF) behind each message"
	}
	if p.wrote.Load() {
		return "the program took the message, and wrote no answer to it"
	}
	return "the program has written nothing to its stdout yet; it may still be starting, or downloading what it needs; if not, it may wait for another framing, such as Content-Length, or for input of another kind"
}

// AfterDone has f called once the process has ended.
func (p *program) AfterDone(f func()) { p.ending.AfterDone(f) }

// Done implements [upstream.Peer].
func (p *program) Done() <-chan struct{} { return p.ending.Done() }

// Close implements [upstream.Peer].
func (p *program) Close() error { return p.Process.Close() }

// Send implements [upstream.Peer]. Nothing of the client's request reaches the program but the
// message and its trace, because the operator decides what a process is started with.
func (p *program) Send(from *http.Request, m message.Message) error {
	if from != nil {
		m = mcp.CarryTrace(from.Header, m)
	}
	return p.Process.Send(m.Raw)
}
