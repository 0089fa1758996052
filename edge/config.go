// Package edge is authorization at the edge: the option `authorize`, and what it does to each
// request of an endpoint before it reaches the MCP server. It fits bridge/authorize into
// Caddy.
package edge

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/textproto"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/authorize/credential"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/authorize/keyset"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/authorize/rules"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/origin"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/placeholder"
)

// Config asks clients for a login before a request reaches the MCP server.
type Config struct {
	// The authorization servers whose access tokens are accepted.
	Issuers []Issuer `json:"issuers,omitempty"`

	// Static keys, for scripts. A key is sent as a Bearer token, or in the
	// header field of `key_header`.
	Keys []Key `json:"keys,omitempty"`

	// A header field, such as `X-API-Key`, that may carry a static key.
	// Default: none.
	KeyHeader string `json:"key_header,omitempty"`

	// Accepts the user whom an earlier handler of the site has authenticated
	// (`basic_auth`, `forward_auth` with `http.auth.user.id`), if a request has
	// no token. Default: false.
	CaddyUser bool `json:"caddy_user,omitempty"`

	// DPoP (RFC 9449): `optional` checks the proof of tokens that are bound to a
	// key, `required` refuses other tokens. Without it bound tokens are refused.
	// Default: off.
	DPoP string `json:"dpop,omitempty"`

	// Asks for a fresh nonce in DPoP proofs. All replicas that share Caddy's
	// storage accept it. Default: false.
	DPoPNonce bool `json:"dpop_nonce,omitempty"`

	// Claims of the token that are set as `{http.auth.user.<claim>}`.
	UserClaims []string `json:"user_claims,omitempty"`

	// What becomes of the client's token: `strip` removes it, `pass` hands it to
	// the MCP server, `exchange` hands over one that it is exchanged for. `pass`
	// is refused with `audience`: such a token was issued for something else.
	// Default: `strip`.
	Token string `json:"token,omitempty"`

	// What the client's token is exchanged for, with the token `exchange`.
	Exchange *Exchange `json:"exchange,omitempty"`

	// Header fields that tell the MCP server who asks. The same fields of a
	// client are removed.
	Identity []IdentityField `json:"identity,omitempty"`

	// What a request needs.
	rules.Config
}

// Issuer is an authorization server.
type Issuer struct {
	// The issuer URL, exactly as in the tokens and in the server's metadata.
	Issuer string `json:"issuer,omitempty"`

	// The URL of the keys. Default: the `jwks_uri` of the server's metadata.
	JWKS string `json:"jwks,omitempty"`

	// Audiences that are accepted beside the public URL of the endpoint, such as
	// `api://files`. Tokens for other services with the same audience are then
	// accepted too.
	Audience []string `json:"audience,omitempty"`

	// Asks the server about tokens that are not JWTs (RFC 7662). Default: such
	// tokens are refused.
	Introspect *Introspect `json:"introspect,omitempty"`
}

// Introspect asks an authorization server about tokens.
type Introspect struct {
	// The URL to ask. Default: the `introspection_endpoint` of the server's
	// metadata.
	URL string `json:"url,omitempty"`

	// Whether the answer must have `aud`: `required`, or `optional`. With
	// `optional` every token counts that the server answers about without one,
	// also if it was issued for another service. If the answer has one, it must
	// name the endpoint, or an audience of the issuer. Default: `required`.
	Audience string `json:"audience,omitempty"`

	Client
}

// Whether the answer to a question about a token must name an audience.
const (
	audienceRequired = "required"
	audienceOptional = "optional"
)

// Key is a static key.
type Key struct {
	// A name for logs.
	Name string `json:"name,omitempty"`

	// The key: a placeholder such as `{env.BACKUP_KEY}` or
	// `{file./run/secrets/backup}`. At least 16 characters.
	Value string `json:"value,omitempty"`

	// The scopes that it holds.
	Scope []string `json:"scope,omitempty"`
}

// IdentityField is a header field that tells the MCP server who asks.
type IdentityField struct {
	// The name of the field.
	Name string `json:"name,omitempty"`

	// The claim that is its value; `id` is the id of the user.
	Claim string `json:"claim,omitempty"`
}

// What becomes of the client's token.
const (
	strip = "strip"
	pass  = "pass"
	// ExchangeToken exchanges it.
	ExchangeToken = "exchange"
)

// tellsWho reports whether the MCP server is told who asks.
func (c *Config) tellsWho() bool {
	return len(c.Identity) > 0 || c.GivesToken()
}

// GivesToken reports whether the MCP server gets a token.
func (c *Config) GivesToken() bool { return c.Token == pass || c.Token == ExchangeToken }

// Policy compiles the rules. shared is set if one MCP server answers several principals.
func (c *Config) Policy(shared bool) (*rules.Policy, error) {
	p, err := rules.New(c.Config)
	switch {
	case err != nil:
		return nil, fmt.Errorf("authorize %w", err)
	case shared && !c.tellsWho():
		return p.WithoutTaskLists(), nil
	}
	return p, nil
}

// CheckIssuer checks the URL of an issuer.
func CheckIssuer(issuer string) error {
	if issuer == "" {
		return errors.New("authorize issuer: the value is empty; write `issuer https://login.example.com`")
	}
	if meant := origin.MeantIssuer(issuer); meant != "" {
		return fmt.Errorf("authorize issuer: %q is the URL of its metadata; write `issuer %s`, as `issuer` in that document has it", issuer, meant)
	}
	if first, second, ok := strings.Cut(issuer, ","); ok && strings.Contains(second, "://") {
		return fmt.Errorf("authorize issuer: %q has a comma; write one line for each, as in `issuer %s` and `issuer %s`", issuer, first, second)
	}
	if !strings.Contains(issuer, "://") {
		return fmt.Errorf("authorize issuer: %q has no scheme; write `issuer https://%s`", issuer, issuer)
	}
	if _, err := keyset.MetadataURLs(issuer); err != nil {
		return fmt.Errorf("authorize issuer: %q must be a URL without query and fragment; write it as the `issuer` of its metadata has it", issuer)
	}
	return nil
}

// Validate reports every mistake, one line each.
func (c *Config) Validate() error {
	var errs []error
	add := func(format string, args ...any) { errs = append(errs, fmt.Errorf("authorize "+format, args...)) }
	if len(c.Issuers)+len(c.Keys) == 0 && !c.CaddyUser {
		add("accepts nothing: write `issuer https://login.example.com`, `key NAME {env.KEY}` or `caddy_user`")
	}
	for _, v := range c.literals() {
		if i := slices.IndexFunc(v.values, placeholder.In); i >= 0 {
			add("%s: %q: placeholders are not replaced here; write the value itself", v.option, v.values[i])
		}
	}
	for _, i := range c.Issuers {
		if err := CheckIssuer(i.Issuer); err != nil {
			errs = append(errs, err)
		}
		checkURL := func(option, value string) {
			if u, err := origin.Parse(value); value != "" && (err != nil || u.Fragment) {
				add("%s: %q must be a URL that starts with https://, such as %s/keys", option, value, strings.TrimSuffix(i.Issuer, "/"))
			}
		}
		checkURL("issuer jwks", i.JWKS)
		if i.Introspect != nil {
			checkURL("issuer introspect", i.Introspect.URL)
			errs = append(errs, i.Introspect.Client.check("authorize issuer introspect"))
			switch i.Introspect.Audience {
			case "", audienceRequired, audienceOptional:
			default:
				add("issuer introspect audience: %q must be required or optional; an audience that is accepted is an option of the issuer: move it out of the block introspect", i.Introspect.Audience)
			}
		}
	}
	if c.KeyHeader != "" && len(c.Keys) == 0 {
		add("key_header: there is no key that it could carry; write `key NAME {env.KEY}`, or remove key_header")
	}
	switch credential.Mode(c.DPoP) {
	case credential.Off, credential.Optional, credential.Required:
	default:
		add("dpop: %q must be optional or required", c.DPoP)
	}
	if c.DPoPNonce && c.DPoP == "" {
		add("dpop_nonce: needs `dpop optional` or `dpop required`; write one of them, or remove dpop_nonce")
	}
	switch c.Token {
	case "", strip:
	case pass:
		if slices.ContainsFunc(c.Issuers, func(i Issuer) bool { return len(i.Audience) > 0 }) {
			add("token pass: excludes `audience`, because such a token was issued for another service; remove one of them")
		}
	case ExchangeToken:
		errs = append(errs, c.checkExchange()...)
	default:
		add("token: %q must be strip, pass or exchange", c.Token)
	}
	if c.Exchange != nil && c.Token != ExchangeToken {
		add("exchange: needs the token `exchange`; set it, or remove exchange")
	}
	if c.KeyHeader != "" && !usableField(c.KeyHeader) {
		add("key_header: %q cannot carry a key; write a name such as X-API-Key", c.KeyHeader)
	}
	for n, f := range c.Identity {
		if slices.ContainsFunc(c.Identity[:n], func(other IdentityField) bool { return sameField(other.Name, f.Name) }) {
			add("identity %s: is given twice; remove one of the two", f.Name)
		}
		if strings.ContainsAny(f.Claim, "{}") {
			add("identity %s: %q is a placeholder, and the value is that of a claim; write its name, as in `identity %[1]s email`", f.Name, f.Claim)
		}
		if !usableField(f.Name) {
			add("identity: %q cannot be set; write a name such as X-User", f.Name)
		}
		if f.Claim == "" {
			add("identity %s: needs the name of a claim, or id", f.Name)
		}
	}
	return errors.Join(errs...)
}

// literal is an option whose values are compared as they are written.
type literal struct {
	option string
	values []string
}

// literals returns the options whose placeholders are not replaced. A Caddyfile with one there is
// refused earlier, with its line.
func (c *Config) literals() []literal {
	all := []literal{{"scope", c.Scopes}}
	claims := func(of []rules.Claim) {
		for _, claim := range of {
			all = append(all, literal{"claim " + claim.Name, claim.Values})
		}
	}
	claims(c.Claims)
	for _, r := range c.Rules {
		all = append(all, literal{"scope", r.Scopes})
		claims(r.Claims)
	}
	for _, scope := range slices.Sorted(maps.Keys(c.Implies)) {
		all = append(all, literal{"implies", append([]string{scope}, c.Implies[scope]...)})
	}
	for _, k := range c.Keys {
		all = append(all, literal{"key " + k.Name + " scope", k.Scope})
	}
	for _, i := range c.Issuers {
		all = append(all, literal{"issuer", []string{i.Issuer}}, literal{"issuer jwks", []string{i.JWKS}}, literal{"issuer audience", i.Audience})
		if i.Introspect != nil {
			all = append(all, literal{"issuer introspect", []string{i.Introspect.URL}})
		}
	}
	if x := c.Exchange; x != nil {
		all = append(all, literal{"token exchange", []string{x.URL}}, literal{"token exchange audience", x.Audience},
			literal{"token exchange resource", x.Resource}, literal{"token exchange scope", x.Scope})
	}
	return all
}

// reserved are the fields that a connection, the protocol or the login needs.
var reserved = []string{
	"Authorization", "Cookie", "Connection", "Content-Length", "Content-Type", "Dpop", "Host", "Origin", "Transfer-Encoding", "Upgrade",
	"Accept", "Te", "Trailer", "Last-Event-Id",
}

func usableField(name string) bool {
	if name == "" || strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, r) }) {
		return false
	}
	canonical := textproto.CanonicalMIMEHeaderKey(name)
	return !slices.Contains(reserved, canonical) && !strings.HasPrefix(canonical, "Mcp-") && !strings.HasPrefix(canonical, "Sec-")
}

// credentials returns the configuration of the authenticator, with placeholders replaced.
func (c *Config) credentials() (credential.Config, error) {
	cfg := credential.Config{CaddyUser: c.CaddyUser, DPoP: credential.Mode(c.DPoP)}
	repl := caddy.NewReplacer()
	for _, k := range c.Keys {
		value, err := repl.ReplaceOrErr(k.Value, true, true)
		if err != nil {
			return cfg, fmt.Errorf("authorize key %s: %q has no value: set the environment variable, or name a file that exists", k.Name, k.Value)
		}
		cfg.Keys = append(cfg.Keys, credential.Key{Name: k.Name, Value: strings.TrimSpace(value), Scopes: k.Scope})
	}
	for _, i := range c.Issuers {
		one := credential.Issuer{Issuer: i.Issuer, JWKS: i.JWKS, Audiences: i.Audience}
		if in := i.Introspect; in != nil {
			as, err := in.Client.credentials("issuer introspect")
			if err != nil {
				return cfg, err
			}
			one.Introspect = &credential.Introspect{URL: in.URL, Credentials: as, AudienceOptional: in.Audience == audienceOptional}
		}
		cfg.Issuers = append(cfg.Issuers, one)
	}
	return cfg, nil
}

// IssuerURLs returns the issuers, for the metadata.
func (c *Config) IssuerURLs() []string {
	var all []string
	for _, i := range c.Issuers {
		all = append(all, i.Issuer)
	}
	return all
}

// sameField reports whether a field of a client could be taken for one of the edge: CGI and
// the frameworks that follow it know no difference between `-` and `_`, nor of case.
func sameField(a, b string) bool {
	return strings.EqualFold(strings.ReplaceAll(a, "_", "-"), strings.ReplaceAll(b, "_", "-"))
}

// removeField removes a field in every spelling.
func removeField(h http.Header, name string) {
	for key := range h {
		if sameField(key, name) {
			delete(h, key)
		}
	}
}

// keepField removes a name from the fields that Connection names. The proxy removes those
// (RFC 9110 section 7.6.1), so that a client could have a field of the edge removed.
func keepField(h http.Header, name string) {
	var lines []string
	for _, line := range h["Connection"] {
		var kept []string
		for one := range strings.SplitSeq(line, ",") {
			if one = strings.TrimSpace(one); one != "" && !strings.EqualFold(one, name) {
				kept = append(kept, one)
			}
		}
		if len(kept) > 0 {
			lines = append(lines, strings.Join(kept, ", "))
		}
	}
	if delete(h, "Connection"); len(lines) > 0 {
		h["Connection"] = lines
	}
}
