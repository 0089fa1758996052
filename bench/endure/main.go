// Command endure runs Caddy for a long time with everything that comes and goes, and shows that
// what Caddy holds stays the same.
//
// It starts a Caddy with endpoints of each kind: a Streamable HTTP server that asks for a login
// and has event streams; a program (stdio), also for old clients (legacy_sse) and stateless ones;
// a server of HTTP+SSE; a server that dies with all its connections and comes back; an endpoint
// with authorize. Then it sends, at -rate things a second: messages, challenges and metadata;
// streams that clients leave before the header, after the first event, in the middle; uploads
// whose client goes; sessions that are deleted, left, or whose program dies or hangs; floods of
// good and forged tokens. Meanwhile the configuration is reloaded, with an endpoint that every
// other one has, and the mortal server dies once a cycle. Sessions and streams that were opened
// at the start stay in use until the end. Every answer is judged.
//
// At the end of each cycle what comes and goes pauses, until Caddy holds the same for a while.
// Then a row of the table is measured: resident memory, the heap after a collection, goroutines,
// descriptors, child processes. "most" is the highest value under the load of that cycle. After a
// warm-up, the first quarter of the cycles, a straight line is fitted to each column (least
// squares). Caddy is flat if what the line grows by, less twice its standard error, is within a
// bound over all the time measured: 2 goroutines, 2 descriptors, no process, 512 KiB of heap,
// 5 % of the resident memory. A longer run finds slower leaks, because the bounds stay the same.
//
// The program ends with exit status 1 if Caddy was not flat, if an answer was wrong, or if
// anything is left at the end. -svg writes the table as a drawing. It reads /proc, so it needs
// Linux.
//
//	go run ./bench/endure -for 1h -svg endure.svg
//	go run ./bench/endure -for 40s -cycle 2s -reload 1s
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"syscall"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/benchkit"
)

type options struct {
	caddy         string
	lasting       time.Duration
	cycle, reload time.Duration
	rate          float64
	svg           string
}

func init() {
	// Children are told to end with the thread that started them.
	runtime.LockOSThread()
}

func main() {
	if os.Getenv(benchkit.ProgramMode) != "" {
		benchkit.Program()
		return
	}
	var o options
	flag.StringVar(&o.caddy, "caddy", "", "Caddy `binary` (default: built from ./cmd/caddy)")
	flag.DurationVar(&o.lasting, "for", time.Hour, "how `long` to run; it takes at least six cycles")
	flag.DurationVar(&o.cycle, "cycle", time.Minute, "`time` under load before each row of the table")
	flag.DurationVar(&o.reload, "reload", 10*time.Second, "`time` between two reloads")
	flag.Float64Var(&o.rate, "rate", 20, "`number` of things that are begun each second")
	flag.StringVar(&o.svg, "svg", "", "draw the table into this `file`")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, &o)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "endure:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o *options) error {
	if o.cycle <= 0 || o.reload <= 0 || o.rate <= 0 {
		return errors.New("-cycle, -reload and -rate have to be positive")
	}
	dir, err := os.MkdirTemp("", "endure-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if o.caddy, err = benchkit.Build(ctx, o.caddy, dir); err != nil {
		return err
	}
	s, err := newSite(ctx, o.caddy, dir)
	if err != nil {
		return err
	}
	defer s.close()
	l, err := newLoad(ctx, s, o)
	if err != nil {
		return err
	}
	rows, err := endure(ctx, o, s, l)
	if err != nil {
		return err
	}
	if err := l.leave(ctx); err != nil {
		l.Fail("left at the end", "%v", err)
	}
	if took, err := s.Terminate(grace + endMargin); err != nil {
		l.Fail("SIGTERM", "%v", err)
	} else {
		fmt.Printf("\nended %.1f s after SIGTERM\n", took.Seconds())
	}
	if log := s.Logged("panic"); log != "" {
		l.Fail("panic", "%s", log)
	}
	if o.svg != "" {
		if err := os.WriteFile(o.svg, draw(rows), 0o600); err != nil {
			return err
		}
	}
	l.print()
	return errors.Join(judge(rows), l.failures())
}

// endure runs cycle after cycle and prints the rows of the table.
func endure(ctx context.Context, o *options, s *site, l *load) ([]row, error) {
	var rows []row
	started := time.Now()
	expected := max(1, int(o.lasting/(o.cycle+settling)))
	every := (expected + mostRows - 1) / mostRows
	show := newProgress(started, o.lasting)
	printHeading()
	for n := 1; ; n++ {
		most, err := l.cycle(ctx, show)
		if err != nil {
			return nil, err
		}
		show.say("waits until Caddy holds the same for a while")
		quiet, err := s.settle(ctx)
		if err != nil {
			return nil, err
		}
		r := row{at: time.Since(started), quiet: quiet, most: most, begun: l.begun.Load(), reloads: s.Done()}
		rows = append(rows, r)
		over := r.at+o.cycle > o.lasting && len(rows) >= fewestRows
		if show.clear(); n%every == 0 || over {
			r.print()
		}
		if over {
			return rows, nil
		}
	}
}
