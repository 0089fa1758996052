package doctor

import (
	"fmt"
	"io"
	"net/url"
	"strings"
	"unicode/utf8"
)

// width is that of the text, in characters.
const width = 80

// noticed is how long an answer takes before it is worth saying, in
// milliseconds.
const noticed = 1000

// indent is that of what belongs to a step.
const indent = "      "

// TextOptions say how a report is written.
type TextOptions struct {
	// Color uses the colours of a terminal.
	Color bool
	// Verbose writes out what was sent and seen where all is well, too.
	Verbose bool
}

// WriteText writes a report for people: what is wrong first and what mends it,
// then each step.
func (r *Report) WriteText(w io.Writer, opts TextOptions) error {
	t := &texter{opts: opts, report: r}
	t.verdict()
	for _, s := range r.Steps {
		t.step(s)
	}
	t.differences()
	_, err := io.WriteString(w, t.b.String())
	return err
}

// texter writes a report.
type texter struct {
	opts   TextOptions
	report *Report
	b      strings.Builder
}

// colours of the levels and states (ECMA-48, SGR).
var colours = map[string]string{
	string(Pass): "32", string(Warn): "33", string(Fail): "31", string(Skip): "2",
	string(Healthy): "1;32", string(Broken): "1;31", string(Unreachable): "1;31",
}

func (t *texter) paint(key, text string) string {
	if !t.opts.Color {
		return text
	}
	return "\x1b[" + colours[key] + "m" + text + "\x1b[0m"
}

// line writes a line, broken at spaces, with what follows indented further.
func (t *texter) line(first, rest, text string) {
	lead, column := first, 0
	for word := range strings.FieldsSeq(text) {
		n := utf8.RuneCountInString(word)
		if column > 0 && column+1+n > width {
			t.b.WriteByte('\n')
			lead, column = rest, 0
		}
		if column == 0 {
			t.b.WriteString(lead)
			column = utf8.RuneCountInString(lead)
		} else {
			t.b.WriteByte(' ')
			column++
		}
		t.b.WriteString(word)
		column += n
	}
	t.b.WriteByte('\n')
}

func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// verdict writes what to know first.
func (t *texter) verdict() {
	v := t.report.Verdict
	t.b.WriteString(t.paint(string(v.State), strings.ToUpper(string(v.State))) + "  " + t.report.URL + "\n")
	text := v.Text
	if v.State == Healthy {
		text = strings.ToUpper(text[:1]) + text[1:]
		if v.Warnings > 0 {
			text += " " + plural(v.Warnings, "warning", "warnings") + "; the first is"
		}
	}
	if v.State != Healthy {
		text = t.title(v.Step) + ": " + text
	}
	t.line("  ", "  ", text)
	if f := v.Finding; f != nil {
		if v.State == Healthy {
			t.line("  ", "  ", t.title(v.Step)+": "+f.Text)
		}
		switch v.Blame {
		case "server":
			t.line("  ", "  ", "It is the server's own: it is the same at "+t.report.Upstream.URL+".")
		case "front":
			t.line("  ", "  ", "It comes from what stands in front: it is not so at "+t.report.Upstream.URL+".")
		}
		t.cures("  ", *f)
	}
	if v.State != Healthy && v.Fails+v.Warnings > 1 {
		t.line("  ", "  ", "Below: "+plural(v.Fails, "failure", "failures")+", "+plural(v.Warnings, "warning", "warnings")+"; what follows from the first goes with it.")
	}
	t.b.WriteByte('\n')
}

func (t *texter) title(id string) string {
	for _, s := range t.report.Steps {
		if s.ID == id {
			return s.Title
		}
	}
	return id
}

// cures writes what a rule wants and what mends it.
func (t *texter) cures(in string, f Finding) {
	t.line(in+"wanted by  ", in+"           ", f.Reference)
	for _, c := range f.Cures {
		t.line(in+"mend       ", in+"           ", c.Where+": "+c.Text)
	}
}

// step writes a step.
func (t *texter) step(s *Step) {
	head := s.Title
	if s.Why != "" {
		head += ": " + s.Why
	}
	t.line(t.paint(string(s.Level), string(s.Level))+"  ", indent, head)
	full := t.opts.Verbose || s.Level == Warn || s.Level == Fail
	for _, e := range s.Exchanges {
		t.exchange(e, full)
	}
	t.passed(s)
	for _, f := range s.Findings {
		if f.Level != Pass {
			t.finding(f)
		}
	}
}

// passed writes the rules that are met.
func (t *texter) passed(s *Step) {
	var brief []string
	for _, f := range s.Findings {
		switch {
		case f.Level != Pass:
		case t.opts.Verbose:
			t.line(indent+"ok: ", indent+"    ", f.Text+" ["+f.Reference+"]")
		case !strings.Contains(f.Rule, "browser"): // which the line of the exchange has said
			brief = append(brief, f.Text)
		}
	}
	if len(brief) > 0 {
		t.line(indent+"ok: ", indent+"    ", strings.Join(brief, "; "))
	}
}

// exchange writes what was sent, what was seen, and what a page reads of it.
func (t *texter) exchange(e *Exchange, full bool) {
	at := e.URL
	if u, err := url.Parse(e.URL); err == nil {
		if own, err := url.Parse(t.report.URL); err == nil && originOf(u) == originOf(own) {
			at = strings.TrimPrefix(e.URL, u.Scheme+"://"+u.Host)
		}
	}
	seen := e.outcome()
	if e.Status != 0 && (t.opts.Verbose || e.TookMS >= noticed) {
		seen += fmt.Sprintf(", %d ms", e.TookMS)
	}
	t.line(indent, indent+"  ", e.Method+" "+at+" -> "+seen+e.page())
	if !full {
		return
	}
	for _, f := range e.Sent {
		t.line(indent+"> ", indent+"  ", f.Name+": "+f.Value)
	}
	for _, f := range e.Seen {
		t.line(indent+"< ", indent+"  ", f.Name+": "+f.Value)
	}
	if e.Excerpt != "" {
		t.line(indent+"< ", indent+"  ", e.Excerpt)
	}
}

// page says what a page reads.
func (e *Exchange) page() string {
	switch b := e.Browser; {
	case b == nil:
		return ""
	case !b.Allowed:
		return "; a page reads nothing"
	case len(b.Hidden) > 0:
		return "; a page reads it, not " + strings.Join(b.Hidden, ", ")
	default:
		for _, name := range b.Headers {
			if name == "WWW-Authenticate" {
				return "; a page reads it and WWW-Authenticate"
			}
		}
		return "; a page reads it"
	}
}

// finding writes how a rule is broken.
func (t *texter) finding(f Finding) {
	if v := t.report.Verdict.Finding; v != nil && v.Rule == f.Rule && v.Text == f.Text {
		t.line(indent+t.paint(string(f.Level), string(f.Level))+": ", indent+"      ", f.Text+" (see the top)")
		return
	}
	t.line(indent+t.paint(string(f.Level), string(f.Level))+": ", indent+"      ", f.Text)
	t.cures(indent+"  ", f)
}

// differences writes what differs at the upstream.
func (t *texter) differences() {
	u := t.report.Upstream
	if u == nil {
		return
	}
	t.b.WriteString("\n" + t.paint(string(u.Verdict.State), strings.ToUpper(string(u.Verdict.State))) + "  " + u.URL + " (upstream)\n")
	t.line("  ", "  ", u.Verdict.Text)
	if len(t.report.Differences) == 0 {
		t.b.WriteString("  no difference\n")
		return
	}
	var step string
	for _, d := range t.report.Differences {
		if d.Meant && !t.opts.Verbose {
			if d.Step != step {
				t.line("~ ", "  ", d.Step+": "+strings.Join(t.meant(d.Step), "; "))
			}
			step = d.Step
			continue
		}
		mark := "! "
		if d.Meant {
			mark = "~ "
		}
		t.line(mark, "  ", d.Step+": "+d.What)
		t.line("  here      ", "            ", d.Front)
		t.line("  upstream  ", "            ", d.Upstream)
	}
	t.b.WriteString("  (~ no client is the worse for it here, ! one may be)\n")
}

// meant names the differences of a step that are meant.
func (t *texter) meant(step string) []string {
	var what []string
	for _, d := range t.report.Differences {
		if d.Step == step && d.Meant {
			what = append(what, d.What)
		}
	}
	return what
}
