package shared

import (
	"errors"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/mcp"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/servers"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/upstream"
)

// maxShared bounds the requests in flight at a server that all clients share.
const maxShared = upstream.MaxRequests

// call is one request under way at a shared server. The lock of the server guards it.
type call struct {
	server *server
	id     message.Key           // at the server
	own    bool                  // it is the bridge's own
	begins *upstreamSubscription // set if it is the request of that
	method string
	name   string // of the tool, prompt or resource
	// What the client has: its id and progress token as written, and the least log
	// level that it wants, which is empty if it wants no log messages.
	clientID, clientToken []byte
	logLevel              string
	client                string // owner and address, for which what waits is bounded

	share  *unreadShare // of client; nil: what waits is not counted
	events []servers.Event
	used   int // bytes of events
	held   int // bytes that are being written
	kept   int // bytes of late
	done   bool
	// changed has room for one: Take returns something new.
	changed chan struct{}
	// inputs are the requests of the server to the client of this one, by the keys that
	// the client knows them by.
	inputs   map[string]*input
	asked    int               // how many there were
	state    string            // that continues it, while no request of the client waits
	resuming bool              // the client has come back
	late     *message.Message  // the answer, where it came before that
	expiry   *upstream.Timeout // of state
	// listening is set if it is a subscription that was acknowledged.
	listening bool
}

// errTooMany is the error of a server that has as many requests under way as it may.
var errTooMany = errors.New("too many requests are in progress")

// callTable has the requests under way at a shared server. The lock of the server guards
// it.
type callTable struct {
	server  *server
	byID    map[message.Key]*call
	byToken map[message.Key]*call // those that ask for progress
	unread  unread
	gone    abandoned
}

// register makes a request known. It returns errTooMany, or errPeerEnded.
func (t *callTable) register(k *call) error {
	t.server.out.Lock()
	defer t.server.out.Unlock()
	return t.add(k)
}

// add is register while the server is locked.
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

// newID returns an id for a request to the server that no other request has.
func (t *callTable) newID() message.Key {
	for {
		if id := message.KeyOf(unguessable()); t.byID[id] == nil {
			return id
		}
	}
}

// remove forgets a request that is not under way at the server any more.
func (t *callTable) remove(k *call) {
	delete(t.byID, k.id)
	delete(t.byToken, k.id)
}

// only returns the request under way that a message of the server may be about, if there
// is one and no other. A request that was given up a moment ago counts as another.
func (t *callTable) only(may func(*call) bool) (found *call) {
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

// number is the id, and the progress token, of a request at the server.
func (k *call) number() []byte { return []byte(k.id[1:]) }

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

// add queues a message for the client, within the bounds of what waits for a client that
// does not read. Without room for it, an answer becomes an error, and any other message is
// dropped.
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

// Alone implements [servers.Source].
func (k *call) Alone(e servers.Event, _ int, _ bool) (status int) { return mcp.ErrorStatus(e.Raw) }
