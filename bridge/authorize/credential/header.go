package credential

import (
	"net/url"
	"strings"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/authorize/principal"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/authorize/token"
)

// The authentication schemes of access tokens, in lower case.
const (
	bearer = "bearer" // RFC 6750
	dpopS  = "dpop"   // RFC 9449
)

// one is the one credential of a request.
type one struct {
	scheme string // bearer or dpopS; empty for a key in its own header field
	value  string
}

// find returns the one credential of a request.
func (a *Authenticator) find(req Request) (one, *principal.Refusal) {
	if hasToken(req.Query) {
		return one{}, malformed(principal.TokenInQuery)
	}
	if len(req.Authorization) > 1 || len(req.Key) > 1 || len(req.DPoP) > 1 {
		return one{}, malformed(principal.TwoCredentials)
	}
	found := one{}
	if len(req.Authorization) == 1 {
		scheme, value, _ := strings.Cut(strings.Trim(req.Authorization[0], " \t"), " ")
		scheme, value = strings.ToLower(scheme), strings.Trim(value, " ")
		switch scheme {
		case bearer, dpopS:
			if !token.IsToken68(value) {
				return one{}, malformed(principal.MalformedHeader)
			}
			found = one{scheme, value}
		}
		// Another scheme is not a credential here. An earlier handler may have read it.
	}
	if len(req.Key) == 1 && req.Key[0] != "" {
		if found.value != "" {
			return one{}, malformed(principal.TwoCredentials)
		}
		found = one{value: req.Key[0]}
	}
	return found, nil
}

// hasToken reports whether a query has a token (RFC 6750, section 2.3), which must never be
// there. A server that takes `;` for a separator would see it behind one, too.
func hasToken(query string) bool {
	for part := range strings.FieldsFuncSeq(query, func(c rune) bool { return c == '&' || c == ';' }) {
		name, _, _ := strings.Cut(part, "=")
		if plain, err := url.QueryUnescape(name); err == nil && plain == "access_token" {
			return true
		}
	}
	return false
}

func malformed(reason principal.Reason) *principal.Refusal {
	return &principal.Refusal{Code: principal.InvalidRequest, Reason: reason}
}
