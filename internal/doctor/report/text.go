package report

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// width is the width of the text, in characters.
const width = 80

// briefLines is how many lines the text has without Verbose.
const briefLines = 14

// The limits of parts of the brief text, in lines.
const (
	findingLines = 4
	alsoLines    = 3
	footLines    = 2
	tokenLines   = 3
)

// TextOptions say how a report is written.
type TextOptions struct {
	// Color uses the colours of a terminal.
	Color bool
	// Verbose also writes each step, with what was sent and received.
	Verbose bool
}

// WriteText writes a report for people: the verdict and the fix, and with Verbose each
// step.
func (r *Report) WriteText(w io.Writer, opts TextOptions) error {
	t := &texter{opts: opts, report: r}
	t.brief()
	if opts.Verbose {
		t.b.WriteByte('\n')
		for _, s := range r.Steps {
			t.step(s)
		}
		t.differences()
	}
	_, err := io.WriteString(w, t.b.String())
	return err
}

// texter writes a report.
type texter struct {
	opts   TextOptions
	report *Report
	b      strings.Builder
}

// colours are those of the levels and states (ECMA-48, SGR).
var colours = map[string]string{
	string(Pass): "32", string(Warn): "33", string(Fail): "31", string(Skip): "2",
	"OK": "1;32", "WARNING": "1;33", "PROBLEM": "1;31", "UNREACHABLE": "1;31",
}

func (t *texter) paint(key, text string) string {
	if !t.opts.Color {
		return text
	}
	return "\x1b[" + colours[key] + "m" + text + "\x1b[0m"
}

// wrap breaks a text at spaces. first is put before the first line, and rest before the
// others.
func wrap(first, rest, text string) []string {
	var lines []string
	line, column := first, 0
	for _, word := range words(text) {
		n := utf8.RuneCountInString(word)
		if column > 0 && column+1+n > width {
			lines = append(lines, line)
			line, column = rest, 0
		}
		if column == 0 {
			column = utf8.RuneCountInString(line)
		} else {
			line += " "
			column++
		}
		line += word
		column += n
	}
	return append(lines, line)
}

// maxCode is how many bytes code may have that is not broken at its spaces.
const maxCode = 48

// words splits a text at its spaces, but not inside of code between backquotes, so that the
// code can be copied.
func words(text string) []string {
	var all []string
	code := false // the last word begins code that has not ended
	for word := range strings.FieldsSeq(text) {
		if last := len(all) - 1; code && len(all[last])+len(word) < maxCode {
			all[last] += " " + word
		} else {
			all = append(all, word)
		}
		code = code != (strings.Count(word, "`")%2 == 1)
	}
	return all
}

// clip returns at most limit lines, and marks that there were more.
func clip(lines []string, limit int) []string {
	if len(lines) <= limit {
		return lines
	}
	lines = lines[:limit:limit]
	if last := []rune(lines[limit-1]); len(last) > width-4 {
		lines[limit-1] = string(last[:width-4])
	}
	lines[limit-1] += " ..."
	return lines
}

// line writes a paragraph.
func (t *texter) line(first, rest, text string) {
	t.lines(wrap(first, rest, text))
}

func (t *texter) lines(lines []string) {
	for _, line := range lines {
		t.b.WriteString(line)
		t.b.WriteByte('\n')
	}
}

func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// word returns the first word of the text.
func (v *Verdict) word() string {
	switch {
	case v.State == Unreachable:
		return "UNREACHABLE"
	case v.State == Broken:
		return "PROBLEM"
	case v.Warnings > 0:
		return "WARNING"
	}
	return "OK"
}

// brief writes the verdict, the fix, and what else is wrong.
func (t *texter) brief() {
	v := t.report.Verdict
	word := v.word()
	t.b.WriteString(t.paint(word, word) + "  " + t.report.URL + "\n")
	body := t.search()
	if v.State == Healthy {
		body = append(body, clip(wrap("  ", "  ", v.Text), findingLines)...)
		body = append(body, t.issuer()...)
	} else {
		body = append(body, clip(wrap("  ", "  ", v.Effect+": "+sentence(v.Text)), findingLines)...)
	}
	if v.State == Healthy && v.Finding != nil {
		body = append(body, clip(wrap("  Warning: ", "  ", sentence(v.Finding.Text)), findingLines)...)
	}
	body = append(body, t.token()...)
	body = append(body, t.blame()...)
	foot := append(t.also(), clip(wrap("  ", "  ", t.foot()), footLines)...)
	t.lines(body)
	if v.Finding != nil {
		t.lines(t.fixes(*v.Finding, briefLines-1-len(body)-len(foot)))
	}
	t.lines(foot)
}

// sentence ends a text with a full stop. After a URL there is none, so that the URL can be
// copied.
func sentence(text string) string {
	if last := text[strings.LastIndexByte(text, ' ')+1:]; strings.HasSuffix(strings.TrimSuffix(text, `"`), ".") || strings.Contains(last, "://") {
		return text
	}
	return text + "."
}

// search says how the URL was found.
func (t *texter) search() []string {
	s := t.report.Search
	switch {
	case s == nil:
		return nil
	case s.Found:
		return clip(wrap("  ", "  ", "Given: "+s.Given+". Found an MCP server at this URL."), 2)
	case len(s.Tried) == 1:
		return nil
	}
	return clip(wrap("  ", "  ", "No MCP server found for "+s.Given+"; tried "+strings.Join(s.Tried, ", ")+"."), 2)
}

// issuer names the authorization server, if clients find it.
func (t *texter) issuer() []string {
	p := t.report.Proven
	if p.AuthorizationServer == "" {
		return nil
	}
	var can []string
	if p.PKCE {
		can = append(can, "PKCE")
	}
	text := "Authorization server: " + p.AuthorizationServer
	if can = append(can, p.Registration...); len(can) > 0 {
		text += " (" + strings.Join(can, ", ") + ")"
	}
	return clip(wrap("  ", "  ", text), 2)
}

// token describes the token of the caller.
func (t *texter) token() []string {
	k := t.report.Token
	switch {
	case k == nil:
		return nil
	case !k.JWT:
		return []string{"  Token: not a JWT, so the doctor cannot read it."}
	}
	var parts []string
	add := func(name, value string) {
		if value != "" {
			parts = append(parts, name+" "+value)
		}
	}
	add("issuer", k.Issuer)
	add("audience", strings.Join(k.Audience, ", "))
	add("scopes", strings.Join(k.Scopes, " "))
	add("bound to", k.Bound)
	add("expires", k.Expires)
	if len(parts) == 0 {
		parts = []string{"a JWT without the usual claims"}
	}
	return clip(wrap("  ", "  ", "Token: "+strings.Join(parts, "; ")), tokenLines)
}

// blame says on which side the cause is.
func (t *texter) blame() []string {
	switch t.report.Verdict.Blame {
	case "server":
		return clip(wrap("  ", "  ", "The cause is the server: "+t.report.Upstream.URL+" has the same problem."), 2)
	case "front":
		return clip(wrap("  ", "  ", "The cause is the proxy in front: "+t.report.Upstream.URL+" does not have this problem."), 2)
	}
	return nil
}

// fixes returns as many fixes as fit into a number of lines, and at least one.
func (t *texter) fixes(f Finding, limit int) []string {
	label := 0
	for _, c := range f.Cures {
		label = max(label, utf8.RuneCountInString(c.Where))
	}
	var lines []string
	for i, c := range f.Cures {
		name := "or "
		if i == 0 {
			name = "Fix"
		}
		first := fmt.Sprintf("  %s %-*s  ", name, label+2, "("+c.Where+")")
		one := wrap(first, strings.Repeat(" ", len(first)), c.Text)
		if i == 0 {
			one = clip(one, max(limit, 1))
		}
		if len(lines)+len(one) > max(limit, 1) {
			break
		}
		lines = append(lines, one...)
	}
	return lines
}

// also lists what else is wrong. What names the same wrong address has probably the same
// cause.
func (t *texter) also() []string {
	v := t.report.Verdict
	if v.Finding == nil {
		return nil
	}
	seen := map[string]bool{v.Finding.Short: true}
	var same, others []string
	for _, level := range []Level{Fail, Warn} {
		for _, s := range t.report.Steps {
			for _, f := range s.Findings {
				if f.Level != level || seen[f.Short] {
					continue
				}
				seen[f.Short] = true
				if cause := v.Finding.Facts["other"]; cause != "" && f.Facts["other"] == cause {
					same = append(same, f.Short)
				} else {
					others = append(others, f.Short)
				}
			}
		}
	}
	var lines []string
	if len(same) > 0 {
		lines = clip(wrap("  ", "  ", "Same cause, probably: "+sentence(strings.Join(same, "; "))), alsoLines-1)
	}
	if len(others) > 0 {
		lines = append(lines, clip(wrap("  ", "  ", "Also: "+sentence(strings.Join(others, "; "))), alsoLines-len(lines))...)
	}
	return lines
}

// foot counts the steps, and says how to see more.
func (t *texter) foot() string {
	var text []string
	v := t.report.Verdict
	if v.State != Healthy {
		first, _, _ := strings.Cut(v.Finding.Reference, ";")
		text = append(text, "Required by "+first+".")
	}
	passed, skipped := 0, 0
	for _, s := range t.report.Steps {
		switch s.Level {
		case Pass:
			passed++
		case Skip:
			skipped++
		}
	}
	count := plural(passed, "check", "checks") + " passed"
	if skipped > 0 {
		count += fmt.Sprintf(", %d skipped", skipped)
	}
	text = append(text, count+".")
	if u := t.report.Upstream; u != nil {
		text = append(text, "Upstream: "+u.Verdict.word()+", "+plural(len(t.report.Differences), "difference", "differences")+".")
	}
	var more []string
	if !t.opts.Verbose {
		more = append(more, "Details: -v")
	}
	if v.State == Healthy && t.report.Proven.AuthorizationServer != "" && !t.report.Proven.Session {
		more = append(more, "test of the login: --login")
	}
	if len(more) == 0 {
		return strings.Join(text, " ")
	}
	return strings.Join(text, " ") + " " + strings.ToUpper(more[0][:1]) + strings.Join(more, ", ")[1:]
}
