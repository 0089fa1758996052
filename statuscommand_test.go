package mcpauthbridge

import (
	"strings"
	"testing"
	"time"
)

// Rule B4, F2: the line that `caddy mcp status` says would allow what was refused is one
// that does. What a request names that is no origin, or no host, stands in none.
func TestStatusAdvice(t *testing.T) {
	for _, tt := range []struct{ origin, host, advice string }{
		{"https://app.example.com", "mcp.example.com", "cors { allow_origins https://app.example.com }"},
		{"https://ok.example } respond {", "mcp.example.com", ""},
		{"https://a\"}", "mcp.example.com", ""},
		{"https://x:99999", "mcp.example.com", ""},
		{"null", "mcp.example.com", ""},
		{strings.Repeat("https://x", 50) + "...", "mcp.example.com", ""},
		{"", "mcp.test:8080", "hosts mcp.test"},
		{"", "mcp.test", "hosts mcp.test"},
		{"", "a b", ""},
		{"", "x } respond {", ""},
	} {
		p := &statusPrinter{now: time.Now()}
		got := p.refusedText(&refusedStatus{Origin: tt.origin, Host: tt.host, Add: allowingLine(tt.origin, tt.host), Count: 2, Last: p.now})
		_, advice, _ := strings.Cut(got, ": ")
		if hosts, ok := strings.CutPrefix(advice, "hosts "); ok {
			if _, err := compileHosts([]string{hosts}); err != nil {
				t.Errorf("%s: %v", advice, err)
			}
		}
		if advice != tt.advice || !strings.Contains(got, "2 times") {
			t.Errorf("%q at %q: %s", tt.origin, tt.host, got)
		}
	}
}
