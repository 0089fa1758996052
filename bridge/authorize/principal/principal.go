// Package principal has what the credentials of one request prove: who sends it, through
// which client, and with which scopes. Credentials produce a [Principal]; rules, sessions,
// logs and Caddy's user read it.
package principal

import (
	"strconv"
	"strings"
	"time"
)

// Kind says which credentials a principal comes from. The set is closed: it is a label of
// metrics.
type Kind string

// The kinds of credentials.
const (
	// Token is a JWT access token that the edge has verified itself.
	Token Kind = "token"
	// Introspected is a token that the issuer was asked about (RFC 7662).
	Introspected Kind = "introspected"
	// Key is a static key of the configuration.
	Key Kind = "key"
	// User is a user whom an earlier handler of Caddy has authenticated.
	User Kind = "user"
)

// Principal has what the credentials of one request prove. It is never changed, so that requests
// with the same token can share it.
type Principal struct {
	Kind Kind
	// Issuer is `iss` of a token, byte for byte. Keys and users of Caddy have none.
	Issuer string
	// Subject is `sub` of a token, or the id of a user of Caddy.
	Subject string
	// ClientID is `client_id` of a token, or `azp` if that is absent.
	ClientID string
	// Scopes are those that the credentials hold themselves, without implied ones.
	Scopes Scopes
	// Claims are all claims of the token, decoded as JSON with each number as a
	// json.Number, so that no number loses digits.
	Claims map[string]any
	// Expires is when the credentials end. It is zero if they do not.
	Expires time.Time
	// KeyName is the name of a static key.
	KeyName string
	// Binding is what the sender has to prove besides the token. The proof was checked.
	Binding Binding
}

// Binding says which key the token is bound to (`cnf`).
type Binding struct {
	// JKT is the thumbprint of the key of a DPoP proof (RFC 9449 section 6.1).
	JKT string
	// Certificate is the SHA-256 thumbprint of a client certificate (RFC 8705 section 3.1).
	Certificate string
}

// idMark stands in an id between the issuer and the subject. An issuer is a URL without a
// fragment (RFC 8414 section 2), so the first one ends it.
const idMark = "#"

// ID is the id of the principal as Caddy's user: the subject of a token or a user, with the
// issuer in front of it if qualified is true. It has to be true if subjects come from more
// than one issuer, or from issuers and Caddy. A key is always qualified. Without a subject
// the client takes its place.
func (p *Principal) ID(qualified bool) string {
	switch {
	case p.Kind == Key:
		return string(Key) + idMark + p.KeyName
	case !qualified:
		return p.name()
	case p.Kind == User:
		return string(User) + idMark + p.name()
	}
	return p.Issuer + idMark + p.name()
}

// Owner returns the principal as the owner of sessions, shared servers and tasks: issuer and
// subject, or the name of a key. Different owners have different texts. A refreshed token has the
// same owner, and so has a token that was checked by introspection. Owner returns false for
// credentials that name neither a subject nor a client. They must be refused, because nothing
// tells two such clients apart.
func (p *Principal) Owner() (owner string, ok bool) {
	switch {
	case p.Kind == Key:
		return encode("key", p.KeyName), p.KeyName != ""
	case p.Kind == User:
		return encode("user", p.Subject), p.Subject != ""
	case p.Subject != "":
		return encode("subject", p.Issuer, p.Subject), true
	}
	return encode("client", p.Issuer, p.ClientID), p.ClientID != ""
}

// Expired reports whether the credentials have ended.
func (p *Principal) Expired(now time.Time) bool {
	return !p.Expires.IsZero() && !now.Before(p.Expires)
}

// name is the subject, or the client of credentials without one.
func (p *Principal) name() string {
	if p.Subject == "" {
		return p.ClientID
	}
	return p.Subject
}

// encode joins texts, each behind its length, so that no two lists have the same result.
func encode(parts ...string) string {
	var b strings.Builder
	for _, part := range parts {
		b.WriteString(strconv.Itoa(len(part)))
		b.WriteByte(':')
		b.WriteString(part)
	}
	return b.String()
}
