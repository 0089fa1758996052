package upstream

import (
	"net/http"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
)

var _ Poster = (*httpPeer)(nil)

// BreakOff implements [Poster].
func (p *httpPeer) BreakOff() { p.cancel() }

// Post implements [Poster]. The server has no session that would have to be ended.
func (p *httpPeer) Post(from *http.Request, m message.Message, fields http.Header) error {
	p.mu.Lock()
	p.session = ""
	p.mu.Unlock()
	return p.send(from, m, fields)
}

// Abandon implements [Poster].
func (p *httpPeer) Abandon(id message.Key) {
	p.mu.Lock()
	c := p.open[id]
	p.mu.Unlock()
	if c != nil {
		c.cancel()
	}
}

// Latest implements [Poster].
func (p *httpPeer) Latest() *http.Request {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.last
}

// remember makes a request known by its id until it is over.
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

// forget ends a call and forgets its id.
func (p *httpPeer) forget(c *httpCall) {
	c.cancel()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.open[c.m.ID] == c {
		delete(p.open, c.m.ID)
	}
}

// AnswerIn returns the JSON-RPC error in the body of a refusal, as the answer to the request
// with an id (MCP specification 2026-07-28, "Protocol Version Header"). It returns false if
// the body has none, or if the refusal is not about the request itself.
func AnswerIn(refusal *Refusal, id []byte) (m message.Message, ok bool) {
	if refusal.OfAnyRequest() || refusal.Status >= http.StatusInternalServerError {
		return m, false
	}
	return errorIn(refusal.Body, id)
}
