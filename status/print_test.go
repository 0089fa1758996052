package status

import (
	"strings"
	"testing"
	"time"
)

// Rule B4, F2: `caddy mcp status` has the lines that would allow what was refused, if there
// are any, in a form that can be pasted.
func TestStatusAdvice(t *testing.T) {
	for _, tt := range []struct{ origin, add, advice string }{
		{"https://app.example.com", "allow_origins https://app.example.com", "add\n    cors {\n    \tallow_origins https://app.example.com\n    }\n"},
		{"https://ok.example } respond {", "", ""},
		{"https://a\"}", "", ""},
		{"https://x:99999", "", ""},
		{"null", "", ""},
		{strings.Repeat("https://x", 50) + "...", "", ""},
		{"", "hosts mcp.test", "add\n    hosts mcp.test\n"},
		{"", "", ""},
	} {
		p := &printer{now: time.Now()}
		p.details(&endpointState{Refused: []refusedState{{Origin: tt.origin, Add: tt.add, Snippet: Snippet(tt.add), Count: 2, Last: p.now}}})
		if got := p.b.String(); !strings.Contains(got, "2 times") || (tt.advice == "") != !strings.Contains(got, "add\n") || !strings.Contains(got, tt.advice) {
			t.Errorf("%q: %s", tt.origin, got)
		}
	}
}

// Numbers have the plural that they need.
func TestPlurals(t *testing.T) {
	for n, want := range map[uint64]string{0: "0 times, 0 notices", 1: "once, 1 notice", 2: "2 times, 2 notices"} {
		if got := times(n) + ", " + count(n, "notice"); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

// Rule F2: `caddy mcp status` says why the programs of an endpoint need attention, what helps,
// and what the last one wrote, in a form that no terminal acts on.
func TestStatusOfPrograms(t *testing.T) {
	now := time.Now()
	soon, before := now.Add(8*time.Second), now.Add(-20*time.Second)
	last := &exitState{At: before, Count: 3, Cause: "crashed", Status: "exit status 3", Stderr: []string{"no \x1b[31mmodule"}, Advice: "run it by hand"}
	for name, tt := range map[string]struct {
		state *programState
		want  string
	}{
		"none":     {nil, ""},
		"ready":    {&programState{State: programReady}, ""},
		"again":    {&programState{State: programReady, Failed: 3, Last: last}, "\n\n  the stdio server ended soon after its start, 3 times in a row (crashed, exit status 3), and is started again with the next request; run it by hand\n    stderr  no \\x1b[31mmodule\n"},
		"backoff":  {&programState{State: programBackoff, Failed: 3, Retry: &soon, Last: last}, "\n\n  the stdio server ended soon after its start, 3 times in a row (crashed, exit status 3), and is started again 8 seconds from now; run it by hand\n    stderr  no \\x1b[31mmodule\n"},
		"starting": {&programState{State: programStarting, Since: &before, Last: last}, "\n\n  the stdio server has not answered since its start 20 seconds ago; " + slowAdvice + "\n"},
		"ended":    {&programState{State: programReady, Last: last}, "\n\n  the stdio server ended (crashed, exit status 3), last 20 seconds ago; run it by hand\n    stderr  no \\x1b[31mmodule\n"},
	} {
		t.Run(name, func(t *testing.T) {
			p := &printer{now: now}
			p.details(&endpointState{Program: tt.state})
			if got := p.b.String(); got != tt.want {
				t.Errorf("got\n%q\nwant\n%q", got, tt.want)
			}
		})
	}
}
