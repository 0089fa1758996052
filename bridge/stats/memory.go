package stats

import (
	"cmp"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/challenge"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/safetext"
)

// Bounds of what a Memory keeps.
const (
	maxChallenges = 32 // kinds of challenges
	maxOrigins    = 32 // refused origins
	maxNotices    = 32
	maxUpstreams  = 32 // addresses of upstreams

	// maxAddress bounds an address or a public URL, in bytes.
	maxAddress = 256
)

// Seen has how often the same thing has happened, and when.
type Seen struct {
	First, Last time.Time
	Count       uint64
}

func (s *Seen) again() {
	s.Last = time.Now()
	if s.Count++; s.Count == 1 {
		s.First = s.Last
	}
}

func (s *Seen) seen() *Seen { return s }

// SeenChallenge are challenges that are alike. Nothing in it is secret.
type SeenChallenge struct {
	Seen          // Count begins again when [maxChallenges] others have come
	Method string // of the request; "OTHER" if it is not one of [Methods]
	Outcome

	// sent and lines are those of the first, unchanged. They may be secret.
	sent, lines []string
	exact       bool // sent and lines are set
}

// SeenOrigin is an origin that was refused.
type SeenOrigin struct {
	Seen
	Origin string // empty if the request had none
	Host   string // of the last request
}

// SeenNotice is a notice that was reported.
type SeenNotice struct {
	Seen
	Notice
}

// UpstreamState describes the failures of an address of the upstream.
type UpstreamState struct {
	Address string
	// Failing is the time since when the address gives no answer. It is zero if it answers.
	Failing time.Time
	// Failure is when it last ceased to answer, and Why the reason.
	Failure time.Time
	Why     Failure
	// Failures is how often it has ceased to answer.
	Failures uint64
}

// Memory keeps a bounded record of what has happened at an endpoint. It outlives the configuration
// that it was made for.
type Memory struct {
	since    time.Time
	accepted atomic.Int64 // when credentials were last accepted, in nanoseconds; 0: never
	// noService is why clients cannot begin; nil if they can, or if that is not known.
	noService atomic.Pointer[NoService]

	mu         sync.Mutex       // guards what follows
	challenges []*SeenChallenge // the last is first
	origins    []*SeenOrigin
	upstreams  []*UpstreamState
	notices    []*SeenNotice
	exit       SeenExit // the last; Count is 0 if there was none
	denials    []*SeenDenial
	issuers    []*IssuerState // that cannot be asked
	past       Totals         // of loads that are over
	loads      []*load
}

// load is one configuration of the endpoint.
type load struct {
	counts *Counts
	over   bool // apart from requests that are under way
}

// NewMemory returns an empty memory.
func NewMemory() *Memory { return &Memory{since: time.Now()} }

// Since returns when the memory was made.
func (m *Memory) Since() time.Time { return m.since }

// Attach adds the counts of a configuration that begins. No upstream and no issuer is then
// known to fail, because the configuration has not yet asked any.
func (m *Memory) Attach(c *Counts) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, u := range m.upstreams {
		u.Failing = time.Time{}
	}
	m.issuers = nil
	m.noService.Store(nil)
	m.loads = append(m.loads, &load{counts: c})
}

// Detach marks the counts of a configuration as over, apart from requests under way.
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

// fold adds the counts of configurations that cannot change any more to those of the past.
// The caller holds the lock.
func (m *Memory) fold() {
	m.loads = slices.DeleteFunc(m.loads, func(l *load) bool {
		if !l.over || l.counts.active.Load() > 0 {
			return false
		}
		m.past = m.past.add(l.counts.Totals())
		return true
	})
}

// Totals returns the counts of all configurations since [Memory.Since], and what is under
// way.
func (m *Memory) Totals() (Totals, Now) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fold()
	sum, now := m.past, Now{}
	for _, l := range m.loads {
		sum = sum.add(l.counts.Totals())
		n := l.counts.Now()
		now.Requests += n.Requests
		now.Streams += n.Streams
		if now.Oldest.IsZero() || !n.Oldest.IsZero() && n.Oldest.Before(now.Oldest) {
			now.Oldest = n.Oldest
		}
	}
	return sum, now
}

// Challenged remembers the outcome of an answer to r, or counts it if it is remembered
// already. r may be nil.
func (m *Memory) Challenged(r *http.Request, o *Outcome) {
	method := "OTHER"
	if r != nil && slices.Contains(Methods, r.Method) {
		method = r.Method
	}
	if m.known(method, o) {
		return
	}
	o.Kind()
	secrets := safetext.SecretsOf(r)
	now := &SeenChallenge{Method: method, Outcome: *o}
	if now.exact = short(o.Sent) && short(o.Lines); now.exact {
		now.sent, now.lines = copied(o.Sent), copied(o.Lines)
	}
	now.Sent, now.Lines = challenge.Show(o.Sent, secrets), challenge.Show(o.Lines, secrets)
	now.At = strings.Clone(safetext.Cut(o.At, maxAddress))
	m.mu.Lock()
	defer m.mu.Unlock()
	i := slices.IndexFunc(m.challenges, func(old *SeenChallenge) bool {
		return old.same(method, o) && slices.Equal(old.Sent, now.Sent) && slices.Equal(old.Lines, now.Lines)
	})
	if i >= 0 { // it differs only in secrets
		m.touch(i)
		return
	}
	if len(m.challenges) < maxChallenges {
		m.challenges = append(m.challenges, nil)
	}
	last := len(m.challenges) - 1
	m.challenges[last] = now
	m.touch(last)
}

// known counts a challenge that equals one that is remembered, byte for byte. That is the
// usual case, and costs little.
func (m *Memory) known(method string, o *Outcome) bool {
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

// touch counts a challenge and makes it the first of the list. The caller holds the lock.
func (m *Memory) touch(i int) {
	r := m.challenges[i]
	r.again()
	copy(m.challenges[1:i+1], m.challenges[:i])
	m.challenges[0] = r
}

// same reports whether a challenge is the same apart from its lines.
func (r *SeenChallenge) same(method string, o *Outcome) bool {
	return r.Action == o.Action && r.Reason == o.Reason && r.Status == o.Status && r.Given == o.Given &&
		r.Method == method && r.At == o.At
}

// short reports whether lines are few and short enough to be kept unchanged.
func short(lines []string) bool {
	total := 0
	for _, line := range lines {
		total += len(line)
	}
	return total <= safetext.MaxLine && len(lines) <= challenge.MaxShown
}

// copied returns a copy of lines that shares no memory with the answer.
func copied(lines []string) []string {
	all := make([]string, len(lines))
	for i, line := range lines {
		all[i] = strings.Clone(line)
	}
	return all
}

// Challenges returns the last challenges, the newest first.
func (m *Memory) Challenges() []SeenChallenge { return snapshot(&m.mu, &m.challenges) }

// Refused remembers an origin that was refused, and the host that was asked for.
func (m *Memory) Refused(origin, host string) {
	origin, host = strings.Clone(safetext.Origin(origin)), strings.Clone(safetext.Origin(host))
	m.mu.Lock()
	defer m.mu.Unlock()
	o := count(&m.origins, maxOrigins, func(o *SeenOrigin) bool { return o.Origin == origin }, func() *SeenOrigin {
		return &SeenOrigin{Origin: origin}
	})
	o.Host = host
}

// Origins returns the refused origins, the most frequent first.
func (m *Memory) Origins() []SeenOrigin {
	all := snapshot(&m.mu, &m.origins)
	slices.SortFunc(all, func(a, b SeenOrigin) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Origin, b.Origin))
	})
	return all
}

// Noticed remembers a notice.
func (m *Memory) Noticed(n Notice) {
	m.mu.Lock()
	defer m.mu.Unlock()
	count(&m.notices, maxNotices, func(s *SeenNotice) bool { return s.Notice == n }, func() *SeenNotice {
		n.Subject, n.Add = strings.Clone(n.Subject), strings.Clone(n.Add)
		return &SeenNotice{Notice: n}
	})
}

// Notices returns the notices, the most frequent first.
func (m *Memory) Notices() []SeenNotice {
	all := snapshot(&m.mu, &m.notices)
	slices.SortFunc(all, func(a, b SeenNotice) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Message, b.Message), cmp.Compare(a.Subject, b.Subject))
	})
	return all
}

// counted is an entry of a list that [count] keeps.
type counted[T any] interface {
	*T
	seen() *Seen
}

// count counts the entry of a list for which is returns true, or adds a new one. If the list then
// has more than most entries, the one that was not seen for longest is dropped.
func count[T any, P counted[T]](list *[]P, most int, is func(P) bool, add func() P) P {
	i := slices.IndexFunc(*list, is)
	if i < 0 {
		if len(*list) >= most {
			oldest := slices.MinFunc(*list, func(a, b P) int { return a.seen().Last.Compare(b.seen().Last) })
			*list = slices.DeleteFunc(*list, func(p P) bool { return p == oldest })
		}
		*list = append(*list, add())
		i = len(*list) - 1
	}
	(*list)[i].seen().again()
	return (*list)[i]
}

// NoService says why clients cannot begin with the upstream. Nothing in it is secret.
type NoService struct {
	Text   string
	Advice string // empty if a notice has it
	// Refused is true if the upstream has refused the first message of a client, but perhaps takes
	// that of another. It is false if it is no MCP server.
	Refused bool
}

// Serves remembers whether clients can begin, as the answer to the first message of one has shown.
// why is nil if they can.
func (m *Memory) Serves(why *NoService) {
	if why != nil || m.noService.Load() != nil { // which is seldom
		m.noService.Store(why)
	}
}

// WhyNoService says why clients cannot begin. It is nil if they can, or if that is not known.
func (m *Memory) WhyNoService() *NoService { return m.noService.Load() }

// Exit is the end of a program that an operator has to know of. Nothing in it is secret.
type Exit struct {
	Cause  ExitCause
	Status string        // "exit status 1", "signal: killed"
	After  time.Duration // since its start
	Stderr []string      // the last lines
	Advice string
}

// SeenExit is the last of them. Count counts all.
type SeenExit struct {
	Seen
	Exit
}

// Exited remembers the end of a program, in place of the one before.
func (m *Memory) Exited(e Exit) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.exit.Exit = e
	m.exit.again()
}

// Exit returns the last end of a program. Its Count is 0 if there was none.
func (m *Memory) Exit() SeenExit {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.exit
}

// UpstreamFailed remembers that an address of the upstream has ceased to answer.
func (m *Memory) UpstreamFailed(address string, why Failure) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	u := m.upstream(address)
	u.Failing, u.Failure, u.Why = now, now, why
	u.Failures++
}

// UpstreamBack remembers that an address of the upstream answers again.
func (m *Memory) UpstreamBack(address string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.upstream(address).Failing = time.Time{}
}

// upstream returns the state of an address. The caller holds the lock.
func (m *Memory) upstream(address string) *UpstreamState {
	address = safetext.Cut(address, maxAddress)
	for _, u := range m.upstreams {
		if u.Address == address {
			return u
		}
	}
	if len(m.upstreams) >= maxUpstreams {
		m.upstreams = slices.Delete(m.upstreams, 0, 1)
	}
	u := &UpstreamState{Address: address}
	m.upstreams = append(m.upstreams, u)
	return u
}

// Upstreams returns the addresses that have failed since [Memory.Since].
func (m *Memory) Upstreams() []UpstreamState { return snapshot(&m.mu, &m.upstreams) }

// snapshot returns copies of the entries of a list.
func snapshot[T any](mu *sync.Mutex, list *[]*T) []T {
	mu.Lock()
	defer mu.Unlock()
	all := make([]T, len(*list))
	for i, one := range *list {
		all[i] = *one
	}
	return all
}
