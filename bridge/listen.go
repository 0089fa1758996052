package bridge

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
)

// maxWatched bounds the resources that one subscriptions/listen may name.
const maxWatched = 256

// acknowledgement is what a subscription begins with, without what it is of.
const acknowledgement = `{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{"_meta":{}}}`

// filter is what a subscriptions/listen asks for (MCP specification 2026-07-28,
// "Notification Filter"), and what is agreed to.
type filter struct {
	Tools     bool     `json:"toolsListChanged,omitempty"`
	Prompts   bool     `json:"promptsListChanged,omitempty"`
	Resources bool     `json:"resourcesListChanged,omitempty"`
	Watched   []string `json:"resourceSubscriptions,omitempty"`

	resources []string           // of Watched, that the server was asked to watch
	feeds     map[*feed]struct{} // that it is fed by, where the server is stateless
	request   []byte             // that asks for them, while it waits for others to end
}

// wants reports whether a notification is asked for.
func (f *filter) wants(m message.Message) bool {
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

// listen has a request listen for what a server that knows no subscriptions/listen
// says of changes: it subscribes to resources for it, and acknowledges.
func (c *conversation) listen(ctx context.Context, r *http.Request, e *envelope) (*call, error) {
	f := new(filter)
	if raw := message.Get(e.m.Raw, "params", "notifications"); raw == nil || json.Unmarshal(raw, f) != nil || len(f.Watched) > maxWatched {
		return nil, &answerError{message.Error(e.m.RawID, message.CodeInvalidParams, "params.notifications is no filter, or names too many resources")}
	}
	f.Tools = f.Tools && c.server.has("tools", "listChanged")
	f.Prompts = f.Prompts && c.server.has("prompts", "listChanged")
	f.Resources = f.Resources && c.server.has("resources", "listChanged")
	if !c.server.has("resources", "subscribe") {
		f.Watched = nil
	}
	slices.Sort(f.Watched)
	f.Watched = slices.Compact(f.Watched)
	k := &call{method: e.m.Method, clientID: e.m.RawID}
	if err := c.register(k); err != nil {
		return nil, err
	}
	agreed := f.Watched[:0:0]
	for _, uri := range f.Watched {
		ok, err := c.watchResource(ctx, r, uri)
		if ok {
			agreed = append(agreed, uri)
			f.resources = append(f.resources, uri)
		}
		if err != nil {
			c.mu.Lock()
			c.drop(k)
			frames := c.unwatch(f.resources)
			c.mu.Unlock()
			c.send(frames)
			return nil, err
		}
	}
	f.Watched = agreed
	granted, err := json.Marshal(f)
	if err != nil {
		return nil, err
	}
	ack := message.Set([]byte(acknowledgement), k.clientID, "params", "_meta", metaSubscription)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		return nil, errPeerEnded
	}
	delete(c.calls, k.id) // the server knows nothing of it
	k.add(event{raw: message.Set(ack, granted, "params", "notifications")})
	k.listening = true
	c.listens[k] = f
	return k, nil
}

// watchResource subscribes to a resource, if nobody else has. It returns false where
// the server does not want that.
func (c *conversation) watchResource(ctx context.Context, r *http.Request, uri string) (bool, error) {
	c.mu.Lock()
	c.watched[uri]++
	first := c.watched[uri] == 1
	c.mu.Unlock()
	if !first {
		return true, nil
	}
	params, err := json.Marshal(map[string]string{"uri": uri})
	if err != nil {
		return false, err
	}
	within, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	answer, err := c.ask(within, r, "resources/subscribe", params)
	if err == nil && message.Get(answer, "error") == nil {
		return true, nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.watched[uri]--; c.watched[uri] <= 0 {
		delete(c.watched, uri)
	}
	if errors.Is(err, context.DeadlineExceeded) {
		err = nil
	}
	return false, err
}

// unwatch ends subscriptions that nobody else has, and returns what has to be said to
// the server. The conversation is locked.
func (c *conversation) unwatch(uris []string) (frames [][]byte) {
	for _, uri := range uris {
		if c.watched[uri]--; c.watched[uri] > 0 {
			continue
		}
		delete(c.watched, uri)
		c.next++ // nobody waits for the answer
		params, err := json.Marshal(map[string]string{"uri": uri})
		if err != nil {
			continue
		}
		id, _ := json.Marshal(c.next)
		frames = append(frames, []byte(`{"jsonrpc":"2.0","id":`+string(id)+`,"method":"resources/unsubscribe","params":`+string(params)+`}`))
	}
	return frames
}
