package mcpauthbridge

import (
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
	"issuer":   "write it in a block `authorize {` if Caddy is to ask for logins, or as `authorization_servers https://login.example.com` in the block `metadata` if the MCP server does",
}

// unrecognized is how reverse_proxy begins its error for an option that it does not take.
const unrecognized = "unrecognized subdirective "

// explained returns the error of reverse_proxy for options that are not ours. One that
// reverse_proxy does not take either may be a slip of ours.
func (dir *directive) explained(err error) error {
	_, rest, ok := strings.Cut(err.Error(), unrecognized)
	if !ok {
		return err
	}
	for _, token := range dir.proxyOptions {
		if after, ok := strings.CutPrefix(rest, token.Text); ok && (after == "" || strings.HasPrefix(after, ",")) {
			return errUnknown(token)
		}
	}
	return err
}

// errNoProxy refuses options that are not ours, where there is no reverse_proxy to take
// them. why says why there is none, and what to do.
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

// at is a dispenser at a token, for its errors.
func at(token caddyfile.Token) *caddyfile.Dispenser {
	d := caddyfile.NewDispenser([]caddyfile.Token{token})
	d.Next()
	return d
}
