package token

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"math"
	"strconv"
	"strings"
	"time"

	strict "github.com/go-jose/go-jose/v4/json"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/authorize/principal"
)

// Claims is what a token, or the answer of an introspection endpoint, says of itself.
type Claims struct {
	Issuer    string
	Audience  []string
	Expires   time.Time // zero if absent
	NotBefore time.Time
	IssuedAt  time.Time
	// All has every member, with each number as a json.Number.
	All map[string]any
}

// maxTime bounds the times of a token, in seconds since 1970: a larger number would
// overflow. It is in the year 2970.
const maxTime = 1_000 * 365 * 24 * 3600

// Members parses a JSON object, with each number as a json.Number. A member that is there twice,
// at any depth, is an error, and so is a number that some readers refuse.
func Members(doc []byte) (map[string]any, error) {
	// go-jose's decoder refuses a name that is there twice, which encoding/json does not.
	d := strict.NewDecoder(bytes.NewReader(doc))
	d.SetNumberType(strict.UnmarshalJSONNumber)
	var decoded any
	if err := d.Decode(&decoded); err != nil {
		return nil, errors.New("it is not JSON, or has a member twice")
	}
	all, ok := decoded.(map[string]any)
	if _, err := d.Token(); !ok || err != io.EOF {
		return nil, errors.New("it is not a JSON object")
	}
	if !plainNumbers(all) {
		return nil, errors.New("it has a number that is too large")
	}
	return all, nil
}

// ParseClaims parses claims as [Members] does. One of the known members that has another type is
// an error.
func ParseClaims(doc []byte) (Claims, error) {
	all, err := Members(doc)
	if err != nil {
		return Claims{}, err
	}
	c := Claims{All: all}
	var fits [5]bool
	c.Issuer, fits[0] = optional[string](all, "iss")
	c.Audience, fits[1] = list(all, "aud")
	c.Expires, fits[2] = numericDate(all, "exp")
	c.NotBefore, fits[3] = numericDate(all, "nbf")
	c.IssuedAt, fits[4] = numericDate(all, "iat")
	for _, good := range fits {
		if !good {
			return Claims{}, errors.New("iss, aud, exp, nbf or iat has another type")
		}
	}
	return c, nil
}

// plainNumbers makes each number a json.Number. It returns false if one is too large for a
// float64: readers differ about it.
func plainNumbers(value any) bool {
	switch v := value.(type) {
	case map[string]any:
		for name, one := range v {
			if number, ok := one.(strict.Number); ok {
				v[name] = json.Number(number)
			}
			if !plainNumbers(one) {
				return false
			}
		}
	case []any:
		for i, one := range v {
			if number, ok := one.(strict.Number); ok {
				v[i] = json.Number(number)
			}
			if !plainNumbers(one) {
				return false
			}
		}
	case strict.Number:
		_, err := strconv.ParseFloat(string(v), 64)
		return err == nil
	}
	return true
}

// CheckTimes checks `exp`, `nbf` and `iat` where they are present.
func (c Claims) CheckTimes(now time.Time) *principal.Refusal {
	switch {
	case !c.Expires.IsZero() && !now.Before(c.Expires.Add(Leeway)):
		return principal.Invalid(principal.Expired)
	case now.Add(Leeway).Before(c.NotBefore):
		return principal.Invalid(principal.NotYetValid)
	case now.Add(Leeway).Before(c.IssuedAt):
		return principal.Invalid(principal.IssuedInFuture)
	}
	return nil
}

// CheckUse refuses claims of what is no access token, by what issuers say of its use beyond the
// type in its header, which many leave out. They are the same issuer's, with its signature, and may
// have the audience of an access token.
func (c Claims) CheckUse() *principal.Refusal {
	for _, name := range uses {
		if use, _ := c.All[name].(string); use != "" {
			if reason, ok := otherUses[strings.ToLower(use)]; ok {
				return principal.Invalid(reason)
			}
		}
	}
	// RFC 8417, section 2.2: each event of a security event token, such as a logout token, has a URI.
	events, _ := c.All["events"].(map[string]any)
	for name := range events {
		if strings.Contains(name, ":") {
			return principal.Invalid(principal.WrongType)
		}
	}
	return nil
}

var (
	// uses has the members in which issuers name the use: Keycloak in `typ`, Amazon Cognito and
	// Ory Hydra in `token_use`, answers of introspection endpoints in `token_type` as well
	// (RFC 7662, section 2.2).
	uses = []string{"typ", "token_use", "token_type"}

	// otherUses has, in lower case, the uses of what is no access token. Others are not known to
	// be wrong: an access token has `Bearer`, `DPoP`, `access`, `access_token` or a word of its
	// issuer's.
	otherUses = map[string]principal.Reason{
		"id":            principal.IDToken,
		"id_token":      principal.IDToken,
		"refresh":       principal.WrongType,
		"refresh_token": principal.WrongType,
		"offline":       principal.WrongType, // Keycloak's refresh token that outlives the login
		"logout":        principal.WrongType,
		"logout_token":  principal.WrongType,
	}
)

// isIDToken reports whether the claims of a JWT are those of an OpenID Connect ID token, which
// says to a client who its user is and opens nothing.
func (c Claims) isIDToken() bool {
	for _, name := range []string{"nonce", "at_hash", "c_hash"} {
		if _, ok := c.All[name]; ok {
			return true
		}
	}
	return false
}

// Principal returns the principal that the claims describe.
func (c Claims) Principal(kind principal.Kind) (*principal.Principal, *principal.Refusal) {
	subject, ok := optional[string](c.All, "sub")
	client, ok2 := optional[string](c.All, "client_id")
	if client == "" && ok2 {
		client, ok2 = optional[string](c.All, "azp")
	}
	scopes, ok3 := c.scopes()
	if !ok || !ok2 || !ok3 {
		return nil, principal.Invalid(principal.MalformedToken)
	}
	binding, refusal := c.binding()
	if refusal != nil {
		return nil, refusal
	}
	p := &principal.Principal{
		Kind: kind, Issuer: c.Issuer, Subject: subject, ClientID: client,
		Scopes: scopes, Claims: c.All, Expires: c.Expires, Binding: binding,
	}
	if _, named := p.Owner(); !named {
		return nil, principal.Invalid(principal.NoSubject)
	}
	return p, nil
}

// scopes returns `scope`, or `scp` if that is absent: a text or a list.
func (c Claims) scopes() (principal.Scopes, bool) {
	for _, name := range []string{"scope", "scp"} {
		value, present := c.All[name]
		if !present {
			continue
		}
		if text, ok := value.(string); ok {
			return principal.ParseScopes(text), true
		}
		values, ok := list(c.All, name)
		return principal.NewScopes(values...), ok
	}
	return nil, true
}

// binding returns what the token is bound to (`cnf`, RFC 7800). A binding of another kind
// cannot be checked, so the token is refused.
func (c Claims) binding() (principal.Binding, *principal.Refusal) {
	value, present := c.All["cnf"]
	if !present {
		return principal.Binding{}, nil
	}
	members, ok := value.(map[string]any)
	if !ok || len(members) == 0 {
		return principal.Binding{}, principal.Invalid(principal.UnknownBinding)
	}
	var binding principal.Binding
	for name, value := range members {
		text, _ := value.(string)
		switch {
		case text == "":
			return principal.Binding{}, principal.Invalid(principal.UnknownBinding)
		case name == "jkt":
			binding.JKT = text
		case name == "x5t#S256":
			binding.Certificate = text
		default:
			return principal.Binding{}, principal.Invalid(principal.UnknownBinding)
		}
	}
	return binding, nil
}

// optional returns a member; the zero value if it is absent. ok is false if it has another
// type.
func optional[T any](all map[string]any, name string) (value T, ok bool) {
	member, present := all[name]
	if !present {
		return value, true
	}
	value, ok = member.(T)
	return value, ok
}

// list returns a member that is a text or a list of texts.
func list(all map[string]any, name string) (values []string, ok bool) {
	switch member := all[name].(type) {
	case nil:
		_, present := all[name]
		return nil, !present
	case string:
		return []string{member}, true
	case []any:
		for _, one := range member {
			text, isText := one.(string)
			if !isText {
				return nil, false
			}
			values = append(values, text)
		}
		return values, true
	}
	return nil, false
}

// numericDate returns a member that is a NumericDate (RFC 7519, section 2), to the second
// before. Whole numbers are the rule; a fraction is allowed.
func numericDate(all map[string]any, name string) (at time.Time, ok bool) {
	number, ok := optional[json.Number](all, name)
	if !ok || number == "" {
		return at, ok
	}
	seconds, err := number.Float64()
	if err != nil || seconds < 0 || seconds > maxTime || math.IsNaN(seconds) {
		return at, false
	}
	return time.Unix(int64(seconds), 0), true
}
