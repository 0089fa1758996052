package upstream

import (
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
)

// Receiver takes what a server sends. A [Peer] calls it for one text after the other, and reads
// nothing more from the server before the call returns.
type Receiver interface {
	// Message takes a message, which was parsed where it came in and is not parsed again.
	Message(m message.Message)
	// Stray takes a text that is not a message. cause is the error of package message.
	Stray(text []byte, cause error)
}

// Inbox is the receiver of a server that is being started. What the server sends waits until
// Open. If answers do not come with their requests, as over HTTP, the inbox finds the request of
// each, and answers requests whose answers cannot be used.
type Inbox struct {
	cfg     InboxConfig
	ready   chan struct{} // closed when to is set
	to      Receiver
	matcher *matcher
}

// InboxConfig has the functions that an [Inbox] calls. All are required.
type InboxConfig struct {
	// Hand takes each message.
	Hand func(message.Message)
	// Report is called with what is not a message, and with answers whose id no request has.
	// It must not block.
	Report func(Unmatched)
	// Wait returns how long a request still waits for an answer with its id after the server
	// has sent something that may be its answer.
	Wait func() time.Duration
	// End ends a server that does not use the framing of MCP. Its requests are answered with
	// an error that has the text.
	End func(text string)
}

// NewInbox returns the receiver of a server that is about to be started.
func NewInbox(cfg InboxConfig) *Inbox {
	return &Inbox{
		cfg: cfg, ready: make(chan struct{}), to: &plainReceiver{hand: cfg.Hand, report: cfg.Report},
		matcher: &matcher{hand: cfg.Hand, report: cfg.Report, wait: cfg.Wait, end: cfg.End},
	}
}

// Attach returns the peer that messages are to be sent to in place of peer, the server that
// was started.
func (i *Inbox) Attach(peer Peer) Peer {
	to, apart := i.matcher.attach(peer)
	if apart {
		i.to = i.matcher
	}
	return to
}

// Open hands on what the server sends, from the first text on.
func (i *Inbox) Open() { close(i.ready) }

// Close stops the timers of the inbox when the server has ended.
func (i *Inbox) Close() { i.matcher.close() }

// Message implements [Receiver].
func (i *Inbox) Message(m message.Message) {
	<-i.ready
	i.to.Message(m)
}

// Stray implements [Receiver].
func (i *Inbox) Stray(text []byte, cause error) {
	<-i.ready
	i.to.Stray(text, cause)
}

// plainReceiver is the receiver of a server whose answers come with their requests.
type plainReceiver struct {
	hand   func(message.Message)
	report func(Unmatched)
}

// Message implements [Receiver].
func (d *plainReceiver) Message(m message.Message) { d.hand(m) }

// Stray implements [Receiver].
func (d *plainReceiver) Stray(text []byte, cause error) {
	begin, _ := edgesOf(text)
	d.report(Unmatched{Fate: FateDropped, Odd: message.OddShape, Cause: cause.Error(), Shape: message.Shape(begin)})
	if m, ok := lostIn(text); ok {
		d.hand(m)
	}
}
