package translate

import (
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/mcp"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/upstream"
)

// initialize passes initialize to the server. A server that answers it is passed through
// from then on.
func (t *Translator) initialize(from *http.Request, m message.Message) error {
	t.mu.Lock()
	t.initializeRequest, t.initializeError, t.initializeSending = &m, nil, true
	t.mu.Unlock()
	err := t.Peer.Send(from, m)
	t.mu.Lock()
	refused := t.initializeError
	t.initializeError, t.initializeSending = nil, false
	t.mu.Unlock()
	refusal, _ := errors.AsType[*upstream.Refusal](err)
	switch {
	case refused != nil:
		return t.answerInitialize(from, m, t.discoverTimeout(), func(*http.Request) error {
			t.deliver(*refused, "", nil)
			return nil
		})
	case refusal != nil && !refusal.OfAnyRequest() && refusal.Status < http.StatusInternalServerError:
		return t.answerInitialize(from, m, t.discoverTimeout(), func(*http.Request) error { return err })
	}
	return err
}

// receiveUnknown takes a message of a server that has not answered initialize yet, with the
// refusal because of which it is an error. It returns false if the client has to get the
// message as it is.
func (t *Translator) receiveUnknown(m message.Message, cause *upstream.Refusal) bool {
	if m.Kind != message.Response {
		return false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	first := t.initializeRequest
	if first == nil || m.ID != first.ID {
		return t.translation != nil && t.translation.requests.answered(m)
	}
	t.initializeRequest = nil
	switch {
	case !m.Failed:
		t.era.Store(uint32(Handshake))
		return false
	case m.InPlace, cause != nil: // the bridge has written the error, not the server
		return false
	case t.initializeSending:
		t.initializeError = &m
	default:
		// In a goroutine, because no message of the server is read until this returns.
		go func() {
			err := t.answerInitialize(nil, *first, t.discoverTimeout(), func(*http.Request) error {
				t.deliver(m, "", nil)
				return nil
			})
			if err != nil {
				refusal, _ := errors.AsType[*upstream.Refusal](err)
				t.deliver(m, "", refusal)
			}
		}()
	}
	return true
}

// answerInitialize answers initialize from the server's answer to server/discover. fallback
// is called if the server does not support server/discover either. A server over HTTP judges
// this request: then the error is its refusal of it. The answers of other servers are not
// waited for.
func (t *Translator) answerInitialize(from *http.Request, first message.Message, within time.Duration, fallback func(*http.Request) error) error {
	if _, judges := t.Peer.(upstream.Poster); judges {
		return t.discover(from, first, within, fallback)
	}
	go func() {
		if err := t.discover(nil, first, within, fallback); err != nil {
			t.deliver(upstream.LostAnswer(first, "the server does not answer"), "", nil)
		}
	}()
	return nil
}

// discoverTimeout is the time that a server which has refused initialize gets to answer
// server/discover. The client must get the refusal before its own initialize times out.
func (t *Translator) discoverTimeout() time.Duration {
	return min(AskWithin, t.cfg.StartTimeout/2)
}

// discover sends server/discover for the client that has sent initialize, and answers
// initialize if the server is stateless.
func (t *Translator) discover(from *http.Request, first message.Message, within time.Duration, fallback func(*http.Request) error) error {
	t.mu.Lock()
	if t.translation == nil {
		t.translation = newTranslation(t.Peer, t.deliver, t.cfg.Warn)
	}
	to := t.translation
	t.mu.Unlock()
	to.requests.setClient(first)
	answer, err := to.requests.ask(from, "server/discover", nil, within)
	if upstream.IsOfAnyRequest(err) || errors.Is(err, upstream.ErrEnded) {
		return err
	}
	var versions []string
	result := answer.Get("result")
	if err != nil || json.Unmarshal(message.Get(result, "supportedVersions"), &versions) != nil || !slices.Contains(versions, mcp.StatelessRevision) {
		return fallback(from)
	}
	to.server = Server{
		Capabilities: message.Get(result, "capabilities"),
		Info:         message.Get(result, "_meta", mcp.MetaServer),
		Instructions: message.Get(result, "instructions"),
	}
	t.cfg.Revision.SetRefusesInitialize(true)
	t.era.Store(uint32(Stateless))
	t.deliver(message.NewResult(first.RawID, to.server.Initialized(first.Version)), "", nil)
	return nil
}
