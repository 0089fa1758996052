package bridge

import "sync"

// Ending is the end of a [Peer], which others can wait for without a goroutine each.
type Ending struct {
	done  chan struct{}
	mu    sync.Mutex
	over  bool
	after []func()
}

// NewEnding returns the end of a peer that has not come yet.
func NewEnding() *Ending { return &Ending{done: make(chan struct{})} }

// Done implements [Peer].
func (e *Ending) Done() <-chan struct{} { return e.done }

// AfterDone has f called once Done is closed.
func (e *Ending) AfterDone(f func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.over {
		go f()
		return
	}
	e.after = append(e.after, f)
}

// End says, once, that the peer has ended, and calls what waits for that.
func (e *Ending) End() {
	close(e.done)
	e.mu.Lock()
	e.over = true
	e.mu.Unlock()
	for _, f := range e.after {
		f()
	}
}

// afterDone has f called when a peer has ended.
func afterDone(peer Peer, f func()) {
	if p, ok := peer.(interface{ AfterDone(f func()) }); ok {
		p.AfterDone(f)
		return
	}
	go func() {
		<-peer.Done()
		f()
	}()
}
