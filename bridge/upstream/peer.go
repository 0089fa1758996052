package upstream

import (
	"net/http"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
)

// DefaultStartTimeout bounds how long an initialize may take, if nothing is configured.
const DefaultStartTimeout = time.Minute

// Peer is one MCP server that is spoken to in messages: a process, or a conversation with a
// server over HTTP. A peer may also implement [Checker], [Poster], [Refuser],
// [Silent] or [Exiting].
type Peer interface {
	// Send sends one message on behalf of a client's request. If from is nil, it is sent
	// with the credentials of the client that began the conversation. Send returns once
	// the peer has the message: a process has it when it is queued, an HTTP server when
	// the header of its answer has arrived. An answer that is no success is returned as a
	// [*Refusal].
	Send(from *http.Request, m message.Message) error
	// Done is closed when the peer has ended.
	Done() <-chan struct{}
	// Close ends the peer and waits until it has ended.
	Close() error
}

// Checker is a peer whose server judges the credentials of each request.
type Checker interface {
	// Check asks the server whether it takes a request that it does not get itself. The
	// error is like that of [Peer.Send].
	Check(from *http.Request) error
}

// Poster is a peer that also takes messages without a session over HTTP (MCP specification
// 2026-07-28, "Streamable HTTP").
type Poster interface {
	// Post is [Peer.Send] of a message with header fields that repeat parts of it.
	Post(from *http.Request, m message.Message, fields http.Header) error
	// Abandon ends the wait for the answer to a request. The server sees that the
	// connection ends.
	Abandon(id message.Key)
	// Latest returns a detached copy of the last request that the server accepted.
	Latest() *http.Request
	// BreakOff ends the conversation because the server has refused access to a part of
	// it. The client's next request is then answered with the server's own refusal.
	BreakOff()
}

// Refuser is a peer whose server may refuse to send the rest of an answer.
type Refuser interface {
	// Refusing returns the refusal that made the message which is being delivered an
	// error. It returns nil if the message is the server's own.
	Refusing() *Refusal
}

// RefusalOf returns what a [Refuser] says of the message that is being delivered; nil for
// other peers.
func RefusalOf(peer Peer) *Refusal {
	if p, ok := peer.(Refuser); ok {
		return p.Refusing()
	}
	return nil
}

// RefusesLate reports whether the server of a peer may refuse to send the rest of an answer. It
// looks behind peers that have a method Unwrap.
func RefusesLate(peer Peer) bool {
	_, refuses := innermost(peer).(Refuser)
	return refuses
}

// Silent is a peer that knows why its server may not answer.
type Silent interface {
	// Silence says for the operator why the server may not answer.
	Silence() string
}

// SilenceOf says for the operator why a server does not answer in time. It looks behind
// peers that have a method Unwrap.
func SilenceOf(peer Peer) string {
	if p, ok := behind[Silent](peer); ok {
		return p.Silence()
	}
	return "the server took the message, and no answer came"
}

// Deliver takes a message for a client. about is the request that a notification or a
// request of the server belongs to; empty if it is not known. cause is the refusal because
// of which an answer is an error; nil if there is none.
type Deliver func(m message.Message, about message.Key, cause *Refusal)
