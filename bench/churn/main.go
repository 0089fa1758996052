// Command churn proves that nothing is leaked or lost where streams are left
// and the configuration is reloaded, many times and under load.
//
// It starts an upstream and a Caddy with two endpoints of mcp_auth_bridge, of
// which the second is in every other configuration only. While workers send
// requests (messages small and large, such that get a 401 with a challenge of
// their own or without one, metadata), it opens -streams event streams, by GET
// and by POST, and leaves them: before there is a header, after the first
// event, in the middle; and does -reloads reloads, each second one right after
// another. Further streams are opened
// before the first reload and stay open until the grace period of the last is
// over. At the end Caddy gets SIGTERM with one stream open.
//
// Each answer has to be the request's own: status, body, challenge. Each event
// of a stream has to be the next one. Nothing is sent again but what Go's
// client sends again itself. What the server closes around a reload before it
// has served the request is counted apart (see traffic.Load).
//
// Goroutines, descriptors and heap of Caddy are compared with those before the
// load, after a warm-up of the same kind; each time no request is under way,
// all connections are closed, and the configuration has just been loaded. More
// than a margin is a leak: 2 goroutines, 2 descriptors, 512 KiB of heap.
//
// The program ends with exit status 1 if anything is lost, wrong or leaked.
// With -plain there is reverse_proxy in place of mcp_auth_bridge, which shows
// what is Caddy's own. It reads /proc, so it needs Linux.
//
//	go run ./bench/churn
//	go run ./bench/churn -streams 200 -reloads 20 -plain
//	go run ./bench/churn -for 1h
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/benchkit"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/benchkit/traffic"
)

// What counts as a leak beyond the state before the load.
const (
	goroutineMargin  = 2
	descriptorMargin = 2
	heapMargin       = 512 // KiB
)

// openers is about how many streams are open at a time.
const openers = 48

// How long things may take that are waited for.
const (
	settleLimit = 90 * time.Second
	endMargin   = 2 * time.Second // beyond the grace period
)

// reloadPause is, in the mean, the time between two reloads and two others.
const reloadPause = 300 * time.Millisecond

type options struct {
	caddy            string
	streams, reloads int
	workers          int
	lasting          time.Duration
	plain            bool
}

func init() {
	// Children are told to end with the thread that started them.
	runtime.LockOSThread()
}

func main() {
	var o options
	flag.StringVar(&o.caddy, "caddy", "", "Caddy `binary` (default: built from ./cmd/caddy)")
	flag.IntVar(&o.streams, "streams", 1000, "streams to open and leave")
	flag.IntVar(&o.reloads, "reloads", 100, "reloads to do meanwhile")
	flag.IntVar(&o.workers, "workers", 4, "workers that send requests, one after the other")
	flag.DurationVar(&o.lasting, "for", 0, "go on with as many streams and reloads again until this `time` is over")
	flag.BoolVar(&o.plain, "plain", false, "use reverse_proxy in place of mcp_auth_bridge")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, &o)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "churn:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o *options) error {
	if o.streams < 0 || o.reloads < 0 || o.workers < 0 {
		return errors.New("-streams, -reloads and -workers cannot be negative")
	}
	dir, err := os.MkdirTemp("", "churn-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if o.caddy, err = benchkit.Build(ctx, o.caddy, dir); err != nil {
		return err
	}
	up, err := traffic.StartUpstream()
	if err != nil {
		return err
	}
	defer func() { up.Close() }()
	c, err := startCaddy(ctx, o.caddy, dir, up.Addr, o.plain)
	if err != nil {
		return err
	}
	defer c.Kill()
	return prove(ctx, o, c, up)
}

// prove does it all and prints the report.
func prove(ctx context.Context, o *options, c *caddy, up *traffic.Upstream) error {
	warm := benchkit.NewTally()
	if err := churn(ctx, c, up, warm, o.workers, min(o.streams, 60), min(o.reloads, 6)); err != nil {
		return err
	}
	before, err := settle(ctx, c, up, nil)
	if err != nil {
		return err
	}
	c.Took() // those of the warm-up
	t := benchkit.NewTally()
	started := time.Now()
	for rounds := 0; rounds == 0 || time.Since(started) < o.lasting; rounds++ {
		if err := churn(ctx, c, up, t, o.workers, o.streams, o.reloads); err != nil {
			return err
		}
	}
	took := time.Since(started)
	reloads := c.Took()
	after, err := settle(ctx, c, up, &before)
	if err != nil {
		return err
	}
	for kind, n := range warm.Failed {
		kind, first := kind+" (warm-up)", warm.Firsts[kind]
		t.Failed[kind], t.Firsts[kind] = n, first
	}
	name := "mcp_auth_bridge"
	if o.plain {
		name = "reverse_proxy alone"
	}
	fmt.Printf("%s, %.0f s under load\n", name, took.Seconds())
	for _, kind := range traffic.Kinds {
		fmt.Printf("%8d  %s\n", t.Counts[kind], kind)
	}
	if n := len(reloads); n > 0 {
		fmt.Printf("%8d  reloads, %d ms in the median, %d ms at most\n", n, reloads[n/2].Milliseconds(), reloads[n-1].Milliseconds())
	}
	fmt.Printf("%8d  requests to the admin API sent again: it closed the connection around a reload\n", c.Again.Load())
	fmt.Printf("\n%-24s %8s %8s\n", "", "before", "after")
	row := func(name string, a, b int) { fmt.Printf("%-24s %8d %8d\n", name, a, b) }
	row("goroutines", before.Goroutines, after.Goroutines)
	row("descriptors", before.Descriptors, after.Descriptors)
	row("heap, KiB", before.Heap, after.Heap)
	row("resident, KiB", before.RSS, after.RSS)
	row("upstream's handlers", 0, int(up.Open.Load()))
	row("upstream's connections", 0, int(up.Conns.Load()))
	if after.Goroutines > before.Goroutines+goroutineMargin {
		t.Fail("goroutines leaked", "%d more\n\t%s", after.Goroutines-before.Goroutines, strings.Join(after.Grown(&before), "\n\t"))
	}
	if after.Descriptors > before.Descriptors+descriptorMargin {
		t.Fail("descriptors leaked", "%d more", after.Descriptors-before.Descriptors)
	}
	if after.Heap > before.Heap+heapMargin {
		t.Fail("memory leaked", "%d KiB more on the heap", after.Heap-before.Heap)
	}
	end(ctx, c, up, t)
	if log := c.Logged("panic"); log != "" {
		t.Fail("panic", "%s", log)
	}
	return report(t)
}

// report prints the failures.
func report(t *benchkit.Tally) error {
	if len(t.Failed) == 0 {
		fmt.Println("\nnothing was lost, nothing has leaked")
		return nil
	}
	fmt.Println()
	total := 0
	for kind, n := range t.Failed {
		total += n
		fmt.Printf("FAIL %d %s, first: %s\n", n, kind, t.Firsts[kind])
	}
	return fmt.Errorf("%d failures of %d kinds", total, len(t.Failed))
}

// churn sends load while it leaves streams and reloads.
func churn(ctx context.Context, c *caddy, up *traffic.Upstream, t *benchkit.Tally, workers, streams, reloads int) error {
	l := c.load(up, t)
	defer l.CloseIdle()
	working, stop := context.WithCancel(ctx)
	var work, open sync.WaitGroup
	watched, err := l.Watch(ctx)
	for range workers {
		work.Go(func() { l.Work(working) })
	}
	next := make(chan int)
	for range openers {
		open.Go(func() {
			for k := range next {
				for attempts := 0; !l.Abort(k); attempts++ {
					if attempts == 100 {
						l.Fail("stream that could not be opened to be left", "number %d", k)
						break
					}
				}
			}
		})
	}
	sent := 0
	for i := range reloads + 1 {
		for ; sent < streams*(i+1)/(reloads+1); sent++ {
			next <- sent
		}
		if i < reloads && ctx.Err() == nil {
			if i%2 == 0 { // the others follow at once
				time.Sleep(rand.N(2 * reloadPause))
			}
			if err := c.reload(ctx); err != nil {
				l.Fail("reload failed", "%v", err)
			}
		}
	}
	close(next)
	open.Wait()
	// The streams have to outlive the grace period of the last reload.
	if err == nil {
		err = watched.WaitFresh(ctx, int64((grace+time.Second)/traffic.Tick))
	}
	for range watched.Stop() {
		l.Count(traffic.WatchedToTheEnd)
	}
	stop()
	work.Wait()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		l.Fail("watched streams", "%v", err)
	}
	l.CloseIdle()
	if err := up.WaitClosed(ctx); err != nil {
		l.Fail("upstream's handlers leaked", "%v", err)
	}
	l.SettleClosed()
	return ctx.Err()
}

// settle loads a configuration without the second endpoint, so that nothing
// else is left, waits until Caddy holds no more than before (nil: any), and no
// less from one look to the next, and measures it.
func settle(ctx context.Context, c *caddy, up *traffic.Upstream, before *benchkit.Usage) (benchkit.Usage, error) {
	for ok := true; ok; ok = c.Done()%2 == 1 {
		if err := c.reload(ctx); err != nil {
			return benchkit.Usage{}, err
		}
	}
	var last benchkit.Usage
	same := 0
	err := benchkit.Poll(ctx, settleLimit, func() error {
		if n := up.Conns.Load(); n > 0 {
			return fmt.Errorf("%d connections to the upstream are open", n)
		}
		u, err := c.Count(ctx)
		if err != nil {
			return benchkit.Stop(err)
		}
		if same++; u.Goroutines != last.Goroutines || u.Descriptors != last.Descriptors {
			last, same = u, 0
		}
		if before != nil && (u.Goroutines > before.Goroutines+goroutineMargin || u.Descriptors > before.Descriptors+descriptorMargin) {
			return errors.New("caddy holds more than before")
		}
		if same < 20 {
			return errors.New("what caddy holds changes")
		}
		return nil
	})
	var final benchkit.Final
	if ctx.Err() != nil || errors.As(err, &final) {
		return benchkit.Usage{}, err
	}
	return c.Measure(ctx) // which shows what is too much
}

// end ends Caddy while a stream is open.
func end(ctx context.Context, c *caddy, up *traffic.Upstream, t *benchkit.Tally) {
	seen := benchkit.NewTally()
	l := c.load(up, seen)
	var fresh atomic.Int64
	left := make(chan struct{})
	go func() {
		defer close(left)
		l.Follow(ctx, http.MethodGet, traffic.First, 0, &fresh)
	}()
	err := benchkit.Poll(ctx, traffic.Silence, func() error {
		if fresh.Load() < 2 {
			return errors.New("it has no events")
		}
		return nil
	})
	if err != nil {
		t.Fail("stream before SIGTERM", "%v", err)
	}
	took, err := c.Terminate(grace + endMargin)
	if err != nil {
		t.Fail("SIGTERM", "%v", err)
		return
	}
	<-left
	how := "cut"
	if seen.Counts[traffic.First+traffic.ThroughEnded] > 0 {
		how = "ended cleanly"
	}
	fmt.Printf("\nended %.1f s after SIGTERM (grace period %s), its open stream %s\n", took.Seconds(), grace, how)
	if err := up.WaitClosed(ctx); err != nil {
		t.Fail("upstream's handlers leaked by the end", "%v", err)
	}
}
