package integration_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/integration"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/testcaddy"
)

// talked is what talk.mjs reports.
type talked struct {
	Server, Echo, Long, Resumed, Sampled, Listing, Session string
	Tools                                                  []string
	Progress                                               []int
	Resources                                              int
	Statuses                                               map[string]int
}

func talkTo(t *testing.T, version, url string, what ...string) talked {
	t.Helper()
	return runNode[talked](t, patience, "talk.mjs", append([]string{version, url}, what...)...)
}

// stdioFront serves a program of npm's.
func stdioFront(t *testing.T, folder, program string, arguments ...string) string {
	t.Helper()
	addr := testcaddy.Addr(testcaddy.FreePort(t))
	var quoted strings.Builder
	for _, a := range arguments {
		fmt.Fprintf(&quoted, " %q", a)
	}
	testcaddy.Run(t, fmt.Sprintf(`{
	auto_https off
}
http://%s {
	bind 127.0.0.1
	mcp_auth_bridge {
		stdio %q%s {
			env PATH
		}
	}
}`, addr, filepath.Join(folder, "node_modules", ".bin", program), quoted.String()))
	return "http://" + addr + "/mcp"
}

// Rules D3, D5, D6: the official servers, which speak over standard input and
// output, serve the clients of both TypeScript SDKs, with progress on the call that
// it belongs to and sampling in the middle of a call, and resumed if the connection breaks.
func TestStdioServers(t *testing.T) {
	folder := integration.NeedNode(t)
	for _, version := range []string{"v1", "v2"} {
		t.Run("server-everything/"+version, func(t *testing.T) {
			got := talkTo(t, version, stdioFront(t, folder, "mcp-server-everything", "stdio"), "everything")
			if got.Echo != "Echo: héllo" || !slices.Equal(got.Progress, []int{1, 2, 3, 4}) || !strings.Contains(got.Sampled, "sampled here") || got.Resources == 0 {
				t.Errorf("got %+v", got)
			}
			if !strings.Contains(got.Long, "completed") || got.Session == "" || got.Statuses["DELETE 204"] != 1 {
				t.Errorf("got %+v", got)
			}
			if !strings.Contains(got.Resumed, "completed") || got.Statuses["GET 200 resumed"] != 1 {
				t.Errorf("a call whose connection breaks while it waits: got %+v", got)
			}
		})
		t.Run("server-filesystem/"+version, func(t *testing.T) {
			dir, err := filepath.EvalSymlinks(t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, "a file"), []byte("x"), 0o600); err != nil {
				t.Fatal(err)
			}
			got := talkTo(t, version, stdioFront(t, folder, "mcp-server-filesystem", dir), "filesystem", dir)
			if got.Listing != "[FILE] a file" || !slices.Contains(got.Tools, "read_file") {
				t.Errorf("got %+v", got)
			}
		})
	}
}
