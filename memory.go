package mcpauthbridge

import (
	"slices"
	"sort"
	"strconv"
	"strings"
	"sync"

	"github.com/caddyserver/caddy/v2"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge"
)

// memories outlive a reload: what an endpoint remembers is kept while it stays in the
// configuration. They are keyed by its name.
var memories = caddy.NewUsagePool()

// pooledMemory is a memory and the handlers that fill it.
type pooledMemory struct {
	*bridge.Memory
	mu   sync.Mutex
	live []*Handler // of configurations that run, oldest first
}

// Destruct implements caddy.Destructor.
func (p *pooledMemory) Destruct() error { return nil }

func (p *pooledMemory) newest() *Handler {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.live) == 0 {
		return nil
	}
	return p.live[len(p.live)-1]
}

// attachMemory has the endpoint remember what the one of that name did in the
// configuration before.
func (h *Handler) attachMemory() error {
	pooled, _, err := memories.LoadOrNew(h.label(), func() (caddy.Destructor, error) {
		return &pooledMemory{Memory: h.memory.Load()}, nil
	})
	if err != nil {
		return err
	}
	p := pooled.(*pooledMemory)
	h.remembered = p
	h.memory.Store(p.Memory)
	p.Attach(h.counts)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.live = append(p.live, h)
	return nil
}

// detachMemory ends that.
func (h *Handler) detachMemory() error {
	p := h.remembered
	if p == nil {
		return nil
	}
	p.Detach(h.counts)
	p.mu.Lock()
	if i := slices.Index(p.live, h); i >= 0 {
		p.live = slices.Delete(p.live, i, i+1)
	}
	p.mu.Unlock()
	_, err := memories.Delete(h.label())
	return err
}

// endpointsNow returns the endpoints of the configuration that runs, by name.
func endpointsNow() (all []*Handler) {
	memories.Range(func(_, value any) bool {
		if p, ok := value.(*pooledMemory); ok {
			if h := p.newest(); h != nil {
				all = append(all, h)
			}
		}
		return true
	})
	sort.Slice(all, func(i, j int) bool { return all[i].label() < all[j].label() })
	return all
}

// nameEndpoints gives each endpoint the name that an operator sees it by.
func nameEndpoints(all []*Handler) {
	seen := make(map[string]int)
	for _, h := range all {
		h.place.CompareAndSwap(nil, new(place)) // one that stands where nobody has looked
		name := h.describe()
		if seen[name]++; seen[name] > 1 {
			name += "#" + strconv.Itoa(seen[name])
		}
		h.name = name
	}
}

// label is the name that an operator sees the endpoint by: the same in metrics, answers
// of the admin API, events and logs.
func (h *Handler) label() string {
	h.app.resolve()
	if h.name == "" {
		return h.Endpoint
	}
	return h.name
}

// describe is the public URL of the endpoint, as far as the configuration tells: with
// its first host, or else with the address that its server listens on.
func (h *Handler) describe() string {
	if h.base.origin != "" {
		return h.base.origin + h.staticPath()
	}
	p := h.placed()
	hosts := sortedKeys(p.hosts)
	switch {
	case len(hosts) > 0 && p.server != nil:
		return p.originOf(hosts[0]) + h.staticPath()
	case p.server != nil && len(p.server.Listen) > 0:
		return strings.TrimPrefix(p.server.Listen[0], "tcp/") + h.staticPath()
	}
	return h.staticPath()
}
