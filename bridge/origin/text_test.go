package origin

import (
	"strings"
	"testing"
)

// textCases are texts in which http://10.0.0.5:3000 and https://as.internal are the server's.
var textCases = []struct{ in, want string }{
	{"http://10.0.0.5:3000/device", "https://mcp.example.com/device"},
	{"http://10.0.0.5:3000", "https://mcp.example.com"},
	{"HTTP://10.0.0.5:3000/a?b=c#d", "https://mcp.example.com/a?b=c#d"},
	{"https://AS.internal.:443/a", "https://mcp.example.com/a"},
	{"go to http://10.0.0.5:3000/device and enter", "go to https://mcp.example.com/device and enter"},
	{"see http://10.0.0.5:3000.", "see https://mcp.example.com."},
	{"(http://10.0.0.5:3000), <https://as.internal>", "(https://mcp.example.com), <https://mcp.example.com>"},
	{"http://10.0.0.5:3000/?next=https://as.internal/x", "https://mcp.example.com/?next=https://mcp.example.com/x"},
	{`"http://10.0.0.5:3000"`, `"https://mcp.example.com"`},
	{"a+http://10.0.0.5:3000/x", "a+https://mcp.example.com/x"},
	{"http://10.0.0.5:3000\\x", "https://mcp.example.com\\x"},

	{"", ""},
	{"http://10.0.0.5:3001/x", "http://10.0.0.5:3001/x"},
	{"https://10.0.0.5:3000/x", "https://10.0.0.5:3000/x"},
	{"http://a@10.0.0.5:3000/x", "http://a@10.0.0.5:3000/x"},
	{"http://10.0.0.5:3000@evil.test/x", "http://10.0.0.5:3000@evil.test/x"},
	{"http://10.0.0.5:3000.evil.test/x", "http://10.0.0.5:3000.evil.test/x"},
	{"ftp://10.0.0.5:3000/x", "ftp://10.0.0.5:3000/x"},
	{"10.0.0.5:3000", "10.0.0.5:3000"},
	{"://", "://"},
	{"http://", "http://"},
	{"https://as.internal.evil.test", "https://as.internal.evil.test"},
}

func ownText(u URL) bool {
	return u.Origin() == "http://10.0.0.5:3000" || u.Origin() == "https://as.internal"
}

// C5: in text the server's URLs become public ones, and no other byte changes.
func TestMapText(t *testing.T) {
	for _, tc := range textCases {
		got, changed := MapText(tc.in, "https://mcp.example.com", ownText)
		if got != tc.want || changed != (tc.in != tc.want) {
			t.Errorf("MapText(%q) = %q, %v; want %q", tc.in, got, changed, tc.want)
		}
	}
}

// After mapping nothing is left to map, and a text without the hosts does not change.
func FuzzMapText(f *testing.F) {
	for _, tc := range textCases {
		f.Add(tc.in)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, changed := MapText(s, "https://mcp.example.com", ownText)
		if !changed {
			if got != s {
				t.Fatalf("%q became %q, and is said to be unchanged", s, got)
			}
			return
		}
		if lower := strings.ToLower(s); !strings.Contains(lower, "10.0.0.5") && !strings.Contains(lower, "as.internal") && !strings.Contains(lower, "[") {
			t.Fatalf("%q became %q", s, got)
		}
		if again, more := MapText(got, "https://mcp.example.com", ownText); more {
			t.Fatalf("%q became %q, and that %q", s, got, again)
		}
	})
}
