package rules

// logins are the rules of proofs of possession, logins and tokens.
var logins = []Rule{
	{"dpop.url", "the server expects DPoP proofs for another URL", "RFC 9449 section 4.3, check 9", []Remedy{
		{atServer, "have it expect proofs for {url}; a proxy cannot change a signed proof", always},
		{atServer, "have it take its URL from X-Forwarded-Proto and X-Forwarded-Host", always},
	}},
	{"login.registers", "the registration fails", mcpRegistration + ", Dynamic Client Registration; RFC 7591", []Remedy{
		{atIssuer, "allow native clients with the redirect URI http://127.0.0.1 and any port (RFC 8252 section 7.3)", redirectRefused},
		{atIssuer, "look into its log; some require an initial access token for registration (RFC 7591 section 3)", not(redirectRefused)},
		{onCommand, "use --client-id with a client that has the redirect URI http://127.0.0.1/callback", always},
	}},
	{"registration.members", "the registration response has wrong members", "RFC 7591 sections 2 and 3.2.1", []Remedy{
		{atIssuer, "answer a registration with 201 and JSON; send members with the right type, and leave out those without a value", always},
	}},
	{"login.returns", "the browser does not come back from the login", "RFC 6749 section 4.1.2", []Remedy{
		{inCaddyfile, "add `paths <glob>` to the block `authorization_server bridge` for pages of the login; Caddy's log has the paths", bridgedIssuer},
		{atIssuer, "look at its page and into its log", always},
	}},
	{"login.authorizes", "the login is refused", "RFC 6749 section 4.1.2.1", []Remedy{
		{atIssuer, "look into its log; it checks redirect URI, scope and resource", always},
	}},
	{"login.issuer", "the login has the wrong iss", mcpAuthorization + ", Authorization Response Validation; RFC 9207 section 2.4", []Remedy{
		{atIssuer, "send the same iss as issuer in its metadata, and announce it", always},
	}},
	{"login.token", "the token endpoint refuses the code", "RFC 6749 section 5", []Remedy{
		{atIssuer, "look into its log; it checks code verifier, redirect URI, client and resource", always},
	}},
	{"token.members", "the token response has wrong members", "RFC 6749 section 5.1", []Remedy{
		{atIssuer, "answer with 200 and JSON, as application/json; send members with the right type, and leave out those without a value", always},
	}},
	{"device.answer", "the device flow fails", "RFC 8628 section 3.1", []Remedy{
		{atIssuer, "serve device_authorization_endpoint, or leave it out of the metadata", always},
	}},
	{"device.members", "the device flow's response has wrong members", "RFC 8628 section 3.2", []Remedy{
		{atIssuer, "answer with 200 and JSON: device_code, user_code, verification_uri and expires_in", always},
	}},
	{"device.url", "the device flow's page is at a private address", "RFC 8628 section 3.2", []Remedy{
		{atIssuer, "set its public URL, which it uses in verification_uri", always},
		bridgeIssuer,
	}},
	{"error.members", "errors have the wrong form", "RFC 6749 section 5.2; RFC 7591 section 3.2.2", []Remedy{
		{atIssuer, "answer an error with 400 or 401 and JSON, with the member error", always},
	}},
	{"token.accepted", "the server refuses the token", mcpAuthorization + ", Token Handling", []Remedy{
		{atServer, "look into its log: issuer, keys, time, audience", always},
	}},
	{"token.audience", "the token is for another audience", mcpAuthorization + ", Token Handling; RFC 8707 section 2", []Remedy{
		{atServer, "set the expected audience to {url}, which is resource in the metadata", not(misdirected)},
		{atIssuer, "issue tokens for the resource that clients ask for, {url} (resource indicators)", misdirected},
		bridgeIssuer,
	}},
	{"token.issuer", "the token is from another authorization server", mcpAuthorization + ", Token Handling; RFC 9068 section 4", []Remedy{
		{onCommand, "use a token of the authorization server that the OAuth metadata names", always},
		{atServer, "name the token's issuer in authorization_servers, if the server accepts it", always},
	}},
	{"token.binding", "the token is bound to a key", "RFC 9449 section 7.1; RFC 8705 section 3", []Remedy{
		{onCommand, "test with `--login`, or with a token that is not bound", always},
	}},
	{"token.time", "the token is not valid now", "RFC 9068 section 4", []Remedy{
		{onCommand, "use a token that is valid now; if it is, correct the server's clock", always},
	}},
	{"token.stepup", "a tool needs a second login", mcpAuthorization + ", Scope Challenge Handling; RFC 6750 section 3.1", []Remedy{
		{onCommand, "test the second login with `--step-up`", stepUp},
		{atServer, "name all scopes of the request in `scope` of the 403; if no scope would help, the client's user needs other rights", not(stepUp)},
	}},
	{"token.scope", "the token has too few scopes", mcpAuthorization + ", Scope Challenge Handling; RFC 6750 section 3.1", []Remedy{
		{onCommand, "test with `--step-up` whether a second login helps, as clients try", stepUp},
		{onCommand, "log in with the scopes that the challenge names", not(stepUp)},
		{atServer, "list all scopes for the first messages in the challenge of the 401", always},
	}},
}
