package metadata

import (
	"context"
	"errors"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/origin"
)

// Store holds the metadata of one endpoint. Its methods may be called from
// several goroutines at once.
type Store struct {
	cfg        *Config
	configured *document // made from the configuration; nil if the upstream is searched
	up         *upstream
	finder     *finder
	cache      *cache

	publics origin.Memo // parses public origins
	named   origin.Memo // parses the metadata URLs of challenges
}

// New checks cfg and returns its store. Its error joins one line for each fault, with option
// and value. Nothing is fetched yet.
func New(cfg Config) (*Store, error) {
	limits := cfg.setDefaults()
	if cfg.Looked == nil {
		cfg.Looked = func(CacheResult) {}
	}
	if cfg.Fetched == nil {
		cfg.Fetched = func(FetchResult) {}
	}
	up, names := newUpstream(&cfg)
	if err := errors.Join(cfg.checkDocument(), names, limits); err != nil {
		return nil, err
	}
	s := &Store{cfg: &cfg, up: up}
	if len(cfg.AuthorizationServers) > 0 {
		s.configured = generate(&cfg)
	}
	reports := &reporter{log: cfg.Log}
	maps := mapper{up: up, keepResource: cfg.KeepResource, overlays: overlays(&cfg)}
	s.finder = &finder{cfg: &cfg, configured: s.configured, up: up, maps: maps, reports: reports}
	s.cache = newCache(&cfg, s.finder.findSafely, reports)
	return s, nil
}

// Close ends every discovery that no request waits for. Requests that outlive the store, as
// they do when a configuration is replaced, still get their answer.
func (s *Store) Close() { s.cache.close() }

// Configured reports whether the document is made from the configuration alone.
func (s *Store) Configured() bool { return s.configured != nil }

// Names returns the names of the upstream.
func (s *Store) Names() *origin.Names { return s.up.names }

// Known reports whether the endpoint has metadata, configured or discovered. It waits for a
// discovery until ctx ends.
func (s *Store) Known(ctx context.Context, pub Public) bool {
	return s.lookup(ctx, pub.own()).status == found
}

// KnownNow is like [Store.Known] but looks only into the cache.
func (s *Store) KnownNow(pub Public) bool { return s.configured != nil || s.cache.knownNow(pub) }

// Warm starts a discovery for a fixed public URL if one is due. It does not wait.
func (s *Store) Warm(pub Public) {
	if pub.Fixed && (s.configured == nil || s.cfg.BridgeServer) && s.cfg.Fetch != nil {
		s.cache.warm(pub)
	}
}

// Refetch marks the documents of pub to be fetched again before they expire, because the
// upstream has refused a client's token: its authorization server may have changed. The next
// client that asks for the metadata waits for that. A document whose last discovery failed
// is not marked.
func (s *Store) Refetch(pub Public) { s.cache.refetch(pub) }

// State returns what is known now, without a wait.
func (s *Store) State(pub Public) State {
	if s.configured != nil {
		return State{Known: true, Source: SourceConfigured}
	}
	return s.cache.stateOf(pub)
}

// States returns the state of each public URL in the cache.
func (s *Store) States() map[string]State { return s.cache.states() }

// lookup returns the document for pub: the configured one, or one from the cache or a
// discovery. If that fails, or ctx ends first, it returns the stale entry, if there is one.
func (s *Store) lookup(ctx context.Context, pub Public) entry {
	if s.configured != nil {
		now := time.Now()
		return entry{
			outcome: outcome{status: found, doc: s.configured, source: SourceConfigured},
			fetched: now, expires: now.Add(s.cfg.TTL),
		}
	}
	return s.cache.lookup(ctx, pub)
}
