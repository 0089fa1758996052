package upstream

import (
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
)

// MaxRequests bounds the requests in flight at one server, however many clients share it.
const MaxRequests = 4096

const (
	// maxUnanswered bounds the unanswered requests that are remembered by their ids.
	maxUnanswered = 2 * MaxRequests
	// maxInvented bounds the remembered ids that the server has sent and no request had.
	maxInvented = 16
	// maxAnswered bounds the remembered ids of answered requests.
	maxAnswered = 64
	// maxKnownID bounds a remembered id, in bytes.
	maxKnownID = 1 << 10
	// otherAnsweredWithin bounds the time in which a server answers a notification or a
	// response. It must not answer these, but some servers do.
	otherAnsweredWithin = 10 * time.Second
)

// attribution finds the request that an answer belongs to if the answer has an id that no
// request has (JSON-RPC 2.0 section 5 requires the id of the request). It remembers which
// requests one server has not answered yet. It is sure of a request only if no other message
// that was sent can have caused the answer.
type attribution struct {
	// unanswered are the ids of the requests without an answer, each also as it is written.
	// A request that the client has cancelled, or that was answered with an error because
	// its own answer did not come, stays here: the server may still answer it.
	unanswered map[message.Key][]byte
	// subscriptions are the unanswered requests that the server answers only when they end.
	// They are never candidates.
	subscriptions map[message.Key]struct{}
	// overflow is set if there were more unanswered requests than maxUnanswered.
	overflow bool
	sent     int // messages of all kinds
	// lastOther is when the last notification or response was sent.
	lastOther time.Time
	// answered are the ids of answered requests, at most maxAnswered. usedNumbers and
	// usedTexts are set if further ones had a number or a string as id.
	answered               idSet
	usedNumbers, usedTexts bool
	// invented are the ids of answers that no request had.
	invented map[message.Key]struct{}
	// changesIDs is set if the server has certainly answered a request with another id.
	changesIDs bool
	// timedOut are the requests that were answered with an error after an answer with
	// another id had come, which may have been for them.
	timedOut map[message.Key]struct{}
}

// send records a message to the server. id is that of a request, and empty for other
// messages.
func (a *attribution) send(id message.Key, written []byte, now time.Time) {
	a.sent++
	if id == "" {
		a.lastOther = now
		return
	}
	if len(written) > maxKnownID || len(a.unanswered) >= maxUnanswered {
		a.overflow = true
		return
	}
	if a.unanswered == nil {
		a.unanswered = make(map[message.Key][]byte)
	}
	a.unanswered[id] = written
}

// settle records that a request was answered.
func (a *attribution) settle(id message.Key) {
	delete(a.unanswered, id)
	delete(a.subscriptions, id)
	switch {
	case a.answered.size < maxAnswered && len(id) <= maxKnownID:
		a.answered.add(id)
	case id[0] == 's':
		a.usedTexts = true
	default:
		a.usedNumbers = true
	}
}

// wasUsed reports whether an answered request had the id, or may have had it.
func (a *attribution) wasUsed(id message.Key) bool {
	if id == "" {
		return false
	}
	return a.answered.has(id) || id[0] == 's' && a.usedTexts || id[0] == 'n' && a.usedNumbers
}

// expire records that a request got no answer with its own id after an answer with another
// id had come.
func (a *attribution) expire(id message.Key) {
	a.changesIDs = true
	if len(a.timedOut) < maxInvented {
		if a.timedOut == nil {
			a.timedOut = make(map[message.Key]struct{})
		}
		a.timedOut[id] = struct{}{}
	}
}

// unsend records that a message could not be sent.
func (a *attribution) unsend(id message.Key) {
	a.sent--
	delete(a.unanswered, id)
	delete(a.subscriptions, id)
}

// verdict says which request an answer belongs to.
type verdict struct {
	// id is the id of the request, as written, if it is certain. Otherwise it is nil.
	id []byte
	// hold is set if an answer with the request's own id may still come, because the server
	// is not known to change ids. The caller holds the answer back for a moment.
	hold bool
	// candidates are the requests that the answer may belong to, if it is not certain.
	candidates []message.Key
	// soon is set if the server is known to change ids. Then a candidate hardly gets another
	// answer.
	soon bool
	// byID is set if the answer is valid but for its id.
	byID bool
}

// withID finds the request of an answer that has an id. ok is true if a request has this id
// and the answer cannot be for another one.
func (a *attribution) withID(id message.Key, now time.Time) (v verdict, ok bool) {
	written, known := a.unanswered[id]
	if known && !a.mayBeForAnother(id) {
		a.settle(id)
		if _, late := a.timedOut[id]; late {
			a.changesIDs = false // the answer with another id was for another request
			delete(a.timedOut, id)
		}
		return verdict{id: written}, true
	}
	if !known && a.overflow {
		return verdict{}, true // it may belong to a request that is not remembered
	}
	return a.unknownID(id, now), false
}

// mayBeForAnother reports whether an answer with the id of one request may be for another
// one: the server has invented this id before, or it turns numbers into strings.
func (a *attribution) mayBeForAnother(id message.Key) bool {
	if len(a.unanswered) < 2 || !a.changesIDs && len(a.invented) == 0 {
		return false
	}
	if _, odd := a.invented[id]; odd {
		return true
	}
	_, similar := a.unanswered[otherKind(id)]
	return similar
}

// otherKind returns the same id as a number instead of a string, or as a string instead of a
// number.
func otherKind(id message.Key) message.Key {
	if id == "" {
		return ""
	}
	kind := message.Key("s")
	if id[0] == 's' {
		kind = "n"
	}
	return kind + id[1:]
}

// unknownID finds the request of an answer whose id no request has. The id is empty if the
// answer has none.
func (a *attribution) unknownID(id message.Key, now time.Time) (v verdict) {
	v.soon = a.changesIDs
	_, before := a.invented[id]
	before = before || len(a.invented) >= maxInvented
	if id != "" && len(a.invented) < maxInvented && len(id) <= maxKnownID {
		if a.invented == nil {
			a.invented = make(map[message.Key]struct{})
		}
		a.invented[id] = struct{}{}
	}
	for only, written := range a.unanswered {
		if len(a.unanswered) == 1 && !a.overflow && a.isFor(id, only, before, now) {
			v = verdict{id: written, hold: a.sent > 1 && !a.changesIDs}
			if !v.hold {
				a.accept(only)
			}
			return v
		}
	}
	v.candidates = a.candidates()
	return v
}

// accept records that an answer with another id was used as the answer to a request.
func (a *attribution) accept(id message.Key) {
	a.changesIDs = true
	a.settle(id)
}

// isFor reports whether an answer with an id that no request has can only be for the one
// unanswered request. This is so if the id is that of the request with another type, or the
// empty value of a type, which servers send that cannot hold the id. before is set if the
// server may have invented the id before.
func (a *attribution) isFor(id, only message.Key, before bool, now time.Time) bool {
	similar, empty := otherKind(id) == only, isEmptyID(id)
	switch {
	case !similar && !empty:
		return false
	case a.sent == 1:
		return true // no other message was sent that it could answer
	case !similar:
		return false // it may be a second answer to an older request
	case a.wasUsed(id):
		return false // again, it may be a second answer
	case empty: // It may be a second answer too, or the answer to a message without an id.
		return !before && (a.lastOther.IsZero() || now.Sub(a.lastOther) > otherAnsweredWithin)
	}
	return true
}

// isEmptyID reports whether an id is missing or the empty value of its type: null, 0, "", "0".
func isEmptyID(id message.Key) bool {
	return id == "" || id == "n0" || id == "s" || id == "s0"
}

// waits reports whether a request is unanswered, and returns its id as written.
func (a *attribution) waits(id message.Key) (written []byte, ok bool) {
	written, ok = a.unanswered[id]
	return written, ok
}

// subscribe records that an unanswered request is a subscription.
func (a *attribution) subscribe(id message.Key) {
	if _, known := a.unanswered[id]; !known {
		return
	}
	if a.subscriptions == nil {
		a.subscriptions = make(map[message.Key]struct{})
	}
	a.subscriptions[id] = struct{}{}
}

// isSubscription reports whether an unanswered request is a subscription.
func (a *attribution) isSubscription(id message.Key) bool {
	_, lasting := a.subscriptions[id]
	return lasting
}

// candidates returns the unanswered requests without the subscriptions.
func (a *attribution) candidates() (all []message.Key) {
	for id := range a.unanswered {
		if !a.isSubscription(id) {
			all = append(all, id)
		}
	}
	return all
}
