// Package site finds out where the handlers of this plugin stand in Caddy's configuration:
// on which servers, for which hosts and paths, below which prefixes, behind which other
// handlers, and how far the guards in front of them (logins, refusals) reach.
//
// [Find] walks the routes of all servers once, when all of them are provisioned, which
// [Observe] finds out. It fills in the place of each [Handler] and returns what has to be
// refused and what is worth a warning.
//
// Where to look:
//   - walker.go, nested.go: the walk, and the routes inside handlers of all kinds
//   - place.go: one place, and what is known of a client there
//   - checks.go: what is refused or warned of
//   - traps.go: places where an endpoint loads and does not work
//   - follows.go: what Caddy runs after a handler
//   - matchers.go: what can be said of a matcher before a request comes
//   - describe.go: matchers as text, for the identity of an endpoint
//   - trial.go, trials.go, paths.go: requests that are followed through the routes, to see
//     what they meet
//   - guard.go: what the trials say of the guards
//   - written.go: which line of a Caddyfile a handler is on
//   - provisioned.go: when all routes are provisioned
//   - behind.go: guards that stand behind an endpoint
package site

import (
	"maps"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/table"
)

// Role is what a handler of this plugin does at its place.
type Role uint8

const (
	// Endpoint answers MCP clients, or passes their requests to the handlers that follow.
	Endpoint Role = iota
	// Metadata answers the well-known URLs of the endpoints of its site.
	Metadata
	// StatusPage shows the state of all endpoints.
	StatusPage
)

// Handler describes one handler of this plugin. The caller fills in the exported fields, and
// Find fills in the place. Fields beside Role and Module are for endpoints.
type Handler struct {
	Role Role
	// Module is the handler that is described.
	Module caddyhttp.MiddlewareHandler

	// Path is the path of the endpoint as its route has it.
	Path string
	// PublicPath is the path that clients use, if the configuration says it. Default: the
	// prefix that the routes strip, and Path.
	FixedPath string
	// Answered are the paths that the endpoint answers, without the prefix. Its own comes
	// first.
	Answered []Answered
	// LegacyPaths are the paths of Answered that belong to HTTP+SSE. Two endpoints of a site must
	// not have the same one.
	LegacyPaths []string
	// Line is the line of the Caddyfile that the endpoint is on; it is empty if that is not
	// known.
	Line string
	// Upstream names the server behind the endpoint in errors.
	Upstream string
	// Proxy is the proxy to the upstream; nil if there is none.
	Proxy *reverseproxy.Handler
	// Middleware is set if the handlers that follow answer in place of an upstream.
	Middleware bool
	// RunsProgram is set if the server itself checks no credentials, so that a guard in
	// front of the endpoint decides alone.
	RunsProgram bool
	// TakesUser is set if the endpoint accepts the user of a handler in front.
	TakesUser bool
	// NeedsNext is set if the endpoint answers nothing by itself.
	NeedsNext bool
	// RootMetadata is set if the endpoint also owns the well-known URL without a path.
	RootMetadata bool
	// ServesMetadata is set if the endpoint answers its well-known URL.
	ServesMetadata bool
	// BridgesServer is set if the endpoint answers the paths of an authorization server.
	BridgesServer bool

	place *Place
	all   []*Place
	site  *Site
}

// Answered is a path that an endpoint answers.
type Answered struct {
	Path string
	// Below is set if every path that begins with Path is answered.
	Below bool
}

// answers reports whether the endpoint answers a path.
func (h *Handler) answers(path string) bool {
	return slices.ContainsFunc(h.Answered, func(a Answered) bool {
		return path == a.Path || a.Below && strings.HasPrefix(path, a.Path)
	})
}

// Describe returns the description of a handler; nil if it is not a handler of this plugin.
type Describe func(caddyhttp.MiddlewareHandler) *Handler

// Site is what a Caddyfile calls a site: the routes for the same hosts on the same server.
type Site struct {
	// Endpoints are the endpoints of the site in the order of their routes.
	Endpoints []*Handler

	metadata []*Handler
	has      map[*Handler]bool        // of Endpoints
	indexes  indexes                  // of its lists of routes
	tried    map[string][]*hostRoutes // by hosts
}

// Place returns where the handler stands. A handler that several routes invoke has several
// places: this is the first of them, with the hosts of all. It is the zero place for a
// handler that no route leads to.
func (h *Handler) Place() *Place {
	if h.place == nil {
		return new(Place)
	}
	return h.place
}

// Places returns all places where the handler stands.
func (h *Handler) Places() []*Place { return h.all }

// Site returns the site that the handler belongs to; nil if no route leads to it.
func (h *Handler) Site() *Site { return h.site }

// Servers returns the servers that lead to the handler, as far as they are known.
func (h *Handler) Servers() (all []*caddyhttp.Server) {
	for _, at := range h.all {
		if !slices.Contains(all, at.Server) {
			all = append(all, at.Server)
		}
	}
	return all
}

// PublicPath is the path of the endpoint that clients use.
func (h *Handler) PublicPath() string {
	if h.FixedPath != "" {
		return h.FixedPath
	}
	prefix := h.Place().Prefix
	if prefix != "" && h.Path == "/" {
		return prefix
	}
	return prefix + h.Path
}

// Warning is a problem that an operator should correct, although the configuration works.
type Warning struct {
	Message, Endpoint, Path, Advice string
}

// Find finds the place of each handler and returns what is wrong: an error for what must not
// be served, and warnings.
func Find(app *caddyhttp.App, describe Describe) ([]Warning, error) {
	w := &walker{describe: describe, sites: make(map[string]*Site), seen: make(map[*Handler]bool), left: maxRoutes}
	hosts := make(hostIndexes)
	for _, name := range slices.Sorted(maps.Keys(app.Servers)) {
		server := app.Servers[name]
		at := Place{Server: server, hosts: hosts}
		w.routes(table.ServerRoutes(server), name, at, true, nil)
		if server.Errors != nil {
			w.routes(server.Errors.Routes, name, at, true, nil)
		}
	}
	for _, h := range w.endpoints {
		h.merge()
	}
	return w.check()
}

// merge makes one place of all places of an endpoint.
func (h *Handler) merge() {
	p := *h.all[0]
	p.Only = true
	p.Hosts = make(map[string]bool)
	for _, other := range h.all {
		maps.Copy(p.Hosts, other.Hosts)
		other.Only = len(other.site.Endpoints) == 1
		p.Only = p.Only && other.Only
	}
	h.place, h.site = &p, p.site
}
