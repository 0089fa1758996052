package bridge

import (
	"errors"
	"net/url"
	"strings"
	"testing"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/sse"
)

// pathConfigs are endpoints of each kind, with everything that adds a path.
func pathConfigs() map[string]Config {
	configs := make(map[string]Config)
	for _, path := range []string{"/", "/mcp", "/a/b/mcp"} {
		own := strings.TrimSuffix(path, "/")
		for _, kind := range []Kind{KindHTTP, KindSSE, KindStdio} {
			c := Config{Path: path, Kind: kind, Sealer: func() (*sse.Sealer, error) { return nil, errors.New("no key") }}
			configs[string(kind)+" "+path] = c
			c.LegacyPath, c.LegacyMessage = own+"/sse", own+"/sse/message"
			configs[string(kind)+" "+path+" legacy"] = c
			c.LegacyPath, c.LegacyMessage = "/events", "/elsewhere"
			configs[string(kind)+" "+path+" legacy elsewhere"] = c
			if kind == KindSSE {
				c.MessagePath = "/messages"
				configs[string(kind)+" "+path+" message path"] = c
				c.OwnedMessages = true
				configs[string(kind)+" "+path+" message path of an owner"] = c
			}
		}
	}
	return configs
}

// answered says in other words than Match which paths the documentation gives an
// endpoint: both slash forms (A10), the paths of legacy_sse, the message paths of
// an HTTP+SSE server (D2).
func answered(c Config, path string) bool {
	own := strings.TrimSuffix(c.Path, "/")
	switch path {
	case c.Path:
		return true
	case own + "/":
		return true
	case "":
		return false
	case c.LegacyPath:
		return true
	case c.LegacyMessage:
		return c.Kind != KindSSE
	}
	if c.Kind != KindSSE {
		return false
	}
	if c.MessagePath != "" && !c.OwnedMessages {
		return path == own+"/message"
	}
	return strings.HasPrefix(path, own+"/message/")
}

// Rule A10: every path that is listed is answered.
func TestListedPathsAreAnswered(t *testing.T) {
	for name, c := range pathConfigs() {
		e := New(c)
		paths := e.Paths()
		if len(paths) == 0 || paths[0].Path != c.Path {
			t.Errorf("%s: the endpoint does not come first in %v", name, paths)
		}
		for _, p := range paths {
			for _, below := range []string{"", "x", "x/y", "A-_z%"} {
				if below != "" && !p.Below {
					continue
				}
				if target, _ := e.Match(p.Path + below); target == TargetNone {
					t.Errorf("%s: %q is listed and not answered", name, p.Path+below)
				}
				if !answered(c, p.Path+below) {
					t.Errorf("%s: %q is listed, which is none of the endpoint's", name, p.Path+below)
				}
			}
		}
	}
}

// FuzzMatchIsListed: whatever is answered is of a listed form, and what the
// documentation gives an endpoint is answered. So what guards all that is listed
// guards all.
func FuzzMatchIsListed(f *testing.F) {
	for _, path := range []string{
		"/", "", "//", "/mcp", "/mcp/", "/mcp//", "//mcp", "/MCP", "/mcpx", "/mcp/sse", "/mcp/sse/", "/mcp/sse/message",
		"/sse", "/events", "/elsewhere", "/elsewhere/", "/mcp/message", "/mcp/message/", "/mcp/message/x", "/mcp/message/x/y", "/message/x", "/a/b/mcp/", "/x/../mcp", "/mcp/.", "/%6dcp", "/mcp%2f",
	} {
		f.Add(path)
	}
	f.Fuzz(func(t *testing.T, path string) {
		paths := []string{path}
		if u, err := url.ParseRequestURI(path); err == nil {
			paths = append(paths, u.Path)
		}
		for name, c := range pathConfigs() {
			e := New(c)
			for _, path := range paths {
				listed := false
				for _, p := range e.Paths() {
					listed = listed || path == p.Path || p.Below && strings.HasPrefix(path, p.Path)
				}
				target, _ := e.Match(path)
				if got := target != TargetNone; got != listed || got != answered(c, path) {
					t.Errorf("%s: %q: answered %v, listed %v, documented %v", name, path, got, listed, answered(c, path))
				}
			}
		}
	})
}
