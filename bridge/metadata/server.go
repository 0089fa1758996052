package metadata

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// The well-known paths of an authorization server's metadata: RFC 8414 section
// 3 and OpenID Connect Discovery 1.0 section 4.
const (
	serverPath = "/.well-known/oauth-authorization-server"
	openIDPath = "/.well-known/openid-configuration"
)

// RouteKind says what a path of the authorization server is for.
type RouteKind uint8

// The kinds of routes. Where a document gives one path several uses, the first
// of these counts.
const (
	// RouteNone is no path of the authorization server.
	RouteNone RouteKind = iota
	// RouteAuthorize is the authorization endpoint: a page, with a resource.
	RouteAuthorize
	// RouteToken takes a form with a resource from any client: the token
	// endpoint and that of pushed authorization requests (RFC 9126).
	RouteToken
	// RouteRegistration is the registration endpoint (RFC 7591), and what
	// manages a registration (RFC 7592).
	RouteRegistration
	// RouteAPI is another endpoint that scripts may call.
	RouteAPI
	// RoutePage is a page of a login.
	RoutePage
)

// Open reports whether scripts of any origin may read the route's answers.
func (k RouteKind) Open() bool { return k == RouteToken || k == RouteRegistration || k == RouteAPI }

// serverMembers are the members of the documents whose URLs are endpoints; all
// others that end in _endpoint or _uri are pages.
var serverMembers = map[string]RouteKind{
	"authorization_endpoint":                RouteAuthorize,
	"token_endpoint":                        RouteToken,
	"pushed_authorization_request_endpoint": RouteToken,
	"registration_endpoint":                 RouteRegistration,
	"revocation_endpoint":                   RouteAPI,
	"jwks_uri":                              RouteAPI,
	"userinfo_endpoint":                     RouteAPI,
	"device_authorization_endpoint":         RouteAPI,
	"backchannel_authentication_endpoint":   RouteAPI,
}

// kindOf returns what the endpoint that a member names is for. Who may introspect
// tokens is an internal matter: that is no route under any name (C5).
func kindOf(member string) RouteKind {
	if strings.Contains(member, "introspection") {
		return RouteNone
	}
	if kind, ok := serverMembers[member]; ok {
		return kind
	}
	return RoutePage
}

// defaultRoutes are those of a server without metadata: MCP specification
// 2025-03-26, "Fallbacks for Servers without Metadata Discovery".
var defaultRoutes = map[string]RouteKind{
	"/authorize": RouteAuthorize,
	"/token":     RouteToken,
	"/register":  RouteRegistration,
}

// Server is the authorization server on the upstream's own origin, as it is
// mapped for one public URL. It does not change.
type Server struct {
	public    string     // origin
	origins   []location // of the server, as it writes them
	issuers   []issuer
	documents map[string]serverDocument // by path
	routes    map[string]RouteKind      // by path, unescaped
	closed    map[string]bool           // paths that are no routes, unescaped
	known     bool                      // there is a document
	// unavailable says that what could be had is not all that there is.
	unavailable bool
	// resource is the protected resource as the upstream's metadata names it,
	// where it was mapped, or as it would name it, where it has none.
	resource string
}

// issuer is an issuer identifier in both worlds.
type issuer struct{ upstream, public string }

// serverDocument is one metadata document.
type serverDocument struct {
	status status
	body   []byte
}

// Available reports whether it is known what the server serves.
func (s *Server) Available() bool { return s != nil && (s.known || !s.unavailable) }

// Route says what path, unescaped, is for. Without any document that says so
// it is one of the default endpoints of MCP specification 2025-03-26.
func (s *Server) Route(path string) RouteKind {
	if s == nil || !s.known {
		return defaultRoutes[path]
	}
	if s.closed[path] {
		return RouteNone
	}
	if kind, ok := s.routes[path]; ok {
		return kind
	}
	// RFC 7592 section 2: what manages a registration is an extension of the
	// registration endpoint, at most servers.
	if i := strings.LastIndexByte(path, '/'); i > 0 && i < len(path)-1 && s.routes[path[:i]] == RouteRegistration {
		return RouteRegistration
	}
	return RouteNone
}

// Closed reports whether path, unescaped, is one of the server's that only the
// operator can open.
func (s *Server) Closed(path string) bool { return s.closed[path] || path == "/introspect" }

// Owns reports whether raw, an absolute URL, is on an origin of the server, or
// on one of the further origins, and returns what follows its origin.
func (s *Server) Owns(raw string, further ...string) (rest string, ok bool) {
	l, err := parseLocation(raw)
	if err != nil {
		return "", false
	}
	if !slices.ContainsFunc(s.origins, l.sameOrigin) &&
		!slices.ContainsFunc(further, func(o string) bool { f, err := parseOrigin(o); return err == nil && f.sameOrigin(l) }) {
		return "", false
	}
	return afterAuthority(raw), true
}

// MapURL returns raw, an absolute URL on an origin of the server, at the public
// origin; every byte after the authority stays. Another is returned as it is.
func (s *Server) MapURL(raw string) (string, bool) {
	rest, ok := s.Owns(raw)
	if !ok {
		return raw, false
	}
	return s.public + rest, true
}

// MapIssuer returns the public form of an issuer identifier that equals the
// server's own, byte by byte.
func (s *Server) MapIssuer(iss string) (string, bool) {
	for _, i := range s.issuers {
		if i.upstream == iss {
			return i.public, true
		}
	}
	return iss, false
}

// Public is the public origin.
func (s *Server) Public() string { return s.public }

// UpstreamResource returns the upstream's own name of the protected resource
// for the public one, as a client has it from the metadata of pub.
func (s *Server) UpstreamResource(value string, pub Public) (string, bool) {
	if s == nil || s.resource == "" || value != pub.URL() && value != pub.URL()+"/" {
		return value, false
	}
	return s.resource, true
}

// EditURL changes the value of a member of a JSON object, if it is a string.
// Every other byte stays.
func EditURL(raw []byte, member string, change func(string) (string, bool)) ([]byte, bool) {
	o, err := parseObject(raw)
	if err != nil {
		return raw, false
	}
	i := o.find(member)
	value, ok := o.text(i)
	if !ok {
		return raw, false
	}
	if value, ok = change(value); !ok {
		return raw, false
	}
	return apply(raw, span{0, len(raw)}, []edit{{o.members[i].value, quote(value)}}), true
}

// afterAuthority returns what follows scheme and authority of an absolute URL.
func afterAuthority(raw string) string {
	_, rest, _ := strings.Cut(raw, "://")
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		return rest[i:]
	}
	return ""
}

// OwnsServerPath reports whether path, unescaped, is where clients look for the
// metadata of an authorization server: RFC 8414 section 3.1 and OpenID Connect
// Discovery 1.0 section 4.1, each with the issuer's path inserted or before it.
//
// One path below is not: the default jwks_uri of IdentityServer.
func OwnsServerPath(path string) bool {
	if path == openIDPath+"/jwks" {
		return false
	}
	for _, wellKnown := range []string{serverPath, openIDPath} {
		if rest, ok := strings.CutPrefix(path, wellKnown); ok && (rest == "" || rest[0] == '/') {
			return true
		}
		if strings.HasSuffix(path, wellKnown) {
			return true
		}
	}
	return false
}

// ServeServer answers a metadata URL of the authorization server. CORS and Vary
// are the caller's.
func (s *Store) ServeServer(w http.ResponseWriter, r *http.Request, pub Public, path string) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		answer(w, r, http.StatusMethodNotAllowed, "no-store", bodyMethod)
		return
	}
	e := s.lookupUpstream(r.Context(), pub)
	if e.server == nil {
		s.answerUnavailable(w, r)
		return
	}
	d, asked := e.server.documents[strings.TrimSuffix(path, "/")]
	switch {
	case !asked && e.status == unavailable:
		s.answerUnavailable(w, r) // what it may belong to is not known
	case !asked || d.status == absent:
		answer(w, r, http.StatusNotFound, "no-store", bodyNotFound)
	case d.status == found:
		s.answerFound(w, r, e, d.body)
	default:
		s.answerUnavailable(w, r)
	}
}

// ServeUnavailable says to come back: the upstream could not be asked.
func (s *Store) ServeUnavailable(w http.ResponseWriter, r *http.Request) { s.answerUnavailable(w, r) }

// Server returns the authorization server on the upstream's origin, mapped for
// pub, after a discovery if need be. It returns nil where it could not be asked
// for, and where the configuration does not bridge it.
func (s *Store) Server(ctx context.Context, pub Public) *Server {
	if !s.cfg.BridgeServer || s.cfg.Fetch == nil {
		return nil
	}
	return s.lookupUpstream(ctx, pub).server
}

// ServerNow is [Store.Server] without a wait, and without beginning a discovery:
// nil where nothing is kept for pub.
func (s *Store) ServerNow(pub Public) *Server {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.entries[pub.key()]; e != nil {
		return e.server
	}
	return nil
}

// DefaultRoute reports whether path is one of the endpoints of a server without
// metadata.
func DefaultRoute(path string) bool { return defaultRoutes[path] != RouteNone }

// Route is what is known of a path without asking: from the last discovery for
// pub, or, where nothing is kept for it, from the last one for such a public URL.
// It is fresh where that was no longer ago than a TTL.
func (s *Store) Route(path string, pub Public) (kind RouteKind, seen, fresh bool) {
	if pub.Fixed {
		s.mu.Lock()
		defer s.mu.Unlock()
		e := s.entries[pub.key()]
		if e == nil || !e.server.Available() {
			return RouteNone, false, false
		}
		return e.server.Route(path), true, time.Now().Before(e.expires)
	}
	last := s.last.Load()
	if last == nil {
		return RouteNone, false, false
	}
	return last.server.Route(path), true, time.Since(last.at) < s.cfg.TTL
}

// HasDocument reports whether path is the URL of a document that is kept for pub.
// It waits for a discovery until ctx ends.
func (s *Store) HasDocument(ctx context.Context, pub Public, path string) bool {
	srv := s.Server(ctx, pub)
	return srv != nil && srv.documents[strings.TrimSuffix(path, "/")].status == found
}

// serverSuffix is where an authorization server may have a document: what
// follows the well-known path, for a client, unescaped, and at the upstream.
type serverSuffix struct{ public, upstream string }

// maxServers bounds the issuers of one upstream.
const maxServers = 4

// serverSuffixes lists where to ask: for each issuer at the upstream that its
// own metadata names, at the root, and for the endpoint, as clients of MCP
// specification 2025-03-26 and before do.
func (s *Store) serverSuffixes(pub Public, issuers []location) []serverSuffix {
	list := []serverSuffix{{"", ""}}
	for _, l := range issuers {
		p := strings.TrimSuffix(l.path, "/")
		if u, err := url.PathUnescape(p); err != nil || u != p {
			continue // no such issuer was ever seen
		}
		if !slices.ContainsFunc(list, func(o serverSuffix) bool { return o.public == p }) && len(list) <= maxServers {
			list = append(list, serverSuffix{p, p})
		}
	}
	endpoint := serverSuffix{pub.trimmedPath(), s.id.path}
	if p, err := url.PathUnescape(endpoint.public); err == nil {
		endpoint.public = p
	}
	if endpoint.public != "" && endpoint.upstream != "" &&
		!slices.ContainsFunc(list, func(o serverSuffix) bool { return o.public == endpoint.public }) {
		list = append(list, endpoint)
	}
	return list
}

// documentPaths are the forms in which one suffix is asked for.
func (x serverSuffix) documentPaths() []serverSuffix {
	paths := []serverSuffix{{serverPath + x.public, serverPath + x.upstream}, {openIDPath + x.public, openIDPath + x.upstream}}
	if x.public != "" {
		paths = append(
			paths,
			serverSuffix{x.public + openIDPath, x.upstream + openIDPath},
			serverSuffix{x.public + serverPath, x.upstream + serverPath},
		)
	}
	return paths
}
