package upstream

import (
	"sync"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/stats"
)

// Ending is the end of a [Peer]. Many can wait for it without a goroutine each.
type Ending struct {
	done  chan struct{}
	mu    sync.Mutex
	over  bool
	after []func()
}

// NewEnding returns the Ending of a peer that has not ended.
func NewEnding() *Ending { return &Ending{done: make(chan struct{})} }

// Done implements [Peer].
func (e *Ending) Done() <-chan struct{} { return e.done }

// AfterDone calls f once Done is closed.
func (e *Ending) AfterDone(f func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.over {
		go f()
		return
	}
	e.after = append(e.after, f)
}

// End notes that the peer has ended, and calls the functions that wait for that. It must be
// called once.
func (e *Ending) End() {
	close(e.done)
	e.mu.Lock()
	e.over = true
	e.mu.Unlock()
	for _, f := range e.after {
		f()
	}
}

// AfterDone calls f when a peer has ended.
func AfterDone(peer Peer, f func()) {
	if p, ok := peer.(interface{ AfterDone(f func()) }); ok {
		p.AfterDone(f)
		return
	}
	go func() {
		<-peer.Done()
		f()
	}()
}

// Exiting is a peer whose server is a program, which ends.
type Exiting interface {
	// NoteEnd notes why the peer is about to be closed. The first reason counts, unless the
	// program has ended before.
	NoteEnd(why stats.ExitCause)
	// HowEnded describes how the program has ended, such as "exit status 1". It is empty while the
	// program runs. A client may see it.
	HowEnded() string
}

// NoteEnd notes why a peer is about to be closed, if its server is a program.
func NoteEnd(peer Peer, why stats.ExitCause) {
	if p, ok := behind[Exiting](peer); ok {
		p.NoteEnd(why)
	}
}

// HowEnded describes how the program of a peer has ended. It is empty while the program runs, or
// if the peer is not a program.
func HowEnded(peer Peer) string {
	if p, ok := behind[Exiting](peer); ok {
		return p.HowEnded()
	}
	return ""
}

// behind returns a peer as a T. It looks behind peers that have a method Unwrap.
func behind[T any](peer Peer) (found T, ok bool) {
	for {
		if found, ok = peer.(T); ok {
			return found, true
		}
		p, wraps := peer.(interface{ Unwrap() Peer })
		if !wraps {
			return found, false
		}
		peer = p.Unwrap()
	}
}

// innermost returns the peer behind all that have a method Unwrap.
func innermost(peer Peer) Peer {
	for {
		p, wraps := peer.(interface{ Unwrap() Peer })
		if !wraps {
			return peer
		}
		peer = p.Unwrap()
	}
}
