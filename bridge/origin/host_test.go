package origin

import "testing"

func TestLoopback(t *testing.T) {
	for _, c := range []struct {
		host           string
		loopback, ipOr bool
	}{
		{"localhost", true, true},
		{"LocalHost", true, true},
		{"localhost.", true, true},
		{"app.localhost", true, false},
		{".localhost", false, false},
		{"notlocalhost", false, false},
		{"localhost.example.com", false, false},
		{"127.0.0.1", true, true},
		{"127.255.255.254", true, true},
		{"127.0.0.1.example.com", false, false},
		{"127.0.0.1.nip1", false, false},
		{"128.0.0.1", false, true},
		{"0.0.0.0", false, true},
		{"192.168.1.5", false, true},
		{"::1", true, true},
		{"[::1]", true, true},
		{"::1%lo", true, true},
		{"::ffff:127.0.0.1", true, true},
		{"[::ffff:7f00:1]", true, true},
		{"::2", false, true},
		{"[2001:db8::1]", false, true},
		{"127.1", false, false},
		{"example.com", false, false},
		{"", false, false},
		{"[]", false, false},
		{"host:80", false, false},
	} {
		t.Run(c.host, func(t *testing.T) {
			if got := IsLoopback(c.host); got != c.loopback {
				t.Errorf("IsLoopback(%q) = %v; want %v", c.host, got, c.loopback)
			}
			if got := IsIPOrLocalhost(c.host); got != c.ipOr {
				t.Errorf("IsIPOrLocalhost(%q) = %v; want %v", c.host, got, c.ipOr)
			}
		})
	}
}
