package mcpauthbridge

import (
	"fmt"
	"strings"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/authorize/rules"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/edge"
)

var (
	authorizeOptions []blockOption[edge.Config]
	issuerOptions    []blockOption[edge.Issuer]
)

func init() { // since the options name each other in errors
	authorizeOptions = []blockOption[edge.Config]{
		{name: "issuer", example: "https://login.example.com", read: readIssuer, repeats: true},
		{name: "key", example: "backup {env.BACKUP_KEY} files:read", read: readKey, repeats: true},
		{name: "key_header", example: "X-API-Key", read: func(s setting, c *edge.Config) error { return s.one(&c.KeyHeader) }},
		{name: "caddy_user", read: func(s setting, c *edge.Config) error { return s.flag(&c.CaddyUser) }},
		{name: "dpop", example: "required", read: readDPoP},
		{name: "dpop_nonce", read: func(s setting, c *edge.Config) error { return s.flag(&c.DPoPNonce) }},
		{name: "scope", example: "files:read", read: func(s setting, c *edge.Config) error { return s.list(&c.Scopes) }, repeats: true},
		{name: "claim", example: "groups staff admin", read: func(s setting, c *edge.Config) error { return readClaim(s, &c.Claims) }, repeats: true},
		{name: "when", example: "`principal.claims.email_verified`", read: func(s setting, c *edge.Config) error { return s.one(&c.When) }},
		{name: "tools", example: "write_* {", read: func(s setting, c *edge.Config) error {
			return readRule(s, c, func(r *rules.Rule) *[]string { return &r.Tools })
		}, repeats: true},
		{name: "prompts", example: "review_* {", read: func(s setting, c *edge.Config) error {
			return readRule(s, c, func(r *rules.Rule) *[]string { return &r.Prompts })
		}, repeats: true},
		{name: "resources", example: "file:///srv/* {", read: func(s setting, c *edge.Config) error {
			return readRule(s, c, func(r *rules.Rule) *[]string { return &r.Resources })
		}, repeats: true},
		{name: "methods", example: "logging/setLevel {", read: func(s setting, c *edge.Config) error {
			return readRule(s, c, func(r *rules.Rule) *[]string { return &r.Methods })
		}, repeats: true},
		{name: "default", example: "deny", read: func(s setting, c *edge.Config) error { return s.one(&c.Default) }},
		{name: "implies", example: "files:admin files:read files:write", read: readImplies, repeats: true},
		{name: "lists", example: "hide", read: func(s setting, c *edge.Config) error { return s.one(&c.Lists) }},
		{name: "challenge_scopes", example: "held", read: func(s setting, c *edge.Config) error { return s.one(&c.ChallengeScopes) }},
		{name: "user_claims", example: "email groups", read: func(s setting, c *edge.Config) error { return s.words(&c.UserClaims) }},
		{name: "token", example: "strip", read: func(s setting, c *edge.Config) error { return s.one(&c.Token) }},
		{name: "identity", example: "X-User id", read: readIdentity, repeats: true},
	}
	issuerOptions = []blockOption[edge.Issuer]{
		{name: "jwks", example: "https://login.example.com/keys", read: func(s setting, i *edge.Issuer) error { return s.one(&i.JWKS) }},
		{name: "audience", example: "api://files", read: func(s setting, i *edge.Issuer) error { return s.words(&i.Audience) }},
		{name: "introspect", example: "https://login.example.com/introspect", read: readIntrospect},
	}
}

var introspectOptions = []blockOption[edge.Introspect]{
	{name: "client_id", example: "caddy", read: func(s setting, i *edge.Introspect) error { return s.one(&i.ClientID) }},
	{name: "client_secret", example: "{env.CLIENT_SECRET}", read: func(s setting, i *edge.Introspect) error { return s.one(&i.ClientSecret) }},
}

var ruleOptions = []blockOption[rules.Rule]{
	{name: "scope", example: "files:write", read: func(s setting, r *rules.Rule) error { return s.list(&r.Scopes) }, repeats: true},
	{name: "claim", example: "groups staff admin", read: func(s setting, r *rules.Rule) error { return readClaim(s, &r.Claims) }, repeats: true},
	{name: "when", example: "`\"admin\" in principal.claims.groups`", read: func(s setting, r *rules.Rule) error { return s.one(&r.When) }},
	{name: "deny", read: func(s setting, r *rules.Rule) error { return s.flag(&r.Deny) }},
}

// readRule reads the patterns of a rule, and what it needs.
func readRule(s setting, c *edge.Config, patterns func(*rules.Rule) *[]string) error {
	var r rules.Rule
	if err := s.words(patterns(&r)); err != nil {
		return err
	}
	err := readBlock(s.Dispenser, s.label, ruleOptions, &r, nil)
	c.Rules = append(c.Rules, r)
	return err
}

func readClaim(s setting, to *[]rules.Claim) error {
	values := s.RemainingArgs()
	if len(values) < 2 {
		return s.Errf("%s: needs the name of a claim and one or more values%s", s.label, s.as())
	}
	*to = append(*to, rules.Claim{Name: values[0], Values: values[1:]})
	return s.noBlock()
}

func readImplies(s setting, c *edge.Config) error {
	var values []string
	if err := s.list(&values); err != nil {
		return err
	}
	if len(values) < 2 {
		return s.Errf("%s: needs a scope and one or more scopes that it includes%s", s.label, s.as())
	}
	if c.Implies == nil {
		c.Implies = make(map[string][]string)
	}
	c.Implies[values[0]] = append(c.Implies[values[0]], values[1:]...)
	return s.noBlock()
}

func readAuthorize(dir *directive, s setting) error {
	c := new(edge.Config)
	dir.h.Authorize = c
	if s.NextArg() {
		if strings.Contains(s.Val(), "://") {
			return s.Errf("authorize: %q must stand in its block: write `issuer %s` on a line of its own between `authorize {` and `}`", s.Val(), s.Val())
		}
		return s.Errf("authorize: takes a block, not %q; its options are %s", s.Val(), strings.Join(namesOf(authorizeOptions), ", "))
	}
	if err := readBlock(s.Dispenser, "authorize", authorizeOptions, c, nil); err != nil {
		return err
	}
	if err := c.Validate(); err != nil {
		return placed(s.Dispenser, err)
	}
	_, err := rules.New(c.Config)
	return placed(s.Dispenser, prefixed("authorize ", err))
}

func readIssuer(s setting, c *edge.Config) error {
	if !s.NextArg() {
		return s.Errf("%s: needs a value%s", s.label, s.as())
	}
	issuer := edge.Issuer{Issuer: s.Val()}
	if err := edge.CheckIssuer(issuer.Issuer); err != nil && !hasPlaceholder(issuer.Issuer) {
		return s.WrapErr(err)
	}
	if s.NextArg() {
		return s.Errf("%s: takes one value, remove %q; write one line for each issuer", s.label, s.Val())
	}
	err := readBlock(s.Dispenser, "authorize issuer", issuerOptions, &issuer, nil)
	c.Issuers = append(c.Issuers, issuer)
	return err
}

func readIntrospect(s setting, i *edge.Issuer) error {
	i.Introspect = new(edge.Introspect)
	if s.NextArg() {
		i.Introspect.URL = s.Val()
	}
	if s.NextArg() {
		return s.Errf("%s: takes one value, remove %q", s.label, s.Val())
	}
	return readBlock(s.Dispenser, "authorize issuer introspect", introspectOptions, i.Introspect, nil)
}

func readKey(s setting, c *edge.Config) error {
	values := s.RemainingArgs()
	if len(values) < 2 {
		return s.Errf("%s: needs a name and a value%s", s.label, s.as())
	}
	c.Keys = append(c.Keys, edge.Key{Name: values[0], Value: values[1], Scope: values[2:]})
	return s.noBlock()
}

func readDPoP(s setting, c *edge.Config) error {
	if err := s.one(&c.DPoP); err != nil {
		return err
	}
	if c.DPoP == "off" {
		c.DPoP = ""
	}
	return nil
}

func readIdentity(s setting, c *edge.Config) error {
	var f edge.IdentityField
	if !s.Args(&f.Name, &f.Claim) {
		return s.Errf("%s: needs the name of a header field and that of a claim%s", s.label, s.as())
	}
	c.Identity = append(c.Identity, f)
	return s.end()
}

// prefixed puts a text before an error.
func prefixed(prefix string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s%w", prefix, err)
}
