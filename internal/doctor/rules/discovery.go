package rules

// discovery are the rules of the challenge and of the metadata of the protected resource.
var discovery = []Rule{
	{"challenge.present", "the 401 has no WWW-Authenticate header", "RFC 9110 section 15.5.2; RFC 6750 section 3; " + mcpDiscovery, []Remedy{
		{inCaddyfile, "{bridge}, with `authorization_servers <url>` in its block `metadata`", bare},
		{inCaddyfile, "add `authorization_servers <url>` to the block `metadata`; mcp_auth_bridge then adds the header", bridged},
		{atServer, "send WWW-Authenticate: Bearer resource_metadata=\"{wellknown}\"", always},
	}},
	{"challenge.syntax", "the WWW-Authenticate header has a syntax error", "RFC 9110 section 11.6.1", []Remedy{
		{atServer, "send WWW-Authenticate: Bearer resource_metadata=\"{wellknown}\", with commas between parameters", always},
	}},
	{"challenge.bearer", "the 401 has no Bearer challenge", "RFC 6750 section 3; " + mcpAuthorization, []Remedy{
		{inCaddyfile, "exclude {path} and /.well-known/oauth-protected-resource* from the site's `basic_auth`", byBasic},
		{inCaddyfile, "{bridge}, with `authorization_servers <url>` in its block `metadata`", both(bare, not(byBasic))},
		{inCaddyfile, "add `authorization_servers <url>` to the block `metadata`; mcp_auth_bridge then adds the header", both(bridged, not(byBasic))},
		{atServer, "send WWW-Authenticate: Bearer resource_metadata=\"{wellknown}\"", not(byBasic)},
	}},
	{"challenge.one", "there are several Bearer challenges", "RFC 9110 section 11.6.1; RFC 9728 section 5.1", []Remedy{
		{atServer, "send one Bearer challenge: clients use the first URL", always},
		{inCaddyfile, "if Caddy checks the tokens, use `challenge replace`", always},
	}},
	{"challenge.first", "the Bearer challenge is not the first one", "RFC 9110 section 11.6.1", []Remedy{
		{atServer, "send the Bearer challenge first: clients built with the TypeScript SDK read only a header that begins with Bearer", always},
	}},
	{"challenge.metadata", "the challenge has no resource_metadata", "RFC 9728 section 5.1; " + mcpDiscovery, []Remedy{
		{inCaddyfile, "{bridge}, with `authorization_servers <url>` in its block `metadata`", bare},
		{inCaddyfile, "add `authorization_servers <url>` to the block `metadata`; mcp_auth_bridge then adds resource_metadata", bridged},
		{atServer, "add resource_metadata=\"{wellknown}\" to the challenge", always},
	}},
	{"challenge.url", "WWW-Authenticate points to the wrong URL", "RFC 9728 sections 3 and 5.1", []Remedy{
		useBridge,
		{inCaddyfile, "if {other} is this server, add `origins {other}` to the block `challenge`", bridged},
		{atServer, "set its public URL to {url}", always},
	}},
	{"challenge.scheme", "WWW-Authenticate has the wrong scheme", "RFC 9728 section 3; RFC 9110 section 4.2.2", []Remedy{
		{inCaddyfile, "add `public_url {url}`, or add the proxy that ends TLS to `trusted_proxies`", bridged},
		{inCaddyfile, "{bridge}; if another proxy ends TLS, with `public_url {url}`", bare},
		{atServer, "set its public URL to {url}, or have it trust X-Forwarded-Proto", bare},
	}},
	{"challenge.error", "the challenge has an error without a token", "RFC 6750 section 3.1", []Remedy{
		{atServer, "leave out error if the request has no token: clients take it for a refused token", always},
	}},

	{"metadata.found", "the OAuth metadata is missing", "RFC 9728 section 3; " + mcpDiscovery, []Remedy{
		{inCaddyfile, "{bridge}; inside `handle` or `handle_path` also `mcp_auth_bridge metadata` in the site", both(bare, not(ownMetadata))},
		{inCaddyfile, "add `mcp_auth_bridge metadata` to the site, outside of `handle` and `handle_path`", both(bridged, not(ownMetadata))},
		{inCaddyfile, "add `authorization_servers <url>` to the block `metadata`; mcp_auth_bridge then writes the document", ownMetadata},
		{atServer, "serve the metadata at {wellknown}", not(ownMetadata)},
		{atServer, "serve metadata with resource and authorization_servers", ownMetadata},
	}},
	{"metadata.reached", "the OAuth metadata cannot be fetched", "RFC 9728 section 3; RFC 9110 section 4.3", []Remedy{
		{inCaddyfile, "{bridge}", both(bare, both(elsewhere, not(unlisted)))},
		{inCaddyfile, "{bridge}; if {other} is not the upstream's address, with `origins {other}` in its block `challenge`", both(bare, both(elsewhere, unlisted))},
		{inCaddyfile, "if {other} is this server, add `origins {other}` to the block `challenge`", bridged},
		{atServer, "set its public URL to {url}", elsewhere},
		{onNetwork, "find what holds the request back, or closes the connection", not(elsewhere)},
	}},
	{"metadata.json", "the OAuth metadata is not JSON", "RFC 9728 section 3.2", []Remedy{
		{inCaddyfile, "write mcp_auth_bridge, or `mcp_auth_bridge metadata`, at the level of the site, where it comes before `handle`; put `try_files` into a `handle`", always},
		{atServer, "answer {wellknown} with a JSON object", always},
	}},
	{"metadata.type", "the OAuth metadata has the wrong type", "RFC 9728 section 3.2; RFC 8259 section 8.1", []Remedy{
		useBridge,
		{atServer, "answer {wellknown} with 200, as application/json, without a byte order mark", always},
	}},
	{"metadata.coding", "the OAuth metadata has the wrong encoding", "RFC 9110 sections 8.4 and 12.5.3", []Remedy{
		{atServer, "send the metadata without Content-Encoding, or as gzip", always},
	}},
	{"metadata.time", "the OAuth metadata is slow", "RFC 9728 section 3.2", []Remedy{
		{inCaddyfile, "add `authorization_servers <url>` to the block `metadata`; mcp_auth_bridge then does not ask the server", bridged},
		{inCaddyfile, "{bridge}, with `authorization_servers <url>` in its block `metadata`", bare},
		{atServer, "answer the metadata at once", always},
	}},
	{"metadata.size", "the OAuth metadata is too large", "RFC 9728 section 3.2", []Remedy{
		{atServer, "send only the document; it needs a few hundred bytes", always},
	}},
	{"metadata.redirect", "the OAuth metadata redirects", "RFC 9728 section 3.2", []Remedy{
		{atServer, "answer {wellknown} with 200: clients do not follow redirects to other origins", always},
	}},
	{"metadata.browser", "browser clients cannot read the OAuth metadata (CORS)", fetchCORS + "; RFC 9728 section 3.1", []Remedy{
		useBridge,
		{inCaddyfile, "remove what else answers /.well-known/oauth-protected-resource*; mcp_auth_bridge allows all pages", bridged},
		{atServer, "send Access-Control-Allow-Origin: * with the metadata; it is public", bare},
	}},
	{"resource.usable", "the OAuth metadata has no usable resource", "RFC 9728 sections 2 and 3.3", []Remedy{
		{atServer, "set resource to {url}, as a string", always},
		{inCaddyfile, "add `authorization_servers <url>` to the block `metadata`; mcp_auth_bridge then writes the document", bridged},
		{inCaddyfile, "{bridge}, with `authorization_servers <url>` in its block `metadata`", bare},
	}},
	{"resource.members", "the OAuth metadata has wrong members", "RFC 9728 sections 2 and 3.2", []Remedy{
		{atServer, "send each member with the right type, and leave out members without a value", always},
	}},
	{"resource.identical", "the OAuth metadata is for another URL", "RFC 9728 section 3.3; " + mcpAuthorization + ", Canonical Server URI", []Remedy{
		{inCaddyfile, "{bridge}", both(bare, not(unlisted))},
		{inCaddyfile, "{bridge}; if {other} is not the upstream's address, with `origins {other}` in its block `challenge`", both(bare, unlisted)},
		{inCaddyfile, "if {other} is this server, add `origins {other}` to the block `challenge`, and remove `keep_resource`", both(bridged, elsewhere)},
		{inCaddyfile, "remove `keep_resource`, if it is there", both(bridged, not(elsewhere))},
		{atServer, "set its public URL (resource, and the audience of tokens) to {url}", not(hasQuery)},
		{atServer, "set its public URL (resource, and the audience of tokens) to {url}, with its query", hasQuery},
	}},
	{"resource.servers", "the OAuth metadata names no authorization server", "RFC 9728 section 2; " + mcpDiscovery + ", Authorization Server Location", []Remedy{
		{inCaddyfile, "add `authorization_servers <url>` to the block `metadata`", bridged},
		{inCaddyfile, "{bridge}, with `authorization_servers <url>` in its block `metadata`", bare},
		{atServer, "list the authorization server in authorization_servers", always},
	}},
}
