package bridge

import (
	"context"
	"io"
	"maps"
	"net/http"
	"sync"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/sse"
)

const (
	// maxResumes bounds how often, in a row, a stream of the server that brings
	// nothing is asked for again.
	maxResumes = 5
	// resumeAfter is the wait before that, which doubles each time.
	resumeAfter = time.Second
	// resumeLeast and resumeWithin bound it; the server's own retry time is kept
	// within them.
	resumeLeast  = 100 * time.Millisecond
	resumeWithin = 30 * time.Second
	// farewell bounds how long the end of a session at the server may take.
	farewell = 5 * time.Second
)

// httpPeer is a conversation with a server that speaks Streamable HTTP with sessions
// (MCP specification 2025-03-26 to 2025-11-25). Each message has the credentials of
// its own request; the stream of what belongs to no request has those of the last.
type httpPeer struct {
	*Ending
	backend    Backend
	maxMessage int
	deliver    func([]byte)
	ctx        context.Context //nolint:containedctx // of the conversation
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
	// cause is why the message that is being delivered is an error.
	cause *Refusal
}

// StartHTTP returns a [HubConfig.Start] for a server that speaks Streamable HTTP;
// maxMessage bounds a message of it, in bytes. A server that refuses to be asked
// (401, 403) or cannot be reached refuses the conversation.
func StartHTTP(backend Backend, maxMessage int) func(context.Context, *http.Request, func([]byte)) (Peer, error) {
	return func(ctx context.Context, from *http.Request, deliver func([]byte)) (Peer, error) {
		p := &httpPeer{Ending: NewEnding(), backend: backend, maxMessage: maxMessage, deliver: deliver, last: backend.Detach(from)}
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

// probe asks for a stream without a session, which servers refuse in many ways: only
// whether it is a matter of authorization is of interest.
func (p *httpPeer) probe(ctx context.Context) error {
	refusal := knock(ctx, p.backend, p.last)
	switch {
	case ctx.Err() != nil:
		return &Refusal{Status: http.StatusGatewayTimeout}
	case refusal != nil && refusal.ofAnyRequest():
		return refusal
	}
	return nil
}

// begin counts a call. It returns false where the conversation is over.
func (p *httpPeer) begin() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ending {
		return false
	}
	p.calls.Add(1)
	return true
}

// hand hands a message of the server on.
func (p *httpPeer) hand(frame []byte) {
	p.delivers.Lock()
	defer p.delivers.Unlock()
	p.deliver(frame)
}

// handLost answers a request whose answer got lost; cause is the refusal because of
// which that is so, if there is one.
func (p *httpPeer) handLost(m message.Message, cause *Refusal) {
	text := "the server's answer broke off"
	if cause != nil {
		text += "; asked for the rest, the " + cause.Error()
	}
	p.delivers.Lock()
	defer p.delivers.Unlock()
	p.cause = cause
	p.deliver(lostAnswer(m, text))
	p.cause = nil
}

// refusing implements refuser. It is called while a message is delivered.
func (p *httpPeer) refusing() *Refusal { return p.cause }

// request returns a request of the conversation.
func (p *httpPeer) request(ctx context.Context, detached *http.Request, method string, body []byte) *http.Request {
	r := derive(ctx, detached, method, body)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.session != "" {
		r.Header[sessionHeader] = []string{p.session}
	}
	if p.version != "" {
		r.Header["Mcp-Protocol-Version"] = []string{p.version}
	}
	return r
}

// Send implements [Peer]. It returns when the header of the server's answer is there,
// and hands on what the answer brings after that.
func (p *httpPeer) Send(from *http.Request, frame []byte) error { return p.send(from, frame, nil) }

// send is Send of a message that goes with the fields given; nil: it is of the session.
func (p *httpPeer) send(from *http.Request, frame []byte, fields http.Header) error {
	m, err := message.Parse(frame)
	if err != nil {
		return err
	}
	p.mu.Lock()
	detached := p.last
	p.mu.Unlock()
	if from != nil {
		detached = p.backend.Detach(from)
	}
	if !p.begin() {
		return errPeerEnded
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
				p.lost(m)
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

// lost ends a conversation that the server knows no more (MCP specification
// 2025-03-26, "Session Management").
func (p *httpPeer) lost(m message.Message) {
	p.mu.Lock()
	known := p.session != ""
	p.mu.Unlock()
	if known && m.Method != "initialize" {
		p.cancel()
	}
}

// accepted notes what the server has taken, and with which credentials.
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
	ctx      context.Context //nolint:containedctx // of the call
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

// run sends the message and reads the answer to its end; one that breaks is asked
// for again where the server says how.
func (c *httpCall) run() {
	r := c.p.request(c.ctx, c.detached, http.MethodPost, c.m.Raw)
	maps.Copy(r.Header, c.fields)
	r.Header["Accept"] = []string{"application/json, text/event-stream"}
	w := newCapture(c.p.maxMessage, nil)
	w.stream = func(status int, h http.Header) io.Writer {
		c.note(status, h)
		switch {
		case status == http.StatusOK && isEventStream(h):
			close(c.streams)
			return c.feed()
		case status/100 == 2 && c.m.Kind != message.Request:
			close(c.streams) // it is taken, and nothing more is of interest
			return io.Discard
		}
		return nil
	}
	w.cut = c.cancel
	err := c.p.backend.Call(w, Call{Request: r})
	if c.refusal = w.refusal(err); c.refusal != nil {
		return
	}
	if !w.isStream() {
		if body := w.body.Bytes(); err == nil && len(body) > 0 && c.m.Kind == message.Request {
			c.see(body)
			c.p.hand(body)
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
	c.p.session = h.Get(sessionHeader)
}

// feed returns what hands the events of the answer on.
func (c *httpCall) feed() *sse.Feed {
	feed := &sse.Feed{Limit: c.p.maxMessage}
	feed.Each = func(e sse.Event) error {
		c.lastID, c.retry = e.ID, feed.Retry
		if e.Name != "" && e.Name != "message" || len(e.Data) == 0 {
			return nil
		}
		c.see(e.Data)
		c.p.hand(e.Data)
		return nil
	}
	return feed
}

// see looks whether a message is the answer.
func (c *httpCall) see(frame []byte) {
	m, err := message.Parse(frame)
	if err != nil || m.Kind != message.Response || m.ID != c.m.ID {
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

// resume reads on after the last event. It returns false where the server has
// nothing more, and why where it is a matter of authorization.
func (c *httpCall) resume() (more bool, refusal *Refusal) {
	r := c.p.request(c.ctx, c.detached, http.MethodGet, nil)
	r.Header["Accept"] = []string{"text/event-stream"}
	r.Header["Last-Event-Id"] = []string{c.lastID}
	w := newCapture(maxRefusal, func(status int, h http.Header) io.Writer {
		if status == http.StatusOK && isEventStream(h) {
			return c.feed()
		}
		return nil
	})
	refusal = w.refusal(c.p.backend.Call(w, Call{Request: r}))
	if refusal != nil && !refusal.deniesAccess() {
		refusal = nil
	}
	return w.isStream(), refusal
}

// pause waits before a stream is asked for again. It returns false where that is no
// use any more.
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

// listen reads what belongs to no request, for as long as the server offers it. A
// server that refuses the client's credentials there ends the conversation: the
// client begins another one.
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
		feed := &sse.Feed{Limit: p.maxMessage}
		feed.Each = func(e sse.Event) error {
			tries = 0
			if len(e.Data) > 0 && (e.Name == "" || e.Name == "message") {
				p.hand(e.Data)
			}
			return nil
		}
		w := newCapture(maxRefusal, func(status int, h http.Header) io.Writer {
			if status == http.StatusOK && isEventStream(h) {
				return feed
			}
			return nil
		})
		refusal := w.refusal(p.backend.Call(w, Call{Request: r}))
		cancel()
		if id := feed.LastID(); id != "" {
			lastID = id
		}
		retry = feed.Retry
		switch {
		case refusal != nil && refusal.deniesAccess():
			p.breakOff()
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
