package shared

import (
	"context"
	"errors"
	"net/http"
	"strconv"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/mcp"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/process"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/stats"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/upstream"
)

// Post serves a POST of a stateless client (MCP specification 2026-07-28, "Streamable HTTP").
func (a *Servers) Post(w http.ResponseWriter, r *http.Request, all []message.Message, batch bool) {
	id := all[0].RawID
	e, rejected := openEnvelope(r, all, batch)
	if rejected != nil {
		rejected.write(w, id)
		return
	}
	err := a.serveStateless(w, r, e)
	if a.forgotten(err) {
		err = a.serveStateless(w, r, e)
	}
	if err != nil {
		a.refuseStateless(w, r, id, err)
	}
}

// forgotten reports whether an error means that a remote server has ended the session of a shared
// server. The client has no part in that session, so the bridge tries again with a new one.
func (a *Servers) forgotten(err error) bool {
	refusal, ok := errors.AsType[*upstream.Refusal](err)
	return ok && a.servers.Config.Remote && (refusal.Status == http.StatusNotFound || refusal.Status == http.StatusGone)
}

// quit leaves a shared server after a request. If err means that its session is forgotten, quit
// ends the shared server, so that the next request begins another one.
func (a *Servers) quit(c *server, err error) {
	c.leave()
	if a.forgotten(err) {
		a.servers.End(c, stats.EndServer)
	}
}

// serveStateless serves one message. If it returns an error, it has written no answer.
func (a *Servers) serveStateless(w http.ResponseWriter, r *http.Request, e *envelope) (err error) {
	if e.m.Kind == message.Notification {
		return a.notify(w, r, e)
	}
	e.owner = a.sharedBy(r)
	e.from = e.owner + hostOf(r.RemoteAddr)
	within, cancel := context.WithTimeout(r.Context(), a.servers.Config.StartTimeout)
	c, err := a.converse(within, r, e)
	cancel()
	if err != nil {
		return err
	}
	defer func() { a.quit(c, err) }()
	if rejected := c.checkParams(r, e); rejected != nil {
		rejected.write(w, e.m.RawID)
		return nil
	}
	var k *call
	switch {
	case c.handshake == nil && e.m.Method == "subscriptions/listen":
		k, err = c.subscriptions.listen(e)
	case c.handshake == nil:
		k, err = c.forward(r, e, e.m)
	case e.m.Method == "server/discover":
		if err = c.check(r); err == nil {
			out := a.servers.EventWriter(w)
			out.Answer(http.StatusOK, message.Result(e.m.RawID, c.handshake.discover()))
		}
		return err
	case mcp.IsRemoved(e.m.Method):
		if err = c.check(r); err == nil {
			err = &answerError{message.Error(e.m.RawID, message.CodeMethodNotFound, "method "+strconv.Quote(e.m.Method)+" is not of this protocol version")}
		}
	case e.m.Method == "subscriptions/listen":
		if err = c.check(r); err == nil {
			k, err = c.watches.listen(r.Context(), r, e)
		}
	default:
		if state := message.Text(e.m.Raw, "params", "requestState"); state != "" {
			var rejected *rejection
			if k, rejected, err = c.inputs.resume(r, e, state); rejected != nil {
				rejected.write(w, e.m.RawID)
				return nil
			}
			break
		}
		if err = c.wantLevel(r.Context(), r, e.LogLevel); err == nil {
			k, err = c.forward(r, e, strip(e.m))
		}
	}
	if err != nil {
		return err
	}
	c.serve(w, r, k)
	return nil
}

// notify serves a notification. Clients over HTTP have none in this revision, but if one is sent,
// it goes to the server of the client's requests, if there is one.
func (a *Servers) notify(w http.ResponseWriter, r *http.Request, e *envelope) (err error) {
	c := a.begun(r)
	if c == nil && a.servers.Config.Remote {
		// A remote server may refuse the credentials of a notification, too.
		e.Capabilities, e.owner = []byte("{}"), a.sharedBy(r)
		within, cancel := context.WithTimeout(r.Context(), a.servers.Config.StartTimeout)
		defer cancel()
		if c, err = a.converse(within, r, e); err != nil {
			return err
		}
	}
	if c != nil {
		defer func() { a.quit(c, err) }()
		switch {
		case mcp.IsRemoved(e.m.Method):
			err = c.check(r)
		case c.handshake != nil:
			err = c.peer.Send(r, strip(e.m))
		default:
			err = c.peer.Send(r, e.m)
		}
		if err != nil {
			return err
		}
	}
	w.WriteHeader(http.StatusAccepted)
	return nil
}

// check asks the server whether it accepts the credentials of a request that is not forwarded to
// it, if the server judges each request. The error is nil if it does.
func (c *server) check(r *http.Request) error {
	if peer, ok := c.peer.(upstream.Checker); ok {
		return peer.Check(r)
	}
	return nil
}

// forward sends m, the request of e as the server should get it, with an id and a progress token
// of the bridge.
func (c *server) forward(r *http.Request, e *envelope, m message.Message) (*call, error) {
	k := &call{
		method: e.m.Method, name: nameOf(e.m), client: e.from, clientID: e.m.RawID, clientToken: progressToken(e.m), logLevel: e.LogLevel,
	}
	if err := c.calls.register(k); err != nil {
		return nil, err
	}
	m = m.WithID(k.number()).Replace(k.number(), "params", "_meta", "progressToken")
	if err := c.peer.Send(r, m); err != nil {
		c.out.Lock()
		c.drop(k)
		c.calls.unread.leave(k)
		c.out.Unlock()
		return nil, err
	}
	return k, nil
}

// serve writes the messages for a request to its client: as JSON if the answer is the only one,
// else as events. If the client leaves before the answer, the request is cancelled.
func (c *server) serve(w http.ResponseWriter, r *http.Request, k *call) {
	defer c.giveUp(k)
	out := c.servers.EventWriter(w)
	out.Plain = true
	out.Pump(r.Context(), k)
}

// refuseStateless answers a request that could not be served, because of err.
func (a *Servers) refuseStateless(w http.ResponseWriter, r *http.Request, id []byte, err error) {
	var answer *answerError
	var refusal *upstream.Refusal
	switch {
	case errors.As(err, &answer):
		raw := answer.raw
		if id != nil {
			raw = message.Set(raw, id, "id")
		}
		out := a.servers.EventWriter(w)
		out.Answer(mcp.ErrorStatus(raw), raw)
	case errors.As(err, &refusal):
		refusal.Write(w, id)
	case errors.Is(err, process.ErrFrameTooLong):
		(&upstream.Refusal{Status: http.StatusRequestEntityTooLarge}).Write(w, id)
	case errors.Is(err, errTooMany), errors.Is(err, process.ErrQueueFull):
		w.Header().Set("Retry-After", "1")
		mcp.Refuse(w, http.StatusServiceUnavailable, id, message.CodeInternal, "the server takes no messages now")
	case errors.Is(err, upstream.ErrEnded), errors.Is(err, process.ErrClosed):
		mcp.Refuse(w, http.StatusBadGateway, id, message.CodeInternal, "the server has ended")
	case errors.Is(err, context.DeadlineExceeded), r.Context().Err() != nil:
		(&upstream.Refusal{Status: http.StatusGatewayTimeout}).Write(w, id)
	default:
		a.servers.RefuseStart(w, id, err)
	}
}
