package integration_test

import (
	"bytes"
	"context"
	"encoding/json"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/integration"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/stage"
)

// step is what one step of the page came to.
type step struct{ State, Text string }

// walk is what page.mjs reports.
type walk struct {
	Before, After    map[string]map[string]step
	Consent          struct{ Origin, Text string }
	Requests, Errors []string
}

// Rules A1, A5, B1, B2, B5, C1, C3: a page on another origin reads the 401
// and its challenge on the first request, fetches the metadata that it names,
// logs in and calls a tool; with plain reverse_proxy it does not get past the
// first request.
func TestPageInChromium(t *testing.T) {
	folder, chromium := integration.NeedNode(t), integration.NeedChromium(t)
	s, err := stage.Start(t.Context(), stage.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "node", "page.mjs", chromium, s.Page, t.TempDir()) //nolint:gosec // both are the test's own
	cmd.Dir = folder
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s%s", err, out, stderr.String())
	}
	var got walk
	if err := json.Unmarshal(out, &got); err != nil {
		t.Fatalf("%v in %q", err, out)
	}
	wellKnown := strings.TrimSuffix(s.Bridge, "/mcp") + "/.well-known/oauth-protected-resource/mcp"

	for column, want := range map[string]map[string]string{
		"bridge": {"request": "ok", "challenge": "ok", "metadata": "ok", "login": "waiting", "tool": "pending"},
		"plain":  {"request": "failed", "challenge": "skipped", "metadata": "skipped", "login": "skipped", "tool": "skipped"},
	} {
		for name, state := range want {
			if g := got.Before[column][name]; g.State != state {
				t.Errorf("before the login, %s, %s: got %q (%s), want %q", column, name, g.State, g.Text, state)
			}
		}
	}
	for _, name := range []string{"request", "challenge", "metadata", "login", "tool"} {
		if g := got.After["bridge"][name]; g.State != "ok" {
			t.Errorf("after the login, bridge, %s: got %q (%s), want ok", name, g.State, g.Text)
		}
	}
	if g := got.Before["bridge"]["request"].Text; g != "HTTP 401" {
		t.Errorf("first request: got %q, want HTTP 401", g)
	}
	if g, want := got.Before["bridge"]["challenge"].Text, `Bearer resource_metadata="`+wellKnown+`", scope="mcp:read"`; g != want {
		t.Errorf("challenge as the script reads it: got %q, want %q", g, want)
	}
	if !slices.Contains(got.Requests, "GET "+wellKnown) {
		t.Errorf("requests %q lack the metadata that the challenge names, %s", got.Requests, wellKnown)
	}
	if g, want := got.After["bridge"]["tool"].Text, "whoami: alice"; g != want {
		t.Errorf("tool call: got %q, want %q", g, want)
	}
	if got.Consent.Origin != s.Issuer() || !strings.Contains(got.Consent.Text, s.Bridge) {
		t.Errorf("consent page at %s says %q, want it at %s and for %s", got.Consent.Origin, got.Consent.Text, s.Issuer(), s.Bridge)
	}
	for _, r := range got.Requests {
		if strings.Contains(r, s.Private()) {
			t.Errorf("the browser was sent to the private address: %s", r)
		}
	}
	if len(got.Errors) > 0 {
		t.Errorf("script errors: %q", got.Errors)
	}
}
