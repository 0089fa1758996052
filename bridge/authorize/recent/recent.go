// Package recent remembers what was found out about tokens, within bounds.
package recent

import (
	"crypto/sha256"
	"sync"
	"time"
)

// Name is the hash of a token, and of what else was found out for. Tokens themselves are not
// kept as names.
type Name [sha256.Size]byte

// Of returns a name for a token, together with other texts that the remembered value depends on.
func Of(raw string, others ...string) Name {
	var most [2 << 10]byte // as long as most of them together
	all := append(most[:0], raw...)
	for _, other := range others {
		all = append(append(all, 0), other...)
	}
	return sha256.Sum256(all)
}

// Cache remembers values by the names of tokens. It has two halves. If the newer half is full, it
// becomes the older half, and the entries of the old one are dropped. An entry that is used moves
// to the newer half. The methods of Cache may be called from several goroutines.
type Cache[V any] struct {
	max        int // entries
	maxSize    int // bytes
	mu         sync.Mutex
	newer, old map[Name]entry[V]
	size       int // of the entries in newer, in bytes
}

type entry[V any] struct {
	value V
	until time.Time
	size  int
}

// New returns a cache for at most max entries, whose sizes are at most maxSize bytes together.
func New[V any](max, maxSize int) *Cache[V] { return &Cache[V]{max: max, maxSize: maxSize} }

// Get returns the value of a name, until it ends.
func (c *Cache[V]) Get(n Name, now time.Time) (value V, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.newer[n]
	if !ok {
		if e, ok = c.old[n]; ok {
			delete(c.old, n)
			c.put(n, e)
		}
	}
	if ok && !now.Before(e.until) {
		c.drop(n)
		return value, false
	}
	return e.value, ok
}

// Add remembers a value until a time. size is what it holds, in bytes.
func (c *Cache[V]) Add(n Name, value V, until time.Time, size int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.drop(n)
	c.put(n, entry[V]{value, until, size})
}

// Drop forgets the value of a name.
func (c *Cache[V]) Drop(n Name) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.drop(n)
}

// put enters an entry that neither half has. c.mu is held.
func (c *Cache[V]) put(n Name, e entry[V]) {
	if len(c.newer) >= c.max/2 || c.size+e.size > c.maxSize/2 {
		c.old, c.newer, c.size = c.newer, nil, 0
	}
	if c.newer == nil {
		c.newer = make(map[Name]entry[V])
	}
	c.newer[n] = e
	c.size += e.size
}

// drop removes an entry. c.mu is held.
func (c *Cache[V]) drop(n Name) {
	if e, ok := c.newer[n]; ok {
		c.size -= e.size
		delete(c.newer, n)
	}
	delete(c.old, n)
}
