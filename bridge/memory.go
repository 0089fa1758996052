package bridge

import (
	"cmp"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// Bounds of what an endpoint remembers.
const (
	// MaxChallenges bounds the challenges, MaxOrigins the refused origins and
	// MaxUpstreams the addresses of upstreams.
	MaxChallenges, MaxOrigins, MaxUpstreams = 32, 32, 32
	// maxLines bounds the lines of a challenge that are kept.
	maxLines = 4
	// maxOrigin bounds the text of an origin or a host, in bytes.
	maxOrigin = 256
)

// Remembered are challenges of one kind. Nothing in it is secret.
type Remembered struct {
	First, Last time.Time
	// Count is how often the same has happened in a row of [MaxChallenges].
	Count  uint64
	Method string // of the request; those that nobody knows are "OTHER"
	Outcome

	// sent and lines are those of the first, as they were. They may be secret.
	sent, lines []string
	exact       bool // they are kept
}

// RefusedOrigin is an origin that is not allowed.
type RefusedOrigin struct {
	// Origin is what the request named; empty: it named none. Host is the host that
	// the last request was for.
	Origin, Host string
	First, Last  time.Time
	Count        uint64
}

// UpstreamState is how an address of the upstream has answered.
type UpstreamState struct {
	Address string
	// Failing is since when it gives no answer; zero: it does.
	Failing time.Time
	// Failure is the last time that it began to give none, and Why. Failures is how
	// often it has.
	Failure  time.Time
	Why      Failure
	Failures uint64
}

// Memory is what an endpoint remembers of what happened at it, bounded in every
// dimension. It outlives the configuration that it was made for.
type Memory struct {
	since time.Time

	mu         sync.Mutex
	challenges []*Remembered // the last is first
	origins    []*RefusedOrigin
	upstreams  []*UpstreamState
	past       Totals // of loads that are over
	loads      []*load
}

// load is one configuration of the endpoint.
type load struct {
	counts *Counts
	over   bool
}

// NewMemory returns an empty memory.
func NewMemory() *Memory { return &Memory{since: time.Now()} }

// Since returns when it begins.
func (m *Memory) Since() time.Time { return m.since }

// Attach adds the counts of a configuration. It has not asked any upstream yet, so that
// none is known to fail.
func (m *Memory) Attach(c *Counts) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, u := range m.upstreams {
		u.Failing = time.Time{}
	}
	m.loads = append(m.loads, &load{counts: c})
}

// Detach says that a configuration is over, apart from requests that are under way.
func (m *Memory) Detach(c *Counts) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, l := range m.loads {
		if l.counts == c {
			l.over = true
		}
	}
	m.fold()
}

// fold keeps the sum of what can count no more. The memory is locked.
func (m *Memory) fold() {
	m.loads = slices.DeleteFunc(m.loads, func(l *load) bool {
		if !l.over || l.counts.active.Load() > 0 {
			return false
		}
		m.past = m.past.Add(l.counts.Totals())
		return true
	})
}

// Totals returns the counts since [Memory.Since], over all configurations, and what is
// under way.
func (m *Memory) Totals() (Totals, Now) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fold()
	sum, now := m.past, Now{}
	for _, l := range m.loads {
		sum = sum.Add(l.counts.Totals())
		n := l.counts.Now()
		now.Requests += n.Requests
		now.Streams += n.Streams
		if now.Oldest.IsZero() || !n.Oldest.IsZero() && n.Oldest.Before(now.Oldest) {
			now.Oldest = n.Oldest
		}
	}
	return sum, now
}

// Challenged remembers what became of a challenge. What is the same as before is
// counted.
func (m *Memory) Challenged(r *http.Request, o *Outcome) {
	method := "OTHER"
	if r != nil && slices.Contains(Methods, r.Method) {
		method = r.Method
	}
	if m.again(method, o) {
		return
	}
	o.Kind()
	secrets := secretsOf(r)
	now := &Remembered{Method: method, Outcome: *o}
	if now.exact = short(o.Sent) && short(o.Lines); now.exact {
		now.sent, now.lines = copied(o.Sent), copied(o.Lines)
	}
	now.Sent, now.Lines = without(o.Sent, secrets), without(o.Lines, secrets)
	now.At = strings.Clone(cut(o.At, maxOrigin))
	m.mu.Lock()
	defer m.mu.Unlock()
	i := slices.IndexFunc(m.challenges, func(old *Remembered) bool {
		return old.same(method, o) && slices.Equal(old.Sent, now.Sent) && slices.Equal(old.Lines, now.Lines)
	})
	if i >= 0 { // it differs in what is not shown
		m.touch(i)
		return
	}
	if len(m.challenges) < MaxChallenges {
		m.challenges = append(m.challenges, nil)
	}
	last := len(m.challenges) - 1
	m.challenges[last] = now
	m.touch(last)
	now.First = now.Last
}

// again counts a challenge that is byte for byte one that is remembered, which costs
// little: a server that refuses tends to refuse in the same words.
func (m *Memory) again(method string, o *Outcome) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i, old := range m.challenges {
		if old.exact && old.same(method, o) && slices.Equal(old.sent, o.Sent) && slices.Equal(old.lines, o.Lines) {
			o.scheme, o.code = old.scheme, old.code
			m.touch(i)
			return true
		}
	}
	return false
}

// touch makes a challenge the last one. The memory is locked.
func (m *Memory) touch(i int) {
	r := m.challenges[i]
	r.Count++
	r.Last = time.Now()
	copy(m.challenges[1:i+1], m.challenges[:i])
	m.challenges[0] = r
}

// same reports whether a challenge is alike but for its lines.
func (r *Remembered) same(method string, o *Outcome) bool {
	return r.Action == o.Action && r.Reason == o.Reason && r.Status == o.Status && r.Given == o.Given &&
		r.Method == method && r.At == o.At
}

// short reports whether lines are few and short enough to keep.
func short(lines []string) bool {
	total := 0
	for _, line := range lines {
		total += len(line)
	}
	return total <= maxShown && len(lines) <= maxLines
}

// copied returns lines that share no memory with the answer that they are of.
func copied(lines []string) []string {
	all := make([]string, len(lines))
	for i, line := range lines {
		all[i] = strings.Clone(line)
	}
	return all
}

// Challenges returns the last challenges, the newest first.
func (m *Memory) Challenges() []Remembered { return snapshot(&m.mu, &m.challenges) }

// Refused remembers an origin that is not allowed; one that was not seen for longest
// gives way.
func (m *Memory) Refused(origin, host string) {
	origin, host = plain(origin), plain(host)
	now := time.Now()
	m.mu.Lock()
	defer m.mu.Unlock()
	i := slices.IndexFunc(m.origins, func(o *RefusedOrigin) bool { return o.Origin == origin })
	if i < 0 {
		if len(m.origins) >= MaxOrigins {
			least := slices.MinFunc(m.origins, func(a, b *RefusedOrigin) int { return a.Last.Compare(b.Last) })
			i = slices.Index(m.origins, least)
			m.origins = slices.Delete(m.origins, i, i+1)
		}
		m.origins = append(m.origins, &RefusedOrigin{Origin: origin, First: now})
		i = len(m.origins) - 1
	}
	o := m.origins[i]
	o.Host, o.Last = host, now
	o.Count++
}

// plain is a text of a request's as it is kept: an origin, which has no path, or a
// host.
func plain(s string) string {
	if scheme, rest, ok := strings.Cut(s, "://"); ok {
		rest, _, _ = strings.Cut(rest, "/")
		s = scheme + "://" + rest
	}
	s, _, _ = strings.Cut(s, "?")
	s, _, _ = strings.Cut(s, "#")
	if i := strings.LastIndexByte(s, '@'); i >= 0 {
		s = s[i+1:]
	}
	return strings.Clone(cut(strings.ToValidUTF8(s, "\uFFFD"), maxOrigin))
}

// Origins returns the refused origins, the most frequent first.
func (m *Memory) Origins() []RefusedOrigin {
	all := snapshot(&m.mu, &m.origins)
	slices.SortFunc(all, func(a, b RefusedOrigin) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Origin, b.Origin))
	})
	return all
}

// UpstreamFailed remembers that an upstream gives no answer any more.
func (m *Memory) UpstreamFailed(address string, why Failure) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	u := m.upstream(address)
	u.Failing, u.Failure, u.Why = now, now, why
	u.Failures++
}

// UpstreamBack remembers that it does again.
func (m *Memory) UpstreamBack(address string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.upstream(address).Failing = time.Time{}
}

// upstream returns the state of an address. The memory is locked.
func (m *Memory) upstream(address string) *UpstreamState {
	address = cut(address, maxOrigin)
	for _, u := range m.upstreams {
		if u.Address == address {
			return u
		}
	}
	if len(m.upstreams) >= MaxUpstreams {
		m.upstreams = slices.Delete(m.upstreams, 0, 1)
	}
	u := &UpstreamState{Address: address}
	m.upstreams = append(m.upstreams, u)
	return u
}

// Upstreams returns the addresses that have failed since the memory began.
func (m *Memory) Upstreams() []UpstreamState { return snapshot(&m.mu, &m.upstreams) }

// snapshot copies what a list has.
func snapshot[T any](mu *sync.Mutex, list *[]*T) []T {
	mu.Lock()
	defer mu.Unlock()
	all := make([]T, len(*list))
	for i, one := range *list {
		all[i] = *one
	}
	return all
}
