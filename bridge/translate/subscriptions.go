package translate

import (
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/mcp"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/upstream"
)

const (
	// maxListens bounds the subscriptions/listen requests of a session that the server has
	// not acknowledged yet.
	maxListens = 16
	// maxListenTries bounds how often, in a row, a subscriptions/listen that brings nothing
	// is sent again. listenAfter is the wait before that, which doubles each time, up to
	// listenWithin.
	maxListenTries = 5
	listenAfter    = time.Second
	listenWithin   = 30 * time.Second
)

// subscriptions are what a client with a handshake wants to be notified of. A stateless
// server learns it from one subscriptions/listen; when it changes, a new one is sent and the
// old one is cancelled (MCP specification 2026-07-28, "Subscriptions").
type subscriptions struct {
	requests *requests
	server   *Server

	mu      sync.Mutex
	ready   bool     // the client takes notifications
	watched []string // URIs of resources, in order
	// listens are the requests at the server, oldest first. Only the first may be
	// acknowledged: an acknowledgement cancels the ones before it.
	listens []*listenRequest
	waiting []*subscribeRequest
	tries   int  // in a row, to listen again, that have brought nothing
	refused bool // the server does not know subscriptions/listen
}

// listenRequest is one subscriptions/listen.
type listenRequest struct {
	*upstreamRequest
	number       int // later ones have higher ones
	acknowledged bool
	begun        time.Time
	timeout      *upstream.Timeout // ends it if the server does not acknowledge it in time
}

// subscribeRequest is a resources/subscribe of the client that waits until the server
// acknowledges it.
type subscribeRequest struct {
	request message.Message
	uri     string
	number  int // of the first listenRequest that has the resource
}

// filter is what the client wants to be notified of now. The caller holds the lock.
func (s *subscriptions) filter() *Filter {
	return &Filter{
		Tools:     s.ready && s.server.Has("tools", "listChanged"),
		Prompts:   s.ready && s.server.Has("prompts", "listChanged"),
		Resources: s.ready && s.server.Has("resources", "listChanged"),
		Watched:   s.watched,
	}
}

// clientInitialized takes notifications/initialized. From then on the client gets
// notifications of changes.
func (s *subscriptions) clientInitialized(from *http.Request) error {
	s.mu.Lock()
	again := s.ready
	s.ready = true
	s.mu.Unlock()
	if again {
		return s.requests.check(from)
	}
	err := s.listen(from, nil)
	if err != nil {
		s.mu.Lock()
		s.ready = false // the server did not take it
		s.mu.Unlock()
	}
	return err
}

// subscribe takes a resources/subscribe. It is answered once the server has acknowledged it.
func (s *subscriptions) subscribe(from *http.Request, m message.Message) error {
	uri := m.Text("params", "uri")
	s.mu.Lock()
	_, known := slices.BinarySearch(s.watched, uri)
	full := len(s.watched) >= MaxWatched || len(s.listens) >= maxListens || s.size()+len(uri) > MaxFilter
	s.mu.Unlock()
	switch {
	case !s.server.Has("resources", "subscribe"):
		return s.requests.replyError(from, m, message.CodeMethodNotFound, "the server has no subscriptions")
	case uri == "":
		return s.requests.replyError(from, m, message.CodeInvalidParams, "params.uri is missing")
	case known:
		return s.requests.replyEmpty(from, m)
	case full:
		return s.requests.replyError(from, m, message.CodeInternal, "too many subscriptions are in progress")
	}
	return s.listen(from, &subscribeRequest{request: m, uri: uri})
}

// unsubscribe takes a resources/unsubscribe.
func (s *subscriptions) unsubscribe(from *http.Request, m message.Message) error {
	s.mu.Lock()
	known := s.forget(m.Text("params", "uri"))
	// Notifications about the resource are dropped in any case.
	full := len(s.listens) >= maxListens
	s.mu.Unlock()
	if !known || full {
		return s.requests.replyEmpty(from, m)
	}
	if err := s.listen(from, nil); err != nil {
		return err
	}
	s.requests.reply(message.NewResult(m.RawID, []byte("{}")))
	return nil
}

// size is the length of all URIs, in bytes. The caller holds the lock.
func (s *subscriptions) size() (n int) {
	for _, uri := range s.watched {
		n += len(uri)
	}
	return n
}

// forget removes a resource. It returns false if there was no subscription to it. The caller
// holds the lock.
func (s *subscriptions) forget(uri string) bool {
	at, known := slices.BinarySearch(s.watched, uri)
	if known {
		s.watched = slices.Delete(slices.Clone(s.watched), at, at+1)
	}
	return known
}

// listen sends a subscriptions/listen for all that the client wants now, and for the
// resource of add if it is not nil. The error is a refusal of the client. Any other failure
// answers add.
func (s *subscriptions) listen(from *http.Request, add *subscribeRequest) error {
	s.mu.Lock()
	if add != nil {
		if at, known := slices.BinarySearch(s.watched, add.uri); !known {
			s.watched = slices.Insert(slices.Clone(s.watched), at, add.uri)
		}
	}
	wanted := s.filter()
	if wanted.Empty() || s.refused && add == nil {
		over := s.listens
		s.listens = nil
		s.mu.Unlock()
		s.cancel(over)
		return s.requests.check(from)
	}
	l := &listenRequest{upstreamRequest: &upstreamRequest{method: "subscriptions/listen"}, number: s.requests.number(), begun: time.Now()}
	l.then = func(m message.Message) { s.ended(l, m) }
	s.listens = append(s.listens, l)
	if add != nil {
		add.number = l.number
		s.waiting = append(s.waiting, add)
	}
	l.timeout = upstream.StartTimeout(&s.mu, AskWithin, func() func() { return s.timedOut(l) })
	s.mu.Unlock()
	encoded, err := json.Marshal(wanted)
	if err == nil {
		params := message.Set([]byte("{}"), encoded, "notifications")
		err = s.requests.dispatch(from, l.upstreamRequest, newRequest("subscriptions/listen", params))
	}
	if err == nil {
		return nil
	}
	if upstream.IsOfAnyRequest(err) {
		s.remove(l, message.Message{})
		return err
	}
	s.ended(l, message.NewError(nil, message.CodeInternal, "the server takes no subscription now"))
	return nil
}

// cancel ends subscriptions at the server.
func (s *subscriptions) cancel(all []*listenRequest) {
	for _, l := range all {
		s.mu.Lock()
		l.timeout.Stop()
		s.mu.Unlock()
		s.requests.giveUp(l.upstreamRequest, message.Message{})
	}
}

// remove forgets a subscriptions/listen that the server has not acknowledged. The
// resources/subscribe that wait for it are answered with answer, an error. Without an
// answer, the caller answers them.
func (s *subscriptions) remove(l *listenRequest, answer message.Message) {
	s.mu.Lock()
	l.timeout.Stop()
	s.listens = slices.DeleteFunc(s.listens, func(o *listenRequest) bool { return o == l })
	var lost []*subscribeRequest
	s.waiting = slices.DeleteFunc(s.waiting, func(w *subscribeRequest) bool {
		if w.number != l.number {
			return false
		}
		s.forget(w.uri)
		lost = append(lost, w)
		return true
	})
	s.mu.Unlock()
	for _, w := range lost {
		if answer.Raw != nil {
			s.requests.reply(answer.WithID(w.request.RawID))
		}
	}
}

// timedOut gives up a subscriptions/listen that the server did not acknowledge in time. The
// caller holds the lock, and calls the result after it has unlocked.
func (s *subscriptions) timedOut(l *listenRequest) func() {
	s.listens = slices.DeleteFunc(s.listens, func(o *listenRequest) bool { return o == l })
	return func() {
		s.requests.giveUp(l.upstreamRequest, message.Message{})
		s.ended(l, message.NewError(nil, message.CodeInternal, "the server does not agree to the subscription in time"))
	}
}

// acknowledged takes the server's acknowledgement of the subscriptions/listen with an id. raw
// is what the server has granted.
func (s *subscriptions) acknowledged(id message.Key, raw []byte) {
	var granted Filter
	_ = json.Unmarshal(raw, &granted) // what is not understood is not granted
	s.mu.Lock()
	at := slices.IndexFunc(s.listens, func(l *listenRequest) bool { return s.requests.hasID(l.upstreamRequest, id) })
	if at < 0 || s.listens[at].acknowledged {
		s.mu.Unlock()
		return
	}
	l := s.listens[at]
	l.acknowledged = true
	l.timeout.Stop()
	over := slices.Clone(s.listens[:at])
	s.listens = slices.Clone(s.listens[at:])
	var answered []*subscribeRequest
	s.waiting = slices.DeleteFunc(s.waiting, func(w *subscribeRequest) bool {
		if w.number > l.number {
			return false
		}
		answered = append(answered, w)
		return true
	})
	for _, w := range answered {
		if !slices.Contains(granted.Watched, w.uri) {
			s.forget(w.uri)
		}
	}
	s.mu.Unlock()
	s.cancel(over)
	for _, w := range answered {
		answer := message.NewResult(w.request.RawID, []byte("{}"))
		if !slices.Contains(granted.Watched, w.uri) {
			answer = message.NewError(w.request.RawID, message.CodeResourceNotFound, "the server takes no subscription to this resource")
		}
		s.requests.reply(answer)
	}
}

// wants reports whether the client gets a notification of a change: its subscription has to
// be acknowledged, and the client must want it still. Some servers do not name the
// subscription; id is empty then.
func (s *subscriptions) wants(id message.Key, m message.Message) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if id != "" && (len(s.listens) == 0 || !s.requests.hasID(s.listens[0].upstreamRequest, id) || !s.listens[0].acknowledged) {
		return false
	}
	s.tries = 0
	return !mcp.ConcernsServer(m.Method) || s.filter().Wants(m)
}

// has reports whether id is that of a subscriptions/listen at the server.
func (s *subscriptions) has(id message.Key) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.ContainsFunc(s.listens, func(l *listenRequest) bool { return s.requests.hasID(l.upstreamRequest, id) })
}

// ended takes the end of a subscriptions/listen. It is sent again later, unless the server
// does not know the method.
func (s *subscriptions) ended(l *listenRequest, m message.Message) {
	if !m.Failed {
		m = message.NewError(nil, message.CodeInternal, "the server has ended the subscription")
	}
	s.mu.Lock()
	if l.acknowledged && time.Since(l.begun) > listenWithin {
		s.tries = 0
	}
	if !l.acknowledged && string(m.Get("error", "code")) == strconv.Itoa(message.CodeMethodNotFound) {
		s.refused = true
	}
	s.mu.Unlock()
	s.remove(l, errorForClient(l.upstreamRequest, m))
	s.scheduleListen()
}

// scheduleListen sends a subscriptions/listen again after a wait, if there is none, the
// client wants one, and the tries are not used up.
func (s *subscriptions) scheduleListen() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.listens) == 0 && !s.refused && s.tries < maxListenTries && !s.filter().Empty() {
		time.AfterFunc(min(listenAfter<<s.tries, listenWithin), s.listenAgain)
		s.tries++
	}
}

// listenAgain sends a subscriptions/listen again. If the server refuses the client's
// credentials, the connection ends, so that the refusal answers the client's next request.
func (s *subscriptions) listenAgain() {
	s.mu.Lock()
	needed := len(s.listens) == 0
	s.mu.Unlock()
	if !needed {
		return
	}
	stateless := s.requests.stateless
	var from *http.Request
	if stateless != nil {
		from = stateless.Latest()
	}
	err := s.listen(from, nil)
	refusal, ok := errors.AsType[*upstream.Refusal](err)
	switch {
	case ok && stateless != nil && refusal.DeniesAccess():
		stateless.BreakOff()
	case err != nil:
		s.scheduleListen()
	}
}
