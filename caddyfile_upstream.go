package mcpauthbridge

import (
	"fmt"
	"slices"

	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/upstreams"
)

// finish checks the options of the directive against each other, and sets up its upstream.
func (dir *directive) finish() error {
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
	switch {
	case err != nil:
		return dir.helper.WrapErr(err)
	case dir.stdio != nil:
		return dir.finishStdio()
	case len(proxyArgs) == 0 && !dir.hasDynamic():
		return dir.checkNoUpstream()
	}
	if dir.messagePath != "" && kind != bridge.KindSSE {
		return dir.helper.Errf("message_path: %q is for an upstream that speaks HTTP+SSE; write its address as sse+http://host:port/path, or remove message_path", dir.messagePath)
	}
	dir.setUpstream(kind, path)
	return dir.parseProxy(proxyArgs)
}

// hasDynamic reports whether reverse_proxy finds the upstreams with its option `dynamic`.
func (dir *directive) hasDynamic() bool {
	return slices.ContainsFunc(dir.proxyOptions, func(t caddyfile.Token) bool { return t.Text == "dynamic" })
}

// checkNoUpstream refuses the options that need an upstream, for a directive without one.
func (dir *directive) checkNoUpstream() error {
	if len(dir.proxyTokens) > 0 {
		return dir.errNoProxy("without an upstream address; write the address behind mcp_auth_bridge")
	}
	for _, name := range []string{"forwarding", "upstream_path", "message_path"} {
		if dir.seen[name] {
			return dir.helper.Errf("%s: needs an upstream address behind mcp_auth_bridge; write one, or remove %[1]s", name)
		}
	}
	return nil
}

// finishStdio sets up the program, and refuses the options that exclude stdio.
func (dir *directive) finishStdio() error {
	h := dir.helper
	if len(dir.addresses) > 0 {
		return h.Errf("stdio and the upstream %q exclude each other; use one of them", dir.addresses[0])
	}
	if len(dir.proxyTokens) > 0 {
		return dir.errNoProxy("with stdio; remove it, or use an upstream address in place of stdio")
	}
	for _, name := range []string{"forwarding", "upstream_path", "message_path", "authorization_server"} {
		if dir.seen[name] {
			return h.Errf("%s: needs an upstream address, which stdio excludes; remove %[1]s", name)
		}
	}
	dir.h.UpstreamRaw = caddyconfig.JSONModuleObject(dir.stdio, "protocol", "stdio", nil)
	return nil
}

// splitAddresses takes the upstream addresses apart. All must have the same kind and path.
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
		if i > 0 && hasTLS(s) != hasTLS(dir.addresses[0]) {
			return "", "", nil, fmt.Errorf("upstream %q: all upstreams of an endpoint have TLS or none has, and %q is different; write %s, or give it an endpoint of its own",
				s, dir.addresses[0], otherTLS(s))
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

// setUpstream sets the module of the upstream. An upstream of Streamable HTTP at the path of the
// endpoint, which is the default, needs no module.
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

// parseProxy lets reverse_proxy parse the addresses and its own options.
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
