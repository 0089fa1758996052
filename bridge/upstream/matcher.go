package upstream

import (
	"bytes"
	"errors"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
)

// DefaultUnmatched is how long a request still waits for an answer with its id after the
// server has sent something that may be its answer.
const DefaultUnmatched = 30 * time.Second

// unmatchedSoon is that time for a server that is known to change ids. It hardly sends an
// answer with the right id later.
const unmatchedSoon = 2 * time.Second

// unmatchedHold is how long an answer with another id is held back if the server is not known
// to change ids. An answer with the right id that comes in this time is used instead.
const unmatchedHold = time.Second

// Fate is what was done with a text of a server that is not a message, or with an answer whose id
// no request has. The set is closed.
type Fate string

// The fates.
const (
	// FateRepaired: a message was found in the text, and was passed on.
	FateRepaired Fate = "repaired"
	// FateAnswered: it is certainly the answer to a request. The client got it with the id
	// of the request.
	FateAnswered Fate = "answered"
	// FateFailed: it is the answer to a request, but cannot be handed on. The request was
	// answered with an error.
	FateFailed Fate = "failed"
	// FateWaits: it may be the answer to one of several requests. They fail after a time if
	// no other answer comes for them.
	FateWaits Fate = "waits"
	// FateEnded: the server was ended, because it does not use the framing of MCP.
	FateEnded Fate = "ended"
	// FateDropped: no request waits for an answer that this could be.
	FateDropped Fate = "dropped"
)

// Unmatched describes a text of a server that is no message, or an answer with an id that no
// request has.
type Unmatched struct {
	Fate Fate
	// Odd says what is wrong with the text. It is empty for an answer with an id that no
	// request has.
	Odd message.Oddity
	// Cause says why the text is not a message.
	Cause string
	// ID is the id of an answer in a form that may be logged, or "none".
	ID string
	// Shape shows the structure of the text, without what may be a secret.
	Shape string
}

// matcher takes what one server sends. It answers requests whose answers are not messages or
// have another id: at once if it is certain which request is meant, and after a time if not.
type matcher struct {
	hand   func(m message.Message) // takes the messages that are handed on
	report func(Unmatched)
	wait   func() time.Duration
	end    func(text string) // ends the server

	mu     sync.Mutex
	sent   attribution
	timers map[message.Key]*Timeout // of requests that may have been answered
	held   map[message.Key]bool     // those of them whose answer is held back
	over   bool
}

// send records a message to the server. It returns the id of a request, and "" for other
// messages.
func (u *matcher) send(m message.Message) (id message.Key) {
	var written []byte
	if m.Kind == message.Request {
		id, written = m.ID, bytes.Clone(m.RawID) // RawID would keep the whole message
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.sent.send(id, written, time.Now())
	if m.Method == "subscriptions/listen" {
		u.sent.subscribe(id)
	}
	return id
}

// unsend records that a message could not be sent.
func (u *matcher) unsend(id message.Key) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.sent.unsend(id)
}

// close stops all timers. No request fails after it.
func (u *matcher) close() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.over = true
	for _, t := range u.timers {
		t.Stop()
	}
	u.timers = nil
}

// Message implements [Receiver].
func (u *matcher) Message(m message.Message) {
	switch m.Kind {
	case message.Response:
		if !u.match(&m) {
			return
		}
	case message.Notification:
		if m.Method == "notifications/progress" && m.Progress != "" {
			u.keepWaiting(m.Progress) // the server still works on it
		}
	}
	u.hand(m)
}

// match finds the request of an answer. It returns false if the answer must not be handed
// on now.
func (u *matcher) match(m *message.Message) bool {
	u.mu.Lock()
	var v verdict
	ok := false
	if m.ID != "" {
		v, ok = u.sent.withID(m.ID, time.Now())
	} else {
		v = u.sent.unknownID("", time.Now())
	}
	if ok {
		u.settle(m.ID)
		u.mu.Unlock()
		return true
	}
	unmatched := Unmatched{Fate: FateDropped, ID: shownID(m.RawID), Shape: message.Shape(m.Raw[:min(len(m.Raw), lostEdge)])}
	switch {
	case v.id != nil:
		unmatched.Fate = FateAnswered
		*m = m.WithID(v.id)
		if v.hold {
			u.holdBack(*m)
		} else {
			u.settle(m.ID)
		}
	case len(v.candidates) > 0:
		unmatched.Fate = FateWaits
		v.byID = true
		u.failLater(v, "the server has answered with another id ("+unmatched.ID+") than it was asked with")
	}
	u.mu.Unlock()
	u.report(unmatched)
	return v.id != nil && !v.hold
}

// holdBack hands an answer on after unmatchedHold, unless an answer with the right id comes
// before. The caller holds the lock.
func (u *matcher) holdBack(m message.Message) {
	if u.over || u.held[m.ID] {
		return
	}
	u.settle(m.ID)
	if u.timers == nil {
		u.timers = make(map[message.Key]*Timeout)
	}
	if u.held == nil {
		u.held = make(map[message.Key]bool)
	}
	u.held[m.ID] = true
	u.timers[m.ID] = StartTimeout(&u.mu, unmatchedHold, func() func() {
		u.settle(m.ID)
		u.sent.accept(m.ID)
		return func() { u.hand(m) }
	})
}

// Stray implements [Receiver].
func (u *matcher) Stray(text []byte, cause error) {
	begin, end := edgesOf(text)
	stray := message.StrayOf(begin, end)
	if message.IsCut(text) {
		stray.Odd = message.OddLong
	}
	if id := message.Echo(text); id != nil && errors.Is(cause, message.ErrShape) {
		stray = message.Stray{Odd: message.OddShape, Answer: true, ID: id, Quoted: true}
	}
	unmatched := Unmatched{Fate: FateDropped, Odd: stray.Odd, Cause: cause.Error(), ID: shownID(stray.ID), Shape: message.Shape(begin)}
	if _, field := message.ContentLength(begin); field && stray.Odd != message.OddLength {
		return // whether it frames a message is seen when the next text comes
	}
	if stray.Odd == message.OddLength {
		unmatched.Fate = FateEnded
		u.report(unmatched)
		u.end("the server frames its messages with Content-Length, which MCP has not")
		return
	}
	if found, odd := message.Recover(text); len(found) > 0 {
		unmatched.Odd, unmatched.Fate = odd, FateRepaired
		if len(found) > 1 {
			unmatched.Fate = FateFailed // without the bridge, the client would not get them either
		}
		u.report(unmatched)
		for _, one := range found {
			for _, m := range one.Messages {
				u.takeRecovered(m, len(found) > 1)
			}
		}
		return
	}
	var failed []byte
	u.mu.Lock()
	if stray.Answer {
		failed = u.attribute(stray, &unmatched)
	}
	u.mu.Unlock()
	u.report(unmatched)
	if failed != nil {
		u.fail(failed, "the server's answer is not a JSON-RPC message ("+string(stray.Odd)+")")
	}
}

// takeRecovered takes a message that was found in a text. If there are several, an answer
// among them is not handed on, and its request fails.
func (u *matcher) takeRecovered(m message.Message, several bool) {
	if !several {
		u.Message(m)
		return
	}
	u.mu.Lock()
	written, waits := u.sent.waits(m.ID)
	if waits = waits && m.Kind == message.Response; waits {
		u.settle(m.ID)
	}
	u.mu.Unlock()
	if waits {
		u.fail(written, "the server has written several messages on one line")
	}
}

// attribute finds the requests that a text belongs to which is an answer but not a message.
// It returns the id of a request that fails at once; other requests fail later. The caller
// holds the lock.
func (u *matcher) attribute(stray message.Stray, unmatched *Unmatched) (failed []byte) {
	key := message.KeyOf(stray.ID)
	text := "the server has sent an answer that is not a JSON-RPC message (" + string(stray.Odd) + ")"
	if written, waits := u.sent.waits(key); waits {
		if stray.Quoted || u.sent.mayBeForAnother(key) {
			unmatched.Fate = FateWaits
			u.failLater(verdict{candidates: []message.Key{key}}, text)
			return nil
		}
		unmatched.Fate = FateFailed
		u.settle(key)
		return written
	}
	if stray.ID != nil && u.sent.overflow {
		return nil
	}
	if stray.Quoted {
		if stray.ID == nil {
			unmatched.Fate = FateWaits
			u.failLater(verdict{candidates: u.sent.candidates()}, text)
		}
		return nil // a log line may quote any message
	}
	v := u.sent.unknownID(key, time.Now())
	switch {
	case v.hold:
		unmatched.Fate = FateWaits
		u.failLater(verdict{candidates: []message.Key{message.KeyOf(v.id)}, soon: true}, text)
	case v.id != nil:
		unmatched.Fate = FateFailed
		u.settle(message.KeyOf(v.id))
		return v.id
	case len(v.candidates) > 0:
		unmatched.Fate = FateWaits
		u.failLater(v, text)
	}
	return nil
}

// failLater makes requests fail after a time if they are not answered before. The caller
// holds the lock.
func (u *matcher) failLater(v verdict, text string) {
	wait := u.wait()
	if v.soon {
		wait = min(wait, unmatchedSoon)
	}
	for _, id := range v.candidates {
		if u.over || u.timers[id] != nil || u.sent.isSubscription(id) {
			continue
		}
		if u.timers == nil {
			u.timers = make(map[message.Key]*Timeout)
		}
		u.timers[id] = StartTimeout(&u.mu, wait, func() func() { return u.expire(id, v.byID, text) })
	}
}

// expire fails a request that got no answer. byID is set if an answer with another id had
// come. The caller holds the lock, and calls the returned function without it.
func (u *matcher) expire(id message.Key, byID bool, text string) func() {
	delete(u.timers, id)
	written, waits := u.sent.waits(id)
	if !waits {
		return nil
	}
	if byID {
		u.sent.expire(id)
	}
	return func() {
		u.fail(written, text+"; that may have been the answer to this request, and no other came")
	}
}

// settle stops the timer of a request. The caller holds the lock.
func (u *matcher) settle(id message.Key) {
	if t := u.timers[id]; t != nil {
		t.Stop()
		delete(u.timers, id)
		delete(u.held, id)
	}
}

// keepWaiting stops the timer of a request that the server has sent progress for.
func (u *matcher) keepWaiting(id message.Key) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.timers) > 0 && !u.held[id] {
		u.settle(id)
	}
}

// fail answers a request with an error.
func (u *matcher) fail(id []byte, text string) {
	m := message.NewError(id, message.CodeInternal, text)
	m.InPlace = true
	u.hand(m)
}

// maxShownID bounds an id in a log or an error, in bytes.
const maxShownID = 32

// shownID returns the id of an answer in a form for logs and errors: the id itself if it is
// short, else its length.
func shownID(written []byte) string {
	switch {
	case len(written) == 0:
		return "none"
	case len(written) > maxShownID:
		return strconv.Itoa(len(written)) + " bytes"
	}
	return string(written)
}

// matchedPeer is a peer with a matcher that records each message before it is sent.
type matchedPeer struct {
	Peer
	matcher *matcher
}

// Unwrap returns the peer without the matcher.
func (p *matchedPeer) Unwrap() Peer { return p.Peer }

// Send implements [Peer].
func (p *matchedPeer) Send(from *http.Request, m message.Message) error {
	id := p.matcher.send(m)
	err := p.Peer.Send(from, m)
	if err != nil {
		p.matcher.unsend(id)
	}
	return err
}

// attach returns a peer that records messages with the matcher before it sends them. It
// returns false if each answer of the peer comes with its request, so that none has to be
// matched.
func (u *matcher) attach(peer Peer) (Peer, bool) {
	switch p := peer.(type) {
	case Poster:
		return peer, false
	case *ssePeer:
		p.matcher = u
		return peer, true
	case Checker:
		return struct {
			*matchedPeer
			Checker
		}{&matchedPeer{peer, u}, p}, true
	}
	return &matchedPeer{peer, u}, true
}
