package status

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/dustin/go-humanize"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/safetext"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/stats"
)

// printer prints an answer as text.
type printer struct {
	b          strings.Builder
	colour     bool
	challenges int
	now        time.Time
}

// The colours of terminals (ECMA-48, SGR).
const (
	red, yellow, green, bold, dim = "31", "33", "32", "1", "2"
)

// paint gives a text, which is printable, a colour.
func (p *printer) paint(colour, s string) string {
	if !p.colour || s == "" || colour == "" {
		return s
	}
	return "\x1b[" + colour + "m" + s + "\x1b[0m"
}

// cell is a text in a column, perhaps in a colour.
type cell struct{ text, colour string }

func (p *printer) print(a *answer) {
	if len(a.Endpoints) == 0 {
		p.b.WriteString("No MCP endpoint is configured.\n")
		return
	}
	all := slices.Clone(a.Endpoints)
	slices.SortStableFunc(all, func(x, y endpointState) int { return x.State.rank() - y.State.rank() })
	rows := [][]cell{{{"STATE", bold}, {"ENDPOINT", bold}, {"UPSTREAM", bold}, {"REQUESTS", bold}, {"4XX", bold}, {"5XX", bold}, {"SESSIONS", bold}, {"STREAMS", bold}, {"METADATA", bold}}}
	for _, e := range all {
		rows = append(rows, p.row(&e))
	}
	p.table(rows)
	for _, e := range all {
		p.details(&e)
	}
}

// stateColours are the colours of the states of an endpoint.
var stateColours = map[health]string{failing: red, attention: yellow, healthy: green}

// table prints rows in columns.
func (p *printer) table(rows [][]cell) {
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, c := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(c.text))
		}
	}
	for _, row := range rows {
		for i, c := range row {
			p.b.WriteString(p.paint(c.colour, c.text))
			if i < len(row)-1 {
				p.b.WriteString(strings.Repeat(" ", widths[i]-utf8.RuneCountInString(c.text)+2))
			}
		}
		p.b.WriteByte('\n')
	}
}

func (p *printer) row(e *endpointState) []cell {
	classes := make(map[string]uint64)
	for _, by := range e.Load.Status {
		for class, n := range by {
			classes[class] += n
		}
	}
	number := func(n uint64, colour string) cell {
		if n == 0 {
			colour = ""
		}
		return cell{strconv.FormatUint(n, 10), colour}
	}
	return []cell{
		{safetext.Printable(string(e.State)), stateColours[e.State]},
		{text: safetext.Printable(e.Endpoint)},
		{text: safetext.Printable(e.Address + " (" + e.Upstream + ")")},
		number(e.Load.Requests, ""),
		number(classes["4xx"], yellow),
		number(classes["5xx"], red),
		number(uint64(max(e.Now.Sessions, 0)), ""),
		number(uint64(max(e.Now.Streams, 0)), ""),
		metadataCell(e.Metadata),
	}
}

// metadataCell describes the state of the metadata in a word or two.
func metadataCell(all []Metadata) cell {
	known, absent, failed := false, false, false
	for _, m := range all {
		if m.Foreign != "" {
			return cell{"wrong", red}
		}
		known, absent, failed = known || m.Known, absent || m.Absent, failed || m.LastError != ""
	}
	switch {
	case failed && !known:
		return cell{"unavailable", red}
	case failed:
		return cell{"stale", yellow}
	case known:
		return cell{"known", green}
	case absent:
		return cell{"none", yellow}
	}
	return cell{"not asked", dim}
}

// details prints what needs attention at an endpoint.
func (p *printer) details(e *endpointState) {
	before := p.b.Len()
	for _, u := range e.Upstreams {
		if u.Failing != nil {
			p.line(red, "upstream %s does not answer (%s), since %s", u.Address, u.Why, p.ago(*u.Failing))
		} else if !u.Healthy {
			p.line(red, "upstream %s fails Caddy's health checks", u.Address)
		}
	}
	if e.Because != "" {
		p.line(dim, "%s passes the responses on, because of %s", e.Forwarding, e.Because)
	}
	if why := e.NoService; why != nil && why.Advice != "" {
		p.line(yellow, "%s; %s", why.Text, why.Advice)
	}
	p.program(e.Program)
	for _, m := range e.Metadata {
		if m.LastError != "" && m.LastErrorAt != nil {
			text := fmt.Sprintf("metadata of %s: %s, %s", m.URL, m.LastError, p.ago(*m.LastErrorAt))
			if m.Foreign != "" {
				text += ": " + m.Foreign
			}
			if m.Snippet != "" {
				text += "; if that is the server itself, add"
			}
			p.line(yellow, "%s", text)
			p.snippet(m.Snippet)
		}
	}
	for _, o := range e.Refused {
		p.line(yellow, "%s", p.refusedText(&o))
		p.snippet(o.Snippet)
	}
	for _, n := range e.Notices {
		p.line(yellow, "%s: %s, %s, last %s; %s", n.Message, n.Subject, times(n.Count), p.ago(n.Last), n.Advice)
		p.snippet(n.Snippet)
	}
	p.denials(e)
	for i, c := range e.Last {
		if i == p.challenges {
			break
		}
		why := ""
		if c.Reason != "" {
			why = ", " + reasonText(c.Reason)
		}
		p.line("", "%s %d, %s, last %s: %s%s", c.Method, c.Status, times(c.Count), p.ago(c.Last), c.Action, why)
		p.lines("server sent", c.Sent)
		p.lines("client got ", c.Lines)
	}
	if p.b.Len() == before {
		return
	}
	text := p.b.String()
	p.b.Reset()
	p.b.WriteString(text[:before])
	p.b.WriteString("\n" + p.paint(bold, safetext.Printable(e.Endpoint)) + "\n" + text[before:])
}

// program prints why the programs of an endpoint need attention, and what the last one that
// has ended wrote.
func (p *printer) program(s *programState) {
	for _, found := range programProblems(s, p.now) {
		text := found.Text
		switch {
		case s.State == programBackoff && s.Retry != nil:
			text += ", and is started again " + p.ago(*s.Retry)
		case found.State == failing:
			text += ", and is started again with the next request"
		case s.State == programStarting && s.Since != nil:
			text += " " + p.ago(*s.Since)
		case s.Last != nil:
			text += ", last " + p.ago(s.Last.At)
		}
		if found.Advice != "" {
			text += "; " + found.Advice
		}
		p.line(stateColours[found.State], "%s", text)
		if s.State == programStarting || s.Last == nil {
			continue
		}
		for _, line := range s.Last.Stderr {
			p.b.WriteString("    " + p.paint(dim, "stderr") + "  " + safetext.Printable(line) + "\n")
		}
	}
}

// refusedText describes what was refused. If there is a snippet that would allow it, it
// follows.
func (p *printer) refusedText(o *refusedState) string {
	if o.Origin != "" {
		text := fmt.Sprintf("refused origin %s, %s, last %s", o.Origin, times(o.Count), p.ago(o.Last))
		if o.Snippet != "" {
			text += "; to allow it, add"
		}
		return text
	}
	text := fmt.Sprintf("refused browsers that asked a loopback address for a host that is not configured, %s, last %s", times(o.Count), p.ago(o.Last))
	if o.Snippet != "" {
		text += "; if clients use that host, add"
	}
	return text
}

// snippet prints lines for the block of the directive.
func (p *printer) snippet(text string) {
	if text == "" {
		return
	}
	for line := range strings.SplitSeq(text, "\n") {
		rest := strings.TrimLeft(line, "\t")
		p.b.WriteString("    " + line[:len(line)-len(rest)] + safetext.Printable(rest) + "\n")
	}
}

func (p *printer) line(colour, format string, args ...any) {
	p.b.WriteString("  " + p.paint(colour, safetext.Printable(fmt.Sprintf(format, args...))) + "\n")
}

func (p *printer) lines(what string, lines []string) {
	if len(lines) == 0 {
		lines = []string{"no challenge"}
	}
	for _, line := range lines {
		p.b.WriteString("    " + p.paint(dim, what) + "  " + safetext.Printable(line) + "\n")
	}
}

// count returns a number with its noun, in the plural if need be.
func count(n uint64, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return strconv.FormatUint(n, 10) + " " + noun + "s"
}

// times says how often something happened.
func times(n uint64) string {
	if n == 1 {
		return "once"
	}
	return count(n, "time")
}

func (p *printer) ago(t time.Time) string { return humanize.RelTime(t, p.now, "ago", "from now") }

// reasonText says why no metadata URL was rewritten, and what can be done.
func reasonText(r stats.Reason) string {
	switch r {
	case stats.ReasonPolicy:
		return "as `challenge` says"
	case stats.ReasonPublic:
		return "the metadata URL is the public one already"
	case stats.ReasonForeign:
		return "the metadata URL is on another host; if that is the server's, list it in `challenge { origins }`"
	case stats.ReasonUnparsable:
		return "it does not parse"
	case stats.ReasonUnknown:
		return "no metadata of the server is known to point to; name its issuer in `metadata { authorization_servers }`"
	case stats.ReasonScheme:
		return "there is no Bearer challenge that could carry the metadata URL"
	case stats.ReasonStatus:
		return "nothing is added to this status"
	case stats.ReasonHost:
		return "the request names no usable host; set `public_url`"
	}
	return string(r)
}

// inColour reports whether the output is a terminal that shows colours
// (https://no-color.org).
func inColour(out io.Writer) bool {
	f, ok := out.(*os.File)
	if !ok || os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb" {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
