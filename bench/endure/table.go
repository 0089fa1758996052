package main

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/benchkit"
)

// mostRows is about how many rows of the table are printed.
const mostRows = 60

// row is what Caddy held after a cycle.
type row struct {
	at             time.Duration // since the start
	quiet, most    benchkit.Usage
	begun, reloads int64
}

// column is what is measured, and judged.
type column struct {
	name  string
	value func(*benchkit.Usage) int
	most  bool // it is measured under load, too
	// bound is what the fitted line may grow by over all the time that is measured, given the
	// mean.
	bound func(mean float64) float64
}

func always(n float64) func(float64) float64 { return func(float64) float64 { return n } }

var columns = []column{
	{"resident, KiB", func(u *benchkit.Usage) int { return u.RSS }, true, func(mean float64) float64 { return mean / 20 }},
	{"heap, KiB", func(u *benchkit.Usage) int { return u.Heap }, false, always(512)},
	{"goroutines", func(u *benchkit.Usage) int { return u.Goroutines }, true, always(2)},
	{"descriptors", func(u *benchkit.Usage) int { return u.Descriptors }, true, always(2)},
	{"processes", func(u *benchkit.Usage) int { return u.Children }, true, always(0.5)},
}

func printHeading() {
	fmt.Printf("%8s %8s %7s", "time", "things", "reloads")
	for _, c := range columns {
		fmt.Printf("  %-19s", c.name)
	}
	fmt.Printf("\n%25s", "")
	for _, c := range columns {
		text := "quiet"
		if c.most {
			text += "   (most)"
		}
		fmt.Printf("  %-19s", text)
	}
	fmt.Println()
}

func (r *row) print() {
	fmt.Printf("%8s %8d %7d", clock(r.at), r.begun, r.reloads)
	for _, c := range columns {
		text := fmt.Sprint(c.value(&r.quiet))
		if c.most {
			text = fmt.Sprintf("%-7s (%d)", text, c.value(&r.most))
		}
		fmt.Printf("  %-19s", text)
	}
	fmt.Println()
}

func clock(d time.Duration) string {
	s := int(d.Seconds())
	return fmt.Sprintf("%d:%02d:%02d", s/3600, s/60%60, s%60)
}

// warmUp returns how many rows come before those that are judged.
func warmUp(rows int) int { return max(1, rows/4) }

// leastRows is how many rows a line is fitted to at least, fewestRows how many there are then with
// those of the warm-up.
const leastRows, fewestRows = 4, 6

// judge prints the fitted lines, and says which of them grow.
func judge(rows []row) error {
	warm := warmUp(len(rows))
	judged := rows[min(warm, len(rows)):]
	if len(judged) < leastRows {
		return fmt.Errorf("only %d cycles after the warm-up; a line needs %d", len(judged), leastRows)
	}
	window := judged[len(judged)-1].at - judged[0].at
	fmt.Printf("\nfitted over %s, after %d cycles of warm-up\n", clock(window), warm)
	fmt.Printf("%-14s %10s %10s %12s %10s  %10s\n", "", "mean", "grows by", "+- 2 s.e.", "bound", "an hour")
	var errs []error
	for _, c := range columns {
		x, y := make([]float64, len(judged)), make([]float64, len(judged))
		for i := range judged {
			x[i], y[i] = judged[i].at.Hours(), float64(c.value(&judged[i].quiet))
		}
		l := fit(x, y)
		grows, doubt, bound := l.slope*window.Hours(), 2*l.err*window.Hours(), c.bound(l.mean)
		verdict := "flat"
		if grows-doubt > bound {
			verdict = "GROWS"
			errs = append(errs, fmt.Errorf("%s: grows by %.1f (+- %.1f) in %s, more than %.1f", c.name, grows, doubt, clock(window), bound))
		}
		fmt.Printf("%-14s %10.1f %10.1f %12.1f %10.1f  %10.1f  %s\n", c.name, l.mean, grows, doubt, bound, l.slope, verdict)
	}
	return errors.Join(errs...)
}

// progress writes one line to the terminal, over and over. Without a terminal it writes nothing.
type progress struct {
	started  time.Time
	lasting  time.Duration
	terminal bool
}

func newProgress(started time.Time, lasting time.Duration) *progress {
	info, err := os.Stderr.Stat()
	return &progress{started, lasting, err == nil && info.Mode()&os.ModeCharDevice != 0}
}

const eraseLine = "\r\x1b[K"

func (p *progress) say(text string) {
	if p.terminal {
		fmt.Fprintf(os.Stderr, "%s%s of %s: %s", eraseLine, clock(time.Since(p.started)), clock(p.lasting), strings.TrimSpace(text))
	}
}

func (p *progress) clear() {
	if p.terminal {
		fmt.Fprint(os.Stderr, eraseLine)
	}
}
