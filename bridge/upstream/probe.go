package upstream

import (
	"context"
	"io"
	"net/http"
)

// ProbeAccess asks the upstream for an event stream on behalf of a detached request, to see
// whether it refuses access. A stream that begins is ended. The result is the refusal, or nil.
func ProbeAccess(ctx context.Context, backend Backend, detached *http.Request) *Refusal {
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
