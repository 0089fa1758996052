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
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/origin"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/edge"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/placeholder"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/suggest"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/site"
)

// This file warns of values that are valid but seldom meant. Each gets one warning when the
// configuration is loaded, with the line to write instead. A value that can never work is refused
// where its option is checked.

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
		for _, v := range slices.Concat(loopbackIssuers(h), scopesWithComma(h), plainToTLSPort(h), emptyUpstream(h), ownUpstream(h), ownIssuer(h), otherPublicPath(h), unusedServer(h), unusedLimits(h), oddAuthorize(h)) {
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

// publicHost returns a host that clients use and that is not a loopback address. It is empty if
// the configuration names none.
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

// ownIssuer warns of an authorization server whose URL is that of the endpoint.
func ownIssuer(h *Handler) (all []oddValue) {
	if h.Metadata == nil {
		return nil
	}
	p := h.placed()
	for _, issuer := range h.Metadata.AuthorizationServers {
		u, err := origin.Parse(issuer)
		if err != nil || p.Server == nil || !p.Has(u.Name) || p.OriginOf(u.Name) != u.Origin() {
			continue
		}
		path := strings.TrimPrefix(strings.TrimPrefix(issuer, u.Origin()), "/")
		if path == "" || !h.described.Reached("/"+path, ownHandler) {
			continue
		}
		v := oddValue{
			message: "authorization server is the endpoint itself", option: "metadata authorization_servers", value: issuer,
			advice: "clients look there for a login, and find none: write `authorization_servers https://login.example.com` with the issuer of its metadata",
		}
		if h.edge != nil {
			v.option, v.advice = "authorize issuer", "clients look there for a login, and find none: write `issuer https://login.example.com` with the issuer of its metadata"
		}
		all = append(all, v)
	}
	return all
}

// ownUpstream warns of an upstream that is Caddy itself, at the path of the endpoint: a request goes
// round until its header is too large.
func ownUpstream(h *Handler) (all []oddValue) {
	p := h.placed()
	if h.ReverseProxy == nil || p.Server == nil || !h.described.Reached(cmp.Or(h.upstream.path, h.Endpoint), ownHandler) {
		return nil
	}
	if headers := h.ReverseProxy.Headers; headers != nil && headers.Request != nil && len(headers.Request.Set["Host"]) > 0 {
		return nil // to another site
	}
	ports := make(map[uint]bool)
	for _, listen := range p.Server.Listen {
		if addr, err := caddy.ParseNetworkAddress(listen); err == nil && addr.StartPort > 0 {
			ports[addr.StartPort] = true
		}
	}
	for _, dial := range dialled(h.ReverseProxy) {
		addr, err := caddy.ParseNetworkAddress(dial)
		if err != nil || strings.Contains(dial, "{") || !ports[addr.StartPort] || addr.Host != "" && !origin.IsLoopback(addr.Host) {
			continue
		}
		all = append(all, oddValue{
			message: "upstream is the endpoint itself", option: "upstream", value: dial,
			advice: "Caddy listens there, and a request goes round: write the address that the MCP server listens on, such as `mcp_auth_bridge localhost:3000`",
		})
	}
	return all
}

// emptyUpstream warns of an upstream whose address is a variable that is not set.
func emptyUpstream(h *Handler) (all []oddValue) {
	if h.ReverseProxy == nil {
		return nil
	}
	for _, dial := range dialled(h.ReverseProxy) {
		for _, name := range placeholder.Unset(dial) {
			all = append(all, oddValue{
				message: "address of the upstream is empty", option: "upstream", value: dial,
				advice: "set the environment variable " + name + " where Caddy is started; it has no value",
			})
		}
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
			advice: "scopes are separated by spaces, and with a comma they are one: write `" + name + " " + suggest.WithoutCommas(scopes) + "`",
		})
	}
	if c := h.Authorize; c != nil { // the metadata may take its scopes from here
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

// unusedServer warns of a bridged authorization server where the metadata names only others.
// Clients then log in there.
func unusedServer(h *Handler) []oddValue {
	if !h.bridgesServer() || h.Metadata == nil || len(h.Metadata.AuthorizationServers) == 0 || !hasPublicURL(h) {
		return nil
	}
	if len(dialledHosts(h.ReverseProxy)) == 0 && (h.Challenge == nil || len(h.Challenge.Origins) == 0) {
		return nil // which URLs are its own is not known
	}
	p := h.placed()
	for _, issuer := range h.Metadata.AuthorizationServers {
		u, err := origin.Parse(issuer)
		switch {
		case err != nil, h.store.Names().Own(u, origin.Seen{}, origin.Document):
			return nil
		case p.Has(u.Name), h.hosts[u.Name], u.Name == origin.HostnameOf(h.base.origin): // its public URL
			return nil
		}
	}
	issuer := h.Metadata.AuthorizationServers[0]
	return []oddValue{{
		message: "bridged authorization server is not used", option: "authorization_server bridge", value: issuer,
		advice: "the metadata sends clients to " + issuer + ", which is not on the origin of the MCP server: remove `" + bridgeLine + "`, or remove `authorization_servers` if the MCP server is the authorization server",
	}}
}

// unusedLimits warns of limits of an endpoint on what it does not have. Limits in the global
// options are for all endpoints.
func unusedLimits(h *Handler) (all []oddValue) {
	l := h.Limits
	if l == h.app.Limits {
		return nil
	}
	const overHTTP = "an MCP server over HTTP"
	asks := h.ReverseProxy != nil || h.isMiddleware()
	fetches := asks && !h.metadataOff()
	for _, limit := range []struct {
		name       string
		set, works bool
		of, advice string
	}{
		{"response_header_timeout", l.ResponseHeaderTimeout != 0, h.ReverseProxy != nil, overHTTP, "remove it"},
		{"max_response_header", l.MaxResponseHeader != 0, h.ReverseProxy != nil, overHTTP, "remove it"},
		{"challenge_timeout", l.ChallengeTimeout != 0, asks, overHTTP, "remove it"},
		{"metadata_timeout", l.MetadataTimeout != 0, fetches, overHTTP + " and its metadata", "remove it"},
		{"max_metadata_size", l.MaxMetadataSize != 0, fetches, overHTTP + " and its metadata", "remove it"},
		{"max_metadata_entries", l.MaxMetadataEntries != 0, fetches, overHTTP + " and its metadata", "remove it"},
		{"max_message", l.MaxMessage != 0, h.bridges() || h.Authorize != nil, "stdio, sse+http upstreams, `legacy_sse` and `authorize`", "write `max_request_body`, which limits what clients send here, or remove it"},
		{"max_form", l.MaxForm != 0, h.bridgesServer(), "`authorization_server bridge`", "remove it"},
		{"max_endpoint_event", l.MaxEndpointEvent != 0, h.upstream.bridgeKind() == bridge.KindSSE, "sse+http upstreams", "remove it"},
	} {
		if limit.set && !limit.works {
			all = append(all, oddValue{
				message: "limit has no effect at this endpoint", option: "limits", value: limit.name,
				advice: "it is for " + limit.of + ": " + limit.advice,
			})
		}
	}
	return all
}

// oddAuthorize warns of values that are seldom meant in the option `authorize`.
func oddAuthorize(h *Handler) (all []oddValue) {
	c := h.Authorize
	if c == nil {
		return nil
	}
	for _, v := range c.OddValues() {
		all = append(all, oddValue{message: v.Message, option: v.Option, value: v.Value, advice: v.Advice})
	}
	all = append(all, fixedAuthorization(h)...)
	return append(all, unknownAudience(h)...)
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

// fixedAuthorization warns of a `header_up` that replaces the token from a `token exchange`.
func fixedAuthorization(h *Handler) (all []oddValue) {
	if h.Authorize.Exchange == nil {
		return nil
	}
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
