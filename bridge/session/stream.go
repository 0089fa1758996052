package session

import (
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/servers"
)

// stream is one sequence of messages to a client: the answer to one POST, or the
// session's own stream that a GET opens. It exists whether a client reads it or
// not, so that a connection that breaks can be resumed. The session's lock guards
// it.
type stream struct {
	number int
	first  int // sequence number of events[0]
	events []servers.Event
	// read is the sequence number up to which a client has been given events.
	read    int
	waiting map[message.Key][]byte // ids whose responses it ends with, as written
	done    bool
	// reader is who reads it now; a new one takes over.
	reader *reader
	used   int // bytes of events
}

// reader is one HTTP response that a stream is written to.
type reader struct {
	changed chan struct{} // has room for one: Take returns something new
	gone    bool          // another one took over
	held    int           // bytes that it is writing
	// What it reads, from when it is pumped.
	session *session
	stream  *stream
}

func newReader() *reader { return &reader{changed: make(chan struct{}, 1)} }

func (r *reader) wakeUp() {
	select {
	case r.changed <- struct{}{}:
	default:
	}
}

// end is the sequence number after the last event.
func (s *stream) end() int { return s.first + len(s.events) }

func (s *stream) add(e servers.Event) {
	s.events = append(s.events, e)
	s.used += len(e.Raw)
	if s.reader != nil {
		s.reader.wakeUp()
	}
}

// finish says that nothing follows.
func (s *stream) finish() {
	s.done = true
	s.waiting = nil // a stream that is kept to be resumed has no use for it
	if s.reader != nil {
		s.reader.wakeUp()
	}
}

// attach makes r the stream's reader, from the event after sequence number from.
// It returns false where those events are gone.
func (s *stream) attach(r *reader, from int) bool {
	if from < s.first || from > s.end() {
		return false
	}
	if old := s.reader; old != nil {
		old.gone = true
		old.wakeUp()
	}
	s.reader, s.read = r, from
	return true
}

func (s *stream) detach(r *reader) {
	if s.reader == r {
		s.reader = nil
	}
}

// drop takes the oldest of the events, of which none was read, or, where that is an
// answer, the newest. It returns false where both are.
func (s *stream) drop() (e servers.Event, ok bool) {
	if len(s.events) == 0 {
		return e, false
	}
	if !s.events[0].Response {
		return s.forget(), true
	}
	last := len(s.events) - 1
	if e = s.events[last]; e.Response {
		return e, false
	}
	s.events[last] = servers.Event{}
	s.events = s.events[:last]
	s.used -= len(e.Raw)
	return e, true
}

// forget drops the oldest event and returns it.
func (s *stream) forget() servers.Event {
	e := s.events[0]
	s.events[0] = servers.Event{}
	s.events = s.events[1:]
	s.first++
	s.used -= len(e.Raw)
	s.read = max(s.read, s.first)
	return e
}
