package exchange

import (
	"encoding/json"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/authorize/principal"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/authorize/recent"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/authorize/token"
)

// loginAge is how long it is remembered that a principal was told to log in again.
const loginAge = time.Hour

// login is that a principal was told to log in again, because of a token.
type login struct {
	token recent.Name
	at    time.Time
}

// loginHelps reports whether to tell a principal to log in again, after the issuer has refused its
// token with a code that has two meanings. With invalid_request the subject token may be invalid
// (RFC 8693 section 2.2.2), or the request is, because of a mistake in the configuration (RFC 6749
// section 5.2).
//
// The first refusal does not show which of the two it is, so the principal is told to log in. If a
// token that was issued after that is refused in the same way, the login has not helped, and
// another one would not either. A token that the issuer has just called active cannot be the
// cause.
func (x *Exchanger) loginHelps(p *principal.Principal, raw string) bool {
	owner, ok := p.Owner()
	if !ok || p.Kind == principal.Introspected {
		return false
	}
	now, name := x.cfg.Now(), recent.Of(owner)
	told, ok := x.logins.Get(name, now)
	if !ok {
		x.logins.Add(name, login{recent.Of(raw), now}, now.Add(loginAge), 0)
		return true
	}
	if told.token == recent.Of(raw) {
		return true
	}
	issued, ok := issuedAt(p)
	return ok && issued.Before(told.at.Add(-token.Leeway))
}

// issuedAt returns when the token of a principal was issued.
func issuedAt(p *principal.Principal) (time.Time, bool) {
	number, _ := p.Claims["iat"].(json.Number)
	seconds, err := number.Float64()
	if err != nil {
		return time.Time{}, false
	}
	return time.Unix(int64(seconds), 0), true
}
