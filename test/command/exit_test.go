//go:build unix

package command_test

import (
	"errors"
	"io"
	"net/http"
	"os"
	"strconv"
	"syscall"
	"testing"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/mcptest"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/testcaddy"
)

// Rule D5: when Caddy is told to exit, the open streams of sessions end at once, and so do the
// programs. Caddy by itself would wait for the streams for as long as clients keep them open.
func TestExitEndsStreamsOfSessions(t *testing.T) {
	for _, signal := range []os.Signal{syscall.SIGTERM, os.Interrupt} {
		t.Run(signal.String(), func(t *testing.T) {
			self, err := os.Executable()
			if err != nil {
				t.Fatal(err)
			}
			served := serve(t, "--listen", testcaddy.Addr(testcaddy.FreePort(t)), "--", "/usr/bin/env", mcptest.ChildServer+"=1", self, "-test.run=^$")
			s := mcptest.BeginAs(t, mcptest.NewClient(t), served.url, "t")
			program, failed := s.Text(s.Call("pid", 0))
			pid, err := strconv.Atoi(program)
			if err != nil || failed {
				t.Fatalf("got %q, failed %t", program, failed)
			}
			stream, err := mcptest.NewClient(t).Do(mcptest.NewRequest(t, "GET", served.url, "", "Accept", "text/event-stream", "Mcp-Session-Id", s.ID))
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = stream.Body.Close() }()
			if stream.StatusCode != http.StatusOK {
				t.Fatalf("GET: %d", stream.StatusCode)
			}
			if code := served.end(signal); code != 0 {
				t.Errorf("exit code %d, want 0: Caddy waited for the stream, or failed", code)
			}
			if rest, err := io.ReadAll(stream.Body); err != nil {
				t.Errorf("the stream broke off after %q: %v, want its end", rest, err)
			}
			if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
				t.Errorf("the program is left: %v", err)
			}
		})
	}
}
