package metadata

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/jsontext"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/origin"
)

// RouteKind says what a path of the authorization server is used for.
type RouteKind uint8

// The kinds of routes. Where a document gives one path several uses, the first
// of these counts.
const (
	// RouteNone is for a path that is not the authorization server's.
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

// Open reports whether scripts of any origin may read the answers.
func (k RouteKind) Open() bool { return k == RouteToken || k == RouteRegistration || k == RouteAPI }

// serverMembers are the members of the metadata whose URLs scripts call. All other members
// that end in _endpoint or _uri are pages.
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

// kindOf returns the kind of the endpoint that a member names. Introspection of tokens is
// internal: it is never a route (C5).
func kindOf(member string) RouteKind {
	if strings.Contains(member, "introspection") {
		return RouteNone
	}
	if kind, ok := serverMembers[member]; ok {
		return kind
	}
	return RoutePage
}

// defaultRoutes are the endpoints of a server without metadata (MCP specification
// 2025-03-26, "Fallbacks for Servers without Metadata Discovery").
var defaultRoutes = map[string]RouteKind{
	"/authorize": RouteAuthorize,
	"/token":     RouteToken,
	"/register":  RouteRegistration,
}

// DefaultRoute reports whether path is one of the endpoints of a server without
// metadata.
func DefaultRoute(path string) bool { return defaultRoutes[path] != RouteNone }

// Server is the authorization server on the upstream's own origin, mapped to one public URL.
// It is immutable.
type Server struct {
	public    string     // origin
	origins   origin.Set // of the server, as it writes them in its documents
	issuers   []issuer
	documents map[string]serverDocument // by path
	routes    map[string]RouteKind      // by path, unescaped
	closed    map[string]bool           // paths that are never routes, unescaped
	known     bool                      // the server has at least one document
	// unavailable is set if a document could not be fetched or is invalid.
	unavailable bool
	// resource is the upstream's own resource identifier: from its metadata, or, if it has
	// none, the most likely one.
	resource string
}

// issuer is an issuer identifier, at the upstream and in public.
type issuer struct{ upstream, public string }

// serverDocument is one metadata document.
type serverDocument struct {
	status status
	body   []byte
	own    bool   // it is of an authorization server on the upstream's origin
	reason string // why there is no document
	code   int    // the status for a client if it is unavailable; 0 means 503
}

// failure returns why a document could not be used, or "".
func (s *Server) failure() string {
	for _, path := range slices.Sorted(maps.Keys(s.documents)) {
		if reason := s.documents[path].reason; reason != "" {
			return reason
		}
	}
	return ""
}

// Available reports whether the routes of the server are known.
func (s *Server) Available() bool { return s != nil && (s.known || !s.unavailable) }

// Route returns what path, unescaped, is used for. If the server has no document it has the
// default endpoints of MCP specification 2025-03-26.
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
	// RFC 7592 section 2: at most servers the URL that manages a registration is below the
	// registration endpoint.
	if i := strings.LastIndexByte(path, '/'); i > 0 && i < len(path)-1 && s.routes[path[:i]] == RouteRegistration {
		return RouteRegistration
	}
	return RouteNone
}

// Closed reports whether path, unescaped, belongs to the server but is served only if the
// operator lists it.
func (s *Server) Closed(path string) bool { return s.closed[path] || path == "/introspect" }

// Owns reports whether raw, an absolute URL, is on an origin of the server or on one of the
// further origins. It returns the part of raw after the origin.
func (s *Server) Owns(raw string, further ...string) (rest string, ok bool) {
	u, err := origin.Parse(raw)
	if err != nil {
		return "", false
	}
	if !s.origins.Has(u) &&
		!slices.ContainsFunc(further, func(o string) bool { f, err := origin.ParseOrigin(o); return err == nil && f.SameOrigin(u) }) {
		return "", false
	}
	return origin.AfterAuthority(raw), true
}

// Origins returns the origins of the server, as it writes them in its documents.
func (s *Server) Origins() origin.Set { return slices.Clone(s.origins) }

// MapURL returns raw at the public origin, and true, if raw is an absolute URL on an origin
// of the server. Every byte after the authority stays. Otherwise it returns raw and false.
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

// Public returns the public origin.
func (s *Server) Public() string { return s.public }

// UpstreamResource returns the upstream's own resource identifier for value, if value is the
// public one of pub. A query is kept: it is part of both.
func (s *Server) UpstreamResource(value string, pub Public) (string, bool) {
	base, query, marked := strings.Cut(value, "?")
	if s == nil || s.resource == "" || !pub.IsResource(base) || marked && query == "" {
		return value, false
	}
	resource, _, _ := strings.Cut(s.resource, "?")
	if marked {
		resource += "?" + query
	}
	return resource, true
}

// EditURL changes the value of a member of a JSON object, if it is a string.
// Every other byte stays.
func EditURL(raw []byte, member string, change func(string) (string, bool)) ([]byte, bool) {
	o, err := jsontext.ParseObject(raw)
	if err != nil {
		return raw, false
	}
	i := o.Find(member)
	value, ok := o.Text(i)
	if !ok {
		return raw, false
	}
	if value, ok = change(value); !ok {
		return raw, false
	}
	return jsontext.Apply(raw, jsontext.Span{Start: 0, End: len(raw)}, []jsontext.Edit{{Span: o.Members[i].Value, Text: jsontext.Quote(value)}}), true
}

// Server returns the authorization server on the upstream's origin, mapped to pub. It waits
// for a discovery until ctx ends. It returns nil if the server could not be asked, or is not
// bridged.
func (s *Store) Server(ctx context.Context, pub Public) *Server {
	if !s.cfg.BridgeServer || s.cfg.Fetch == nil {
		return nil
	}
	return s.cache.lookup(ctx, pub.own()).server
}

// ServerNow is like [Store.Server] but looks only into the cache. It returns nil if nothing
// is cached for pub.
func (s *Store) ServerNow(pub Public) *Server { return s.cache.serverNow(pub) }

// Route returns what path is used for, from the cache alone. If nothing is cached for pub,
// and pub is not fixed, it uses the last discovery for any public URL. seen is false if
// there was none. fresh is false if that discovery is older than the TTL.
func (s *Store) Route(path string, pub Public) (kind RouteKind, seen, fresh bool) {
	return s.cache.route(path, pub)
}

// HasDocument reports whether path is the URL of a document of the authorization server. It
// waits for a discovery until ctx ends.
func (s *Store) HasDocument(ctx context.Context, pub Public, path string) bool {
	srv := s.Server(ctx, pub)
	return srv != nil && srv.documents[strings.TrimSuffix(path, "/")].status == found
}

// Reserved reports whether path, unescaped, can never belong to the authorization server: it
// is the path of the MCP server at the upstream, or a metadata path.
func (s *Store) Reserved(path string) bool { return s.up.reserved(path) }
