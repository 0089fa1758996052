package rules

// connection are the rules of the connection and of the CORS preflight.
var connection = []Rule{
	{"connect.name", "the host name is not found", "RFC 9110 section 4.3", []Remedy{
		{onNetwork, "add a DNS record for {host}, or correct the URL", always},
	}},
	{"connect.listens", "nothing listens at the address", "RFC 9110 section 4.3", []Remedy{
		{onNetwork, "start the server or Caddy at {host}, and open the port to clients", always},
		{onCommand, "correct the port, if the server listens on another one", always},
	}},
	{"connect.scheme", "the URL has the wrong scheme", "RFC 9110 section 4.2", []Remedy{
		{onCommand, "use {https}", always},
	}},
	{"connect.tls", "TLS fails", "RFC 9110 section 4.3.4", []Remedy{
		{onCommand, "give the CA with `--ca FILE`, or skip the check with `--insecure`", isUntrusted},
		{inCaddyfile, "for clients on other machines use a public name without `tls internal`; Caddy then gets a certificate that they trust", both(isUntrusted, isPrivate)},
		{inCaddyfile, "remove `tls internal` from the site {host}; Caddy then gets a certificate that clients trust", both(isUntrusted, not(isPrivate))},
		{atServer, "renew the certificate of {host}", isExpired},
		{inCaddyfile, "name the site {host}; Caddy then gets a certificate for it", misnamed},
		{atServer, "use a certificate that names {host}", misnamed},
		{onCommand, "use {http}, if the server has no TLS", isPlain},
		{inCaddyfile, "name the site {host} without http://; Caddy then serves HTTPS", isPlain},
		{inCaddyfile, "name the site {host}, so that Caddy has a certificate for it", otherTLS},
		{atServer, "use a valid certificate that names {host}, and send it with its chain", otherTLS},
		{onCommand, "use `--ca FILE` in place of `--insecure`", isUnchecked},
	}},
	{"connect.answers", "there is no response", "RFC 9110 section 9", []Remedy{
		{onNetwork, "find what holds the request back: a firewall, a proxy, or the server itself", always},
	}},
	{"connect.https", "tokens are sent in plain HTTP", mcpSecurity + ", Communication Security", []Remedy{
		{inCaddyfile, "name the site {host} without http://; Caddy then gets a certificate", always},
	}},

	passes,

	{"preflight.answered", "browser clients cannot connect (CORS preflight fails)", fetchCORS + ", preflight", []Remedy{
		{inCaddyfile, "exclude preflights from the site's `basic_auth` with the matcher `not method OPTIONS`", byBasic},
		{inCaddyfile, "exclude preflights from `basic_auth` or `forward_auth` with the matcher `not method OPTIONS`", both(bridged, both(guarded, not(byBasic)))},
		{inCaddyfile, "{bridge}", both(bare, not(byBasic))},
		{inCaddyfile, "if `forward_auth` answers: exclude preflights with the matcher `not method OPTIONS`", both(both(bare, behindCaddy), both(guarded, not(byBasic)))},
		{atServer, "answer OPTIONS with 204 before checking for a token", both(bare, both(guarded, not(byBasic)))},
		{atServer, "answer OPTIONS with 204 and the CORS headers", both(bare, not(guarded))},
	}},
	{"preflight.origin", "browser clients are not allowed (CORS)", fetchCORS + ", CORS check", []Remedy{
		{inCaddyfile, "add `allow_origins {page}` to the block `cors` of mcp_auth_bridge", both(bridged, askedPage)},
		{inCaddyfile, "add `public_url {url}`, or add the proxy before Caddy to `trusted_proxies`", both(bridged, not(askedPage))},
		{inCaddyfile, "{bridge}, with `allow_origins {page}` in its block `cors`", both(bare, askedPage)},
		{inCaddyfile, "{bridge}", both(bare, not(askedPage))},
		{atServer, "send Access-Control-Allow-Origin: {page}, once", bare},
	}},
	{"preflight.headers", "browser clients cannot send all headers (CORS)", fetchCORS + ", Access-Control-Allow-Headers", []Remedy{
		{inCaddyfile, "add `allow_headers {fields}` to the block `cors` of mcp_auth_bridge", both(bridged, needsFields)},
		{inCaddyfile, "{bridge}, with `allow_headers {fields}` in its block `cors`", both(bare, needsFields)},
		{inCaddyfile, "{bridge}", both(bare, not(needsFields))},
		{atServer, "list them in Access-Control-Allow-Headers; its * does not cover Authorization", bare},
	}},
	{"preflight.methods", "browser clients cannot end sessions (CORS)", fetchCORS + ", Access-Control-Allow-Methods", []Remedy{
		useBridge,
		{atServer, "list DELETE in Access-Control-Allow-Methods", bare},
	}},
	{"cors.credentials", "CORS headers contradict each other", fetchCORS + ", CORS check", []Remedy{
		{inCaddyfile, "remove `header Access-Control-Allow-*` from the site; mcp_auth_bridge does not send this header", bridged},
		{inCaddyfile, "remove `header Access-Control-Allow-*` from the site, if it is there", bare},
		{atServer, "do not send Access-Control-Allow-Credentials: MCP clients authenticate with Authorization", bare},
	}},
}
