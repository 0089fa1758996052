package shared

import (
	"encoding/json"
	"slices"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/translate"
)

// acknowledgement is the first message of a subscription, without the subscription id and the
// filter.
const acknowledgement = `{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{"_meta":{}}}`

// filter is the filter of a client's subscriptions/listen (MCP specification 2026-07-28,
// "Notification Filter"). Once it is acknowledged, it is what the server has agreed to.
type filter struct {
	translate.Filter

	resources []string // those of Watched that the server was asked to watch
	// upstream has the upstream subscriptions at a server that is stateless itself. It is nil
	// while they have to wait until others have ended.
	upstream map[*upstreamSubscription]struct{}
	size     int // bytes of its text
}

// parts returns names for everything that a filter asks for.
func (f *filter) parts() []string {
	var parts []string
	for name, wanted := range map[string]bool{"tools": f.Tools, "prompts": f.Prompts, "resources": f.Resources} {
		if wanted {
			parts = append(parts, name)
		}
	}
	for _, uri := range f.Watched {
		parts = append(parts, "resource "+uri)
	}
	return parts
}

// only returns a filter with those parts for which keep returns true.
func (f *filter) only(keep func(part string) bool) filter {
	return filter{Filter: translate.Filter{
		Tools:     f.Tools && keep("tools"),
		Prompts:   f.Prompts && keep("prompts"),
		Resources: f.Resources && keep("resources"),
		Watched:   slices.DeleteFunc(slices.Clone(f.Watched), func(uri string) bool { return !keep("resource " + uri) }),
	}}
}

// readFilter reads the filter of a subscriptions/listen. It leaves out members that the bridge does
// not know, because it cannot share them between clients. It returns nil if there is no filter, or
// if the filter is invalid or too large: the server is not asked about such a filter, because its
// answer could end the subscriptions of other clients.
func readFilter(raw []byte) *filter {
	value := message.Get(raw, "params", "notifications")
	f := new(filter)
	if len(value) == 0 || value[0] != '{' || len(value) > translate.MaxFilter || json.Unmarshal(value, f) != nil || len(f.Watched) > translate.MaxWatched {
		return nil
	}
	slices.Sort(f.Watched)
	f.Watched = slices.Compact(f.Watched)
	f.size = len(value)
	return f
}

// none reports whether keep returns false for all parts of a filter.
func (f *filter) none(keep func(part string) bool) bool {
	kept := f.only(keep)
	return kept.Empty()
}

// has reports whether, for one of the filter's upstream subscriptions, of returns a set with the
// part.
func (f *filter) has(part string, of func(*upstreamSubscription) map[string]struct{}) bool {
	for d := range f.upstream {
		if _, ok := of(d)[part]; ok {
			return true
		}
	}
	return false
}

// loses reports whether the upstream subscription of one of the filter's parts has ended.
func (f *filter) loses() bool {
	return slices.ContainsFunc(f.parts(), func(part string) bool {
		return f.has(part, func(d *upstreamSubscription) map[string]struct{} {
			if d.over {
				return d.parts
			}
			return nil
		})
	})
}
