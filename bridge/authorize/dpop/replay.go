package dpop

import (
	"crypto/sha256"
	"sync"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/authorize/principal"
)

const (
	// maxProofs bounds the proofs that are remembered in one process, and maxProofsOfKey
	// those of one key, so that one client cannot take the room of the others.
	maxProofs      = 1 << 17
	maxProofsOfKey = 1 << 13
)

// Replays remembers the proofs of the last minutes, so that each is accepted once in this process.
// The caller must call Use only for proofs whose token is valid and bound to their key. Otherwise
// anybody could fill the memory.
type Replays struct {
	mu   sync.Mutex
	seen map[[sha256.Size]byte]struct{}
	// order has the proofs in the order in which they are forgotten.
	order []remembered
	ofKey map[string]int
}

type remembered struct {
	proof [sha256.Size]byte
	key   string
	until time.Time
}

// NewReplays returns an empty memory.
func NewReplays() *Replays {
	return &Replays{seen: make(map[[sha256.Size]byte]struct{}), ofKey: make(map[string]int)}
}

// Use notes a proof, and refuses it if it was used before. If the memory is full it refuses all
// new proofs until old ones expire, because it could not recognize a replay.
func (r *Replays) Use(p *Proof, now time.Time) *principal.Refusal {
	name := sha256.Sum256([]byte(p.Thumbprint + "." + p.id))
	r.mu.Lock()
	defer r.mu.Unlock()
	r.forget(now)
	if _, replayed := r.seen[name]; replayed {
		return invalid(principal.ProofReplayed)
	}
	if len(r.order) >= maxProofs || r.ofKey[p.Thumbprint] >= maxProofsOfKey {
		return &principal.Refusal{Code: principal.Unavailable, Reason: principal.TooBusy, RetryAfter: Window}
	}
	r.seen[name] = struct{}{}
	r.ofKey[p.Thumbprint]++
	// A proof with an `iat` of the future lives longer than one of now. All are kept for the
	// longest time, so that the order in which they came is that in which they end.
	r.order = append(r.order, remembered{name, p.Thumbprint, now.Add(2*Window + time.Second)})
	return nil
}

// forget drops the proofs that have ended. r.mu is held.
func (r *Replays) forget(now time.Time) {
	ended := 0
	for ended < len(r.order) && !now.Before(r.order[ended].until) {
		one := r.order[ended]
		delete(r.seen, one.proof)
		if r.ofKey[one.key]--; r.ofKey[one.key] <= 0 {
			delete(r.ofKey, one.key)
		}
		r.order[ended] = remembered{}
		ended++
	}
	if r.order = r.order[ended:]; len(r.order) == 0 {
		r.order = nil
	}
}
