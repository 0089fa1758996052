package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// Of a table of totals.
const (
	// quiet is how long nothing happens before memory is read.
	quiet = 3 * time.Second
	// callsEach is the number of calls in each session before that.
	callsEach = 5
	// streamsOfConnection is how many streams a connection of HTTP/2 has.
	streamsOfConnection = 100
)

// counts is a flag: numbers, rising.
type counts []int

// String implements flag.Value.
func (c *counts) String() string {
	return strings.Trim(strings.ReplaceAll(fmt.Sprint(*c), " ", ","), "[]")
}

// Set implements flag.Value.
func (c *counts) Set(text string) error {
	*c = nil
	for part := range strings.SplitSeq(text, ",") {
		n, err := strconv.Atoi(part)
		if err != nil || n < 1 || len(*c) > 0 && n <= (*c)[len(*c)-1] {
			return errors.New("want numbers that rise, such as 1,200,1000")
		}
		*c = append(*c, n)
	}
	return nil
}

func (c counts) most() int { return c[len(c)-1] }

// tables prints the tables that are asked for.
func (m *machine) tables(ctx context.Context) error {
	if len(m.total) > 0 {
		if err := m.totals(ctx); err != nil {
			return err
		}
	}
	if len(m.idle) > 0 {
		return m.idleStreams(ctx)
	}
	return nil
}

// totals prints what the process of each bridge takes with some numbers of idle sessions. One runs
// after the other, each in one process, whose sessions are added to.
func (m *machine) totals(ctx context.Context) error {
	m.sessions = m.total.most()
	fmt.Printf("Resident memory of the bridge alone, in MiB, and how many times ours; what each further session adds, in KiB.\n\n%s\n", m.versions())
	head(os.Stdout, []string{"server", "bridge"}, m.total, func(n int) []string { return []string{plural(n, "session")} }, "a session", "held")
	var own []float64
	for _, c := range contenders {
		if c.pair == pairHTTP {
			continue
		}
		got, held, err := m.totalsOf(ctx, c)
		if err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
		if c.own() {
			own = got
		}
		fmt.Printf("| %s | %s |", c.pair, c.name)
		for i, v := range got {
			fmt.Printf(" %.0f", v/(1<<20))
			if !c.own() {
				fmt.Printf(" (%.1f)", v/own[i])
			}
			fmt.Print(" |")
		}
		last := len(got) - 1
		more := float64(max(1, m.total[last]-m.total[0])) * (1 << 10)
		fmt.Printf(" %.0f | %s |\n", (got[last]-got[0])/more, held)
	}
	return nil
}

// totalsOf measures one bridge. held is what a session of Caddy holds after a collection, in KiB.
func (m *machine) totalsOf(ctx context.Context, c *contender) (all []float64, held string, err error) {
	server, sse, err := m.startSSE()
	if err != nil {
		return nil, "", err
	}
	defer server.stop()
	t, err := m.start(ctx, c, sse, 1)
	if err != nil {
		return nil, "", err
	}
	defer t.stop()
	defer func() {
		for _, s := range t.sessions {
			s.leave()
		}
	}()
	var first float64
	for _, n := range m.total {
		for len(t.sessions) < n {
			s, err := openSession(ctx, t.url, t.header)
			if err != nil {
				return nil, "", fmt.Errorf("session %d: %w\nit says:\n%s", len(t.sessions)+1, err, t.said)
			}
			t.sessions = append(t.sessions, s)
		}
		for _, s := range t.sessions {
			if s.stream == nil {
				if err := s.listen(ctx); err != nil {
					return nil, "", err
				}
			}
		}
		if err := t.calls(ctx, callsEach*n, time.Time{}); err != nil {
			return nil, "", err
		}
		got, err := t.afterQuiet(ctx)
		if err != nil {
			return nil, "", err
		}
		all = append(all, got)
		now, err := m.memory(ctx, t, true)
		if err != nil {
			return nil, "", err
		}
		if first == 0 {
			first = now.Held()
		} else if c.script == "" {
			held = fmt.Sprintf("%.0f", (now.Held()-first)/float64(n-m.total[0])/(1<<10))
		}
	}
	return all, held, nil
}

// afterQuiet returns the resident memory after a while without any request.
func (t *target) afterQuiet(ctx context.Context) (float64, error) {
	select {
	case <-time.After(quiet):
	case <-t.exited:
		return 0, errors.New("it has ended")
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	got, err := resident(t.cmd.Process.Pid)
	return float64(got), err
}

// idleStreams prints what Caddy takes for each idle event stream of a Streamable HTTP server.
func (m *machine) idleStreams(ctx context.Context) error {
	m.sessions = m.idle.most()
	fmt.Printf("\nMemory for each idle event stream, in KiB: resident, held.\n\n%s\n", m.versions())
	head(os.Stdout, []string{"client", "handler"}, m.idle, func(n int) []string { return []string{plural(n, "stream"), "held"} })
	for _, h2 := range []bool{false, true} {
		var own [][2]float64
		for _, c := range contenders {
			if c.pair != pairHTTP {
				continue
			}
			m.h2c = h2
			got, err := m.idleOf(ctx, c)
			if err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
			if c.own() {
				own = got
			}
			fmt.Printf("| %s | %s |", map[bool]string{false: "HTTP/1.1", true: "HTTP/2"}[h2], c.name)
			for i, v := range got {
				for k := range v {
					fmt.Printf(" %.0f", v[k]/(1<<10))
					if !c.own() {
						fmt.Printf(" (%.2f)", v[k]/own[i][k])
					}
					fmt.Print(" |")
				}
			}
			fmt.Println()
		}
	}
	return nil
}

// idleOf measures one handler: resident and held bytes a stream.
func (m *machine) idleOf(ctx context.Context, c *contender) (all [][2]float64, err error) {
	server, sse, err := m.startSSE()
	if err != nil {
		return nil, err
	}
	defer server.stop()
	t, err := m.start(ctx, c, sse, 1)
	if err != nil {
		return nil, err
	}
	defer t.stop()
	if err := t.calls(ctx, 1000, time.Time{}); err != nil {
		return nil, err
	}
	measure := func() (got [2]float64, err error) {
		if got[0], err = t.afterQuiet(ctx); err != nil {
			return got, err
		}
		held, err := m.memory(ctx, t, true)
		got[1] = held.Held()
		return got, err
	}
	before, err := measure()
	if err != nil {
		return nil, err
	}
	var streams []io.Closer
	defer func() {
		for _, s := range streams {
			_ = s.Close()
		}
	}()
	client := m.newClient()
	for _, n := range m.idle {
		for len(streams) < n {
			if m.h2c && len(streams)%streamsOfConnection == 0 {
				client = m.newClient()
			}
			s, err := openStream(ctx, client, t)
			if err != nil {
				return nil, fmt.Errorf("stream %d: %w", len(streams)+1, err)
			}
			streams = append(streams, s)
		}
		after, err := measure()
		if err != nil {
			return nil, err
		}
		for k := range after {
			after[k] = (after[k] - before[k]) / float64(n)
		}
		all = append(all, after)
	}
	return all, nil
}

// newClient returns a client for streams. Over HTTP/2 it is unencrypted.
func (m *machine) newClient() *http.Client {
	tr := &http.Transport{}
	if m.h2c {
		tr.Protocols = new(http.Protocols)
		tr.Protocols.SetUnencryptedHTTP2(true)
	}
	return &http.Client{Transport: tr}
}

// openStream opens an event stream that stays idle.
func openStream(ctx context.Context, client *http.Client, t *target) (io.Closer, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, t.url, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "text/event-stream")
	req.Header.Set("Mcp-Session-Id", "one-for-all")
	req.Header.Set("Mcp-Protocol-Version", protocolVersion)
	res, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	if res.StatusCode != http.StatusOK {
		_ = res.Body.Close()
		return nil, errors.New(res.Status)
	}
	return res.Body, nil
}

// head prints the head of a table in Markdown.
func head(w io.Writer, names []string, all counts, columns func(n int) []string, more ...string) {
	for _, n := range all {
		names = append(names, columns(n)...)
	}
	names = append(names, more...)
	_, _ = fmt.Fprintf(w, "| %s |\n%s|\n", strings.Join(names, " | "), strings.Repeat("|---", len(names)))
}

func plural(n int, word string) string {
	text := strconv.Itoa(n)
	if n >= 1000 {
		text = text[:len(text)-3] + "," + text[len(text)-3:]
	}
	if n != 1 {
		word += "s"
	}
	return text + " " + word
}

// versions names what is measured.
func (m *machine) versions() string {
	var all []string
	add := func(name string, arguments ...string) {
		if out, err := exec.Command(name, arguments...).Output(); err == nil {
			if fields := strings.Fields(string(out)); len(fields) > 0 {
				all = append(all, strings.TrimPrefix(fields[0], "v"))
				return
			}
		}
		all = append(all, "?")
	}
	all = append(all, time.Now().Format(time.DateOnly)+", Caddy")
	add(m.caddy, "version")
	if m.node != "" {
		all = append(all, "; Node.js")
		add(m.node, "--version")
		for _, c := range contenders {
			if c.script != "" {
				all = append(all, "; "+c.name, m.packageVersion(c))
			}
		}
	}
	return strings.ReplaceAll(strings.Join(all, " "), " ;", ";") + "\n"
}
