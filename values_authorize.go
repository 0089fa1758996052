package mcpauthbridge

import (
	"fmt"
	"slices"
	"strings"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/authorize/rules"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/origin"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/edge"
)

// oddAuthorize warns of what is seldom meant in the option `authorize`.
func oddAuthorize(h *Handler) (all []oddValue) {
	c := h.Authorize
	if c == nil {
		return nil
	}
	for _, k := range c.Keys {
		if !strings.Contains(k.Value, "{") {
			all = append(all, oddValue{
				message: "key is written in the configuration", option: "authorize key", value: k.Name, // and not the key
				advice: fmt.Sprintf("the admin API shows it: put it into a variable or a file, and write `%s`", keyLine(k)),
			})
		}
	}
	for i := range c.Issuers {
		all = append(all, oddIssuer(&c.Issuers[i])...)
	}
	all = append(all, unknownAudience(h)...)
	return append(all, oddRules(&c.Config)...)
}

// unknownAudience warns of tokens, or of proofs of DPoP, that have to be for a public URL which
// the configuration does not have.
func unknownAudience(h *Handler) []oddValue {
	c := h.Authorize
	i := slices.IndexFunc(c.Issuers, func(i edge.Issuer) bool { return len(i.Audience) == 0 || c.DPoP != "" })
	if i < 0 || hasPublicURL(h) {
		return nil
	}
	advice := "a token must be for the URL that clients use, which the configuration does not have: write the host as the address of the site, or `public_url https://mcp.example.com" + h.staticPath() + "`"
	if c.DPoP == "" {
		advice += "; if tokens name something else, write `audience api://files` in the block of the issuer"
	}
	return []oddValue{{message: "tokens are accepted only on loopback", option: "authorize issuer", value: c.Issuers[i].Issuer, advice: advice}}
}

// hasPublicURL reports whether the configuration has a host that clients use. Without one, the
// host of a request decides which URL is the endpoint's, and that is believed only on loopback.
func hasPublicURL(h *Handler) bool {
	return h.base.origin != "" || len(h.hosts) > 0 || len(h.placed().Hosts) > 0
}

// keyLine is the line of a key whose value is in a variable.
func keyLine(k edge.Key) string {
	name := strings.ToUpper(strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
			return r
		}
		return '_'
	}, k.Name))
	return strings.Join(append([]string{"key", k.Name, "{env." + name + "_KEY}"}, k.Scope...), " ")
}

// oddIssuer warns of what is seldom meant of an issuer.
func oddIssuer(i *edge.Issuer) (all []oddValue) {
	keys := i.Issuer
	if i.JWKS != "" {
		keys = i.JWKS
	}
	if u, err := origin.Parse(keys); err == nil && !u.HTTPS && !u.Local() {
		all = append(all, oddValue{
			message: "keys of an issuer are fetched without TLS", option: "authorize issuer", value: keys,
			advice: "who can change that answer can make tokens: write `issuer https" + strings.TrimPrefix(i.Issuer, "http") + "`, or name the keys with `jwks https://login.example.com/keys`",
		})
	}
	for _, audience := range i.Audience {
		if strings.Contains(audience, ",") {
			all = append(all, oddValue{
				message: "audience has a comma", option: "authorize audience", value: audience,
				advice: "audiences are separated by spaces, and with a comma they are one: write `audience " + withoutCommas(i.Audience) + "`",
			})
			break
		}
	}
	in := i.Introspect
	if in == nil {
		return all
	}
	switch {
	case in.ClientSecret == "" || in.ClientID == "":
		all = append(all, oddValue{
			message: "introspection has no credentials", option: "authorize introspect", value: i.Issuer,
			advice: "an issuer does not answer everyone: write `client_id caddy` and `client_secret {env.CLIENT_SECRET}` into a block of introspect",
		})
	case !strings.Contains(in.ClientSecret, "{"):
		all = append(all, oddValue{
			message: "secret is written in the configuration", option: "authorize introspect client_secret", value: in.ClientID,
			advice: "the admin API shows it: put it into a variable or a file, and write `client_secret {env.CLIENT_SECRET}`",
		})
	}
	return all
}

// oddRules warns of rules that change nothing, or allow nothing.
func oddRules(c *rules.Config) (all []oddValue) {
	for _, r := range c.Rules {
		for _, one := range kindsOf(&r) {
			if i := slices.IndexFunc(one.patterns, func(p string) bool { return strings.Contains(p, ",") }); i >= 0 && one.option != "resources" {
				all = append(all, oddValue{
					message: "pattern of a rule has a comma", option: "authorize " + one.option, value: one.patterns[i],
					advice: "patterns are separated by spaces, and with a comma they are one: write `" + one.option + " " + withoutCommas(one.patterns) + "`",
				})
			}
		}
	}
	denies := c.Default == "deny"
	if denies && !slices.ContainsFunc(c.Rules, func(r rules.Rule) bool { return !r.Deny }) {
		all = append(all, oddValue{
			message: "no tool, prompt or resource is allowed", option: "authorize default", value: c.Default,
			advice: "no rule allows anything: name what is allowed, as in `tools read_*` on a line of its own, or remove `default deny`",
		})
	}
	if denies || slices.ContainsFunc(c.Rules, func(r rules.Rule) bool { return !isBare(&r) }) {
		return all
	}
	for _, r := range c.Rules {
		one := kindsOf(&r)[0]
		all = append(all, oddValue{
			message: "rule changes nothing", option: "authorize " + one.option, value: strings.Join(one.patterns, " "),
			advice: "it needs nothing, and what no rule names is allowed: give it a block with `scope`, `claim`, `when` or `deny`, or write `default deny`",
		})
	}
	return all
}

// isBare reports whether a rule needs nothing.
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
