package bridge

import (
	"context"
	"io"
	"net/http"
)

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

// refuseStranger answers a request that names no session, or one that is not there,
// with the server's 401 or 403 to whoever sends it: to log in comes before to begin
// (A1). It returns false where the request is not answered.
func (h *Hub) refuseStranger(w http.ResponseWriter, r *http.Request, id []byte) bool {
	if h.cfg.Judge == nil {
		return false
	}
	ctx, cancel := context.WithTimeout(r.Context(), refusalWithin)
	defer cancel()
	refusal := knock(ctx, h.cfg.Judge, h.cfg.Judge.Detach(r))
	if refusal == nil || !refusal.deniesAccess() {
		return false
	}
	refusal.write(w, id)
	return true
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
