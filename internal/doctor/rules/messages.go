package rules

// messages are the rules of the first messages and of the session.
var messages = []Rule{
	{"endpoint.path", "there is no MCP server at this path", mcpHTTP, []Remedy{
		{onCommand, "give the whole URL of the MCP endpoint, with its path", searched},
		{inCaddyfile, "add `mcp_auth_bridge {upstream}` to the site; the endpoint is then {origin}/mcp", both(bare, searched)},
		{onCommand, "use the URL of the MCP endpoint; often it is {origin}/mcp", not(either(usualPath, searched))},
		{inCaddyfile, "if the server has the endpoint at another path, add `upstream_path <path>`", bridged},
		{inCaddyfile, "if the server has the endpoint at another path, use `mcp_auth_bridge {path} {upstream}` with `upstream_path <path>`", both(bare, not(searched))},
		{onCommand, "if clients use another path, use that URL", both(usualPath, not(searched))},
	}},
	{"endpoint.mcp", "this is not an MCP server", mcpHTTP + ", Sending Messages", []Remedy{
		{onCommand, "give the whole URL of the MCP endpoint, with its path", searched},
		{inCaddyfile, "add `mcp_auth_bridge {upstream}` to the site; the endpoint is then {origin}/mcp", both(bare, searched)},
		{onCommand, "use the URL of the MCP endpoint; often it is {origin}/mcp", not(either(usualPath, searched))},
		{inCaddyfile, "if the server has the endpoint at another path, add `upstream_path <path>`", bridged},
		{inCaddyfile, "write `mcp_auth_bridge {path} {upstream}` at the level of the site, where it comes before `handle` and `respond`; put `try_files` into a `handle`", both(bare, both(isWebsite, not(searched)))},
		{inCaddyfile, "route {path} to the MCP server: `mcp_auth_bridge {path} {upstream}`", both(bare, not(either(isWebsite, searched)))},
	}},
	{"endpoint.tls", "Caddy speaks plain HTTP to a TLS port", "RFC 9110 section 4.2.2", []Remedy{
		{inCaddyfile, "`mcp_auth_bridge https://{upstream}`", both(bridged, not(upstreamHTTPS))},
		{inCaddyfile, "write the upstream with https://: `mcp_auth_bridge https://{upstream}` or `reverse_proxy https://{upstream}`", both(bare, not(upstreamHTTPS))},
		{onNetwork, "have the proxy speak TLS to the server", upstreamHTTPS},
	}},
	{"endpoint.sse", "the server speaks only HTTP+SSE", "MCP 2025-11-25 Transports, Backwards Compatibility", []Remedy{
		{inCaddyfile, "`mcp_auth_bridge sse+http://{upstream}`; clients then use Streamable HTTP at this URL", always},
	}},
	{"endpoint.redirect", "the endpoint redirects", mcpAuthorization + ", Access Token Usage; Fetch standard, HTTP-redirect fetch", []Remedy{
		{inCaddyfile, "{bridge}; it serves the endpoint with and without the final slash", both(bare, bySlash)},
		{inCaddyfile, "add `upstream_path {other}`", both(bridged, bySlash)},
		{onCommand, "use the URL that the redirect leads to, if the MCP server is there", not(bySlash)},
		{atServer, "answer at {url} itself: after a redirect clients lose the message or the token", always},
	}},
	{"endpoint.login", "login by redirect instead of 401", mcpAuthorization + ", Error Handling; RFC 9110 section 15.5.2", []Remedy{
		{onNetwork, "have the proxy that redirects answer MCP clients with 401 and WWW-Authenticate: Bearer, or let {path} and /.well-known/* through", always},
	}},
	{"endpoint.status", "the server does not answer 401", mcpAuthorization + ", Error Handling; RFC 6750 section 3", []Remedy{
		{atServer, "answer 401 with WWW-Authenticate if there is no token, before reading the message; a proxy cannot do this", always},
		{inCaddyfile, "if another bridge runs in front of the server, replace it with `mcp_auth_bridge {upstream}`, which passes the 401 on", bare},
	}},
	{"endpoint.upstream", "the server behind the proxy does not answer", "RFC 9110 section 15.6", []Remedy{
		{inCaddyfile, "see `caddy mcp status` and Caddy's log for the exit status and stderr of the command after `stdio`", isProgram},
		{onCommand, "run the command by hand, as Caddy's user and with its environment", isProgram},
		{onCommand, "try again in a minute: the first start of `npx` or `uvx` downloads the server", isStarting},
		{inCaddyfile, "raise `max` in the block `sessions`", isFull},
		{inCaddyfile, "start the server, or correct its address after `mcp_auth_bridge`; `caddy mcp status` and Caddy's log have the reason", both(bridged, isGateway)},
		{inCaddyfile, "start the server, or correct its address after `reverse_proxy`; Caddy's log has the reason", both(both(bare, behindCaddy), isGateway)},
		{onNetwork, "start the server, or correct its address in the proxy", both(both(bare, not(behindCaddy)), isGateway)},
		{inCaddyfile, "if the block has `challenge replace`: a 401 of the server becomes this 502", both(bridged, both(isRelayed, isEmpty))},
		{inCaddyfile, "write https:// before the upstream if the server insists on it, or the path that it serves in `upstream_path`; `caddy mcp status` has the line", isCircle},
		{atServer, "have it trust X-Forwarded-Proto, or correct its redirect", isCircle},
		{atServer, "look into its log", not(either(either(isProgram, isCircle), either(isStarting, isFull)))},
	}},
	{"endpoint.host", "the server refuses the Host header", mcpHTTP + ", Security & Endpoint", []Remedy{
		{inCaddyfile, "add `header_up Host {upstream_hostport}`", always},
		{atServer, "add {host} to its allowed hosts (DNS rebinding protection)", always},
	}},
	{"endpoint.origin", "the server refuses browser clients", mcpHTTP + ", Security & Endpoint", []Remedy{
		{inCaddyfile, "add `allow_origins {page}` to the block `cors` of mcp_auth_bridge", both(bridged, ownRefusal)},
		{inCaddyfile, "add `header_up -Origin`; `allow_origins {page}` still checks the origin", both(bridged, not(ownRefusal))},
		{inCaddyfile, "{bridge}, with `allow_origins {page}` and `header_up -Origin`", bare},
		{atServer, "add {page} to its allowed origins", not(ownRefusal)},
	}},
	{"endpoint.answer", "the server's response is not usable", "JSON-RPC 2.0; " + mcpHTTP + ", Sending Messages", []Remedy{
		{atServer, "look into its log, and into those of proxies in front: the message was refused without a JSON-RPC response", isWordless},
		{atServer, "answer each request with one JSON-RPC response, as application/json or text/event-stream", not(isWordless)},
	}},
	{"endpoint.stream", "event streams are held back", mcpHTTP + ", Receiving Messages", []Remedy{
		{inCaddyfile, "add `flush_interval -1` to `reverse_proxy`, or use `mcp_auth_bridge`; exclude text/event-stream from `encode`", bare},
		{inCaddyfile, "exclude text/event-stream from `encode`", bridged},
		{onNetwork, "turn off response buffering in every proxy (nginx: proxy_buffering off)", always},
		{atServer, "flush after each event, and send X-Accel-Buffering: no", always},
	}},
	{"endpoint.open", "anyone can use the server", mcpSecurity, []Remedy{
		{inCaddyfile, "put `forward_auth` or `basic_auth` before mcp_auth_bridge in a `route`, or allow only your networks with `remote_ip`", bridged},
		{inCaddyfile, "put `forward_auth` or `basic_auth` before the proxy, or allow only your networks with `remote_ip`", bare},
		{atServer, "require a login (OAuth), if the server supports it", always},
	}},
	{"browser.answer", "browser clients cannot read the response (CORS)", fetchCORS + ", CORS check", []Remedy{
		{inCaddyfile, "add `allow_origins {page}` to the block `cors` of mcp_auth_bridge", bridged},
		{inCaddyfile, "{bridge}, with `allow_origins {page}` in its block `cors`", both(bare, askedPage)},
		{inCaddyfile, "{bridge}", both(bare, not(askedPage))},
		{atServer, "send Access-Control-Allow-Origin with errors too, above all with 401", bare},
	}},
	{"browser.exposed", "browser clients cannot read all headers (CORS)", fetchCORS + ", Access-Control-Expose-Headers", []Remedy{
		useBridge,
		{atServer, "send Access-Control-Expose-Headers: WWW-Authenticate, Mcp-Session-Id", bare},
		{inCaddyfile, "remove `header Access-Control-Expose-Headers` from the site; mcp_auth_bridge exposes both", bridged},
	}},
	{"discover.agrees", "old and new clients get different responses", mcpHTTP + ", Backward Compatibility", []Remedy{
		{atServer, "require the login for initialize and for server/discover, or for neither", always},
	}},
	{"get.answer", "GET is answered in an unusual way", "MCP 2025-11-25 Transports, Listening for Messages from the Server", []Remedy{
		{atServer, "answer GET with an event stream, 401, or 405", always},
	}},

	{"session.kept", "sessions are lost", mcpSessions, []Remedy{
		{inCaddyfile, "with several upstreams add `lb_policy client_ip_hash`; Mcp-Session-Id cannot be used, initialize does not have it yet", always},
		{atServer, "share sessions between replicas", always},
	}},
	{"session.crosses", "the session id is lost", mcpSessions, []Remedy{
		{onNetwork, "let the header Mcp-Session-Id through in both directions", always},
	}},
}
