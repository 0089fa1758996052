package upstreams

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/process"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/mcptest"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/need"
)

// Rule D5c: of a program that does not answer the log says what it did: nothing, which a
// program that is being downloaded does as well, no line end (an old line end, a forgotten
// flush), or something else.
func TestSilence(t *testing.T) {
	sh := need.Program(t, "sh", "install a shell")
	for written, want := range map[string]string{
		"":                       "written nothing to its stdout yet; it may still be starting",
		`{"jsonrpc":"2.0"}`:      "no line end",
		`{"jsonrpc":"2.0"}\r`:    "no line end",
		`ready\n{"jsonrpc":`:     "no line end",
		`ready\n`:                "wrote no answer",
		`ready\nand waiting\r\n`: "wrote no answer",
	} {
		t.Run(written, func(t *testing.T) {
			p := &program{}
			cfg := process.Config{Command: []string{sh, "-c", `printf "$0"; cat >&2`, written}}
			cfg.Stray = func([]byte, error) { p.wrote.Store(true) }
			var err error
			if p.Process, err = process.Start(context.Background(), cfg); err != nil {
				t.Fatal(err)
			}
			defer p.Close()
			mcptest.Poll(t, time.Minute, func() string {
				if got := p.Silence(); !strings.Contains(got, want) {
					return fmt.Sprintf("got %q, want %q", got, want)
				}
				return ""
			})
		})
	}
}
