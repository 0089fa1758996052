package origin

import "testing"

func TestMeant(t *testing.T) {
	for s, want := range map[string][3]string{
		"mcp.example.com/mcp":         {"https://mcp.example.com/mcp", "https://mcp.example.com", "mcp.example.com"},
		"mcp.example.com:8443":        {"https://mcp.example.com:8443", "https://mcp.example.com:8443", "mcp.example.com"},
		"localhost:3000":              {"http://localhost:3000", "http://localhost:3000", "localhost"},
		"mcp-internal:3000/mcp":       {"http://mcp-internal:3000/mcp", "http://mcp-internal:3000", "mcp-internal"},
		"https://Mcp.Example.com/mcp": {"", "https://mcp.example.com", "mcp.example.com"},
		"https://[2001:db8::1]/":      {"", "https://[2001:db8::1]", "[2001:db8::1]"},
		"https://u:p@mcp.example.com": {"", "", ""},
		"ftp://mcp.example.com":       {"", "", ""},
		"/mcp":                        {"", "", ""},
		"":                            {"", "", ""},
		"a b":                         {"", "", ""},
	} {
		if got := [3]string{MeantURL(s), MeantOrigin(s), MeantHost(s)}; got != want {
			t.Errorf("%q: got %q, want %q", s, got, want)
		}
	}
}

func TestMeantIssuer(t *testing.T) {
	for s, want := range map[string]string{
		"https://login.example.com/.well-known/oauth-authorization-server":      "https://login.example.com",
		"https://login.example.com/.well-known/oauth-authorization-server/":     "https://login.example.com",
		"https://login.example.com/.well-known/oauth-authorization-server/a/b":  "https://login.example.com/a/b",
		"https://login.example.com/realms/mcp/.well-known/openid-configuration": "https://login.example.com/realms/mcp",
		"https://login.example.com/a.well-known/oauth-authorization-server":     "",
		"https://login.example.com/":                                            "",
	} {
		if got := MeantIssuer(s); got != want {
			t.Errorf("%q: got %q, want %q", s, got, want)
		}
	}
}

func FuzzMeant(f *testing.F) {
	for _, s := range []string{"mcp.example.com/mcp", "localhost:3000", "https://a/b", "[::1]:3"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if meant := MeantURL(s); meant != "" {
			if _, err := Parse(meant); err != nil {
				t.Errorf("%q: %q is no URL: %v", s, meant, err)
			}
		}
		if meant := MeantOrigin(s); meant != "" {
			if _, err := ParseOrigin(meant); err != nil {
				t.Errorf("%q: %q is no origin: %v", s, meant, err)
			}
		}
	})
}
