package traffic

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Reloads knows which reloads of a site have begun, which are over, and how long they took.
type Reloads struct {
	begun, done atomic.Int64
	mu          sync.Mutex
	ends        []time.Time
	times       []time.Duration
}

// Do counts a reload, which load does, given the number of its configuration.
func (r *Reloads) Do(ctx context.Context, load func(ctx context.Context, n int64) error) error {
	n := r.begun.Add(1)
	started := time.Now()
	defer func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.ends, r.times = append(r.ends, time.Now()), append(r.times, time.Since(started))
		r.done.Store(n)
	}()
	return load(ctx, n)
}

// Begun returns the number of the last reload that has begun.
func (r *Reloads) Begun() int64 { return r.begun.Load() }

// Done returns the number of the last reload that is over.
func (r *Reloads) Done() int64 { return r.done.Load() }

// Settled returns how many reloads are over for certain: when Caddy says that
// one is done, it may still be closing the listener of before.
func (r *Reloads) Settled() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := len(r.ends)
	for n > 0 && time.Since(r.ends[n-1]) < time.Second {
		n--
	}
	return int64(n)
}

// Took returns how long each reload took since the last call, the shortest first.
func (r *Reloads) Took() []time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	times := r.times
	r.times = nil
	return slices.Sorted(slices.Values(times))
}
