package mcpauthbridge

import (
	"fmt"
	"net/url"
	"strings"

	"github.com/caddyserver/caddy/v2"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge"
)

// upstreamKind is a guest module in the namespace
// `http.mcp_auth_bridge.upstreams`: the transport that the upstream speaks.
type upstreamKind interface {
	kind() bridge.Kind
	// paths returns the upstream's path and message path, where given.
	paths() (path, message string)
}

// HTTPUpstream is an upstream that speaks Streamable HTTP (MCP specification
// 2025-03-26 and later), with or without sessions.
type HTTPUpstream struct {
	// The path of the MCP server at the upstream. Default: the path of the
	// endpoint.
	Path string `json:"path,omitempty"`
}

// CaddyModule returns the Caddy module information.
func (HTTPUpstream) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.mcp_auth_bridge.upstreams.http",
		New: func() caddy.Module { return new(HTTPUpstream) },
	}
}

func (u *HTTPUpstream) kind() bridge.Kind { return bridge.KindHTTP }

func (u *HTTPUpstream) paths() (path, message string) { return u.Path, "" }

// Validate checks the paths.
func (u *HTTPUpstream) Validate() error { return checkUpstreamPath("path", u.Path) }

// SSEUpstream is an upstream that speaks HTTP+SSE (MCP specification
// 2024-11-05): a stream of events on GET, messages by POST to a path that the
// stream announces.
type SSEUpstream struct {
	// The path of the event stream at the upstream. Default: the path of
	// the endpoint.
	Path string `json:"path,omitempty"`

	// The path that messages are posted to at the upstream, instead of the
	// one that the stream announces. With it, replicas need no common
	// storage. Default: as announced.
	MessagePath string `json:"message_path,omitempty"`
}

// CaddyModule returns the Caddy module information.
func (SSEUpstream) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.mcp_auth_bridge.upstreams.sse",
		New: func() caddy.Module { return new(SSEUpstream) },
	}
}

func (u *SSEUpstream) kind() bridge.Kind { return bridge.KindSSE }

func (u *SSEUpstream) paths() (path, message string) { return u.Path, u.MessagePath }

// Validate checks the paths.
func (u *SSEUpstream) Validate() error {
	if err := checkUpstreamPath("path", u.Path); err != nil {
		return err
	}
	return checkUpstreamPath("message_path", u.MessagePath)
}

func checkUpstreamPath(option, path string) error {
	if path == "" {
		return nil
	}
	if !strings.HasPrefix(path, "/") {
		return fmt.Errorf("upstream %s: %q does not start with a slash", option, path)
	}
	if strings.ContainsAny(path, "*{}?#\\% \t\r\n") {
		return fmt.Errorf("upstream %s: %q is no plain path (no wildcard, placeholder, query or escape)", option, path)
	}
	if hasOddSegment(path) {
		return fmt.Errorf("upstream %s: %q has an empty or dot segment", option, path)
	}
	return nil
}

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
		return a, fmt.Errorf("upstream %q: a path stands only in http:// and https:// addresses; use upstream_path", s)
	}
	return a, nil
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
		return a, fmt.Errorf("upstream %q: the host is missing", s)
	case strings.Contains(host, "@"):
		return a, fmt.Errorf("upstream %q: user information has no place in an upstream address; use header_up Authorization", a.proxy[:len(scheme)+3]+"...")
	case strings.ContainsAny(after, "?#"):
		return a, fmt.Errorf("upstream %q: a query or fragment has no place in an upstream address", s)
	case !hasPath:
		return a, nil
	}
	a.path = "/" + path
	if _, err := url.Parse(a.path); err != nil || strings.ContainsAny(a.path, "{}*%\\") {
		return a, fmt.Errorf("upstream %q: the path is no plain path (no wildcard, placeholder or escape)", s)
	}
	if hasOddSegment(a.path) {
		return a, fmt.Errorf("upstream %q: the path has an empty or dot segment", s)
	}
	return a, nil
}
