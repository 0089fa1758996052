package metadata

import "strings"

// MapChallengeURL judges raw, the resource_metadata URL of a challenge. Where it
// is the upstream's it returns the endpoint's own well-known URL and true; where
// it is foreign, or that URL already, it returns raw and false. sentHost is the
// Host field that was sent upstream. It never waits; where the answer depends on
// metadata that was not asked for yet, it begins to ask.
//
// The upstream's are: each host in Dials and the host of sentHost, whatever the
// port; the public host; every local host; the listed origins, with scheme and
// port. On the public host a URL outside /.well-known/ stays while no metadata
// of the endpoint is known, unless its port is one that is dialled there.
func (s *Store) MapChallengeURL(raw string, pub Public, sentHost string) (string, bool) {
	own := pub.WellKnown()
	if raw == own || !s.ownsChallengeURL(raw, pub, sentHost) {
		return raw, false
	}
	return own, true
}

func (s *Store) ownsChallengeURL(raw string, pub Public, sentHost string) bool {
	public := pub.location()
	if public.host == "" {
		return false
	}
	if pathAbsolute(raw) {
		return strings.HasPrefix(raw, wellKnownPrefix) || s.KnownNow(pub)
	}
	l, err := parseLocation(raw)
	if err != nil {
		return false
	}
	if s.id.lists(l) {
		return true
	}
	if l.host == public.host {
		if strings.HasPrefix(l.path, wellKnownPrefix) || l.port != public.port && s.id.dialled(l.hostPort) || s.KnownNow(pub) {
			return true
		}
		s.Warm(pub) // for the next one
		return false
	}
	return l.local() || s.id.dialsHost(l.host) || l.host == sentHostPort(sentHost).host
}

// pathAbsolute reports whether raw is a path-absolute reference (RFC 3986
// section 4.2), as careless servers send it.
func pathAbsolute(raw string) bool {
	return strings.HasPrefix(raw, "/") && !strings.HasPrefix(raw, "//") && cleanText(raw)
}

// sentHostPort parses a Host field. Its port is 0 where none was sent, for the
// scheme that the upstream takes it with is not known.
func sentHostPort(field string) hostPort {
	hp, err := parseAuthority(field, 0)
	if err != nil {
		return hostPort{}
	}
	return hp
}

// lists reports whether the operator listed the URL's origin.
func (id *identity) lists(l location) bool {
	for _, o := range id.origins {
		if l.sameOrigin(o) {
			return true
		}
	}
	return false
}

// dialled reports whether host and port are an address of the upstream.
func (id *identity) dialled(h hostPort) bool {
	for _, d := range id.dials {
		if d == h {
			return true
		}
	}
	return false
}

func (id *identity) dialsHost(host string) bool {
	for _, d := range id.dials {
		if d.host == host {
			return true
		}
	}
	return false
}

func (id *identity) dialsPort(port uint16) bool {
	for _, d := range id.dials {
		if d.port == port {
			return true
		}
	}
	return false
}

// exactly reports whether the URL is at the very place that is dialled, or at
// the Host that was sent, or on the public host at a port that a server behind
// it may take for its own: the public one, its scheme's or the dialled one.
func (id *identity) exactly(l, public location, sent hostPort) bool {
	if id.dialled(l.hostPort) {
		return true
	}
	if l.host == public.host {
		return l.port == public.port || l.onDefaultPort() || id.dialsPort(l.port)
	}
	if l.host != sent.host {
		return false
	}
	return l.port == sent.port || (sent.port == 0 && l.onDefaultPort())
}

// namesResource reports whether a document's resource names the upstream's own
// MCP server: its host and port, or a local host with its port, or a listed
// origin, and there its path or a prefix of it. On the public host the
// endpoint's path counts as well. This is stricter than what a metadata URL has
// to be: clients rely on resource to tell an impostor (RFC 9728 section 7.3).
func (id *identity) namesResource(l location, pub Public, sent hostPort) bool {
	if l.query != "" || l.marked {
		return false
	}
	public := pub.location()
	if public.host == "" {
		return false
	}
	if !id.exactly(l, public, sent) && !(l.local() && id.dialsPort(l.port)) && !id.lists(l) {
		return false
	}
	return pathPrefix(l.path, id.path) ||
		(l.host == public.host && pathPrefix(l.path, pub.trimmedPath()))
}

// pathPrefix reports whether prefix is path or leads to it segment by segment.
// One final slash of either does not count.
func pathPrefix(prefix, path string) bool {
	prefix, path = strings.TrimSuffix(prefix, "/"), strings.TrimSuffix(path, "/")
	rest, ok := strings.CutPrefix(path, prefix)
	return ok && (rest == "" || rest[0] == '/')
}
