package origin

import "testing"

// The host of an authority and of an origin is the same, whether a port is written or not.
func TestHostname(t *testing.T) {
	for authority, want := range map[string]string{
		"mcp.example.com": "mcp.example.com", "mcp.example.com:8443": "mcp.example.com",
		"127.0.0.1": "127.0.0.1", "127.0.0.1:80": "127.0.0.1",
		"[::1]": "::1", "[::1]:8443": "::1", "::1": "::1", "": "",
	} {
		if got := Hostname(authority); got != want {
			t.Errorf("Hostname(%q) = %q, want %q", authority, got, want)
		}
		if got := HostnameOf("https://" + authority); got != want {
			t.Errorf("HostnameOf(https://%s) = %q, want %q", authority, got, want)
		}
	}
}
