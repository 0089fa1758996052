package main

import (
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/benchkit"
)

// passes is the number of parts that the calls of a round are made in.
const passes = 6

// sample is what one round measured for one contender.
type sample struct {
	cpu    time.Duration // a call
	memory float64       // bytes a session
	// Of Caddy alone; else not a number.
	objects float64 // that a call allocates
	held    float64 // bytes a session, after a collection
}

// round measures all contenders once.
func (m *machine) round(ctx context.Context, round int, r *results) error {
	server, sse, err := m.startSSE()
	if err != nil {
		return err
	}
	defer server.stop()
	targets := make([]*target, len(contenders))
	for i, c := range contenders {
		t, err := m.start(ctx, c, sse, concurrency)
		if err != nil {
			return err
		}
		defer t.stop()
		targets[i] = t
	}
	order := make([]int, len(targets))
	for i := range order {
		order[i] = (i + round) % len(order)
	}
	for _, i := range order {
		if err := targets[i].calls(ctx, 0, time.Now().Add(m.warmup)); err != nil {
			return err
		}
	}
	stopProfiles := m.startProfiles(ctx, targets)
	used := make([]time.Duration, len(targets))
	before := make([]benchkit.Memory, len(targets))
	for i, t := range targets {
		if before[i], err = m.memory(ctx, t, false); err != nil {
			return err
		}
	}
	for range passes {
		for _, i := range order {
			cpu, err := targets[i].pass(ctx, m.calls)
			if err != nil {
				return err
			}
			used[i] += cpu
		}
		slices.Reverse(order)
	}
	for _, i := range order {
		t := targets[i]
		after, err := m.memory(ctx, t, false)
		if err != nil {
			return err
		}
		s := sample{cpu: used[i] / time.Duration(passes*m.calls), objects: math.NaN(), held: math.NaN()}
		grown, held, err := m.growth(ctx, t)
		if err != nil {
			return fmt.Errorf("%s: %w", t.name, err)
		}
		s.memory = grown / float64(m.sessions)
		if t.script == "" {
			s.objects = float64(after.Mallocs-before[i].Mallocs) / float64(passes*m.calls)
			s.held = held / float64(m.sessions)
		}
		r.add(contenders[i], s)
	}
	return stopProfiles()
}

// calls makes calls and names the contender in an error.
func (t *target) calls(ctx context.Context, n int, until time.Time) error {
	if err := makeCalls(ctx, t.sessions, n, until); err != nil {
		return fmt.Errorf("%s: %w\nit says:\n%s", t.name, err, t.said)
	}
	return nil
}

// pass returns the CPU time that n calls take.
func (t *target) pass(ctx context.Context, n int) (time.Duration, error) {
	before, err := benchkit.CPUTime(t.cmd.Process.Pid)
	if err != nil {
		return 0, err
	}
	if err := t.calls(ctx, n, time.Time{}); err != nil {
		return 0, err
	}
	after, err := benchkit.CPUTime(t.cmd.Process.Pid)
	return after - before, err
}

// callsBetween is the number of calls a session before memory is read: what
// was garbage on the way has been collected then, in either runtime.
const callsBetween = 30

// memory asks a Caddy, after a collection or as it is. Of others there is nothing to ask.
func (m *machine) memory(ctx context.Context, t *target, collected bool) (got benchkit.Memory, err error) {
	if t.script != "" {
		return got, nil
	}
	client := m.admin(t)
	if collected {
		if err := benchkit.Collect(ctx, client, adminURL); err != nil {
			return got, err
		}
	}
	return benchkit.AskMemory(ctx, client, adminURL)
}

// growth returns by how much further sessions increase the resident memory, and what Caddy holds.
func (m *machine) growth(ctx context.Context, t *target) (resident, held float64, err error) {
	before, err := m.steady(ctx, t)
	if err != nil {
		return 0, 0, err
	}
	heldBefore, err := m.memory(ctx, t, true)
	if err != nil {
		return 0, 0, err
	}
	for range m.sessions {
		s, err := openSession(ctx, t.url, t.header)
		if err != nil {
			return 0, 0, err
		}
		t.sessions = append(t.sessions, s)
		if m.streams {
			if err := s.listen(ctx); err != nil {
				return 0, 0, err
			}
		}
	}
	after, err := m.steady(ctx, t)
	if err != nil {
		return 0, 0, err
	}
	heldAfter, err := m.memory(ctx, t, true)
	if err != nil {
		return 0, 0, err
	}
	if m.profile != "" && t.script == "" {
		for _, kind := range []string{"heap?gc=1", "goroutine"} {
			if err := m.writeProfile(ctx, t, kind); err != nil {
				return 0, 0, err
			}
		}
	}
	for _, s := range t.sessions {
		s.close(ctx)
	}
	return float64(after - before), heldAfter.Held() - heldBefore.Held(), nil
}

// steady returns the resident memory under load: the mean of five readings.
func (m *machine) steady(ctx context.Context, t *target) (int64, error) {
	const readings = 5
	var sum int64
	for range readings {
		if err := t.calls(ctx, callsBetween*(m.sessions+concurrency)/readings, time.Time{}); err != nil {
			return 0, err
		}
		now, err := resident(t.cmd.Process.Pid)
		if err != nil {
			return 0, err
		}
		sum += now
	}
	return sum / readings, nil
}
