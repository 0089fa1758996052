package translate

import (
	"slices"
	"strings"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
)

const (
	// MaxWatched bounds the resources that one subscriptions/listen may name.
	MaxWatched = 256
	// MaxFilter bounds the text of a filter, in bytes: it is kept as long as its client
	// listens.
	MaxFilter = 64 << 10
)

// Filter is what a subscriptions/listen asks for (MCP specification 2026-07-28,
// "Notification Filter"), and what a server agrees to.
type Filter struct {
	Tools     bool     `json:"toolsListChanged,omitempty"`
	Prompts   bool     `json:"promptsListChanged,omitempty"`
	Resources bool     `json:"resourcesListChanged,omitempty"`
	Watched   []string `json:"resourceSubscriptions,omitempty"`
}

// Wants reports whether a notification is asked for.
func (f *Filter) Wants(m message.Message) bool {
	switch m.Method {
	case "notifications/tools/list_changed":
		return f.Tools
	case "notifications/prompts/list_changed":
		return f.Prompts
	case "notifications/resources/list_changed":
		return f.Resources
	case "notifications/resources/updated":
		uri := message.Text(m.Raw, "params", "uri")
		// What lies below a resource may be named as well (MCP specification
		// 2025-11-25, "Subscriptions").
		return slices.ContainsFunc(f.Watched, func(watched string) bool {
			return uri == watched || strings.HasPrefix(uri, strings.TrimSuffix(watched, "/")+"/")
		})
	}
	return false
}

// Empty reports whether nothing is asked for.
func (f *Filter) Empty() bool {
	return !f.Tools && !f.Prompts && !f.Resources && len(f.Watched) == 0
}
