package mcpauthbridge

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/suggest"
)

// proxyNames are options of reverse_proxy. They serve suggestions only: reverse_proxy
// itself says what it takes.
var proxyNames = []string{
	"dynamic", "lb_policy", "lb_retries", "lb_try_duration", "lb_try_interval", "lb_retry_match",
	"health_uri", "health_upstream", "health_port", "health_follow_redirects", "health_interval", "health_passes",
	"health_fails", "health_timeout", "health_method", "health_status", "health_request_body", "health_headers", "health_body",
	"fail_duration", "max_fails", "unhealthy_status", "unhealthy_latency", "unhealthy_request_count",
	"flush_interval", "request_buffers", "response_buffers", "stream_timeout", "stream_close_delay", "trusted_proxies", "verbose_logs",
	"header_up", "header_down", "method", "rewrite", "handle_response", "replace_status", "transport",
}

// otherWords has what to write in place of words that other programs have for it.
var otherWords = map[string]string{
	"upstream": "write the upstream's address behind mcp_auth_bridge, or as `to localhost:3000`",
	"path":     "write the path of the endpoint as `endpoint /mcp`, and that of the upstream as `upstream_path /mcp`",
	"tls":      "write the upstream's address as `https://host:port`; trust and certificates stand in `transport http`",
	"command":  "write the program as `stdio npx -y <package>`",
	"args":     "write the program and its arguments on one line, as in `stdio npx -y <package>`",
	"timeout":  "how long the upstream may take stands in the block `limits`, as `response_header_timeout 30s`",
	"issuer":   "write it in a block `authorize {` if Caddy is to ask for logins, or as `authorization_servers https://login.example.com` in the block `metadata` if the MCP server does",
}

// unrecognized is how reverse_proxy begins its error for an option that it does not take.
const unrecognized = "unrecognized subdirective "

// explained returns the error of reverse_proxy for the options that are not ours. If reverse_proxy
// does not know an option either, it is probably a misspelled option of ours, and the error says
// so.
func (dir *directive) explained(err error) error {
	_, rest, ok := strings.Cut(err.Error(), unrecognized)
	if !ok {
		return dir.explainedTransport(err)
	}
	for _, token := range dir.proxyOptions {
		if after, ok := strings.CutPrefix(rest, token.Text); ok && (after == "" || strings.HasPrefix(after, ",")) {
			return errUnknown(token)
		}
	}
	return err
}

// otherTransports has what to write in place of the names that MCP has for transports: the option
// `transport` is that of reverse_proxy.
var otherTransports = map[string]string{
	"sse":             "for a server that speaks HTTP+SSE write the upstream's address as sse+http://localhost:3000/sse",
	"stdio":           "write the program as `stdio npx -y <package>`, and remove the upstream's address",
	"streamable-http": "an upstream's address means Streamable HTTP: remove the line",
}

// explainedTransport returns the error of reverse_proxy for a transport that does not exist.
func (dir *directive) explainedTransport(err error) error {
	const before, behind = "module not registered: http.reverse_proxy.transport.", ", at "
	_, name, ok := strings.Cut(err.Error(), before)
	i := slices.IndexFunc(dir.proxyOptions, func(t caddyfile.Token) bool { return t.Text == "transport" })
	if !ok || i < 0 {
		return err
	}
	name, _, _ = strings.Cut(name, behind)
	asMCP := strings.ReplaceAll(strings.ToLower(name), "_", "-")
	if asMCP == "streamable" || asMCP == "streamablehttp" {
		asMCP = "streamable-http"
	}
	hint := otherTransports[asMCP]
	switch {
	case asMCP == "sse" && len(dir.addresses) > 0:
		_, host, found := strings.Cut(dir.addresses[0], "://")
		if !found {
			host = dir.addresses[0]
		}
		if !strings.Contains(host, "/") {
			host += "/sse"
		}
		hint = "for a server that speaks HTTP+SSE write the upstream's address as sse+http://" + host
	case hint == "":
		hint = "remove the line, or write `transport http`"
	}
	return at(dir.proxyOptions[i]).Errf("transport: reverse_proxy has no transport %q; %s", name, hint)
}

// errNoProxy refuses options of reverse_proxy in a directive without a proxy. why says why there
// is no proxy, and what to do.
func (dir *directive) errNoProxy(why string) error {
	for _, token := range dir.proxyOptions {
		if !slices.Contains(proxyNames, token.Text) {
			return errUnknown(token)
		}
	}
	first := dir.proxyOptions[0]
	return at(first).Errf("%s: is an option of reverse_proxy, which there is none of %s", first.Text, why)
}

// errUnknown refuses an option that neither mcp_auth_bridge nor reverse_proxy has.
func errUnknown(token caddyfile.Token) error {
	name := token.Text
	names := make([]string, 0, len(options))
	for _, o := range options {
		names = append(names, o.name)
	}
	hint := ""
	if other := otherWords[name]; other != "" {
		hint = other
	} else if home := homeOf(name, ""); home != "" {
		hint = "it belongs in " + home
	} else if near := suggest.Nearest(name, slices.Concat(names, proxyNames)); near != "" {
		hint = fmt.Sprintf("did you mean `%s`?", near)
	} else if block, near := nearestInBlocks(name); near != "" {
		hint = fmt.Sprintf("did you mean `%s` in the block `%s`?", near, block)
	}
	if hint != "" {
		return at(token).Errf("unrecognized option %q; %s", name, hint)
	}
	return at(token).Errf("unrecognized option %q; the options are %s, and those of reverse_proxy", name, strings.Join(names, ", "))
}

// shortest is the length of the shortest name that is looked for in all blocks: there are
// many options, and short words are like some of them by chance.
const shortest = 5

// nearestInBlocks returns the option of a block that is most like a name.
func nearestInBlocks(name string) (block, near string) {
	if len(name) < shortest {
		return "", ""
	}
	for _, block := range blockNames {
		if near := suggest.Nearest(name, blocks()[block]); near != "" {
			return block, near
		}
	}
	return "", ""
}

// blocks has the options of each block, for those who look for them in another place.
func blocks() map[string][]string {
	return map[string][]string{
		"challenge":            namesOf(challengeOptions),
		"cors":                 namesOf(corsOptions),
		"metadata":             namesOf(metadataOptions),
		"authorization_server": namesOf(authorizationServerOptions),
		"authorize":            namesOf(authorizeOptions),
		"authorize issuer":     namesOf(issuerOptions),
		"authorize rule":       namesOf(ruleOptions),
		introspectBlock:        namesOf(introspectOptions),
		exchangeBlock:          namesOf(exchangeOptions),
		"stdio":                namesOf(stdioOptions),
		"sessions":             namesOf(sessionsOptions),
		"limits":               namesOf(limitsOptions),
	}
}

// errUnknownIn refuses an option that a block does not have.
func errUnknownIn(d *caddyfile.Dispenser, block, name string, known []string) error {
	if hint := wordsOfRules[name]; hint != "" && slices.Equal(known, namesOf(ruleOptions)) {
		return d.Errf("%s: unrecognized option %q; %s", block, name, hint)
	}
	if hint := otherWordsIn[block][name]; hint != "" {
		return d.Errf("%s: unrecognized option %q; %s", block, name, hint)
	}
	near := renamed[block][name] != "" || suggest.Nearest(name, known) != ""
	if home := homeOf(name, block); home != "" && (!near || strings.HasPrefix(block, "authorize")) {
		return d.Errf("%s: the option %q belongs in %s; move it there", block, name, home)
	}
	return d.Err(suggest.Unknown(block, name, known, renamed[block]))
}

// homeOf names the block that an option belongs in, other than the block not. It returns "" if
// there is no such option. An empty not stands for the block of mcp_auth_bridge itself.
func homeOf(name, not string) string {
	if not != "" && slices.ContainsFunc(options, func(o topOption) bool { return o.name == name }) {
		return "the block of mcp_auth_bridge"
	}
	family, _, _ := strings.Cut(not, " ")
	names := slices.Clone(blockNames)
	slices.SortStableFunc(names, func(a, b string) int { // the nearest first
		return cmp.Compare(strings.Index(b, family), strings.Index(a, family))
	})
	var nested []string
	for _, block := range names {
		if block == not || !slices.Contains(blocks()[block], name) {
			continue
		}
		home := homes[block]
		if home == "" && len(nested) == 0 {
			return "the block `" + block + "`"
		}
		if home != "" {
			nested = append(nested, home)
		}
	}
	return strings.Join(nested, ", or in ")
}

// introspectBlock is the block with the credentials for an issuer that is asked about tokens.
const introspectBlock = "authorize issuer introspect"

// exchangeBlock is the block that says which token the client's token is exchanged for.
const exchangeBlock = "authorize token exchange"

// blockNames are the blocks in the order in which an option is looked for.
var blockNames = []string{
	"cors", "metadata", "challenge", "authorization_server", "authorize", "authorize issuer", "authorize rule", introspectBlock, exchangeBlock,
	"stdio", "sessions", "limits",
}

// homes are the blocks inside of others, as errors name them.
var homes = map[string]string{
	"authorize issuer": "the block of an `issuer`",
	"authorize rule":   "the block of a rule, such as `tools write_*`",
	introspectBlock:    "the block `introspect` of an `issuer`",
	exchangeBlock:      "the block `token exchange`",
}

// wordsOfRules has what to write in place of words that other programs have in rules.
var wordsOfRules = map[string]string{
	"allow":   "a rule without options allows: remove the line",
	"require": "write what is required as `scope`, `claim` or `when`",
	"scopes":  "write `scope`",
	"claims":  "write `claim`",
}

// otherWordsIn has, for each block, what to write in place of words that other programs have.
var otherWordsIn = map[string]map[string]string{
	"cors": {
		"allow_methods":     "the methods are those of MCP: remove the line",
		"allow_credentials": "pages send tokens in a header, and cookies are never used: remove the line",
	},
	"metadata": {
		"resource": "it is the public URL: write `public_url https://mcp.example.com/mcp` in the block of mcp_auth_bridge, or remove the line",
	},
	"authorize": {
		"allow":  "without a rule everything is allowed: remove the line, or write `default deny` and what is allowed, as in `tools read_*`",
		"groups": "write `claim groups staff`",
		"roles":  "write `claim roles admin`",
	},
	"authorize issuer": {
		"algorithms": "all that are safe are accepted, as the keys say: remove the line",
		"algorithm":  "all that are safe are accepted, as the keys say: remove the line",
	},
}

// renamed has, for each block, the new names of options that have had another one.
var renamed = map[string]map[string]string{
	"limits": {
		"request_body":         "max_request_body",
		"held_body":            "max_held_body",
		"response_header":      "response_header_timeout",
		"response_header_size": "max_response_header",
		"challenge_wait":       "challenge_timeout",
		"metadata_size":        "max_metadata_size",
		"metadata_entries":     "max_metadata_entries",
		"form":                 "max_form",
		"message":              "max_message",
		"endpoint_event":       "max_endpoint_event",
	},
	"sessions": {
		"idle":       "idle_timeout",
		"lifetime":   "max_lifetime",
		"buffer":     "max_buffer",
		"keep_alive": "keepalive_interval",
		"unmatched":  "unmatched_timeout",
	},
}

// at is a dispenser at a token, for its errors.
func at(token caddyfile.Token) *caddyfile.Dispenser {
	d := caddyfile.NewDispenser([]caddyfile.Token{token})
	d.Next()
	return d
}
