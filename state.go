package mcpauthbridge

import (
	"sort"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/metadata"
)

// endpointStatus is what the operator is shown of an endpoint.
type endpointStatus struct {
	// Endpoint is its name: the public URL, as far as the configuration tells. It is
	// the label of its metrics.
	Endpoint  string      `json:"endpoint"`
	Upstream  string      `json:"upstream"` // http, sse, stdio or middleware
	Challenge bridge.Mode `json:"challenge"`
	// Loaded is when the configuration was loaded, and Since when what is remembered
	// begins.
	Loaded time.Time     `json:"loaded"`
	Since  time.Time     `json:"since"`
	Now    nowStatus     `json:"now"`
	Load   countsStatus  `json:"since_load"`
	Total  countsStatus  `json:"since_start"`
	Last   []challengeOf `json:"challenges"`

	Refused   []refusedStatus  `json:"refused_origins"`
	Metadata  []metadataStatus `json:"metadata"`
	Upstreams []upstreamStatus `json:"upstreams"`
}

// nowStatus is what is under way.
type nowStatus struct {
	Requests int        `json:"requests"`
	Streams  int        `json:"streams"`
	Oldest   *time.Time `json:"oldest_stream,omitempty"`
	Sessions int        `json:"sessions"`
	Servers  int        `json:"servers"` // programs that run, or servers that are connected to
}

// countsStatus is what was counted.
type countsStatus struct {
	Requests   uint64                       `json:"requests"`
	Seconds    float64                      `json:"seconds"` // all their durations
	Status     map[string]map[string]uint64 `json:"status"`  // of requests, by method and class
	Challenges uint64                       `json:"challenges"`
	Actions    map[bridge.Action]uint64     `json:"actions"` // of challenges
	Kinds      []kindCount                  `json:"kinds"`   // of challenges
	Refused    uint64                       `json:"origins_refused"`
	Failures   map[bridge.Failure]uint64    `json:"upstream_failures"`
	Fetches    map[string]uint64            `json:"metadata_fetches"`
	Cache      map[string]uint64            `json:"metadata_cache"`
	Begun      map[bridge.Transport]uint64  `json:"sessions_begun"`
	Ended      []endCount                   `json:"sessions_ended"`
	Starts     map[string]uint64            `json:"server_starts"`
	Exits      map[string]uint64            `json:"server_exits"`
	Streams    uint64                       `json:"streams_ended"`
	Received   uint64                       `json:"bytes_received"`
	Sent       uint64                       `json:"bytes_sent"`
}

type kindCount struct {
	Scheme string        `json:"scheme"`
	Error  string        `json:"error"`
	Action bridge.Action `json:"action"`
	Count  uint64        `json:"count"`
}

type endCount struct {
	Transport bridge.Transport `json:"transport"`
	Reason    bridge.EndReason `json:"reason"`
	Count     uint64           `json:"count"`
}

// challengeOf is a challenge that is remembered.
type challengeOf struct {
	First  time.Time     `json:"first"`
	Last   time.Time     `json:"last"`
	Count  uint64        `json:"count"`
	Method string        `json:"method"`
	Status int           `json:"upstream_status"`
	Given  int           `json:"status"`
	Action bridge.Action `json:"action"`
	Reason bridge.Reason `json:"reason,omitempty"`
	URL    string        `json:"url,omitempty"` // the endpoint, as the client asked for it
	Sent   []string      `json:"upstream_sent"`
	Lines  []string      `json:"client_got"`
}

type refusedStatus struct {
	Origin string    `json:"origin"`
	Host   string    `json:"host"`
	Add    string    `json:"add,omitempty"` // the line that would allow it, where one can
	First  time.Time `json:"first"`
	Last   time.Time `json:"last"`
	Count  uint64    `json:"count"`
}

// metadataStatus is what is known of the metadata of one public URL.
type metadataStatus struct {
	URL         string          `json:"url"`
	Known       bool            `json:"known"`
	Source      metadata.Source `json:"source,omitempty"`
	Age         float64         `json:"age_seconds"`
	Absent      bool            `json:"absent"`
	Expires     *time.Time      `json:"expires,omitempty"`
	LastError   string          `json:"last_error,omitempty"`
	LastErrorAt *time.Time      `json:"last_error_at,omitempty"`
}

// upstreamStatus is one address of the upstream: what Caddy's proxy knows of it, and
// when it has failed.
type upstreamStatus struct {
	Address  string         `json:"address"`
	Healthy  bool           `json:"healthy"`
	Requests int            `json:"requests"`
	Fails    int            `json:"fails"`
	Failing  *time.Time     `json:"failing_since,omitempty"`
	Failure  *time.Time     `json:"last_failure,omitempty"`
	Why      bridge.Failure `json:"last_failure_reason,omitempty"`
	Failures uint64         `json:"failures"`
}

// status gathers what is known of the endpoint.
func (h *Handler) status() endpointStatus {
	memory := h.memory.Load()
	total, now := memory.Totals()
	s := endpointStatus{
		Endpoint: h.label(), Upstream: string(h.upstream.kind()), Loaded: stamp(h.loaded), Since: stamp(memory.Since()),
		Now:  nowStatus{Requests: now.Requests, Streams: now.Streams, Oldest: stampOf(now.Oldest)},
		Load: countsOf(h.counts.Totals()), Total: countsOf(total),
		Last: []challengeOf{}, Refused: []refusedStatus{}, Metadata: h.metadataStatuses(), Upstreams: h.upstreamStatuses(memory),
	}
	s.Challenge, _ = h.Challenge.mode()
	if h.isMiddleware() {
		s.Upstream = "middleware"
	}
	if h.hub != nil {
		s.Now.Sessions, s.Now.Servers = len(h.hub.List()), h.hub.Len()
	}
	for _, c := range memory.Challenges() {
		s.Last = append(s.Last, challengeOf{
			First: stamp(c.First), Last: stamp(c.Last), Count: c.Count, Method: c.Method, Status: c.Status, Given: c.Given,
			Action: c.Action, Reason: c.Reason, URL: c.At, Sent: c.Sent, Lines: c.Lines,
		})
	}
	for _, o := range memory.Origins() {
		s.Refused = append(s.Refused, refusedStatus{o.Origin, o.Host, allowingLine(o.Origin, o.Host), stamp(o.First), stamp(o.Last), o.Count})
	}
	return s
}

func (h *Handler) metadataStatuses() []metadataStatus {
	all := []metadataStatus{}
	if h.metadataOff() {
		return all
	}
	if h.store.Configured() {
		return append(all, metadataStatus{URL: h.label(), Known: true, Source: metadata.SourceConfigured})
	}
	for url, st := range h.store.States() {
		all = append(all, metadataStatus{
			URL: url, Known: st.Known, Source: st.Source, Age: st.Age.Round(time.Millisecond).Seconds(), Absent: st.Absent, Expires: stampOf(st.Expires),
			LastError: st.LastError, LastErrorAt: stampOf(st.LastErrorAt),
		})
	}
	sort.Slice(all, func(i, j int) bool { return all[i].URL < all[j].URL })
	return all
}

func (h *Handler) upstreamStatuses(memory *bridge.Memory) []upstreamStatus {
	all := []upstreamStatus{}
	failed := make(map[string]bridge.UpstreamState)
	for _, u := range memory.Upstreams() {
		failed[u.Address] = u
	}
	add := func(s upstreamStatus) {
		u := failed[s.Address]
		s.Failing, s.Failure, s.Why, s.Failures = stampOf(u.Failing), stampOf(u.Failure), u.Why, u.Failures
		all = append(all, s)
	}
	if h.ReverseProxy == nil {
		return all
	}
	for _, u := range h.ReverseProxy.Upstreams {
		s := upstreamStatus{Address: u.Dial, Healthy: u.Healthy()}
		if u.Host != nil {
			s.Requests, s.Fails = u.Host.NumRequests(), u.Host.Fails()
		}
		add(s)
		delete(failed, u.Dial)
	}
	for address, u := range failed { // of dynamic upstreams
		add(upstreamStatus{Address: address, Healthy: u.Failing.IsZero()})
	}
	sort.SliceStable(all, func(i, j int) bool { return all[i].Address < all[j].Address })
	return all
}

// countsOf puts counts into the words that they are shown with. What is zero is left
// out where there are many words.
func countsOf(t bridge.Totals) countsStatus {
	c := countsStatus{
		Status: make(map[string]map[string]uint64), Actions: make(map[bridge.Action]uint64), Kinds: []kindCount{}, Ended: []endCount{},
		Refused: t.Refused(), Failures: words(bridge.Failures, t.Failures()), Fetches: words(bridge.FetchResults, t.Fetches()),
		Cache: words(bridge.CacheResults, t.Cache()), Begun: words(bridge.Transports, t.Begun()),
		Starts: words(bridge.Starts, t.Starts()), Exits: words(bridge.Exits, t.Exits()), Streams: t.Streams().Count,
	}
	t.Requests(func(method, class string, from bridge.Histogram) {
		if c.Status[method] == nil {
			c.Status[method] = make(map[string]uint64)
		}
		c.Status[method][class] = from.Count
		c.Requests += from.Count
		c.Seconds += from.Sum.Seconds()
	})
	t.Challenges(func(scheme, code string, action bridge.Action, n uint64) {
		c.Challenges += n
		c.Actions[action] += n
		c.Kinds = append(c.Kinds, kindCount{scheme, code, action, n})
	})
	t.Ended(func(transport bridge.Transport, why bridge.EndReason, n uint64) {
		c.Ended = append(c.Ended, endCount{transport, why, n})
	})
	c.Received, c.Sent = t.Bytes()
	return c
}

func words[T ~string](set []T, n []uint64) map[T]uint64 {
	all := make(map[T]uint64)
	for i, word := range set {
		if n[i] > 0 {
			all[word] = n[i]
		}
	}
	return all
}
