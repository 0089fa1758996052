package integration_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/integration"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/testcaddy"
)

// The revisions whose scenarios are run. The suite's scenarios for older ones are
// among those of sessions, but for the logins of backcompat.
const (
	sessions   = "2025-11-25"
	stateless  = "2026-07-28"
	backcompat = "2025-03-26"
)

// suitePatience is how long a scenario of the suite may take. The suite starts all clients at
// once, each with a bridge, so the clock of each runs while the others start.
const suitePatience = 3 * patience

// buildConformance builds one of the Go SDK's two programs for the suite.
func buildConformance(t *testing.T, name string) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), name)
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", program, "github.com/modelcontextprotocol/go-sdk/conformance/"+name)
	cmd.Dir = ".."
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("building %s: %v\n%s", name, err, out)
	}
	return program
}

// check is one check of the suite.
type check struct{ scenario, id string }

// verdicts are the statuses that the suite gave a check, each once. What it only
// notes (INFO) is left out.
type verdicts map[check]string

// runSuite runs all scenarios of the official conformance suite.
func runSuite(t *testing.T, arguments ...string) verdicts {
	t.Helper()
	return runScenarios(t, append(arguments, "--suite", "all")...)
}

// runScenarios runs scenarios of the official conformance suite.
func runScenarios(t *testing.T, arguments ...string) verdicts {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), suitePatience+patience)
	defer cancel()
	out := t.TempDir()
	arguments = append([]string{"conformance.mjs"}, append(arguments, "--timeout", strconv.FormatInt(suitePatience.Milliseconds(), 10), "--output-dir", out)...)
	cmd := exec.CommandContext(ctx, "node", arguments...)
	cmd.Dir = integration.NeedNode(t)
	cmd.WaitDelay = time.Second
	said, err := cmd.CombinedOutput() // a check that fails is an error as well
	t.Cleanup(func() {
		if t.Failed() { // what the suite and its clients have printed says why
			t.Logf("%s", said)
		}
	})
	got := make(verdicts)
	if err := fs.WalkDir(os.DirFS(out), ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.Name() != "checks.json" {
			return err
		}
		return got.read(out, path)
	}); err != nil {
		t.Fatal(err)
	}
	if whole := slices.Contains(arguments, "--suite"); len(got) == 0 || whole && !bytes.Contains(said, []byte("SUMMARY")) {
		t.Fatalf("%v\n%s", err, said)
	}
	if testing.Verbose() {
		t.Logf("%d checks", len(got))
	}
	return got
}

// resultFolder is where a scenario's results are: [server-]scenario-time.
var resultFolder = regexp.MustCompile(`^(?:server-)?(.+)-\d{4}-\d\d-\d\dT[-\dZ]+$`)

func (v verdicts) read(out, path string) error {
	folder := resultFolder.FindStringSubmatch(filepath.ToSlash(filepath.Dir(path)))
	if folder == nil {
		return fmt.Errorf("what scenario is %q of?", path)
	}
	raw, err := os.ReadFile(filepath.Join(out, path))
	if err != nil {
		return err
	}
	var checks []struct{ ID, Status, ErrorMessage string }
	if err := json.Unmarshal(raw, &checks); err != nil {
		return err
	}
	statuses := make(map[check]map[string]bool)
	for _, c := range checks {
		at := check{folder[1], c.ID}
		if c.Status == "INFO" {
			continue
		}
		if statuses[at] == nil {
			statuses[at] = make(map[string]bool)
		}
		statuses[at][c.Status] = true
	}
	for at, all := range statuses {
		v[at] = strings.Join(slices.Sorted(maps.Keys(all)), ",")
	}
	return nil
}

// flawless asserts that no check failed and that there were as many as expected
// of the suite's pinned version, so that what is compared with it means something.
func (v verdicts) flawless(t *testing.T, atLeast int) {
	t.Helper()
	for at, status := range v {
		if strings.Contains(status, "FAILURE") {
			t.Errorf("without the bridge: %s %s: %s", at.scenario, at.id, status)
		}
	}
	if len(v) < atLeast {
		t.Errorf("without the bridge there are %d checks, want %d", len(v), atLeast)
	}
}

// differences lists what the suite says behind the bridge and not without it, as
// lines of testdata/conformance-differences.txt.
func differences(front, revision string, direct, bridged verdicts) []string {
	var lines []string
	all := maps.Clone(direct)
	maps.Copy(all, bridged)
	for at := range all {
		if a, b := cmp.Or(direct[at], "-"), cmp.Or(bridged[at], "-"); a != b {
			lines = append(lines, strings.Join([]string{front, revision, at.scenario, at.id, a, b}, " "))
		}
	}
	slices.Sort(lines)
	return lines
}

// expectedDifferences are the lines for one front and revision.
func expectedDifferences(t *testing.T, front, revision string) []string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("testdata", "conformance-differences.txt"))
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for paragraph := range strings.SplitSeq(string(raw), "\n\n") {
		reason := false
		for line := range strings.SplitSeq(strings.TrimSpace(paragraph), "\n") {
			switch {
			case strings.HasPrefix(line, "# "):
				reason = true
			case !reason || len(strings.Fields(line)) != 6:
				t.Errorf("%q has no reason, or not six fields", line)
			case strings.HasPrefix(line, front+" "+revision+" "):
				lines = append(lines, line)
			}
		}
	}
	slices.Sort(lines)
	return lines
}

// compare asserts that the suite says behind a front what it says without the
// bridge, but for what is listed with a reason.
func compare(t *testing.T, front, revision string, direct, bridged verdicts) {
	t.Helper()
	got, want := differences(front, revision, direct, bridged), expectedDifferences(t, front, revision)
	for _, line := range got {
		if !slices.Contains(want, line) {
			t.Errorf("not listed:\n%s", line)
		}
	}
	for _, line := range want {
		if !slices.Contains(got, line) {
			t.Errorf("listed, and not so:\n%s", line)
		}
	}
}

// Rules B4, D1, D3, D5, D6: the official conformance suite says the same of one
// server directly and behind the bridge, where that passes Streamable HTTP on,
// runs the server as a program, or speaks HTTP+SSE with it, but for the
// differences that testdata/conformance-differences.txt has reasons for.
func TestConformanceOfServers(t *testing.T) {
	integration.NeedNode(t)
	program := buildConformance(t, "everything-server")
	for _, tc := range []struct {
		revision string
		flags    []string // of the server, where it speaks Streamable HTTP
		fronts   []string
		checks   int // without the bridge
	}{
		{sessions, []string{"-stateless=false"}, []string{"pass-through", "stdio", "sse"}, 60},
		{stateless, nil, []string{"pass-through", "stdio", "sse"}, 130},
	} {
		t.Run(tc.revision, func(t *testing.T) {
			server := startConformanceServer(t, program, tc.flags...)
			direct := runSuite(t, "server", "--spec-version", tc.revision, "--url", "http://"+server+"/mcp")
			direct.flawless(t, tc.checks)
			addr := testcaddy.FreePort(t)
			// The site takes any host, so that it is not Caddy that refuses a rebound one.
			testcaddy.Run(t, fmt.Sprintf(`{
	auto_https off
}
http://:%d {
	bind 127.0.0.1
	mcp_auth_bridge /pass-through http://%s/mcp
	mcp_auth_bridge /stdio {
		stdio %q
	}
	mcp_auth_bridge /sse sse+%s
}`, addr, server, program, serveAsSSE(t, program)))
			for _, front := range tc.fronts {
				t.Run(front, func(t *testing.T) {
					url := fmt.Sprintf("http://%s/%s", testcaddy.Addr(addr), front)
					compare(t, front, tc.revision, direct, runSuite(t, "server", "--spec-version", tc.revision, "--url", url))
				})
			}
		})
	}
}

// Rules A3 to A6, C1 to C3, C5, D1: the suite's servers, of which most want a
// login, say the same of one client whether it reaches them directly or through
// the bridge.
func TestConformanceOfClients(t *testing.T) {
	integration.NeedNode(t)
	program := buildConformance(t, "everything-client")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv(conformanceClient, program)
	t.Setenv("XDG_DATA_HOME", t.TempDir())
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	for _, tc := range []struct {
		revision string
		options  string // of the directive
		checks   int    // without the bridge
	}{
		{backcompat, "authorization_server bridge", 10},
		{sessions, "", 190},
		{stateless, "", 300},
	} {
		t.Run(tc.revision, func(t *testing.T) {
			t.Setenv(conformanceOptions, tc.options)
			run := func(command string) verdicts {
				return runSuite(t, "client", "--spec-version", tc.revision, "--command", "'"+command+"'")
			}
			direct := run(program)
			direct.flawless(t, tc.checks)
			compare(t, "client", tc.revision, direct, run(self))
		})
	}
}
