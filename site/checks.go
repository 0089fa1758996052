package site

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/metadata"
)

// check returns what is wrong with the places that the walk has found.
func (w *walker) check() ([]Warning, error) {
	for _, key := range slices.Sorted(maps.Keys(w.sites)) {
		if err := w.sites[key].check(); err != nil {
			return nil, err
		}
	}
	var warnings []Warning
	for _, h := range w.endpoints {
		for _, p := range h.all {
			if h.NeedsNext && !p.Ahead {
				return nil, errNothingFollows(h)
			}
			warnings = append(warnings, p.check(h, w.describe)...)
			if first := h.place; p.Prefix != first.Prefix {
				warnings = append(warnings, Warning{
					"endpoint is below several prefixes", first.Prefix + h.Path, p.Prefix + h.Path,
					"its metadata is that of the first: write the endpoint itself in each place, and not into a named route",
				})
			}
			warning, err := coverageOf(h, p, w.describe).check()
			if err != nil {
				return nil, err
			}
			warnings = append(warnings, warning.list()...)
		}
	}
	for _, page := range w.pages {
		found, err := page.check(w.describe)
		if err != nil {
			return nil, err
		}
		warnings = append(warnings, found...)
	}
	slices.SortStableFunc(warnings, func(a, b Warning) int { return strings.Compare(a.Endpoint, b.Endpoint) })
	return warnings, nil
}

// check refuses endpoints of one site that exclude each other.
func (s *Site) check() error {
	if err := s.checkLegacyPaths(); err != nil {
		return err
	}
	var root *Handler
	for _, h := range s.Endpoints {
		if !h.RootMetadata {
			continue
		}
		if root != nil {
			return fmt.Errorf("root_metadata: endpoints %q and %q of one site both claim it; remove it from one of them", root.PublicPath(), h.PublicPath())
		}
		root = h
	}
	return nil
}

// list is a list of the warning, empty for the zero value.
func (w Warning) list() []Warning {
	if w.Message == "" {
		return nil
	}
	return []Warning{w}
}

// errNothingFollows says that an endpoint has neither an upstream nor a handler that follows.
func errNothingFollows(h *Handler) error {
	at := strconv.Quote(h.PublicPath())
	if h.Line != "" {
		at += " (" + h.Line + ")"
	}
	return fmt.Errorf("endpoint %s: it has no upstream, and no handler follows that would answer; write the upstream's address, as in `mcp_auth_bridge %s localhost:3000`, or put mcp_auth_bridge before reverse_proxy inside route", at, h.Path)
}

// checkLegacyPaths refuses two endpoints that offer HTTP+SSE at one path: the second
// would never get a request.
func (s *Site) checkLegacyPaths() error {
	seen := make(map[string]*Handler)
	for _, h := range s.Endpoints {
		for _, path := range h.LegacyPaths {
			path = h.Place().Prefix + path
			if other := seen[path]; other != nil && other != h {
				return fmt.Errorf("legacy_sse: %q belongs to two endpoints, %q and %q; give one of them another path", path, other.PublicPath(), h.PublicPath())
			}
			seen[path] = h
		}
	}
	return nil
}

// check warns of a status page that everyone can see, and refuses one that is guarded on
// some of its paths only.
func (p page) check(describe Describe) ([]Warning, error) {
	c := coverageOfPage(p.handler, p.place, describe)
	if err := c.errLost(); err != nil {
		return nil, err
	}
	if with, without := c.gap(asksLogin, false); with != nil {
		return nil, c.errGap(with, without, asksLogin)
	}
	warnings := p.swallows().list()
	if c.guarded() || onlyLocal(p.place.Server) || asksForCertificate(p.place) || p.place.isForAddresses() {
		return warnings, nil
	}
	return append(warnings, Warning{
		Message: "everyone can see the status page", Endpoint: strings.Join(SortedKeys(p.place.Hosts), " "), Path: p.place.Prefix,
		Advice: "put it behind authentication, as with `basic_auth` in its handle block",
	}), nil
}

// swallows warns of a status page that answers every request, with something behind it that is
// never asked: in a Caddyfile, all `handle` blocks of the site.
func (p page) swallows() Warning {
	for _, sets := range p.place.paths {
		if len(sets) > 0 && !slices.ContainsFunc(sets, func(set caddyhttp.MatcherSet) bool { return !slices.ContainsFunc(set, isNoHostMatcher) }) {
			return Warning{}
		}
	}
	if !p.place.rest.answers() {
		return Warning{}
	}
	return Warning{
		Message: "status page answers all requests of its site", Endpoint: strings.Join(SortedKeys(p.place.Hosts), " "), Path: p.place.Prefix,
		Advice: "what stands behind it is never reached, such as `handle` blocks: put it into a block of its own, as in `handle /mcp-status {`",
	}
}

func isNoHostMatcher(m any) bool { return !isHostMatcher(m) }

// answers reports whether anything follows.
func (r *rest) answers() bool {
	if r == nil || r.unknown {
		return false
	}
	if len(r.handlers) > 0 || r.terminal {
		return len(r.handlers) > 0
	}
	return r.outer.answers() || slices.ContainsFunc(r.routes, func(route caddyhttp.Route) bool { return r.group == "" || route.Group != r.group })
}

// check reports why an endpoint or its metadata cannot be reached.
func (p *Place) check(h *Handler, describe Describe) []Warning {
	endpoint := h.PublicPath()
	if p.redirected {
		return []Warning{{
			"endpoint cannot be reached: a redirect answers every request", endpoint, endpoint,
			"redir comes before mcp_auth_bridge: put the line into a block, `handle {` and `}`, which comes after it; or give it a matcher without " + endpoint,
		}}
	}
	if p.behind {
		return []Warning{{
			"endpoint cannot be reached: an earlier route answers", endpoint, endpoint,
			"write mcp_auth_bridge at the level of the site, where it comes before handle and route; inside `route`, write it first",
		}}
	}
	if w := p.checkPrefix(h); w.Message != "" {
		return w.list()
	}
	warnings := p.traps(h, describe)
	wellKnown := metadata.WellKnownPath + strings.TrimSuffix(endpoint, "/")
	if h.ServesMetadata && !p.reaches(p.site, wellKnown) {
		warnings = append(warnings, Warning{
			"metadata of the endpoint cannot be reached", endpoint, wellKnown,
			"add a line `mcp_auth_bridge metadata` to the site, outside of all blocks",
		})
	}
	if h.BridgesServer && !p.reaches(p.site, "/authorize") {
		warnings = append(warnings, Warning{
			"the bridged authorization server cannot be reached", endpoint, "/authorize",
			"add a line `mcp_auth_bridge metadata` to the site, outside of all blocks",
		})
	}
	return warnings
}

// reaches reports whether a request for path comes to the endpoint, or to what
// answers for it at the level of the site.
func (p *Place) reaches(s *Site, path string) bool {
	if p.matchesWhole(path) {
		return true
	}
	for _, m := range s.metadata {
		if !m.place.behind && m.place.matchesWhole(path) {
			return true
		}
	}
	return false
}

// matchesWhole reports whether a request for path comes to the place with nothing stripped from
// its path.
func (p *Place) matchesWhole(path string) bool {
	stripped := p.Prefix != "" && strings.HasPrefix(path, p.Prefix)
	return !stripped && p.matches(path)
}

// Reached reports whether a request for a path, as clients send it, reaches the endpoint. It
// is true also if there are too many ways to tell.
func (h *Handler) Reached(path string, describe Describe) (reached bool) {
	for _, p := range h.all {
		for _, routes := range triedHosts(p, describe) {
			t := newTrial(routes, func(found *Handler, _ way) { reached = reached || found == h })
			t.follow(http.MethodPost, &url.URL{Path: path})
			if reached = reached || t.gaveUp; reached {
				return true
			}
		}
	}
	return false
}

// TakenBy returns another endpoint that answers every request which could reach this one;
// nil if some request can reach it. If the other one answers only one path of it, for clients
// of HTTP+SSE, it returns that path too. Only an endpoint of [SharingPaths] can be taken.
func (h *Handler) TakenBy(describe Describe) (other *Handler, path string) {
	reached, taken := make(map[string]bool), make(map[string]*Handler)
	for _, p := range h.all {
		if !p.follow(h, describe, reached, taken) {
			return nil, ""
		}
	}
	for _, a := range h.Answered {
		by := taken[a.Path]
		if by == nil || reached[a.Path] {
			continue
		}
		if len(reached) == 0 {
			return by, ""
		}
		if slices.Contains(h.LegacyPaths, a.Path) || slices.Contains(by.LegacyPaths, a.Path) {
			return by, a.Path
		}
	}
	return nil, ""
}

// follow notes which of the paths that an endpoint answers some request can reach, and who
// answers the others. It returns false if there are too many ways to tell.
func (p *Place) follow(h *Handler, describe Describe, reached map[string]bool, taken map[string]*Handler) bool {
	for _, routes := range triedHosts(p, describe) {
		var path string
		t := newTrial(routes, func(found *Handler, _ way) {
			switch {
			case found == h:
				reached[path] = true
			case found.Role == Endpoint:
				taken[path] = found
			}
		})
		for _, method := range guardedMethods {
			for _, answered := range h.Answered {
				path = answered.Path
				t.follow(method, &url.URL{Path: p.Prefix + path})
				if t.gaveUp {
					return false
				}
			}
		}
	}
	return true
}

// SharingPaths returns those endpoints that answer a path of the same name as another.
func SharingPaths(all []*Handler) (sharing []*Handler) {
	first := make(map[string]*Handler)
	shares := make(map[*Handler]bool)
	for _, h := range all {
		for _, a := range h.Answered {
			switch other := first[a.Path]; other {
			case nil:
				first[a.Path] = h
			case h:
			default:
				shares[other], shares[h] = true, true
			}
		}
	}
	for _, h := range all {
		if shares[h] {
			sharing = append(sharing, h)
		}
	}
	return sharing
}
