package credential

import (
	"crypto/sha256"
	"sync"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/authorize/principal"
)

const (
	// maxRemembered bounds the verified tokens that are remembered.
	maxRemembered = 20_000
	// maxAge bounds how long a verified token is remembered.
	maxAge = 5 * time.Minute
)

// name is the hash of a token. Tokens themselves are not kept.
type name [sha256.Size]byte

type entry struct {
	principal *principal.Principal
	issuer    *issuer
	version   uint64 // of the keys of the issuer
	until     time.Time
}

// cache remembers verified tokens. It has two halves: when the newer is full it becomes the
// older, whose entries go. An entry that is used moves to the newer.
type cache struct {
	mu         sync.Mutex
	newer, old map[name]entry
}

func (c *cache) get(n name, now time.Time) (entry, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.newer[n]
	if !ok {
		if e, ok = c.old[n]; ok {
			c.put(n, e)
		}
	}
	if ok && !now.Before(e.until) {
		delete(c.newer, n)
		delete(c.old, n)
		return entry{}, false
	}
	return e, ok
}

func (c *cache) add(n name, e entry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.put(n, e)
}

// put enters an entry. c.mu is held.
func (c *cache) put(n name, e entry) {
	if len(c.newer) >= maxRemembered/2 {
		c.old, c.newer = c.newer, nil
	}
	if c.newer == nil {
		c.newer = make(map[name]entry)
	}
	c.newer[n] = e
}

func (c *cache) drop(n name) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.newer, n)
	delete(c.old, n)
}
