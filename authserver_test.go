package mcpauthbridge

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/site"
)

// Rule C5: the lookup by host finds two servers on one host where a comparison of each endpoint
// with every other does.
func TestCheckServersComparesAll(t *testing.T) {
	const seed = 7
	rnd := rand.New(rand.NewPCG(seed, seed))
	hosts := []string{"a.x", "b.x", "*.x", "a.y", "*.y", "a.b.x", "*.b.x", "localhost", "::1"}
	servers := []*caddyhttp.Server{new(caddyhttp.Server), new(caddyhttp.Server)}
	refused := 0
	const rounds = 3000
	for range rounds {
		var endpoints []*Handler
		for range 2 + rnd.IntN(5) {
			h := &Handler{Endpoint: fmt.Sprintf("/%d", len(endpoints)), place: new(atomic.Pointer[placement])}
			if rnd.IntN(6) > 0 {
				h.AuthorizationServer = new(AuthorizationServerConfig)
			}
			upstream := 0
			if rnd.IntN(4) == 0 {
				upstream = 1
			}
			h.identity.Proxy = fmt.Appendf(nil, `{"upstreams":[{"dial":"server-%d:80"}]}`, upstream)
			p := &site.Place{Server: servers[rnd.IntN(2)], Hosts: make(map[string]bool)}
			for range rnd.IntN(3) {
				p.Hosts[hosts[rnd.IntN(len(hosts))]] = true
			}
			h.place.Store(&placement{Place: p, path: h.Endpoint})
			endpoints = append(endpoints, h)
		}
		want := false
		for i, a := range endpoints {
			for _, b := range endpoints[:i] {
				want = want || a.bridgesServer() && b.bridgesServer() && shareHost(a, b) && !sameServer(a, b)
			}
		}
		if want {
			refused++
		}
		if err := checkServers(endpoints); (err != nil) != want {
			for _, h := range endpoints {
				t.Logf("%s: bridges %v, hosts %v, %s", h.Endpoint, h.bridgesServer(), h.placed().Hosts, h.identity.Proxy)
			}
			t.Fatalf("got %v, want an error: %v", err, want)
		}
	}
	if refused == 0 || refused == rounds {
		t.Errorf("%d of %d configurations are refused", refused, rounds)
	}
}

// A path is another endpoint's where a comparison with the path of each says so, and to find that
// out allocates nothing.
func TestIsAnothersComparesAll(t *testing.T) {
	const seed = 7
	rnd := rand.New(rand.NewPCG(seed, seed))
	part := func() string { return []string{"/", "/a", "/b", "/a/", "/a//b", "/mcp", "/mcpx"}[rnd.IntN(7)] }
	found := 0
	const rounds = 3000
	for range rounds {
		s := new(siteEndpoints)
		for range 1 + rnd.IntN(4) {
			h := &Handler{Endpoint: part(), place: new(atomic.Pointer[placement])}
			h.place.Store(&placement{Place: new(site.Place), path: h.Endpoint})
			s.all = append(s.all, h)
		}
		s.enter()
		h, path := s.all[rnd.IntN(len(s.all))], part()+part()
		want := false
		for _, other := range s.all {
			rest, ok := strings.CutPrefix(path, other.Endpoint)
			want = want || other != h && ok && other.Endpoint != "/" && (rest == "" || rest[0] == '/')
		}
		if want {
			found++
		}
		if got := s.isAnothers(h, path); got != want {
			t.Fatalf("%s of %d endpoints: got %v, want %v", path, len(s.all), got, want)
		}
		if got := testing.AllocsPerRun(1, func() { s.isAnothers(h, path) }); got != 0 {
			t.Fatalf("got %.0f allocations, want none", got)
		}
	}
	if found == 0 || found == rounds {
		t.Errorf("%d of %d paths are another's", found, rounds)
	}
}
