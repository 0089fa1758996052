package servers

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/bodies"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/identity"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/mcp"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/ratewriter"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/safetext"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/stats"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/upstream"
)

// Holder is what a server is started for: a session, or the stateless requests that share a
// server.
type Holder interface {
	// Join gives the holder its server. It returns false if the holder has ended already.
	Join(peer upstream.Peer) bool
	// Deliver takes a message of the server.
	Deliver(m message.Message)
	// Fail ends the holder, and answers its requests in flight with an error that has the text.
	// It returns the server, which is nil before Join, and false if the holder had ended before.
	Fail(text string) (upstream.Peer, bool)
	// Answered reports whether the start of the server went well. If not, it counts toward the
	// backoff.
	Answered() bool
	// Unlist removes the holder from where requests find it. The lock of Servers is held.
	Unlist()
	// Info describes the holder to the operator.
	Info() stats.SessionInfo
}

// Servers starts and ends the servers of one endpoint, one for each holder.
type Servers struct {
	// Config is complete: it has the defaults where nothing was configured.
	Config *Config
	// Spare returns a holder that may be ended to make room for another one; nil if there is
	// none. The lock of Servers is held. Default: there is none.
	Spare  func() Holder
	bounds func() Bounds

	starts  starts
	backoff backoff
	room    bodies.Room // of members

	// mu may be held while the locks of holders, of where they are found, of starts and of
	// backoff are taken; never the other way round.
	mu      sync.Mutex
	holders map[Holder]struct{} // including those whose server is still starting
	slots   serverSlots
	closed  bool
	lost    int // servers that ended by themselves and were not replaced yet

	wg sync.WaitGroup // has one for each slot in use
}

// New returns a Servers without any server.
func New(cfg Config) *Servers {
	fixed := cfg.fixed().filled()
	bounds := func() Bounds { return fixed }
	if now := cfg.Bounds; now != nil {
		bounds = func() Bounds { return now().filled() }
	}
	if cfg.Stall <= 0 {
		cfg.Stall = DefaultStall
	}
	if cfg.StartTimeout <= 0 {
		cfg.StartTimeout = DefaultStartTimeout
	}
	if cfg.Observer == nil {
		cfg.Observer = Unobserved{}
	}
	if cfg.User == nil {
		cfg.User = func(*http.Request) string { return "" }
	}
	v := &Servers{Config: &cfg, Spare: func() Holder { return nil }, bounds: bounds, holders: make(map[Holder]struct{})}
	v.starts.config, v.starts.byHolder = v.Config, make(map[Holder]*start)
	v.starts.end = func(h Holder, text string) { v.EndWith(h, stats.EndServer, text) }
	return v
}

// Bounds returns the bounds that hold now.
func (v *Servers) Bounds() Bounds { return v.bounds() }

// Launch starts a server for a holder that has a slot from Reserve. from is the request that it
// is started for. After an error the holder has neither a server nor a slot.
func (v *Servers) Launch(ctx context.Context, from *http.Request, h Holder) error {
	begun := time.Now()
	var judged sync.Once    // guards the one call of started
	var answers atomic.Bool // the server has answered something
	var err error
	var peer upstream.Peer // set before a message comes
	in := upstream.NewInbox(upstream.InboxConfig{
		Hand: func(m message.Message) {
			if h.Deliver(m); !answers.Load() && h.Answered() {
				answers.Store(true)
				v.starts.answered(h)
			}
		},
		Report: v.Config.Observer.Unmatched, Wait: func() time.Duration { return v.Bounds().Unmatched },
		End: func(text string) {
			judged.Do(func() { v.started(false) })
			upstream.NoteEnd(peer, stats.ExitNotMCP)
			v.EndWith(h, stats.EndServer, text)
		},
	})
	peer, err = v.Config.Start(ctx, from, in)
	if err != nil {
		in.Open()
		v.started(false)
		v.forget(h)
		v.release()
		v.Config.Observer.ServerFailed(err)
		return err
	}
	v.Config.Observer.ServerStarted(v.replacesLost())
	v.starts.begin(h, peer)
	joined := h.Join(in.Attach(peer))
	in.Open()
	if !joined { // Close has ended the holder meanwhile
		upstream.NoteEnd(peer, stats.ExitCause(stats.EndClosed))
		v.wg.Go(func() { _ = peer.Close() })
	}
	upstream.AfterDone(peer, func() {
		defer v.release()
		in.Close()
		v.backoff.noteEnd(upstream.HowEnded(peer))
		judged.Do(func() { v.started(h.Answered() || time.Since(begun) > shortLife) })
		byItself := v.EndWith(h, stats.EndServer, TextEnded(peer))
		if byItself {
			v.mu.Lock()
			v.lost++
			v.mu.Unlock()
		}
		v.Config.Observer.ServerEnded(byItself)
		_ = peer.Close()
	})
	return nil
}

// replacesLost reports whether a server that was just started counts as the replacement of one
// that ended by itself.
func (v *Servers) replacesLost() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.lost == 0 {
		return false
	}
	v.lost--
	return true
}

// started notes whether a start went well, and reports it if the next one has to wait.
func (v *Servers) started(well bool) {
	if wait := v.backoff.note(well || v.Config.Remote); wait > 0 {
		v.Config.Observer.Warned("server ends soon after its start; it is started again only after a while", "backoff")
		v.Config.Observer.BackingOff(wait)
	}
}

// forget removes a holder, so that no request finds it any more.
func (v *Servers) forget(h Holder) {
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.holders, h)
	v.starts.forget(h)
	h.Unlist()
}

// What clients get whose requests wait for a server.
const (
	textEnded = "the server has ended"
	// TextNoAnswer is for a server that is ended because it does not answer.
	TextNoAnswer = "the server did not answer in time"
)

// endWait is how long TextEnded waits until it is known how a server has ended.
const endWait = 500 * time.Millisecond

// TextEnded is the error text for a client whose server has ended. It says how the server has
// ended, if that is known within endWait, and has no secrets.
func TextEnded(peer upstream.Peer) string {
	select {
	case <-peer.Done():
	case <-time.After(endWait):
	}
	if how := upstream.HowEnded(peer); how != "" {
		return textEnded + ": " + how
	}
	return textEnded
}

// End ends a holder and its server. It does not wait until the server has ended, but Close does.
// It returns false if the holder had ended before.
func (v *Servers) End(h Holder, why stats.EndReason) bool {
	return v.EndWith(h, why, textEnded)
}

// EndWith is End with a text for the requests that wait for the server.
func (v *Servers) EndWith(h Holder, why stats.EndReason, text string) bool {
	v.forget(h)
	peer, ok := h.Fail(text)
	if !ok {
		return false
	}
	if s := h.Info(); !s.Begun.IsZero() {
		v.Config.Observer.SessionEnded(s, why)
	}
	if peer != nil { // the session is reported first, because its end is why the server ends
		if why != stats.EndServer {
			upstream.NoteEnd(peer, stats.ExitCause(why))
		}
		go func() { _ = peer.Close() }()
	}
	return true
}

// all returns the holders in no order.
func (v *Servers) all() []Holder {
	v.mu.Lock()
	defer v.mu.Unlock()
	return slices.Collect(maps.Keys(v.holders))
}

// Len returns the number of holders.
func (v *Servers) Len() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return len(v.holders)
}

// List describes the holders whose servers were initialized, oldest first.
func (v *Servers) List() []stats.SessionInfo {
	var infos []stats.SessionInfo
	for _, h := range v.all() {
		if s := h.Info(); !s.Begun.IsZero() {
			infos = append(infos, s)
		}
	}
	slices.SortFunc(infos, func(a, b stats.SessionInfo) int {
		return cmp.Or(a.Begun.Compare(b.Begun), cmp.Compare(a.ID, b.ID))
	})
	return infos
}

// EndSession ends the holder with that [stats.SessionInfo.ID] on behalf of the operator. It
// returns false if there is none.
func (v *Servers) EndSession(id string) bool {
	for _, h := range v.all() {
		if s := h.Info(); !s.Begun.IsZero() && s.ID == id {
			return v.End(h, stats.EndOperator)
		}
	}
	return false
}

// Close ends every holder and waits for their servers. No server is started from then on.
func (v *Servers) Close() {
	v.mu.Lock()
	if v.closed {
		v.mu.Unlock()
		v.wg.Wait()
		return
	}
	v.closed = true
	v.slots.notify()
	all := slices.Collect(maps.Keys(v.holders))
	v.mu.Unlock()
	for _, h := range all {
		v.End(h, stats.EndClosed)
	}
	v.wg.Wait()
}

// WarnSilent warns of a server that does not answer in time, and is about to be ended.
func (v *Servers) WarnSilent(peer upstream.Peer) { warnSilent(v.Config.Observer, peer) }

// IsLate reports whether the server of a holder takes long for its first answer.
func (v *Servers) IsLate(h Holder) bool { return v.starts.isLate(h) }

// Abandon notes that the client which a holder was begun for does not wait for it any more. It
// returns true if the server is late: then it goes on starting, and is ended once it has
// answered. If it returns false, the caller has to end the holder.
func (v *Servers) Abandon(h Holder) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return !v.closed && v.starts.abandon(h)
}

// StartLimit bounds how long a server may take for what it is asked first. A late server is
// ended before, after lateLimit.
func (v *Servers) StartLimit() time.Duration {
	if v.Config.Remote || v.Config.StartTimeout < lateAfter {
		return v.Config.StartTimeout
	}
	return lateLimit + v.Config.StartTimeout
}

// State is what an operator sees of the servers.
type State struct {
	// Starting is when the late server was started; zero if none is late.
	Starting time.Time
	// NotUntil is when the next server may be started; zero if that is now.
	NotUntil time.Time
	// Failed is how many servers in a row have ended soon after their start.
	Failed int
}

// State returns the state of the servers.
func (v *Servers) State() State {
	s := State{Starting: v.starts.oldestLate()}
	s.Failed, s.NotUntil = v.backoff.state()
	return s
}

// EventWriter returns a writer for the response to a client. It ends the connection of a client
// that reads too slowly.
func (v *Servers) EventWriter(w http.ResponseWriter) *EventWriter {
	bounds := v.Bounds()
	return &EventWriter{w: w, to: ratewriter.New(w, v.Config.Stall, bounds.MinRate), bounds: v.bounds}
}

// OwnerOf returns the host and user that a request is from.
func (v *Servers) OwnerOf(r *http.Request) identity.Owner {
	return identity.OwnerOf(r, v.Config.User(r))
}

// RefuseStart answers a request for which no server could be started, because of err.
func (v *Servers) RefuseStart(w http.ResponseWriter, id []byte, err error) {
	if refusal, ok := errors.AsType[*upstream.Refusal](err); ok {
		refusal.Write(w, id)
		return
	}
	status, text := http.StatusBadGateway, "the server could not be started"
	switch {
	case errors.Is(err, ErrTooManySessions), errors.Is(err, ErrBackoff), errors.Is(err, ErrHubClosed), errors.Is(err, ErrStarting):
		status, text = http.StatusServiceUnavailable, err.Error()
		wait := v.backoff.retryAfter()
		switch {
		case errors.Is(err, ErrTooManySessions):
			wait = 10 * time.Second
		case errors.Is(err, ErrStarting):
			wait = lateRetry
		case errors.Is(err, ErrBackoff):
			text = v.backoff.text(wait)
		}
		w.Header().Set("Retry-After", strconv.Itoa(int((wait+time.Second-1)/time.Second)))
	default:
		v.Config.Observer.Warned("server could not be started", err.Error())
	}
	mcp.Refuse(w, status, id, message.CodeInternal, text)
}

// HashOwner returns the hash by which an operator can tell owners apart. It is empty if the owner
// is anonymous.
func HashOwner(o identity.Owner) string {
	if o.IsAnonymous() {
		return ""
	}
	return safetext.HashID(o.Key())
}
