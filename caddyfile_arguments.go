package mcpauthbridge

import (
	"maps"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/suggest"
)

// otherForms has the handlers of `mcp_auth_bridge metadata` and `mcp_auth_bridge status`.
var otherForms = map[string]func() caddyhttp.MiddlewareHandler{
	"metadata": func() caddyhttp.MiddlewareHandler { return new(MetadataHandler) },
	"status":   func() caddyhttp.MiddlewareHandler { return new(StatusHandler) },
}

// launchers are words that begin the command of a program, and no address.
var launchers = []string{"stdio", "npx", "uvx", "uv", "bunx", "bun", "deno", "node", "python", "python3", "pipx", "docker", "podman"}

// parseArgs reads the arguments on the directive's line. It returns the handler
// of one of the other forms, if the directive is of one.
func (dir *directive) parseArgs() (other caddyhttp.MiddlewareHandler, err error) {
	h := dir.helper
	first := true
	for h.NextArg() {
		val := h.Val()
		switch {
		case otherForms[val] != nil && first:
			if h.NextArg() {
				return nil, h.Errf("mcp_auth_bridge %s: takes no value, remove %q", val, h.Val())
			}
			for nesting := h.Nesting(); h.NextBlock(nesting); {
				return nil, h.Errf("mcp_auth_bridge %s: takes no block; remove the braces", val)
			}
			return otherForms[val](), nil
		case otherForms[val] != nil && len(dir.addresses) == 0:
			return nil, h.Errf("mcp_auth_bridge %[1]s stands alone on its line, remove the rest; for some paths only it stands in a handle block, and an upstream of that name is `%[1]s:80`", val)
		case first && val == "*":
		case first && strings.HasPrefix(val, "@"):
			if err := dir.setMatcher(); err != nil {
				return nil, err
			}
		case strings.HasPrefix(val, "/") && dir.h.Endpoint == "" && len(dir.addresses) == 0:
			if err := checkEndpoint(val); err != nil {
				return nil, h.WrapErr(err)
			}
			dir.h.Endpoint = val
		case strings.HasPrefix(val, "/"):
			return nil, dir.errSecondPath(val)
		default:
			dir.addresses = append(dir.addresses, val)
		}
		first = false
	}
	if len(dir.addresses) == 0 {
		return nil, nil
	}
	bare := !strings.ContainsAny(dir.addresses[0], ".:/{")
	if words := strings.Fields(strings.Join(dir.addresses, " ")); bare && len(words) > 1 && slices.Contains(launchers, words[0]) {
		return nil, h.Errf("upstream %q is a command: write `stdio %s` in the block of mcp_auth_bridge", dir.addresses[0], strings.TrimPrefix(strings.Join(words, " "), "stdio "))
	}
	if form := suggest.Nearest(dir.addresses[0], slices.Sorted(maps.Keys(otherForms))); bare && form != "" && len(dir.addresses) == 1 {
		return nil, h.Errf("mcp_auth_bridge %s: did you mean `mcp_auth_bridge %s`? An upstream of that name is `%[1]s:80`", dir.addresses[0], form)
	}
	if len(dir.addresses) > 1 && bare {
		return nil, h.Errf("upstream %q has no port: write %[1]s:80, or /%[1]s if it is the endpoint's path", dir.addresses[0])
	}
	return nil, nil
}

// errSecondPath refuses a path that is not the first argument.
func (dir *directive) errSecondPath(path string) error {
	h := dir.helper
	if dir.h.Endpoint == "" {
		return h.Errf("the endpoint's path %q comes before the upstream; write `mcp_auth_bridge %[1]s %s`", path, strings.Join(dir.addresses, " "))
	}
	upstream := "localhost:3000"
	if len(dir.addresses) > 0 {
		upstream = dir.addresses[0]
	}
	if !strings.Contains(upstream, "://") {
		upstream = "http://" + upstream
	}
	return h.Errf("%q is a second path beside the endpoint's %q; the path of the upstream belongs in its address: write `mcp_auth_bridge %s %s`", path, dir.h.Endpoint, dir.h.Endpoint, upstream+path)
}

// setMatcher takes the named matcher that the current token is.
func (dir *directive) setMatcher() error {
	d := dir.helper.WithDispenser(caddyfile.NewDispenser([]caddyfile.Token{dir.name, dir.helper.Token()}))
	d.Next()
	matcher, _, err := d.MatcherToken()
	dir.matcher = matcher
	return err
}
