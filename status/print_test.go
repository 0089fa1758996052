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
