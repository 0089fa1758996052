// Command sessions proves that the programs of stdio endpoints come and go with their
// sessions, and that nothing of them is left.
//
// It starts a Caddy with two stdio endpoints, of which the second is in every other
// configuration only, and reloads it every -every. Meanwhile -sessions sessions are
// begun, used and left in turn by DELETE, with a request pending, with a program that
// is killed in a request, with a program that has started another one, and by never
// coming back. A few sessions of the first endpoint are used from before the first
// reload until after the last: their programs have to stay the same. Each request has
// to be answered; those of a program that is killed or dropped with an error. The
// programs of the second endpoint have to end with the configuration that drops it.
//
// Goroutines, descriptors, children and heap of Caddy are compared with those after a
// warm-up of the same kind. More than 2 goroutines, 2 descriptors, 1 MiB of heap or any
// child is a leak.
//
// At the end Caddy gets SIGTERM while sessions are open, one of them with a program that
// takes no notice of it; and another Caddy gets SIGKILL. No process may be left of
// either.
//
// The program ends with exit status 1 if anything is lost, wrong or left. It reads
// /proc, so it needs Linux.
//
//	go run ./bench/sessions
//	go run ./bench/sessions -sessions 100 -every 300ms
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"runtime"
	"sync"
	"syscall"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/benchkit"
)

const (
	idle            = 2 * time.Second // a session that nobody comes back to
	grace           = 10 * time.Second
	goroutineMargin = 2
	descMargin      = 2
	heapMargin      = 1024 // KiB
	watchers        = 5
)

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
	flag.IntVar(&o.sessions, "sessions", 1000, "sessions to begin and leave")
	flag.IntVar(&o.workers, "workers", 8, "sessions at one time")
	flag.DurationVar(&o.every, "every", time.Second, "`time` between two reloads")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, &o)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "sessions:", err)
		os.Exit(1)
	}
}

type options struct {
	caddy             string
	sessions, workers int
	every             time.Duration
}

// tally counts what became of sessions.
type tally struct {
	mu     sync.Mutex
	counts map[string]int
	errs   []error
}

func (t *tally) count(what string, n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.counts[what] += n
}

func (t *tally) fail(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.errs = append(t.errs, fmt.Errorf(format, args...))
}

func run(ctx context.Context, o *options) error {
	dir, err := os.MkdirTemp("", "sessions-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if o.caddy, err = benchkit.Build(ctx, o.caddy, dir); err != nil {
		return err
	}
	c, err := startCaddy(ctx, o.caddy, dir)
	if err != nil {
		return err
	}
	defer c.Kill()
	t := &tally{counts: make(map[string]int)}
	warm := &options{sessions: min(o.sessions, 50), workers: o.workers, every: min(o.every, 300*time.Millisecond)}
	churn(ctx, warm, c, t)
	before, err := settle(ctx, c, nil)
	if err != nil {
		return err
	}
	t.counts = make(map[string]int)
	started := time.Now()
	churn(ctx, o, c, t)
	took := time.Since(started)
	after, err := settle(ctx, c, &before)
	if err != nil {
		return err
	}
	fmt.Printf("%.0f s under load\n", took.Seconds())
	for what, n := range t.counts {
		fmt.Printf("%8d  %s\n", n, what)
	}
	fmt.Printf("\n%-16s %8s %8s\n", "", "before", "after")
	for _, row := range []struct {
		name          string
		before, after int
		margin        int
	}{
		{"goroutines", before.Goroutines, after.Goroutines, goroutineMargin},
		{"descriptors", before.Descriptors, after.Descriptors, descMargin},
		{"children", before.Children, after.Children, 0},
		{"heap, KiB", before.Heap, after.Heap, heapMargin},
		{"resident, KiB", before.RSS, after.RSS, after.RSS},
	} {
		fmt.Printf("%-16s %8d %8d\n", row.name, row.before, row.after)
		if row.after > row.before+row.margin {
			t.fail("%s leaked: %d more", row.name, row.after-row.before)
		}
	}
	fmt.Println()
	terminate(ctx, c, t)
	if again, err := startCaddy(ctx, o.caddy, dir); err != nil {
		t.fail("starting caddy again: %w", err)
	} else {
		killed(ctx, again, t)
	}
	if len(t.errs) > 0 {
		return errors.Join(t.errs[:min(len(t.errs), 20)]...)
	}
	fmt.Println("nothing was lost, nothing is left")
	return nil
}

// churn begins and leaves sessions while it reloads.
func churn(ctx context.Context, o *options, c *caddy, t *tally) {
	client := &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 100}}
	defer client.CloseIdleConnections()
	working, stop := context.WithCancel(ctx)
	var reloading, watching, work sync.WaitGroup
	reloading.Go(func() {
		tick := time.NewTicker(o.every)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				if err := c.reload(ctx, 1); err != nil {
					t.fail("reload: %w", err)
				}
				t.count("reloads", 1)
			case <-working.Done():
				return
			}
		}
	})
	for range watchers {
		watching.Go(func() { watch(ctx, working, c, client, t) })
	}
	next := make(chan int)
	for range o.workers {
		work.Go(func() {
			for n := range next {
				leave(ctx, c, client, t, n)
			}
		})
	}
	for n := range o.sessions {
		if ctx.Err() != nil {
			break
		}
		next <- n
	}
	close(next)
	work.Wait()
	stop()
	reloading.Wait()
	watching.Wait()
}

// watch uses one session for as long as there is load.
func watch(ctx, working context.Context, c *caddy, client *http.Client, t *tally) {
	s, a, err := benchkit.Begin(ctx, client, c.Site, kept)
	if s == nil {
		t.fail("a session to keep: %d %.200s %w", a.Status, a.Body, err)
		return
	}
	defer func() { t.count("requests sent again, closed around a reload", s.Retried) }()
	for n := 0; ; n++ {
		pid, a, err := s.Call(ctx, "")
		if pid != s.PID {
			t.fail("a session that is kept: after %d calls %d %.200s %w", n, a.Status, a.Body, err)
			return
		}
		t.count("calls of sessions that are kept", 1)
		select {
		case <-working.Done():
			end(ctx, s, t)
			return
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// end deletes a session, and waits for its program's end.
func end(ctx context.Context, s *benchkit.Session, t *tally) {
	// An endpoint that a reload has dropped answers as Caddy does where nothing is.
	if a, err := s.Ask(ctx, http.MethodDelete, ""); err != nil || a.Status != http.StatusNoContent && a.Status != http.StatusNotFound && !(s.Path == dropped && a.Failed()) {
		t.fail("DELETE: %d %.200s %v", a.Status, a.Body, err)
	}
	if err := benchkit.WaitGone(ctx, grace, s.PID); err != nil {
		t.fail("after DELETE: %w", err)
	}
}

// leave begins session n and leaves it.
func leave(ctx context.Context, c *caddy, client *http.Client, t *tally, n int) {
	path := kept
	if n%3 == 2 {
		path = dropped
	}
	s, a, err := benchkit.Begin(ctx, client, c.Site, path)
	for tries := 0; s == nil && err == nil && path == dropped && (a.Failed() || a.Body == "") && tries < 200; tries++ {
		time.Sleep(50 * time.Millisecond) // it is not there now
		s, a, err = benchkit.Begin(ctx, client, c.Site, path)
	}
	switch {
	case err != nil:
		t.fail("initialize: %w", err)
		return
	case s == nil:
		t.fail("initialize: %d %.200s", a.Status, a.Body)
		return
	}
	t.count("sessions begun on "+path, 1)
	defer func() { t.count("requests sent again, closed around a reload", s.Retried) }()
	pids := []int{s.PID}
	switch n % 5 {
	case 0:
		end(ctx, s, t)
	case 1, 2: // a request is pending; its program is killed, or its session deleted
		done := make(chan benchkit.Answer, 1)
		go func() {
			a, err := s.Ask(ctx, http.MethodPost, `{"jsonrpc":"2.0","id":"h","method":"x","params":{"do":"hang"}}`)
			if err != nil {
				t.fail("a pending request: %w", err)
			}
			done <- a
		}()
		if n%5 == 1 {
			if p, err := os.FindProcess(s.PID); err == nil {
				_ = p.Kill()
			}
		} else {
			other := *s
			end(ctx, &other, t)
		}
		if a := <-done; !a.Failed() {
			t.fail("a pending request got %d %.200s", a.Status, a.Body)
		}
		t.count("pending requests failed", 1)
	case 3:
		if pid, a, _ := s.Call(ctx, "fork"); pid != 0 {
			pids = append(pids, pid)
		} else if path == kept || !a.Failed() && a.Body != "" {
			t.fail("fork: %d %.200s", a.Status, a.Body)
		}
		end(ctx, s, t)
	case 4: // nobody comes back
	}
	if err := benchkit.WaitGone(ctx, idle+grace, pids...); err != nil {
		t.fail("a session that was left (way %d): %w", n%5, err)
	}
}

// settle loads a configuration without the second endpoint and waits until Caddy holds
// no more than before (nil: any), and no other than a while ago.
func settle(ctx context.Context, c *caddy, before *benchkit.Usage) (u benchkit.Usage, err error) {
	if err := c.reload(ctx, 2-c.config.Load()%2); err != nil {
		return u, err
	}
	var last benchkit.Usage
	same := 0
	_ = benchkit.Poll(ctx, time.Minute, func() error {
		if u, err = c.Measure(ctx); err != nil {
			return err
		}
		if same++; u.Goroutines != last.Goroutines || u.Descriptors != last.Descriptors {
			last, same = u, 0
		}
		if same < 20 || u.Children > 0 || before != nil && (u.Goroutines > before.Goroutines+goroutineMargin || u.Descriptors > before.Descriptors+descMargin) {
			return errors.New("it is not over")
		}
		return nil
	})
	return u, errors.Join(err, ctx.Err()) // what is too much is in the report
}

// open begins sessions, some with other processes.
func open(ctx context.Context, c *caddy, client *http.Client, t *tally, what ...string) (pids []int) {
	for _, do := range what {
		s, a, err := benchkit.Begin(ctx, client, c.Site, kept)
		if s == nil {
			t.fail("initialize: %d %.200s %w", a.Status, a.Body, err)
			continue
		}
		pid, a, err := s.Call(ctx, do)
		if pid == 0 {
			t.fail("%s: %d %.200s %w", do, a.Status, a.Body, err)
		}
		pids = append(pids, s.PID, pid)
	}
	return pids
}

// terminate ends Caddy in the middle of sessions.
func terminate(ctx context.Context, c *caddy, t *tally) {
	client := &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	pids := open(ctx, c, client, t, "", "fork", "stubborn")
	s, _, _ := benchkit.Begin(ctx, client, c.Site, kept)
	if s != nil {
		go func() { _, _, _ = s.Call(ctx, "hang") }()
	}
	took, err := c.Terminate(grace + 5*time.Second)
	if err != nil {
		t.fail("SIGTERM: %w", err)
		return
	}
	fmt.Printf("ended %.1f s after SIGTERM, with a program that takes no notice of it\n", took.Seconds())
	if err := benchkit.WaitGone(ctx, 0, pids...); err != nil {
		t.fail("after SIGTERM: %w", err)
	}
}

// killed kills Caddy in the middle of sessions. What a program has started itself, and
// what ignores SIGTERM, is out of reach then.
func killed(ctx context.Context, c *caddy, t *tally) {
	client := &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	pids := open(ctx, c, client, t, "", "", "")
	c.Kill()
	if err := benchkit.WaitGone(ctx, 5*time.Second, pids...); err != nil {
		t.fail("after SIGKILL: %w", err)
	}
	fmt.Println("no program outlives a Caddy that is killed")
}
