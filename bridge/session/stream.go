package session

import (
	"net/http"
	"slices"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/servers"
)

// maxTake bounds the bytes that a reader takes from its stream at a time. It may always take one
// message.
const maxTake = 256 << 10

// maxIdle bounds the readers of the general stream that wait behind the newest one.
const maxIdle = 3

// stream is one sequence of messages to a client: the answers to one POST, or the general
// stream of the session. It is kept while no client reads it, so that a client whose connection
// broke can resume it. The lock of [streams] guards it, and its methods need that lock.
type stream struct {
	number  int // in the ids of its events; 0 is the general stream
	first   int // sequence number of events[0]
	events  []servers.Event
	read    int                    // sequence number of the first event that no client was given
	waiting map[message.Key][]byte // requests that it has yet to answer: their ids, as written
	done    bool                   // no event follows
	primed  bool                   // its client has the id of the event without data in front of the first
	reader  *reader                // nil while no client reads it
	idle    []*reader              // older readers of the general stream, which get nothing
	used    int                    // bytes of events
}

// reader is one HTTP response that a stream is written to. It is the [servers.Source] of that
// response.
type reader struct {
	streams *streams
	stream  *stream // set before Take is called

	changed chan struct{} // has room for one signal: Take returns something new
	// The lock of streams guards what follows.
	gone    bool // the stream goes on without this reader
	writing int  // bytes that were taken, and are being written
}

func newReader(b *streams) *reader { return &reader{streams: b, changed: make(chan struct{}, 1)} }

// end makes Take say that the stream is over.
func (rd *reader) end() {
	rd.gone = true
	rd.wakeUp()
}

func (rd *reader) wakeUp() {
	select {
	case rd.changed <- struct{}{}:
	default:
	}
}

// Take implements [servers.Source].
func (rd *reader) Take() (batch []servers.Event, seq int, over bool) {
	b, st := rd.streams, rd.stream
	b.out.Lock()
	defer b.out.Unlock()
	if rd.gone {
		return nil, 0, true
	}
	if rd != st.reader {
		return nil, 0, st.done // it is idle
	}
	seq = max(st.read, st.first)
	size := 0
	for _, e := range st.events[seq-st.first:] {
		if len(batch) > 0 && size+len(e.Raw) > maxTake {
			break
		}
		size += len(e.Raw)
		batch = append(batch, e)
	}
	b.setWriting(rd, size)
	st.read = seq + len(batch)
	for b.legacy && st.first < st.read { // HTTP+SSE cannot resume a stream
		st.forget()
	}
	return batch, seq, st.done && st.read == st.end()
}

// Wake implements [servers.Source].
func (rd *reader) Wake() <-chan struct{} { return rd.changed }

// Prime implements [servers.Source].
func (rd *reader) Prime() {
	rd.streams.out.Lock()
	defer rd.streams.out.Unlock()
	rd.stream.primed = true
}

// Alone implements [servers.Source].
func (rd *reader) Alone(_ servers.Event, seq int, over bool) (status int) {
	if !over || seq != 0 {
		return 0
	}
	rd.streams.removeRead(rd.stream) // before the client gets the answer and sends the next request
	return http.StatusOK
}

// end returns the sequence number after the last event.
func (s *stream) end() int { return s.first + len(s.events) }

func (s *stream) add(e servers.Event) {
	s.events = append(s.events, e)
	s.used += len(e.Raw)
	if s.reader != nil {
		s.reader.wakeUp()
	}
}

// finish notes that no event follows.
func (s *stream) finish() {
	s.done = true
	s.waiting = nil // frees memory: the stream may be kept for a client that resumes it
	if s.reader != nil {
		s.reader.wakeUp()
	}
	for _, rd := range s.idle {
		rd.wakeUp()
	}
}

// attach makes rd the reader of the stream, from the event with sequence number from. The
// reader before it ends. attach returns false if that event is not kept any more, or if there
// never was one before it.
func (s *stream) attach(rd *reader, from int) bool {
	if from < s.first || from > s.end() {
		return false
	}
	if s.reader != nil {
		s.reader.end()
	}
	s.reader, s.read = rd, from
	return true
}

// join makes rd the reader of the stream, from the first event that no client was given. The
// reader before it stays open, but gets no more events. If it ended, its client would open a stream
// again, which would end rd.
func (s *stream) join(rd *reader) {
	if s.reader != nil {
		s.idle = append(s.idle, s.reader)
	}
	if len(s.idle) > maxIdle {
		s.idle[0].end()
		s.idle = slices.Delete(s.idle, 0, 1)
	}
	s.reader = rd
}

// detach ends the reading of rd. If readers are idle, they end as well, and those of their clients
// that are still there open a stream again. None of them gets the next events, because its
// connection may be broken, too.
func (s *stream) detach(rd *reader) {
	if s.reader != rd {
		s.idle = slices.DeleteFunc(s.idle, func(other *reader) bool { return other == rd })
		return
	}
	s.reader = nil
	for _, other := range s.idle {
		other.end()
	}
	s.idle = nil
}

// drop removes and returns an event of a stream of which no event was read: the oldest, or the
// newest if the oldest is an answer. It returns false if both are answers.
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

// forget removes the oldest event and returns it.
func (s *stream) forget() servers.Event {
	e := s.events[0]
	s.events[0] = servers.Event{}
	s.events = s.events[1:]
	s.first++
	s.used -= len(e.Raw)
	s.read = max(s.read, s.first)
	return e
}
