package bridge

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
)

// converse returns the conversation that a request belongs to, entered, and begins
// it where there is none.
func (h *Hub) converse(ctx context.Context, r *http.Request, e *envelope) (*conversation, error) {
	for {
		own := h.identify(r).key() + string(e.capabilities)
		h.mu.Lock()
		key := own
		if h.era != eraHandshake {
			key = "" // for now, or for good
		}
		c := h.shared[key]
		h.mu.Unlock()
		if c == nil {
			c = newConversation(h, key)
			if key != "" {
				c.user = h.identify(r).hash()
			}
			err := h.reserve(c, func() {
				if h.shared[key] == nil {
					h.shared[key] = c
				}
			})
			if err != nil {
				return nil, err
			}
			if !h.isListed(c) { // another request was first
				h.forget(c)
				h.wg.Done()
				continue
			}
			if c, err = h.begin(ctx, r, e, c, own); errors.Is(err, errAgain) {
				continue
			}
			return c, err
		}
		select {
		case <-c.ready:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		if c.err != nil {
			// The refusal is of another request: this one gets its own.
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

// begun returns a conversation of whoever sends a request, entered; nil where there is
// none that has begun.
func (h *Hub) begun(r *http.Request) *conversation {
	own := h.identify(r).key()
	h.mu.Lock()
	var found []*conversation
	for key, c := range h.shared {
		if key == "" || strings.HasPrefix(key, own) {
			found = append(found, c)
		}
	}
	h.mu.Unlock()
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

func (h *Hub) isListed(c *conversation) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.shared[c.key] == c
}

// begin starts a conversation's server on behalf of a request, and finds out how it
// wants to be spoken to.
func (h *Hub) begin(ctx context.Context, r *http.Request, e *envelope, c *conversation, own string) (*conversation, error) {
	// Others may wait for it, so that it does not end with this client.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), h.cfg.StartTimeout)
	defer cancel()
	err := h.launch(ctx, r, c)
	if err == nil && c.key == "" {
		err = h.probe(ctx, r, e, c, own)
	}
	if err == nil && c.key != "" {
		var server *handshake
		if server, err = c.shakeHands(ctx, r, e); err == nil {
			c.mu.Lock()
			c.server, c.capabilities = server, e.capabilities
			c.mu.Unlock()
		} else if !h.cfg.Remote {
			h.mu.Lock()
			h.era = eraUnknown // it may not have been what ended it
			h.mu.Unlock()
		}
	}
	if err == nil && !c.enter() {
		err = errPeerEnded
	}
	c.err = err
	if err != nil {
		c.mu.Lock()
		c.stillborn = ctx.Err() == nil
		c.mu.Unlock()
		h.end(c, EndServer)
	} else {
		c.mu.Lock()
		ended := c.ended
		if !ended {
			c.timer = time.AfterFunc(min(h.cfg.Idle, h.cfg.Lifetime), c.watch)
		}
		c.mu.Unlock()
		if !ended {
			h.cfg.Observer.SessionBegun(c.info())
		}
	}
	close(c.ready)
	return c, err
}

// probe asks a server that was just started whether it is stateless itself (MCP
// specification 2026-07-28, "stdio: Backward Compatibility"). One that is not is for
// this identity alone from now on.
func (h *Hub) probe(ctx context.Context, r *http.Request, e *envelope, c *conversation, own string) error {
	h.mu.Lock()
	found := h.era
	h.mu.Unlock()
	if found == eraUnknown {
		within, cancel := context.WithTimeout(ctx, askWithin)
		answer, err := c.ask(within, r, "server/discover", e.params())
		cancel()
		found = eraHandshake
		if err == nil && isStatelessAnswer(answer) {
			found = eraStateless
		}
		if err != nil && ctx.Err() != nil {
			return err
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.era = found
	if found == eraStateless {
		return nil
	}
	delete(h.shared, "")
	if h.shared[own] != nil || c.isEnded() { // of what it was asked
		return errAgain
	}
	c.mu.Lock()
	c.key, c.user = own, h.identify(r).hash()
	c.mu.Unlock()
	h.shared[own] = c
	return nil
}

// errAgain says that a conversation has to be begun otherwise.
var errAgain = errors.New("conversation is begun again")

// isStatelessAnswer reports whether an answer to server/discover is of a server that
// is stateless, be it of another revision.
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
