// Package rules has the rules that a server must follow, each with its source and its
// fixes. It also selects the fixes that apply to what the doctor saw.
package rules

import "slices"

// The values of Remedy.Where.
const (
	inCaddyfile = "Caddyfile"
	atServer    = "server"
	atIssuer    = "authorization server"
	onNetwork   = "network"
	onCommand   = "command line"
)

// The documents that the rules are from.
const (
	mcpAuthorization = "MCP 2026-07-28 Authorization"
	mcpDiscovery     = "MCP 2026-07-28 Authorization Server Discovery"
	mcpRegistration  = "MCP 2026-07-28 Client Registration"
	mcpSecurity      = "MCP 2026-07-28 Authorization Security Considerations"
	mcpHTTP          = "MCP 2026-07-28 Streamable HTTP"
	mcpSessions      = "MCP 2025-11-25 Transports, Session Management"
	fetchCORS        = "Fetch standard, CORS protocol"
)

// Rule is something that clients need from a server, the section of the specification
// that has it, and what fixes a server that does not do it.
type Rule struct {
	ID string
	// Short says in a few words what is wrong if the rule is broken.
	Short     string
	Reference string
	Cures     []Remedy
}

// Remedy is a fix, and the condition under which it helps.
type Remedy struct {
	Where string
	// Text may contain {url}, {origin} (of the server), {page}, {path}, {host},
	// {wellknown}, {upstream}, {bridge}, {http} and {https}, and the facts {other} and
	// {fields}.
	Text string
	when condition
}

// useBridge is the fix for what mcp_auth_bridge does and a server or a plain proxy does not.
var useBridge = Remedy{inCaddyfile, "{bridge}", bare}

// Rules are all rules, in the order in which a client meets them.
var Rules = slices.Concat(connection, messages, discovery, issuers, logins)

// byID maps IDs to rules.
var byID = func() map[string]Rule {
	m := make(map[string]Rule, len(Rules))
	for _, r := range Rules {
		m[r.ID] = r
	}
	return m
}()

// Find returns the rule with an ID, and whether there is one.
func Find(id string) (Rule, bool) {
	r, ok := byID[id]
	return r, ok
}
