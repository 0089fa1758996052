package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/benchkit"
)

// results are the samples of each contender, one a round.
type results struct{ samples map[*contender][]sample }

func newResults() *results { return &results{make(map[*contender][]sample)} }

func (r *results) add(c *contender, s sample) { r.samples[c] = append(r.samples[c], s) }

// ratio compares two contenders round by round.
func (r *results) ratio(c, own *contender, value func(sample) float64) benchkit.Spread {
	var ratios []float64
	for round, s := range r.samples[c] {
		ratios = append(ratios, value(s)/value(r.samples[own][round]))
	}
	return benchkit.SpreadOf(ratios)
}

func (s sample) cpuValue() float64     { return float64(s.cpu.Nanoseconds()) }
func (s sample) memoryValue() float64  { return s.memory }
func (s sample) objectsValue() float64 { return s.objects }
func (s sample) heldValue() float64    { return s.held }

const row = "%-10s %-14s %-20s %-20s %-20s %-20s\n"

// report prints the ratios and says which are too low.
func (r *results) report(w io.Writer, o *options) error {
	var failures []error
	_, _ = fmt.Fprintf(w, row, "", "", "how many times ours, median (lowest-highest)", "", "", "")
	_, _ = fmt.Fprintf(w, row, "server", "bridge", "CPU time a call", "memory a session", "objects a call", "held a session")
	var own *contender
	for _, c := range contenders {
		if c.own() {
			own = c
			if o.verbose {
				r.figures(w, c)
			}
			continue
		}
		cpu, memory := r.ratio(c, own, sample.cpuValue), r.ratio(c, own, sample.memoryValue)
		objects, held := "", ""
		if c.script == "" {
			objects, held = r.ratio(c, own, sample.objectsValue).Text(3), r.ratio(c, own, sample.heldValue).Text(3)
		}
		_, _ = fmt.Fprintf(w, row, c.pair, c.name, cpu.Text(2), memory.Text(2), objects, held)
		if o.verbose {
			r.figures(w, c)
		}
		if c.plain {
			continue
		}
		if o.cpu > 0 && !(cpu.Median >= o.cpu) {
			failures = append(failures, fmt.Errorf("%s, %s: it needs only %.2f times the CPU time, not %.2f", c.pair, c.name, cpu.Median, o.cpu))
		}
		if o.memory > 0 && !(memory.Median >= o.memory) {
			failures = append(failures, fmt.Errorf("%s, %s: it needs only %.2f times the memory, not %.2f", c.pair, c.name, memory.Median, o.memory))
		}
	}
	return errors.Join(failures...)
}

// figures prints the spread of what was measured.
func (r *results) figures(w io.Writer, c *contender) {
	text := func(value func(sample) float64, unit float64, suffix string) string {
		var values []float64
		for _, s := range r.samples[c] {
			values = append(values, value(s)/unit)
		}
		got := benchkit.SpreadOf(values)
		if math.IsNaN(got.Median) {
			return ""
		}
		return got.Text(2) + suffix
	}
	_, _ = fmt.Fprintf(w, row, "", c.name, text(sample.cpuValue, 1e3, " us"), text(sample.memoryValue, 1<<10, " KiB"),
		text(sample.objectsValue, 1, ""), text(sample.heldValue, 1<<10, " KiB"))
}

// profileSeconds is how long the CPU profile lasts.
const profileSeconds = 10

// startProfiles has this module's processes profiled, if that is asked for. The
// function that it returns waits for the end.
func (m *machine) startProfiles(ctx context.Context, targets []*target) func() error {
	if m.profile == "" {
		return func() error { return nil }
	}
	var wg sync.WaitGroup
	errs := make([]error, len(targets))
	for i, t := range targets {
		if t.script == "" {
			wg.Go(func() { errs[i] = m.writeProfile(ctx, t, fmt.Sprintf("profile?seconds=%d", profileSeconds)) })
		}
	}
	return func() error {
		wg.Wait()
		return errors.Join(errs...)
	}
}

// adminURL is that of the admin API; admin knows its socket.
const adminURL = "http://127.0.0.1"

// admin returns a client of the admin API. It has a connection for each request.
func (m *machine) admin(t *target) *http.Client {
	return &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", m.adminSocket(t.port))
	}}}
}

// writeProfile writes a profile of a Caddy.
func (m *machine) writeProfile(ctx context.Context, t *target, kind string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, adminURL+"/debug/pprof/"+kind, nil)
	if err != nil {
		return err
	}
	res, err := m.admin(t).Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", res.Status, bytes.TrimSpace(body))
	}
	if err != nil {
		return err
	}
	name, _, _ := strings.Cut(kind, "?")
	return errors.Join(os.MkdirAll(m.profile, 0o755), os.WriteFile(filepath.Join(m.profile, t.pair+"-"+t.name+"."+name+".pprof"), body, 0o600))
}
