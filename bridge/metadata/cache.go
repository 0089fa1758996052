package metadata

import (
	"context"
	"maps"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// staleHold is how long the cache serves a document that could not be refreshed, or that is
// incomplete, before it asks the upstream again. Without it each request would wait for a
// timeout.
const staleHold = 30 * time.Second

// cache keeps what discoveries have found, by public URL. It runs at most one discovery at a
// time for each key.
type cache struct {
	cfg     *Config
	find    func(ctx context.Context, pub Public) outcome
	reports *reporter

	mu      sync.Mutex
	closed  bool
	entries map[key]*entry // of the endpoint's own documents
	flights map[key]*flight
	unfixed int // flights for public URLs that are not fixed
	// queries has documents for a query, which clients can make up; named has those that a
	// challenge has named, for which a client needs an answer of the upstream. Neither takes
	// anything from the other.
	queries, named extras

	last atomic.Pointer[serverSeen]
}

func newCache(cfg *Config, find func(context.Context, Public) outcome, reports *reporter) *cache {
	return &cache{
		cfg: cfg, find: find, reports: reports,
		entries: make(map[key]*entry), flights: make(map[key]*flight),
		queries: extras{entries: make(map[key]*entry)}, named: extras{entries: make(map[key]*entry)},
	}
}

// extras are documents other than the endpoint's own.
type extras struct {
	entries map[key]*entry
	flights int // for fixed public URLs
	starts  allowance
}

// key is the key of a document in the cache.
type key struct {
	origin, path string
	fixed        bool
	query        string
	named        target
	relay        bool
}

// extra returns where a document is kept that is not the endpoint's own; nil if k is the key of one
// that is.
func (c *cache) extra(k key) *extras {
	switch {
	case k.named != (target{}) && !k.relay:
		return &c.named
	case k.query != "":
		return &c.queries
	}
	return nil
}

// keyOf returns the key of the document that pub leads to.
func keyOf(p Public) key { return key{p.Origin, p.Path, p.Fixed, p.Query, p.named, p.relay} }

// entry returns the cached entry for k, or nil. The lock must be held.
func (c *cache) entry(k key) *entry {
	if x := c.extra(k); x != nil {
		return x.entries[k]
	}
	return c.entries[k]
}

// entry is what is known of one public URL.
type entry struct {
	outcome

	fetched time.Time // when outcome was had
	expires time.Time // when the upstream is asked again
	refetch bool      // marked by [Store.Refetch]
	// failure is the reason why the last discovery failed. It is empty after a success.
	failure  string
	failedAt time.Time
}

// worthKeeping reports whether e has a document to serve while the upstream cannot be asked.
func (e *entry) worthKeeping() bool { return e.status == found || e.server != nil && e.server.known }

// stale returns e for use after it has expired. An absent document becomes unavailable: an
// expired entry does not prove that the upstream still has none.
func (e *entry) stale() entry {
	old := *e
	if old.status == absent {
		old.status = unavailable
	}
	return old
}

// loses reports whether old has a document that e failed to get.
func (e *entry) loses(old *entry) bool {
	if (e.status != found && e.status != absent || e.unsure) && old.status == found {
		return true
	}
	if old.server == nil || !old.server.known {
		return false
	}
	if !e.server.Available() {
		return true
	}
	for path, d := range e.server.documents {
		if (d.status == unavailable || d.status == unusable) && old.server.documents[path].status == found {
			return true
		}
	}
	return false
}

// flight is a discovery in progress, which any number of requests may wait for.
type flight struct {
	done   chan struct{} // closed when got is set
	got    entry
	cancel context.CancelFunc
	// waiting is the number of requests that wait for done.
	waiting int
}

// endUnwanted ends the flight if no request waits for it. The cache's lock is held.
func (f *flight) endUnwanted() {
	if f.waiting == 0 {
		f.cancel()
	}
}

// leave is called by a request that no longer waits for f.
func (c *cache) leave(f *flight) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if f.waiting--; c.closed {
		f.endUnwanted()
	}
}

// close ends every discovery that no request waits for. Requests that outlive the cache, as
// they do when a configuration is replaced, still get their answer; their discovery ends
// with the last of them, or by its timeout.
func (c *cache) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	for _, f := range c.flights {
		f.endUnwanted()
	}
}

// lookup returns what the upstream has for pub, from the cache or after a discovery. If that
// fails, or ctx ends first, it returns the stale entry, if there is one.
func (c *cache) lookup(ctx context.Context, pub Public) entry {
	if c.cfg.Fetch == nil {
		return entry{outcome: outcome{status: absent}}
	}
	c.mu.Lock()
	var stale entry
	if e := c.entry(keyOf(pub)); e != nil {
		if time.Now().Before(e.expires) {
			c.mu.Unlock()
			c.cfg.Looked(CacheHit)
			return *e
		}
		if e.worthKeeping() && time.Now().Before(c.usable(e)) {
			stale = e.stale()
		}
	}
	f := c.fly(pub)
	if f != nil {
		f.waiting++
	}
	c.mu.Unlock()
	if f == nil {
		c.reports.report(pub, Event{Kind: Busy, Reason: "too many discoveries"})
		c.cfg.Looked(CacheBusy)
		return stale
	}
	defer c.leave(f)
	select {
	case <-f.done:
		c.cfg.Looked(CacheMiss)
		return f.got
	case <-ctx.Done():
		c.cfg.Looked(CacheStale)
		return stale
	}
}

// refetch is [Store.Refetch].
func (c *cache) refetch(pub Public) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, k := range []key{keyOf(pub.own()), keyOf(pub)} {
		if e := c.entry(k); e != nil {
			e.refetch = e.failure == ""
		}
	}
}

// expireRefetch expires the entry for pub if it is marked.
func (c *cache) expireRefetch(pub Public) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.entry(keyOf(pub)); e != nil && e.refetch {
		e.refetch, e.expires = false, time.Now()
	}
}

// leadsTo reports whether the cached document for pub came from t, or the upstream's own
// challenge names t. If no document is cached it returns unknown.
func (c *cache) leadsTo(pub Public, t target, unknown bool) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.entry(keyOf(pub))
	if e == nil || e.status != found {
		return unknown
	}
	return sameDocument(e.from, t) || sameDocument(e.named, t)
}

// sameDocument reports whether a and b differ at most in a final slash of the path.
func sameDocument(a, b target) bool {
	pathA, queryA, _ := strings.Cut(a.path, "?")
	pathB, queryB, _ := strings.Cut(b.path, "?")
	return a.origin == b.origin && queryA == queryB && strings.TrimSuffix(pathA, "/") == strings.TrimSuffix(pathB, "/")
}

// usable returns until when the document of e may be served.
func (c *cache) usable(e *entry) time.Time {
	end := e.fetched.Add(c.cfg.TTL)
	if c.cfg.StaleIfError > 0 {
		end = end.Add(c.cfg.StaleIfError)
	}
	return end
}

// fly returns the flight for pub, and starts one if there is none. It returns nil if too
// many are in progress. The lock must be held.
func (c *cache) fly(pub Public) *flight {
	k := keyOf(pub)
	if f := c.flights[k]; f != nil {
		return f
	}
	if c.busy(k) {
		return nil
	}
	if x := c.extra(k); !pub.Fixed {
		c.unfixed++
	} else if x != nil {
		x.flights++
	}
	ctx, cancel := context.WithTimeout(context.Background(), c.cfg.Timeout)
	f := &flight{done: make(chan struct{}), cancel: cancel}
	c.flights[k] = f
	go func() {
		defer cancel()
		c.land(pub, f, c.find(ctx, pub))
	}()
	return f
}

// busy reports whether too many discoveries are in progress to start one for k. The lock
// must be held.
func (c *cache) busy(k key) bool {
	x := c.extra(k)
	switch {
	case x != nil && !x.starts.take(time.Now(), extraSearches, extraEvery):
		return true
	case !k.fixed:
		return c.unfixed >= c.cfg.MaxFlights
	case x != nil:
		return x.flights >= c.cfg.MaxFlights
	}
	return len(c.flights)-c.unfixed-c.queries.flights-c.named.flights >= c.cfg.MaxEntries
}

// land ends a flight: it caches the outcome and hands it to the requests that wait.
func (c *cache) land(pub Public, f *flight, out outcome) {
	now := time.Now()
	e := entry{outcome: out, fetched: now}
	switch out.status {
	case found:
		c.cfg.Fetched(FetchFound)
		e.expires = now.Add(c.cfg.TTL)
		if out.reason != "" { // the document is wrong and served anyway
			e.failure, e.failedAt = out.reason, now
		}
	case absent:
		c.cfg.Fetched(FetchAbsent)
		e.expires = now.Add(c.cfg.NegativeTTL)
	case unavailable:
		c.cfg.Fetched(FetchUnavailable)
		e.expires = now.Add(c.cfg.RetryAfter)
		e.failure, e.failedAt = out.reason, now
	case unusable:
		c.cfg.Fetched(FetchUnavailable)
		e.expires = now.Add(c.cfg.NegativeTTL)
		e.failure, e.failedAt = out.reason, now
	}
	partial := out.server != nil && out.server.unavailable
	if partial && !out.server.known {
		e.expires = now.Add(c.cfg.RetryAfter)
	} else if hold := now.Add(staleHold); partial && hold.Before(e.expires) {
		e.expires = hold
	}
	if (out.status == found || out.status == absent) && !partial {
		c.reports.recovered(pub)
	}
	// A server without documents for one public URL may have some for others: this URL may be
	// foreign to it, or the upstream may refuse the host.
	if out.server.Available() && len(out.server.issuers) > 0 {
		c.remember(pub, out.server, now)
	}
	k := keyOf(pub)
	c.mu.Lock()
	defer c.mu.Unlock()
	if old := c.entry(k); old != nil && e.loses(old) {
		if end := c.usable(old); now.Before(end) {
			e.outcome, e.fetched = old.stale().outcome, old.fetched
			e.expires = now.Add(staleHold)
			if end.Before(e.expires) {
				e.expires = end
			}
		}
	}
	switch x := c.extra(k); {
	case !pub.Fixed:
		c.unfixed--
	case x != nil:
		x.flights--
		x.keep(k, &e, c)
	default:
		c.keep(k, &e)
	}
	f.got = e
	delete(c.flights, k)
	close(f.done)
}

// keep caches an entry. If the cache is full it drops the oldest one.
func (c *cache) keep(k key, e *entry) {
	if c.entries[k] == nil && len(c.entries) >= c.cfg.MaxEntries {
		var oldest key
		var at time.Time
		for k, e := range c.entries {
			if at.IsZero() || e.fetched.Before(at) {
				oldest, at = k, e.fetched
			}
		}
		delete(c.entries, oldest)
	}
	c.entries[k] = e
}

// keep caches an entry for an extra document if there is room. An entry in use is not dropped for a
// query that a client has made up.
func (x *extras) keep(k key, e *entry, c *cache) {
	if x.entries[k] == nil && len(x.entries) >= c.cfg.MaxEntries {
		now := time.Now()
		maps.DeleteFunc(x.entries, func(_ key, old *entry) bool {
			return now.After(old.expires) && (old.status != found || now.After(c.usable(old)))
		})
		if len(x.entries) >= c.cfg.MaxEntries {
			maps.DeleteFunc(x.entries, func(_ key, old *entry) bool { return now.After(old.expires) })
		}
		if len(x.entries) >= c.cfg.MaxEntries {
			return
		}
	}
	x.entries[k] = e
}

// serverSeen is an authorization server and when it was last seen.
type serverSeen struct {
	server *Server
	at     time.Time
	fixed  bool // seen for a fixed public URL
}

// remember stores the authorization server that public URLs without an entry use. A client
// can name any host, so what was found for a public URL that is not fixed does not replace
// what was found for a fixed one.
func (c *cache) remember(pub Public, srv *Server, now time.Time) {
	if last := c.last.Load(); pub.Fixed || last == nil || !last.fixed || now.Sub(last.at) >= c.cfg.TTL {
		c.last.Store(&serverSeen{srv, now, pub.Fixed})
	}
}

const (
	// extraSearches is how many discoveries for extra documents of a kind may start at once; after
	// that one more may start every extraEvery. Clients can make up queries.
	extraSearches = 64
	extraEvery    = time.Second
)

// allowance limits how often something happens. The zero value allows a full burst.
type allowance struct {
	spent float64
	at    time.Time
}

// take reports whether it may happen now, and counts it.
func (a *allowance) take(now time.Time, burst int, every time.Duration) bool {
	a.spent = max(0, a.spent-float64(now.Sub(a.at))/float64(every))
	a.at = now
	if a.spent > float64(burst-1) {
		return false
	}
	a.spent++
	return true
}

// knownNow reports whether a document for pub is cached and may be served.
func (c *cache) knownNow(pub Public) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.entries[keyOf(pub.own())]
	return e != nil && e.status == found && time.Now().Before(c.usable(e))
}

// warm begins a discovery for pub, if its entry is missing or has expired.
func (c *cache) warm(pub Public) {
	pub = pub.own()
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.entries[keyOf(pub)]; !c.closed && (e == nil || !time.Now().Before(e.expires)) {
		c.fly(pub)
	}
}

// serverNow is [Store.ServerNow].
func (c *cache) serverNow(pub Public) *Server {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.entries[keyOf(pub.own())]; e != nil {
		return e.server
	}
	return nil
}

// route is [Store.Route].
func (c *cache) route(path string, pub Public) (kind RouteKind, seen, fresh bool) {
	if pub.Fixed {
		c.mu.Lock()
		defer c.mu.Unlock()
		e := c.entries[keyOf(pub.own())]
		if e == nil || !e.server.Available() {
			return RouteNone, false, false
		}
		return e.server.Route(path), true, time.Now().Before(e.expires)
	}
	last := c.last.Load()
	if last == nil {
		return RouteNone, false, false
	}
	return last.server.Route(path), true, time.Since(last.at) < c.cfg.TTL
}
