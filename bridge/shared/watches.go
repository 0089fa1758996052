package shared

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/mcp"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/servers"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/translate"
)

// resourceWatches has the resources that clients watch at a server with a handshake
// (resources/subscribe). The lock of the server guards it.
type resourceWatches struct {
	server *server
	count  map[string]int // number of clients, by URI
}

// listen serves a subscriptions/listen for a server with a handshake, which does not know that
// method: it subscribes to the resources, and acknowledges what the server supports.
func (w *resourceWatches) listen(ctx context.Context, r *http.Request, e *envelope) (*call, error) {
	c := w.server
	f := readFilter(e.m.Raw)
	if f == nil {
		return nil, &answerError{message.Error(e.m.RawID, message.CodeInvalidParams, "params.notifications is not a filter, or names too many resources")}
	}
	f.Tools = f.Tools && c.handshake.Has("tools", "listChanged")
	f.Prompts = f.Prompts && c.handshake.Has("prompts", "listChanged")
	f.Resources = f.Resources && c.handshake.Has("resources", "listChanged")
	if !c.handshake.Has("resources", "subscribe") {
		f.Watched = nil
	}
	k := &call{method: e.m.Method, client: e.from, clientID: e.m.RawID}
	if err := c.calls.register(k); err != nil {
		return nil, err
	}
	undo := func(err error) (*call, error) {
		c.out.Lock()
		c.drop(k)
		c.calls.unread.leave(k)
		w.release(f.resources)
		c.out.Unlock()
		return nil, err
	}
	agreed := f.Watched[:0:0]
	for _, uri := range f.Watched {
		ok, err := w.watch(ctx, r, uri)
		if ok {
			agreed = append(agreed, uri)
			f.resources = append(f.resources, uri)
		}
		if err != nil {
			return undo(err)
		}
	}
	f.Watched = agreed
	granted, _ := json.Marshal(f) // it does not fail
	ack := message.Set([]byte(acknowledgement), k.clientID, "params", "_meta", mcp.MetaSubscription)
	c.out.Lock()
	err := c.subscriptions.follow(k, f)
	if err == nil {
		delete(c.calls.byID, k.id) // the server was not sent this request
		k.add(servers.Event{Raw: message.Set(ack, granted, "params", "notifications")})
		k.listening = true
	}
	c.out.Unlock()
	if err != nil {
		return undo(err)
	}
	return k, nil
}

// watch subscribes to a resource, if no other client watches it. It returns false if the server
// does not accept that.
func (w *resourceWatches) watch(ctx context.Context, r *http.Request, uri string) (bool, error) {
	c := w.server
	c.out.Lock()
	w.count[uri]++
	first := w.count[uri] == 1
	c.out.Unlock()
	if !first {
		return true, nil
	}
	params, err := json.Marshal(map[string]string{"uri": uri})
	if err != nil {
		return false, err
	}
	within, cancel := context.WithTimeout(ctx, translate.AskWithin)
	defer cancel()
	answer, err := c.ask(within, r, "resources/subscribe", params)
	if err == nil && message.Get(answer, "error") == nil {
		return true, nil
	}
	c.out.Lock()
	defer c.out.Unlock()
	if w.count[uri]--; w.count[uri] <= 0 {
		delete(w.count, uri)
	}
	if errors.Is(err, context.DeadlineExceeded) {
		err = nil
	}
	return false, err
}

// release ends the watching of resources by one client. It unsubscribes from those that no other
// client watches. The lock is held.
func (w *resourceWatches) release(uris []string) {
	for _, uri := range uris {
		if w.count[uri]--; w.count[uri] > 0 {
			continue
		}
		delete(w.count, uri)
		params, err := json.Marshal(map[string]string{"uri": uri})
		if err != nil {
			continue
		}
		id := w.server.calls.newID()[1:] // not in the table, because nothing waits for the answer
		w.server.out.Post(message.NewRequest([]byte(id), "resources/unsubscribe", params))
	}
}
