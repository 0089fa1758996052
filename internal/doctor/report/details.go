package report

import (
	"fmt"
	"net/url"
	"strings"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/doctor/urls"
)

// indent is put before the lines of a step, except its first.
const indent = "      "

// cures writes the reference and all fixes of a finding.
func (t *texter) cures(in string, f Finding) {
	t.line(in+"required by  ", in+"             ", f.Reference)
	for _, c := range f.Cures {
		t.line(in+"fix          ", in+"             ", c.Where+": "+c.Text)
	}
}

// step writes a step.
func (t *texter) step(s *Step) {
	head := s.Title
	if s.Why != "" {
		head += ": " + s.Why
	}
	t.line(t.paint(string(s.Level), string(s.Level))+"  ", indent, head)
	for _, e := range s.Exchanges {
		t.exchange(e)
	}
	t.passed(s)
	for _, f := range s.Findings {
		if f.Level != Pass {
			t.finding(f)
		}
	}
}

// passed writes the rules of a step that are met.
func (t *texter) passed(s *Step) {
	for _, f := range s.Findings {
		if f.Level == Pass {
			t.line(indent+"ok: ", indent+"    ", f.Text+" ["+f.Reference+"]")
		}
	}
}

// exchange writes a request, its response, and what a page can read of it.
func (t *texter) exchange(e *Exchange) {
	at := e.URL
	if u, err := url.Parse(e.URL); err == nil {
		if own, err := url.Parse(t.report.URL); err == nil && urls.Origin(u) == urls.Origin(own) {
			at = strings.TrimPrefix(e.URL, u.Scheme+"://"+u.Host)
		}
	}
	seen := e.Outcome()
	if e.Status != 0 {
		seen += fmt.Sprintf(", %d ms", e.TookMS)
	}
	t.line(indent, indent+"  ", e.Method+" "+at+" -> "+seen+e.page())
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

// page describes what a page can read of the response.
func (e *Exchange) page() string {
	switch b := e.Browser; {
	case b == nil:
		return ""
	case !b.Allowed:
		return "; not readable by browser clients"
	case len(b.Hidden) > 0:
		return "; browser clients read it, except " + strings.Join(b.Hidden, ", ")
	default:
		for _, name := range b.Headers {
			if name == "WWW-Authenticate" {
				return "; browser clients read it and WWW-Authenticate"
			}
		}
		return "; browser clients read it"
	}
}

// finding writes a broken rule.
func (t *texter) finding(f Finding) {
	t.line(indent+t.paint(string(f.Level), string(f.Level))+": ", indent+"      ", f.Text)
	t.cures(indent+"  ", f)
}

// differences writes the verdict for the upstream, and what differs there.
func (t *texter) differences() {
	u := t.report.Upstream
	if u == nil {
		return
	}
	word := u.Verdict.word()
	t.b.WriteString("\n" + t.paint(word, word) + "  " + u.URL + " (upstream)\n")
	t.line("  ", "  ", u.Verdict.Text)
	if len(t.report.Differences) == 0 {
		t.b.WriteString("  no difference\n")
		return
	}
	for _, d := range t.report.Differences {
		mark := "! "
		if d.Meant {
			mark = "~ "
		}
		t.line(mark, "  ", d.Step+": "+d.What)
		t.line("  here      ", "            ", d.Front)
		t.line("  upstream  ", "            ", d.Upstream)
	}
	t.b.WriteString("  (~ harmless for clients, ! may be the cause of a problem)\n")
}
