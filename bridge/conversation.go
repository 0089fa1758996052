package bridge

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
)

const (
	// maxShared bounds the requests in flight at a server that all clients share.
	maxShared = 4096
	// askWithin bounds how long a server may take to answer what the bridge itself
	// asks it.
	askWithin = 10 * time.Second
)

// conversation is one server that stateless requests share (MCP specification
// 2026-07-28): all requests, where the server is stateless itself; else those of one
// identity with one set of capabilities, for which the bridge does the handshake.
// Ids, progress tokens and subscription ids are the conversation's own at the server,
// so that nobody can name those of others.
type conversation struct {
	hub  *Hub
	key  string
	id   string // stands for it in what the operator sees
	user string // whoever began it, hashed, where it is for one identity alone
	peer Peer
	// ready is closed when the server is known and may be asked. err says why it
	// may not.
	ready chan struct{}
	err   error
	// capabilities are those of the clients, as written.
	capabilities []byte

	mu sync.Mutex
	// server is what it said in its handshake. Nil: it is stateless itself.
	server  *handshake
	calls   map[message.Key]*call
	tokens  map[message.Key]*call
	parked  map[string]*call // by the requestState that continues them
	gone    abandoned
	listens map[*call]*filter
	feeds   map[string]*feed   // by what they ask for
	stale   map[*feed]struct{} // of them, those that nobody listens to
	ending  int                // feeds that were cancelled and have not ended
	// offered is what a stateless server has last said that it is capable of. Nil: it
	// was not asked.
	offered *handshake
	watched map[string]int // resources that are subscribed to, and by how many
	level   int            // that the server was asked for
	next    int
	active  int // requests under way
	used    time.Time
	begun   time.Time
	spoke   bool // the server has answered something
	fields  toolFields
	ended   bool
	// stillborn says that the server did not take what it was asked first.
	stillborn bool
	timer     *time.Timer
}

// call is one request under way at a conversation's server.
type call struct {
	conversation *conversation
	id           message.Key // at the server
	own          bool        // it is the bridge's own
	feed         *feed       // that it begins
	method       string
	name         string // of the tool, prompt or resource
	// What the client has: its id and progress token as written, and the least log
	// level that it wants; empty: it wants none.
	clientID, clientToken []byte
	logLevel              string

	events []event
	used   int // bytes of events
	done   bool
	wake   chan struct{}
	// inputs is what the server has asked for while it was at it, by the key that
	// the client knows it by, and as the ids of the server are written.
	inputs   map[string]*input
	asked    int              // how many the server has asked for
	state    string           // that continues it, while no request of the client waits
	resuming bool             // the client has come back
	late     *message.Message // the answer, where it came before that
	expiry   *time.Timer      // of state
	// listening says that it is the stream of a subscription, which has begun.
	listening bool
}

func newConversation(h *Hub, key string) *conversation {
	now := time.Now()
	return &conversation{
		hub: h, key: key, id: newID(), ready: make(chan struct{}), begun: now, used: now,
		calls: make(map[message.Key]*call), tokens: make(map[message.Key]*call), parked: make(map[string]*call),
		listens: make(map[*call]*filter), feeds: make(map[string]*feed), stale: make(map[*feed]struct{}), watched: make(map[string]int), level: len(logLevels),
	}
}

func (c *conversation) join(peer Peer) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.peer = peer
	return !c.ended
}

func (c *conversation) unlist(h *Hub) {
	if h.shared[c.key] == c {
		delete(h.shared, c.key)
	}
}

func (c *conversation) answered() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.spoke || c.ended && !c.stillborn
}

func (c *conversation) isEnded() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ended
}

// enter counts a request under way. It returns false where the conversation is over.
func (c *conversation) enter() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		return false
	}
	c.active++
	return true
}

func (c *conversation) leave() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.active--
	c.used = time.Now()
}

// watch ends the conversation when nobody has used it for a while. It is called by
// its timer.
func (c *conversation) watch() {
	c.mu.Lock()
	left := c.hub.cfg.Idle
	if c.active == 0 {
		left = min(time.Until(c.used.Add(c.hub.cfg.Idle)), time.Until(c.begun.Add(c.hub.cfg.Lifetime)))
	}
	over := left <= 0 && !c.ended
	why := EndIdle
	if time.Since(c.begun) >= c.hub.cfg.Lifetime {
		why = EndLifetime
	}
	if !over && !c.ended {
		c.timer.Reset(left)
	}
	c.mu.Unlock()
	if over {
		c.hub.end(c, why)
	}
}

// leastUsed returns the conversation that nobody has used for longest, of those that
// nobody waits for. The hub is locked.
func (h *Hub) leastUsed() *conversation {
	var least *conversation
	var since time.Time
	for _, c := range h.shared {
		c.mu.Lock()
		if c.active == 0 && len(c.parked) == 0 && c.peer != nil && (least == nil || c.used.Before(since)) {
			least, since = c, c.used
		}
		c.mu.Unlock()
	}
	return least
}

// errTooMany says that a conversation has as many requests under way as it may.
var errTooMany = errors.New("too many requests are under way")

// register makes a request under way known and returns it; nil where there are too
// many.
func (c *conversation) register(k *call) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.enroll(k)
}

// enroll is register where the conversation is locked.
func (c *conversation) enroll(k *call) error {
	limit := maxPending
	if c.server == nil {
		limit = maxShared
	}
	switch {
	case c.ended:
		return errPeerEnded
	case len(c.calls) >= limit:
		return errTooMany
	}
	c.next++
	number := strconv.Itoa(c.next)
	k.conversation, k.id, k.wake = c, message.KeyOf([]byte(number)), make(chan struct{}, 1)
	c.calls[k.id] = k
	if k.clientToken != nil {
		c.tokens[k.id] = k
	}
	return nil
}

// number is the id, and the progress token, of a request at the server.
func (k *call) number() []byte { return []byte(k.id[1:]) }

// drop forgets a request. The conversation is locked.
func (c *conversation) drop(k *call) {
	delete(c.calls, k.id)
	delete(c.tokens, k.id)
	c.leaveFeeds(k)
	delete(c.listens, k)
	if k.state != "" {
		delete(c.parked, k.state)
		k.state = ""
	}
	if k.expiry != nil {
		k.expiry.Stop()
	}
	k.finish()
}

func (k *call) finish() {
	k.done = true
	k.wakeUp()
}

func (k *call) wakeUp() {
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

// add queues a message for the client, within the bound of what is kept for one that
// does not read.
func (k *call) add(e event) {
	k.events = append(k.events, e)
	k.used += len(e.raw)
	for k.used > k.conversation.hub.cfg.Buffer && len(k.events) > 1 && !k.events[0].response {
		k.used -= len(k.events[0].raw)
		k.events[0] = event{}
		k.events = k.events[1:]
	}
	k.wakeUp()
}

// ask sends a request of the bridge's own and returns the whole answer.
func (c *conversation) ask(ctx context.Context, r *http.Request, method string, params []byte) ([]byte, error) {
	k := &call{own: true, method: method}
	if err := c.register(k); err != nil {
		return nil, err
	}
	defer func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.drop(k)
	}()
	k.clientID = k.number()
	frame := []byte(`{"jsonrpc":"2.0","id":` + string(k.number()) + `,"method":"` + method + `"}`)
	if err := c.peer.Send(r, message.Set(frame, params, "params")); err != nil {
		return nil, err
	}
	for {
		batch, over := c.take(k)
		for _, e := range batch {
			if e.response {
				return e.raw, nil
			}
		}
		if over {
			return nil, errPeerEnded
		}
		select {
		case <-k.wake:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// take returns what the client of a request has not been given yet, and whether
// nothing follows.
func (c *conversation) take(k *call) (batch []event, over bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	batch, k.events, k.used = k.events, nil, 0
	return batch, k.done
}

// giveUp ends a request that its client does not wait for any more.
func (c *conversation) giveUp(k *call) {
	c.mu.Lock()
	if k.done || k.state != "" {
		c.mu.Unlock() // it has ended, or waits for what the client was asked for
		return
	}
	frames := c.cancel(k)
	c.mu.Unlock()
	c.send(frames)
}

// cancel forgets a request that is under way, and returns what has to be said to the
// server. The conversation is locked.
func (c *conversation) cancel(k *call) (frames [][]byte) {
	for _, in := range k.inputs {
		frames = append(frames, message.Error(in.id, message.CodeInternal, "the client takes no requests any more"))
	}
	k.inputs = nil
	if c.calls[k.id] == k {
		frames = append(frames, cancelled(k))
		c.gone.add(k.id)
	}
	f := c.listens[k]
	c.drop(k)
	switch {
	case f == nil:
	case c.server != nil:
		frames = c.unwatch(f.resources)
	default:
		frames = append(frames, c.tidyFeeds()...)
	}
	return frames
}

// send sends what need not arrive.
func (c *conversation) send(frames [][]byte) {
	for _, frame := range frames {
		_ = c.peer.Send(nil, frame)
	}
}

// deliver takes a message of the server to the request that it belongs to. What
// belongs to none, or could belong to several, goes to nobody (D5).
func (c *conversation) deliver(m message.Message) {
	var frames [][]byte
	defer func() { c.send(frames) }() // not under the lock
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		return
	}
	switch m.Kind {
	case message.Response:
		c.spoke = true
		k := c.calls[m.ID]
		switch {
		case k == nil: // it was given up, or never asked for
			c.gone.answered(m.ID)
		case k.feed != nil:
			frames = c.feedOver(k.feed, m.Raw)
		case k.state != "":
			k.late = &m
			delete(c.calls, k.id)
			delete(c.tokens, k.id)
		default:
			k.add(event{raw: c.answer(k, m), response: true, refusal: refusalOf(c.peer)})
			c.drop(k)
		}
	case message.Request:
		frames = c.asked(m)
	default:
		frames = c.notified(m)
	}
}

// answer is a response as the client is to see it.
func (c *conversation) answer(k *call, m message.Message) []byte {
	raw := m.Raw
	switch k.method {
	case "tools/list":
		c.fields.learn(raw)
	case "server/discover":
		if offered := message.Get(raw, "result", "capabilities"); offered != nil {
			c.offered = &handshake{capabilities: offered}
		}
	}
	if c.server != nil {
		raw = c.server.translate(k.method, raw)
	}
	if message.KeyOf(message.Get(raw, "result", "_meta", metaSubscription)) == k.id {
		raw = message.Set(raw, k.clientID, "result", "_meta", metaSubscription)
	}
	return message.Set(raw, k.clientID, "id")
}

// notified takes a notification of the server to where it belongs, and returns what
// has to be said to the server.
func (c *conversation) notified(m message.Message) [][]byte {
	switch {
	case m.Method == "notifications/progress":
		if k := c.tokens[m.Progress]; k != nil && k.state == "" {
			k.add(event{raw: message.Set(m.Raw, k.clientToken, "params", "progressToken")})
		}
	case m.Method == "notifications/message":
		k := c.only(func(k *call) bool { return k.method != "subscriptions/listen" })
		if k != nil && k.state == "" && k.logLevel != "" && levelOf(message.Text(m.Raw, "params", "level")) >= levelOf(k.logLevel) {
			k.add(event{raw: m.Raw})
		}
	case c.server != nil:
		c.server.notified(c, m)
	case m.Method == "notifications/cancelled":
		switch k := c.calls[m.Cancels]; {
		case k == nil || k.method != "subscriptions/listen":
		case k.feed != nil:
			return c.fed(k.feed, m)
		default:
			k.add(event{raw: message.Set(m.Raw, k.clientID, "params", "requestId")})
			c.drop(k)
		}
	default:
		switch k := c.calls[message.KeyOf(message.Get(m.Raw, "params", "_meta", metaSubscription))]; {
		case k == nil:
		case k.feed != nil:
			return c.fed(k.feed, m)
		default:
			k.listening = true
			k.add(event{raw: message.Set(m.Raw, k.clientID, "params", "_meta", metaSubscription)})
		}
	}
	return nil
}

// only returns the one request under way that may be meant; nil where there is none
// or more, counting those that were given up a moment ago.
func (c *conversation) only(may func(*call) bool) (found *call) {
	within := forgetAfter
	if c.server != nil {
		within = forgetOwnAfter
	}
	if c.gone.any(within) {
		return nil
	}
	for _, k := range c.calls {
		if k.own || !may(k) {
			continue
		}
		if found != nil {
			return nil
		}
		found = k
	}
	return found
}

// fail answers what is under way with an error. It returns the server, and false
// where the conversation was over before.
func (c *conversation) fail(text string) (Peer, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		return nil, false
	}
	c.ended = true
	if c.timer != nil {
		c.timer.Stop()
	}
	for _, k := range c.calls {
		if k.feed != nil && k.feed.patience != nil {
			k.feed.patience.Stop()
		}
		if !k.listening && k.state == "" { // the stream of a subscription just ends
			k.add(event{raw: message.Error(k.clientID, message.CodeInternal, text), response: true})
		}
		c.drop(k)
	}
	for k := range c.listens {
		c.drop(k)
	}
	for _, k := range c.parked {
		c.drop(k)
	}
	return c.peer, true
}
