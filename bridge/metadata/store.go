package metadata

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

// staleHold is how long what could not be refreshed, or had in part, is served
// before the upstream is asked again: else each request would wait for its
// timeout.
const staleHold = 30 * time.Second

// Store holds the metadata of one endpoint. Its methods may be called from
// several goroutines at once.
type Store struct {
	cfg        Config
	id         identity
	configured *document
	overlays   []Member
	reports    reporter

	mu      sync.Mutex
	closed  bool
	entries map[key]*entry
	flights map[key]*flight
	loose   int // flights for public URLs that are not fixed

	last atomic.Pointer[serverSeen]
}

// serverSeen is an authorization server and when it was seen.
type serverSeen struct {
	server *Server
	at     time.Time
	fixed  bool // for a public URL that is fixed
}

// remember keeps what public URLs that are not fixed go by. What one of them
// brought, which anyone can name, does not replace what is known of a fixed one.
func (s *Store) remember(pub Public, srv *Server, now time.Time) {
	if last := s.last.Load(); pub.Fixed || last == nil || !last.fixed || now.Sub(last.at) >= s.cfg.TTL {
		s.last.Store(&serverSeen{srv, now, pub.Fixed})
	}
}

// key is what a document is cached by.
type key struct {
	origin, path string
	fixed        bool
}

// entry is what is known of one fixed public URL.
type entry struct {
	outcome

	fetched time.Time // when outcome was had
	expires time.Time // when the upstream is asked again
	doubted bool      // the upstream has refused a token since
	// failure is the last one, and when it was.
	failure  string
	failedAt time.Time
}

// flight is a discovery that any number of requests wait for.
type flight struct {
	done   chan struct{} // closed when got is set
	got    entry
	cancel context.CancelFunc
	// waiting counts the requests that wait for it.
	waiting int
}

// endUnwanted ends the flight if nobody waits for it. The store's lock is held.
func (f *flight) endUnwanted() {
	if f.waiting == 0 {
		f.cancel()
	}
}

// leave is called by a request that waits no more.
func (s *Store) leave(f *flight) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f.waiting--; s.closed {
		f.endUnwanted()
	}
}

// New checks cfg and returns its store. Its error is a joined one, a line for
// each fault, with option and value. Nothing is fetched yet.
func New(cfg Config) (*Store, error) {
	limits := cfg.setDefaults()
	if cfg.Looked == nil {
		cfg.Looked = func(CacheResult) {}
	}
	if cfg.Fetched == nil {
		cfg.Fetched = func(FetchResult) {}
	}
	id, identity := cfg.identity()
	if err := errors.Join(cfg.checkDocument(), identity, limits); err != nil {
		return nil, err
	}
	s := &Store{
		cfg: cfg, id: id, overlays: overlays(&cfg),
		reports: reporter{log: cfg.Log},
		entries: make(map[key]*entry), flights: make(map[key]*flight),
	}
	if len(cfg.AuthorizationServers) > 0 {
		s.configured = generate(&cfg)
	}
	return s, nil
}

// Close ends every discovery that no request waits for. Requests that outlive
// the store, as they do when a configuration is replaced, are still answered; a
// discovery ends with the last of them, or by its time-out.
func (s *Store) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for _, f := range s.flights {
		f.endUnwanted()
	}
}

// Configured reports whether the document is made from the configuration alone.
func (s *Store) Configured() bool { return s.configured != nil }

// Known reports whether the endpoint has metadata: configured or discovered. It
// waits for a discovery until ctx ends; what could not be had is not known.
func (s *Store) Known(ctx context.Context, pub Public) bool {
	return s.lookup(ctx, pub).status == found
}

// KnownNow is [Store.Known] without a wait, and without beginning a discovery.
// What belongs to a public URL that is not fixed is never known before.
func (s *Store) KnownNow(pub Public) bool {
	if s.configured != nil {
		return true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.entries[pub.key()]
	return e != nil && e.status == found && time.Now().Before(s.usable(e))
}

// Warm begins a discovery for a fixed public URL, if one is due, and does not
// wait for it.
func (s *Store) Warm(pub Public) {
	if !pub.Fixed || s.configured != nil && !s.cfg.BridgeServer || s.cfg.Fetch == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.entries[pub.key()]; !s.closed && (e == nil || !time.Now().Before(e.expires)) {
		s.fly(pub)
	}
}

func (p Public) key() key { return key{p.Origin, p.Path, p.Fixed} }

// lookup returns the document for pub, from the cache or after a discovery.
// Where that fails, or ctx ends first, it is the stale one, if there is one.
func (s *Store) lookup(ctx context.Context, pub Public) entry {
	if s.configured != nil {
		now := time.Now()
		return entry{
			outcome: outcome{status: found, doc: s.configured, source: SourceConfigured},
			fetched: now, expires: now.Add(s.cfg.TTL),
		}
	}
	return s.lookupUpstream(ctx, pub)
}

// lookupUpstream is lookup for what the upstream itself has.
func (s *Store) lookupUpstream(ctx context.Context, pub Public) entry {
	if s.cfg.Fetch == nil {
		return entry{outcome: outcome{status: absent}}
	}
	s.mu.Lock()
	var stale entry
	if e := s.entries[pub.key()]; e != nil {
		if time.Now().Before(e.expires) {
			s.mu.Unlock()
			s.cfg.Looked(CacheHit)
			return *e
		}
		if e.worthKeeping() && time.Now().Before(s.usable(e)) {
			stale = e.stale()
		}
	}
	f := s.fly(pub)
	if f != nil {
		f.waiting++
	}
	s.mu.Unlock()
	if f == nil {
		s.reports.report(pub, Event{Kind: Busy, Reason: "too many discoveries"})
		s.cfg.Looked(CacheBusy)
		return stale
	}
	defer s.leave(f)
	select {
	case <-f.done:
		s.cfg.Looked(CacheMiss)
		return f.got
	case <-ctx.Done():
		s.cfg.Looked(CacheStale)
		return stale
	}
}

// Doubt says that the upstream has refused a client's token: where tokens come from
// may have changed. The next client that asks for the metadata has the upstream asked
// again before its time, if the last time went well.
func (s *Store) Doubt(pub Public) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.entries[pub.key()]; e != nil {
		e.doubted = e.failure == ""
	}
}

// reconsider makes what is doubted be asked for again.
func (s *Store) reconsider(pub Public) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.entries[pub.key()]; e != nil && e.doubted {
		e.doubted, e.expires = false, time.Now()
	}
}

// worthKeeping reports whether there is something to serve while the upstream
// cannot be asked.
func (e *entry) worthKeeping() bool { return e.status == found || e.server != nil && e.server.known }

// stale is the entry without what it cannot vouch for: that there is nothing.
func (e *entry) stale() entry {
	old := *e
	if old.status == absent {
		old.status = unavailable
	}
	return old
}

// loses reports whether old has what could not be had this time.
func (e *entry) loses(old *entry) bool {
	if e.status == unavailable && old.status == found {
		return true
	}
	if old.server == nil || !old.server.known {
		return false
	}
	if !e.server.Available() {
		return true
	}
	for path, d := range e.server.documents {
		if d.status == unavailable && old.server.documents[path].status == found {
			return true
		}
	}
	return false
}

// usable returns until when a document that was found may be served.
func (s *Store) usable(e *entry) time.Time {
	end := e.fetched.Add(s.cfg.TTL)
	if s.cfg.StaleIfError > 0 {
		end = end.Add(s.cfg.StaleIfError)
	}
	return end
}

// fly returns the flight for pub and begins one if there is none. It returns
// nil where there are too many. The lock is held.
func (s *Store) fly(pub Public) *flight {
	k := pub.key()
	if f := s.flights[k]; f != nil {
		return f
	}
	busy := s.loose >= s.cfg.MaxFlights
	if pub.Fixed {
		busy = len(s.flights)-s.loose >= s.cfg.MaxEntries
	}
	if busy {
		return nil
	}
	if !pub.Fixed {
		s.loose++
	}
	ctx, cancel := context.WithTimeout(context.Background(), s.cfg.Timeout)
	f := &flight{done: make(chan struct{}), cancel: cancel}
	s.flights[k] = f
	go func() {
		defer cancel()
		s.land(pub, f, s.discoverSafely(ctx, pub))
	}()
	return f
}

// discoverSafely keeps a panic of a transport from ending the whole process, as
// net/http does for requests.
func (s *Store) discoverSafely(ctx context.Context, pub Public) (out outcome) {
	defer func() {
		if recover() != nil {
			out = outcome{reason: "panic"}
			s.reports.report(pub, Event{Kind: Unavailable, Reason: out.reason})
		}
	}()
	return s.discover(ctx, pub)
}

// land ends a flight: it keeps what was found, and hands it to those who wait.
func (s *Store) land(pub Public, f *flight, out outcome) {
	now := time.Now()
	e := entry{outcome: out, fetched: now}
	switch out.status {
	case found:
		s.cfg.Fetched(FetchFound)
		e.expires = now.Add(s.cfg.TTL)
	case absent:
		s.cfg.Fetched(FetchAbsent)
		e.expires = now.Add(s.cfg.NegativeTTL)
	case unavailable:
		s.cfg.Fetched(FetchUnavailable)
		e.expires = now.Add(s.cfg.RetryAfter)
		e.failure, e.failedAt = out.reason, now
	}
	partial := out.server != nil && out.server.unavailable
	if partial && !out.server.known {
		e.expires = now.Add(s.cfg.RetryAfter)
	} else if hold := now.Add(staleHold); partial && hold.Before(e.expires) {
		e.expires = hold
	}
	if out.status != unavailable && !partial {
		s.reports.recovered(pub)
	}
	// That a server has nothing for one public URL says nothing of others: it
	// may be foreign to that one, or the upstream may refuse the host.
	if out.server.Available() && len(out.server.issuers) > 0 {
		s.remember(pub, out.server, now)
	}
	k := pub.key()
	s.mu.Lock()
	defer s.mu.Unlock()
	if old := s.entries[k]; old != nil && e.loses(old) {
		if end := s.usable(old); now.Before(end) {
			e.outcome, e.fetched = old.stale().outcome, old.fetched
			e.expires = now.Add(staleHold)
			if end.Before(e.expires) {
				e.expires = end
			}
		}
	}
	if pub.Fixed {
		s.keep(k, &e)
	} else {
		s.loose--
	}
	f.got = e
	delete(s.flights, k)
	close(f.done)
}

// keep puts an entry into the cache, in place of the oldest if it is full.
func (s *Store) keep(k key, e *entry) {
	if s.entries[k] == nil && len(s.entries) >= s.cfg.MaxEntries {
		var oldest key
		var at time.Time
		for k, e := range s.entries {
			if at.IsZero() || e.fetched.Before(at) {
				oldest, at = k, e.fetched
			}
		}
		delete(s.entries, oldest)
	}
	s.entries[k] = e
}

// Source says where a document came from.
type Source string

// The sources of a document.
const (
	SourceConfigured Source = "configured" // the operator's
	SourcePath       Source = "path"       // the upstream's path-inserted well-known URL
	SourceRoot       Source = "root"       // the upstream's root well-known URL
	SourceChallenge  Source = "challenge"  // named by the upstream's own 401
)

// State is what is known of one public URL, for an operator.
type State struct {
	// Known says that there is a document; Source where from and Age how old.
	Known  bool
	Source Source
	Age    time.Duration
	// Absent says that the upstream definitely has none.
	Absent bool
	// Expires is when the upstream is asked again; zero if it never was.
	Expires time.Time
	// LastError is a short phrase, empty after a success.
	LastError   string
	LastErrorAt time.Time
}

// State returns what is known now, without a wait.
func (s *Store) State(pub Public) State {
	if s.configured != nil {
		return State{Known: true, Source: SourceConfigured}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.entries[pub.key()]
	if e == nil {
		return State{}
	}
	now := time.Now()
	return s.state(e, now)
}

// state is what an entry says. The lock is held.
func (s *Store) state(e *entry, now time.Time) State {
	st := State{
		Absent: e.status == absent, Expires: e.expires,
		LastError: e.failure, LastErrorAt: e.failedAt,
	}
	if e.status == found && now.Before(s.usable(e)) {
		st.Known, st.Source, st.Age = true, e.source, now.Sub(e.fetched)
	}
	return st
}

// States returns the state of each public URL that something is known of.
func (s *Store) States() map[string]State {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	all := make(map[string]State, len(s.entries))
	for k, e := range s.entries {
		all[Public{Origin: k.origin, Path: k.path}.URL()] = s.state(e, now)
	}
	return all
}
