package mcpauthbridge

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/mcp"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/metadata"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/site"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/table"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/upstreams"
)

// placement is where an endpoint stands in the configuration. It is complete once the
// configuration starts.
type placement struct {
	*site.Place
	// path is the path that clients use, as far as the configuration tells.
	path string
	// name is what the operator sees the endpoint by: the same in metrics, answers of the
	// admin API, events and logs.
	name string
	// endpoints are those of the same site, with this one; nil if no route leads to it.
	endpoints *siteEndpoints
	// suffixes name the endpoint behind the well-known path.
	suffixes []ownedSuffix
}

// placed returns where the handler stands in the configuration.
func (h *Handler) placed() *placement {
	if p := h.place.Load(); p != nil {
		return p
	}
	p := &placement{Place: new(site.Place), path: h.Endpoint, name: h.Endpoint}
	p.suffixes = ownedSuffixes(h, p)
	return p
}

// staticPath is the public path of the endpoint, as far as the configuration tells.
func (h *Handler) staticPath() string { return h.placed().path }

// label is the name that an operator sees the endpoint by.
func (h *Handler) label() string { return h.placed().name }

// ownsRoot reports whether the endpoint owns the well-known URL without a path.
func (h *Handler) ownsRoot() bool { return h.placed().ownsRoot(h) }

// ownsRoot reports whether an endpoint at the place owns the well-known URL without a path.
func (p *placement) ownsRoot(h *Handler) bool {
	if h.RootMetadata != nil {
		return *h.RootMetadata
	}
	return p.Only
}

// ownHandler describes the handlers of this plugin to package site.
func ownHandler(handler caddyhttp.MiddlewareHandler) *site.Handler {
	switch h := handler.(type) {
	case *Handler:
		return h.described
	case *MetadataHandler:
		return h.described
	case *StatusHandler:
		return h.described
	}
	return nil
}

// describe describes the endpoint to package site.
func (h *Handler) describe() *site.Handler {
	d := &site.Handler{
		Role: site.Endpoint, Module: h,
		Path: h.Endpoint, FixedPath: h.base.path,
		Line: h.line, Upstream: h.upstreamName(), Proxy: h.ReverseProxy,
		Middleware: h.isMiddleware(), RunsProgram: !h.upstream.proxied && h.edge == nil,
		TakesUser:    h.Authorize != nil && h.Authorize.CaddyUser,
		NeedsNext:    h.ReverseProxy == nil && !h.bridges(),
		RootMetadata: h.RootMetadata != nil && *h.RootMetadata, ServesMetadata: !h.metadataOff(), BridgesServer: h.bridgesServer(),
	}
	for _, p := range h.endpoint.Paths() {
		d.Answered = append(d.Answered, site.Answered{Path: p.Path, Below: p.Below})
	}
	if c := h.LegacySSE; c != nil {
		d.LegacyPaths = []string{c.Path, c.MessagePath}
	}
	return d
}

// endpointTables puts endpoints into tables.
var endpointTables = &table.Config{Describe: inTable, Shared: discoveryPaths}

// inTable describes an endpoint for a table, if a table may leave it out for requests to other
// endpoints. It returns nil for endpoints of a bridged authorization server, whose paths are in
// its metadata, and for middleware, which looks at the answers of later handlers.
func inTable(handler caddyhttp.MiddlewareHandler) *table.Endpoint {
	h, ok := handler.(*Handler)
	if !ok || h.bridgesServer() || h.isMiddleware() {
		return nil
	}
	e := new(table.Endpoint)
	for _, p := range h.endpoint.Paths() {
		e.Paths = append(e.Paths, table.Path{Path: p.Path, Below: p.Below})
	}
	if !h.metadataOff() {
		for _, owned := range h.placed().suffixes {
			e.Metadata = append(e.Metadata, metadata.WellKnownPath+owned.suffix)
		}
	}
	return e
}

// upstreamName returns the upstream of the endpoint as it is configured.
func (h *Handler) upstreamName() string {
	if !h.upstream.proxied {
		return h.upstream.name()
	}
	if h.ReverseProxy == nil {
		return "the handlers that follow"
	}
	if dials := dialled(h.ReverseProxy); len(dials) > 0 {
		return dials[0]
	}
	return "dynamic upstreams"
}

// place finds out where the endpoints stand, and returns what is wrong there.
func (a *App) place(app *caddyhttp.App) ([]site.Warning, error) {
	warnings, err := site.Find(app, ownHandler)
	ofSite := settlePlaces(a.endpoints)
	for _, m := range a.metadata {
		m.endpoints = ofSite[m.described.Site()]
	}
	for _, h := range a.endpoints {
		h.endpoint.SetHosts(h.placed().Hosts)
		if h.ReverseProxy != nil {
			continue
		}
		if next := h.described.Follows(); next != nil {
			h.follows.Store(&next)
		}
	}
	return warnings, errors.Join(err, checkServers(a.endpoints))
}

// settlePlaces gives each endpoint its place and its name, which no other endpoint has. It returns
// the endpoints of each site.
func settlePlaces(endpoints []*Handler) map[*site.Site]*siteEndpoints {
	names := make(map[string]int)
	ofSite := make(map[*site.Site]*siteEndpoints)
	for _, h := range endpoints {
		s := h.described.Site()
		if s != nil && ofSite[s] == nil {
			ofSite[s] = endpointsOf(s)
		}
		p := &placement{Place: h.described.Place(), path: h.described.PublicPath(), endpoints: ofSite[s]}
		p.suffixes = ownedSuffixes(h, p)
		p.name = h.nameAt(p)
		if names[p.name]++; names[p.name] > 1 {
			p.name += "#" + strconv.Itoa(names[p.name])
		}
		h.place.Store(p)
	}
	for _, s := range ofSite {
		s.enter()
	}
	return ofSite
}

// siteEndpoints are the endpoints of one site, with what requests look up among them. It is made
// when the configuration is loaded, so that no request costs more where there are more endpoints.
type siteEndpoints struct {
	all []*Handler
	// paths has the endpoints by their public paths, without those at the root.
	paths map[string][]*Handler
	// suffixes has them by what follows the well-known path in the URLs of their metadata.
	suffixes map[string][]*Handler
	// relays has them by the paths at which they may relay the metadata of an authorization
	// server.
	relays map[string][]*Handler
	// bridging are those that bridge their authorization server and serve metadata, in order, and
	// number has the numbers of all.
	bridging []*Handler
	number   map[*Handler]int
	// servers has those that bridge their authorization server, by that server, and serverOf has
	// what they are found by.
	servers  map[string][]*Handler
	serverOf map[*Handler]string
}

// endpointsOf returns the endpoints of a site. [siteEndpoints.enter] has to follow.
func endpointsOf(at *site.Site) *siteEndpoints {
	s := new(siteEndpoints)
	for _, e := range at.Endpoints {
		s.all = append(s.all, e.Module.(*Handler))
	}
	return s
}

// enter enters the endpoints, once each has its place.
func (s *siteEndpoints) enter() {
	s.paths, s.suffixes, s.relays = make(map[string][]*Handler), make(map[string][]*Handler), make(map[string][]*Handler)
	s.servers, s.serverOf, s.number = make(map[string][]*Handler), make(map[*Handler]string), make(map[*Handler]int)
	for i, h := range s.all {
		p := h.placed()
		s.number[h] = i
		if p.path != "/" {
			s.paths[p.path] = append(s.paths[p.path], h)
		}
		for _, owned := range p.suffixes {
			s.suffixes[owned.suffix] = append(s.suffixes[owned.suffix], h)
		}
		if !h.metadataOff() && h.store != nil {
			for _, path := range h.store.RelayPaths(p.path, p.ownsRoot(h)) {
				s.relays[path] = append(s.relays[path], h)
			}
		}
		if h.bridgesServer() {
			server := h.identity.Server()
			s.servers[server] = append(s.servers[server], h)
			s.serverOf[h] = server
			if !h.metadataOff() {
				s.bridging = append(s.bridging, h)
			}
		}
	}
}

// isAnothers reports whether a path is that of another endpoint than h, or below it. Endpoints at
// the root do not count.
func (s *siteEndpoints) isAnothers(h *Handler, path string) bool {
	if s == nil {
		return false
	}
	for i := 0; i <= len(path); i++ {
		if i < len(path) && path[i] != '/' {
			continue
		}
		for _, other := range s.paths[path[:i]] {
			if other != h {
				return true
			}
		}
	}
	return false
}

// withServerOf calls see with h, and then with the other endpoints of the site that have the same
// bridged authorization server, until see returns false.
func (s *siteEndpoints) withServerOf(h *Handler, see func(*Handler) bool) {
	if !see(h) || s == nil {
		return
	}
	for _, other := range s.servers[s.serverOf[h]] {
		if other != h && !see(other) {
			return
		}
	}
}

// sharesServer reports whether another endpoint of the site has the same bridged authorization
// server.
func (s *siteEndpoints) sharesServer(h *Handler) bool {
	return s != nil && len(s.servers[s.serverOf[h]]) > 1
}

// mayRelay returns the endpoints that may answer a request for the metadata of an authorization
// server.
func (s *siteEndpoints) mayRelay(path string) []*Handler {
	return s.relays[strings.TrimSuffix(path, "/")]
}

// owner returns the first endpoint that serves its metadata at the well-known path and suffix; nil
// if there is none.
func (s *siteEndpoints) owner(suffix string) *Handler {
	for _, h := range s.suffixes[suffix] {
		if !h.metadataOff() {
			return h
		}
	}
	return nil
}

// nameAt is the public URL of the endpoint, as far as the configuration tells: with its
// first host, or else with the address that its server listens on.
func (h *Handler) nameAt(p *placement) string {
	if h.base.origin != "" {
		return h.base.origin + p.path
	}
	hosts := site.SortedKeys(p.Hosts)
	switch {
	case p.Server == nil:
	case len(hosts) > 0:
		return p.OriginOf(hosts[0]) + p.path
	case len(p.Server.Listen) > 0:
		return strings.TrimPrefix(p.Server.Listen[0], "tcp/") + p.path
	}
	return p.path
}

// written names the endpoint and, if that is known, the line of the Caddyfile that it is on.
func (h *Handler) written() string {
	if h.line == "" {
		return strconv.Quote(h.label())
	}
	return strconv.Quote(h.label()) + " (" + h.line + ")"
}

// checkReachable refuses endpoints that no request can reach, because another one answers
// their path.
func checkReachable(endpoints []*Handler) error {
	all := make([]*site.Handler, 0, len(endpoints))
	for _, h := range endpoints {
		all = append(all, h.described)
	}
	for _, h := range site.SharingPaths(all) {
		other, path := h.TakenBy(ownHandler)
		if other == nil {
			continue
		}
		mine, others := h.Module.(*Handler), other.Module.(*Handler)
		if path != "" {
			return fmt.Errorf("legacy_sse: endpoint %s in front of %s never gets requests for %q: %s in front of %s answers them; change one of the paths",
				mine.written(), h.Upstream, path, others.written(), other.Upstream)
		}
		return fmt.Errorf("endpoint %s in front of %s can never be reached: %s in front of %s answers its path before it; remove one of them, or change its path",
			mine.written(), h.Upstream, others.written(), other.Upstream)
	}
	return checkPublicURLs(endpoints)
}

// checkPublicURLs refuses two endpoints of a server that have one public URL: clients of both
// reach one of them.
func checkPublicURLs(endpoints []*Handler) error {
	type public struct {
		server *caddyhttp.Server
		url    string
	}
	seen := make(map[public]*Handler)
	for _, h := range endpoints {
		p := h.placed()
		if h.base.origin == "" || h.base.path == "" || p.Server == nil {
			continue
		}
		key := public{p.Server, h.base.origin + h.base.path}
		if other := seen[key]; other != nil && other.Endpoint != h.Endpoint {
			return fmt.Errorf("public_url: %s is that of endpoint %s and of endpoint %s; give one of them another path", key.url, writtenPath(other), writtenPath(h))
		}
		seen[key] = h
	}
	return nil
}

// writtenPath is the path of an endpoint and, if that is known, the line of the Caddyfile that it
// is on.
func writtenPath(h *Handler) string {
	if h.line == "" {
		return h.Endpoint
	}
	return h.Endpoint + " (" + h.line + ")"
}

// endpointUpstream is the upstream of an endpoint, with the properties of its kind, which are
// asked for once.
type endpointUpstream struct {
	upstreams.Kind
	// proxied is set if the server speaks HTTP.
	proxied bool
	// sse is set if the server speaks HTTP+SSE.
	sse bool
	// path and message are the server's paths. An empty path stands for the path of the endpoint,
	// and an empty message for the path that the server announces.
	path, message string
}

func newUpstream(kind upstreams.Kind) endpointUpstream {
	u := endpointUpstream{Kind: kind}
	if p, ok := kind.(upstreams.Proxied); ok {
		u.proxied, u.sse = true, p.SpeaksSSE()
		u.path, u.message = p.Paths()
	}
	return u
}

// bridgeKind is the transport that the request path of package bridge has to know of.
func (u *endpointUpstream) bridgeKind() bridge.Kind {
	switch {
	case u.sse:
		return bridge.KindSSE
	case u.proxied:
		return bridge.KindHTTP
	}
	return bridge.KindStdio
}

// translates reports whether requests for the endpoint reach the server as messages, and
// do not cross as they are.
func (u *endpointUpstream) translates() bool { return u.sse || !u.proxied }

// crosses reports whether one request for the endpoint crosses as it is.
func (u *endpointUpstream) crosses(r *http.Request) bool {
	if !u.translates() {
		return true
	}
	// A GET without a session is the event stream of HTTP+SSE itself.
	return u.sse && r.Method == http.MethodGet && len(r.Header[mcp.SessionHeader]) == 0
}

// name is what logs, events and errors call a server that no proxy dials.
func (u *endpointUpstream) name() string {
	if n, ok := u.Kind.(upstreams.Named); ok {
		return n.Name()
	}
	return u.Transport()
}

// environment returns the values outside of the module's JSON that its server depends on.
func (u *endpointUpstream) environment() []string {
	if e, ok := u.Kind.(upstreams.Environmental); ok {
		return e.Environment()
	}
	return nil
}

// checkLoad checks the upstream when the configuration is loaded.
func (u *endpointUpstream) checkLoad(logger *zap.Logger) error {
	if c, ok := u.Kind.(upstreams.Checked); ok {
		return c.CheckLoad(logger)
	}
	return nil
}

// checkStart checks the upstream when the configuration starts.
func (u *endpointUpstream) checkStart() error {
	if c, ok := u.Kind.(upstreams.Checked); ok {
		return c.CheckStart()
	}
	return nil
}

// needsGuard reports whether the endpoint must not be reached from other machines.
func (u *endpointUpstream) needsGuard() bool {
	if u.proxied {
		return false
	}
	g, ok := u.Kind.(upstreams.Guarded)
	return !ok || !g.AllowsUnauthenticated()
}

// checkUpstream checks the options of the endpoint that depend on the kind of its upstream.
func checkUpstream(h *Handler) error {
	u := &h.upstream
	switch {
	case u.proxied:
		return nil
	case h.ReverseProxy != nil:
		return fmt.Errorf("%s: excludes an upstream address (reverse_proxy in JSON)", u.Transport())
	case h.CORS != nil && h.CORS.Disabled:
		return errors.New("cors off: with " + u.Transport() + " nothing checks which page a request comes from, and any page could run the program; " +
			"leave it out, or name the pages with `allow_origins` in a block `cors` of the endpoint")
	}
	return u.checkLoad(h.logger.With(zap.String("endpoint", h.Endpoint)))
}

// errUnguarded refuses a server without a login that other machines could reach. If it is
// not known which servers lead to the endpoint, each of them may.
func errUnguarded(h *Handler) error {
	if !h.upstream.needsGuard() || h.edge != nil {
		return nil
	}
	kind := h.upstream.Transport()
	where := "can be reached"
	servers := h.described.Servers()
	if len(servers) == 0 {
		where, servers = "is in no known route, so it may be reachable", h.app.servers
	}
	for _, server := range servers {
		for _, listen := range server.Listen {
			if site.IsLocal(listen) {
				continue
			}
			return fmt.Errorf("%s: endpoint %q %s from other machines at %q, so everyone could run its program; "+
				"add `bind 127.0.0.1` to the site, or write allow_unauthenticated if something else protects it", kind, h.staticPath(), where, listen)
		}
	}
	if len(servers) == 0 {
		return fmt.Errorf("%s: endpoint %q is in no known server, so everyone may be able to run its program; write allow_unauthenticated if something else protects it", kind, h.staticPath())
	}
	return nil
}
