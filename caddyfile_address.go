package mcpauthbridge

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/upstreams"
)

// address is an upstream address of the Caddyfile taken apart.
type address struct {
	kind  bridge.Kind
	proxy string // what reverse_proxy is given
	path  string // "" where the address has none
}

// parseAddress takes an upstream address apart: `host:port`, `unix//path`,
// `http(s)://host[:port][/path]`, `sse+http(s)://host[:port][/path]`, or
// anything else that reverse_proxy knows.
func parseAddress(s string) (address, error) {
	a := address{kind: bridge.KindHTTP, proxy: s}
	rest, isSSE := strings.CutPrefix(s, "sse+")
	if isSSE {
		a.kind, a.proxy = bridge.KindSSE, rest
	}
	scheme, after, hasScheme := strings.Cut(rest, "://")
	switch {
	case isSSE && (!hasScheme || scheme != "http" && scheme != "https"):
		return a, fmt.Errorf("upstream %q: write sse+http://host:port/path or sse+https://host:port/path", s)
	case !hasScheme && isPort(s):
		return a, fmt.Errorf("upstream %q must be host:port; write localhost:%[1]s", s)
	case strings.Contains(rest, ",") && !strings.HasPrefix(rest, "unix"):
		return a, fmt.Errorf("upstream %q has a comma; separate upstreams with spaces, as in `%s`", s, withoutCommas([]string{s, "..."}))
	case !hasScheme:
		network, _, _ := strings.Cut(rest, "/")
		if host, path, found := strings.Cut(rest, "/"); found && !strings.Contains(host, "{") && !knownNetwork(network) {
			return a, fmt.Errorf("upstream %q: a path needs a scheme; write http://%s/%s", s, host, path)
		}
		return a, nil
	case scheme == "sse":
		return a, fmt.Errorf("upstream %q: write sse+http://%s, or sse+https:// if it has TLS", s, after)
	case scheme == "http" || scheme == "https":
		return parseURLAddress(a, s, scheme, after)
	case strings.Contains(after, "/"):
		return a, fmt.Errorf("upstream %q: a path stands only in http:// and https:// addresses; write it as `upstream_path`", s)
	}
	return a, nil
}

// isPort reports whether an address is only a port.
func isPort(s string) bool {
	n, err := strconv.ParseUint(s, 10, 16)
	return err == nil && n > 0
}

// knownNetwork reports whether what stands before the first slash of an address
// is a network, and no host.
func knownNetwork(s string) bool {
	switch s {
	case "tcp", "tcp4", "tcp6", "udp", "udp4", "udp6", "unix+h2c":
		return true
	}
	return caddy.IsUnixNetwork(s) || caddy.IsFdNetwork(s)
}

func parseURLAddress(a address, s, scheme, after string) (address, error) {
	host, path, hasPath := strings.Cut(after, "/")
	a.proxy = scheme + "://" + host
	switch {
	case host == "" || strings.HasPrefix(host, ":"):
		return a, fmt.Errorf("upstream %q: the host is missing; write %s://localhost%s", s, scheme, after)
	case strings.Contains(host, "@"):
		return a, fmt.Errorf("upstream %q must not have a user name or password; remove them, and use `header_up Authorization`", a.proxy[:len(scheme)+3]+"...")
	case strings.ContainsAny(after, "?#"):
		return a, fmt.Errorf("upstream %q must not have a query or fragment; write %s", s, s[:strings.IndexAny(s, "?#")])
	case !hasPath:
		return a, nil
	}
	a.path = "/" + path
	if _, err := url.Parse(a.path); err != nil || strings.ContainsAny(a.path, "{}*%\\") {
		return a, fmt.Errorf("upstream %q must have a plain path, without wildcard, placeholder or escape, such as /mcp", s)
	}
	if upstreams.HasOddSegment(a.path) {
		return a, fmt.Errorf("upstream %q has an empty or dot segment in its path; write a path without it, such as /mcp", s)
	}
	return a, nil
}
