package site

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/caddyauth"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/fileserver"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/rewrite"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/metadata"
)

// This file warns of places where an endpoint loads and does not work. Each warning has the line
// that corrects it.

// checkPrefix warns of an endpoint whose path is there twice, as in `handle_path /mcp*`.
func (p *Place) checkPrefix(h *Handler) Warning {
	if h.FixedPath != "" || h.Path == "/" || !strings.HasSuffix(p.Prefix, h.Path) {
		return Warning{}
	}
	return Warning{
		"clients have to use the endpoint's path twice", h.PublicPath(), p.Prefix + h.Path,
		fmt.Sprintf("handle_path removes %s before mcp_auth_bridge looks for %s: write `mcp_auth_bridge %s` at the level of the site, or use `handle`", p.Prefix, h.Path, strings.TrimSpace(h.Path+" "+h.written())),
	}
}

// traps warns of what keeps all requests from an endpoint, or logins from clients.
func (p *Place) traps(h *Handler, describe Describe) (warnings []Warning) {
	if w := p.neverMatches(h); w.Message != "" {
		return w.list()
	}
	hosts := triedHosts(p, describe)
	if w := p.outsideOfBlock(h, hosts); w.Message != "" {
		return w.list()
	}
	return slices.Concat(p.rewritesAway(h, hosts).list(), p.guardsMetadata(h, hosts).list(), p.unguardsByRewrite(h).list())
}

// forms are the two forms of the endpoint's own path.
func (h *Handler) forms() []string {
	return []string{h.Path, strings.TrimSuffix(h.Path, "/") + "/"}
}

// neverMatches warns of a matcher that lets no request for the endpoint's path through.
func (p *Place) neverMatches(h *Handler) Warning {
	if len(p.paths) == 0 {
		return Warning{}
	}
	sets := p.paths[len(p.paths)-1]
	if p.mayMatch(sets, h.forms()) {
		return Warning{}
	}
	named := h.namedPath(sets)
	if named == "" {
		return Warning{
			"no request for the endpoint passes its matcher", h.PublicPath(), p.Prefix + h.Path,
			"the matcher excludes " + h.Path + ": leave it out, or write the path that clients use in front of the upstream",
		}
	}
	return Warning{
		"no request for the endpoint passes its matcher", h.PublicPath(), p.Prefix + h.Path,
		fmt.Sprintf("the matcher lets %s through, and the endpoint is %s: write `mcp_auth_bridge %s` without the matcher", named, h.Path, strings.TrimSpace(named+" "+h.written())),
	}
}

// mayMatch reports whether matchers may let a request for one of the paths through, whatever
// its host is.
func (p *Place) mayMatch(sets caddyhttp.MatcherSets, paths []string) bool {
	r := newTrialRequest(p.Server, anyHost, caddy.NewReplacer())
	for _, method := range append([]string{http.MethodOptions}, guardedMethods...) {
		for _, path := range paths {
			r.Method, r.URL = method, &url.URL{Path: path}
			r.RequestURI = path
			for _, set := range sets {
				hosts := slices.DeleteFunc(slices.Clone(set), isHostMatcher)
				if v, _ := matchesAll(hosts, r); v != no {
					return true
				}
			}
		}
	}
	return len(sets) == 0
}

// outsideOfBlock warns of an endpoint in a block, such as `handle /api*`, whose matcher lets none
// of its paths through, even after a rewrite.
func (p *Place) outsideOfBlock(h *Handler, hosts []*hostRoutes) Warning {
	for i := range len(p.paths) - 1 {
		var paths []string
		for _, answered := range h.Answered {
			paths = append(paths, (p.Prefix + answered.Path)[len(p.stripped[i]):])
		}
		if sets := p.paths[i]; !p.mayMatch(sets, paths) && !h.reachedBy(hosts, p.stripped[i], pathsIn(sets, nil)) {
			return p.warnOutside(h, i)
		}
	}
	return Warning{}
}

// reachedBy reports whether a request for one of some paths below a prefix reaches the endpoint,
// or a request for any path that the routes name.
func (h *Handler) reachedBy(hosts []*hostRoutes, prefix string, paths []string) (reached bool) {
	for _, routes := range hosts {
		t := newTrial(routes, func(found *Handler, _ way) { reached = reached || found == h })
		tried := literalPaths(routes)
		for _, path := range paths {
			tried = append(tried, &url.URL{Path: prefix + path}, &url.URL{Path: prefix + strings.TrimSuffix(path, "/") + h.Path})
		}
		for _, u := range tried {
			t.follow(http.MethodPost, u)
			if reached || t.gaveUp {
				return true
			}
		}
	}
	return false
}

// warnOutside is the warning of an endpoint outside of the matcher of an enclosing route.
func (p *Place) warnOutside(h *Handler, i int) Warning {
	w := Warning{
		Message: "no request for the endpoint enters its block", Endpoint: h.PublicPath(), Path: p.Prefix + h.Path,
		Advice: "the matcher of the block excludes " + h.Path + ": leave it out, or write the path that clients use in front of the upstream",
	}
	named := h.namedPath(p.paths[i])
	added := p.stripped[i+1][len(p.stripped[i]):]
	switch {
	case named == "":
	case added != "" && named == added:
		w.Advice = fmt.Sprintf("the block is for %s alone, and the endpoint is %s below it: write `handle_path %[1]s*`", named, h.Path)
	default:
		w.Advice = fmt.Sprintf("the block is for %s, and the endpoint is %s: write `mcp_auth_bridge %s`", named, h.Path, strings.TrimSpace(named+h.Path+" "+h.written()))
	}
	return w
}

func isHostMatcher(m any) bool {
	switch m.(type) {
	case caddyhttp.MatchHost, *caddyhttp.MatchHost:
		return true
	}
	return false
}

// written is the upstream as it stands on the line of the directive.
func (h *Handler) written() string {
	if h.Proxy == nil || len(h.Proxy.Upstreams) == 0 {
		return ""
	}
	return h.Upstream
}

// namedPath is the first path that matchers of the endpoint name beside those that its route has
// by itself.
func (h *Handler) namedPath(matchers caddyhttp.MatcherSets) string {
	for _, set := range matchers {
		for _, sets := range append(negated(caddyhttp.MatcherSets{set}), caddyhttp.MatcherSets{set}) {
			for _, path := range pathsIn(sets, nil) {
				if path = strings.TrimRight(path, "/"); path != "" && !strings.HasPrefix(path, "/.well-known/") && !slices.Contains(h.forms(), path) {
					return path
				}
			}
		}
	}
	return ""
}

// rewritesAway warns of a `try_files` or `rewrite` in front that changes the path of the endpoint.
func (p *Place) rewritesAway(h *Handler, hosts []*hostRoutes) Warning {
	if p.Prefix != "" {
		return Warning{}
	}
	reached, name := false, ""
	for _, routes := range hosts {
		t := newTrial(routes, func(found *Handler, _ way) { reached = reached || found == h })
		t.rewrites = true
		for _, path := range h.forms() {
			t.follow(http.MethodPost, &url.URL{Path: path})
			if t.gaveUp {
				return Warning{}
			}
		}
		if name == "" {
			name = t.rewritten
		}
	}
	if reached || name == "" {
		return Warning{}
	}
	return Warning{
		"requests for the endpoint are rewritten before it", h.PublicPath(), h.Path,
		fmt.Sprintf("put `%s` into a `handle` or `route` block: these come after mcp_auth_bridge; inside `route`, write it behind mcp_auth_bridge", name),
	}
}

// noteRewrite notes that a trial has met a rewrite that changes the path of the request.
func (t *trial) noteRewrite(h *rewrite.Rewrite, before, after string, tries bool) {
	if before == after || h.StripPathPrefix != "" || t.rewritten != "" {
		return
	}
	t.rewritten = "rewrite"
	if tries {
		t.rewritten = "try_files"
	}
}

// triesFiles reports whether a route is one of `try_files` that ends with something that is
// there whatever the request is.
func triesFiles(route *caddyhttp.Route) bool {
	for _, set := range route.MatcherSets {
		for _, m := range set {
			var files []string
			switch m := m.(type) {
			case *fileserver.MatchFile:
				files = m.TryFiles
			case fileserver.MatchFile:
				files = m.TryFiles
			}
			if n := len(files); n > 0 && !strings.Contains(files[n-1], "{") {
				return true
			}
		}
	}
	return false
}

// guardsMetadata warns of a login in front of everything: also of the metadata of an endpoint,
// which tells clients how to log in, and of preflights.
func (p *Place) guardsMetadata(h *Handler, hosts []*hostRoutes) Warning {
	if !h.ServesMetadata || h.RunsProgram || p.Prefix != "" || !slices.ContainsFunc(hosts, (*hostRoutes).hasGuard) {
		return Warning{}
	}
	wellKnown := metadata.WellKnownPath + strings.TrimSuffix(h.PublicPath(), "/")
	met := p.alwaysGuarded(hosts, http.MethodGet, wellKnown)
	if met == nil || p.alwaysGuarded(hosts, http.MethodOptions, h.Path) == nil {
		return Warning{} // the operator has excepted preflights, so the guard is intended
	}
	line := "write `@private` after the directive of " + guardName(met, asksLogin)
	if directive := guardDirective(met, asksLogin); directive != "" {
		line = "write `" + directive + " @private`"
	}
	return Warning{
		"metadata is behind a login, so that no login begins", h.PublicPath(), metadata.WellKnownPath,
		fmt.Sprintf("browsers' preflights have no credentials either: define a matcher `@private` with the lines `not method OPTIONS` and `not path %s*`, and %s", metadata.WellKnownPath, line),
	}
}

// alwaysGuarded returns a request that reaches one of the site's endpoints or handlers of
// metadata, and that meets a login on every way. It returns nil if there is a way without one, or
// if no request arrives.
func (p *Place) alwaysGuarded(hosts []*hostRoutes, method, path string) (met *tried) {
	for _, routes := range hosts {
		now := tried{host: routes.host}
		t := newTrial(routes, func(found *Handler, w way) {
			if found.site == p.site {
				w.met = w.met[:w.before]
				now.ways = append(now.ways, w)
			}
		})
		t.discovery = true
		t.follow(method, &url.URL{Path: path})
		if len(now.ways) == 0 {
			continue
		}
		if now.meets(asksLogin) != always {
			return nil
		}
		met = &now
	}
	return met
}

// unguardsByRewrite warns of a guard for some paths in front of a rewrite whose result depends on
// the request: behind the guard, the rewrite may turn another path into that of the endpoint.
func (p *Place) unguardsByRewrite(h *Handler) Warning {
	if p.unguarded == nil {
		return Warning{}
	}
	met := &tried{ways: []way{{met: []guard{{p.unguarded, asksLogin}}}}}
	name := guardName(met, asksLogin)
	if directive := guardDirective(met, asksLogin); directive != "" {
		name = "`" + directive + "`"
	}
	return Warning{
		"a rewrite behind a guard may lead past it", h.PublicPath(), h.Path,
		"the guard sees the path before the rewrite: write the rewrite before " + name,
	}
}

// isLogin reports whether a handler asks for a login.
func isLogin(handler caddyhttp.MiddlewareHandler) bool {
	switch h := handler.(type) {
	case *caddyauth.Authentication:
		return true
	case *reverseproxy.Handler:
		return slices.ContainsFunc(h.HandleResponse, func(on caddyhttp.ResponseHandler) bool { return onlySuccess(on.Match) })
	}
	return soundsLikeLogin(handler)
}

// isOpen reports whether the path that a rewrite makes depends on the request.
func isOpen(r *rewrite.Rewrite) bool {
	path, _, _ := strings.Cut(r.URI, "?")
	return len(r.PathRegexp) > 0 || len(r.URISubstring) > 0 ||
		strings.Contains(path, "{") && path != "{http.request.uri.path}" && path != "{http.request.uri}"
}
