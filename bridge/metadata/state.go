package metadata

import "time"

// Source says where a document came from.
type Source string

// The sources of a document.
const (
	SourceConfigured Source = "configured" // made from the configuration
	SourcePath       Source = "path"       // the upstream's path-inserted well-known URL
	SourceRoot       Source = "root"       // the upstream's root well-known URL
	SourceChallenge  Source = "challenge"  // named by the upstream's own 401
)

// State is what is known of one public URL, for an operator.
type State struct {
	// Known says that there is a document. Source says where it came from, and Age how old
	// it is.
	Known  bool
	Source Source
	Age    time.Duration
	// Absent says that the upstream has no document.
	Absent bool
	// Expires is when the upstream is asked again; zero if it never was.
	Expires time.Time
	// LastError is a short phrase, empty after a success.
	LastError   string
	LastErrorAt time.Time
	// Foreign is the resource of the document if it is not the upstream's own.
	Foreign string
}

// stateOf returns what is known of pub now, without a wait.
func (c *cache) stateOf(pub Public) State {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	return c.withExtra(keyOf(pub.own()), c.state(c.entries[keyOf(pub.own())], now), now)
}

// state returns the state of an entry for the operator. The lock must be held.
func (c *cache) state(e *entry, now time.Time) State {
	if e == nil {
		return State{}
	}
	st := State{
		Absent: e.status == absent, Expires: e.expires,
		LastError: e.failure, LastErrorAt: e.failedAt, Foreign: e.detail,
	}
	if st.LastError == "" && e.server != nil && !e.server.known {
		if reason := e.server.failure(); reason != "" {
			st.LastError, st.LastErrorAt = ofServer+reason, e.fetched
		}
	}
	if e.status == found && now.Before(c.usable(e)) {
		st.Known, st.Source, st.Age = true, e.source, now.Sub(e.fetched)
	}
	return st
}

// ofServer is the start of LastError if the error is about the metadata of an authorization
// server.
const ofServer = "metadata of the authorization server "

// withExtra adds the failures of extra documents to the state of the endpoint's own
// document. The lock must be held.
func (c *cache) withExtra(own key, st State, now time.Time) State {
	for _, extras := range []map[key]*entry{c.named.entries, c.queries.entries} {
		for k, e := range extras {
			if k.query, k.named = "", (target{}); k != own {
				continue
			}
			extra := c.state(e, now)
			if !st.Known && !st.Absent && extra.Known {
				extra.LastError, extra.LastErrorAt = st.LastError, st.LastErrorAt
				st = extra
			}
			if st.LastError == "" && e.failure != "" {
				st.LastError, st.LastErrorAt, st.Foreign = e.failure, e.failedAt, e.detail
			}
		}
	}
	for k, e := range c.entries {
		if k.relay && e.failure != "" && st.LastError == "" && (key{origin: k.origin, path: k.path, fixed: k.fixed}) == own {
			st.LastError, st.LastErrorAt = ofServer+e.failure, e.failedAt
		}
	}
	return st
}

// states returns the state of each public URL in the cache.
func (c *cache) states() map[string]State {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	all := make(map[string]State, len(c.entries))
	for _, entries := range []map[key]*entry{c.entries, c.named.entries, c.queries.entries} {
		for k := range entries {
			own := key{origin: k.origin, path: k.path, fixed: k.fixed}
			if url := (Public{Origin: k.origin, Path: k.path}).URL(); all[url] == (State{}) {
				all[url] = c.withExtra(own, c.state(c.entries[own], now), now)
			}
		}
	}
	return all
}
