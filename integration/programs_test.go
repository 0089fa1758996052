package integration_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/integration"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/testcaddy"
)

// runNode runs a program of integration/node to its end, which must come in time. It returns what
// the program prints, which is JSON.
func runNode[T any](t *testing.T, within time.Duration, program string, arguments ...string) (printed T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	cmd := exec.CommandContext(ctx, "node", append([]string{program}, arguments...)...)
	cmd.Dir = integration.NeedNode(t)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s%s\nlog:\n%s", program, err, out, stderr.Bytes(), strings.Join(testcaddy.Logs(), "\n"))
	}
	if err := json.Unmarshal(out, &printed); err != nil {
		t.Fatalf("%s: %v in %s", program, err, out)
	}
	return printed
}

// startNode starts a program of integration/node that ends when its standard input does, which is
// at the end of the test. It returns both ends of it.
func startNode(t *testing.T, program string, arguments ...string) (in io.Writer, out *bufio.Reader) {
	t.Helper()
	cmd := exec.Command("node", append([]string{program}, arguments...)...)
	cmd.Dir = integration.NeedNode(t)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if testing.Verbose() {
		cmd.Stderr = os.Stderr
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = stdin.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("%s: %v", program, err)
		}
	})
	return stdin, bufio.NewReader(stdout)
}
