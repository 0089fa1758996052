package mcpauthbridge

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sort"
	"strings"
	"sync"

	"github.com/caddyserver/caddy/v2"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/authorize/tasks"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/authserver"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/identity"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/stats"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/placeholder"
)

// keptPool holds what outlives a reload, by the identity of the endpoint that it belongs
// to. A configuration does not have two endpoints of one identity.
type keptPool[T caddy.Destructor] struct{ pool *caddy.UsagePool }

// take returns the value that the endpoint had in the configuration before. If there is none, it
// returns the result of begin.
func (p keptPool[T]) take(h *Handler, begin func() T) (T, error) {
	kept, _, err := p.pool.LoadOrNew(h.key, func() (caddy.Destructor, error) { return begin(), nil })
	if err != nil {
		var none T
		return none, err
	}
	return kept.(T), nil
}

// give gives it back. It ends with the last configuration that has taken it.
func (p keptPool[T]) give(h *Handler) error {
	_, err := p.pool.Delete(h.key)
	return err
}

// What outlives a configuration: the memory of an endpoint, its sessions, the tasks of its
// principals, and the pages that its authorization server has redirected browsers to, because a
// login may last longer than a configuration.
var (
	memories     = keptPool[*pooledMemory]{caddy.NewUsagePool()}
	hubs         = keptPool[*pooledHub]{caddy.NewUsagePool()}
	learnedPaths = keptPool[*keptPaths]{caddy.NewUsagePool()}
	givenTasks   = keptPool[*keptTasks]{caddy.NewUsagePool()}
)

// keptTasks has the tasks that were given to the principals of an endpoint.
type keptTasks struct{ tasks.Given }

// Destruct implements caddy.Destructor.
func (*keptTasks) Destruct() error { return nil }

// keptPaths has the paths that an authorization server has redirected browsers or clients to.
type keptPaths struct{ authserver.Learned }

// Destruct implements caddy.Destructor.
func (*keptPaths) Destruct() error { return nil }

// liveHandlers are the handlers of one endpoint in the configurations that run: more than one
// while a reload is under way.
type liveHandlers struct {
	mu  sync.Mutex
	all []*Handler // oldest first
}

// add adds a handler.
func (l *liveHandlers) add(h *Handler) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !slices.Contains(l.all, h) {
		l.all = append(l.all, h)
	}
}

// remove removes a handler, if it was added.
func (l *liveHandlers) remove(h *Handler) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if i := slices.Index(l.all, h); i >= 0 {
		l.all = slices.Delete(l.all, i, i+1)
	}
}

// newest returns the handler of the newest configuration; nil if there is none.
func (l *liveHandlers) newest() *Handler {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.all) == 0 {
		return nil
	}
	return l.all[len(l.all)-1]
}

// pooledMemory is a memory and the handlers that fill it.
type pooledMemory struct {
	*stats.Memory
	liveHandlers
}

// Destruct implements caddy.Destructor.
func (p *pooledMemory) Destruct() error { return nil }

// attachAll gives each endpoint of a configuration the state that was kept from the configuration
// before. The endpoints must be identified.
func attachAll(endpoints []*Handler) error {
	for _, h := range endpoints {
		if err := errors.Join(attachMemory(h), attachHub(h), attachPaths(h), attachTasks(h)); err != nil {
			return err
		}
	}
	return nil
}

// detach gives back what attachAll has given to an endpoint. It may be called for an endpoint
// that attachAll has not seen.
func detach(h *Handler) error {
	var errs []error
	if p := h.remembered; p != nil {
		p.Detach(h.observer.counts)
		p.remove(h)
		errs = append(errs, memories.give(h))
	}
	if p := h.hub; p != nil {
		errs = append(errs, hubs.give(h)) // which has the server asked to end what ends now
		p.backend.live.remove(h)
	}
	if h.keptPaths != nil {
		errs = append(errs, learnedPaths.give(h))
	}
	if h.keptTasks != nil {
		errs = append(errs, givenTasks.give(h))
	}
	return errors.Join(errs...)
}

func attachMemory(h *Handler) error {
	p, err := memories.take(h, func() *pooledMemory { return &pooledMemory{Memory: h.observer.memory.Load()} })
	if err != nil {
		return err
	}
	h.remembered = p
	h.observer.memory.Store(p.Memory)
	p.Attach(h.observer.counts)
	p.add(h)
	return nil
}

// attachHub takes over the endpoint's sessions, or makes a hub without any. It starts nothing.
func attachHub(h *Handler) error {
	if !h.bridges() {
		return nil
	}
	p, err := hubs.take(h, func() *pooledHub { return newHub(h) })
	if err != nil {
		return err
	}
	p.backend.live.add(h)
	p.grace.Store(int64(h.app.grace))
	h.hub = p
	return nil
}

func attachPaths(h *Handler) error {
	if !h.bridgesServer() {
		return nil
	}
	p, err := learnedPaths.take(h, func() *keptPaths { return new(keptPaths) })
	if err != nil {
		return err
	}
	h.endpoint.Server().SetLearned(&p.Learned)
	h.keptPaths = p
	return nil
}

// attachTasks remembers the tasks of a server that several principals use. A program has one.
func attachTasks(h *Handler) error {
	if h.edge == nil || !h.upstream.proxied {
		return nil
	}
	p, err := givenTasks.take(h, func() *keptTasks { return new(keptTasks) })
	if err != nil {
		return err
	}
	h.edge.SetTasks(&p.Given)
	h.keptTasks = p
	return nil
}

// endpointsNow returns the endpoints of the configuration that runs, by name.
func endpointsNow() (all []*Handler) {
	newest := make(map[string]*Handler)
	memories.pool.Range(func(_, value any) bool {
		if p, ok := value.(*pooledMemory); ok {
			// During a reload, two kept entries may have the same name.
			if h := p.newest(); h != nil && (newest[h.label()] == nil || newest[h.label()].loaded.Before(h.loaded)) {
				newest[h.label()] = h
			}
		}
		return true
	})
	for _, h := range newest {
		all = append(all, h)
	}
	sort.Slice(all, func(i, j int) bool { return all[i].label() < all[j].label() })
	return all
}

// identityAsWritten returns the identity of the upstream as it is written in the configuration. It
// must be called before anything is provisioned, because provisioning changes the configuration.
func identityAsWritten(h *Handler) (identity.Endpoint, error) {
	id := identity.Endpoint{
		Upstream: slices.Clone(h.UpstreamRaw),
		Constant: placeholder.Known("env.", "system."),
		Now:      placeholder.Known("env.", "system.", "file."),
	}
	if h.ReverseProxy == nil {
		return id, nil
	}
	proxy, err := json.Marshal(h.ReverseProxy)
	if err != nil {
		return id, fmt.Errorf("reading reverse_proxy: %w", err)
	}
	id.Proxy = proxy
	return id, nil
}

// identify completes the identity of each endpoint, once the places of all endpoints are known. It
// refuses two endpoints with the same identity, because they would share sessions, servers, pages
// and memory.
func identify(endpoints []*Handler) error {
	seen := make(map[string]*Handler)
	for _, h := range endpoints {
		completeIdentity(h)
		if other := seen[h.key]; other != nil {
			return fmt.Errorf("endpoints %s and %s are one to clients: server, hosts, matchers, path and upstream are the same, and so would their sessions be; "+
				"remove one of them, or give it another `endpoint` or `public_url`", other.written(), h.written())
		}
		seen[h.key] = h
	}
	return nil
}

func completeIdentity(h *Handler) {
	id := &h.identity
	id.Places = nil
	for _, p := range h.described.Places() {
		id.Places = append(id.Places, p.Identity(patternsOf(h)))
	}
	id.Path, id.PublicURL, id.Names = h.Endpoint, h.PublicURL, h.Hosts
	id.Inherited = h.upstream.environment()
	h.key, h.scope = id.Key(), id.Scope()
}

// patternsOf returns the patterns that the route of an endpoint has for the paths of the
// endpoint. They depend on options such as legacy_sse.
func patternsOf(h *Handler) map[string]bool {
	below := strings.TrimSuffix(h.Endpoint, "/") + "/*"
	own := make(map[string]bool)
	for _, path := range append([]string{h.Endpoint, below, h.LegacySSE.path(), h.LegacySSE.messagePath()}, discoveryPaths...) {
		own[strings.ToLower(path)] = true // as Caddy has them
	}
	return own
}
