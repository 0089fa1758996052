package stats

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// The upper bounds of the buckets of histograms, in seconds.
var (
	RequestBuckets = []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300}
	StreamBuckets  = []float64{1, 10, 60, 300, 900, 3600, 4 * 3600, 24 * 3600}
)

// slots are the indexes in [Totals] where the counts of each kind begin.
var slots = func() (at struct {
	requests, challenges, failures, begun, ended, starts, exits, cache, fetches, denials, streams, refused, received, sent, size int
},
) {
	next := func(n int) int {
		at.size += n
		return at.size - n
	}
	at.requests = next(len(Methods) * len(Classes) * width(RequestBuckets))
	at.challenges = next(len(Schemes) * len(Errors) * len(Actions))
	at.failures = next(len(Failures))
	at.begun = next(len(Transports))
	at.ended = next(len(Transports) * len(EndReasons))
	at.starts, at.exits = next(len(Starts)), next(len(Exits))
	at.cache, at.fetches = next(len(CacheResults)), next(len(FetchResults))
	at.denials = next(len(DenialKinds))
	at.streams = next(width(StreamBuckets))
	at.refused, at.received, at.sent = next(1), next(1), next(1)
	return at
}()

// width is the number of slots of a histogram: its buckets, one for larger values, and the sum in
// nanoseconds.
func width(bounds []float64) int { return len(bounds) + 2 }

// Counts counts what happens at an endpoint since its configuration was loaded. It costs a
// request a few atomic additions, and no memory.
type Counts struct {
	n      []atomic.Uint64
	active atomic.Int64

	mu             sync.Mutex // guards the list of open streams
	oldest, newest *Stream
	open           int
}

// NewCounts returns a Counts in which everything is zero.
func NewCounts() *Counts { return &Counts{n: make([]atomic.Uint64, slots.size)} }

// index returns the index of s in a set, or that of the last word if s is not in it.
func index[T ~string](set []T, s T) int {
	if i := slices.Index(set, s); i >= 0 {
		return i
	}
	return len(set) - 1
}

func (c *Counts) observe(at int, bounds []float64, d time.Duration) {
	i, seconds := 0, d.Seconds()
	for i < len(bounds) && seconds > bounds[i] {
		i++
	}
	c.n[at+i].Add(1)
	c.n[at+len(bounds)+1].Add(uint64(max(d, 0)))
}

// Begin counts a request that begins. [Counts.End] must follow.
func (c *Counts) Begin() { c.active.Add(1) }

// End counts a request that is over: the status that the client got, how long it took, and
// the bytes of both bodies.
func (c *Counts) End(method string, status int, took time.Duration, received, sent int64) {
	class := min(max(status/100, 1), len(Classes)) - 1
	at := (index(Methods, method)*len(Classes) + class) * width(RequestBuckets)
	c.observe(slots.requests+at, RequestBuckets, took)
	if received > 0 {
		c.n[slots.received].Add(uint64(received))
	}
	if sent > 0 {
		c.n[slots.sent].Add(uint64(sent))
	}
	c.active.Add(-1)
}

// Challenged counts an answer with a challenge, or a 401.
func (c *Counts) Challenged(o *Outcome) {
	scheme, code := o.Kind()
	at := (index(Schemes, scheme)*len(Errors)+index(Errors, code))*len(Actions) + index(Actions, o.Action)
	c.n[slots.challenges+at].Add(1)
}

// Refused counts a request whose origin is not allowed.
func (c *Counts) Refused() { c.n[slots.refused].Add(1) }

// Denied counts a request that `authorize` has refused.
func (c *Counts) Denied(kind DenialKind) { c.n[slots.denials+index(DenialKinds, kind)].Add(1) }

// Failed counts an upstream that has ceased to answer.
func (c *Counts) Failed(why Failure) { c.n[slots.failures+index(Failures, why)].Add(1) }

// SessionBegun counts a session.
func (c *Counts) SessionBegun(t Transport) { c.n[slots.begun+index(Transports, t)].Add(1) }

// SessionEnded counts the end of one.
func (c *Counts) SessionEnded(t Transport, why EndReason) {
	c.n[slots.ended+index(Transports, t)*len(EndReasons)+index(EndReasons, why)].Add(1)
}

// Start counts the start of a server, by its result of [Starts].
func (c *Counts) Start(what string) { c.n[slots.starts+index(Starts, what)].Add(1) }

// Exit counts the end of a server.
func (c *Counts) Exit(byItself bool) {
	if byItself {
		c.n[slots.exits].Add(1)
	} else {
		c.n[slots.exits+1].Add(1)
	}
}

// Cache counts a look into the cache of metadata, by its result of [CacheResults].
func (c *Counts) Cache(result string) { c.n[slots.cache+index(CacheResults, result)].Add(1) }

// Fetched counts a search for metadata, by its result of [FetchResults].
func (c *Counts) Fetched(result string) { c.n[slots.fetches+index(FetchResults, result)].Add(1) }

// Stream is an event stream that a client has open. The zero value has not begun. An open stream
// is part of a list, so it must not be copied.
type Stream struct {
	Begun        time.Time
	older, newer *Stream // that are open
}

// StreamOpened counts a stream that begins. [Counts.StreamClosed] must follow.
func (c *Counts) StreamOpened(s *Stream) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.open++
	if s.older = c.newest; s.older != nil {
		s.older.newer = s
	} else {
		c.oldest = s
	}
	c.newest = s
}

// StreamClosed counts the end of a stream.
func (c *Counts) StreamClosed(s *Stream) {
	c.observe(slots.streams, StreamBuckets, time.Since(s.Begun))
	c.mu.Lock()
	defer c.mu.Unlock()
	c.open--
	if s.older != nil {
		s.older.newer = s.newer
	} else {
		c.oldest = s.newer
	}
	if s.newer != nil {
		s.newer.older = s.older
	} else {
		c.newest = s.older
	}
	s.older, s.newer = nil, nil
}

// Now has what is in progress at an endpoint.
type Now struct {
	Requests, Streams int
	// Oldest is when the oldest stream began. It is zero if there is none.
	Oldest time.Time
}

// Now returns what is in progress.
func (c *Counts) Now() Now {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := Now{Requests: int(c.active.Load()), Streams: c.open}
	if c.oldest != nil {
		n.Oldest = c.oldest.Begun
	}
	return n
}

// Totals returns the counts.
func (c *Counts) Totals() Totals {
	t := make(Totals, slots.size)
	for i := range c.n {
		t[i] = c.n[i].Load()
	}
	return t
}

// Totals are the counts at one moment. In nil all are zero.
type Totals []uint64

// add returns the sum of both.
func (t Totals) add(other Totals) Totals {
	sum := make(Totals, slots.size)
	copy(sum, t)
	for i := range other {
		sum[i] += other[i]
	}
	return sum
}

func (t Totals) at(slot int) uint64 {
	if t == nil {
		return 0
	}
	return t[slot]
}

// Histogram is a number of durations.
type Histogram struct {
	Count uint64
	Sum   time.Duration
	// Below are the numbers of durations up to each bound. They include those up to
	// smaller bounds.
	Below []uint64
}

func (t Totals) histogram(at int, bounds []float64) (h Histogram) {
	h.Below = make([]uint64, len(bounds))
	for i := range bounds {
		h.Count += t.at(at + i)
		h.Below[i] = h.Count
	}
	h.Count += t.at(at + len(bounds))
	h.Sum = time.Duration(t.at(at + len(bounds) + 1))
	return h
}

// Requests calls see for each method and class of status with the durations of its
// requests, if there are any.
func (t Totals) Requests(see func(method, class string, h Histogram)) {
	for m, method := range Methods {
		for c, class := range Classes {
			at := slots.requests + (m*len(Classes)+c)*width(RequestBuckets)
			if h := t.histogram(at, RequestBuckets); h.Count > 0 {
				see(method, class, h)
			}
		}
	}
}

// Challenges calls see for each kind and action with the number of its challenges, if there
// are any.
func (t Totals) Challenges(see func(scheme, code string, action Action, n uint64)) {
	for s, scheme := range Schemes {
		for e, code := range Errors {
			for a, action := range Actions {
				if n := t.at(slots.challenges + (s*len(Errors)+e)*len(Actions) + a); n > 0 {
					see(scheme, code, action, n)
				}
			}
		}
	}
}

// Ended calls see for each transport and reason with the number of sessions that have
// ended, if there are any.
func (t Totals) Ended(see func(transport Transport, why EndReason, n uint64)) {
	for i, transport := range Transports {
		for j, why := range EndReasons {
			if n := t.at(slots.ended + i*len(EndReasons) + j); n > 0 {
				see(transport, why, n)
			}
		}
	}
}

// Streams returns the ages of the streams that have ended.
func (t Totals) Streams() Histogram { return t.histogram(slots.streams, StreamBuckets) }

// Begun returns how many sessions have begun, in the order of [Transports].
func (t Totals) Begun() []uint64 { return t.many(slots.begun, len(Transports)) }

// Failures returns how often an upstream has ceased to answer, in the order of [Failures].
func (t Totals) Failures() []uint64 { return t.many(slots.failures, len(Failures)) }

// Denials returns how many requests `authorize` has refused, in the order of [DenialKinds].
func (t Totals) Denials() []uint64 { return t.many(slots.denials, len(DenialKinds)) }

// Starts returns the results of starting servers, in the order of [Starts].
func (t Totals) Starts() []uint64 { return t.many(slots.starts, len(Starts)) }

// Exits returns how servers have ended, in the order of [Exits].
func (t Totals) Exits() []uint64 { return t.many(slots.exits, len(Exits)) }

// Cache returns the results of looks into the cache of metadata, in the order of
// [CacheResults].
func (t Totals) Cache() []uint64 { return t.many(slots.cache, len(CacheResults)) }

// Fetches returns the results of searches for metadata, in the order of [FetchResults].
func (t Totals) Fetches() []uint64 { return t.many(slots.fetches, len(FetchResults)) }

func (t Totals) many(at, n int) []uint64 {
	all := make([]uint64, n)
	for i := range all {
		all[i] = t.at(at + i)
	}
	return all
}

// Refused returns how many requests had an origin that is not allowed.
func (t Totals) Refused() uint64 { return t.at(slots.refused) }

// Bytes returns the bytes of the bodies of requests, and of answers.
func (t Totals) Bytes() (received, sent uint64) { return t.at(slots.received), t.at(slots.sent) }
