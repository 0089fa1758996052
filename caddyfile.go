package mcpauthbridge

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/site"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/upstreams"
)

func init() {
	httpcaddyfile.RegisterDirective("mcp_auth_bridge", parseCaddyfile)
	httpcaddyfile.RegisterDirectiveOrder("mcp_auth_bridge", httpcaddyfile.Before, "handle")
	httpcaddyfile.RegisterGlobalOption("mcp_auth_bridge", parseGlobal)
}

// directive collects what one mcp_auth_bridge directive says.
type directive struct {
	h            *Handler
	matcher      caddy.ModuleMap
	addresses    []string
	proxyTokens  []caddyfile.Token // of the block, for reverse_proxy
	proxyOptions []caddyfile.Token // the names of the options in proxyTokens
	// open and end are the braces of the block. reverse_proxy gets them with its
	// options: a copy of another token would be quoted where that is, which is no brace.
	open, end   caddyfile.Token
	path        string // upstream_path
	messagePath string
	stdio       *upstreams.Stdio
	seen        map[string]bool
	helper      httpcaddyfile.Helper
	name        caddyfile.Token
}

// parseCaddyfile sets up a route from the directive. Syntax:
//
//	mcp_auth_bridge [<endpoint path>|@<matcher>|*] [<upstream>...] {
//		endpoint        <path>
//		to              <upstream>...
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
func parseCaddyfile(h httpcaddyfile.Helper) ([]httpcaddyfile.ConfigValue, error) {
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
	site.Wrote(h.State, dir.h, dir.name.File, dir.name.Line)
	return []httpcaddyfile.ConfigValue{{Class: "route", Value: dir.route()}}, nil
}

// otherForms are the handlers of `mcp_auth_bridge metadata` and the like.
var otherForms = map[string]func() caddyhttp.MiddlewareHandler{
	"metadata": func() caddyhttp.MiddlewareHandler { return new(MetadataHandler) },
	"status":   func() caddyhttp.MiddlewareHandler { return new(StatusHandler) },
}

// parseArgs reads the arguments on the directive's line. It returns the handler
// of one of the other forms, if the directive is of one.
func (dir *directive) parseArgs() (other caddyhttp.MiddlewareHandler, err error) {
	h := dir.helper
	first := true
	for h.NextArg() {
		val := h.Val()
		switch {
		case otherForms[val] != nil && first:
			if h.NextArg() {
				return nil, h.Errf("mcp_auth_bridge %s: takes no value, remove %q", val, h.Val())
			}
			for nesting := h.Nesting(); h.NextBlock(nesting); {
				return nil, h.Errf("mcp_auth_bridge %s: takes no block; remove the braces", val)
			}
			return otherForms[val](), nil
		case otherForms[val] != nil && len(dir.addresses) == 0:
			return nil, h.Errf("mcp_auth_bridge %[1]s stands alone on its line, remove the rest; for some paths only it stands in a handle block, and an upstream of that name is `%[1]s:80`", val)
		case first && val == "*":
		case first && strings.HasPrefix(val, "@"):
			if err := dir.setMatcher(); err != nil {
				return nil, err
			}
		case strings.HasPrefix(val, "/") && dir.h.Endpoint == "" && len(dir.addresses) == 0:
			if err := checkEndpoint(val); err != nil {
				return nil, h.WrapErr(err)
			}
			dir.h.Endpoint = val
		case strings.HasPrefix(val, "/"):
			return nil, dir.errSecondPath(val)
		default:
			dir.addresses = append(dir.addresses, val)
		}
		first = false
	}
	if len(dir.addresses) > 1 && !strings.ContainsAny(dir.addresses[0], ".:/{") {
		return nil, h.Errf("upstream %q has no port: write %[1]s:80, or /%[1]s if it is the endpoint's path", dir.addresses[0])
	}
	return nil, nil
}

// errSecondPath refuses a path that is not the first argument.
func (dir *directive) errSecondPath(path string) error {
	h := dir.helper
	if dir.h.Endpoint == "" {
		return h.Errf("the endpoint's path %q comes before the upstream; write `mcp_auth_bridge %[1]s %s`", path, strings.Join(dir.addresses, " "))
	}
	upstream := "localhost:3000"
	if len(dir.addresses) > 0 {
		upstream = dir.addresses[0]
	}
	if !strings.Contains(upstream, "://") {
		upstream = "http://" + upstream
	}
	return h.Errf("%q is a second path beside the endpoint's %q; the path of the upstream belongs in its address: write `mcp_auth_bridge %s %s`", path, dir.h.Endpoint, dir.h.Endpoint, upstream+path)
}

// setMatcher takes the named matcher that the current token is.
func (dir *directive) setMatcher() error {
	d := dir.helper.WithDispenser(caddyfile.NewDispenser([]caddyfile.Token{dir.name, dir.helper.Token()}))
	d.Next()
	matcher, _, err := d.MatcherToken()
	dir.matcher = matcher
	return err
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

// finish puts the parts together.
func (dir *directive) finish() error {
	h := dir.helper
	if dir.h.Endpoint == "" {
		dir.h.Endpoint = DefaultEndpoint
	}
	kind, path, proxyArgs, err := dir.splitAddresses()
	if err == nil {
		err = dir.h.checkBesideAuthorize()
	}
	if err == nil && dir.stdio != nil {
		err = errTokenForProgram(dir.h.Authorize, "stdio")
	}
	if err != nil {
		return h.WrapErr(err)
	}
	if dir.stdio != nil {
		return dir.finishStdio()
	}
	dynamic := slices.ContainsFunc(dir.proxyOptions, func(t caddyfile.Token) bool { return t.Text == "dynamic" })
	hasProxy := len(proxyArgs) > 0 || dynamic
	if !hasProxy {
		if len(dir.proxyTokens) > 0 {
			return dir.errNoProxy("without an upstream address; write the address behind mcp_auth_bridge")
		}
		for _, name := range []string{"upstream_path", "message_path"} {
			if dir.seen[name] {
				return h.Errf("%s: needs an upstream address behind mcp_auth_bridge; write one, or remove %[1]s", name)
			}
		}
		return nil
	}
	if dir.messagePath != "" && kind != bridge.KindSSE {
		return h.Errf("message_path: %q is for an upstream that speaks HTTP+SSE; write its address as sse+http://host:port/path, or remove message_path", dir.messagePath)
	}
	dir.setUpstream(kind, path)
	return dir.parseProxy(proxyArgs)
}

// finishStdio refuses what goes with no process.
func (dir *directive) finishStdio() error {
	h := dir.helper
	if len(dir.addresses) > 0 {
		return h.Errf("stdio and the upstream %q exclude each other; use one of them", dir.addresses[0])
	}
	if len(dir.proxyTokens) > 0 {
		return dir.errNoProxy("with stdio; remove it, or use an upstream address in place of stdio")
	}
	for _, name := range []string{"upstream_path", "message_path", "authorization_server"} {
		if dir.seen[name] {
			return h.Errf("%s: needs an upstream address, which stdio excludes; remove %[1]s", name)
		}
	}
	dir.h.UpstreamRaw = caddyconfig.JSONModuleObject(dir.stdio, "protocol", "stdio", nil)
	return nil
}

// splitAddresses takes the upstream addresses apart; they agree in kind and
// path.
func (dir *directive) splitAddresses() (kind bridge.Kind, path string, proxyArgs []string, err error) {
	path = dir.path
	for i, s := range dir.addresses {
		a, err := parseAddress(s)
		if err != nil {
			return "", "", nil, err
		}
		switch {
		case i > 0 && a.kind != kind:
			return "", "", nil, fmt.Errorf("upstream %q: all upstreams of an endpoint speak the same transport, and %q speaks another; give one of them an endpoint of its own", s, dir.addresses[0])
		case a.path != "" && dir.path != "":
			return "", "", nil, fmt.Errorf("upstream_path: %q contradicts the path in upstream %q; give one of them", dir.path, s)
		case i > 0 && dir.path == "" && a.path != path:
			return "", "", nil, fmt.Errorf("upstream %q: all upstreams of an endpoint have the same path, and %q has another; use one of them", s, dir.addresses[0])
		}
		kind = a.kind
		if dir.path == "" {
			path = a.path
		}
		proxyArgs = append(proxyArgs, a.proxy)
	}
	if kind == "" {
		kind = bridge.KindHTTP
	}
	return kind, path, proxyArgs, nil
}

// setUpstream writes the upstream's guest module where it says something.
func (dir *directive) setUpstream(kind bridge.Kind, path string) {
	if path == dir.h.Endpoint {
		path = ""
	}
	switch {
	case kind == bridge.KindSSE:
		dir.h.UpstreamRaw = caddyconfig.JSONModuleObject(&upstreams.SSE{Path: path, MessagePath: dir.messagePath}, "protocol", "sse", nil)
	case path != "":
		dir.h.UpstreamRaw = caddyconfig.JSONModuleObject(&upstreams.HTTP{Path: path}, "protocol", "http", nil)
	}
}

// parseProxy lets reverse_proxy parse the addresses and the options that are
// not ours.
func (dir *directive) parseProxy(args []string) error {
	token := func(text string) caddyfile.Token {
		t := dir.name // its place is what errors name
		t.Text = text
		return t
	}
	tokens := []caddyfile.Token{token("reverse_proxy")}
	for _, arg := range args {
		tokens = append(tokens, token(arg))
	}
	if len(dir.proxyTokens) > 0 {
		tokens = append(tokens, dir.open)
		tokens = append(tokens, dir.proxyTokens...)
		tokens = append(tokens, dir.end)
	}
	d := caddyfile.NewDispenser(tokens)
	proxy := new(reverseproxy.Handler)
	if err := proxy.UnmarshalCaddyfile(d); err != nil {
		return dir.explained(err)
	}
	if err := proxy.FinalizeUnmarshalCaddyfile(dir.helper); err != nil {
		return err
	}
	dir.h.ReverseProxy = proxy
	return nil
}

// route is the one route of the endpoint and its metadata.
func (dir *directive) route() caddyhttp.Route {
	endpoint := dir.h.Endpoint
	paths := caddyhttp.MatchPath{endpoint, strings.TrimSuffix(endpoint, "/") + "/*"}
	if endpoint == "/" {
		paths = caddyhttp.MatchPath{"/*"}
	} else if c := dir.h.LegacySSE; c != nil {
		at := *c
		at.fill(endpoint)
		for _, path := range []string{at.Path, at.MessagePath} {
			if !strings.HasPrefix(path, endpoint+"/") {
				paths = append(paths, path)
			}
		}
	}
	sets := []caddy.ModuleMap{dir.matcherSet(paths)}
	if endpoint != "/" {
		discovery := dir.metadataSet(discoveryPaths)
		delete(discovery, "path_regexp")
		sets = append(sets, discovery)
	}
	if dir.h.bridgesServer() && endpoint != "/" {
		sets = append(sets, dir.serverSet(endpoint))
	}
	return caddyhttp.Route{
		MatcherSetsRaw: sets,
		HandlersRaw:    []json.RawMessage{caddyconfig.JSONModuleObject(dir.h, "handler", "mcp_auth_bridge", nil)},
	}
}

// matcherSet is the directive's matcher, with paths. Where the matcher has
// paths of its own, a request for the endpoint has to match both.
func (dir *directive) matcherSet(paths caddyhttp.MatchPath) caddy.ModuleMap {
	set := dir.metadataSet(paths)
	own, ok := dir.matcher["path"]
	if !ok {
		return set
	}
	var not caddyhttp.MatchNot
	if raw, ok := dir.matcher["not"]; ok {
		_ = json.Unmarshal(raw, &not)
	}
	notOwn := caddyhttp.MatchNot{MatcherSetsRaw: []caddy.ModuleMap{{"path": own}}}
	not.MatcherSetsRaw = append(not.MatcherSetsRaw, caddy.ModuleMap{"not": dir.helper.JSON(notOwn)})
	set["not"] = dir.helper.JSON(not)
	return set
}

// metadataSet is the directive's matcher for the well-known paths: what it
// says of paths is meant for the endpoint.
func (dir *directive) metadataSet(paths caddyhttp.MatchPath) caddy.ModuleMap {
	set := caddy.ModuleMap{"path": dir.helper.JSON(paths)}
	for name, raw := range dir.matcher {
		if name != "path" {
			set[name] = raw
		}
	}
	return set
}

// serverSet is the directive's matcher for the paths of a bridged authorization
// server: they stand in its metadata, so that the handler has to tell.
func (dir *directive) serverSet(endpoint string) caddy.ModuleMap {
	set := caddy.ModuleMap{}
	for name, raw := range dir.matcher {
		if name != "path" && name != "path_regexp" {
			set[name] = raw
		}
	}
	var not caddyhttp.MatchNot
	if raw, ok := set["not"]; ok {
		_ = json.Unmarshal(raw, &not)
	}
	own := caddyhttp.MatchPath{endpoint, endpoint + "/*"}
	not.MatcherSetsRaw = append(not.MatcherSetsRaw, caddy.ModuleMap{"path": dir.helper.JSON(own)})
	set["not"] = dir.helper.JSON(not)
	return set
}
