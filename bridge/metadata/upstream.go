package metadata

import (
	"net/url"
	"slices"
	"strings"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/origin"
)

// upstream says which URLs are the upstream's own, and where its documents are.
type upstream struct {
	names *origin.Names
	path  string // of the MCP server, without a final slash; "" for the root
	tls   bool   // it is dialled with TLS
}

func newUpstream(c *Config) (*upstream, error) {
	names, err := origin.NewNames(c.Dials, c.TLS, c.Origins)
	return &upstream{names: names, path: strings.TrimSuffix(c.UpstreamPath, "/"), tls: c.TLS}, err
}

// isEndpoint reports whether u, a URL of the upstream, is the URL of the MCP server itself.
func (up *upstream) isEndpoint(u origin.URL) bool {
	return strings.TrimSuffix(u.Path, "/") == up.path && u.Query == ""
}

// namesResource reports whether u, the resource of a document, is the upstream's own MCP
// server ([origin.Document]): its path, or a prefix of it. On the public host the endpoint's
// path counts as well. This is stricter than for a metadata URL, because clients use
// resource to recognize an impostor (RFC 9728 section 7.3).
func (up *upstream) namesResource(u origin.URL, pub Public, sentHost string) bool {
	return up.ownsDocument(u, pub, sentHost) &&
		(pathPrefix(u.Path, up.path) || u.Name == pub.location().Name && pathPrefix(u.Path, pub.trimmedPath()))
}

// isServer reports whether an issuer is on the upstream's own origin. It is as strict as
// namesResource, because a mapped issuer speaks for the public host.
func (up *upstream) isServer(u origin.URL, pub Public, sentHost string) bool {
	return up.ownsDocument(u, pub, sentHost)
}

func (up *upstream) ownsDocument(u origin.URL, pub Public, sentHost string) bool {
	seen := pub.seen(sentHost)
	return u.Query == "" && !u.Fragment && seen.Public.Name != "" && up.names.Own(u, seen, origin.Document)
}

// pathPrefix reports whether path is prefix or below it, segment by segment. A final slash
// of either is ignored.
func pathPrefix(prefix, path string) bool {
	prefix, path = strings.TrimSuffix(prefix, "/"), strings.TrimSuffix(path, "/")
	rest, ok := strings.CutPrefix(path, prefix)
	return ok && (rest == "" || rest[0] == '/')
}

// target is one place to fetch from. origin is empty for the upstream, or a listed origin.
type target struct{ origin, path string }

// targets returns where to fetch a metadata URL that the upstream named: from the upstream,
// or from a listed origin. It returns nil for a foreign URL.
func (up *upstream) targets(raw string, pub Public, sentHost string) []target {
	if origin.IsPathAbsolute(raw) {
		raw, _, _ = strings.Cut(raw, "#")
		return requestTargets(raw)
	}
	u, err := origin.Parse(raw)
	if err != nil {
		return nil
	}
	path := u.Path + u.Query
	if u.Path == "" {
		path = "/" + path
	}
	seen := pub.seen(sentHost)
	switch {
	case up.names.Own(u, seen, origin.Fetch):
		return requestTargets(path)
	case up.names.Listed(u) && len(up.names.Dials()) == 0:
		// The upstream has no name of its own, so the listed origin may be its name.
		return requestTargets(path, "", u.Origin())
	case up.names.Listed(u):
		return requestTargets(path, u.Origin())
	case up.names.Own(u, seen, origin.Challenge):
		return requestTargets(path)
	}
	return nil
}

// requestTargets returns path at each origin, or at the upstream if none is given. It
// returns nil if path is not a valid request target.
func requestTargets(path string, origins ...string) []target {
	u, err := url.ParseRequestURI(path)
	if err != nil {
		return nil
	}
	if len(origins) == 0 {
		origins = []string{""}
	}
	targets := make([]target, 0, len(origins))
	for _, origin := range origins {
		targets = append(targets, target{origin, u.RequestURI()})
	}
	return targets
}

// place is a target of a search, and the source that a document from there has.
type place struct {
	target
	source Source
}

// places returns where a named document may be: at the upstream, or at a listed origin. If the
// upstream has no name of its own, the listed origin may be its name.
func (up *upstream) places(named target) []place {
	all := []place{{named, SourceChallenge}}
	if named.origin != "" && len(up.names.Dials()) == 0 {
		all = append([]place{{target{path: named.path}, SourceChallenge}}, all...)
	}
	return all
}

// The well-known paths of an authorization server's metadata: RFC 8414 section
// 3 and OpenID Connect Discovery 1.0 section 4.
const (
	serverPath = "/.well-known/oauth-authorization-server"
	openIDPath = "/.well-known/openid-configuration"
)

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

// reserved is [Store.Reserved].
func (up *upstream) reserved(path string) bool {
	own, err := url.PathUnescape(up.path)
	if err != nil {
		own = up.path
	}
	path, own = plainest(path), plainest(own)
	if own != "" && strings.TrimSuffix(path, "/") == strings.TrimSuffix(own, "/") || own == "" && path == "/" {
		return true
	}
	return OwnsServerPath(path) || path == WellKnownPath || strings.HasPrefix(path, WellKnownPath+"/")
}

// plainest returns the path that lenient servers see: in lower case, without the parameters
// of segments (Java), and without dots and spaces at the end of segments (Windows).
func plainest(path string) string {
	segments := strings.Split(strings.ToLower(path), "/")
	for i, segment := range segments {
		name, _, _ := strings.Cut(segment, ";")
		segments[i] = strings.TrimRight(name, ". ")
	}
	return strings.Join(segments, "/")
}

// serverSuffix is a path that follows the well-known path of an authorization server: as
// clients use it, unescaped, and at the upstream.
type serverSuffix struct{ public, upstream string }

// maxServers bounds the issuers of one upstream.
const maxServers = 4

// serverSuffixes returns where to look for documents: for each issuer at the upstream that
// its metadata names, at the root, and for the endpoint, where clients of MCP specification
// 2025-03-26 and earlier look.
func (up *upstream) serverSuffixes(pub Public, issuers []origin.URL) []serverSuffix {
	list := []serverSuffix{{"", ""}}
	for _, l := range issuers {
		p := strings.TrimSuffix(l.Path, "/")
		if u, err := url.PathUnescape(p); err != nil || u != p {
			continue // no known server has such an issuer
		}
		if !slices.ContainsFunc(list, func(o serverSuffix) bool { return o.public == p }) && len(list) <= maxServers {
			list = append(list, serverSuffix{p, p})
		}
	}
	endpoint := up.endpointSuffix(pub)
	if endpoint.public != "" && endpoint.upstream != "" &&
		!slices.ContainsFunc(list, func(o serverSuffix) bool { return o.public == endpoint.public }) {
		list = append(list, endpoint)
	}
	return list
}

// documentPaths returns the paths at which clients look for the documents of x.
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

// endpointSuffix returns the suffix for clients that take the endpoint's URL for an issuer.
func (up *upstream) endpointSuffix(pub Public) serverSuffix {
	suffix := serverSuffix{pub.trimmedPath(), up.path}
	if p, err := url.PathUnescape(suffix.public); err == nil {
		suffix.public = p
	}
	return suffix
}

// relays returns the paths at which clients look for the metadata of an authorization
// server, with the paths at the upstream. root adds those at the root of the site.
func (up *upstream) relays(pub Public, root bool) []serverSuffix {
	var all []serverSuffix
	if root {
		all = append(all, serverSuffix{}.documentPaths()...)
	}
	if endpoint := up.endpointSuffix(pub); endpoint.public != "" && endpoint.upstream != "" {
		all = append(all, endpoint.documentPaths()...)
	}
	return all
}

// ownURL returns the most likely resource identifier of an upstream without metadata: at the
// origin of its authorization server, or at the address that is dialled.
func (up *upstream) ownURL(srv *Server) string {
	dials := up.names.Dials()
	switch {
	case len(srv.origins) > 0:
		return srv.origins[0].Origin() + up.path
	case len(dials) > 0 && dials[0].Name != "":
		return origin.URL{Host: dials[0], HTTPS: up.tls}.Origin() + up.path
	}
	return ""
}

// privateOrigins returns the origins of the upstream that are not public: those of its
// authorization servers, the dialled addresses, and the Host that was sent.
func (up *upstream) privateOrigins(srv *Server, pub Public, sentHost string) origin.Set {
	set := srv.Origins()
	for _, h := range up.names.Dials() {
		if h.Name != "" {
			set.Add(origin.URL{Host: h, HTTPS: up.tls})
		}
	}
	scheme := "http://"
	if up.tls {
		scheme = "https://"
	}
	if u, err := origin.ParseOrigin(scheme + sentHost); err == nil {
		set.Add(u)
	}
	return set.Without(pub.Origin)
}
