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
	// subscriptionEnds is how long the next subscription waits for the end of one that was
	// cancelled.
	subscriptionEnds = time.Second
	// maxUnused bounds the upstream subscriptions without a client that are kept while others
	// have clients.
	maxUnused = 256
	// maxFilters bounds the texts of all filters at a shared server, in bytes.
	maxFilters = 4 << 20
)

// subscriptions has the subscriptions of the clients of a shared server. The lock of the server
// guards it, and its methods need that lock unless they say that they take it.
type subscriptions struct {
	server  *server
	listens map[*call]*filter // each subscriptions/listen of a client
	size    int               // bytes of the texts of all filters

	// The rest is for a server that is stateless itself.

	// offered has the capabilities in the server's last answer to server/discover; nil if no
	// client has asked.
	offered *handshake
	byPart  map[string]*upstreamSubscription   // by the parts of their filters
	unused  map[*upstreamSubscription]struct{} // those of byPart without a client
	ending  int                                // number of those that are cancelled and not over
}

// upstreamSubscription is one subscriptions/listen that the bridge has sent to a server that is
// stateless itself. All clients that want one of its parts share it.
//
// Some servers (go-sdk 1.8) keep one subscription of each kind for a connection, and end all of
// them with any. So no part is asked for twice. An upstream subscription without clients is
// cancelled only when no client has a subscription any more, and the next one is sent only when
// the cancelled ones are over.
type upstreamSubscription struct {
	call   *call
	parts  map[string]struct{} // of its filter
	sent   bool
	ack    []byte              // acknowledgement, as the server wrote it; nil before
	agreed map[string]struct{} // parts that the server has agreed to
	users  map[*call]struct{}  // requests of clients that share it
	ended  bool                // it was cancelled
	over   bool                // the server sends no more messages of it
	answer []byte              // the server's response, which ended it; nil if there was none
	late   *upstream.Timeout   // ends it if the server does not, once it was cancelled
}

// follow adds the subscription of a request, if there is room for its filter.
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

// leave removes the subscription of a request, if it has one.
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

// changed delivers a notification of a server with a handshake to the subscriptions that want it.
func (u *subscriptions) changed(m message.Message) {
	for k, f := range u.listens {
		if f.Wants(m) {
			k.add(servers.Event{Raw: message.Set(m.Raw, k.clientID, "params", "_meta", mcp.MetaSubscription)})
		}
	}
}

// listen serves a subscriptions/listen for a server that is stateless itself. It takes the lock.
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

// offers reports whether the capabilities of the server include a part of a filter. If they include
// any part at all, the server is not asked for the others: when it agrees to nothing, it may end
// the subscriptions of other clients.
func (u *subscriptions) offers(part string) bool {
	if strings.HasPrefix(part, "resource ") {
		return u.offered.Has("resources", "subscribe")
	}
	return u.offered.Has(part, "listChanged")
}

// subscribe finds the upstream subscriptions for the parts of a filter, and begins one for the parts
// that have none. If it has to wait until others have ended, it does nothing, and resume calls it
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

// begin sends a subscriptions/listen for the parts that have no upstream subscription. Several
// clients may share it, so it has nothing of a client's message but those parts.
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

// notified delivers a notification of an upstream subscription to the requests that share it.
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

// settle acknowledges the subscription of a request, once the server has acknowledged all of its
// upstream subscriptions. It ends the request if the server has ended one of them.
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

// agree notes the parts that the server has agreed to: those in its acknowledgement, or all if it
// names none.
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

// over ends an upstream subscription of which the server sends no more messages. answer is the
// server's response; nil if there is none.
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

// unlist removes an upstream subscription from those that requests find.
func (u *subscriptions) unlist(d *upstreamSubscription) {
	for part := range d.parts {
		if u.byPart[part] == d {
			delete(u.byPart, part)
		}
	}
	delete(u.unused, d)
}

// resume subscribes for the requests that have waited until upstream subscriptions have ended.
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

// tidy cancels the upstream subscriptions without a client, if no client has a subscription any
// more, or if there are more than maxUnused.
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

// cancelled returns the notification that cancels a request at the server.
func cancelled(k *call) message.Message {
	return message.NewNotification("notifications/cancelled", []byte(`{"requestId":`+string(k.number())+`,"reason":"the client is gone"}`))
}
