package shared

import (
	"errors"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/mcp"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/servers"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/upstream"
)

// maxShared bounds the requests in flight at a server that is stateless itself.
const maxShared = upstream.MaxRequests

// call is one request in progress at a shared server. The lock of the server guards it.
type call struct {
	server *server
	id     message.Key           // at the server; also its progress token there
	own    bool                  // the bridge itself sent it, not a client
	begins *upstreamSubscription // the upstream subscription that it begins; nil for other requests
	method string
	name   string // of the tool, prompt or resource
	// Id and progress token of the client's request, as written.
	clientID, clientToken []byte
	logLevel              string // lowest level that the client wants; empty for no log messages
	client                string // owner and address; unread answers are bounded for each

	share   *unreadShare // of client; nil for a request of the bridge itself
	events  []servers.Event
	used    int           // bytes of events
	held    int           // bytes that are being written to the client
	kept    int           // bytes of late
	done    bool          // no event follows
	changed chan struct{} // has room for one signal: Take returns something new

	// inputs are the requests for input that the server has sent during this request, by the
	// keys in inputRequests.
	inputs   map[string]*input
	asked    int               // number of inputs so far, for their keys
	state    string            // requestState, while the request is parked; else empty
	resuming bool              // the client has come back, and its answers are being sent
	late     *message.Message  // the server's answer, if it came while the request was parked
	expiry   *upstream.Timeout // ends a parked request
	// listening is set if the request is a subscription that was acknowledged.
	listening bool
}

// errTooMany says that the bound of requests in progress at a server is reached.
var errTooMany = errors.New("too many requests are in progress")

// callTable has the requests in progress at a shared server. The lock of the server guards it.
type callTable struct {
	server  *server
	byID    map[message.Key]*call
	byToken map[message.Key]*call // those that ask for progress
	unread  unread
	gone    abandoned
}

// register adds a request to the table, and gives it an id. It returns errTooMany, or
// [upstream.ErrEnded] if the server has ended.
func (t *callTable) register(k *call) error {
	t.server.out.Lock()
	defer t.server.out.Unlock()
	return t.add(k)
}

// add is register for a caller that holds the lock.
func (t *callTable) add(k *call) error {
	limit := servers.MaxPending
	if t.server.handshake == nil {
		limit = maxShared
	}
	switch {
	case t.server.ended:
		return upstream.ErrEnded
	case len(t.byID) >= limit || len(t.server.inputs.parked) >= limit:
		return errTooMany
	}
	k.server, k.id, k.changed = t.server, t.newID(), make(chan struct{}, 1)
	if k.own {
		k.clientID = k.number()
	}
	t.unread.join(k)
	t.byID[k.id] = k
	if k.clientToken != nil {
		t.byToken[k.id] = k
	}
	return nil
}

// newID returns an id that no other request in progress has.
func (t *callTable) newID() message.Key {
	for {
		if id := message.KeyOf(unguessable()); t.byID[id] == nil {
			return id
		}
	}
}

// remove removes a request that is not in progress at the server any more.
func (t *callTable) remove(k *call) {
	delete(t.byID, k.id)
	delete(t.byToken, k.id)
}

// sole returns the request of a client that a message without the id of a request is about: the
// only one in progress for which may returns true. It returns nil if there is none or more than
// one. An abandoned request that the server may still send messages about counts as one.
func (t *callTable) sole(may func(*call) bool) (found *call) {
	within := forgetAfter
	if t.server.handshake != nil {
		within = forgetOwnAfter
	}
	if t.gone.any(within) {
		return nil
	}
	for _, k := range t.byID {
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

// number returns the id of a request at the server as it is written in JSON. The progress token
// is the same.
func (k *call) number() []byte { return []byte(k.id[1:]) }

// finish notes that no event follows.
func (k *call) finish() {
	k.done = true
	k.wakeUp()
}

func (k *call) wakeUp() {
	select {
	case k.changed <- struct{}{}:
	default:
	}
}

// add queues a message for the client, within the bounds of unread messages. To make room it drops
// older messages that are not answers. If there is still no room, an answer is replaced by an
// error, and any other message is dropped.
func (k *call) add(e servers.Event) {
	unread := &k.server.calls.unread
	buffer := k.server.servers.Bounds().Buffer
	n := len(e.Raw)
	for len(k.events) > 0 && !k.events[0].Response && (k.used+n > buffer || !unread.room(k, n, servers.MaxUnread*buffer)) {
		oldest := len(k.events[0].Raw)
		k.events[0] = servers.Event{}
		k.events = k.events[1:]
		k.used -= oldest
		unread.note(k, -oldest)
	}
	if !unread.room(k, n, servers.MaxUnread*buffer) {
		k.server.servers.Config.Observer.Warned("clients leave answers of a shared server unread", "unread")
		if !e.Response {
			return
		}
		e = servers.Event{Raw: message.Error(k.clientID, message.CodeInternal, textUnread), Response: true}
		n = len(e.Raw)
	}
	k.events = append(k.events, e)
	k.used += n
	unread.note(k, n)
	k.wakeUp()
}

// Take implements [servers.Source].
func (k *call) Take() (batch []servers.Event, _ int, over bool) {
	c := k.server
	c.out.Lock()
	defer c.out.Unlock()
	c.calls.unread.note(k, -k.held)
	k.held = k.used
	batch, k.events, k.used = k.events, nil, 0
	return batch, 0, k.done
}

// Wake implements [servers.Source].
func (k *call) Wake() <-chan struct{} { return k.changed }

// Prime implements [servers.Source]. The stream of a request without a session is not resumed.
func (k *call) Prime() {}

// Alone implements [servers.Source].
func (k *call) Alone(e servers.Event, _ int, _ bool) (status int) { return mcp.ErrorStatus(e.Raw) }
