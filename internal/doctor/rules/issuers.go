package rules

// bridgeIssuer is the fix for an MCP server that is its own authorization server.
var bridgeIssuer = Remedy{inCaddyfile, "if the MCP server is the authorization server, add `authorization_server bridge`", ownIssuer}

// issuers are the rules of the authorization server.
var issuers = []Rule{
	{"issuer.url", "the authorization server is at a private address", "RFC 8414 section 2", []Remedy{
		bridgeIssuer,
		{inCaddyfile, "add `authorization_servers <url>` to the block `metadata`, with its public URL", bridged},
		{inCaddyfile, "{bridge}, with `authorization_servers <url>` in its block `metadata`", bare},
		{atServer, "name the authorization server by the URL that clients can reach", always},
	}},
	{"issuer.reached", "the authorization server does not answer", "RFC 8414 section 3; RFC 9110 section 4.3", []Remedy{
		{onNetwork, "start the authorization server; clients must reach it", always},
		{atServer, "if it has moved, correct authorization_servers, or `issuer` in the block `authorize`", always},
	}},
	{"issuer.found", "the authorization server has no metadata", "RFC 8414 section 3; OpenID Connect Discovery 1.0 section 4; " + mcpDiscovery, []Remedy{
		{inCaddyfile, "look into Caddy's log (`metadata`) and `caddy mcp status`: the server behind Caddy did not send it", bridgedIssuer},
		{atIssuer, "serve /.well-known/oauth-authorization-server or /.well-known/openid-configuration for this issuer", always},
		bridgeIssuer,
	}},
	{"issuer.identical", "the issuer does not match", "RFC 8414 section 3.3; " + mcpDiscovery, []Remedy{
		{inCaddyfile, "write the issuer after `authorization_servers`, or after `issuer` in the block `authorize`, exactly as the authorization server does, with the same final slash", bridged},
		{atServer, "write the issuer in authorization_servers exactly as the authorization server does, with the same final slash", bare},
		{atIssuer, "set its issuer (public URL) to the URL that clients use", always},
		bridgeIssuer,
	}},
	{"issuer.browser", "browser clients cannot read the authorization server's metadata (CORS)", fetchCORS + "; RFC 8414 section 3", []Remedy{
		{atIssuer, "allow {page} to read its metadata (\"web origins\", \"allowed CORS origins\")", always},
		bridgeIssuer,
	}},
	{"issuer.redirect", "the authorization server's metadata redirects", "RFC 8414 section 3.2", []Remedy{
		{atIssuer, "answer its metadata with 200: clients do not follow redirects to other origins", always},
		{atServer, "name the issuer that the redirect leads to in authorization_servers, if its metadata says so", always},
	}},
	{"issuer.type", "the authorization server's metadata has the wrong type", "RFC 8414 section 3.2; RFC 8259 section 8.1", []Remedy{
		{atIssuer, "answer its metadata with 200, as application/json, without a byte order mark", always},
	}},
	{"issuer.members", "the authorization server's metadata has wrong members", "RFC 8414 sections 2 and 3.2; OpenID Connect Discovery 1.0 section 3", []Remedy{
		{atIssuer, "send each member of its metadata with the right type, and leave out members without a value", always},
	}},
	{"issuer.endpoints", "the authorization server has no usable login endpoints", "RFC 8414 section 2", []Remedy{
		{atIssuer, "turn on the authorization code flow: authorization_endpoint and token_endpoint, at URLs that clients reach", always},
		bridgeIssuer,
	}},
	{"issuer.iss", "the authorization server does not announce iss", "RFC 9207 sections 2 and 3; RFC 9700 section 4.4.2; " + mcpAuthorization + ", Authorization Response Validation", []Remedy{
		{atIssuer, "send iss in the authorization response, and announce it (authorization_response_iss_parameter_supported)", always},
	}},
	{"issuer.https", "the authorization server has http URLs", mcpSecurity + ", Communication Security", []Remedy{
		{atIssuer, "set its public URL to https, or have it trust X-Forwarded-Proto", always},
	}},
	{"issuer.pkce", "the authorization server has no PKCE", mcpSecurity + ", Authorization Code Protection; RFC 7636 section 4.2", []Remedy{
		{atIssuer, "turn on PKCE with S256, and list it in code_challenge_methods_supported", always},
	}},
	{"issuer.registration", "clients cannot register", mcpRegistration, []Remedy{
		{atIssuer, "turn on client ID metadata documents or dynamic client registration", always},
		{onCommand, "register a client by hand, and use its ID in the clients (doctor: --client-id)", always},
	}},
	{"issuer.public", "clients need a secret", "RFC 8414 section 2; " + mcpRegistration, []Remedy{
		{atIssuer, "allow public clients: token_endpoint_auth_methods_supported with none", always},
	}},
	{"token.browser", "browser clients cannot call the token endpoint (CORS)", fetchCORS, []Remedy{
		{atIssuer, "allow {page} to call its token endpoint (\"web origins\", \"allowed CORS origins\")", always},
		bridgeIssuer,
	}},
	{"registration.browser", "browser clients cannot register (CORS)", fetchCORS, []Remedy{
		{atIssuer, "allow {page} to call its registration endpoint, with the header Content-Type", always},
		bridgeIssuer,
	}},
}
