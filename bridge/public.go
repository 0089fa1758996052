package bridge

import (
	"strings"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/metadata"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/origin"
)

// Client is what the web server knows of the client of a request. The web server fills it
// once for each request.
type Client struct {
	// Scheme and Host are those that the client used: the last ones that a trusted proxy
	// forwards (X-Forwarded-Proto, X-Forwarded-Host), or else those of the request.
	Scheme, Host string
	// Prefix is the part of the path that enclosing routes have stripped, as it is configured.
	Prefix string
	// Trusted is true if the request came through a proxy that the configuration trusts.
	Trusted bool
	// ClaimsHTTPS is true if the peer, which is not trusted, says that its client used https
	// (X-Forwarded-Proto) and speaks http itself. Peer is its address then.
	ClaimsHTTPS bool
	Peer        string
}

// Site is what the configuration says of the public URL of an endpoint.
type Site struct {
	// Origin and Path fix the public URL. Default: scheme and host of the request, and the
	// path of the endpoint below the stripped prefix.
	Origin, Path string
	// Listed are hosts that the operator lists for the endpoint, in lower case.
	Listed map[string]bool
	// Hosts are those of the site, in lower case. "*.example.com" stands for any host one
	// label below example.com.
	Hosts map[string]bool
}

// has reports whether a host, in lower case and without port, is configured for the
// endpoint.
func (s *Site) has(host string) bool {
	if s.Listed[host] || s.Hosts[host] || s.Origin != "" && host == origin.HostnameOf(s.Origin) {
		return true
	}
	_, parent, ok := strings.Cut(host, ".")
	return ok && s.Hosts["*."+parent]
}

// isNamed reports whether the configuration names a host of the endpoint.
func (s *Site) isNamed() bool { return s.Origin != "" || len(s.Listed) > 0 || len(s.Hosts) > 0 }

// isSibling reports whether from is the origin of another host which the site names in full. In
// all but the host it has to equal public, the origin of a request for host.
func (s *Site) isSibling(from, public, host string) bool {
	if !strings.Contains(from, "://") || !s.Hosts[host] {
		return false
	}
	other := origin.HostnameOf(from)
	return s.Hosts[other] && from == strings.Replace(public, host, other, 1)
}

// SetHosts sets the hosts of the endpoint's site. It has to be called before the first
// request. Default: none.
func (e *Endpoint) SetHosts(hosts map[string]bool) { e.cfg.Site.Hosts = hosts }

// HasHost reports whether a host, in lower case and without port, is configured for the
// endpoint.
func (e *Endpoint) HasHost(host string) bool { return e.cfg.Site.has(host) }

// Public returns the public URL of the endpoint for a client. No other function computes it.
// It returns false if the request names no usable host.
func (e *Endpoint) Public(c *Client) (metadata.Public, bool) {
	var seen clientOrigin
	return e.public(c, &seen)
}

// clientOrigin is the origin that a client used, in its normalized form.
type clientOrigin struct {
	origin, host string
	ok           bool // the request names a usable host
	known        bool // the other fields are set
}

// lastOrigin is the last one that a client used, and how the client wrote it.
type lastOrigin struct {
	scheme, host string
	found        clientOrigin
}

// maxLastOrigin bounds, in bytes, the host of a [lastOrigin].
const maxLastOrigin = 300

// find sets the fields of seen, if that was not done before.
func (e *Endpoint) find(c *Client, seen *clientOrigin) {
	if seen.known {
		return
	}
	if last := e.last.Load(); last != nil && last.host == c.Host && last.scheme == c.Scheme {
		*seen = last.found
		return
	}
	seen.known = true
	used, err := metadata.NormalizeOrigin(c.Scheme + "://" + c.Host)
	if err != nil {
		return
	}
	seen.origin, seen.host, seen.ok = used, origin.HostnameOf(used), true
	if len(c.Host) <= maxLastOrigin {
		e.last.Store(&lastOrigin{c.Scheme, strings.Clone(c.Host), *seen})
	}
}

// public is [Endpoint.Public]. It takes the client's origin from seen, or leaves it there.
func (e *Endpoint) public(c *Client, seen *clientOrigin) (metadata.Public, bool) {
	site := &e.cfg.Site
	p := metadata.Public{Origin: site.Origin, Path: site.Path, Fixed: site.Origin != ""}
	if p.Origin == "" {
		if e.find(c, seen); !seen.ok {
			return metadata.Public{}, false
		}
		p.Origin, p.Fixed = seen.origin, site.has(seen.host)
	}
	switch {
	case p.Path != "":
	case c.Prefix == "":
		p.Path = e.cfg.Path
	case e.cfg.Path == "/":
		p.Path = c.Prefix
	default:
		p.Path = c.Prefix + e.cfg.Path
	}
	return p, true
}
