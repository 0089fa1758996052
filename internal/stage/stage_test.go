package stage_test

import (
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/demo"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/stage"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/testcaddy"
)

// The Caddyfile that the demonstration prints loads as it is, and is formatted.
func TestCaddyfileLoads(t *testing.T) {
	for name, opts := range map[string]stage.Options{
		"whole":    {Program: []string{"/bin/sh", "-c", `echo "a b"`}},
		"cohosted": {Demo: demo.Options{SameOrigin: true}},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := stage.Start(t.Context(), opts)
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			testcaddy.Run(t, s.Caddyfile)
			if got := string(caddyfile.Format([]byte(s.Caddyfile))); got != s.Caddyfile {
				t.Errorf("caddy fmt makes of it\n%s", got)
			}
		})
	}
}
