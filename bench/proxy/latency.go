package main

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/benchkit"
)

// latencyConnections bounds the requests that are under way at once. One that is due while all
// connections are busy waits for the next, and that wait counts.
const latencyConnections = 64

// latencySeconds is how long requests are sent to one configuration in one round.
const latencySeconds = 3

// latencyPasses is the number of parts that the requests of a round are sent in: more than passes,
// because one stall of the machine decides the slowest hundredth of a part.
const latencyPasses = 40

// quantiles are those of a round that are compared.
var quantiles = []float64{.5, .99}

// latencies is what all rounds of a case measured: for each configuration and round the
// quantiles.
type latencies struct {
	tc     *testCase
	rate   float64 // requests a second
	rounds [maxConfigurations][][]time.Duration
	total  tally
}

// measureLatency sends requests to each configuration at the same rate, and compares how long the
// answers take. Requests are sent when they are due, whether or not earlier ones are answered, and
// their time counts from then: a stall costs each request that was due meanwhile.
func measureLatency(ctx context.Context, o *options, mach *machine, tc *testCase) (*latencies, error) {
	m := &measurement{tc: tc}
	rate, err := m.rateFor(ctx, mach, o.share)
	if err != nil {
		return nil, err
	}
	l := &latencies{tc: tc, rate: rate}
	for round := range o.rounds + 1 {
		if err := l.round(ctx, mach, round, o.requests); err != nil {
			return nil, err
		}
	}
	return l, nil
}

// rateFor returns the requests a second that take a share of the time of one processor in the
// first configuration.
func (m *measurement) rateFor(ctx context.Context, mach *machine, share float64) (float64, error) {
	t, err := mach.start(ctx, plain)
	if err != nil {
		return 0, err
	}
	defer t.stop()
	l := newLoad(t.addr, t.index)
	defer l.close()
	cpu, n, err := m.calibrated(ctx, t, l)
	if err != nil {
		return 0, err
	}
	return share * float64(n) / cpu.Seconds(), nil
}

// round sends a part of the requests to each target in turn. The first round is warm-up.
func (l *latencies) round(ctx context.Context, mach *machine, round int, factor float64) error {
	targets, err := mach.startAll(ctx)
	if err != nil {
		return err
	}
	defer stopAll(targets)
	var taken [maxConfigurations][]time.Duration
	loads := make([]*openLoad, len(targets))
	n := max(int(l.rate*latencySeconds*factor/latencyPasses), 1)
	for i, t := range targets {
		if err := t.verify(l.tc); err != nil {
			return fmt.Errorf("%s: %w", t.name, err)
		}
		loads[i] = newOpenLoad(t.addr, t.index)
		defer loads[i].close()
		loads[i].run(ctx, l.tc, n, l.rate, 0, &l.total) // warm-up
	}
	order := roundOrder(len(targets), round)
	for pass := range latencyPasses {
		for _, i := range order {
			taken[i] = append(taken[i], loads[i].run(ctx, l.tc, n, l.rate, uint64(round*latencyPasses+pass), &l.total)...)
			if ctx.Err() != nil {
				return ctx.Err()
			}
		}
		slices.Reverse(order)
	}
	if round == 0 {
		return nil
	}
	for i := range targets {
		slices.Sort(taken[i])
		var at []time.Duration
		for _, q := range quantiles {
			at = append(at, taken[i][int(q*float64(len(taken[i])-1))])
		}
		l.rounds[i] = append(l.rounds[i], at)
	}
	return nil
}

// openLoad sends requests at times that do not depend on the answers.
type openLoad struct{ clients [latencyConnections]client }

func newOpenLoad(addr string, through int) *openLoad {
	l := new(openLoad)
	for i := range l.clients {
		l.clients[i] = client{addr: addr, through: through, buf: make([]byte, 64<<10)}
	}
	return l
}

func (l *openLoad) close() {
	for i := range l.clients {
		l.clients[i].close()
	}
}

// run sends n requests at random times, which are the same for the same seed, and returns how
// long after it was due each was answered.
func (l *openLoad) run(ctx context.Context, tc *testCase, n int, rate float64, seed uint64, total *tally) []time.Duration {
	due := make(chan time.Time, n)
	var mu sync.Mutex
	var all []time.Duration
	var wg sync.WaitGroup
	for i := range l.clients {
		wg.Go(func() {
			var own tally
			var took []time.Duration
			for at := range due {
				l.clients[i].send(tc, &own)
				took = append(took, time.Since(at))
			}
			mu.Lock()
			defer mu.Unlock()
			all = append(all, took...)
			total.add(own)
		})
	}
	times := rand.New(rand.NewPCG(seed, 0))
	at := time.Now()
	for range n {
		at = at.Add(time.Duration(times.ExpFloat64() / rate * float64(time.Second)))
		if ctx.Err() != nil {
			break
		}
		time.Sleep(time.Until(at))
		due <- at
	}
	close(due)
	wg.Wait()
	return all
}

// ratio compares a quantile of two configurations, round by round.
func (l *latencies) ratio(c [2]int, quantile int) benchkit.Spread {
	var ratios []float64
	for round, at := range l.rounds[c[0]] {
		ratios = append(ratios, float64(at[quantile])/float64(l.rounds[c[1]][round][quantile]))
	}
	return benchkit.SpreadOf(ratios)
}

const latencyRow = "%-10s %9s  %-22s %-22s %-22s %-22s\n"

func printLatencyHeading(w io.Writer) {
	_, _ = fmt.Fprintf(w, latencyRow, "", "requests", "time until the answer, median of the rounds (lowest-highest)", "", "", "")
	second, third := compared(comparisons[0]), compared(comparisons[1])
	_, _ = fmt.Fprintf(w, latencyRow, "case", "a second", second+", p50", third+", p50", second+", p99", third+", p99")
}

func (l *latencies) print(w io.Writer) {
	text := func(comparison, quantile int) string { return l.ratio(comparisons[comparison], quantile).Text(2) }
	_, _ = fmt.Fprintf(w, latencyRow, l.tc.name, fmt.Sprintf("%.0f", l.rate), text(0, 0), text(1, 0), text(0, 1), text(1, 1))
}
