package bridge

import (
	"encoding/json"
	"net/http"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
)

// poster is a peer that takes messages without a session over HTTP (MCP specification
// 2026-07-28, "Streamable HTTP").
type poster interface {
	// post is Send of a message with fields that repeat parts of it.
	post(from *http.Request, frame []byte, fields http.Header) error
	// abandon ends the wait for the answer to a request: that the connection ends
	// tells the server.
	abandon(id message.Key)
	// latest returns the last request that was taken, detached.
	latest() *http.Request
	// breakOff ends the conversation because something of it was refused: the client's
	// next request gets the server's refusal to itself.
	breakOff()
}

var _ poster = (*httpPeer)(nil)

// breakOff implements poster.
func (p *httpPeer) breakOff() { p.cancel() }

// post implements poster. The server has no session to be ended.
func (p *httpPeer) post(from *http.Request, frame []byte, fields http.Header) error {
	p.mu.Lock()
	p.session = ""
	p.mu.Unlock()
	return p.send(from, frame, fields)
}

// abandon implements poster.
func (p *httpPeer) abandon(id message.Key) {
	p.mu.Lock()
	c := p.open[id]
	p.mu.Unlock()
	if c != nil {
		c.cancel()
	}
}

// latest implements poster.
func (p *httpPeer) latest() *http.Request {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.last
}

// remember has a request be found by its id until it is over.
func (p *httpPeer) remember(c *httpCall) {
	if c.m.Kind != message.Request {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.open == nil {
		p.open = make(map[message.Key]*httpCall)
	}
	p.open[c.m.ID] = c
}

// forget is what follows a call.
func (p *httpPeer) forget(c *httpCall) {
	c.cancel()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.open[c.m.ID] == c {
		delete(p.open, c.m.ID)
	}
}

// answerIn returns the answer to a request that an HTTP server has refused with one:
// the status repeats its code (MCP specification 2026-07-28, "Protocol Version
// Header").
func answerIn(refusal *Refusal, id []byte) (m message.Message, ok bool) {
	if refusal.ofAnyRequest() || refusal.Status >= http.StatusInternalServerError || !json.Valid(refusal.Body) {
		return m, false
	}
	m, err := message.Parse(message.Line(message.Set(refusal.Body, id, "id"))) // there may be none
	return m, err == nil && m.Failed
}
