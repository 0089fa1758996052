package shared

import (
	"encoding/json"
	"slices"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/translate"
)

// acknowledgement is what a subscription begins with, without what it is of.
const acknowledgement = `{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{"_meta":{}}}`

// filter is what a subscriptions/listen asks for (MCP specification 2026-07-28,
// "Notification Filter"), and what is agreed to.
type filter struct {
	translate.Filter

	resources []string // of Watched, that the server was asked to watch
	// upstream are the upstream subscriptions of a server that is stateless itself. Nil:
	// they are waited for.
	upstream map[*upstreamSubscription]struct{}
	size     int // of its text, in bytes
}

// parts lists what a filter asks for, each by a name.
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

// only returns of a filter what keep says.
func (f *filter) only(keep func(part string) bool) filter {
	return filter{Filter: translate.Filter{
		Tools:     f.Tools && keep("tools"),
		Prompts:   f.Prompts && keep("prompts"),
		Resources: f.Resources && keep("resources"),
		Watched:   slices.DeleteFunc(slices.Clone(f.Watched), func(uri string) bool { return !keep("resource " + uri) }),
	}}
}

// readFilter reads the filter of a subscriptions/listen. What the bridge does not know
// is left out: it cannot be shared. The server does not judge a filter either, as what
// it says of one may end what others listen to. It returns nil where there is no filter,
// or one that names too much.
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

// none reports whether nothing is left of a filter of what keep says.
func (f *filter) none(keep func(part string) bool) bool {
	kept := f.only(keep)
	return kept.Empty()
}

// has reports whether one of the upstream subscriptions has a part among those that of returns.
func (f *filter) has(part string, of func(*upstreamSubscription) map[string]struct{}) bool {
	for d := range f.upstream {
		if _, ok := of(d)[part]; ok {
			return true
		}
	}
	return false
}

// loses reports whether something that was agreed to has ended.
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
