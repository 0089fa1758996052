package bridge

import (
	"context"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"
)

const (
	// keptFor is how long a refusal is kept for a client's next request.
	keptFor = time.Minute
	// maxKept bounds how many there are, maxKeptBody the body of one, in bytes.
	maxKept     = 1000
	maxKeptBody = 16 << 10
)

// keptRefusal is why a session is over: the server did not let the bridge open its
// stream again, while no request of the client was there to be answered.
type keptRefusal struct {
	*Refusal
	host  string
	from  identity // whose credentials were refused
	until time.Time
}

// broken is a peer whose stream may have been refused when it was opened again.
type broken interface {
	// brokenBy returns the refusal and the request whose credentials it is of, once
	// the peer has ended; nil: it ended otherwise. It may ask the server.
	brokenBy() (*Refusal, *http.Request)
}

// refuser is a peer that may be refused what follows of an answer.
type refuser interface {
	// refusing returns the refusal because of which the message that is being
	// delivered is an error; nil: it is the server's own.
	refusing() *Refusal
}

// refusalOf is what a refuser says of the message that is being delivered.
func refusalOf(peer Peer) *Refusal {
	if p, ok := peer.(refuser); ok {
		return p.refusing()
	}
	return nil
}

// refusing implements refuser.
func (f *facade) refusing() *Refusal { return refusalOf(f.Peer) }

// keepRefusal keeps a 401 that has ended a session, so that the client's next request
// is told to log in, and not only to begin again. A 403 is of one request alone.
func (h *Hub) keepRefusal(s *session, peer Peer) {
	b, ok := peer.(broken)
	if !ok {
		return
	}
	refusal, from := b.brokenBy()
	if refusal == nil || refusal.Status != http.StatusUnauthorized || len(refusal.Body) > maxKeptBody {
		return
	}
	now := time.Now()
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return
	}
	for id, kept := range h.kept {
		if now.After(kept.until) || len(h.kept) >= maxKept {
			delete(h.kept, id)
		}
	}
	if h.kept == nil {
		h.kept = make(map[string]keptRefusal)
	}
	h.kept[s.id] = keptRefusal{refusal, s.host, h.identify(from), now.Add(keptFor)}
}

// refuseKept answers a request to a session that is over with what has ended it, if
// the request has the very credentials that were refused. It is kept for one request,
// whoever's that is. It returns false where the request is not answered.
func (h *Hub) refuseKept(w http.ResponseWriter, r *http.Request, session string, id []byte) bool {
	h.mu.Lock()
	kept, ok := h.kept[session]
	delete(h.kept, session)
	h.mu.Unlock()
	if !ok || time.Now().After(kept.until) || !strings.EqualFold(kept.host, r.Host) || h.identify(r) != kept.from {
		return false
	}
	kept.write(w, id)
	return true
}

// hasCredentials reports whether a request says who it is from.
func hasCredentials(r *http.Request) bool {
	return slices.ContainsFunc(credentialFields, func(name string) bool { return len(r.Header[name]) > 0 })
}

// knock asks the upstream for a stream on behalf of a detached request, ends one that
// begins, and returns the refusal of one that does not.
func knock(ctx context.Context, backend Backend, detached *http.Request) *Refusal {
	callCtx, stop := bind(ctx, detached)
	defer stop()
	r := derive(callCtx, detached, http.MethodGet, nil)
	r.Header["Accept"] = []string{"text/event-stream"}
	w := newCapture(maxRefusal, func(status int, _ http.Header) io.Writer {
		if status < http.StatusMultipleChoices {
			stop() // it would stream
			return io.Discard
		}
		return nil
	})
	w.cut = stop
	return w.refusal(backend.Call(w, Call{Request: r}))
}
