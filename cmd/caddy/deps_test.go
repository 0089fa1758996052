package main

import (
	"os/exec"
	"strings"
	"testing"
)

const module = "github.com/mcp-auth-bridge/caddy-mcp-auth-bridge"

// deps lists what a package imports, with all that that imports.
func deps(t *testing.T, pkg string) []string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", pkg).Output()
	if err != nil {
		t.Fatalf("go list -deps %s: %v", pkg, err)
	}
	return strings.Fields(string(out))
}

// What people build into Caddy has neither the demo nor what only tests need,
// the request path knows no web server, and its parts do not know each other.
func TestDependencies(t *testing.T) {
	testOnly := []string{module + "/internal/demo", module + "/internal/stage", module + "/internal/talk", module + "/internal/testcaddy", module + "/integration", "github.com/luikyv/go-oidc", "github.com/modelcontextprotocol/go-sdk"}
	for pkg, banned := range map[string][]string{
		module:                       testOnly,
		module + "/cmd/caddy":        testOnly,
		module + "/bridge":           append([]string{"github.com/caddyserver/", "go.uber.org/zap"}, testOnly...),
		module + "/bridge/challenge": {module, "github.com/", "golang.org/"},
		module + "/bridge/cors":      {module, "github.com/caddyserver/"},
		module + "/bridge/metadata":  {module, "github.com/caddyserver/"},
		module + "/bridge/record":    {module, "github.com/", "golang.org/"},
		module + "/bridge/login":     {module, "github.com/", "golang.org/"},
		module + "/bridge/message":   {module, "github.com/", "golang.org/"},
		module + "/bridge/stdio":     {module, "github.com/"},
		module + "/bridge/sse":       {module, "github.com/", "golang.org/"},
		module + "/internal/doctor":  append([]string{"github.com/caddyserver/", "github.com/spf13/", "go.uber.org/"}, testOnly...),
	} {
		got := deps(t, pkg)
		if len(got) == 0 || got[len(got)-1] != pkg {
			t.Errorf("%s: go list ends with %q", pkg, got[max(0, len(got)-1):])
		}
		for _, dep := range got {
			for _, prefix := range banned {
				if dep != pkg && strings.HasPrefix(dep, prefix) {
					t.Errorf("%s imports %s", pkg, dep)
				}
			}
		}
	}
}
