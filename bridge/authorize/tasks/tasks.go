// Package tasks remembers which principals were given which tasks of an MCP server, within
// bounds.
package tasks

import (
	"cmp"
	"container/heap"
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"sync"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
)

const (
	// maxOfOne bounds the tasks that are remembered for one principal.
	maxOfOne = 1000
	// maxInAll bounds those of all principals. They hold at most 16 MiB.
	maxInAll = 50_000
)

// Given remembers which tasks were given to which principals. A task that was given to two
// principals belongs to both, because some servers count the tasks of each session from one. The
// zero value is empty. The methods of Given may be called from several goroutines.
type Given struct {
	mu sync.Mutex
	// owners says to how many principals each task belongs.
	owners  map[hash]int
	entries map[pair]*entry
	holders map[hash]*holder
	ranks   ranks
	last    uint64
	// most is maxInAll, unless a test has set it.
	most int
}

// hash stands for the id of a task, in the form that ids are compared in, or for a principal.
type hash [16]byte

// pair is a task and a principal that it was given to.
type pair struct{ owner, task hash }

// entry is a pair in the list of its principal.
type entry struct {
	pair
	number       uint64 // later ones have greater numbers
	older, newer *entry
}

// holder is a principal that was given tasks.
type holder struct {
	name           hash
	oldest, newest *entry
	n              int // entries
	rank           int // place in ranks
}

// Give notes that the server has given a task to a principal. If the principal has too many tasks,
// its oldest one is forgotten. If there are too many in all, the principal with the most tasks loses
// its oldest one, so that a principal with many tasks cannot cause the loss of another's.
func (g *Given) Give(owner, task string) {
	p := pair{hashOf(owner), hashOf(form(task))}
	g.mu.Lock()
	defer g.mu.Unlock()
	switch h := g.holders[p.owner]; {
	case g.entries[p] != nil: // it becomes the newest
		g.drop(g.entries[p])
	case h != nil && h.n >= maxOfOne:
		g.drop(h.oldest)
	case len(g.entries) >= cmp.Or(g.most, maxInAll):
		g.drop(g.ranks[0].oldest)
	}
	g.add(p)
}

// Refuses reports whether a task belongs to other principals alone. A task that is not known
// belongs to nobody.
func (g *Given) Refuses(owner, task string) bool {
	p := pair{hashOf(owner), hashOf(form(task))}
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.owners[p.task] > 0 && g.entries[p] == nil
}

// add adds a pair as the newest one of its principal. g.mu is held.
func (g *Given) add(p pair) {
	if g.entries == nil {
		g.owners, g.entries, g.holders = make(map[hash]int), make(map[pair]*entry), make(map[hash]*holder)
	}
	g.last++
	e := &entry{pair: p, number: g.last}
	h := g.holders[p.owner]
	if h == nil {
		h = &holder{name: p.owner, oldest: e, newest: e, n: 1}
		g.holders[p.owner] = h
		heap.Push(&g.ranks, h)
	} else {
		h.newest.newer, e.older, h.newest = e, h.newest, e
		h.n++
		heap.Fix(&g.ranks, h.rank)
	}
	g.entries[p] = e
	g.owners[p.task]++
}

// drop removes an entry. g.mu is held.
func (g *Given) drop(e *entry) {
	h := g.holders[e.owner]
	if e.older != nil {
		e.older.newer = e.newer
	} else {
		h.oldest = e.newer
	}
	if e.newer != nil {
		e.newer.older = e.older
	} else {
		h.newest = e.older
	}
	if h.n--; h.n == 0 {
		heap.Remove(&g.ranks, h.rank)
		delete(g.holders, h.name)
	} else {
		heap.Fix(&g.ranks, h.rank)
	}
	delete(g.entries, e.pair)
	if g.owners[e.task]--; g.owners[e.task] == 0 {
		delete(g.owners, e.task)
	}
}

// ranks is a heap of the principals: first the one with most tasks, and of several the one with
// the oldest.
type ranks []*holder

func (r ranks) Len() int { return len(r) }

func (r ranks) Less(i, j int) bool {
	a, b := r[i], r[j]
	if a.n != b.n || a.n == 0 { // one that is about to be removed has none
		return a.n > b.n
	}
	return a.oldest.number < b.oldest.number
}

func (r ranks) Swap(i, j int) {
	r[i], r[j] = r[j], r[i]
	r[i].rank, r[j].rank = i, j
}

// Push implements heap.Interface.
func (r *ranks) Push(x any) {
	h := x.(*holder)
	h.rank = len(*r)
	*r = append(*r, h)
}

// Pop implements heap.Interface.
func (r *ranks) Pop() any {
	last := len(*r) - 1
	h := (*r)[last]
	(*r)[last] = nil
	*r = (*r)[:last]
	return h
}

func hashOf(text string) (h hash) {
	sum := sha256.Sum256([]byte(text))
	copy(h[:], sum[:])
	return h
}

// form returns an id in the form that ids are compared in. A server may find a task whose id
// another client has written in its own way: in another case, with space around it, or as one of
// the spellings of a UUID.
func form(id string) string {
	text := message.FoldName([]byte(strings.TrimSpace(id)))
	digits := strings.TrimPrefix(text, "urn:uuid:")
	if inner, ok := strings.CutPrefix(digits, "{"); ok {
		digits = strings.TrimSuffix(inner, "}")
	}
	digits = strings.ReplaceAll(digits, "-", "")
	if _, err := hex.DecodeString(digits); err != nil || len(digits) != 32 {
		return text
	}
	return digits
}
