package bridge

import (
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
)

// maxListens bounds the subscriptions of a session that the server has not agreed to
// yet.
const maxListens = 16

// listener is what a session's client wants to hear of changes at a stateless server:
// one subscriptions/listen, which another one takes the place of when that changes (MCP
// specification 2026-07-28, "Subscriptions"). The facade's lock guards it.
type listener struct {
	ready   bool     // the client takes notifications
	watched []string // resources, in order
	// listens are oldest first. At most the first is agreed to: those before it are
	// given up then.
	listens []*listen
	waiting []*subscribing
	tries   int  // to listen again, in a row, that have brought nothing
	refused bool // the server knows no subscriptions/listen
}

// listen is one subscriptions/listen.
type listen struct {
	*errand
	number int // later ones have higher ones
	agreed bool
	begun  time.Time
	late   *time.Timer // that the server has not agreed in time
}

// subscribing is a resources/subscribe of the client's that waits for the server to
// agree.
type subscribing struct {
	request message.Message
	uri     string
	number  int // of the first listen that has it
}

// filter is what the client wants now. The facade is locked.
func (f *facade) filter() *filter {
	ready := f.listener.ready
	return &filter{
		Tools:     ready && f.server.has("tools", "listChanged"),
		Prompts:   ready && f.server.has("prompts", "listChanged"),
		Resources: ready && f.server.has("resources", "listChanged"),
		Watched:   f.listener.watched,
	}
}

func (f *filter) empty() bool {
	return !f.Tools && !f.Prompts && !f.Resources && len(f.Watched) == 0
}

// ready takes notifications/initialized: from then on the client hears of changes.
func (f *facade) ready(from *http.Request) error {
	f.mu.Lock()
	again := f.listener.ready
	f.listener.ready = true
	f.mu.Unlock()
	if again {
		return f.Check(from)
	}
	err := f.listen(from, nil)
	if err != nil {
		f.mu.Lock()
		f.listener.ready = false // it was not heard
		f.mu.Unlock()
	}
	return err
}

// subscribe takes a resources/subscribe, which is answered when the server agrees.
func (f *facade) subscribe(from *http.Request, m message.Message) error {
	uri := message.Text(m.Raw, "params", "uri")
	f.mu.Lock()
	_, known := slices.BinarySearch(f.listener.watched, uri)
	full := len(f.listener.watched) >= maxWatched || len(f.listener.listens) >= maxListens
	f.mu.Unlock()
	switch {
	case !f.server.has("resources", "subscribe"):
		return f.refuse(from, m, message.CodeMethodNotFound, "the server has no subscriptions")
	case uri == "":
		return f.refuse(from, m, message.CodeInvalidParams, "params.uri is missing")
	case known:
		return f.acknowledge(from, m)
	case full:
		return f.refuse(from, m, message.CodeInternal, "too many subscriptions are under way")
	}
	return f.listen(from, &subscribing{request: m, uri: uri})
}

// unsubscribe takes a resources/unsubscribe.
func (f *facade) unsubscribe(from *http.Request, m message.Message) error {
	f.mu.Lock()
	known := f.listener.forget(message.Text(m.Raw, "params", "uri"))
	// What comes for it is dropped in any case.
	full := len(f.listener.listens) >= maxListens
	f.mu.Unlock()
	if !known || full {
		return f.acknowledge(from, m)
	}
	if err := f.listen(from, nil); err != nil {
		return err
	}
	f.reply(m, message.Result(m.RawID, []byte("{}")))
	return nil
}

// forget takes a resource out. It returns false where it was not in.
func (l *listener) forget(uri string) bool {
	at, known := slices.BinarySearch(l.watched, uri)
	if known {
		l.watched = slices.Delete(slices.Clone(l.watched), at, at+1)
	}
	return known
}

// listen has the server say what the client wants to hear of now, and of one more
// resource, if add is not nil. The error is a refusal that is about whoever asks; what
// else goes wrong is the answer to add.
func (f *facade) listen(from *http.Request, add *subscribing) error {
	f.mu.Lock()
	w := &f.listener
	if add != nil {
		if at, known := slices.BinarySearch(w.watched, add.uri); !known {
			w.watched = slices.Insert(slices.Clone(w.watched), at, add.uri)
		}
	}
	wanted := f.filter()
	if wanted.empty() || w.refused && add == nil {
		over := w.listens
		w.listens = nil
		f.mu.Unlock()
		f.leave(over)
		return f.Check(from)
	}
	f.next++
	l := &listen{errand: &errand{method: "subscriptions/listen"}, number: f.next, begun: time.Now()}
	l.then = func(m message.Message) { f.over(l, m) }
	w.listens = append(w.listens, l)
	if add != nil {
		add.number = l.number
		w.waiting = append(w.waiting, add)
	}
	l.late = time.AfterFunc(askWithin, func() { f.tooLate(l) })
	f.mu.Unlock()
	raw := []byte(`{"jsonrpc":"2.0","id":0,"method":"subscriptions/listen"}`)
	encoded, err := json.Marshal(wanted)
	if err == nil {
		err = f.dispatch(from, l.errand, message.Set(raw, encoded, "params", "notifications"))
	}
	if err == nil {
		return nil
	}
	if isOfAnyRequest(err) {
		f.drop(l, nil)
		return err
	}
	f.over(l, message.Message{Failed: true, Raw: message.Error(nil, message.CodeInternal, "the server takes no subscription now")})
	return nil
}

// leave ends subscriptions at the server.
func (f *facade) leave(all []*listen) {
	for _, l := range all {
		l.late.Stop()
		f.giveUp(l.errand, nil)
	}
}

// drop forgets a subscription that the server has not agreed to. What waits for it is
// answered with an error; nil: it is answered otherwise.
func (f *facade) drop(l *listen, answer []byte) {
	f.mu.Lock()
	w := &f.listener
	l.late.Stop()
	w.listens = slices.DeleteFunc(w.listens, func(o *listen) bool { return o == l })
	var lost []*subscribing
	w.waiting = slices.DeleteFunc(w.waiting, func(s *subscribing) bool {
		if s.number != l.number {
			return false
		}
		w.forget(s.uri)
		lost = append(lost, s)
		return true
	})
	f.mu.Unlock()
	for _, s := range lost {
		if answer != nil {
			f.reply(s.request, message.Set(answer, s.request.RawID, "id"))
		}
	}
}

// tooLate gives up a subscription that the server does not agree to in time.
func (f *facade) tooLate(l *listen) {
	f.mu.Lock()
	late := !l.agreed && slices.Contains(f.listener.listens, l)
	f.mu.Unlock()
	if late {
		f.giveUp(l.errand, nil)
		f.over(l, message.Message{Failed: true, Raw: message.Error(nil, message.CodeInternal, "the server does not agree to the subscription in time")})
	}
}

// agreed takes the server's word on which of what is asked for it will say.
func (f *facade) agreed(id message.Key, raw []byte) {
	var granted filter
	_ = json.Unmarshal(raw, &granted) // what is not understood is not granted
	f.mu.Lock()
	w := &f.listener
	at := slices.IndexFunc(w.listens, func(l *listen) bool { return l.id == id })
	if at < 0 || w.listens[at].agreed {
		f.mu.Unlock()
		return
	}
	l := w.listens[at]
	l.agreed = true
	l.late.Stop()
	over := slices.Clone(w.listens[:at])
	w.listens = slices.Clone(w.listens[at:])
	var answered []*subscribing
	w.waiting = slices.DeleteFunc(w.waiting, func(s *subscribing) bool {
		if s.number > l.number {
			return false
		}
		answered = append(answered, s)
		return true
	})
	for _, s := range answered {
		if !slices.Contains(granted.Watched, s.uri) {
			w.forget(s.uri)
		}
	}
	f.mu.Unlock()
	f.leave(over)
	for _, s := range answered {
		raw := message.Result(s.request.RawID, []byte("{}"))
		if !slices.Contains(granted.Watched, s.uri) {
			raw = message.Error(s.request.RawID, message.CodeResourceNotFound, "the server takes no subscription to this resource")
		}
		f.reply(s.request, raw)
	}
}

// follows reports whether a notification of a change is for the client: of the
// subscription that is agreed to, and asked for still. Some servers do not say which it
// belongs to.
func (f *facade) follows(id message.Key, m message.Message) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	w := &f.listener
	if id != "" && (len(w.listens) == 0 || w.listens[0].id != id || !w.listens[0].agreed) {
		return false
	}
	w.tries = 0
	return !concernsServer(m.Method) || f.filter().wants(m)
}

// listening returns the id of a subscription at the server, if id is one.
func (f *facade) listening(id message.Key) message.Key {
	f.mu.Lock()
	defer f.mu.Unlock()
	if slices.ContainsFunc(f.listener.listens, func(l *listen) bool { return l.id == id }) {
		return id
	}
	return ""
}

// over takes the end of a subscription. It is asked for again, unless it is clear that
// there is none.
func (f *facade) over(l *listen, m message.Message) {
	if !m.Failed {
		m.Raw = message.Error(nil, message.CodeInternal, "the server has ended the subscription")
	}
	f.mu.Lock()
	w := &f.listener
	agreed := l.agreed
	if agreed && time.Since(l.begun) > resumeWithin {
		w.tries = 0
	}
	if !agreed && string(message.Get(m.Raw, "error", "code")) == strconv.Itoa(message.CodeMethodNotFound) {
		w.refused = true
	}
	f.mu.Unlock()
	f.drop(l, olderError(l.errand, m.Raw))
	f.listenLater()
}

// listenLater has it asked for again what the client wants to hear of, unless that is
// done, or is no use.
func (f *facade) listenLater() {
	f.mu.Lock()
	w := &f.listener
	again := len(w.listens) == 0 && !w.refused && w.tries < maxResumes && !f.filter().empty()
	if again {
		time.AfterFunc(min(resumeAfter<<w.tries, resumeWithin), f.listenAgain)
		w.tries++
	}
	f.mu.Unlock()
}

// listenAgain asks for the changes that the client wants to hear of. A server that
// refuses the client's credentials there ends the conversation: that answers the
// client's next request.
func (f *facade) listenAgain() {
	f.mu.Lock()
	needed := len(f.listener.listens) == 0
	f.mu.Unlock()
	if !needed {
		return
	}
	var from *http.Request
	if f.poster != nil {
		from = f.poster.latest()
	}
	err := f.listen(from, nil)
	refusal, ok := errors.AsType[*Refusal](err)
	switch {
	case ok && refusal.deniesAccess():
		f.poster.breakOff()
	case err != nil:
		f.listenLater()
	}
}
