// Package keyset holds the public keys of one issuer.
//
// The keys are fetched when the first token needs them, and anew from time to time while
// tokens arrive. Nothing is fetched while no token does.
package keyset

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
)

const (
	// refreshAfter is the age at which keys are fetched again, in the background.
	refreshAfter = 5 * time.Minute
	// staleAfter is the age from which a token waits for that fetch. A key that the issuer
	// has withdrawn counts no longer than this.
	staleAfter = 2 * refreshAfter
	// outage is how much longer known keys count while the issuer cannot be asked.
	outage = time.Hour
	// betweenFetches is the least time between the starts of two fetches, whatever asks for
	// them: a token that names an unknown key, or an issuer that cannot be asked.
	betweenFetches = 10 * time.Second
	// maxTried bounds the keys that one signature is tried with.
	maxTried = 8
	// MaxKeyID bounds, in bytes, the key id of a token.
	MaxKeyID = 512
)

// ErrUnknownKey means that the issuer has no key that the token could be signed with.
var ErrUnknownKey = errors.New("the issuer has no such key")

// UnavailableError means that it is not known whether the issuer has the key, because the
// issuer could not be asked. The client is to try again, with the same token.
type UnavailableError struct {
	Cause      error
	RetryAfter time.Duration // at least a second
}

func (e *UnavailableError) Error() string { return "keys of the issuer: " + e.Cause.Error() }
func (e *UnavailableError) Unwrap() error { return e.Cause }

// Set is the keys of one issuer. Its methods may be called from several goroutines.
type Set struct {
	load   func(context.Context) ([]byte, error)
	report func(error)

	mu       sync.Mutex
	keys     []jose.JSONWebKey
	version  uint64             // of keys
	loaded   time.Time          // start of the last fetch that succeeded; zero if there is none
	tried    time.Time          // start of the last fetch
	failed   error              // of the last fetch
	fetching chan struct{}      // closed when the fetch in progress ends; nil if there is none
	cancel   context.CancelFunc // of the fetch in progress
	waiting  int                // calls of Find that wait for it
	closed   bool
}

// New returns the set of the keys in the JWK set (RFC 7517, section 5) that load returns.
// report may be nil; it is given the error of each fetch that fails, and nil after a fetch
// that succeeds where the one before it failed.
func New(load func(context.Context) ([]byte, error), report func(error)) *Set {
	if report == nil {
		report = func(error) {}
	}
	return &Set{load: load, report: report}
}

// Close ends a fetch that no call of Find waits for, and waits for its end. Requests may still
// be under way when a configuration is replaced. They get their keys: a fetch goes on while one
// of them waits for it, and Find may start another. Nothing is reported any longer.
func (s *Set) Close() {
	s.mu.Lock()
	s.closed = true
	ended := s.endIdle()
	s.mu.Unlock()
	if ended != nil {
		<-ended
	}
}

// endIdle ends the fetch in progress if the set is closed and no call of Find waits. It
// returns a channel that is closed when it has ended; nil if there is nothing to wait for.
// s.mu is held.
func (s *Set) endIdle() <-chan struct{} {
	if !s.closed || s.waiting > 0 || s.fetching == nil {
		return nil
	}
	s.cancel()
	return s.fetching
}

// Find returns the keys that a token with this algorithm and key id may be signed with, at
// least one. kid is empty if the token names none. The error is [ErrUnknownKey], an
// [UnavailableError], or the error of ctx.
func (s *Set) Find(ctx context.Context, alg, kid string) ([]jose.JSONWebKey, error) {
	for asked := false; ; asked = true {
		found, wait, err := s.look(alg, kid, asked)
		if wait == nil {
			return found, err
		}
		select {
		case <-wait:
		case <-ctx.Done():
			err = ctx.Err()
		}
		s.left()
		if err != nil {
			return nil, err
		}
	}
}

// left notes that a call of Find does not wait any more.
func (s *Set) left() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiting--
	s.endIdle()
}

// Version returns a number that changes with the keys, so that a caller can recognize results of
// older keys. It starts a fetch if one is due, as Find does, but does not wait for it. It returns
// false if the keys must not be used any longer without a fetch.
func (s *Set) Version() (version uint64, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	age := now.Sub(s.loaded)
	if age >= refreshAfter && !s.closed {
		s.fetch(now)
	}
	return s.version, !s.loaded.IsZero() && age < staleAfter
}

// look returns the keys that are known. If a fetch has to end first it returns a channel
// that is closed then, and [Set.left] has to follow. asked reports whether the caller has waited for a fetch already.
func (s *Set) look(alg, kid string, asked bool) (found []jose.JSONWebKey, wait <-chan struct{}, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	age := now.Sub(s.loaded)
	known := !s.loaded.IsZero() && age < staleAfter+outage
	if known {
		found = matching(s.keys, alg, kid)
	}
	fresh := known && age < staleAfter
	switch {
	case len(found) > 0 && fresh:
		if age >= refreshAfter && !s.closed {
			s.fetch(now)
		}
		return found, nil, nil
	case !asked:
		if done := s.fetch(now); done != nil {
			s.waiting++
			return nil, done, nil
		}
	}
	switch {
	case len(found) > 0:
		return found, nil, nil // the issuer cannot be asked at present
	case s.failed != nil:
		return nil, nil, &UnavailableError{Cause: s.failed, RetryAfter: max(time.Second, betweenFetches-now.Sub(s.tried))}
	}
	return nil, nil, ErrUnknownKey
}

// fetch starts a fetch if none is in progress and the last one is long enough ago. It
// returns a channel that is closed when the fetch in progress ends; nil if there is none.
// s.mu is held.
func (s *Set) fetch(now time.Time) <-chan struct{} {
	if s.fetching != nil {
		return s.fetching
	}
	if !s.tried.IsZero() && now.Sub(s.tried) < betweenFetches {
		return nil
	}
	s.tried = now
	done := make(chan struct{})
	var ctx context.Context
	ctx, s.cancel = context.WithCancel(context.Background())
	cancel := s.cancel
	s.fetching = done
	go func() {
		defer close(done)
		defer cancel()
		keys, err := s.read(ctx)
		s.mu.Lock()
		changed := err != nil || s.failed != nil
		s.failed = err
		if err == nil {
			if !same(s.keys, keys) {
				s.version++
			}
			s.keys, s.loaded = keys, now
		}
		closed := s.closed
		s.mu.Unlock()
		if changed && !closed {
			s.report(err) // before the next fetch can start, so that reports are in order
		}
		s.mu.Lock()
		s.fetching = nil
		s.mu.Unlock()
	}()
	return done
}

func (s *Set) read(ctx context.Context) ([]jose.JSONWebKey, error) {
	doc, err := s.load(ctx)
	if err != nil {
		return nil, err
	}
	keys, err := Parse(doc)
	if err != nil {
		return nil, fmt.Errorf("the document with the keys: %w", err)
	}
	return keys, nil
}

// same reports whether two sets have the same keys in the same order.
func same(a, b []jose.JSONWebKey) bool {
	return slices.EqualFunc(a, b, func(x, y jose.JSONWebKey) bool {
		return x.KeyID == y.KeyID && x.Algorithm == y.Algorithm && equal(x.Key, y.Key)
	})
}

func equal(x, y any) bool {
	key, ok := x.(interface{ Equal(crypto.PublicKey) bool })
	return ok && key.Equal(y)
}

// matching returns the keys that a token with this algorithm and key id may be signed with.
func matching(keys []jose.JSONWebKey, alg, kid string) []jose.JSONWebKey {
	var found []jose.JSONWebKey
	for i := range keys {
		if (kid == "" || keys[i].KeyID == kid) && fits(&keys[i], alg) {
			if found = append(found, keys[i]); len(found) == maxTried {
				break
			}
		}
	}
	return found
}
