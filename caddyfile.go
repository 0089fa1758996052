package mcpauthbridge

import (
	"slices"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/site"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/upstreams"
)

func init() {
	httpcaddyfile.RegisterDirective("mcp_auth_bridge", parseCaddyfile)
	httpcaddyfile.RegisterDirectiveOrder("mcp_auth_bridge", httpcaddyfile.Before, "handle")
	httpcaddyfile.RegisterGlobalOption("mcp_auth_bridge", parseGlobal)
}

// directive is one mcp_auth_bridge directive, as far as it was read.
type directive struct {
	h            *Handler
	matcher      caddy.ModuleMap
	addresses    []string          // of upstreams
	proxyTokens  []caddyfile.Token // of the block, for reverse_proxy
	proxyOptions []caddyfile.Token // the names of the options in proxyTokens
	// open and end are the braces of the block. reverse_proxy gets them with its options. They
	// are not made from another token, since a brace that was quoted is not a brace.
	open, end   caddyfile.Token
	path        string // upstream_path
	messagePath string
	names       []string // {name} stands for each of them
	stdio       *upstreams.Stdio
	seen        map[string]bool
	helper      httpcaddyfile.Helper
	name        caddyfile.Token
}

// parseCaddyfile sets up a route from the directive. Syntax:
//
//	mcp_auth_bridge [<endpoint path>|@<matcher>|*] [<upstream>...] {
//		endpoint        <path>
//		names           <name>...
//		to              <upstream>...
//		forwarding      auto|direct|reverse_proxy
//		upstream_path   <path>
//		public_url      <url>
//		hosts           <host>...
//		root_metadata
//		challenge       rewrite|relay|replace
//		challenge {
//			mode        rewrite|relay|replace
//			origins     <origin>...
//			scope       <scope>...
//			realm       <text>
//		}
//		cors            off
//		cors {
//			allow_origins  <origin>...
//			allow_headers  <name>...
//			expose_headers <name>...
//			max_age        <duration>
//			private_network
//		}
//		metadata        off
//		metadata {
//			authorization_servers <url>...
//			scopes_supported      <scope>...
//			resource_name         <text>
//			set                   <member> <json>
//			keep_resource
//			ttl                   <duration>
//		}
//		authorization_server bridge {
//			paths       <glob>...
//			only_listed
//		}
//		authorize {
//			issuer      <url> {
//				jwks        <url>
//				audience    <audience>...
//				introspect  [<url>] {
//					audience      required|optional
//					client_id     <id>
//					client_secret <secret>
//					auth_method   client_secret_basic|client_secret_post
//				}
//			}
//			key         <name> <value> [<scope>...]
//			key_header  <name>
//			caddy_user
//			dpop        optional|required
//			dpop_nonce
//			scope       <scope>...
//			claim       <name> <value>...
//			when        <expression>
//			tools|prompts|resources|methods <pattern>... {
//				scope   <scope>...
//				claim   <name> <value>...
//				when    <expression>
//				deny
//			}
//			default     allow|deny
//			implies     <scope> <scope>...
//			lists       show|hide
//			challenge_scopes needed|held
//			user_claims <claim>...
//			token       strip|pass
//			token       exchange [<url>] {
//				audience      <audience>...
//				resource      <url>...
//				scope         <scope>...
//				requested_token_type access_token|jwt
//				client_id     <id>
//				client_secret <secret>
//				auth_method   client_secret_basic|client_secret_post
//			}
//			identity    <name> <claim>|id
//		}
//		message_path    <path>
//		stdio           <command> [<argument>...] {
//			env         <name>[=<value>]...|<name> <value>
//			clear_env
//			dir         <path>
//			user        <name>
//			allow_unauthenticated
//		}
//		legacy_sse      [<sse path> [<message path>]]
//		sessions {
//			max                 <number>
//			idle_timeout        <duration>
//			max_lifetime        <duration>
//			max_buffer          <size>
//			keepalive_interval  <duration>
//			unmatched_timeout   <duration>
//			min_rate            <size>
//		}
//		limits {
//			<limit>     <value>
//		}
//		<option of reverse_proxy>
//	}
//
//	mcp_auth_bridge metadata
//
//	mcp_auth_bridge status
//
// An upstream is `host:port`, `http(s)://host[:port][/path]`,
// `sse+http(s)://host[:port][/path]` or `unix//path`. The second form, once at
// the level of the site, serves the metadata of endpoints that stand inside
// `handle_path` or `handle`. The third, behind authentication, serves a page that
// shows all endpoints.
//
// With `names` the directive stands for one endpoint a name: {name} is replaced by the name in
// each word of the directive and its block, and each endpoint is read as if it were written out.
func parseCaddyfile(h httpcaddyfile.Helper) ([]httpcaddyfile.ConfigValue, error) {
	h.Next() // consume directive name
	names, segment, err := takeNames(h.NextSegment())
	if err != nil {
		return nil, err
	}
	if names != nil {
		return parseNames(h, names, segment)
	}
	return parseEndpoint(h.WithDispenser(caddyfile.NewDispenser(segment)), "")
}

// parseEndpoint reads a directive with one endpoint. server is its name, if it is one of
// several in the same directive.
func parseEndpoint(h httpcaddyfile.Helper, server string) ([]httpcaddyfile.ConfigValue, error) {
	h.Next() // consume directive name
	dir := &directive{h: new(Handler), helper: h, name: h.Token(), seen: make(map[string]bool)}
	if other, err := dir.parseArgs(); err != nil {
		return nil, err
	} else if other != nil {
		return h.NewRoute(dir.matcher, other), nil
	}
	for nesting := h.Nesting(); h.NextBlock(nesting); {
		if dir.open.Text == "" {
			h.Prev()
			dir.open = h.Token()
			h.Next()
		}
		if err := dir.parseOption(h.NextSegment()); err != nil {
			return nil, err
		}
	}
	dir.end = h.Token()
	if err := dir.finish(); err != nil {
		return nil, err
	}
	site.Wrote(h.State, dir.h, dir.name.File, dir.name.Line, server)
	return []httpcaddyfile.ConfigValue{{Class: "route", Value: dir.route()}}, nil
}

// parseOption reads one option of the block, given as the tokens of its line
// and block.
func (dir *directive) parseOption(segment caddyfile.Segment) error {
	name := segment[0].Text
	i := slices.IndexFunc(options, func(o topOption) bool { return o.name == name })
	if i < 0 {
		dir.proxyTokens = append(dir.proxyTokens, segment...)
		dir.proxyOptions = append(dir.proxyOptions, segment[0])
		return nil
	}
	option := options[i]
	d := caddyfile.NewDispenser(segment)
	d.Next() // consume option name
	if dir.seen[name] && !option.repeats {
		return errTwice(d, name)
	}
	dir.seen[name] = true
	s := setting{Dispenser: d, label: name, example: name}
	if option.example != "" {
		s.example += " " + option.example
	}
	if option.needsMore && len(segment) == 1 {
		return d.Errf("%s: says nothing; write its block, or remove the line", name)
	}
	if err := option.read(dir, s); err != nil {
		return err
	}
	if d.Next() { // a block behind an option that has none
		return d.Errf("%s: takes no block; remove the braces, and write it on one line%s", name, s.as())
	}
	return nil
}
