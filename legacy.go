package mcpauthbridge

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge"
)

// LegacySSEConfig is where HTTP+SSE is offered beside an endpoint, for clients that
// speak nothing newer (MCP specification 2024-11-05, "HTTP with SSE").
type LegacySSEConfig struct {
	// The path of the event stream. Clients that log in compare it with the
	// `resource` of the metadata, which is the endpoint: it should stay below that.
	// Default: `sse` below the endpoint.
	Path string `json:"path,omitempty"`

	// The path that messages are posted to. In front of an HTTP+SSE server it
	// stays below the endpoint. Default: `message` below the event stream's.
	MessagePath string `json:"message_path,omitempty"`
}

func (c *LegacySSEConfig) path() string {
	if c == nil {
		return ""
	}
	return c.Path
}

func (c *LegacySSEConfig) messagePath() string {
	if c == nil {
		return ""
	}
	return c.MessagePath
}

// fill sets the defaults for an endpoint.
func (c *LegacySSEConfig) fill(endpoint string) {
	if c.Path == "" {
		c.Path = strings.TrimSuffix(endpoint, "/") + "/sse"
	}
	if c.MessagePath == "" {
		c.MessagePath = c.Path + "/message"
	}
}

// checkLegacySSE validates the paths.
func (h *Handler) checkLegacySSE() error {
	c := h.LegacySSE
	if c == nil {
		return nil
	}
	if h.ReverseProxy == nil && h.upstream.kind() != bridge.KindStdio {
		return errors.New("legacy_sse: needs an upstream; a middleware has none to speak to")
	}
	if h.upstream.kind() == bridge.KindSSE && c.MessagePath != "" {
		return fmt.Errorf("legacy_sse: %q: in front of an HTTP+SSE server messages are posted below the endpoint", c.MessagePath)
	}
	c.fill(h.Endpoint)
	for _, p := range []string{c.Path, c.MessagePath} {
		if err := checkPath("legacy_sse", p); err != nil {
			return err
		}
	}
	own := strings.TrimSuffix(h.Endpoint, "/")
	switch {
	case strings.TrimSuffix(c.Path, "/") == own || strings.TrimSuffix(c.MessagePath, "/") == own:
		return fmt.Errorf("legacy_sse: %q is the endpoint itself", h.Endpoint)
	case c.Path == c.MessagePath:
		return fmt.Errorf("legacy_sse: %q is both the event stream and the message path", c.Path)
	}
	return nil
}

// carriesOver reports whether a request is carried over to another transport, and
// does not cross as it is.
func (h *Handler) carriesOver(r *http.Request, target bridge.Target) bool {
	if h.hub == nil {
		return false
	}
	switch target {
	case bridge.TargetLegacy, bridge.TargetLegacyMessage:
		return true
	case bridge.TargetEndpoint:
		switch h.upstream.kind() {
		case bridge.KindHTTP:
			return false
		case bridge.KindSSE:
			// A GET without a session is the event stream of HTTP+SSE itself.
			_, session := r.Header["Mcp-Session-Id"]
			return r.Method != http.MethodGet || session
		}
		return true
	}
	return false
}

// serveBridge serves what is carried over.
func (h *Handler) serveBridge(w http.ResponseWriter, r *http.Request, target bridge.Target) {
	switch target {
	case bridge.TargetLegacy:
		h.hub.ServeSSE(w, r, h.legacyMessages(r))
	case bridge.TargetLegacyMessage:
		h.hub.ServeMessage(w, r)
	default:
		h.hub.ServeHTTP(w, r)
	}
}

// legacyMessages is the message path as clients see it.
func (h *Handler) legacyMessages(r *http.Request) string {
	return h.legacyPrefix(strippedPrefix(r)) + h.LegacySSE.MessagePath
}

// legacyPath is the path of the event stream as clients see it, where stripped is
// what stands before the endpoint's.
func (h *Handler) legacyPath(stripped string) string {
	return h.legacyPrefix(stripped) + h.LegacySSE.Path
}

// legacyPrefix is what stands before this server's paths in those that clients use.
func (h *Handler) legacyPrefix(stripped string) string {
	if h.base.path != "" {
		stripped, _ = strings.CutSuffix(h.base.path, h.Endpoint)
	}
	return stripped
}
