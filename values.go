package mcpauthbridge

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"go.uber.org/zap"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/authorize/rules"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/origin"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/edge"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/site"
)

// Values that are valid and seldom meant: each gets a warning when the configuration is loaded,
// with the line to write instead. A value that can never work is refused where its option is
// checked.

// oddValue is a warning about the value of an option.
type oddValue struct {
	message string
	// endpoint is the path that clients use, and line where the endpoint is written, if that
	// is known.
	endpoint, line string
	option, value  string
	advice         string
}

// oddValues returns the warnings about the values of endpoints, each once. The endpoints have
// to be placed.
func oddValues(endpoints []*Handler) (all []oddValue) {
	for _, h := range endpoints {
		for _, v := range slices.Concat(loopbackIssuers(h), scopesWithComma(h), plainToTLSPort(h), otherPublicPath(h), oddAuthorize(h)) {
			v.endpoint, v.line = h.staticPath(), h.line
			if !slices.Contains(all, v) { // one directive can be an endpoint on several servers
				all = append(all, v)
			}
		}
	}
	return all
}

// log logs the warning.
func (v oddValue) log(logger *zap.Logger) {
	fields := []zap.Field{zap.String("endpoint", v.endpoint), zap.String("option", v.option), zap.String("value", v.value), zap.String("advice", v.advice)}
	if v.line != "" {
		fields = append(fields, zap.String("line", v.line))
	}
	logger.Warn(v.message, fields...)
}

// publicHost returns a host that clients use and that is not this machine for all of them; ""
// if the configuration names none.
func publicHost(h *Handler) string {
	var hosts []string
	switch {
	case h.base.origin != "":
		hosts = []string{origin.HostnameOf(h.base.origin)}
	default:
		hosts = slices.Concat(site.SortedKeys(h.hosts), site.SortedKeys(h.placed().Hosts))
	}
	for _, host := range hosts {
		if !origin.IsLoopback(host) {
			return host
		}
	}
	return ""
}

// loopbackIssuers warns of authorization servers that clients look for on their own machine.
func loopbackIssuers(h *Handler) (all []oddValue) {
	host := publicHost(h)
	if host == "" || h.Metadata == nil {
		return nil
	}
	for _, issuer := range h.Metadata.AuthorizationServers {
		u, err := origin.Parse(issuer)
		if err != nil || !origin.IsLoopback(u.Name) {
			continue
		}
		own := h.store.Names().Own(u, origin.Seen{}, origin.Document)
		if own && h.bridgesServer() {
			continue // its public address is in the metadata
		}
		v := oddValue{
			message: "authorization server has a loopback address",
			option:  "metadata authorization_servers", value: issuer,
			advice: "clients of " + host + " look for it on their own machine: write `authorization_servers https://login.example.com` with its public URL",
		}
		switch {
		case h.edge != nil:
			v.option = "authorize issuer"
			v.advice = "clients of " + host + " look for it on their own machine: write `issuer https://login.example.com` with its public URL; if Caddy reaches its keys only on this machine, name them with `jwks`"
		case own:
			v.advice += ", or `" + bridgeLine + "` in place of it if it is the MCP server itself"
		}
		all = append(all, v)
	}
	return all
}

// scopesWithComma warns of scopes that are several, with a comma between them. A scope may have
// one (RFC 6749 section 3.3), and no authorization server is known to use it.
func scopesWithComma(h *Handler) (all []oddValue) {
	warn := func(option string, scopes []string) {
		i := slices.IndexFunc(scopes, func(s string) bool { return strings.Contains(s, ",") })
		if i < 0 || slices.ContainsFunc(all, func(v oddValue) bool { return v.value == scopes[i] }) {
			return
		}
		name := option[strings.LastIndexByte(option, ' ')+1:]
		all = append(all, oddValue{
			message: "scope has a comma", option: option, value: scopes[i],
			advice: "scopes are separated by spaces, and with a comma they are one: write `" + name + " " + withoutCommas(scopes) + "`",
		})
	}
	if c := h.Authorize; c != nil { // of which the metadata may have its scopes
		warn("authorize scope", c.Scopes)
		for _, r := range c.Rules {
			warn("authorize rule scope", r.Scopes)
		}
		for _, k := range c.Keys {
			warn("authorize key scope", k.Scope)
		}
	}
	if h.Metadata != nil {
		warn("metadata scopes_supported", h.Metadata.ScopesSupported)
	}
	if h.Challenge != nil {
		warn("challenge scope", h.Challenge.Scope)
	}
	return all
}

// tlsPort is the port of HTTPS.
const tlsPort = 443

// plainToTLSPort warns of an upstream on the port of HTTPS that is spoken to without TLS.
func plainToTLSPort(h *Handler) (all []oddValue) {
	if h.transport == nil || h.transport.tls() {
		return nil
	}
	if _, known := h.transport.RoundTripper.(reverseproxy.TLSTransport); !known {
		return nil // a transport of a plugin, which may use TLS
	}
	for _, dial := range dialled(h.ReverseProxy) {
		addr, err := caddy.ParseNetworkAddress(dial)
		if err != nil || addr.IsUnixNetwork() || strings.Contains(dial, "{") || addr.StartPort != tlsPort {
			continue
		}
		scheme := "https://"
		if h.upstream.bridgeKind() == bridge.KindSSE {
			scheme = "sse+https://"
		}
		all = append(all, oddValue{
			message: "upstream on the port of HTTPS is used without TLS", option: "upstream", value: dial,
			advice: fmt.Sprintf("write its address as `%s%s%s`, or in JSON give its transport `tls`", scheme, addr.Host, h.upstream.path),
		})
	}
	return all
}

// otherPublicPath warns of a public URL on the site's own origin with a path that does not lead
// to the endpoint. With another origin something in front of Caddy may change the path.
func otherPublicPath(h *Handler) []oddValue {
	p := h.placed()
	if h.base.path == "" || p.Server == nil {
		return nil
	}
	host := origin.HostnameOf(h.base.origin)
	if !p.Has(host) || p.OriginOf(host) != h.base.origin || h.described.Reached(h.base.path, ownHandler) {
		return nil
	}
	own := cmp.Or(strings.TrimSuffix(p.Prefix+h.Endpoint, "/"), "/")
	return []oddValue{{
		message: "public URL has another path than the endpoint", option: "public_url", value: h.PublicURL,
		advice: fmt.Sprintf("requests for %s do not reach the endpoint, whose path is %s: write `public_url %s`, or give the endpoint the path %[1]s; it is right only if a proxy in front of Caddy changes the path",
			h.base.path, own, h.base.origin+own),
	}}
}

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
	all = append(all, oddExchange(h)...)
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
	if in.ClientSecret == "" || in.ClientID == "" {
		all = append(all, oddValue{
			message: "introspection has no credentials", option: "authorize introspect", value: i.Issuer,
			advice: "an issuer does not answer everyone: write `client_id caddy` and `client_secret {env.CLIENT_SECRET}` into a block of introspect",
		})
	}
	return append(all, oddClient(in.URL, &in.Client, "introspect")...)
}

// oddClient warns of what is seldom meant of the credentials for a URL of an issuer, in the block
// of an option.
func oddClient(at string, c *edge.Client, option string) (all []oddValue) {
	if u, err := origin.Parse(at); err == nil && !u.HTTPS && !u.Local() {
		all = append(all, oddValue{
			message: "tokens and the secret are sent without TLS", option: "authorize " + option, value: at,
			advice: "who reads along can use them: write `" + option + " https" + strings.TrimPrefix(at, "http") + "`",
		})
	}
	if c.ClientSecret != "" && !strings.Contains(c.ClientSecret, "{") {
		all = append(all, oddValue{
			message: "secret is written in the configuration", option: "authorize " + option + " client_secret", value: c.ClientID,
			advice: "the admin API shows it: put it into a variable or a file, and write `client_secret {env.CLIENT_SECRET}`",
		})
	}
	return all
}

// oddExchange warns of what is seldom meant of a token that is exchanged.
func oddExchange(h *Handler) (all []oddValue) {
	x := h.Authorize.Exchange
	if x == nil {
		return nil
	}
	all = oddClient(x.URL, &x.Client, "token exchange")
	if p := h.ReverseProxy; p != nil && p.Headers != nil && p.Headers.Request != nil {
		for _, fields := range []map[string][]string{p.Headers.Request.Set, p.Headers.Request.Add} {
			for name := range fields {
				if strings.EqualFold(name, "Authorization") {
					all = append(all, oddValue{
						message: "the server does not get the new token", option: "header_up", value: name,
						advice: "header_up takes its place: remove that line, or `token exchange` if the server wants a credential of yours",
					})
				}
			}
		}
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
