package shared

import (
	"context"
	"net/http"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/mcp"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/safetext"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/servers"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/stats"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/translate"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/upstream"
)

// server is one server that stateless requests share (MCP specification 2026-07-28). If it is
// stateless itself, all requests share it. If not, the bridge does the handshake, and the requests
// of one owner with the same capabilities share it. The bridge chooses the ids, progress tokens
// and subscription ids at the server, so that no client can name those of another.
type server struct {
	servers *servers.Servers
	shared  *Servers
	key     string // in shared.byKey
	// stateless is set if the server is stateless itself, or if that is not known yet.
	stateless bool
	id        string // an operator sees its hash
	user      string // hash of the owner; empty if the server is for all owners
	peer      upstream.Peer
	// ready is closed when the start is over. Then err is set if it has failed.
	ready chan struct{}
	err   error
	// capabilities are those of the clients, as written. A stateless server has none here.
	capabilities []byte

	out servers.Outbox // guards what follows
	// handshake is the result of initialize; nil if the server is stateless itself.
	handshake     *handshake
	calls         callTable
	inputs        parkedCalls
	subscriptions subscriptions
	watches       resourceWatches
	level         int       // lowest log level that the server was asked for
	active        int       // HTTP requests in progress
	used          time.Time // end of the last HTTP request
	begun         time.Time
	answers       bool           // the server has answered a request
	fields        mcp.ToolFields // header fields that repeat arguments of tools
	ended         bool
	// retired is set if the server has reached its maximum lifetime. It takes no more requests.
	retired bool
	// failedStart is set if the server rejected its first request.
	failedStart bool
	timer       *time.Timer // calls watch; nil before the start is over
}

func newServer(all *Servers, key string) *server {
	now := time.Now()
	c := &server{
		servers: all.servers, shared: all, key: key, id: mcp.NewID(), ready: make(chan struct{}), begun: now, used: now,
		level: mcp.UnknownLevel,
	}
	c.calls = callTable{server: c, byID: make(map[message.Key]*call), byToken: make(map[message.Key]*call)}
	c.inputs = parkedCalls{server: c, parked: make(map[string]*call)}
	c.subscriptions = subscriptions{
		server: c, listens: make(map[*call]*filter),
		byPart: make(map[string]*upstreamSubscription), unused: make(map[*upstreamSubscription]struct{}),
	}
	c.watches = resourceWatches{server: c, count: make(map[string]int)}
	return c
}

// Join implements [servers.Holder].
func (c *server) Join(peer upstream.Peer) bool {
	c.out.Lock()
	defer c.out.Unlock()
	c.peer = peer
	c.out.Join(peer)
	return !c.ended
}

// Unlist implements [servers.Holder].
func (c *server) Unlist() {
	c.shared.mu.Lock()
	defer c.shared.mu.Unlock()
	if c.shared.byKey[c.key] == c {
		delete(c.shared.byKey, c.key)
	}
}

// Info implements [servers.Holder].
func (c *server) Info() stats.SessionInfo {
	c.out.Lock()
	defer c.out.Unlock()
	i := stats.SessionInfo{
		ID: safetext.HashID(c.id), Transport: stats.TransportStateless, User: c.user,
		Used: c.used, Active: c.active, Version: mcp.StatelessRevision,
	}
	if c.timer != nil {
		i.Begun = c.begun
	}
	return i
}

// Answered implements [servers.Holder].
func (c *server) Answered() bool {
	c.out.Lock()
	defer c.out.Unlock()
	return c.answers || c.ended && !c.failedStart
}

func (c *server) isEnded() bool {
	c.out.Lock()
	defer c.out.Unlock()
	return c.ended
}

// enter counts an HTTP request in progress; the caller must then call leave. It returns false if
// the server has ended or is retired.
func (c *server) enter() bool {
	c.out.Lock()
	defer c.out.Unlock()
	if c.ended || c.retired {
		return false
	}
	c.active++
	return true
}

func (c *server) leave() {
	c.out.Lock()
	defer c.out.Unlock()
	c.active--
	c.used = time.Now()
	if c.retired && c.active == 0 && !c.ended {
		c.timer.Reset(0)
	}
}

// retireWithin is how long the requests in progress may still take when their server is retired.
const retireWithin = time.Minute

// watch ends the server if no request has used it for [servers.Bounds.Idle]. If the server has
// reached its maximum lifetime, watch retires it: it takes no more requests, its subscriptions end,
// and it ends with the last request. Clients subscribe again, at another server; otherwise a
// server with subscriptions might never end. watch is called by its timer.
func (c *server) watch() {
	bounds := c.servers.Bounds()
	c.out.Lock()
	left := time.Until(c.begun.Add(bounds.Lifetime))
	why := stats.EndLifetime
	retires := left <= 0 && !c.retired && !c.ended
	switch {
	case retires:
		c.retired = true
		if c.active > 0 {
			left = retireWithin
		}
	case c.retired:
		left = time.Until(c.begun.Add(bounds.Lifetime + retireWithin))
		if c.active == 0 {
			left = 0
		}
	case c.active > 0:
		left = min(left, bounds.Idle)
	default:
		if idle := time.Until(c.used.Add(bounds.Idle)); idle < left {
			left, why = idle, stats.EndIdle
		}
	}
	over := left <= 0 && !c.ended
	if !over && !c.ended {
		c.timer.Reset(left)
	}
	c.out.Unlock()
	if retires {
		c.Unlist() // the next request begins another server
		c.out.Lock()
		for k := range c.subscriptions.listens {
			c.cancel(k)
		}
		c.out.Unlock()
	}
	if over {
		c.servers.End(c, why)
	}
}

// ask sends a request of the bridge itself, and returns the response.
func (c *server) ask(ctx context.Context, r *http.Request, method string, params []byte) ([]byte, error) {
	k := &call{own: true, method: method}
	if err := c.calls.register(k); err != nil {
		return nil, err
	}
	defer func() {
		c.out.Lock()
		defer c.out.Unlock()
		c.drop(k)
	}()
	if err := c.peer.Send(r, message.NewRequest(k.number(), method, params)); err != nil {
		return nil, err
	}
	for {
		batch, _, over := k.Take()
		for _, e := range batch {
			if e.Response {
				return e.Raw, nil
			}
		}
		if over {
			return nil, upstream.ErrEnded
		}
		select {
		case <-k.changed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// drop removes a request from the server's state, and ends its events. The lock is held.
func (c *server) drop(k *call) {
	c.calls.remove(k)
	c.subscriptions.leave(k)
	if k.state != "" {
		delete(c.inputs.parked, k.state)
		k.state = ""
		c.calls.unread.unkeep(k)
	}
	k.expiry.Stop()
	k.finish()
}

// giveUp cancels a request whose client has left, unless it has ended or is parked.
func (c *server) giveUp(k *call) {
	c.out.Lock()
	defer c.out.Unlock()
	c.calls.unread.leave(k)
	if k.done || k.state != "" {
		return
	}
	c.cancel(k)
}

// cancel drops a request in progress, and notifies the server. The lock is held.
func (c *server) cancel(k *call) {
	for _, in := range k.inputs {
		c.out.Post(message.NewError(in.id, message.CodeInternal, "the client takes no requests any more"))
	}
	k.inputs = nil
	if c.calls.byID[k.id] == k {
		c.out.Post(cancelled(k))
		c.calls.gone.add(k.id)
	}
	f := c.subscriptions.listens[k]
	c.drop(k)
	switch {
	case f == nil:
	case c.handshake != nil:
		c.watches.release(f.resources)
	default:
		c.subscriptions.tidy()
	}
}

// Deliver takes a message of the server to the request that it belongs to. A message that
// belongs to no request, or may belong to several, is dropped (D5).
func (c *server) Deliver(m message.Message) {
	c.out.Lock()
	defer c.out.Unlock()
	if c.ended {
		return
	}
	switch m.Kind {
	case message.Response:
		c.answers = true
		k := c.calls.byID[m.ID]
		switch {
		case k == nil: // the request was abandoned, or there was none
			c.calls.gone.answered(m.ID)
		case k.begins != nil:
			c.subscriptions.over(k.begins, m.Raw)
		case k.state != "":
			c.inputs.keepLate(k, m)
			c.calls.remove(k)
		default:
			e := servers.Event{Raw: c.answer(k, m), Response: true}
			if refusal := upstream.RefusalOf(c.peer); refusal != nil {
				e.More = &servers.Details{ID: k.clientID, Refusal: refusal}
			}
			k.add(e)
			c.drop(k)
		}
	case message.Request:
		c.inputs.asked(m)
	default:
		c.notified(m)
	}
}

// answer returns a response as the client gets it: with the client's own id, and translated if the
// server is not stateless.
func (c *server) answer(k *call, m message.Message) []byte {
	raw := m.Raw
	switch k.method {
	case "tools/list":
		c.fields.Learn(raw)
	case "server/discover":
		if offered := message.Get(raw, "result", "capabilities"); offered != nil {
			c.subscriptions.offered = &handshake{translate.Server{Capabilities: offered}}
		}
	}
	if c.handshake != nil {
		raw = c.handshake.translate(k.method, raw)
	}
	if message.KeyOf(message.Get(raw, "result", "_meta", mcp.MetaSubscription)) == k.id {
		raw = message.Set(raw, k.clientID, "result", "_meta", mcp.MetaSubscription)
	}
	return message.Set(raw, k.clientID, "id")
}

// notified delivers a notification of the server to the requests that it belongs to.
func (c *server) notified(m message.Message) {
	switch {
	case m.Method == "notifications/progress":
		if k := c.calls.byToken[m.Progress]; k != nil && k.state == "" {
			k.add(servers.Event{Raw: message.Set(m.Raw, k.clientToken, "params", "progressToken")})
		}
	case m.Method == "notifications/message":
		k := c.calls.sole(func(k *call) bool { return k.method != "subscriptions/listen" })
		if k != nil && k.state == "" && k.logLevel != "" && mcp.LevelOf(message.Text(m.Raw, "params", "level")) >= mcp.LevelOf(k.logLevel) {
			k.add(servers.Event{Raw: m.Raw})
		}
	case c.handshake != nil:
		c.subscriptions.changed(m)
	case m.Method == "notifications/cancelled":
		switch k := c.calls.byID[m.Cancels]; {
		case k == nil || k.method != "subscriptions/listen":
		case k.begins != nil:
			c.subscriptions.notified(k.begins, m)
		default:
			k.add(servers.Event{Raw: message.Set(m.Raw, k.clientID, "params", "requestId")})
			c.drop(k)
		}
	default:
		switch k := c.calls.byID[message.KeyOf(message.Get(m.Raw, "params", "_meta", mcp.MetaSubscription))]; {
		case k == nil:
		case k.begins != nil:
			c.subscriptions.notified(k.begins, m)
		default:
			k.listening = true
			k.add(servers.Event{Raw: message.Set(m.Raw, k.clientID, "params", "_meta", mcp.MetaSubscription)})
		}
	}
}

// Fail implements [servers.Holder]. It answers the requests in progress with an error.
func (c *server) Fail(text string) (upstream.Peer, bool) {
	c.out.Lock()
	defer c.out.Unlock()
	if c.ended {
		return nil, false
	}
	c.ended = true
	if c.timer != nil {
		c.timer.Stop()
	}
	for _, k := range c.calls.byID {
		if k.begins != nil {
			k.begins.late.Stop()
		}
		if !k.listening && k.state == "" { // a subscription ends without an answer
			k.add(servers.Event{Raw: message.Error(k.clientID, message.CodeInternal, text), Response: true})
		}
		c.drop(k)
	}
	for k := range c.subscriptions.listens {
		c.drop(k)
	}
	for _, k := range c.inputs.parked {
		c.drop(k)
	}
	return c.peer, true
}
