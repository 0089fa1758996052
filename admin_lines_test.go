package mcpauthbridge

import (
	"strings"
	"testing"
)

// Rule B4, F2: the line that the status says would allow what was refused is one that does.
// What a request names that is no origin, or no host, stands in none.
func TestAllowingLine(t *testing.T) {
	for _, tt := range []struct{ origin, host, line string }{
		{"https://app.example.com", "mcp.example.com", "allow_origins https://app.example.com"},
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
		got := allowingLine(tt.origin, tt.host)
		if hosts, ok := strings.CutPrefix(got, "hosts "); ok {
			if _, err := compileHosts([]string{hosts}); err != nil {
				t.Errorf("%s: %v", got, err)
			}
		}
		if got != tt.line {
			t.Errorf("%q at %q: %s", tt.origin, tt.host, got)
		}
	}
}
