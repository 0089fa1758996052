package bridge

import (
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
)

const (
	// feedEnds bounds how long a server may take to end a subscription that was
	// cancelled, before the next one begins.
	feedEnds = time.Second
	// maxStale bounds the feeds that nobody uses any more and that are kept while
	// others are used.
	maxStale = 256
	// maxFilter bounds the text of a filter, in bytes: it is kept as long as its client
	// listens.
	maxFilter = 64 << 10
)

// feed is one subscriptions/listen at a server that is stateless itself. All clients
// that want of it what it asks for share it, and it is cancelled when nobody listens
// to anything any more: there are servers (go-sdk 1.8) that keep one subscription of
// a kind for each connection, and end all of them with any. So nothing is asked for
// twice, and the next feed waits until those that were cancelled have ended.
type feed struct {
	call   *call
	frame  []byte              // that begins it
	parts  map[string]struct{} // that are asked for
	sent   bool
	ack    []byte              // as the server wrote it
	agreed map[string]struct{} // of the parts, what the server has agreed to
	users  map[*call]struct{}  // that listen to it
	// ended says that it is cancelled, over that nothing comes of it any more.
	ended, over bool
	answer      []byte // the end, as the server wrote it
	patience    *time.Timer
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
	return filter{
		Tools:     f.Tools && keep("tools"),
		Prompts:   f.Prompts && keep("prompts"),
		Resources: f.Resources && keep("resources"),
		Watched:   slices.DeleteFunc(slices.Clone(f.Watched), func(uri string) bool { return !keep("resource " + uri) }),
	}
}

// sharedFilter reads the filter of a subscriptions/listen. What the bridge does not know
// is left out: it cannot be shared. The server does not judge a filter either, as what
// it says of one may end what others listen to. It returns nil where there is no filter,
// or one that names too much.
func sharedFilter(raw []byte) *filter {
	value := message.Get(raw, "params", "notifications")
	f := new(filter)
	if len(value) == 0 || value[0] != '{' || len(value) > maxFilter || json.Unmarshal(value, f) != nil || len(f.Watched) > maxWatched {
		return nil
	}
	slices.Sort(f.Watched)
	f.Watched = slices.Compact(f.Watched)
	return f
}

// share has a request listen through the feeds of a server that is stateless itself.
func (c *conversation) share(e *envelope) (*call, error) {
	f := sharedFilter(e.m.Raw)
	if f == nil {
		return nil, &answerError{message.Error(e.m.RawID, message.CodeInvalidParams, "params.notifications is no filter, or names too many resources")}
	}
	k := &call{method: e.m.Method, clientID: e.m.RawID, conversation: c, wake: make(chan struct{}, 1)}
	f.request = e.m.Raw
	c.mu.Lock()
	switch {
	case c.ended:
		c.mu.Unlock()
		return nil, errPeerEnded
	case len(c.listens) >= maxShared:
		c.mu.Unlock()
		return nil, errTooMany
	}
	if all := (&filter{Tools: true, Prompts: true, Resources: true, Watched: []string{""}}); c.offered != nil && !all.none(c.offers) {
		narrow := f.only(c.offers)
		narrow.request = f.request
		f = &narrow
	}
	c.listens[k] = f
	if f.empty() {
		f.request, f.feeds, k.listening = nil, map[*feed]struct{}{}, true
		ack := message.Set([]byte(acknowledgement), k.clientID, "params", "_meta", metaSubscription)
		k.add(event{raw: message.Set(ack, []byte("{}"), "params", "notifications")})
		c.mu.Unlock()
		return k, nil
	}
	opened, err := c.feedUp(k, f)
	if err != nil {
		c.drop(k)
	}
	c.mu.Unlock()
	if err != nil {
		return nil, err
	}
	c.begin(opened)
	return k, nil
}

// none reports whether nothing is left of a filter of what keep says.
func (f *filter) none(keep func(part string) bool) bool {
	kept := f.only(keep)
	return kept.empty()
}

// offers reports whether the server says that it is capable of a part of a filter. One
// that says so of any is not asked for another: its answer, that it agrees to nothing,
// may end what others listen to. The conversation is locked.
func (c *conversation) offers(part string) bool {
	if strings.HasPrefix(part, "resource ") {
		return c.offered.has("resources", "subscribe")
	}
	return c.offered.has(part, "listChanged")
}

// feedUp finds the feeds of what a request listens to, and returns those that have to
// be begun. It waits where feeds are ending: then feedUp is called again. The
// conversation is locked.
func (c *conversation) feedUp(k *call, f *filter) (opened []*feed, err error) {
	missing := f.only(func(part string) bool { return c.feeds[part] == nil })
	if !missing.empty() {
		if c.ending > 0 {
			return nil, nil
		}
		d, err := c.newFeed(f, missing)
		if err != nil {
			return nil, err
		}
		opened = append(opened, d)
	}
	f.feeds = make(map[*feed]struct{})
	for _, part := range f.parts() {
		d := c.feeds[part]
		f.feeds[d] = struct{}{}
		d.users[k] = struct{}{}
		delete(c.stale, d)
	}
	f.request = nil
	c.settle(k, f)
	return opened, nil
}

// newFeed makes a feed for what nobody has asked for yet, of the request of a client
// that does.
func (c *conversation) newFeed(f *filter, missing filter) (*feed, error) {
	d := &feed{
		parts: make(map[string]struct{}), users: make(map[*call]struct{}),
		call: &call{method: "subscriptions/listen", own: true},
	}
	d.call.feed = d
	if err := c.enroll(d.call); err != nil {
		return nil, err
	}
	d.frame = message.Remove(message.Set(f.request, d.call.number(), "id"), "params", "_meta", "progressToken")
	wanted, err := json.Marshal(missing)
	if err != nil {
		return nil, err
	}
	d.frame = message.Set(d.frame, wanted, "params", "notifications")
	parts := missing.parts()
	for _, part := range parts {
		d.parts[part] = struct{}{}
		c.feeds[part] = d
	}
	return d, nil
}

// begin has the server begin feeds.
func (c *conversation) begin(feeds []*feed) {
	for _, d := range feeds {
		err := c.peer.Send(nil, d.frame)
		c.mu.Lock()
		var frames [][]byte
		switch {
		case err != nil:
			frames = c.feedOver(d, message.Error(nil, message.CodeInternal, "the server takes no messages now"))
		case d.ended && !d.over: // cancelled meanwhile
			frames = append(frames, cancelled(d.call))
		}
		d.sent, d.frame = true, nil
		c.mu.Unlock()
		c.send(frames)
	}
}

// fed takes a notification of a feed to those that listen to it, and returns what has
// to be said to the server. The conversation is locked.
func (c *conversation) fed(d *feed, m message.Message) [][]byte {
	if d.over {
		return nil
	}
	switch {
	case m.Method == "notifications/subscriptions/acknowledged":
		if d.ack != nil {
			return nil
		}
		d.ack = m.Raw
		d.agree()
		for k := range d.users {
			c.settle(k, c.listens[k])
		}
		return c.tidyFeeds()
	case m.Method == "notifications/cancelled":
		for k := range d.users {
			k.add(event{raw: message.Set(m.Raw, k.clientID, "params", "requestId")})
		}
		return c.feedOver(d, nil)
	}
	known := (&filter{Tools: true, Prompts: true, Resources: true}).wants(m) || m.Method == "notifications/resources/updated"
	for k := range d.users {
		if f := c.listens[k]; k.listening && (f.wants(m) || !known && len(d.users) == 1) {
			k.add(event{raw: message.Set(m.Raw, k.clientID, "params", "_meta", metaSubscription)})
		}
	}
	return nil
}

// settle acknowledges what a request listens to, when the server has said what it
// agrees to, and ends it where the server has ended that. The conversation is locked.
func (c *conversation) settle(k *call, f *filter) {
	if f.feeds == nil {
		return
	}
	var ack, answer []byte
	lost, agreed := 0, 0
	for d := range f.feeds {
		switch {
		case d.ack == nil && !d.over:
			return
		case d.ack == nil:
			if d.answer != nil {
				k.add(event{raw: message.Set(d.answer, k.clientID, "id"), response: true})
			}
			c.drop(k)
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
			return f.has(part, func(d *feed) map[string]struct{} { return d.agreed })
		})
		raw := message.Set(ack, k.clientID, "params", "_meta", metaSubscription)
		if len(f.feeds) > 1 || len(granted.parts()) < agreed {
			value, err := json.Marshal(granted)
			if err != nil {
				return
			}
			raw = message.Set(raw, value, "params", "notifications")
		}
		k.add(event{raw: raw})
		k.listening = true
		f.Tools, f.Prompts, f.Resources, f.Watched = granted.Tools, granted.Prompts, granted.Resources, granted.Watched
	}
	if lost == 0 || lost < len(f.feeds) && !f.loses() {
		return
	}
	if answer != nil {
		raw := message.Replace(answer, k.clientID, "result", "_meta", metaSubscription)
		k.add(event{raw: message.Set(raw, k.clientID, "id"), response: true})
	}
	c.drop(k)
}

// agree notes what a server has agreed to: what it says, or all.
func (d *feed) agree() {
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

// has reports whether one of the feeds has a part among those that of returns.
func (f *filter) has(part string, of func(*feed) map[string]struct{}) bool {
	for d := range f.feeds {
		if _, ok := of(d)[part]; ok {
			return true
		}
	}
	return false
}

// loses reports whether something that was agreed to has ended.
func (f *filter) loses() bool {
	return slices.ContainsFunc(f.parts(), func(part string) bool {
		return f.has(part, func(d *feed) map[string]struct{} {
			if d.over {
				return d.parts
			}
			return nil
		})
	})
}

// feedOver ends a feed, of which nothing comes any more, with the server's answer if
// there was one. It returns what has to be said to the server. The conversation is
// locked.
func (c *conversation) feedOver(d *feed, answer []byte) [][]byte {
	if d.over {
		return nil
	}
	d.over, d.answer = true, answer
	delete(c.calls, d.call.id)
	c.unfeed(d)
	for k := range d.users {
		c.settle(k, c.listens[k])
	}
	if d.ended {
		d.patience.Stop()
		c.ending--
		c.resumeFeeds()
	}
	return c.tidyFeeds()
}

// unfeed takes a feed out of those that can be listened to.
func (c *conversation) unfeed(d *feed) {
	for part := range d.parts {
		if c.feeds[part] == d {
			delete(c.feeds, part)
		}
	}
	delete(c.stale, d)
}

// leaveFeeds takes a request out of those that feeds are used by. The conversation is
// locked.
func (c *conversation) leaveFeeds(k *call) {
	f := c.listens[k]
	if f == nil {
		return
	}
	for d := range f.feeds {
		delete(d.users, k)
		if len(d.users) == 0 && !d.ended && !d.over {
			c.stale[d] = struct{}{}
		}
	}
}

// resumeFeeds begins what was held up by feeds that were ending. The conversation is
// locked.
func (c *conversation) resumeFeeds() {
	if c.ending > 0 || c.ended {
		return
	}
	var opened []*feed
	for k, f := range c.listens {
		if f.feeds != nil || f.request == nil {
			continue
		}
		more, err := c.feedUp(k, f)
		if err != nil {
			k.add(event{raw: message.Error(k.clientID, message.CodeInternal, err.Error()), response: true})
			c.drop(k)
		}
		opened = append(opened, more...)
	}
	if len(opened) > 0 {
		go c.begin(opened)
	}
}

// tidyFeeds cancels the feeds that nobody listens to, if there are no others or too
// many of them. It returns what has to be said to the server. The conversation is
// locked.
func (c *conversation) tidyFeeds() (frames [][]byte) {
	if len(c.listens) > 0 && len(c.stale) <= maxStale {
		return nil
	}
	for d := range c.stale {
		d.ended = true
		c.ending++
		c.unfeed(d)
		d.patience = time.AfterFunc(feedEnds, func() {
			c.mu.Lock()
			frames := c.feedOver(d, nil)
			c.mu.Unlock()
			c.send(frames)
		})
		if d.sent {
			frames = append(frames, cancelled(d.call))
		}
	}
	return frames
}

// cancelled takes a request back.
func cancelled(k *call) []byte {
	return []byte(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":` + string(k.number()) + `,"reason":"the client is gone"}}`)
}
