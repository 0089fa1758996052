package upstream

import (
	"context"
	"io"
	"maps"
	"net/http"
	"sync"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/content"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/mcp"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/sse"
)

const (
	// maxResumes bounds how often in a row a stream is asked for again that has brought
	// no event.
	maxResumes = 5
	// resumeAfter is the wait before that, which doubles each time.
	resumeAfter = time.Second
	// resumeLeast and resumeWithin bound that wait, and the server's own retry time.
	resumeLeast  = 100 * time.Millisecond
	resumeWithin = 30 * time.Second
	// farewell bounds how long the end of a session at the server may take.
	farewell = 5 * time.Second
)

// httpPeer is a conversation with a server that speaks Streamable HTTP with sessions (MCP
// specification 2025-03-26 to 2025-11-25). Each message is sent with the credentials of the
// client's request that brought it. The session's own stream is opened with those of the last
// request.
type httpPeer struct {
	*Ending
	backend    Backend
	maxMessage int
	to         Receiver
	ctx        context.Context // of the conversation
	cancel     context.CancelFunc
	calls      sync.WaitGroup

	delivers sync.Mutex // one message after the other
	mu       sync.Mutex
	last     *http.Request // detached
	session  string
	version  string
	listens  bool
	ending   bool
	open     map[message.Key]*httpCall // requests without a session
	// cause is the refusal that made the message which is being delivered an error.
	cause *Refusal
}

// StartHTTP returns a function that connects to a server that speaks Streamable HTTP, on
// behalf of a client's request. maxMessage bounds a message of the server, in bytes. The
// function returns a [*Refusal] if the server refuses access (401, 403) or cannot be reached.
func StartHTTP(backend Backend, maxMessage int) func(context.Context, *http.Request, Receiver) (Peer, error) {
	return func(ctx context.Context, from *http.Request, to Receiver) (Peer, error) {
		p := &httpPeer{Ending: NewEnding(), backend: backend, maxMessage: maxMessage, to: to, last: backend.Detach(from)}
		p.ctx, p.cancel = context.WithCancel(p.last.Context())
		if err := p.probe(ctx); err != nil {
			p.cancel()
			return nil, err
		}
		context.AfterFunc(p.ctx, func() {
			p.mu.Lock()
			p.ending = true
			p.mu.Unlock()
			p.calls.Wait()
			p.leave()
			p.End()
		})
		return p, nil
	}
}

// probe asks for a stream without a session. Servers refuse that in many ways; only refusals
// that any request would get count.
func (p *httpPeer) probe(ctx context.Context) error {
	refusal := ProbeAccess(ctx, p.backend, p.last)
	switch {
	case ctx.Err() != nil:
		return &Refusal{Status: http.StatusGatewayTimeout}
	case refusal != nil && refusal.OfAnyRequest():
		return refusal
	}
	return nil
}

// begin counts a call. It returns false if the conversation is over.
func (p *httpPeer) begin() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ending {
		return false
	}
	p.calls.Add(1)
	return true
}

// hand passes one text of the server on to the receiver. see may be nil. Otherwise it is called
// with each message before.
func (p *httpPeer) hand(text []byte, see func(message.Message)) {
	all, err := message.ParseAll(text, message.MaxBatch)
	if see != nil {
		for _, m := range all {
			see(m)
		}
	}
	p.delivers.Lock()
	defer p.delivers.Unlock()
	if err != nil {
		p.to.Stray(text, err)
	}
	for _, m := range all {
		p.to.Message(m)
	}
}

// handLost answers a request whose answer was lost. cause is the refusal that caused the
// loss; nil if there is none.
func (p *httpPeer) handLost(m message.Message, cause *Refusal) {
	text := "the server's answer broke off"
	if cause != nil {
		text += "; asked for the rest, the " + cause.Error()
	}
	p.delivers.Lock()
	defer p.delivers.Unlock()
	p.cause = cause
	p.to.Message(LostAnswer(m, text))
	p.cause = nil
}

// Refusing implements [Refuser]. It is called while a message is delivered.
func (p *httpPeer) Refusing() *Refusal { return p.cause }

// request returns a request of the conversation.
func (p *httpPeer) request(ctx context.Context, detached *http.Request, method string, body []byte) *http.Request {
	r := derive(ctx, detached, method, body)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.session != "" {
		r.Header[mcp.SessionHeader] = []string{p.session}
	}
	if p.version != "" {
		r.Header[mcp.VersionHeader] = []string{p.version}
	}
	return r
}

// Send implements [Peer]. It returns when the header of the server's answer has arrived. The
// messages of the answer are handed on after that.
func (p *httpPeer) Send(from *http.Request, m message.Message) error { return p.send(from, m, nil) }

// send is Send of a message with header fields. Without fields the message belongs to the
// session.
func (p *httpPeer) send(from *http.Request, m message.Message, fields http.Header) error {
	p.mu.Lock()
	detached := p.last
	p.mu.Unlock()
	if from != nil {
		detached = p.backend.Detach(from)
	}
	if !p.begin() {
		return ErrEnded
	}
	c := p.newCall(detached, m, fields)
	unlink := link(from, c.cancel)
	finished := make(chan struct{})
	go func() {
		defer p.calls.Done()
		defer p.forget(c)
		defer close(finished)
		c.run()
	}()
	select {
	case <-finished:
		unlink()
		if refusal := c.refusal; refusal != nil {
			if refusal.Status == http.StatusNotFound {
				refusal.Over = p.lost(m)
			}
			return refusal
		}
	case <-c.streams:
		// The answer goes on without the client's request.
		if !unlink() {
			return context.Canceled
		}
	}
	p.accepted(m, detached)
	return nil
}

// lost ends a conversation that the server does not know any more (MCP specification 2025-03-26,
// "Session Management"). It returns false if the server never knew one.
func (p *httpPeer) lost(m message.Message) bool {
	p.mu.Lock()
	known := p.session != ""
	p.mu.Unlock()
	if !known || m.Method == "initialize" {
		return false
	}
	p.cancel()
	return true
}

// accepted notes that the server has accepted a message, and the credentials that it came with.
func (p *httpPeer) accepted(m message.Message, detached *http.Request) {
	p.mu.Lock()
	p.last = detached
	listen := m.Method == "notifications/initialized" && !p.listens && !p.ending
	if listen {
		p.listens = true
		p.calls.Add(1)
	}
	p.mu.Unlock()
	if listen {
		go func() {
			defer p.calls.Done()
			p.listen()
		}()
	}
}

// httpCall is one message on its way, and the answer to it.
type httpCall struct {
	p        *httpPeer
	detached *http.Request
	m        message.Message
	fields   http.Header     // of a message without a session; else nil
	ctx      context.Context // of the call
	cancel   context.CancelFunc
	// streams is closed when the answer is a stream that has begun.
	streams  chan struct{}
	refusal  *Refusal
	answered bool
	lastID   string
	retry    int
}

func (p *httpPeer) newCall(detached *http.Request, m message.Message, fields http.Header) *httpCall {
	c := &httpCall{p: p, detached: detached, m: m, fields: fields, streams: make(chan struct{})}
	c.ctx, c.cancel = bind(p.ctx, detached)
	if fields != nil {
		p.remember(c)
	}
	return c
}

// run sends the message and reads the answer to its end. An answer that breaks off is asked
// for again if the server has given event ids.
func (c *httpCall) run() {
	r := c.p.request(c.ctx, c.detached, http.MethodPost, c.m.Raw)
	maps.Copy(r.Header, c.fields)
	r.Header["Accept"] = []string{"application/json, text/event-stream"}
	w := newCapture(c.p.maxMessage, nil)
	w.stream = func(status int, h http.Header) io.Writer {
		c.note(status, h)
		switch {
		case status == http.StatusOK && mcp.IsEventStream(h):
			close(c.streams)
			return c.parser()
		case status/100 == 2 && c.m.Kind != message.Request:
			close(c.streams) // it is taken, and nothing more is of interest
			return io.Discard
		}
		return nil
	}
	w.cut = c.cancel
	err := c.p.backend.Call(w, Call{Request: r, Message: c.m})
	if c.refusal = w.refusal(err); c.refusal != nil {
		return
	}
	if !w.isStream() {
		if body := content.WithoutMark(w.body.Bytes()); err == nil && len(body) > 0 && c.m.Kind == message.Request {
			c.p.hand(body, c.see)
		}
	}
	var refusal *Refusal
	for tries := 0; c.m.Kind == message.Request && !c.answered && c.lastID != "" && c.fields == nil && tries < maxResumes; tries++ {
		if !c.p.pause(c.ctx, c.retry, tries) {
			break
		}
		before := c.lastID
		var more bool
		if more, refusal = c.resume(); !more {
			break
		}
		if c.lastID != before {
			tries = 0
		}
	}
	if c.m.Kind == message.Request && !c.answered && c.ctx.Err() == nil {
		c.p.handLost(c.m, refusal)
	}
}

// note keeps the session that an initialize begins.
func (c *httpCall) note(status int, h http.Header) {
	if c.m.Method != "initialize" || status != http.StatusOK {
		return
	}
	c.p.mu.Lock()
	defer c.p.mu.Unlock()
	c.p.session = h.Get(mcp.SessionHeader)
}

// parser returns the parser that hands on the events of the answer.
func (c *httpCall) parser() *sse.Parser {
	events := &sse.Parser{Limit: c.p.maxMessage}
	events.Each = func(e sse.Event) error {
		c.lastID, c.retry = e.ID, events.Retry
		if e.Name != "" && e.Name != "message" || len(e.Data) == 0 {
			return nil
		}
		c.p.hand(content.WithoutMark(e.Data), c.see)
		return nil
	}
	return events
}

// see notes whether a message is the answer.
func (c *httpCall) see(m message.Message) {
	if m.Kind != message.Response || m.ID != c.m.ID {
		return
	}
	c.answered = true
	if c.m.Method != "initialize" {
		return
	}
	c.p.mu.Lock()
	defer c.p.mu.Unlock()
	c.p.version = m.Version
}

// resume asks for the events after the last one. It returns false if the server sends none.
// The refusal is nil unless the server refuses access.
func (c *httpCall) resume() (more bool, refusal *Refusal) {
	r := c.p.request(c.ctx, c.detached, http.MethodGet, nil)
	r.Header["Accept"] = []string{"text/event-stream"}
	r.Header["Last-Event-Id"] = []string{c.lastID}
	w := newCapture(maxRefusal, func(status int, h http.Header) io.Writer {
		if status == http.StatusOK && mcp.IsEventStream(h) {
			return c.parser()
		}
		return nil
	})
	refusal = w.refusal(c.p.backend.Call(w, Call{Request: r}))
	if refusal != nil && !refusal.DeniesAccess() {
		refusal = nil
	}
	return w.isStream(), refusal
}

// pause waits before a stream is asked for again. It returns false if ctx ends meanwhile.
func (p *httpPeer) pause(ctx context.Context, retry, tries int) bool {
	wait := resumeAfter << min(tries, 5)
	if retry > 0 {
		wait = time.Duration(min(retry, int(resumeWithin/time.Millisecond))) * time.Millisecond
	}
	timer := time.NewTimer(min(max(wait, resumeLeast), resumeWithin))
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// listen reads the session's own stream for as long as the server offers it. If the server
// refuses the credentials, the conversation ends, and the client begins another one.
func (p *httpPeer) listen() {
	lastID, retry := "", 0
	for tries := 0; ; tries++ {
		p.mu.Lock()
		detached := p.last
		p.mu.Unlock()
		ctx, cancel := bind(p.ctx, detached)
		r := p.request(ctx, detached, http.MethodGet, nil)
		r.Header["Accept"] = []string{"text/event-stream"}
		if lastID != "" {
			r.Header["Last-Event-Id"] = []string{lastID}
		}
		events := &sse.Parser{Limit: p.maxMessage}
		events.Each = func(e sse.Event) error {
			tries = 0
			if len(e.Data) > 0 && (e.Name == "" || e.Name == "message") {
				p.hand(content.WithoutMark(e.Data), nil)
			}
			return nil
		}
		w := newCapture(maxRefusal, func(status int, h http.Header) io.Writer {
			if status == http.StatusOK && mcp.IsEventStream(h) {
				return events
			}
			return nil
		})
		refusal := w.refusal(p.backend.Call(w, Call{Request: r}))
		cancel()
		if id := events.LastID(); id != "" {
			lastID = id
		}
		retry = events.Retry
		switch {
		case refusal != nil && refusal.DeniesAccess():
			p.BreakOff()
			return
		case refusal != nil && refusal.Status < http.StatusInternalServerError, refusal == nil && !w.isStream():
			return // it offers none
		}
		if tries >= maxResumes || !p.pause(p.ctx, retry, tries) {
			return
		}
	}
}

// leave ends the session at the server.
func (p *httpPeer) leave() {
	p.mu.Lock()
	detached, session := p.last, p.session
	p.mu.Unlock()
	if session == "" {
		return
	}
	ctx, cancel := context.WithTimeout(detached.Context(), farewell)
	defer cancel()
	w := newCapture(maxRefusal, nil)
	_ = p.backend.Call(w, Call{Request: p.request(ctx, detached, http.MethodDelete, nil)})
}

// Close implements [Peer].
func (p *httpPeer) Close() error {
	p.cancel()
	<-p.done
	return nil
}
