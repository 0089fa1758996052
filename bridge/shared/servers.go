package shared

import (
	"context"
	"crypto/sha256"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/servers"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/stats"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/translate"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/upstream"
)

// Config describes the shared servers of one endpoint.
type Config struct {
	// Revision is what is known of the server's protocol revision. Default: nothing is
	// known yet.
	Revision *translate.ServerRevision
	// Sent returns what the configuration sends to the server with a request, beside what
	// the request has. Requests with different values never share a server. Default:
	// nothing is sent.
	Sent func(r *http.Request) string
	// Apart reports whether even a stateless server is only for the requests of one owner. Such
	// a server cannot tell whose tasks it runs. Default: all requests share it.
	Apart func() bool
}

// Servers are the servers of one endpoint that stateless requests share.
type Servers struct {
	servers  *servers.Servers
	revision *translate.ServerRevision
	sent     func(r *http.Request) string // nil: nothing is sent
	apart    func() bool

	mu    sync.Mutex
	byKey map[string]*server
}

// New returns a Servers without any server. v starts them.
func New(v *servers.Servers, cfg Config) *Servers {
	if cfg.Revision == nil {
		cfg.Revision = translate.NewServerRevision(v.Config.Remote)
	}
	if cfg.Apart == nil {
		cfg.Apart = func() bool { return false }
	}
	return &Servers{servers: v, revision: cfg.Revision, sent: cfg.Sent, apart: cfg.Apart, byKey: make(map[string]*server)}
}

// sharedBy returns a key of the owner of a request, and of what the configuration sends with it.
// Only requests with the same key may share a server with a handshake.
func (a *Servers) sharedBy(r *http.Request) string {
	key := a.servers.OwnerOf(r).Key()
	if a.sent == nil {
		return key
	}
	sum := sha256.Sum256([]byte(key + a.sent(r)))
	return string(sum[:])
}

// statelessKey returns the key of the stateless server for the requests of an owner. It differs from
// the key of a server with a handshake, which ends with the capabilities of the clients.
func (a *Servers) statelessKey(owner string) string {
	if a.apart() {
		return owner + "stateless"
	}
	return ""
}

// isFree reports whether no server has that key.
func (a *Servers) isFree(key string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.byKey[key] == nil
}

// list makes requests find a server by a key. It returns false if another server has the key.
func (a *Servers) list(c *server, key string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.byKey[key] != nil {
		return false
	}
	a.byKey[key] = c
	return true
}

// Spare returns the server that has been unused for longest, among those that are started and have
// neither a request in progress nor a parked one; nil if there is none.
func (a *Servers) Spare() servers.Holder {
	a.mu.Lock()
	defer a.mu.Unlock()
	var least *server
	var since time.Time
	for _, c := range a.byKey {
		c.out.Lock()
		if c.active == 0 && len(c.inputs.parked) == 0 && c.timer != nil && (least == nil || c.used.Before(since)) {
			least, since = c, c.used
		}
		c.out.Unlock()
	}
	if least == nil {
		return nil
	}
	return least
}

// converse returns the shared server for a request, and begins one if there is none. The request
// has entered it; the caller must call leave.
func (a *Servers) converse(ctx context.Context, r *http.Request, e *envelope) (*server, error) {
	for {
		own := e.owner + string(e.Capabilities)
		a.mu.Lock()
		key, stateless := own, false
		if known := a.revision.Known(); known == translate.Stateless || known == translate.Unknown && a.byKey[own] == nil {
			key, stateless = a.statelessKey(e.owner), true // or until the server turns out to have a handshake
		}
		c := a.byKey[key]
		a.mu.Unlock()
		if c == nil {
			c = newServer(a, key)
			c.stateless = stateless
			if key != "" {
				c.user = servers.HashOwner(a.servers.OwnerOf(r))
			}
			err := a.servers.Reserve(ctx, c, func() bool { return a.isFree(key) }, func() bool { return a.list(c, key) })
			if errors.Is(err, servers.ErrAgain) { // another request was first
				continue
			}
			if err != nil {
				return nil, err
			}
			if err = a.beginFor(ctx, r, e, c, own); errors.Is(err, servers.ErrAgain) {
				continue
			}
			return c, err
		}
		select {
		case <-c.ready:
		case <-ctx.Done():
			return nil, a.unanswered(ctx, c)
		}
		if c.err != nil {
			// The start failed for another request. This one tries again, with its own credentials.
			continue
		}
		if c.key == key && c.enter() {
			return c, nil
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
	}
}

// begun returns a started server that the owner of a request may use; nil if there is none. The
// request has entered it; the caller must call leave.
func (a *Servers) begun(r *http.Request) *server {
	own := a.sharedBy(r)
	a.mu.Lock()
	var found []*server
	for key, c := range a.byKey {
		if key == "" || strings.HasPrefix(key, own) {
			found = append(found, c)
		}
	}
	a.mu.Unlock()
	for _, c := range found {
		select {
		case <-c.ready:
			if c.err == nil && c.enter() {
				return c
			}
		default:
		}
	}
	return nil
}

// beginFor is begin for a request whose client may leave. A program goes on starting then, for
// other requests that wait for it; the connection to a remote server is made within the request.
func (a *Servers) beginFor(ctx context.Context, r *http.Request, e *envelope, c *server, own string) error {
	if a.servers.Config.Remote {
		return a.begin(ctx, r, e, c, own)
	}
	begun := make(chan error, 1)
	detached := r.Clone(context.WithoutCancel(r.Context()))
	go func() { begun <- a.begin(ctx, detached, e, c, own) }()
	select {
	case err := <-begun:
		return err
	case <-ctx.Done():
		go func() {
			if <-begun == nil {
				c.leave()
			}
		}()
		return a.unanswered(ctx, c)
	}
}

// unanswered returns the error for a request that does not wait any longer for the start of c.
func (a *Servers) unanswered(ctx context.Context, c *server) error {
	if a.servers.IsLate(c) {
		return servers.ErrStarting
	}
	return ctx.Err()
}

// begin starts the server of c for a request, which enters it. It finds out whether the server is
// stateless, and initializes it if not.
func (a *Servers) begin(ctx context.Context, r *http.Request, e *envelope, c *server, own string) error {
	// Other requests may wait for the server, so its start does not end with this client.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), a.servers.StartLimit())
	defer cancel()
	err := a.servers.Launch(ctx, r, c)
	probed := false
	if err == nil && c.stateless {
		probed, err = a.probe(ctx, r, c, own)
	}
	if err == nil && !c.stateless {
		if probed { // it has answered, so nothing has to be downloaded any more
			ctx, cancel = context.WithTimeout(ctx, a.servers.Config.StartTimeout)
			defer cancel()
		}
		err = a.shakeHands(ctx, r, e, c, probed)
	}
	if err == nil && !c.enter() {
		err = upstream.ErrEnded
	}
	c.err = err
	if errors.Is(err, context.DeadlineExceeded) {
		a.servers.WarnSilent(c.peer)
	}
	if err != nil {
		c.out.Lock()
		c.failedStart = ctx.Err() == nil
		c.out.Unlock()
		upstream.NoteEnd(c.peer, stats.ExitRejected)
		a.servers.End(c, stats.EndServer)
	} else {
		c.out.Lock()
		ended := c.ended
		if !ended {
			c.timer = time.AfterFunc(min(a.servers.Bounds().Idle, a.servers.Bounds().Lifetime), c.watch)
		}
		c.out.Unlock()
		if !ended {
			a.servers.Config.Observer.SessionBegun(c.Info())
		}
	}
	close(c.ready)
	return err
}

// probe finds out whether a server that was just started is stateless itself (MCP specification
// 2026-07-28, "stdio: Backward Compatibility"). If not, only the requests with the key own may use
// it from now on. answered reports whether the server has answered the probe.
func (a *Servers) probe(ctx context.Context, r *http.Request, c *server, own string) (answered bool, err error) {
	found := a.revision.Known()
	if found == translate.Unknown {
		if found, answered = c.discoverEra(ctx, r); !answered && ctx.Err() != nil {
			return false, ctx.Err()
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.revision.Found(found)
	if found == translate.Stateless {
		return answered, nil
	}
	delete(a.byKey, c.key)
	if a.byKey[own] != nil || c.isEnded() { // some servers end when they are probed
		return answered, servers.ErrAgain
	}
	c.out.Lock()
	c.key, c.stateless, c.user = own, false, servers.HashOwner(a.servers.OwnerOf(r))
	c.out.Unlock()
	a.byKey[own] = c
	return answered, nil
}

// shakeHands initializes a server, and notes in the revision what that says of the server. probed
// means that the server has just answered server/discover. If a program that was not probed
// refuses initialize, it may be a stateless one by now: shakeHands asks it, and returns ErrAgain if
// it is.
func (a *Servers) shakeHands(ctx context.Context, r *http.Request, e *envelope, c *server, probed bool) error {
	server, err := c.shakeHands(ctx, r, e)
	if err == nil {
		c.out.Lock()
		c.handshake, c.capabilities = server, e.Capabilities
		c.out.Unlock()
	}
	_, refused := errors.AsType[*answerError](err)
	refused = refused && !c.isEnded() // if it has ended, the error is from Fail
	found := translate.Handshake
	if refused && !probed && !a.servers.Config.Remote {
		found, _ = c.discoverEra(ctx, r)
	}
	switch {
	case a.servers.Config.Remote:
	case found == translate.Stateless:
		a.revision.FoundStateless()
		return servers.ErrAgain
	default:
		a.revision.HandshakeAnswered(err == nil || refused)
	}
	return err
}

// isStatelessAnswer reports whether only a stateless server, of this or another revision, answers
// server/discover so.
func isStatelessAnswer(raw []byte) bool {
	if message.Get(raw, "result", "supportedVersions") != nil {
		return true
	}
	switch string(message.Get(raw, "error", "code")) {
	case strconv.Itoa(message.CodeUnsupportedVersion), strconv.Itoa(message.CodeMissingCapability):
		return true
	}
	return false
}
