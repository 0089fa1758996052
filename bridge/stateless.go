package bridge

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/stdio"
)

// postStateless takes a POST of a revision without a handshake (MCP specification
// 2026-07-28, "Streamable HTTP").
func (h *Hub) postStateless(w http.ResponseWriter, r *http.Request, all []message.Message, batch bool) {
	id := all[0].RawID
	e, rejected := openEnvelope(r, all, batch)
	if rejected != nil {
		rejected.write(w, id)
		return
	}
	err := h.serveStateless(w, r, e)
	if h.forgotten(err) {
		err = h.serveStateless(w, r, e)
	}
	if err != nil {
		h.refuseStateless(w, r, id, err)
	}
}

// forgotten reports whether an error is that the server has forgotten a conversation,
// of which the client knows nothing.
func (h *Hub) forgotten(err error) bool {
	refusal, ok := errors.AsType[*Refusal](err)
	return ok && h.cfg.Remote && (refusal.Status == http.StatusNotFound || refusal.Status == http.StatusGone)
}

// quit leaves a conversation after what err says of a request, and ends it where the
// server has forgotten it, so that a next request begins another.
func (h *Hub) quit(c *conversation, err error) {
	c.leave()
	if h.forgotten(err) {
		h.end(c, EndServer)
	}
}

// serveStateless answers a request, unless an error is returned.
func (h *Hub) serveStateless(w http.ResponseWriter, r *http.Request, e *envelope) (err error) {
	if e.m.Kind == message.Notification {
		return h.notify(w, r, e)
	}
	within, cancel := context.WithTimeout(r.Context(), h.cfg.StartTimeout)
	c, err := h.converse(within, r, e)
	cancel()
	if err != nil {
		return err
	}
	defer func() { h.quit(c, err) }()
	if rejected := c.checkParams(r, e); rejected != nil {
		rejected.write(w, e.m.RawID)
		return nil
	}
	var k *call
	switch {
	case c.server == nil && e.m.Method == "subscriptions/listen":
		k, err = c.share(e)
	case c.server == nil:
		k, err = c.forward(r, e, e.m.Raw)
	case e.m.Method == "server/discover":
		if err = c.check(r); err == nil {
			writeJSON(w, http.StatusOK, message.Result(e.m.RawID, c.server.discover()))
		}
		return err
	case removed[e.m.Method]:
		if err = c.check(r); err == nil {
			err = &answerError{message.Error(e.m.RawID, message.CodeMethodNotFound, "method "+strconv.Quote(e.m.Method)+" is not of this protocol version")}
		}
	case e.m.Method == "subscriptions/listen":
		if err = c.check(r); err == nil {
			k, err = c.listen(r.Context(), r, e)
		}
	default:
		if state := message.Text(e.m.Raw, "params", "requestState"); state != "" {
			var rejected *rejection
			if k, rejected, err = c.resume(r, e, state); rejected != nil {
				rejected.write(w, e.m.RawID)
				return nil
			}
			break
		}
		if err = c.wantLevel(r.Context(), r, e.logLevel); err == nil {
			k, err = c.forward(r, e, strip(e.m.Raw))
		}
	}
	if err != nil {
		return err
	}
	c.serve(w, r, k)
	return nil
}

// notify takes a notification. The revision has none for clients over HTTP; those of
// others go to the server that the client's requests go to, if there is one.
func (h *Hub) notify(w http.ResponseWriter, r *http.Request, e *envelope) (err error) {
	c := h.begun(r)
	if c == nil && h.cfg.Remote {
		// The server judges notifications as well.
		e.capabilities = []byte("{}")
		within, cancel := context.WithTimeout(r.Context(), h.cfg.StartTimeout)
		defer cancel()
		if c, err = h.converse(within, r, e); err != nil {
			return err
		}
	}
	if c != nil {
		defer func() { h.quit(c, err) }()
		raw := e.m.Raw
		switch {
		case removed[e.m.Method]:
			err = c.check(r)
		case c.server != nil:
			err = c.peer.Send(r, strip(raw))
		default:
			err = c.peer.Send(r, raw)
		}
		if err != nil {
			return err
		}
	}
	w.WriteHeader(http.StatusAccepted)
	return nil
}

// check asks a server that judges each request whether it takes one that it does not
// get itself.
func (c *conversation) check(r *http.Request) error {
	if peer, ok := c.peer.(checker); ok {
		return peer.Check(r)
	}
	return nil
}

// forward sends a request to the server.
func (c *conversation) forward(r *http.Request, e *envelope, raw []byte) (*call, error) {
	k := &call{
		method: e.m.Method, name: nameOf(e.m), clientID: e.m.RawID, clientToken: progressToken(e.m), logLevel: e.logLevel,
	}
	if err := c.register(k); err != nil {
		return nil, err
	}
	raw = message.Set(raw, k.number(), "id")
	raw = message.Replace(raw, k.number(), "params", "_meta", "progressToken")
	if err := c.peer.Send(r, raw); err != nil {
		c.mu.Lock()
		c.drop(k)
		c.mu.Unlock()
		return nil, err
	}
	return k, nil
}

// serve writes what comes for a request to its client: as JSON where it is the answer
// alone, else as events. A client that leaves has taken its request back.
func (c *conversation) serve(w http.ResponseWriter, r *http.Request, k *call) {
	defer c.giveUp(k)
	out := &eventWriter{w: w, to: newPatientWriter(w, c.hub.cfg.Stall), plain: true}
	quiet := time.NewTimer(c.hub.cfg.KeepAlive)
	defer quiet.Stop()
	for {
		batch, over := c.take(k)
		if !out.begun && len(batch) == 1 && batch[0].response {
			if refusal := batch[0].refusal; refusal != nil {
				refusal.write(w, k.clientID)
				return
			}
			out.answer(errorStatus(batch[0].raw), batch[0].raw)
			return
		}
		if (len(batch) > 0 || over) && !out.begun && out.begin() != nil {
			return
		}
		for _, e := range batch {
			if out.event(0, e.raw) != nil {
				return
			}
			if e.response {
				return
			}
		}
		if over {
			return
		}
		if len(batch) > 0 {
			if out.to.Flush() != nil {
				return
			}
			quiet.Reset(c.hub.cfg.KeepAlive)
			continue
		}
		select {
		case <-k.wake:
		case <-r.Context().Done():
			return
		case <-quiet.C:
			if out.comment() != nil {
				return
			}
			quiet.Reset(c.hub.cfg.KeepAlive)
		}
	}
}

// refuseStateless answers a request that could not be served.
func (h *Hub) refuseStateless(w http.ResponseWriter, r *http.Request, id []byte, err error) {
	var answer *answerError
	var refusal *Refusal
	switch {
	case errors.As(err, &answer):
		raw := answer.raw
		if id != nil {
			raw = message.Set(raw, id, "id")
		}
		writeJSON(w, errorStatus(raw), raw)
	case errors.As(err, &refusal):
		refusal.write(w, id)
	case errors.Is(err, stdio.ErrFrameTooLong):
		(&Refusal{Status: http.StatusRequestEntityTooLarge}).write(w, id)
	case errors.Is(err, errTooMany), errors.Is(err, stdio.ErrQueueFull):
		w.Header().Set("Retry-After", "1")
		refuse(w, http.StatusServiceUnavailable, id, message.CodeInternal, "the server takes no messages now")
	case errors.Is(err, errPeerEnded), errors.Is(err, stdio.ErrClosed):
		refuse(w, http.StatusBadGateway, id, message.CodeInternal, "the server has ended")
	case errors.Is(err, context.DeadlineExceeded), r.Context().Err() != nil:
		(&Refusal{Status: http.StatusGatewayTimeout}).write(w, id)
	default:
		h.refuseStart(w, id, err)
	}
}

// writeJSON answers with one JSON-RPC message.
func writeJSON(w http.ResponseWriter, status int, raw []byte) {
	header := w.Header()
	header.Set("Content-Type", "application/json")
	header.Set("Content-Length", strconv.Itoa(len(raw)))
	w.WriteHeader(status)
	_, _ = w.Write(raw)
}
