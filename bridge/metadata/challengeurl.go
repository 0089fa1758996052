package metadata

import (
	"strings"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/origin"
)

// This file maps the metadata URL in a challenge of the upstream to a public URL.
//
// The URL of the endpoint's own document becomes the well-known URL of the endpoint. The own
// document is the one at a well-known URL of the upstream, or the one that the upstream's
// 401 to a request without credentials names.
//
// The URL of any other document becomes the well-known URL of the endpoint with a token,
// which holds the path of the document at the upstream. The token is sealed, so that clients
// cannot have the bridge fetch paths that the upstream did not name. It needs no stored
// state: every replica with the same key can open it, also after a restart.
//
// Before the first discovery has ended the own document is not known. Until then the first
// metadata URL in the answer to a request without credentials counts as its URL, because
// discovery sends such a request too.

// documentParameter begins the query of a public URL with a token.
const documentParameter = "?document="

// maxNamed bounds, in bytes, the text that is sealed in a token.
const maxNamed = 2 << 10

// Seal turns a text into a token that can stand in a URL, and Open turns it back. Open must
// refuse a token that was changed, or that another endpoint has made.
type Seal struct {
	Seal func(text string) (token string, ok bool)
	Open func(token string) (text string, ok bool)
}

// MapChallengeURL maps raw, the resource_metadata URL of a challenge. If raw is the
// upstream's it returns the public URL of the same document, and true. If raw is foreign, or
// is that public URL already, it returns raw and false. sentHost is the Host field that was
// sent upstream.
//
// It never waits. If the result depends on metadata that was not fetched yet, it starts a
// discovery.
//
// first may be nil. It reports whether raw is the first metadata URL in the answer to a
// request without credentials. Then raw counts as the URL of the endpoint's own document
// until discovery shows that it is not, so that the result is the same before and after
// discovery.
//
// [origin.Challenge] says which URLs are the upstream's. A URL on the public host outside
// /.well-known/ stays as it is while no metadata of the endpoint is known, unless its port
// is one that is dialled.
func (s *Store) MapChallengeURL(raw string, pub Public, sentHost string, first func() bool) (string, bool) {
	u, owned := s.ownsChallengeURL(raw, pub, sentHost)
	if !owned {
		return raw, false
	}
	if public, ok := s.plainURL(u, pub); ok {
		return public, public != raw
	}
	public := s.publicURL(raw, pub, sentHost, first)
	return public, public != raw
}

// plainURL is a fast path of publicURL for the most common URL: a well-known path without a
// query. It returns false for other URLs.
func (s *Store) plainURL(u origin.URL, pub Public) (string, bool) {
	rest, ok := strings.CutPrefix(u.Path, WellKnownPath)
	if !ok || u.Query != "" || s.configured != nil || s.up.names.Listed(u) {
		return "", false
	}
	if rest = strings.TrimSuffix(rest, "/"); rest != "" && rest != s.up.path && rest != pub.trimmedPath() {
		return "", false
	}
	own := pub.own()
	if !s.cache.leadsTo(own, target{path: u.Path}, true) {
		return "", false
	}
	return own.WellKnown(), true
}

// ownsChallengeURL reports whether raw is the upstream's. If raw is an absolute URL it
// returns it parsed.
func (s *Store) ownsChallengeURL(raw string, pub Public, sentHost string) (u origin.URL, owned bool) {
	public, err := s.publics.Parse(pub.Origin)
	if err != nil || public.Name == "" {
		return u, false
	}
	if origin.IsPathAbsolute(raw) {
		return u, strings.HasPrefix(raw, wellKnownPrefix) || s.KnownNow(pub)
	}
	u, err = s.named.Parse(raw)
	if err != nil || !s.up.names.Own(u, origin.Seen{Public: public, Sent: sentHost}, origin.Challenge) {
		return u, false
	}
	if u.Name != public.Name || strings.HasPrefix(u.Path, wellKnownPrefix) || s.up.names.Listed(u) ||
		u.Port != public.Port && s.up.names.DialsPort(u.Port) || s.KnownNow(pub) {
		return u, true
	}
	s.Warm(pub) // so that the next challenge can be mapped
	return u, false
}

// publicURL returns the public URL of the document at raw, a metadata URL of the upstream.
// See [Store.MapChallengeURL] for first.
func (s *Store) publicURL(raw string, pub Public, sentHost string, first func() bool) string {
	if s.configured != nil {
		return pub.WellKnown() // there is no other document
	}
	targets := s.up.targets(raw, pub, sentHost)
	if len(targets) == 0 {
		return pub.WellKnown()
	}
	t := targets[len(targets)-1]
	if at, ok := s.wellKnownOf(t, pub, first); ok {
		return at.WellKnown()
	}
	if token, ok := s.seal(t, pub.Query); ok {
		s.Warm(pub) // so that the next challenge can be mapped
		pub.Query = documentParameter + token
	}
	return pub.WellKnown()
}

// wellKnownOf returns the public URL whose well-known URL leads to the document at t, if
// there is one.
func (s *Store) wellKnownOf(t target, pub Public, first func() bool) (Public, bool) {
	path, query, _ := strings.Cut(t.path, "?")
	switch strings.TrimSuffix(path, "/") {
	case WellKnownPath, WellKnownPath + s.up.path, WellKnownPath + pub.trimmedPath():
		at := pub
		at.Query = UsableQuery(query)
		return at, (query == "") == (at.Query == "") && s.cache.leadsTo(at, t, true)
	}
	unknown := first != nil && first()
	if own := pub.own(); s.cache.leadsTo(own, t, unknown && pub.Query == "") {
		return own, true
	}
	return pub, pub.Query != "" && s.cache.leadsTo(pub, t, unknown)
}

// seal returns a token for the document at t. query is the query of the MCP URL.
func (s *Store) seal(t target, query string) (string, bool) {
	text := strings.Join([]string{query, t.origin, t.path}, "\n")
	if s.cfg.Seal.Seal == nil || len(text) > maxNamed {
		return "", false
	}
	return s.cfg.Seal.Seal(text)
}

// asked returns pub with the document that a metadata request with this query asks for: the
// one in the token, or the one for the query of the MCP URL.
func (s *Store) asked(pub Public, rawQuery string) Public {
	if token, ok := strings.CutPrefix("?"+rawQuery, documentParameter); ok && s.configured == nil && s.cfg.Seal.Open != nil {
		if text, ok := s.cfg.Seal.Open(token); ok {
			return s.unsealed(pub, text)
		}
	}
	pub.Query = UsableQuery(rawQuery)
	return pub
}

// unsealed returns pub with the document that the text of a token names.
func (s *Store) unsealed(pub Public, text string) Public {
	const parts = 3
	part := strings.SplitN(text, "\n", parts)
	if len(part) != parts || !strings.HasPrefix(part[2], "/") {
		return pub
	}
	if part[1] != "" {
		// The operator may have removed the origin from the list since the token was made.
		if u, err := origin.Parse(part[1]); err != nil || !s.up.names.Listed(u) {
			return pub
		}
	}
	pub.Query, pub.named = part[0], target{part[1], part[2]}
	return pub
}
