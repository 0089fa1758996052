package doctor

// The places of a cure.
const (
	inCaddyfile = "Caddyfile"
	atServer    = "server"
	atIssuer    = "authorization server"
	onNetwork   = "network"
	onCommand   = "command line"
)

// The sources of rules, at the revision that is checked.
const (
	mcpAuthorization = "MCP 2026-07-28 Authorization"
	mcpDiscovery     = "MCP 2026-07-28 Authorization Server Discovery"
	mcpRegistration  = "MCP 2026-07-28 Client Registration"
	mcpSecurity      = "MCP 2026-07-28 Authorization Security Considerations"
	mcpHTTP          = "MCP 2026-07-28 Streamable HTTP"
	mcpSessions      = "MCP 2025-11-25 Transports, Session Management"
	fetchCORS        = "Fetch standard, CORS protocol"
)

// Rule is what a client needs of a server, where that is written, and what
// mends a server that does not have it.
type Rule struct {
	ID        string
	Reference string
	// Cures may hold {url}, {origin} (the server's), {page}, {path}, {host} and
	// {wellknown}.
	Cures []Cure
}

// Rules are all rules, in the order in which a client meets them.
var Rules = []Rule{
	// The connection.
	{"connect.name", "RFC 9110 section 4.3", []Cure{
		{onNetwork, "add a DNS record for {host}, or correct the URL"},
	}},
	{"connect.listens", "RFC 9110 section 4.3", []Cure{
		{onNetwork, "start the server, and open its port to clients; {host} is where they connect"},
		{inCaddyfile, "a site {origin} with `mcp_auth_bridge <upstream>` in it"},
	}},
	{"connect.tls", "RFC 9110 section 4.3.4", []Cure{
		{inCaddyfile, "a site named {host}, for which Caddy gets a certificate; clients do not trust one from `tls internal`"},
		{atServer, "a certificate that names {host}, is valid now, and is sent with its chain"},
	}},
	{"connect.answers", "RFC 9110 section 9", []Cure{
		{onNetwork, "find what holds the request: a firewall, a proxy, or the server itself"},
	}},
	{"connect.https", mcpSecurity + ", Communication Security", []Cure{
		{inCaddyfile, "name the site {host} instead of http://{host}; Caddy then gets a certificate"},
	}},

	// The preflight of a page.
	{"preflight.answered", fetchCORS + ", preflight", []Cure{
		{inCaddyfile, "mcp_auth_bridge answers preflights; where basic_auth or forward_auth stands before it, except them with the matcher `not method OPTIONS`"},
		{atServer, "answer OPTIONS with 204 before asking for a token"},
	}},
	{"preflight.origin", fetchCORS + ", CORS check", []Cure{
		{inCaddyfile, "`allow_origins {page}` in the block cors of mcp_auth_bridge"},
		{atServer, "send Access-Control-Allow-Origin: {page}, once"},
	}},
	{"preflight.headers", fetchCORS + ", Access-Control-Allow-Headers", []Cure{
		{inCaddyfile, "mcp_auth_bridge allows those of MCP; further ones: `allow_headers <name>` in its block cors"},
		{atServer, "name them in Access-Control-Allow-Headers; its * does not cover Authorization"},
	}},
	{"preflight.methods", fetchCORS + ", Access-Control-Allow-Methods", []Cure{
		{inCaddyfile, "mcp_auth_bridge allows GET, POST and DELETE"},
		{atServer, "name DELETE in Access-Control-Allow-Methods, or sessions are never ended"},
	}},
	{"cors.credentials", fetchCORS + ", CORS check", []Cure{
		{inCaddyfile, "mcp_auth_bridge sends none; remove a site's own `header Access-Control-Allow-*`"},
		{atServer, "send no Access-Control-Allow-Credentials: MCP's clients authenticate by Authorization"},
	}},

	// The first message.
	{"endpoint.path", mcpHTTP, []Cure{
		{onCommand, "give the URL of the MCP endpoint itself, often {origin}/mcp"},
		{inCaddyfile, "`mcp_auth_bridge {path} <upstream>`; if its path at the upstream is another: `upstream_path <path>`"},
	}},
	{"endpoint.mcp", mcpHTTP + ", Sending Messages", []Cure{
		{onCommand, "give the URL of the MCP endpoint itself, often {origin}/mcp"},
		{inCaddyfile, "`mcp_auth_bridge {path} <upstream>`, not swallowed by a catch-all `handle` or `try_files`"},
	}},
	{"endpoint.redirect", mcpAuthorization + ", Access Token Usage; Fetch standard, HTTP-redirect fetch", []Cure{
		{onCommand, "give clients the URL that the redirect ends at"},
		{inCaddyfile, "mcp_auth_bridge serves the endpoint with and without a final slash, and follows such a redirect of the upstream inside"},
		{atServer, "answer at {url} itself: clients drop the token when a redirect leaves the origin"},
	}},
	{"endpoint.status", mcpAuthorization + ", Error Handling; RFC 6750 section 3", []Cure{
		{atServer, "answer 401 with WWW-Authenticate before the message is looked at; a proxy passes on what it gets"},
		{inCaddyfile, "mcp_auth_bridge passes the upstream's 401 on with its challenge, on every transport"},
	}},
	{"endpoint.upstream", "RFC 9110 section 15.6", []Cure{
		{atServer, "see in the server's log why it fails"},
		{inCaddyfile, "check the address behind mcp_auth_bridge, and Caddy's log for \"upstream\""},
	}},
	{"endpoint.host", mcpHTTP + ", Security & Endpoint", []Cure{
		{inCaddyfile, "`header_up Host {upstream_hostport}`"},
		{atServer, "add {host} to its allowed hosts (DNS rebinding protection)"},
	}},
	{"endpoint.origin", mcpHTTP + ", Security & Endpoint", []Cure{
		{inCaddyfile, "`allow_origins {page}` in the block cors of mcp_auth_bridge"},
		{atServer, "add {page} to its allowed origins"},
	}},
	{"endpoint.answer", "JSON-RPC 2.0; " + mcpHTTP + ", Sending Messages", []Cure{
		{atServer, "answer a request with one JSON-RPC response, as application/json or text/event-stream"},
	}},
	{"endpoint.stream", mcpHTTP + ", Receiving Messages", []Cure{
		{inCaddyfile, "`flush_interval -1`, and no `encode` that covers text/event-stream (mcp_auth_bridge flushes each event)"},
		{onNetwork, "turn response buffering off in every proxy on the way (nginx: proxy_buffering off)"},
		{atServer, "flush after each event, and send X-Accel-Buffering: no"},
	}},
	{"browser.answer", fetchCORS + ", CORS check", []Cure{
		{inCaddyfile, "`allow_origins {page}` in the block cors of mcp_auth_bridge: errors carry the CORS fields too"},
		{atServer, "send Access-Control-Allow-Origin with errors as well, above all with 401"},
	}},
	{"browser.exposed", fetchCORS + ", Access-Control-Expose-Headers", []Cure{
		{inCaddyfile, "mcp_auth_bridge exposes WWW-Authenticate and Mcp-Session-Id; further ones: `expose_headers <name>` in its block cors"},
		{atServer, "send Access-Control-Expose-Headers: WWW-Authenticate, Mcp-Session-Id"},
	}},
	{"discover.agrees", mcpHTTP + ", Backward Compatibility", []Cure{
		{atServer, "ask for the login alike of clients of either era"},
	}},
	{"get.answer", "MCP 2025-11-25 Transports, Listening for Messages from the Server", []Cure{
		{atServer, "answer GET with an event stream, 401, or 405"},
		{inCaddyfile, "`mcp_auth_bridge {path} <upstream>` covers all methods of the endpoint"},
	}},

	// The session.
	{"session.kept", mcpSessions, []Cure{
		{atServer, "share sessions between replicas, or have what stands before them keep a client on one"},
		{inCaddyfile, "`lb_policy client_ip_hash`, where there are several upstreams; not by Mcp-Session-Id, which initialize does not have yet"},
	}},
	{"session.crosses", mcpSessions, []Cure{
		{onNetwork, "let Mcp-Session-Id through in both directions"},
	}},

	// The challenge.
	{"challenge.present", "RFC 9110 section 15.5.2; RFC 6750 section 3; " + mcpDiscovery, []Cure{
		{inCaddyfile, "`mcp_auth_bridge <upstream>` adds one, if metadata is known: `authorization_servers <url>` in its block metadata"},
		{atServer, "WWW-Authenticate: Bearer resource_metadata=\"{wellknown}\""},
	}},
	{"challenge.syntax", "RFC 9110 section 11.6.1", []Cure{
		{atServer, "write it as Bearer resource_metadata=\"{wellknown}\": parameters with commas between, quotes inside values escaped"},
	}},
	{"challenge.bearer", "RFC 6750 section 3; " + mcpAuthorization, []Cure{
		{inCaddyfile, "mcp_auth_bridge adds it; a site's own basic_auth has to except {path} and /.well-known/*"},
		{atServer, "add WWW-Authenticate: Bearer resource_metadata=\"{wellknown}\""},
	}},
	{"challenge.one", "RFC 9110 section 11.6.1; RFC 9728 section 5.1", []Cure{
		{atServer, "send one Bearer challenge: clients read the first alone"},
		{inCaddyfile, "let one place challenge; where the edge owns the tokens: `challenge replace`"},
	}},
	{"challenge.first", "RFC 9110 section 11.6.1", []Cure{
		{atServer, "send the Bearer challenge before others: clients of the TypeScript SDK read a field only where it begins with Bearer"},
	}},
	{"challenge.metadata", "RFC 9728 section 5.1; " + mcpDiscovery, []Cure{
		{inCaddyfile, "`mcp_auth_bridge <upstream>` adds resource_metadata, if metadata is known"},
		{atServer, "add resource_metadata=\"{wellknown}\" to the challenge"},
	}},
	{"challenge.url", "RFC 9728 sections 3 and 5.1", []Cure{
		{inCaddyfile, "`mcp_auth_bridge <upstream>` maps it to {wellknown}; `public_url {url}` where the request does not tell"},
		{atServer, "set the server's public URL to {url}"},
	}},
	{"challenge.scheme", "RFC 9728 section 3; RFC 9110 section 4.2.2", []Cure{
		{inCaddyfile, "`public_url {url}`, or `trusted_proxies` for the proxy that ends TLS, so that X-Forwarded-Proto counts"},
		{atServer, "set the server's public URL to {url}, or have it trust X-Forwarded-Proto"},
	}},
	{"challenge.error", "RFC 6750 section 3.1", []Cure{
		{atServer, "leave error out where the request has no token: clients take it for a token that was refused"},
	}},

	// The metadata of the protected resource.
	{"metadata.found", "RFC 9728 section 3; " + mcpDiscovery, []Cure{
		{inCaddyfile, "mcp_auth_bridge serves {wellknown}; inside handle or handle_path also `mcp_auth_bridge metadata` in the site"},
		{atServer, "serve it at {wellknown}"},
	}},
	{"metadata.json", "RFC 9728 section 3.2", []Cure{
		{inCaddyfile, "keep /.well-known/* from the site's catch-all (`try_files`, `handle`), and from its login page"},
		{atServer, "answer {wellknown} with a JSON object, as application/json"},
	}},
	{"metadata.time", "RFC 9728 section 3.2", []Cure{
		{atServer, "answer the metadata at once; clients give up"},
		{inCaddyfile, "`authorization_servers <url>` in the block metadata serves it without asking the upstream"},
	}},
	{"metadata.size", "RFC 9728 section 3.2", []Cure{
		{atServer, "send the document alone; it needs a few hundred bytes"},
	}},
	{"metadata.redirect", "RFC 9728 section 3.2", []Cure{
		{atServer, "answer the metadata with 200; clients follow no redirect, or to the same origin alone"},
	}},
	{"metadata.browser", fetchCORS + "; RFC 9728 section 3.1", []Cure{
		{inCaddyfile, "mcp_auth_bridge opens it to every page"},
		{atServer, "send Access-Control-Allow-Origin: * with the metadata: it is public"},
	}},
	{"resource.identical", "RFC 9728 section 3.3; " + mcpAuthorization + ", Canonical Server URI", []Cure{
		{inCaddyfile, "`mcp_auth_bridge <upstream>` maps it to {url}; remove keep_resource; list the server's own origin: `origins <origin>` in the block challenge"},
		{atServer, "set resource to {url}, to the last slash; and let tokens be made out to it"},
	}},
	{"resource.servers", "RFC 9728 section 2; " + mcpDiscovery + ", Authorization Server Location", []Cure{
		{inCaddyfile, "`authorization_servers <url>` in the block metadata of mcp_auth_bridge"},
		{atServer, "name the authorization server in authorization_servers"},
	}},

	// The authorization server.
	{"issuer.url", "RFC 8414 section 2", []Cure{
		{inCaddyfile, "`authorization_servers <url>` in the block metadata; for one on the MCP server's own origin: `authorization_server bridge`"},
		{atServer, "name the authorization server by the issuer URL that clients reach"},
	}},
	{"issuer.found", "RFC 8414 section 3; OpenID Connect Discovery 1.0 section 4; " + mcpDiscovery, []Cure{
		{atIssuer, "serve /.well-known/oauth-authorization-server or /.well-known/openid-configuration for this issuer"},
		{inCaddyfile, "for one on the MCP server's own origin: `authorization_server bridge`"},
	}},
	{"issuer.identical", "RFC 8414 section 3.3; " + mcpDiscovery, []Cure{
		{atServer, "write the issuer in authorization_servers as the authorization server writes it, to the last slash"},
		{atIssuer, "set its issuer (public or front-end URL) to the one that clients use"},
		{inCaddyfile, "for one on the MCP server's own origin: `authorization_server bridge`"},
	}},
	{"issuer.browser", fetchCORS + "; RFC 8414 section 3", []Cure{
		{atIssuer, "allow {page} (\"web origins\", \"allowed CORS origins\"), or all, to read its metadata"},
	}},
	{"issuer.endpoints", "RFC 8414 section 2", []Cure{
		{atIssuer, "turn the authorization code flow on: authorization_endpoint and token_endpoint have to be there"},
	}},
	{"issuer.https", mcpSecurity + ", Communication Security", []Cure{
		{atIssuer, "set its public URL to https, or have it trust X-Forwarded-Proto of the proxy before it"},
	}},
	{"issuer.pkce", mcpSecurity + ", Authorization Code Protection; RFC 7636 section 4.2", []Cure{
		{atIssuer, "turn PKCE with S256 on, and name it in code_challenge_methods_supported"},
	}},
	{"issuer.registration", mcpRegistration, []Cure{
		{atIssuer, "turn client ID metadata documents or dynamic client registration on"},
		{onCommand, "register a client by hand, give its ID to the clients, and to the doctor with --client-id"},
	}},
	{"issuer.public", "RFC 8414 section 2; " + mcpRegistration, []Cure{
		{atIssuer, "allow public clients: token_endpoint_auth_methods_supported with none"},
	}},
	{"token.browser", fetchCORS, []Cure{
		{atIssuer, "allow {page} (\"web origins\", \"allowed CORS origins\"), or all, to call its token endpoint"},
		{inCaddyfile, "for one on the MCP server's own origin: `authorization_server bridge` opens it"},
	}},
	{"registration.browser", fetchCORS, []Cure{
		{atIssuer, "allow {page}, or all, to call its registration endpoint, with Content-Type in a preflight"},
	}},

	// Proofs, logins and tokens.
	{"dpop.url", "RFC 9449 section 4.3, check 9", []Cure{
		{atServer, "have it expect proofs for {url}: a proof signs the URL that the client uses, and no proxy can change that"},
		{atServer, "have it take its URL from X-Forwarded-Proto and X-Forwarded-Host"},
	}},
	{"login.registers", mcpRegistration + ", Dynamic Client Registration; RFC 7591", []Cure{
		{atIssuer, "admit native clients with the redirect URI http://127.0.0.1 and any port (RFC 8252 section 7.3)"},
		{onCommand, "--client-id of a client that is registered with http://127.0.0.1/callback"},
	}},
	{"login.authorizes", "RFC 6749 section 4.1.2", []Cure{
		{atIssuer, "see in its log why it refused; redirect URI, scope and resource are what it looks at"},
	}},
	{"login.issuer", mcpAuthorization + ", Authorization Response Validation; RFC 9207 section 2.4", []Cure{
		{atIssuer, "send iss as its metadata has issuer, and announce it"},
	}},
	{"login.token", "RFC 6749 section 5", []Cure{
		{atIssuer, "see in its log why it refused; code verifier, redirect URI, client and resource are what it looks at"},
	}},
	{"token.accepted", mcpAuthorization + ", Token Handling", []Cure{
		{atServer, "see in its log why it refused the token: issuer, keys, time, audience"},
	}},
	{"token.audience", mcpAuthorization + ", Token Handling; RFC 8707 section 2", []Cure{
		{atServer, "set the audience that it expects to the resource of the metadata, {url}"},
		{atIssuer, "make tokens out to the resource that clients ask for, {url} (resource indicators)"},
		{inCaddyfile, "for one on the MCP server's own origin: `authorization_server bridge`"},
	}},
	{"token.time", "RFC 9068 section 4", []Cure{
		{onCommand, "give a token that is still valid; if it is, correct the server's clock"},
	}},
	{"token.scope", mcpAuthorization + ", Scope Challenge Handling; RFC 6750 section 3.1", []Cure{
		{onCommand, "log in with the scopes that the challenge names"},
		{atServer, "name all scopes that the first messages need in the challenge of the 401"},
	}},
}

// rules are Rules by their IDs.
var rules = func() map[string]Rule {
	m := make(map[string]Rule, len(Rules))
	for _, r := range Rules {
		m[r.ID] = r
	}
	return m
}()
