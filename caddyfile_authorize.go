package mcpauthbridge

import (
	"fmt"
	"slices"
	"strings"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/authorize/rules"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/edge"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/placeholder"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/suggest"
)

var (
	authorizeOptions []blockOption[edge.Config]
	issuerOptions    []blockOption[edge.Issuer]
)

func init() { // since the options name each other in errors
	authorizeOptions = []blockOption[edge.Config]{
		{name: "issuer", example: "https://login.example.com", read: known(readIssuer), repeats: true},
		{name: "key", example: "backup {env.BACKUP_KEY} files:read", read: readKey, repeats: true},
		{name: "key_header", example: "X-API-Key", read: func(s setting, c *edge.Config) error { return s.one(&c.KeyHeader) }},
		{name: "caddy_user", read: func(s setting, c *edge.Config) error { return s.flag(&c.CaddyUser) }},
		{name: "dpop", example: "required", read: readDPoP},
		{name: "dpop_nonce", read: func(s setting, c *edge.Config) error { return s.flag(&c.DPoPNonce) }},
		{name: "scope", example: "files:read", read: known(func(s setting, c *edge.Config) error { return s.list(&c.Scopes) }), repeats: true},
		{name: "claim", example: "groups staff admin", read: known(func(s setting, c *edge.Config) error { return readClaim(s, &c.Claims) }), repeats: true},
		{name: "when", example: whenExample, read: func(s setting, c *edge.Config) error { return s.expression(&c.When) }},
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
		{name: "implies", example: "files:admin files:read files:write", read: known(readImplies), repeats: true},
		{name: "lists", example: "hide", read: func(s setting, c *edge.Config) error { return s.one(&c.Lists) }},
		{name: "challenge_scopes", example: "held", read: func(s setting, c *edge.Config) error { return s.one(&c.ChallengeScopes) }},
		{name: "user_claims", example: "email groups", read: func(s setting, c *edge.Config) error { return s.list(&c.UserClaims) }},
		{name: "token", example: "strip", read: readToken},
		{name: "identity", example: "X-User id", read: readIdentity, repeats: true},
	}
	issuerOptions = []blockOption[edge.Issuer]{
		{name: "jwks", example: "https://login.example.com/keys", read: known(func(s setting, i *edge.Issuer) error { return s.one(&i.JWKS) })},
		{name: "audience", example: "api://files", read: known(func(s setting, i *edge.Issuer) error { return s.words(&i.Audience) })},
		{name: "introspect", example: "https://login.example.com/introspect", read: known(readIntrospect)},
	}
}

var introspectOptions = append([]blockOption[edge.Introspect]{
	{name: "audience", example: "optional", read: func(s setting, i *edge.Introspect) error { return s.one(&i.Audience) }},
}, clientOptions(func(i *edge.Introspect) *edge.Client { return &i.Client })...)

var exchangeOptions = append([]blockOption[edge.Exchange]{
	{name: "audience", example: "files-api", read: known(func(s setting, x *edge.Exchange) error { return s.words(&x.Audience) })},
	{name: "resource", example: "https://files.internal/mcp", read: known(func(s setting, x *edge.Exchange) error { return s.words(&x.Resource) })},
	{name: "scope", example: "files:read", read: known(func(s setting, x *edge.Exchange) error { return s.list(&x.Scope) })},
	{name: "requested_token_type", example: "jwt", read: func(s setting, x *edge.Exchange) error { return s.one(&x.RequestedTokenType) }},
}, clientOptions(func(x *edge.Exchange) *edge.Client { return &x.Client })...)

// clientOptions returns the options with the credentials of Caddy at an authorization server.
func clientOptions[T any](of func(*T) *edge.Client) []blockOption[T] {
	return []blockOption[T]{
		{name: "client_id", example: "caddy", read: func(s setting, to *T) error { return s.one(&of(to).ClientID) }},
		{name: "client_secret", example: "{env.CLIENT_SECRET}", read: func(s setting, to *T) error { return s.one(&of(to).ClientSecret) }},
		{name: "auth_method", example: "client_secret_post", read: func(s setting, to *T) error { return s.one(&of(to).AuthMethod) }},
	}
}

var ruleOptions = []blockOption[rules.Rule]{
	{name: "scope", example: "files:write", read: known(func(s setting, r *rules.Rule) error { return s.list(&r.Scopes) }), repeats: true},
	{name: "claim", example: "groups staff admin", read: known(func(s setting, r *rules.Rule) error { return readClaim(s, &r.Claims) }), repeats: true},
	{name: "when", example: whenExample, read: func(s setting, r *rules.Rule) error { return s.expression(&r.When) }},
	{name: "deny", read: func(s setting, r *rules.Rule) error { return s.flag(&r.Deny) }},
}

// whenExample is an expression for errors.
const whenExample = "`\"admin\" in principal.claims.groups`"

// expression reads a CEL expression, which is one value.
func (s setting) expression(to *string) error {
	if !s.NextArg() {
		return s.Errf("%s: needs a value%s", s.label, s.as())
	}
	if *to = s.Val(); *to == "" {
		return s.Errf("%s: the expression is empty; write one%s, or remove the line", s.label, s.as())
	}
	if s.NextArg() {
		return s.Errf("%s: the expression is one value; write all of it between backticks%s", s.label, s.as())
	}
	return s.noBlock()
}

// known wraps a read function for an option whose placeholders are not replaced: it refuses
// placeholders in the value.
func known[T any](read func(s setting, to *T) error) func(s setting, to *T) error {
	return func(s setting, to *T) error {
		ahead := *s.Dispenser // which does not move that of the option
		for _, value := range ahead.RemainingArgs() {
			if placeholder.In(value) {
				return s.Errf("%s: %q: %s", s.label, value, atLoad(value))
			}
		}
		return read(s, to)
	}
}

// readRule reads the patterns of a rule, and the block with its requirements. It checks both here,
// so that an error names the line.
func readRule(s setting, c *edge.Config, patterns func(*rules.Rule) *[]string) error {
	var r rules.Rule
	if err := s.needsInNames(); err != nil {
		return err
	}
	if err := s.words(patterns(&r)); err != nil {
		return err
	}
	check := func() error { return checkRules(rules.Config{Rules: []rules.Rule{r}}) }
	err := placed(s.Dispenser, check())
	if err == nil {
		err = readBlock(s.Dispenser, s.label, ruleOptions, &r, check)
	}
	c.Rules = append(c.Rules, r)
	return err
}

// needsInNames refuses options of a rule that stand on the line of the rule. They would be taken for
// names there, and the rule would allow what it is meant to forbid.
func (s setting) needsInNames() error {
	ahead := *s.Dispenser // which does not move that of the option
	for n := 0; ahead.NextArg(); n++ {
		word := ahead.Token()
		if n == 0 || word.Quoted() || !slices.Contains(namesOf(ruleOptions), word.Text) {
			continue
		}
		needs := strings.Join(append([]string{word.Text}, ahead.RemainingArgs()...), " ")
		return s.Errf("%s: %q stands among the names; what the rule needs stands in its block: write `{` in its place, `%s` on the next line, and `}` on the line after that; a name that is really %[2]q needs quotes",
			s.label, word.Text, needs)
	}
	return nil
}

// checkRules checks rules, or what every request needs.
func checkRules(c rules.Config) error {
	_, err := rules.New(c)
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		err = joined.Unwrap()[0]
	}
	return prefixed("authorize ", err)
}

func readClaim(s setting, to *[]rules.Claim) error {
	values := s.RemainingArgs()
	if len(values) == 1 && strings.Contains(values[0], "=") {
		name, value, _ := strings.Cut(values[0], "=")
		return s.Errf("%s: %q: name and values stand apart; write `claim %s %s`", s.label, values[0], name, value)
	}
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
	err := readBlock(s.Dispenser, "authorize", authorizeOptions, c, func() error {
		every := c.Config
		every.Rules = nil // which are checked where they are read
		return checkRules(every)
	})
	if err != nil {
		return err
	}
	if err := c.Validate(); err != nil {
		return placed(s.Dispenser, err)
	}
	return placed(s.Dispenser, checkRules(c.Config))
}

func readIssuer(s setting, c *edge.Config) error {
	if !s.NextArg() {
		return s.Errf("%s: needs a value%s", s.label, s.as())
	}
	issuer := edge.Issuer{Issuer: s.Val()}
	if err := edge.CheckIssuer(issuer.Issuer); err != nil {
		return s.WrapErr(err)
	}
	if slices.ContainsFunc(c.Issuers, func(other edge.Issuer) bool { return other.Issuer == issuer.Issuer }) {
		return errTwice(s.Dispenser, fmt.Sprintf("%s %q", s.label, issuer.Issuer))
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
	return readBlock(s.Dispenser, introspectBlock, introspectOptions, i.Introspect, nil)
}

// readToken reads what becomes of the client's token.
func readToken(s setting, c *edge.Config) error {
	ahead := *s.Dispenser // which does not move that of the option
	if !ahead.NextArg() || ahead.Val() != edge.ExchangeToken {
		return s.one(&c.Token)
	}
	s.NextArg()
	c.Token, c.Exchange = edge.ExchangeToken, new(edge.Exchange)
	if s.NextArg() {
		c.Exchange.URL = s.Val()
		if placeholder.In(s.Val()) {
			return s.Errf("%s: %q: %s", exchangeBlock, s.Val(), atLoad(s.Val()))
		}
	}
	if s.NextArg() {
		return s.Errf("%s: takes one URL, remove %q", exchangeBlock, s.Val())
	}
	return readBlock(s.Dispenser, exchangeBlock, exchangeOptions, c.Exchange, nil)
}

func readKey(s setting, c *edge.Config) error {
	values := s.RemainingArgs()
	if len(values) < 2 {
		return s.Errf("%s: needs a name and a value%s", s.label, s.as())
	}
	for _, scope := range values[2:] {
		if placeholder.In(scope) {
			return s.Errf("%s: %q: %s", s.label, scope, atLoad(scope))
		}
		if strings.Contains(scope, ",") {
			return s.Errf("%s: %q has a comma; separate scopes with spaces, as in `key %s %s %s`", s.label, scope, values[0], shownKey(values[1]), suggest.WithoutCommas(values[2:]))
		}
	}
	c.Keys = append(c.Keys, edge.Key{Name: values[0], Value: values[1], Scope: values[2:]})
	return s.noBlock()
}

// shownKey is the value of a key as an error may show it.
func shownKey(value string) string {
	if placeholder.In(value) {
		return value
	}
	return "{env.KEY}"
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
