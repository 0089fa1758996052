package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/benchkit"
)

// calibration is the CPU time that plain is to need for its requests of one
// round.
const calibration = 500 * time.Millisecond

// passes is the number of parts that the requests of a round are sent in: short
// enough that what else the machine does meets all configurations alike.
const passes = 10

// maxRequests bounds the requests of one round.
const maxRequests = 200_000

// sample is what one round measured for one configuration.
type sample struct {
	cpu       time.Duration
	allocated allocations
}

// measurement is what all rounds of a case measured.
type measurement struct {
	tc       *testCase
	requests int // of one round, for each configuration
	samples  [maxConfigurations][]sample
	failed   int
	first    error
}

// run measures n requests to one target.
func (m *measurement) run(ctx context.Context, t *target, l *load, n int) (time.Duration, error) {
	before, err := benchkit.CPUTime(t.cmd.Process.Pid)
	if err != nil {
		return 0, err
	}
	result := l.run(ctx, []*testCase{m.tc}, n)[0]
	after, err := benchkit.CPUTime(t.cmd.Process.Pid)
	if err != nil {
		return 0, err
	}
	m.failed += result.short + result.failed
	if m.first == nil {
		m.first = result.first
	}
	return after - before, ctx.Err()
}

// measureCase checks a case's answers and measures it.
func measureCase(ctx context.Context, o *options, mach *machine, tc *testCase) (*measurement, error) {
	m := &measurement{tc: tc}
	if err := m.calibrate(ctx, o, mach); err != nil {
		return nil, err
	}
	for round := range o.rounds + 1 {
		samples, err := m.round(ctx, mach, round)
		if err != nil {
			return nil, err
		}
		if round == 0 {
			continue // warm-up
		}
		for i, s := range samples[:len(configurations)] {
			m.samples[i] = append(m.samples[i], s)
		}
	}
	return m, nil
}

// calibrate finds the number of requests of a round.
func (m *measurement) calibrate(ctx context.Context, o *options, mach *machine) error {
	t, err := mach.start(ctx, plain)
	if err != nil {
		return err
	}
	defer t.stop()
	l := newLoad(t.addr, t.index)
	defer l.close()
	cpu, n, err := m.calibrated(ctx, t, l)
	if err != nil {
		return err
	}
	wanted := float64(n) * float64(calibration) / float64(cpu) * o.requests
	m.requests = int(min(wanted, maxRequests, float64(m.tc.most()*passes/(passes+2)))) // with the warm-up
	// All passes of a round are alike.
	m.requests = max(m.requests/(passes*concurrency), 1) * passes * concurrency
	return nil
}

// calibrated returns the CPU time that a number of requests takes.
func (m *measurement) calibrated(ctx context.Context, t *target, l *load) (time.Duration, int, error) {
	for n := 64; ; n *= 2 {
		cpu, err := m.run(ctx, t, l, n)
		if err != nil {
			return 0, 0, err
		}
		if m.first != nil {
			return 0, 0, m.first
		}
		if cpu > calibration/5 || n >= maxRequests {
			return max(cpu, time.Microsecond), n, nil
		}
	}
}

// roundOrder is the order in which the targets take turns in a round.
func roundOrder(targets, round int) []int {
	order := make([]int, targets)
	for i := range order {
		order[i] = (i + round) % len(order)
	}
	if round/len(order)%2 == 1 {
		slices.Reverse(order)
	}
	return order
}

// round sends a part of the requests to each target in turn, then another in
// the reverse order, and so on.
func (m *measurement) round(ctx context.Context, mach *machine, round int) ([maxConfigurations]sample, error) {
	var samples [maxConfigurations]sample
	targets, err := mach.startAll(ctx)
	if err != nil {
		return samples, err
	}
	defer stopAll(targets)
	order := roundOrder(len(targets), round)
	var before, asking [maxConfigurations]allocations
	loads := make([]*load, len(targets))
	for i, t := range targets {
		if err := t.verify(m.tc); err != nil {
			return samples, fmt.Errorf("%s: %w", t.name, err)
		}
		loads[i] = newLoad(t.addr, t.index)
		defer loads[i].close()
		if _, err := m.run(ctx, t, loads[i], m.requests/passes); err != nil {
			return samples, err
		}
		if asking[i], err = t.asking(ctx); err != nil {
			return samples, err
		}
		if before[i], err = t.allocations(ctx); err != nil {
			return samples, err
		}
	}
	for range passes {
		for _, i := range order {
			cpu, err := m.run(ctx, targets[i], loads[i], m.requests/passes)
			if err != nil {
				return samples, err
			}
			samples[i].cpu += cpu
		}
		slices.Reverse(order)
	}
	for i, t := range targets {
		after, err := t.allocations(ctx)
		if err != nil {
			return samples, err
		}
		samples[i].allocated = allocations{
			after.objects - before[i].objects - asking[i].objects,
			after.bytes - before[i].bytes - asking[i].bytes,
		}
	}
	return samples, nil
}

// ratio compares the CPU time of two configurations, round by round.
func (m *measurement) ratio(i, j int) benchkit.Spread {
	var ratios []float64
	for round, s := range m.samples[i] {
		ratios = append(ratios, float64(s.cpu)/float64(m.samples[j][round].cpu))
	}
	return benchkit.SpreadOf(ratios)
}

// perRequest is the median of what one request takes.
func (m *measurement) perRequest(i int, value func(sample) float64) float64 {
	var values []float64
	for _, s := range m.samples[i] {
		values = append(values, value(s)/float64(m.requests))
	}
	return benchkit.SpreadOf(values).Median
}

const row = "%-10s %8s  %-18s %-18s %-18s  %-17s %-20s\n"

func printHeading(w io.Writer) {
	of := []any{"", "requests", "CPU time, median of the rounds (lowest-highest)", "", "", "allocations", "bytes allocated"}
	_, _ = fmt.Fprintf(w, row, of...)
	var names [len(comparisons)]string
	for i, c := range comparisons {
		names[i] = compared(c)
	}
	_, _ = fmt.Fprintf(w, row, "case", "a round", names[0], names[1], names[2], "of each", "of each")
}

// compared is the name of a comparison.
func compared(c [2]int) string { return configurations[c[0]].name + "/" + configurations[c[1]].name }

func (m *measurement) print(w io.Writer) {
	objects := func(s sample) float64 { return float64(s.allocated.objects) }
	bytes := func(s sample) float64 { return float64(s.allocated.bytes) }
	all := func(value func(sample) float64) string {
		var of []string
		for i := range configurations {
			of = append(of, fmt.Sprintf("%.0f", m.perRequest(i, value)))
		}
		return strings.Join(of, "/")
	}
	var ratios [len(comparisons)]string
	for i, c := range comparisons {
		ratios[i] = m.ratio(c[0], c[1]).Text(3)
	}
	_, _ = fmt.Fprintf(w, row, m.tc.name, fmt.Sprint(m.requests), ratios[0], ratios[1], ratios[2], all(objects), all(bytes))
}
