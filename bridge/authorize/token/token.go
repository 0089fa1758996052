// Package token verifies JWT access tokens of one issuer (RFC 7519, RFC 9068).
package token

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/authorize/keyset"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/authorize/principal"
)

const (
	// MaxLength bounds, in bytes, a token that is looked at.
	MaxLength = 16 << 10
	// Leeway is by how much the clocks of the issuer and of this machine may differ.
	Leeway = 30 * time.Second
)

// Keys finds the keys of an issuer; see [keyset.Set.Find].
type Keys interface {
	Find(ctx context.Context, alg, kid string) ([]jose.JSONWebKey, error)
}

// Parsed is a token whose signature was not checked yet. Nothing in it may be believed.
type Parsed struct {
	jws    *jose.JSONWebSignature
	header jose.Header
	claims Claims
}

// Issuer returns the issuer that the token names, to find its keys by.
func (p *Parsed) Issuer() string { return p.claims.Issuer }

// IsJWT reports whether a token has the form of a signed JWT: three parts in base64url, the
// first of which is the beginning of a JSON object. Other tokens are opaque.
func IsJWT(raw string) bool {
	header, _, _ := strings.Cut(raw, ".")
	return strings.Count(raw, ".") == 2 && beginsObject(header)
}

// beginsObject reports whether a JSON text in base64url begins with an object. White space may
// stand before and in it (RFC 8259, section 2).
func beginsObject(encoded string) bool {
	var three [3]byte // four characters
	for len(encoded) > 0 {
		part := min(4, len(encoded))
		n, err := base64.RawURLEncoding.Decode(three[:], []byte(encoded[:part]))
		if err != nil {
			return false
		}
		if text := bytes.TrimLeft(three[:n], " \t\r\n"); len(text) > 0 {
			return text[0] == '{'
		}
		encoded = encoded[part:]
	}
	return false
}

// IsToken68 reports whether a text is a token68 (RFC 9110, section 11.2), as each access
// token is.
func IsToken68(text string) bool {
	body := strings.TrimRight(text, "=")
	for i := range len(body) {
		switch c := body[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', strings.IndexByte("-._~+/", c) >= 0:
		default:
			return false
		}
	}
	return body != ""
}

// Parse parses a token, and refuses what no access token has, whatever its issuer.
func Parse(raw string) (*Parsed, *principal.Refusal) {
	if len(raw) > MaxLength {
		return nil, principal.Invalid(principal.TokenTooLong)
	}
	jws, err := jose.ParseSignedCompact(raw, keyset.Algorithms())
	if err != nil {
		wrong := new(jose.ErrUnexpectedSignatureAlgorithm)
		if errors.As(err, &wrong) {
			return nil, principal.Invalid(principal.WrongAlgorithm)
		}
		return nil, principal.Invalid(principal.MalformedToken)
	}
	p := &Parsed{jws: jws, header: jws.Signatures[0].Protected}
	if refusal := p.checkHeader(); refusal != nil {
		return nil, refusal
	}
	if p.claims, err = ParseClaims(jws.UnsafePayloadWithoutVerification()); err != nil {
		return nil, principal.Invalid(principal.MalformedToken)
	}
	return p, nil
}

func (p *Parsed) checkHeader() *principal.Refusal {
	if _, critical := p.header.ExtraHeaders["crit"]; critical {
		return principal.Invalid(principal.CriticalHeader) // RFC 7515, section 4.1.11: none is known here
	}
	if _, unencoded := p.header.ExtraHeaders["b64"]; unencoded {
		return principal.Invalid(principal.CriticalHeader) // RFC 7797, section 7
	}
	switch typ, _ := p.header.ExtraHeaders[jose.HeaderType].(string); strings.ToLower(typ) {
	case "jwt", "at+jwt", "application/at+jwt": // RFC 9068, section 4
	default:
		if _, ok := p.header.ExtraHeaders[jose.HeaderType]; ok {
			return principal.Invalid(principal.WrongType)
		}
	}
	if len(p.header.KeyID) > keyset.MaxKeyID {
		return principal.Invalid(principal.MalformedToken)
	}
	return nil
}

// Expected is what a token has to be.
type Expected struct {
	// Issuer is compared byte for byte.
	Issuer string
	// Audiences are the accepted ones; one of them has to be in the token.
	Audiences []string
	// Now is the time to check by.
	Now time.Time
}

// Verify checks the signature of a token with the keys of its issuer, and then what the
// token says of itself. The principal that it returns has no proof of a binding yet.
func Verify(ctx context.Context, p *Parsed, keys Keys, want Expected) (*principal.Principal, *principal.Refusal) {
	if p.claims.Issuer != want.Issuer || want.Issuer == "" {
		return nil, principal.Invalid(principal.UnknownIssuer)
	}
	candidates, err := keys.Find(ctx, p.header.Algorithm, p.header.KeyID)
	if err != nil {
		return nil, keyRefusal(err)
	}
	if !slices.ContainsFunc(candidates, func(k jose.JSONWebKey) bool {
		// go-jose checks the payload that Parse has read the claims of.
		_, err := keyset.Verify(p.jws, k.Key)
		return err == nil
	}) {
		return nil, principal.Invalid(principal.WrongSignature)
	}
	if p.claims.isIDToken() {
		return nil, principal.Invalid(principal.IDToken)
	}
	if refusal := p.claims.CheckUse(); refusal != nil {
		return nil, refusal
	}
	if p.claims.Expires.IsZero() {
		return nil, principal.Invalid(principal.NoExpiry)
	}
	if refusal := p.claims.CheckTimes(want.Now); refusal != nil {
		return nil, refusal
	}
	if !slices.ContainsFunc(want.Audiences, func(a string) bool { return slices.Contains(p.claims.Audience, a) }) {
		return nil, principal.Invalid(principal.WrongAudience)
	}
	return p.claims.Principal(principal.Token)
}

func keyRefusal(err error) *principal.Refusal {
	if errors.Is(err, keyset.ErrUnknownKey) {
		return principal.Invalid(principal.UnknownKey)
	}
	refusal := &principal.Refusal{Code: principal.Unavailable, Reason: principal.IssuerUnreachable, RetryAfter: time.Second, Cause: err}
	if away := new(keyset.UnavailableError); errors.As(err, &away) {
		refusal.RetryAfter = away.RetryAfter
	}
	return refusal
}
