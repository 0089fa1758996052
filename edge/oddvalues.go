package edge

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/authorize/rules"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/mcp"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/origin"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/suggest"
)

// Odd is a value of the option authorize that is valid but seldom meant, with the line to write
// instead.
type Odd struct{ Message, Option, Value, Advice string }

// OddValues returns the values that are seldom meant, as far as the option itself shows it.
func (c *Config) OddValues() (all []Odd) {
	for _, k := range c.Keys {
		if !strings.Contains(k.Value, "{") {
			all = append(all, Odd{
				Message: "key is written in the configuration", Option: "authorize key", Value: k.Name, // and not the key
				Advice: fmt.Sprintf("the admin API shows it: put it into a variable or a file, and write `%s`", keyLine(k)),
			})
		}
	}
	for i := range c.Issuers {
		all = append(all, oddIssuer(&c.Issuers[i])...)
	}
	if x := c.Exchange; x != nil {
		all = append(all, oddClient(x.URL, &x.Client, "authorize", "token exchange")...)
	}
	return append(all, oddRules(&c.Config)...)
}

// keyLine is the line of a key whose value is in a variable.
func keyLine(k Key) string {
	name := strings.ToUpper(strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
			return r
		}
		return '_'
	}, k.Name))
	return strings.Join(append([]string{"key", k.Name, "{env." + name + "_KEY}"}, k.Scope...), " ")
}

// oddIssuer warns of values that are seldom meant in the block of an issuer.
func oddIssuer(i *Issuer) (all []Odd) {
	keys := i.Issuer
	if i.JWKS != "" {
		keys = i.JWKS
	}
	if u, err := origin.Parse(keys); err == nil && !u.HTTPS && !u.Local() {
		cure := "`issuer https" + strings.TrimPrefix(i.Issuer, "http") + "`, or name the keys with `jwks https://login.example.com/keys`"
		if i.JWKS != "" {
			cure = "`jwks https" + strings.TrimPrefix(i.JWKS, "http") + "`"
		}
		all = append(all, Odd{
			Message: "keys of an issuer are fetched without TLS", Option: "authorize issuer", Value: keys,
			Advice: "who can change that answer can make tokens: write " + cure,
		})
	}
	for _, audience := range i.Audience {
		if strings.Contains(audience, ",") {
			all = append(all, Odd{
				Message: "audience has a comma", Option: "authorize issuer audience", Value: audience,
				Advice: "audiences are separated by spaces, and with a comma they are one: write `audience " + suggest.WithoutCommas(i.Audience) + "`",
			})
			break
		}
	}
	for _, audience := range i.Audience {
		if strings.Contains(audience, "*") || audience == "off" || audience == "any" {
			all = append(all, Odd{
				Message: "audience that no token has", Option: "authorize issuer audience", Value: audience,
				Advice: "audiences are compared as they are written, and each token must have one: write it as the authorization server has it, such as `audience api://files`, or remove the line",
			})
		}
	}
	in := i.Introspect
	if in == nil {
		return all
	}
	if in.ClientSecret == "" || in.ClientID == "" {
		all = append(all, Odd{
			Message: "introspection has no credentials", Option: "authorize issuer introspect", Value: i.Issuer,
			Advice: "an issuer does not answer everyone: write `client_id caddy` and `client_secret {env.CLIENT_SECRET}` into a block of introspect",
		})
	}
	return append(all, oddClient(in.URL, &in.Client, "authorize issuer", "introspect")...)
}

// oddClient warns of values that are seldom meant in the credentials for a URL of an issuer.
// option is the option whose own block has them, and block the block that it stands in.
func oddClient(at string, c *Client, block, option string) (all []Odd) {
	if u, err := origin.Parse(at); err == nil && !u.HTTPS && !u.Local() {
		all = append(all, Odd{
			Message: "tokens and the secret are sent without TLS", Option: block + " " + option, Value: at,
			Advice: "who reads along can use them: write `" + option + " https" + strings.TrimPrefix(at, "http") + "`",
		})
	}
	if c.ClientSecret != "" && !strings.Contains(c.ClientSecret, "{") {
		all = append(all, Odd{
			Message: "secret is written in the configuration", Option: block + " " + option + " client_secret", Value: c.ClientID,
			Advice: "the admin API shows it: put it into a variable or a file, and write `client_secret {env.CLIENT_SECRET}`",
		})
	}
	return all
}

// oddRules warns of rules that change nothing, or allow nothing.
func oddRules(c *rules.Config) (all []Odd) {
	for _, r := range c.Rules {
		for _, one := range kindsOf(&r) {
			if i := slices.IndexFunc(one.patterns, func(p string) bool { return strings.Contains(p, ",") }); i >= 0 && one.option != "resources" {
				all = append(all, Odd{
					Message: "pattern of a rule has a comma", Option: "authorize " + one.option, Value: one.patterns[i],
					Advice: "patterns are separated by spaces, and with a comma they are one: write `" + one.option + " " + suggest.WithoutCommas(one.patterns) + "`",
				})
			}
		}
	}
	all = append(all, oddPatterns(c)...)
	all = append(all, oddClaims(c)...)
	denies := c.Default == "deny"
	if denies && !slices.ContainsFunc(c.Rules, func(r rules.Rule) bool { return !r.Deny }) {
		all = append(all, Odd{
			Message: "no tool, prompt or resource is allowed", Option: "authorize default", Value: c.Default,
			Advice: "no rule allows anything: name what is allowed, as in `tools read_*` on a line of its own, or remove `default deny`",
		})
	}
	if denies || slices.ContainsFunc(c.Rules, func(r rules.Rule) bool { return !isBare(&r) }) {
		return all
	}
	for _, r := range c.Rules {
		one := kindsOf(&r)[0]
		all = append(all, Odd{
			Message: "rule changes nothing", Option: "authorize " + one.option, Value: strings.Join(one.patterns, " "),
			Advice: "it needs nothing, and what no rule names is allowed: give it a block with `scope`, `claim`, `when` or `deny`, or write `default deny`",
		})
	}
	return all
}

// oddPatterns warns of patterns that no name can match. What such a rule is meant to forbid is
// allowed.
func oddPatterns(c *rules.Config) (all []Odd) {
	for _, r := range c.Rules {
		for _, one := range kindsOf(&r) {
			for _, pattern := range one.patterns {
				if cure := meantPattern(one.option, pattern); cure != "" {
					all = append(all, Odd{
						Message: "pattern of a rule matches nothing", Option: "authorize " + one.option, Value: pattern, Advice: cure,
					})
				}
			}
		}
	}
	return all
}

// likeRegexp matches what regular expressions have and names of tools and methods have not.
var likeRegexp = regexp.MustCompile(`[$^|?\\(\[]`)

// noScheme matches a pattern of URIs that has no scheme, and no place for one.
var noScheme = regexp.MustCompile(`^([^:*]+|[^:*]*[^:*a-zA-Z0-9+.-][^:*]*\*.*)$`)

// meantPattern says what to write in place of a pattern that matches nothing; "" if it is right.
func meantPattern(option, pattern string) string {
	if option == "resources" {
		switch {
		case strings.HasPrefix(pattern, "^"):
			return "only `*` stands for any text: write the URI, as in `resources file:///srv/*`"
		case noScheme.MatchString(pattern):
			return "a resource is named by its URI: write it with its scheme, as in `resources file:///" + strings.TrimLeft(pattern, "/") + "`"
		}
		return ""
	}
	if likeRegexp.MatchString(pattern) {
		example := map[string]string{"tools": "read_*", "prompts": "review_*", "methods": "logging/*"}[option]
		if meant := strings.ReplaceAll(strings.Trim(pattern, "^$"), ".*", "*"); !likeRegexp.MatchString(meant) {
			example = meant
		}
		return "only `*` stands for any text, and nothing else of a regular expression has a meaning: write `" + option + " " + example + "`"
	}
	if option == "methods" && !strings.ContainsAny(pattern, "*") && !slices.Contains(mcp.Methods, pattern) {
		if near := suggest.Nearest(pattern, mcp.Methods); near != "" {
			return "did you mean `methods " + near + "`?"
		}
	}
	return ""
}

// oddClaims warns of claims that are written as they are seldom in tokens.
func oddClaims(c *rules.Config) (all []Odd) {
	claims := slices.Clone(c.Claims)
	for _, r := range c.Rules {
		claims = append(claims, r.Claims...)
	}
	for _, claim := range claims {
		v := Odd{Option: "authorize claim", Value: claim.Name + " " + strings.Join(claim.Values, " ")}
		switch {
		case claim.Name == "scope" || claim.Name == "scp":
			v.Message = "claim has the scopes"
			v.Advice = "in most tokens it is one text with all of them: write `scope " + strings.Join(claim.Values, " ") + "`"
		case slices.ContainsFunc(claim.Values, func(s string) bool { return strings.Contains(s, ",") && !strings.ContainsAny(s, "= ") }):
			v.Message = "value of a claim has a comma"
			v.Advice = "values are separated by spaces, and with a comma they are one: write `claim " + claim.Name + " " + suggest.WithoutCommas(claim.Values) + "`"
		default:
			continue
		}
		all = append(all, v)
	}
	return all
}

// isBare reports whether a rule requires nothing.
func isBare(r *rules.Rule) bool {
	return len(r.Scopes)+len(r.Claims) == 0 && r.When == "" && !r.Deny
}

// kindOfNames has the patterns of a rule for one kind of names.
type kindOfNames struct {
	option   string
	patterns []string
}

// kindsOf returns the patterns of a rule. A rule that is accepted has some.
func kindsOf(r *rules.Rule) []kindOfNames {
	return slices.DeleteFunc([]kindOfNames{{"tools", r.Tools}, {"prompts", r.Prompts}, {"resources", r.Resources}, {"methods", r.Methods}},
		func(p kindOfNames) bool { return len(p.patterns) == 0 })
}
