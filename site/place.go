package site

import (
	"context"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/origin"
)

// Place is one place in the configuration where a handler stands.
type Place struct {
	// Server is the server that the place belongs to; nil for the zero place.
	Server *caddyhttp.Server
	// Prefix is what the enclosing routes strip from the path.
	Prefix string
	// Hosts are the names in the enclosing host matchers, in lower case.
	Hosts map[string]bool
	// Only is set if no other endpoint stands on the site.
	Only bool
	// Ahead is set if a handler that follows may answer.
	Ahead bool

	hosts hostIndexes // of the servers of the walk
	site  *Site
	paths []caddyhttp.MatcherSets // the matchers of the enclosing routes, outermost first
	// stripped is what was stripped from the path that each of them sees.
	stripped []string
	behind   bool // an earlier route answers every request
	// redirected is set if that route is a `redir`, which comes before mcp_auth_bridge.
	redirected bool
	rest       *rest // what follows; in the place of a list, what follows the list
	// unguarded is a guard for some paths that an earlier route of the same list has, if a
	// rewrite between it and the handler makes paths that depend on the request.
	unguarded caddyhttp.MiddlewareHandler
}

// isForAddresses reports whether a matcher around the handler lets only clients at some
// addresses through.
func (p *Place) isForAddresses() bool {
	return slices.ContainsFunc(p.paths, func(sets caddyhttp.MatcherSets) bool {
		return len(sets) > 0 && !slices.ContainsFunc(sets, func(set caddyhttp.MatcherSet) bool {
			return !slices.ContainsFunc(set, func(m any) bool {
				var ranges []string
				switch m := m.(type) {
				case *caddyhttp.MatchRemoteIP:
					ranges = m.Ranges
				case *caddyhttp.MatchClientIP:
					ranges = m.Ranges
				}
				return len(ranges) > 0 && !slices.ContainsFunc(ranges, func(r string) bool { return strings.HasSuffix(r, "/0") })
			})
		})
	})
}

// IsLocal reports whether only this machine can reach an address to listen on.
func IsLocal(listen string) bool {
	addr, err := caddy.ParseNetworkAddress(listen)
	return err == nil && (addr.IsUnixNetwork() || origin.IsLoopback(addr.Host))
}

// onlyLocal reports whether only this machine can reach a server.
func onlyLocal(server *caddyhttp.Server) bool {
	return !slices.ContainsFunc(server.Listen, func(listen string) bool { return !IsLocal(listen) })
}

// matches reports whether the path matchers around the handler let a request
// for path through; other matchers are taken to match.
func (p *Place) matches(path string) bool {
	r := &http.Request{Method: http.MethodGet, URL: &url.URL{Path: path}, Header: make(http.Header)}
	repl := caddy.NewReplacer()
	r = r.WithContext(context.WithValue(context.Background(), caddy.ReplacerCtxKey, repl))
	for _, sets := range p.paths {
		matched := len(sets) == 0
		for _, set := range sets {
			if setMatchesPath(set, r) {
				matched = true
				break
			}
		}
		if !matched {
			return false
		}
	}
	return true
}

func setMatchesPath(set caddyhttp.MatcherSet, r *http.Request) bool {
	paths := matcherIn[caddyhttp.MatchPath](set)
	if paths == nil {
		return true
	}
	ok, err := paths.MatchWithError(r)
	return ok && err == nil
}

// matcherIn returns the matcher of a type in a matcher set, where Caddy has it as a value or as a
// pointer. It returns the zero value if the set has none. No set has two of a type.
func matcherIn[T any](set caddyhttp.MatcherSet) (found T) {
	for _, m := range set {
		switch m := m.(type) {
		case T:
			found = m
		case *T:
			found = *m
		}
	}
	return found
}

// hostsOf returns the hosts that matcher sets name; nil where one names none.
func hostsOf(sets caddyhttp.MatcherSets) map[string]bool {
	var hosts map[string]bool
	for _, set := range sets {
		found := matcherIn[caddyhttp.MatchHost](set)
		if len(found) == 0 {
			return nil
		}
		if hosts == nil {
			hosts = make(map[string]bool)
		}
		for _, host := range found {
			if !strings.Contains(host, "{") {
				hosts[strings.ToLower(origin.Hostname(host))] = true
			}
		}
	}
	return hosts
}

// SortedKeys returns the names in a set in order.
func SortedKeys(set map[string]bool) []string { return slices.Sorted(maps.Keys(set)) }

// Has reports whether host is one of the hosts of the place; `*` stands for one label.
func (p *Place) Has(host string) bool {
	if p.Hosts[host] {
		return true
	}
	_, rest, ok := strings.Cut(host, ".")
	return ok && p.Hosts["*."+rest]
}

// OriginOf is the origin that clients use for a host of the place.
func (p *Place) OriginOf(host string) string {
	scheme, port := "http", 0
	for _, listen := range p.Server.Listen {
		addr, err := caddy.ParseNetworkAddress(listen)
		if err != nil || addr.IsUnixNetwork() {
			continue
		}
		port = int(addr.StartPort)
	}
	if len(p.Server.TLSConnPolicies) > 0 || port == 443 {
		scheme = "https"
	}
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	if port == 0 || scheme == "https" && port == 443 || scheme == "http" && port == 80 {
		return scheme + "://" + host
	}
	return scheme + "://" + net.JoinHostPort(strings.Trim(host, "[]"), strconv.Itoa(port))
}
