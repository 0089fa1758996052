package status

import (
	"sort"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/metadata"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/servers"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/stats"
)

// Endpoint is an endpoint of the running configuration.
type Endpoint struct {
	Name      string // by which the operator knows it, as in metrics and logs
	Kind      string // http, sse, stdio or middleware
	Address   string // of the upstream: an address, or the name of a program
	Challenge string // the mode of `challenge`
	// Forwarding is `direct` or `reverse_proxy`: who passes on the answers of the upstream. Because
	// is the option that prevents `direct`. Both are empty if there is no proxy.
	Forwarding, Because string

	Loaded   time.Time
	Counts   *stats.Counts
	Memory   *stats.Memory
	Sessions Sessions // nil if the endpoint has none
	// Metadata and Upstreams return what is known of both at the moment.
	Metadata  func() []Metadata
	Upstreams func() []Upstream
	// Allow returns the line of the Caddyfile that would allow an origin, or a host if the
	// origin is empty. It returns an empty text if there is no such line.
	Allow func(origin, host string) string
	// Starts returns the state of the programs of the endpoint. It is nil if the endpoint has
	// none.
	Starts func() servers.State
}

// Sessions are the sessions of an endpoint.
type Sessions interface {
	// List describes the sessions that are open, and the servers that stateless requests
	// share.
	List() []stats.SessionInfo
	// Len returns the number of servers.
	Len() int
	// EndSession ends the session with that [stats.SessionInfo.ID]. It returns false if there
	// is none.
	EndSession(id string) bool
}

// endpointState is an endpoint as the admin API shows it.
type endpointState struct {
	// Endpoint is its name: the public URL, as far as the configuration tells it. It is
	// the label of its metrics.
	Endpoint string `json:"endpoint"`
	// State says in a word how the endpoint is, and Problems why.
	State     health    `json:"state"`
	Problems  []problem `json:"problems"`
	Upstream  string    `json:"upstream"` // http, sse, stdio or middleware
	Address   string    `json:"address"`  // of the upstream, as it is configured
	Challenge string    `json:"challenge"`
	// Forwarding and Because are those of Endpoint.
	Forwarding string `json:"forwarding,omitempty"`
	Because    string `json:"because_of,omitempty"`
	// Loaded is when the configuration was loaded. Since is when the memory of the
	// endpoint began, which outlives configurations.
	Loaded time.Time        `json:"loaded"`
	Since  time.Time        `json:"since"`
	Now    nowState         `json:"now"`
	Load   countsState      `json:"since_load"`
	Total  countsState      `json:"since_start"`
	Last   []challengeState `json:"challenges"`

	// Denials are requests that `authorize` has refused, the newest first. Accepted is when it
	// has last accepted the credentials of a request, and Issuers those that it cannot ask.
	Denials  []denialState `json:"denials"`
	Accepted *time.Time    `json:"credentials_accepted,omitempty"`
	Issuers  []issuerState `json:"issuers_failing"`

	Refused   []refusedState `json:"refused_origins"`
	Notices   []noticeState  `json:"notices"`
	Program   *programState  `json:"program,omitempty"` // only with stdio
	Metadata  []Metadata     `json:"metadata"`
	Upstreams []Upstream     `json:"upstreams"`
	NoService *noService     `json:"no_service,omitempty"`
}

// noService says why clients cannot begin with the upstream.
type noService struct {
	Text   string `json:"text"`
	Advice string `json:"advice,omitempty"` // empty if a notice has it
	// Refused is true if the upstream has refused the first message of the last client that began.
	Refused bool `json:"refused"`
}

// nowState has what is in progress at an endpoint.
type nowState struct {
	Requests int        `json:"requests"`
	Streams  int        `json:"streams"`
	Oldest   *time.Time `json:"oldest_stream,omitempty"`
	Sessions int        `json:"sessions"`
	Servers  int        `json:"servers"` // programs that run, or connections to servers
}

// countsState are the counts of an endpoint.
type countsState struct {
	Requests   uint64                       `json:"requests"`
	Seconds    float64                      `json:"seconds"` // the sum of their durations
	Status     map[string]map[string]uint64 `json:"status"`  // of requests, by method and class
	Challenges uint64                       `json:"challenges"`
	Actions    map[stats.Action]uint64      `json:"actions"` // of challenges
	Kinds      []kindCount                  `json:"kinds"`   // of challenges
	Denials    map[stats.DenialKind]uint64  `json:"denials"`
	Refused    uint64                       `json:"origins_refused"`
	Failures   map[stats.Failure]uint64     `json:"upstream_failures"`
	Fetches    map[string]uint64            `json:"metadata_fetches"`
	Cache      map[string]uint64            `json:"metadata_cache"`
	Begun      map[stats.Transport]uint64   `json:"sessions_begun"`
	Ended      []endCount                   `json:"sessions_ended"`
	Starts     map[string]uint64            `json:"server_starts"`
	Exits      map[string]uint64            `json:"server_exits"`
	Streams    uint64                       `json:"streams_ended"`
	Received   uint64                       `json:"bytes_received"`
	Sent       uint64                       `json:"bytes_sent"`
}

// kindCount is the number of challenges of one kind.
type kindCount struct {
	Scheme string       `json:"scheme"`
	Error  string       `json:"error"`
	Action stats.Action `json:"action"`
	Count  uint64       `json:"count"`
}

// endCount is the number of sessions that have ended for one reason.
type endCount struct {
	Transport stats.Transport `json:"transport"`
	Reason    stats.EndReason `json:"reason"`
	Count     uint64          `json:"count"`
}

// challengeState are challenges that are alike.
type challengeState struct {
	First  time.Time    `json:"first"`
	Last   time.Time    `json:"last"`
	Count  uint64       `json:"count"`
	Method string       `json:"method"`
	Status int          `json:"upstream_status"`
	Given  int          `json:"status"`
	Action stats.Action `json:"action"`
	Reason stats.Reason `json:"reason,omitempty"`
	URL    string       `json:"url,omitempty"` // the endpoint, as the client asked for it
	Sent   []string     `json:"upstream_sent"`
	Lines  []string     `json:"client_got"`
}

// noticeState is something that was refused, dropped or left unchanged.
type noticeState struct {
	Message string    `json:"message"`
	Subject string    `json:"subject"`
	Advice  string    `json:"advice"`
	Add     string    `json:"add,omitempty"`     // the line that fixes it, if a single one does
	Snippet string    `json:"snippet,omitempty"` // that line in its block of the directive
	First   time.Time `json:"first"`
	Last    time.Time `json:"last"`
	Count   uint64    `json:"count"`
}

// refusedState is an origin that was refused.
type refusedState struct {
	Origin  string    `json:"origin"`
	Host    string    `json:"host"`
	Add     string    `json:"add,omitempty"`     // the line that would allow it, if there is one
	Snippet string    `json:"snippet,omitempty"` // that line in its block of the directive
	First   time.Time `json:"first"`
	Last    time.Time `json:"last"`
	Count   uint64    `json:"count"`
}

// Metadata is the state of the metadata of one public URL.
type Metadata struct {
	URL         string          `json:"url"`
	Known       bool            `json:"known"`
	Source      metadata.Source `json:"source,omitempty"`
	Age         float64         `json:"age_seconds"`
	Absent      bool            `json:"absent"`
	Expires     *time.Time      `json:"expires,omitempty"`
	LastError   string          `json:"last_error,omitempty"`
	LastErrorAt *time.Time      `json:"last_error_at,omitempty"`
	// Foreign is the resource that the document names, if it is not the endpoint. Add is
	// the line that would make it the upstream's own, if there is one.
	Foreign string `json:"foreign_resource,omitempty"`
	Add     string `json:"add,omitempty"`
	Snippet string `json:"snippet,omitempty"` // Add in its block; filled in with the state
}

// Upstream is the state of one address of the upstream. The last four fields are filled in
// from the memory of the endpoint.
type Upstream struct {
	Address  string        `json:"address"`
	Healthy  bool          `json:"healthy"`
	Requests int           `json:"requests"`
	Fails    int           `json:"fails"`
	Failing  *time.Time    `json:"failing_since,omitempty"`
	Failure  *time.Time    `json:"last_failure,omitempty"`
	Why      stats.Failure `json:"last_failure_reason,omitempty"`
	Failures uint64        `json:"failures"`
}

// state collects what the status shows of the endpoint.
func (e *Endpoint) state() endpointState {
	total, now := e.Memory.Totals()
	s := endpointState{
		Endpoint: e.Name, Upstream: e.Kind, Address: e.Address, Challenge: e.Challenge, Forwarding: e.Forwarding, Because: e.Because, Loaded: stamp(e.Loaded), Since: stamp(e.Memory.Since()),
		Now:  nowState{Requests: now.Requests, Streams: now.Streams, Oldest: Time(now.Oldest)},
		Load: countsOf(e.Counts.Totals()), Total: countsOf(total),
		Last: []challengeState{}, Refused: []refusedState{}, Notices: []noticeState{}, Metadata: e.metadata(), Upstreams: e.upstreams(),
	}
	if e.Sessions != nil {
		s.Now.Sessions, s.Now.Servers = len(e.Sessions.List()), e.Sessions.Len()
	}
	for _, c := range e.Memory.Challenges() {
		s.Last = append(s.Last, challengeState{
			First: stamp(c.First), Last: stamp(c.Last), Count: c.Count, Method: c.Method, Status: c.Status, Given: c.Given,
			Action: c.Action, Reason: c.Reason, URL: c.At, Sent: c.Sent, Lines: c.Lines,
		})
	}
	for _, o := range e.Memory.Origins() {
		add := e.Allow(o.Origin, o.Host)
		s.Refused = append(s.Refused, refusedState{o.Origin, o.Host, add, Snippet(add), stamp(o.First), stamp(o.Last), o.Count})
	}
	for _, n := range e.Memory.Notices() {
		s.Notices = append(s.Notices, noticeState{n.Message, n.Subject, n.Advice, n.Add, Snippet(n.Add), stamp(n.First), stamp(n.Last), n.Count})
	}
	if why := e.Memory.WhyNoService(); why != nil {
		s.NoService = (*noService)(why)
	}
	s.Program = e.program()
	s.Denials, s.Issuers, s.Accepted = denialsOf(e.Memory), issuersOf(e.Memory), Time(e.Memory.LastAccepted())
	s.judge(time.Now())
	return s
}

// metadata returns the state of the metadata, sorted by URL.
func (e *Endpoint) metadata() []Metadata {
	all := append([]Metadata{}, e.Metadata()...)
	for i := range all {
		all[i].Snippet = Snippet(all[i].Add)
	}
	sort.Slice(all, func(i, j int) bool { return all[i].URL < all[j].URL })
	return all
}

// upstreams returns the addresses of the upstream, sorted: those that the proxy has, and
// those of dynamic upstreams that have failed.
func (e *Endpoint) upstreams() []Upstream {
	failed := make(map[string]stats.UpstreamState)
	for _, u := range e.Memory.Upstreams() {
		failed[u.Address] = u
	}
	all := []Upstream{}
	add := func(s Upstream) {
		u := failed[s.Address]
		s.Failing, s.Failure, s.Why, s.Failures = Time(u.Failing), Time(u.Failure), u.Why, u.Failures
		all = append(all, s)
	}
	known := e.Upstreams()
	if known == nil {
		return all
	}
	for _, u := range known {
		add(u)
	}
	for _, u := range known {
		delete(failed, u.Address)
	}
	for address, u := range failed {
		add(Upstream{Address: address, Healthy: u.Failing.IsZero()})
	}
	sort.SliceStable(all, func(i, j int) bool { return all[i].Address < all[j].Address })
	return all
}

// countsOf returns counts in the form that is shown. Of sets of words, only those that have
// a count are shown.
func countsOf(t stats.Totals) countsState {
	c := countsState{
		Status: make(map[string]map[string]uint64), Actions: make(map[stats.Action]uint64), Kinds: []kindCount{}, Ended: []endCount{},
		Denials: words(stats.DenialKinds, t.Denials()), Refused: t.Refused(), Failures: words(stats.Failures, t.Failures()), Fetches: words(stats.FetchResults, t.Fetches()),
		Cache: words(stats.CacheResults, t.Cache()), Begun: words(stats.Transports, t.Begun()),
		Starts: words(stats.Starts, t.Starts()), Exits: words(stats.Exits, t.Exits()), Streams: t.Streams().Count,
	}
	t.Requests(func(method, class string, from stats.Histogram) {
		if c.Status[method] == nil {
			c.Status[method] = make(map[string]uint64)
		}
		c.Status[method][class] = from.Count
		c.Requests += from.Count
		c.Seconds += from.Sum.Seconds()
	})
	t.Challenges(func(scheme, code string, action stats.Action, n uint64) {
		c.Challenges += n
		c.Actions[action] += n
		c.Kinds = append(c.Kinds, kindCount{scheme, code, action, n})
	})
	t.Ended(func(transport stats.Transport, why stats.EndReason, n uint64) {
		c.Ended = append(c.Ended, endCount{transport, why, n})
	})
	c.Received, c.Sent = t.Bytes()
	return c
}

// words returns the words of a set that have a count.
func words[T ~string](set []T, n []uint64) map[T]uint64 {
	all := make(map[T]uint64)
	for i, word := range set {
		if n[i] > 0 {
			all[word] = n[i]
		}
	}
	return all
}
