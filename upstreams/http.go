package upstreams

import (
	"context"
	"fmt"
	"strings"

	"github.com/caddyserver/caddy/v2"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/upstream"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/suggest"
)

func init() {
	caddy.RegisterModule(HTTP{})
	caddy.RegisterModule(SSE{})
}

// HTTP is an upstream that speaks Streamable HTTP (MCP specification
// 2025-03-26 and later), with or without sessions.
type HTTP struct {
	// The path of the MCP server at the upstream. Default: the path of the
	// endpoint.
	Path string `json:"path,omitempty"`
}

// UnmarshalJSON implements json.Unmarshaler.
func (u *HTTP) UnmarshalJSON(data []byte) error {
	type plain HTTP
	return suggest.Decode(data, (*plain)(u), "http", nil)
}

// CaddyModule returns the Caddy module information.
func (HTTP) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.mcp_auth_bridge.upstreams.http",
		New: func() caddy.Module { return new(HTTP) },
	}
}

// Validate checks the paths.
func (u *HTTP) Validate() error { return CheckPath("upstream path", u.Path) }

// Transport implements [Kind].
func (*HTTP) Transport() string { return "http" }

// Paths implements [Proxied].
func (u *HTTP) Paths() (path, message string) { return u.Path, "" }

// SpeaksSSE implements [Proxied].
func (*HTTP) SpeaksSSE() bool { return false }

// Connect implements [Kind].
func (*HTTP) Connect(ctx context.Context, c Connection) (upstream.Peer, error) {
	return upstream.StartHTTP(c.Backend, c.MaxMessage)(ctx, c.Request, c.Receiver)
}

// SSE is an upstream that speaks HTTP+SSE (MCP specification 2024-11-05): an
// event stream for GET, and messages by POST to a path that the stream announces.
type SSE struct {
	// The path of the event stream at the upstream. Default: the path of
	// the endpoint.
	Path string `json:"path,omitempty"`

	// The path at the upstream to post messages to, instead of the one that the
	// stream announces. With it, replicas of Caddy need no shared storage.
	// Default: as announced.
	MessagePath string `json:"message_path,omitempty"`
}

// UnmarshalJSON implements json.Unmarshaler.
func (u *SSE) UnmarshalJSON(data []byte) error {
	type plain SSE
	return suggest.Decode(data, (*plain)(u), "sse", nil)
}

// CaddyModule returns the Caddy module information.
func (SSE) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.mcp_auth_bridge.upstreams.sse",
		New: func() caddy.Module { return new(SSE) },
	}
}

// Validate checks the paths.
func (u *SSE) Validate() error {
	if err := CheckPath("upstream path", u.Path); err != nil {
		return err
	}
	return CheckPath("upstream message_path", u.MessagePath)
}

// Transport implements [Kind].
func (*SSE) Transport() string { return "sse" }

// Paths implements [Proxied].
func (u *SSE) Paths() (path, message string) { return u.Path, u.MessagePath }

// SpeaksSSE implements [Proxied].
func (*SSE) SpeaksSSE() bool { return true }

// Connect implements [Kind].
func (*SSE) Connect(ctx context.Context, c Connection) (upstream.Peer, error) {
	return upstream.StartSSE(c.Backend, c.MaxMessage)(ctx, c.Request, c.Receiver)
}

// CheckPath checks a path of the server that an option of the upstream names. An empty path is
// the endpoint's.
func CheckPath(option, path string) error {
	if path == "" {
		return nil
	}
	if !strings.HasPrefix(path, "/") {
		meant := path
		if _, rest, ok := strings.Cut(path, "://"); ok { // a URL
			_, meant, _ = strings.Cut(rest, "/")
		}
		return fmt.Errorf("%s: %q must start with a slash; write /%s", option, path, meant)
	}
	if strings.ContainsAny(path, "*{}?#\\% \t\r\n") {
		return fmt.Errorf("%s: %q must be a plain path, without wildcard, placeholder, query or escape, such as /mcp", option, path)
	}
	if HasOddSegment(path) {
		return fmt.Errorf("%s: %q has an empty or dot segment; write a path without it, such as /mcp", option, path)
	}
	return nil
}

// HasOddSegment reports whether a path has an empty or dot segment, which servers
// and proxies read differently.
func HasOddSegment(path string) bool {
	return strings.Contains(path, "//") || strings.Contains(path+"/", "/./") || strings.Contains(path+"/", "/../")
}

// Interface guards
var (
	_ Proxied         = (*HTTP)(nil)
	_ Proxied         = (*SSE)(nil)
	_ caddy.Validator = (*HTTP)(nil)
	_ caddy.Validator = (*SSE)(nil)
)
