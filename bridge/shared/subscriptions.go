package shared

import (
	"encoding/json"
	"strings"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/mcp"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/servers"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/translate"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/upstream"
)

const (
	// subscriptionEnds bounds how long a server may take to end a subscription that was
	// cancelled, before the next one begins.
	subscriptionEnds = time.Second
	// maxUnused bounds the upstream subscriptions that no client uses any more and that
	// are kept while others are used.
	maxUnused = 256
	// maxFilters bounds the texts of all filters at a shared server, in bytes.
	maxFilters = 4 << 20
)

// subscriptions are what clients of a shared server listen to. The lock of the
// server guards it.
type subscriptions struct {
	server  *server
	listens map[*call]*filter // the subscriptions/listen of clients
	size    int               // bytes of the texts of their filters

	// The rest is for a server that is stateless itself.

	// offered is what the server has last said that it is capable of. Nil: it was not
	// asked.
	offered *handshake
	byPart  map[string]*upstreamSubscription   // by what they ask for
	unused  map[*upstreamSubscription]struct{} // of them, those that no client uses
	ending  int                                // those that were cancelled and have not ended
}

// upstreamSubscription is one subscriptions/listen at a server that is stateless itself.
// All clients that want something it asks for share it, and it is cancelled when no
// client listens to anything any more: there are servers (go-sdk 1.8) that keep one
// subscription of a kind for each connection, and end all of them with any. So nothing is
// asked for twice, and the next one waits until those that were cancelled have ended.
type upstreamSubscription struct {
	call   *call
	parts  map[string]struct{} // that are asked for
	sent   bool
	ack    []byte              // as the server wrote it
	agreed map[string]struct{} // of the parts, those that the server has agreed to
	users  map[*call]struct{}  // that listen to it
	// ended is set when it is cancelled, over when nothing comes of it any more.
	ended, over bool
	answer      []byte            // the end, as the server wrote it
	late        *upstream.Timeout // of its end
}

// follow has a request listen, if there is room for its filter.
func (u *subscriptions) follow(k *call, f *filter) error {
	switch {
	case u.server.ended || u.server.retired:
		return upstream.ErrEnded
	case len(u.listens) >= maxShared || u.size+f.size > maxFilters:
		return errTooMany
	}
	u.size += f.size
	u.listens[k] = f
	return nil
}

// leave ends that.
func (u *subscriptions) leave(k *call) {
	f := u.listens[k]
	if f == nil {
		return
	}
	for d := range f.upstream {
		delete(d.users, k)
		if len(d.users) == 0 && !d.ended && !d.over {
			u.unused[d] = struct{}{}
		}
	}
	u.size -= f.size
	delete(u.listens, k)
}

// changed takes a notification of a server with a handshake to the clients that listen
// for it.
func (u *subscriptions) changed(m message.Message) {
	for k, f := range u.listens {
		if f.Wants(m) {
			k.add(servers.Event{Raw: message.Set(m.Raw, k.clientID, "params", "_meta", mcp.MetaSubscription)})
		}
	}
}

// listen has a request listen through the subscriptions at a server that is stateless
// itself.
func (u *subscriptions) listen(e *envelope) (*call, error) {
	f := readFilter(e.m.Raw)
	if f == nil {
		return nil, &answerError{message.Error(e.m.RawID, message.CodeInvalidParams, "params.notifications is not a filter, or names too many resources")}
	}
	c := u.server
	k := &call{method: e.m.Method, client: e.from, clientID: e.m.RawID, server: c, changed: make(chan struct{}, 1)}
	c.out.Lock()
	defer c.out.Unlock()
	if all := (&filter{Filter: translate.Filter{Tools: true, Prompts: true, Resources: true, Watched: []string{""}}}); u.offered != nil && !all.none(u.offers) {
		narrow := f.only(u.offers)
		narrow.size = f.size
		f = &narrow
	}
	if err := u.follow(k, f); err != nil {
		return nil, err
	}
	c.calls.unread.join(k)
	if f.Empty() {
		f.upstream, k.listening = map[*upstreamSubscription]struct{}{}, true
		ack := message.Set([]byte(acknowledgement), k.clientID, "params", "_meta", mcp.MetaSubscription)
		k.add(servers.Event{Raw: message.Set(ack, []byte("{}"), "params", "notifications")})
		return k, nil
	}
	if err := u.subscribe(k, f); err != nil {
		c.drop(k)
		c.calls.unread.leave(k)
		return nil, err
	}
	return k, nil
}

// offers reports whether the server says that it is capable of a part of a filter. One
// that says so of any part is not asked for another: its answer, that it agrees to
// nothing, may end what other clients listen to.
func (u *subscriptions) offers(part string) bool {
	if strings.HasPrefix(part, "resource ") {
		return u.offered.Has("resources", "subscribe")
	}
	return u.offered.Has(part, "listChanged")
}

// subscribe finds the upstream subscriptions of what a request listens to, and begins
// those that are missing. While some are ending it does nothing; then resume calls it
// again.
func (u *subscriptions) subscribe(k *call, f *filter) error {
	missing := f.only(func(part string) bool { return u.byPart[part] == nil })
	if !missing.Empty() {
		if u.ending > 0 {
			return nil
		}
		if err := u.begin(missing); err != nil {
			return err
		}
	}
	f.upstream = make(map[*upstreamSubscription]struct{})
	for _, part := range f.parts() {
		d := u.byPart[part]
		f.upstream[d] = struct{}{}
		d.users[k] = struct{}{}
		delete(u.unused, d)
	}
	u.settle(k, f)
	return nil
}

// begin asks the server for what no client has asked for yet. All that ask for it share
// it, so the bridge asks in its own name, and nothing of a client's message is in it but
// what the filter names.
func (u *subscriptions) begin(missing filter) error {
	d := &upstreamSubscription{
		parts: make(map[string]struct{}), users: make(map[*call]struct{}),
		call: &call{method: "subscriptions/listen", own: true},
	}
	d.call.begins = d
	if err := u.server.calls.add(d.call); err != nil {
		return err
	}
	for _, part := range missing.parts() {
		d.parts[part] = struct{}{}
		u.byPart[part] = d
	}
	wanted, _ := json.Marshal(missing) // it does not fail
	params := message.Set(bridgeEnvelope.Params(), wanted, "notifications")
	u.server.out.PostThen(message.NewRequest(d.call.number(), "subscriptions/listen", params), func(err error) {
		switch {
		case err != nil:
			u.over(d, message.Error(nil, message.CodeInternal, "the server takes no messages now"))
		case d.ended && !d.over: // cancelled meanwhile
			u.server.out.Post(cancelled(d.call))
		}
		d.sent = true
	})
	return nil
}

// notified takes a notification of an upstream subscription to the clients that listen to
// it.
func (u *subscriptions) notified(d *upstreamSubscription, m message.Message) {
	if d.over {
		return
	}
	switch {
	case m.Method == "notifications/subscriptions/acknowledged":
		if d.ack != nil {
			return
		}
		d.ack = m.Raw
		d.agree()
		for k := range d.users {
			u.settle(k, u.listens[k])
		}
		u.tidy()
		return
	case m.Method == "notifications/cancelled":
		for k := range d.users {
			k.add(servers.Event{Raw: message.Set(m.Raw, k.clientID, "params", "requestId")})
		}
		u.over(d, nil)
		return
	}
	known := (&translate.Filter{Tools: true, Prompts: true, Resources: true}).Wants(m) || m.Method == "notifications/resources/updated"
	for k := range d.users {
		if f := u.listens[k]; k.listening && (f.Wants(m) || !known && len(d.users) == 1) {
			k.add(servers.Event{Raw: message.Set(m.Raw, k.clientID, "params", "_meta", mcp.MetaSubscription)})
		}
	}
}

// settle acknowledges what a request listens to, once the server has said what it agrees
// to, and ends the request if the server has ended that.
func (u *subscriptions) settle(k *call, f *filter) {
	if f.upstream == nil {
		return
	}
	var ack, answer []byte
	lost, agreed := 0, 0
	for d := range f.upstream {
		switch {
		case d.ack == nil && !d.over:
			return
		case d.ack == nil:
			if d.answer != nil {
				k.add(servers.Event{Raw: message.Set(d.answer, k.clientID, "id"), Response: true})
			}
			u.server.drop(k)
			return
		}
		ack = d.ack
		agreed += len(d.agreed)
		if d.over {
			lost++
			answer = d.answer
		}
	}
	if !k.listening {
		granted := f.only(func(part string) bool {
			return f.has(part, func(d *upstreamSubscription) map[string]struct{} { return d.agreed })
		})
		raw := message.Set(ack, k.clientID, "params", "_meta", mcp.MetaSubscription)
		if len(f.upstream) > 1 || len(granted.parts()) < agreed {
			value, err := json.Marshal(granted)
			if err != nil {
				return
			}
			raw = message.Set(raw, value, "params", "notifications")
		}
		k.add(servers.Event{Raw: raw})
		k.listening = true
		f.Tools, f.Prompts, f.Resources, f.Watched = granted.Tools, granted.Prompts, granted.Resources, granted.Watched
	}
	if lost == 0 || lost < len(f.upstream) && !f.loses() {
		return
	}
	if answer != nil {
		raw := message.Replace(answer, k.clientID, "result", "_meta", mcp.MetaSubscription)
		k.add(servers.Event{Raw: message.Set(raw, k.clientID, "id"), Response: true})
	}
	u.server.drop(k)
}

// agree notes what a server has agreed to: what it says, or all.
func (d *upstreamSubscription) agree() {
	d.agreed = d.parts
	value := message.Get(d.ack, "params", "notifications")
	if value == nil {
		return
	}
	d.agreed = make(map[string]struct{})
	var granted filter
	if json.Unmarshal(value, &granted) != nil {
		return
	}
	for _, part := range granted.parts() {
		d.agreed[part] = struct{}{}
	}
}

// over ends an upstream subscription of which nothing comes any more. answer is the
// server's, if there was one.
func (u *subscriptions) over(d *upstreamSubscription, answer []byte) {
	if d.over {
		return
	}
	d.over, d.answer = true, answer
	delete(u.server.calls.byID, d.call.id)
	u.unlist(d)
	for k := range d.users {
		u.settle(k, u.listens[k])
	}
	if d.ended {
		d.late.Stop()
		u.ending--
		u.resume()
	}
	u.tidy()
}

// unlist removes an upstream subscription from those that clients find.
func (u *subscriptions) unlist(d *upstreamSubscription) {
	for part := range d.parts {
		if u.byPart[part] == d {
			delete(u.byPart, part)
		}
	}
	delete(u.unused, d)
}

// resume begins what has waited for upstream subscriptions to end.
func (u *subscriptions) resume() {
	if u.ending > 0 || u.server.ended {
		return
	}
	for k, f := range u.listens {
		if f.upstream != nil {
			continue
		}
		if err := u.subscribe(k, f); err != nil {
			k.add(servers.Event{Raw: message.Error(k.clientID, message.CodeInternal, err.Error()), Response: true})
			u.server.drop(k)
		}
	}
}

// tidy cancels the upstream subscriptions that no client listens to, if there are no
// others or too many of them.
func (u *subscriptions) tidy() {
	if len(u.listens) > 0 && len(u.unused) <= maxUnused {
		return
	}
	for d := range u.unused {
		d.ended = true
		u.ending++
		u.unlist(d)
		d.late = upstream.StartTimeout(&u.server.out, subscriptionEnds, func() func() {
			u.over(d, nil)
			return nil
		})
		if d.sent {
			u.server.out.Post(cancelled(d.call))
		}
	}
}

// cancelled is the notification that cancels a request at the server.
func cancelled(k *call) message.Message {
	return message.NewNotification("notifications/cancelled", []byte(`{"requestId":`+string(k.number())+`,"reason":"the client is gone"}`))
}
